//! Public keys as JWKs (RFC 7517).

use base64ct::{Base64UrlUnpadded, Encoding};
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations,
    OctetKeyPairParameters, OctetKeyPairType, PublicKeyUse,
};
#[cfg(feature = "es256")]
use jsonwebtoken::jwk::{EllipticCurveKeyParameters, EllipticCurveKeyType};
#[cfg(feature = "rs256")]
use jsonwebtoken::jwk::{RSAKeyParameters, RSAKeyType};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::key::{KeyError, Public, SigningKey, VerifyingKey};

fn encode(octets: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(octets)
}

fn decode(text: &str) -> Result<Vec<u8>, KeyError> {
    Base64UrlUnpadded::decode_vec(text).map_err(|_| KeyError::Unusable)
}

/// The members of a JWK besides the public key: RFC 8037, section 2; RFC 7518, sections
/// 6.2.2 and 6.4.1.
#[derive(Deserialize)]
struct Private {
    d: Option<String>,
    k: Option<String>,
}

impl SigningKey {
    /// Parses a private JWK in JSON: Ed25519; P-256 with its feature; and a symmetric key
    /// (`oct`) as HS256. An RSA key comes from PKCS #8. Without a `kid` it gets the key id
    /// of its thumbprint. The caller wipes `json`.
    ///
    /// # Errors
    /// Returns a [`KeyError`] for a key of another kind, use or algorithm, and if the
    /// public half does not match the private one.
    ///
    /// ```
    /// use signup::token::SigningKey;
    ///
    /// let key = SigningKey::from_jwk(
    ///     r#"{"kty":"OKP","crv":"Ed25519","kid":"2026",
    ///         "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    ///         "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    /// )?;
    /// assert_eq!(key.key_id(), "2026");
    /// # Ok::<(), signup::token::KeyError>(())
    /// ```
    pub fn from_jwk(json: &str) -> Result<Self, KeyError> {
        let mut jwk: Jwk = serde_json::from_str(json).map_err(|_| KeyError::Unusable)?;
        if let Some(operations) = jwk.common.key_operations.take()
            && !operations.contains(&KeyOperations::Sign)
        {
            return Err(KeyError::Unusable);
        }
        let public = VerifyingKey::from_jwk(&jwk)?;
        let Private { d, k } = serde_json::from_str(json).map_err(|_| KeyError::Unusable)?;
        let (d, k) = (d.map(Zeroizing::new), k.map(Zeroizing::new));
        let octets = |text: Option<Zeroizing<String>>| {
            decode(&text.ok_or(KeyError::Unusable)?).map(Zeroizing::new)
        };
        let scalar = |octets: Zeroizing<Vec<u8>>| -> Result<Zeroizing<[u8; 32]>, KeyError> {
            octets.as_slice().try_into().map(Zeroizing::new).map_err(|_| KeyError::Unusable)
        };
        let key = match public.algorithm() {
            Algorithm::HS256 => Self::hs256(&octets(k)?)?,
            Algorithm::EdDSA => Self::ed25519(&*scalar(octets(d)?)?),
            #[cfg(feature = "es256")]
            Algorithm::ES256 => Self::es256(&*scalar(octets(d)?)?)?,
            _ => return Err(KeyError::Unusable),
        };
        let key = key.with_key_id(public.key_id())?;
        let is_its_half = key.verifying_key().to_jwk() == public.to_jwk();
        if is_its_half { Ok(key) } else { Err(KeyError::Unusable) }
    }
}

