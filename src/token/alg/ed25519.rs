//! EdDSA on Ed25519 (RFC 8037, section 3.1).

use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, KeyAlgorithm, OctetKeyPairParameters, OctetKeyPairType,
};

use super::{KeyFormats, Sign, Verify};
use crate::token::jwk::{decode, encode};
use crate::token::key::{KeyError, SigningKey, VerifyingKey};

pub(super) const FORMS: KeyFormats = KeyFormats {
    algorithm: Algorithm::EdDSA,
    jwk: |parameters| match parameters {
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            let public = decode(&key.x).and_then(|x| x.try_into().map_err(|_| KeyError::Unusable));
            Some(public.and_then(|public| VerifyingKey::ed25519(&public)))
        }
        _ => None,
    },
    private_jwk: |members| Ok(SigningKey::ed25519(&*members.d()?)),
    #[cfg(feature = "pem")]
    der: Some(der::FORM),
};

impl SigningKey {
    /// Creates a key for Ed25519 (RFC 8037) from its 32-byte seed. Its key id is the JWK
    /// thumbprint (RFC 7638) of the public key.
    pub fn ed25519(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let verifying = verifying(key.verifying_key());
        Self::new(key, verifying)
    }
}

impl VerifyingKey {
    /// Creates a key for Ed25519 from its 32-byte public key.
    ///
    /// # Errors
    /// Fails if it is not a point of the curve, or one of small order, for which signatures
    /// mean nothing.
    pub fn ed25519(public: &[u8; 32]) -> Result<Self, KeyError> {
        match ed25519_dalek::VerifyingKey::from_bytes(public) {
            Ok(key) if !key.is_weak() => Ok(verifying(key)),
            _ => Err(KeyError::Unusable),
        }
    }
}

fn verifying(key: ed25519_dalek::VerifyingKey) -> VerifyingKey {
    let x = encode(key.as_bytes());
    VerifyingKey::named_by_thumbprint(key, &format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#))
}

impl Sign for ed25519_dalek::SigningKey {
    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(ed25519_dalek::Signer::sign(self, text).to_bytes().to_vec())
    }
}

impl Verify for ed25519_dalek::VerifyingKey {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }

    fn name(&self) -> &'static str {
        "EdDSA"
    }

    fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        // Strict: no signature of small order, and no other encoding of the same.
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.verify_strict(text, &signature).is_ok())
    }

    fn jwk(&self) -> Option<(KeyAlgorithm, AlgorithmParameters)> {
        let parameters = OctetKeyPairParameters {
            key_type: OctetKeyPairType::OctetKeyPair,
            curve: EllipticCurve::Ed25519,
            x: encode(self.as_bytes()),
        };
        Some((KeyAlgorithm::EdDSA, AlgorithmParameters::OctetKeyPair(parameters)))
    }
}

#[cfg(feature = "pem")]
mod der {
    use pkcs8::der::Decode as _;
    use pkcs8::der::asn1::OctetStringRef;
    use pkcs8::spki::SubjectPublicKeyInfoRef;
    use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};

    use super::{KeyError, SigningKey, VerifyingKey};
    use crate::token::alg::DerFormats;

    pub(super) const FORM: DerFormats = DerFormats {
        // RFC 8410, section 3.
        oid: ObjectIdentifier::new_unwrap("1.3.101.112"),
        private,
        public,
    };

    fn private(document: &[u8]) -> Result<SigningKey, KeyError> {
        let key = PrivateKeyInfoRef::try_from(document).map_err(|_| KeyError::Unusable)?;
        // An octet string in an octet string (RFC 8410, section 7).
        let seed = <&OctetStringRef>::from_der(key.private_key.as_bytes());
        let seed = seed.map_err(|_| KeyError::Unusable)?.as_bytes().try_into();
        Ok(SigningKey::ed25519(seed.map_err(|_| KeyError::Unusable)?))
    }

    fn public(document: &[u8]) -> Result<VerifyingKey, KeyError> {
        let key = SubjectPublicKeyInfoRef::try_from(document).map_err(|_| KeyError::Unusable)?;
        let octets = key.subject_public_key.as_bytes().ok_or(KeyError::Unusable)?;
        VerifyingKey::ed25519(octets.try_into().map_err(|_| KeyError::Unusable)?)
    }
}
