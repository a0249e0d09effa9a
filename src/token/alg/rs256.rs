//! RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, section 3.3).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, PublicKey};
use aws_lc_rs::signature::{
    KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
    RsaPublicKeyComponents,
};
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{AlgorithmParameters, KeyAlgorithm, RSAKeyParameters, RSAKeyType};

use super::{KeyFormats, Sign, Verify};
use crate::token::jwk::{decode, encode};
use crate::token::key::{KeyError, SigningKey, VerifyingKey};

pub(super) const FORMS: KeyFormats = KeyFormats {
    algorithm: Algorithm::RS256,
    jwk: |parameters| match parameters {
        AlgorithmParameters::RSA(key) => {
            let components = decode(&key.n).and_then(|n| Ok((n, decode(&key.e)?)));
            Some(components.and_then(|(n, e)| VerifyingKey::rs256(&n, &e)))
        }
        _ => None,
    },
    // Its private members are not one number: it is read from PKCS #8.
    private_jwk: |_| Err(KeyError::Unusable),
    #[cfg(feature = "pem")]
    der: Some(super::DerFormats {
        // RFC 8017, appendix C.
        oid: pkcs8::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1"),
        private: SigningKey::rs256,
        public: |document| {
            verifying(&PublicKey::from_der(document).map_err(|_| KeyError::Unusable)?)
        },
    }),
};

/// A public key, parsed once, and its components in base64url.
struct Rs256 {
    parsed: ParsedPublicKey,
    n: String,
    e: String,
}

impl SigningKey {
    /// Creates a key for RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, section 3.3) from a PKCS
    /// #8 document (RFC 5958) in DER. Its key id is the JWK thumbprint of the public key.
    ///
    /// # Errors
    /// Fails if it is not an RSA key of 2048 to 8192 bits.
    pub fn rs256(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let key = KeyPair::from_pkcs8(pkcs8).map_err(|_| KeyError::Unusable)?;
        let verifying = verifying(key.public_key())?;
        Ok(Self::new(key, verifying))
    }
}

impl VerifyingKey {
    /// Creates a key for RSASSA-PKCS1-v1_5 with SHA-256 from modulus and exponent, as
    /// big-endian bytes.
    ///
    /// # Errors
    /// Fails if it is not an RSA key of 2048 to 8192 bits.
    pub fn rs256(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let components = RsaPublicKeyComponents { n, e };
        let parsed = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
        let parsed = parsed.map_err(|_| KeyError::Unusable)?;
        let (n, e) = (encode(n), encode(e));
        let canonical = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        Ok(Self::named_by_thumbprint(Rs256 { parsed, n, e }, &canonical))
    }
}

fn verifying(key: &PublicKey) -> Result<VerifyingKey, KeyError> {
    let components = RsaPublicKeyComponents::<Vec<u8>>::from(key);
    VerifyingKey::rs256(&components.n, &components.e)
}

impl Sign for KeyPair {
    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.public_modulus_len()];
        self.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature)
            .map_err(|_| KeyError::Unusable)?;
        Ok(signature)
    }
}

impl Verify for Rs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }

    fn name(&self) -> &'static str {
        "RS256"
    }

    fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(text, signature).is_ok()
    }

    fn jwk(&self) -> Option<(KeyAlgorithm, AlgorithmParameters)> {
        let parameters =
            RSAKeyParameters { key_type: RSAKeyType::RSA, n: self.n.clone(), e: self.e.clone() };
        Some((KeyAlgorithm::RS256, AlgorithmParameters::RSA(parameters)))
    }
}