impl VerifyingKey {
    /// Returns the public key as a JWK, for signatures with its algorithm, or `None` for
    /// HS256: it has no public half, and the secret is never shown.
    pub fn to_jwk(&self) -> Option<Jwk> {
        let (key_algorithm, algorithm) = match &self.public {
            Public::Hs256(_) => return None,
            Public::Ed25519(key) => {
                let parameters = OctetKeyPairParameters {
                    key_type: OctetKeyPairType::OctetKeyPair,
                    curve: EllipticCurve::Ed25519,
                    x: encode(key.as_bytes()),
                };
                (KeyAlgorithm::EdDSA, AlgorithmParameters::OctetKeyPair(parameters))
            }
            #[cfg(feature = "es256")]
            Public::Es256(key) => {
                let (x, y) = coordinates(key);
                let parameters = EllipticCurveKeyParameters {
                    key_type: EllipticCurveKeyType::EC,
                    curve: EllipticCurve::P256,
                    x,
                    y,
                };
                (KeyAlgorithm::ES256, AlgorithmParameters::EllipticCurve(parameters))
            }
            #[cfg(feature = "rs256")]
            Public::Rs256(rsa) => {
                let parameters = RSAKeyParameters {
                    key_type: RSAKeyType::RSA,
                    n: encode(&rsa.n),
                    e: encode(&rsa.e),
                };
                (KeyAlgorithm::RS256, AlgorithmParameters::RSA(parameters))
            }
        };
        let common = CommonParameters {
            public_key_use: Some(PublicKeyUse::Signature),
            key_algorithm: Some(key_algorithm),
            key_id: Some(self.key_id().to_owned()),
            ..CommonParameters::default()
        };
        Some(Jwk { common, algorithm })
    }

    /// Parses a JWK: Ed25519; P-256 and RSA with their features; and a symmetric key
    /// (`oct`) as HS256. Without a `kid` it gets the key id of its thumbprint.
    ///
    /// # Errors
    /// Returns a [`KeyError`] for a key of another kind, use or algorithm.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, KeyError> {
        let common = &jwk.common;
        let signs = common
            .public_key_use
            .as_ref()
            .is_none_or(|key_use| *key_use == PublicKeyUse::Signature);
        // RFC 7517, section 4.3: if operations are named, `verify` must be among them.
        let verifies = common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        let key = match &jwk.algorithm {
            AlgorithmParameters::OctetKey(parameters) => Self::hs256(&decode(&parameters.value)?)?,
            AlgorithmParameters::OctetKeyPair(parameters)
                if parameters.curve == EllipticCurve::Ed25519 =>
            {
                let x = decode(&parameters.x)?;
                Self::ed25519(&x.try_into().map_err(|_| KeyError::Unusable)?)?
            }
            #[cfg(feature = "es256")]
            AlgorithmParameters::EllipticCurve(parameters)
                if parameters.curve == EllipticCurve::P256 =>
            {
                let (x, y) = (decode(&parameters.x)?, decode(&parameters.y)?);
                if (x.len(), y.len()) != (32, 32) {
                    return Err(KeyError::Unusable);
                }
                // An uncompressed point (SEC 1, section 2.3.3).
                Self::es256(&[&[4], &*x, &*y].concat())?
            }
            #[cfg(feature = "rs256")]
            AlgorithmParameters::RSA(parameters) => {
                Self::rs256(&decode(&parameters.n)?, &decode(&parameters.e)?)?
            }
            _ => return Err(KeyError::Unusable),
        };
        let named = |algorithm: &KeyAlgorithm| algorithm.to_string() == key.alg();
        if !signs || !verifies || !common.key_algorithm.as_ref().is_none_or(named) {
            return Err(KeyError::Unusable);
        }
        match &common.key_id {
            Some(key_id) => key.with_key_id(key_id),
            None => Ok(key),
        }
    }
}

impl Public {
    /// Returns the members that make the thumbprint, in their order (RFC 7638, section 3;
    /// RFC 8037, section 2), without the secret of a symmetric key.
    pub(super) fn canonical_jwk(&self) -> String {
        match self {
            Self::Hs256(_) => String::new(),
            Self::Ed25519(key) => {
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(key.as_bytes()))
            }
            #[cfg(feature = "es256")]
            Self::Es256(key) => {
                let (x, y) = coordinates(key);
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
            #[cfg(feature = "rs256")]
            Self::Rs256(rsa) => {
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(&rsa.e), encode(&rsa.n))
            }
        }
    }
}

#[cfg(feature = "es256")]
fn coordinates(key: &p256::ecdsa::VerifyingKey) -> (String, String) {
    let point = key.to_sec1_point(false);
    let coordinate = |octets: Option<&_>| {
        octets.map(|octets: &p256::FieldBytes| encode(octets)).unwrap_or_default()
    };
    (coordinate(point.x()), coordinate(point.y()))
}
