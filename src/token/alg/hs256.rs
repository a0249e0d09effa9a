//! HMAC with SHA-256 (RFC 7518, section 3.2).

use base64ct::{Base64UrlUnpadded, Encoding};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{AlgorithmParameters, KeyAlgorithm};
use sha2::Sha256;

use super::{KeyFormats, Sign, Verify};
use crate::secret::without_line_end;
use crate::token::jwk::decode;
use crate::token::key::{KeyError, SigningKey, VerifyingKey};

/// The minimum length of a secret in bytes: the length of the digest (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;

pub(super) const FORMS: KeyFormats = KeyFormats {
    algorithm: Algorithm::HS256,
    jwk: |parameters| match parameters {
        AlgorithmParameters::OctetKey(key) => {
            Some(decode(&key.value).and_then(|secret| VerifyingKey::hs256(&secret)))
        }
        _ => None,
    },
    private_jwk: |members| SigningKey::hs256(&members.k()?),
    #[cfg(feature = "pem")]
    der: None,
};

/// The secret. Not public at all: anyone who can verify can sign.
#[derive(Clone)]
struct Hs256(Hmac<Sha256>);

impl SigningKey {
    /// Creates a key for HMAC with SHA-256. Its key id is derived from the secret by a
    /// one-way function, so that another secret has another key id.
    ///
    /// # Errors
    /// Fails if the secret has fewer than 32 bytes.
    pub fn hs256(secret: &[u8]) -> Result<Self, KeyError> {
        let (key, verifying) = parse(secret)?;
        let version = crate::secret::version(&Hkdf::new(None, secret));
        Ok(Self::new(key, verifying).with_secret_version(version))
    }
}

impl VerifyingKey {
    /// Creates a key for HMAC with SHA-256, like [`SigningKey::hs256`]. Anyone who has it
    /// can sign too: give other services the public half of a key pair instead.
    ///
    /// # Errors
    /// Fails if the secret has fewer than 32 bytes.
    pub fn hs256(secret: &[u8]) -> Result<Self, KeyError> {
        parse(secret).map(|(_, verifying)| verifying)
    }
}

fn parse(secret: &[u8]) -> Result<(Hs256, VerifyingKey), KeyError> {
    let octets = without_line_end(secret);
    if octets < MIN_SECRET_BYTES {
        return Err(KeyError::ShortSecret { octets });
    }
    let hmac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| KeyError::Unusable)?;
    let name = hmac.clone().chain_update(b"signup key id").finalize().into_bytes();
    // 64 bits are enough to tell keys apart.
    let key_id = Base64UrlUnpadded::encode_string(name.get(..8).unwrap_or(&name));
    let key = Hs256(hmac);
    Ok((key.clone(), VerifyingKey::new(key, key_id)))
}

impl Sign for Hs256 {
    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.0.clone().chain_update(text).finalize().into_bytes().to_vec())
    }
}

impl Verify for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }

    fn name(&self) -> &'static str {
        "HS256"
    }

    fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        // Compared in constant time.
        self.0.clone().chain_update(text).verify_slice(signature).is_ok()
    }

    /// Returns `None`: the secret is never shown.
    fn jwk(&self) -> Option<(KeyAlgorithm, AlgorithmParameters)> {
        None
    }
}
