//! Token keys: each has a key id and one algorithm.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::Signer as _;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, Header};
use sha2::{Digest, Sha256};

/// The minimum length of an HS256 secret in bytes: that of the digest (RFC 7518, section
/// 3.2).
const MIN_SECRET_BYTES: usize = 32;
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
    secret: Secret,
    verifying: VerifyingKey,
    /// The header of its tokens, in base64url.
    header: String,
}

/// The secret, prepared once so that signing parses no key.
enum Secret {
    Hs256(Box<Hmac<Sha256>>),
    Ed25519(Box<ed25519_dalek::SigningKey>),
    #[cfg(feature = "es256")]
    Es256(Box<p256::ecdsa::SigningKey>),
    #[cfg(feature = "rs256")]
    Rs256(Box<aws_lc_rs::rsa::KeyPair>),
}

impl SigningKey {
    /// Creates a key for HMAC with SHA-256. Its key id is derived from the secret by a
    /// one-way function, so that another secret has another key id.
    ///
    /// # Errors
    /// Fails if the secret has fewer than 32 bytes.
    pub fn hs256(secret: &[u8]) -> Result<Self, KeyError> {
        let verifying = VerifyingKey::hs256(secret)?;
        let hmac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| KeyError::Unusable)?;
        Ok(Self::from_parts(Secret::Hs256(Box::new(hmac)), verifying))
    }

    /// Creates a key for Ed25519 (RFC 8037) from its 32-byte seed. Its key id is the JWK
    /// thumbprint (RFC 7638) of the public key.
    pub fn ed25519(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let verifying = VerifyingKey::from_ed25519(key.verifying_key());
        Self::from_parts(Secret::Ed25519(Box::new(key)), verifying)
    }

    /// Creates a key for ECDSA on P-256 (RFC 7518, section 3.4) from its 32-byte secret
    /// scalar. Its key id is the JWK thumbprint of the public key.
    ///
    /// # Errors
    /// Fails if the scalar is zero or not below the order of the curve.
    #[cfg(feature = "es256")]
    pub fn es256(scalar: &[u8; 32]) -> Result<Self, KeyError> {
        let key = p256::ecdsa::SigningKey::from_slice(scalar).map_err(|_| KeyError::Unusable)?;
        let verifying = VerifyingKey::from_es256(*key.verifying_key());
        Ok(Self::from_parts(Secret::Es256(Box::new(key)), verifying))
    }

    /// Creates a key for RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, section 3.3) from a PKCS
    /// #8 document (RFC 5958) in DER. Its key id is the JWK thumbprint of the public key.
    ///
    /// # Errors
    /// Fails if it is not an RSA key of 2048 to 8192 bits.
    #[cfg(feature = "rs256")]
    pub fn rs256(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let key = aws_lc_rs::rsa::KeyPair::from_pkcs8(pkcs8).map_err(|_| KeyError::Unusable)?;
        let public = aws_lc_rs::signature::KeyPair::public_key(&key);
        let verifying = VerifyingKey::from_rs256(public)?;
        Ok(Self::from_parts(Secret::Rs256(Box::new(key)), verifying))
    }

    fn from_parts(secret: Secret, verifying: VerifyingKey) -> Self {
        let header = verifying.header();
        Self { secret, verifying, header }
    }

    /// Renames the key.
    ///
    /// # Errors
    /// Fails if the key id is empty, longer than 64 bytes, or not printable ASCII.
    pub fn with_key_id(self, key_id: &str) -> Result<Self, KeyError> {
        let verifying = self.verifying.with_key_id(key_id)?;
        Ok(Self::from_parts(self.secret, verifying))
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
        match &self.secret {
            Secret::Hs256(hmac) => {
                Ok(Hmac::clone(hmac).chain_update(text).finalize().into_bytes().to_vec())
            }
            Secret::Ed25519(key) => Ok(key.sign(text).to_bytes().to_vec()),
            #[cfg(feature = "es256")]
            Secret::Es256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(text);
                Ok(signature.to_bytes().to_vec())
            }
            #[cfg(feature = "rs256")]
            Secret::Rs256(key) => {
                use aws_lc_rs::{rand::SystemRandom, signature::RSA_PKCS1_SHA256};
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature)
                    .map_err(|_| KeyError::Unusable)?;
                Ok(signature)
            }
        }
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
    pub(super) public: Public,
}

#[derive(Clone)]
pub(super) enum Public {
    /// Not public at all: anyone who can verify can sign.
    Hs256(Box<Hmac<Sha256>>),
    Ed25519(Box<ed25519_dalek::VerifyingKey>),
    #[cfg(feature = "es256")]
    Es256(Box<p256::ecdsa::VerifyingKey>),
    #[cfg(feature = "rs256")]
    Rs256(Box<Rsa>),
}

/// An RSA key, parsed once, and its components as big-endian bytes.
#[cfg(feature = "rs256")]
#[derive(Clone)]
pub(super) struct Rsa {
    pub(super) parsed: aws_lc_rs::signature::ParsedPublicKey,
    pub(super) n: Vec<u8>,
    pub(super) e: Vec<u8>,
}

