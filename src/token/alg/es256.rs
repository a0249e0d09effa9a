//! ECDSA on P-256 with SHA-256 (RFC 7518, section 3.4).

use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, EllipticCurveKeyParameters, EllipticCurveKeyType,
    KeyAlgorithm,
};
use p256::ecdsa::signature::{Signer, Verifier as _};
use p256::ecdsa::{self, Signature};

use super::{KeyFormats, Sign, Verify};
use crate::token::jwk::{decode, encode};
use crate::token::key::{KeyError, SigningKey, VerifyingKey};

pub(super) const FORMS: KeyFormats = KeyFormats {
    algorithm: Algorithm::ES256,
    jwk: |parameters| match parameters {
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Some(from_coordinates(&key.x, &key.y))
        }
        _ => None,
    },
    private_jwk: |members| SigningKey::es256(&*members.d()?),
    #[cfg(feature = "pem")]
    der: Some(super::DerFormats {
        // RFC 5480, section 2.1.1.
        oid: pkcs8::ObjectIdentifier::new_unwrap("1.2.840.10045.2.1"),
        private: |document| {
            let key = <p256::SecretKey as pkcs8::DecodePrivateKey>::from_pkcs8_der(document);
            SigningKey::es256(&key.map_err(|_| KeyError::Unusable)?.to_bytes().into())
        },
        public: |document| {
            use pkcs8::DecodePublicKey as _;
            let key = p256::PublicKey::from_public_key_der(document);
            VerifyingKey::es256(&key.map_err(|_| KeyError::Unusable)?.to_sec1_bytes())
        },
    }),
};

/// A public key, and its coordinates in base64url.
struct Es256 {
    key: ecdsa::VerifyingKey,
    x: String,
    y: String,
}

impl SigningKey {
    /// Creates a key for ECDSA on P-256 (RFC 7518, section 3.4) from its 32-byte secret
    /// scalar. Its key id is the JWK thumbprint of the public key.
    ///
    /// # Errors
    /// Fails if the scalar is zero or not below the order of the curve.
    pub fn es256(scalar: &[u8; 32]) -> Result<Self, KeyError> {
        let key = ecdsa::SigningKey::from_slice(scalar).map_err(|_| KeyError::Unusable)?;
        let verifying = verifying(*key.verifying_key())?;
        Ok(Self::new(key, verifying))
    }
}

impl VerifyingKey {
    /// Creates a key for ECDSA on P-256 from its public point (SEC 1, section 2.3.3),
    /// compressed or not.
    ///
    /// # Errors
    /// Fails if it is not a point of the curve.
    pub fn es256(sec1: &[u8]) -> Result<Self, KeyError> {
        verifying(ecdsa::VerifyingKey::from_sec1_bytes(sec1).map_err(|_| KeyError::Unusable)?)
    }
}

fn from_coordinates(x: &str, y: &str) -> Result<VerifyingKey, KeyError> {
    let (x, y) = (decode(x)?, decode(y)?);
    if (x.len(), y.len()) != (32, 32) {
        return Err(KeyError::Unusable);
    }
    // An uncompressed point (SEC 1, section 2.3.3).
    VerifyingKey::es256(&[&[4], &*x, &*y].concat())
}

fn verifying(key: ecdsa::VerifyingKey) -> Result<VerifyingKey, KeyError> {
    let point = key.to_sec1_point(false);
    let (Some(x), Some(y)) = (point.x(), point.y()) else {
        return Err(KeyError::Unusable);
    };
    let (x, y) = (encode(x), encode(y));
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    Ok(VerifyingKey::named_by_thumbprint(Es256 { key, x, y }, &canonical))
}

impl Sign for ecdsa::SigningKey {
    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature: Signature = Signer::sign(self, text);
        Ok(signature.to_bytes().to_vec())
    }
}

impl Verify for Es256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }

    fn name(&self) -> &'static str {
        "ES256"
    }

    fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify(text, &signature).is_ok())
    }

    fn jwk(&self) -> Option<(KeyAlgorithm, AlgorithmParameters)> {
        let parameters = EllipticCurveKeyParameters {
            key_type: EllipticCurveKeyType::EC,
            curve: EllipticCurve::P256,
            x: self.x.clone(),
            y: self.y.clone(),
        };
        Some((KeyAlgorithm::ES256, AlgorithmParameters::EllipticCurve(parameters)))
    }
}
