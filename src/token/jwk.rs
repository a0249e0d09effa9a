//! Keys as JWKs (RFC 7517).

use base64ct::{Base64UrlUnpadded, Encoding};
use jsonwebtoken::jwk::{CommonParameters, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::alg;
use super::key::{KeyError, SigningKey, VerifyingKey};

pub(super) fn encode(octets: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(octets)
}

pub(super) fn decode(text: &str) -> Result<Vec<u8>, KeyError> {
    Base64UrlUnpadded::decode_vec(text).map_err(|_| KeyError::Unusable)
}

/// The private members of a JWK: RFC 8037, section 2; RFC 7518, sections 6.2.2 and 6.4.1.
#[derive(Deserialize)]
pub(super) struct PrivateMembers {
    d: Option<Zeroizing<String>>,
    k: Option<Zeroizing<String>>,
}

impl PrivateMembers {
    /// Returns the private key of a key pair on a curve.
    pub(super) fn d(&self) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let octets = octets(self.d.as_ref())?;
        octets.as_slice().try_into().map(Zeroizing::new).map_err(|_| KeyError::Unusable)
    }

    /// Returns the secret of a symmetric key.
    pub(super) fn k(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        octets(self.k.as_ref())
    }
}

fn octets(member: Option<&Zeroizing<String>>) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    decode(member.ok_or(KeyError::Unusable)?).map(Zeroizing::new)
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
        let private: PrivateMembers = serde_json::from_str(json).map_err(|_| KeyError::Unusable)?;
        let forms = alg::ALL.iter().find(|forms| forms.algorithm == public.algorithm());
        let parse = forms.ok_or(KeyError::Unusable)?.private_jwk;
        let key = parse(&private)?.with_key_id(public.key_id())?;
        let is_its_half = key.verifying_key().to_jwk() == public.to_jwk();
        if is_its_half { Ok(key) } else { Err(KeyError::Unusable) }
    }
}

impl VerifyingKey {
    /// Returns the public key as a JWK, for signatures with its algorithm, or `None` for
    /// HS256: it has no public half, and the secret is never shown.
    pub fn to_jwk(&self) -> Option<Jwk> {
        let (key_algorithm, algorithm) = self.parameters()?;
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
        let parsed = alg::ALL.iter().find_map(|forms| (forms.jwk)(&jwk.algorithm));
        let key = parsed.ok_or(KeyError::Unusable)??;
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