impl VerifyingKey {
    /// Creates a key for HMAC with SHA-256, like [`SigningKey::hs256`]. Anyone who has it
    /// can sign too: give other services the public half of a key pair instead.
    ///
    /// # Errors
    /// Fails if the secret has fewer than 32 bytes.
    pub fn hs256(secret: &[u8]) -> Result<Self, KeyError> {
        // A line end that came with a file adds nothing to a secret that is text. In random
        // bytes it is a byte like any other.
        let text = secret.trim_ascii_end();
        let is_text = !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
        let octets = if is_text { text.len() } else { secret.len() };
        if octets < MIN_SECRET_BYTES {
            return Err(KeyError::ShortSecret { octets });
        }
        let hmac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| KeyError::Unusable)?;
        let name = hmac.clone().chain_update(b"signup key id").finalize().into_bytes();
        // 64 bits are enough to tell keys apart.
        let key_id = Base64UrlUnpadded::encode_string(name.get(..8).unwrap_or(&name));
        Ok(Self { key_id, public: Public::Hs256(Box::new(hmac)) })
    }

    /// Creates a key for Ed25519 from its 32-byte public key.
    ///
    /// # Errors
    /// Fails if it is not a point of the curve, or one of small order, for which signatures
    /// mean nothing.
    pub fn ed25519(public: &[u8; 32]) -> Result<Self, KeyError> {
        match ed25519_dalek::VerifyingKey::from_bytes(public) {
            Ok(key) if !key.is_weak() => Ok(Self::from_ed25519(key)),
            _ => Err(KeyError::Unusable),
        }
    }

    fn from_ed25519(key: ed25519_dalek::VerifyingKey) -> Self {
        Self::named_by_thumbprint(Public::Ed25519(Box::new(key)))
    }

    /// Creates a key for ECDSA on P-256 from its public point (SEC 1, section 2.3.3),
    /// compressed or not.
    ///
    /// # Errors
    /// Fails if it is not a point of the curve.
    #[cfg(feature = "es256")]
    pub fn es256(sec1: &[u8]) -> Result<Self, KeyError> {
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(sec1);
        key.map(Self::from_es256).map_err(|_| KeyError::Unusable)
    }

    #[cfg(feature = "es256")]
    fn from_es256(key: p256::ecdsa::VerifyingKey) -> Self {
        Self::named_by_thumbprint(Public::Es256(Box::new(key)))
    }

    /// Creates a key for RSASSA-PKCS1-v1_5 with SHA-256 from modulus and exponent, as
    /// big-endian bytes.
    ///
    /// # Errors
    /// Fails if it is not an RSA key of 2048 to 8192 bits.
    #[cfg(feature = "rs256")]
    pub fn rs256(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
        let components = RsaPublicKeyComponents { n, e };
        let parsed = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
        let parsed = parsed.map_err(|_| KeyError::Unusable)?;
        let rsa = Rsa { parsed, n: n.to_vec(), e: e.to_vec() };
        Ok(Self::named_by_thumbprint(Public::Rs256(Box::new(rsa))))
    }

    #[cfg(feature = "rs256")]
    pub(super) fn from_rs256(key: &aws_lc_rs::rsa::PublicKey) -> Result<Self, KeyError> {
        let components = aws_lc_rs::signature::RsaPublicKeyComponents::<Vec<u8>>::from(key);
        Self::rs256(&components.n, &components.e)
    }

    /// Creates a key whose key id is its JWK thumbprint (RFC 7638).
    fn named_by_thumbprint(public: Public) -> Self {
        let thumbprint = Sha256::digest(public.canonical_jwk());
        Self { key_id: Base64UrlUnpadded::encode_string(&thumbprint), public }
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
        match &self.public {
            Public::Hs256(_) => Algorithm::HS256,
            Public::Ed25519(_) => Algorithm::EdDSA,
            #[cfg(feature = "es256")]
            Public::Es256(_) => Algorithm::ES256,
            #[cfg(feature = "rs256")]
            Public::Rs256(_) => Algorithm::RS256,
        }
    }

    /// Returns the algorithm's name in the JOSE registry (RFC 7518, section 3.1; RFC 8037,
    /// section 3.1).
    pub(super) fn alg(&self) -> &'static str {
        match &self.public {
            Public::Hs256(_) => "HS256",
            Public::Ed25519(_) => "EdDSA",
            #[cfg(feature = "es256")]
            Public::Es256(_) => "ES256",
            #[cfg(feature = "rs256")]
            Public::Rs256(_) => "RS256",
        }
    }

    fn header(&self) -> String {
        let mut header = Header::new(self.algorithm());
        header.kid = Some(self.key_id.clone());
        // Three short strings: there is nothing in it that can fail.
        Base64UrlUnpadded::encode_string(&serde_json::to_vec(&header).unwrap_or_default())
    }

    /// Returns whether `signature` is one of `text` by this key.
    pub(super) fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        match &self.public {
            // Compared in constant time.
            Public::Hs256(hmac) => {
                Hmac::clone(hmac).chain_update(text).verify_slice(signature).is_ok()
            }
            // Strict: no signature of small order, and no other encoding of the same.
            Public::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(text, &signature).is_ok()),
            #[cfg(feature = "es256")]
            Public::Es256(key) => {
                use p256::ecdsa::signature::Verifier as _;
                p256::ecdsa::Signature::from_slice(signature)
                    .is_ok_and(|signature| key.verify(text, &signature).is_ok())
            }
            #[cfg(feature = "rs256")]
            Public::Rs256(rsa) => rsa.parsed.verify_sig(text, signature).is_ok(),
        }
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
