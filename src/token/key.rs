//! Token keys: each has a key id and one algorithm.

use std::fmt;
use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding};
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{AlgorithmParameters, KeyAlgorithm};
use sha2::{Digest, Sha256};

use super::TYPE;
use super::alg::{Sign, Verify};

/// The maximum length of a key id.
const MAX_KEY_ID_BYTES: usize = 64;

/// A key that signs tokens, with its key id.
///
/// ```
/// use signup::token::SigningKey;
///
/// let key = SigningKey::hs256(b"0123456789abcdef0123456789abcdef").unwrap();
/// assert!(key.with_key_id("2026-11").is_ok());
/// assert!(SigningKey::hs256(b"too short").is_err());
/// ```
pub struct SigningKey {
    key: Box<dyn Sign>,
    verifying: VerifyingKey,
    /// The header of its tokens, in base64url.
    header: String,
    /// The version that its secret would have as a secret of another purpose.
    secret_version: Option<u32>,
}

impl SigningKey {
    pub(super) fn new(key: impl Sign + 'static, verifying: VerifyingKey) -> Self {
        let header = verifying.header();
        Self { key: Box::new(key), header, verifying, secret_version: None }
    }

    pub(super) fn with_secret_version(self, secret_version: Option<u32>) -> Self {
        Self { secret_version, ..self }
    }

    pub(super) fn secret_version(&self) -> Option<u32> {
        self.secret_version
    }

    /// Renames the key.
    ///
    /// # Errors
    /// Fails if the key id is empty, longer than 64 bytes, or not printable ASCII.
    pub fn with_key_id(self, key_id: &str) -> Result<Self, KeyError> {
        let verifying = self.verifying.with_key_id(key_id)?;
        Ok(Self { header: verifying.header(), verifying, ..self })
    }

    /// Returns the key id (`kid`).
    pub fn key_id(&self) -> &str {
        self.verifying.key_id()
    }

    /// Returns the only algorithm of the key.
    pub fn algorithm(&self) -> Algorithm {
        self.verifying.algorithm()
    }

    /// Returns the key that verifies its tokens. For HS256 that is the secret itself.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// Returns the header of its tokens, in base64url.
    pub(super) fn header(&self) -> &str {
        &self.header
    }

    /// Signs `text`.
    pub(super) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.key.sign(text)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("key_id", &self.key_id())
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

/// A key that verifies tokens, with its key id.
///
/// ```
/// use signup::token::{SigningKey, VerifyingKey};
///
/// let signing = SigningKey::ed25519(&[7; 32]);
/// let public = signing.verifying_key().to_jwk().unwrap();
/// let verifying = VerifyingKey::from_jwk(&public).unwrap();
/// assert_eq!(verifying.key_id(), signing.key_id());
/// ```
#[derive(Clone)]
pub struct VerifyingKey {
    key_id: String,
    key: Arc<dyn Verify>,
}

impl VerifyingKey {
    pub(super) fn new(key: impl Verify + 'static, key_id: String) -> Self {
        Self { key_id, key: Arc::new(key) }
    }

    /// Creates a key whose key id is the thumbprint of its JWK (RFC 7638), of which
    /// `canonical` has the required members in their order.
    pub(super) fn named_by_thumbprint(key: impl Verify + 'static, canonical: &str) -> Self {
        Self::new(key, Base64UrlUnpadded::encode_string(&Sha256::digest(canonical)))
    }

    /// Renames the key.
    ///
    /// # Errors
    /// Fails if the key id is empty, longer than 64 bytes, or not printable ASCII.
    pub fn with_key_id(self, key_id: &str) -> Result<Self, KeyError> {
        let printable = key_id.bytes().all(|byte| byte.is_ascii_graphic());
        if key_id.is_empty() || key_id.len() > MAX_KEY_ID_BYTES || !printable {
            return Err(KeyError::BadKeyId);
        }
        Ok(Self { key_id: key_id.to_owned(), ..self })
    }

    /// Returns the key id (`kid`).
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Returns the only algorithm of the key.
    pub fn algorithm(&self) -> Algorithm {
        self.key.algorithm()
    }

    /// Returns the algorithm's name in the JOSE registry.
    pub(super) fn alg(&self) -> &'static str {
        self.key.name()
    }

    /// Returns the public key as in a JWK, or `None` if there is no public half.
    pub(super) fn parameters(&self) -> Option<(KeyAlgorithm, AlgorithmParameters)> {
        self.key.jwk()
    }

    /// Returns the header of tokens that this key verifies, in base64url.
    fn header(&self) -> String {
        // The key id may have quotes and backslashes.
        let kid = serde_json::Value::from(self.key_id());
        let header = format!(r#"{{"typ":"{TYPE}","alg":"{}","kid":{kid}}}"#, self.alg());
        Base64UrlUnpadded::encode_string(header.as_bytes())
    }

    /// Returns whether `signature` is one of `text` by this key.
    pub(super) fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        self.key.verifies(text, signature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("key_id", &self.key_id)
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

/// The reason why a key is refused.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// An HS256 secret of fewer than 32 bytes.
    #[error(
        "the JWT secret has {octets} bytes, not counting white space at its end: it needs 32 or \
         more, as `openssl rand -hex 32` prints them"
    )]
    ShortSecret {
        /// Its length, without white space at its end.
        octets: usize,
    },
    /// A PEM of a form other than PKCS #8.
    #[cfg(feature = "pem")]
    #[error(
        "the PEM holds `{0}`: PKCS #8 expected, `PRIVATE KEY` or `PUBLIC KEY`; convert it by \
         `openssl pkcs8 -topk8 -nodes`"
    )]
    PemLabel(String),
    /// A key id that is empty, longer than 64 bytes or not printable ASCII.
    #[error("invalid key id: needs 1 to 64 printable ASCII characters")]
    BadKeyId,
    /// Another key has this key id.
    #[error("duplicate key id")]
    DuplicateKeyId,
    /// No key has this key id.
    #[error("unknown key id")]
    UnknownKeyId,
    /// The key signs: promote another one before removing it.
    #[error("the key is the signing key: promote another one first")]
    Signing,
    /// The key can only verify.
    #[error("the key has no private half and can't sign")]
    VerifiesOnly,
    /// The key is malformed, does not suit its algorithm, or needs an algorithm that is not
    /// compiled in.
    #[error("unusable key")]
    Unusable,
}

crate::issue::debug_by_text!(KeyError);
