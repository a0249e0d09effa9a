//! The algorithms, each a module: its constructors, and what it does with a key.

use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{AlgorithmParameters, KeyAlgorithm};

use super::jwk::PrivateMembers;
use super::key::{KeyError, SigningKey, VerifyingKey};

mod ed25519;
#[cfg(feature = "es256")]
mod es256;
mod hs256;
#[cfg(feature = "rs256")]
mod rs256;

/// A private key, prepared once so that signing parses nothing.
pub(super) trait Sign: Send + Sync {
    /// Signs `text`.
    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, KeyError>;
}

/// A key that verifies.
pub(super) trait Verify: Send + Sync {
    /// Returns the only algorithm of the key.
    fn algorithm(&self) -> Algorithm;

    /// Returns the algorithm's name in the JOSE registry (RFC 7518, section 3.1; RFC 8037,
    /// section 3.1).
    fn name(&self) -> &'static str;

    /// Returns whether `signature` is one of `text` by this key.
    fn verifies(&self, text: &[u8], signature: &[u8]) -> bool;

    /// Returns the public key as in a JWK, or `None` if there is no public half.
    fn jwk(&self) -> Option<(KeyAlgorithm, AlgorithmParameters)>;
}

/// The forms in which keys of an algorithm are read.
pub(super) struct KeyFormats {
    pub(super) algorithm: Algorithm,
    /// Parses a public JWK, or returns `None` if it is one of another algorithm.
    pub(super) jwk: fn(&AlgorithmParameters) -> Option<Result<VerifyingKey, KeyError>>,
    /// Parses a private JWK.
    pub(super) private_jwk: fn(&PrivateMembers) -> Result<SigningKey, KeyError>,
    #[cfg(feature = "pem")]
    pub(super) der: Option<DerFormats>,
}

/// The DER of an algorithm's keys.
#[cfg(feature = "pem")]
pub(super) struct DerFormats {
    pub(super) oid: pkcs8::ObjectIdentifier,
    /// Parses a PKCS #8 document (RFC 5958).
    pub(super) private: fn(&[u8]) -> Result<SigningKey, KeyError>,
    /// Parses a SubjectPublicKeyInfo (RFC 5280, section 4.1).
    pub(super) public: fn(&[u8]) -> Result<VerifyingKey, KeyError>,
}

/// The algorithms that are compiled in.
pub(super) const ALL: &[KeyFormats] = &[
    hs256::FORMS,
    ed25519::FORMS,
    #[cfg(feature = "es256")]
    es256::FORMS,
    #[cfg(feature = "rs256")]
    rs256::FORMS,
];
