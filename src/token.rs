//! Tokens: a compact JWS (RFC 7515, section 7.1) with the claims of a JWT.
//!
//! The types of the header are jsonwebtoken's. Its `encode` is not used: it goes
//! through a process-wide provider, and panics where the host's tree has none
//! or two of them.

use std::fmt;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::Signer as _;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, Header};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::account::AccountId;
use crate::clock::{ClockError, Timestamp};
use crate::random::{Draw, RandomError};

/// The least octets of an HS256 secret: as many as the digest's (RFC 7518,
/// section 3.2).
const MIN_SECRET_BYTES: usize = 32;
/// The longest key id.
const MAX_KEY_ID_BYTES: usize = 64;

/// A key that signs tokens, and its key id.
///
/// ```
/// use signup::token::SigningKey;
///
/// let key = SigningKey::hs256(b"0123456789abcdef0123456789abcdef").unwrap();
/// assert!(key.with_key_id("2026-11").is_ok());
/// assert!(SigningKey::hs256(b"too short").is_err());
/// ```
pub struct SigningKey {
    key_id: String,
    secret: Secret,
}

/// Prepared once, so that a signature parses no key.
enum Secret {
    Hs256(Box<Hmac<Sha256>>),
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl SigningKey {
    /// A key for HMAC with SHA-256. Its key id is made from the secret by a
    /// one-way function, so that another secret has another one.
    ///
    /// # Errors
    /// The secret has fewer than 32 octets.
    pub fn hs256(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeyError::ShortSecret { octets: secret.len() });
        }
        let hmac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| KeyError::Unusable)?;
        let name = hmac.clone().chain_update(b"signup key id").finalize().into_bytes();
        let secret = Secret::Hs256(Box::new(hmac));
        Ok(Self { key_id: short_name(&name), secret })
    }

    /// A key for Ed25519 (RFC 8037), from its 32-octet seed. Its key id is the
    /// JWK thumbprint (RFC 7638) of the public key.
    pub fn ed25519(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let x = Base64UrlUnpadded::encode_string(key.verifying_key().as_bytes());
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let thumbprint = Sha256::digest(jwk);
        let secret = Secret::Ed25519(Box::new(key));
        Self { key_id: Base64UrlUnpadded::encode_string(&thumbprint), secret }
    }

    /// The same key under a name of the host's.
    ///
    /// # Errors
    /// The name is empty, longer than 64 octets, or not printable ASCII.
    pub fn with_key_id(mut self, key_id: &str) -> Result<Self, KeyError> {
        let printable = key_id.bytes().all(|byte| byte.is_ascii_graphic());
        if key_id.is_empty() || key_id.len() > MAX_KEY_ID_BYTES || !printable {
            return Err(KeyError::BadKeyId);
        }
        key_id.clone_into(&mut self.key_id);
        Ok(self)
    }

    /// The key id (`kid`).
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The algorithm that the key is for, and no other.
    pub fn algorithm(&self) -> Algorithm {
        match self.secret {
            Secret::Hs256(_) => Algorithm::HS256,
            Secret::Ed25519(_) => Algorithm::EdDSA,
        }
    }

    /// Appends the signature of `text` to it, in base64url behind a dot.
    fn sign_onto(&self, text: &mut String) {
        match &self.secret {
            Secret::Hs256(hmac) => {
                let tag = Hmac::clone(hmac).chain_update(text.as_bytes()).finalize();
                push_part(text, &tag.into_bytes());
            }
            Secret::Ed25519(key) => {
                let signature = key.sign(text.as_bytes());
                push_part(text, &signature.to_bytes());
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("key_id", &self.key_id)
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

/// The first 64 bits of a digest, as text.
fn short_name(digest: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(digest.get(..8).unwrap_or(digest))
}

/// Why a key can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// An HS256 secret of fewer than 32 octets.
    #[error("the JWT secret has {octets} bytes: it needs 32 or more")]
    ShortSecret {
        /// How many it has.
        octets: usize,
    },
    /// A key id that is empty, longer than 64 octets or not printable ASCII.
    #[error("a key id is 1 to 64 printable ASCII characters")]
    BadKeyId,
    /// The key does not suit its algorithm.
    #[error("the key can't be used")]
    Unusable,
}

/// A signed token. It is a bearer's secret: wiped when dropped, and opened by name.
pub struct Token(Zeroizing<String>);

impl Token {
    /// The compact JWS.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(_)")
    }
}

/// Mints the tokens of a service.
pub(crate) struct TokenMint {
    key: SigningKey,
    /// The header in base64url: it is the same for all tokens of a key.
    header: String,
    /// The claims that are the same for all tokens, as the opening of their JSON.
    claims: String,
    lifetime: Duration,
}

impl TokenMint {
    pub(crate) fn new(
        key: SigningKey,
        issuer: &str,
        audience: &str,
        lifetime: Duration,
    ) -> serde_json::Result<Self> {
        let mut header = Header::new(key.algorithm());
        header.kid = Some(key.key_id().to_owned());
        let header = Base64UrlUnpadded::encode_string(&serde_json::to_vec(&header)?);
        let (iss, aud) = (serde_json::to_string(issuer)?, serde_json::to_string(audience)?);
        let claims = format!(r#"{{"iss":{iss},"aud":{aud}"#);
        Ok(Self { key, header, claims, lifetime })
    }

    pub(crate) fn mint(
        &self,
        account: &AccountId,
        now: Timestamp,
        draw: &mut Draw,
    ) -> Result<Token, TokenError> {
        let (iat, exp) = (now.as_secs(), now.plus(self.lifetime)?.as_secs());
        let jti = Base64UrlUnpadded::encode_string(&draw.take::<16>()?);
        // The claims of RFC 7519, section 4.1, all but `nbf`. None of these needs
        // an escape.
        let opening = &self.claims;
        let claims =
            format!(r#"{opening},"sub":"{account}","iat":{iat},"exp":{exp},"jti":"{jti}"}}"#);
        let mut token = Zeroizing::new(String::with_capacity(self.room_for(claims.len())));
        token.push_str(&self.header);
        push_part(&mut token, claims.as_bytes());
        self.key.sign_onto(&mut token);
        Ok(Token(token))
    }

    /// The octets of a token, with the longest signature: two dots, and four
    /// characters for three octets.
    fn room_for(&self, claims: usize) -> usize {
        const LONGEST_SIGNATURE: usize = 64;
        self.header.len() + 2 + (claims + LONGEST_SIGNATURE).div_ceil(3) * 4 + 4
    }
}

fn push_part(token: &mut String, part: &[u8]) {
    let part = Zeroizing::new(Base64UrlUnpadded::encode_string(part));
    token.push('.');
    token.push_str(&part);
}

/// Why no token could be minted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TokenError {
    #[error(transparent)]
    Clock(#[from] ClockError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::random::SeededRandom;
    use serde_json::{Value, json};

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn token(key: SigningKey) -> (Token, String, [Value; 2]) {
        let mint = TokenMint::new(key, "signup", "dashboard", Duration::from_hours(24));
        let now = Timestamp::read(&ManualClock::at_unix(1_700_000_000), Timestamp::MAX).unwrap();
        let mut draw = Draw::from(&SeededRandom::new(1)).unwrap();
        let account = "acc_x".parse().unwrap();
        let token = mint.unwrap().mint(&account, now, &mut draw).unwrap();
        let (signed, signature) = token.reveal().rsplit_once('.').unwrap();
        let parts = signed.split_once('.').unwrap();
        let json = [parts.0, parts.1].map(|part| {
            let decoded = Base64UrlUnpadded::decode_vec(part).unwrap();
            serde_json::from_slice(&decoded).unwrap()
        });
        let signature = signature.to_owned();
        (token, signature, json)
    }

    #[test]
    fn header_and_claims_are_the_documented_ones() {
        let (_, _, [header, claims]) =
            token(SigningKey::hs256(SECRET).unwrap().with_key_id("k1").unwrap());
        assert_eq!(header, json!({"typ": "JWT", "alg": "HS256", "kid": "k1"}));
        assert_eq!(claims["jti"].as_str().map(str::len), Some(22));
        let mut claims = claims;
        claims.as_object_mut().unwrap().remove("jti");
        let expected = json!({
            "iss": "signup", "sub": "acc_x", "aud": "dashboard",
            "iat": 1_700_000_000, "exp": 1_700_086_400,
        });
        assert_eq!(claims, expected);
    }

    #[test]
    fn eddsa_signs_what_its_public_key_verifies() {
        let seed = [7; 32];
        let (token, signature, [header, _]) = token(SigningKey::ed25519(&seed));
        assert_eq!(header["alg"], "EdDSA");
        let signature = Base64UrlUnpadded::decode_vec(&signature).unwrap();
        let signature = ed25519_dalek::Signature::from_slice(&signature).unwrap();
        let public = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key();
        let signed = token.reveal().rsplit_once('.').unwrap().0;
        assert!(public.verify_strict(signed.as_bytes(), &signature).is_ok());
    }

    #[test]
    fn the_thumbprint_of_rfc_8037_appendix_a_3() {
        let seed = Base64UrlUnpadded::decode_vec("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
        let key = SigningKey::ed25519(&seed.unwrap().try_into().unwrap());
        assert_eq!(key.key_id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn the_memory_of_a_token_never_grows() {
        for key in [SigningKey::hs256(SECRET).unwrap(), SigningKey::ed25519(&[1; 32])] {
            let (token, ..) = token(key);
            assert!(token.0.capacity() - token.0.len() < 80, "{}", token.0.capacity());
        }
    }

    #[test]
    fn w40_a_short_secret_and_a_bad_key_id_are_refused() {
        assert_eq!(SigningKey::hs256(&[1; 31]).err(), Some(KeyError::ShortSecret { octets: 31 }));
        for bad in ["", "a b", "a\n", "\u{e9}", &"k".repeat(65)] {
            let key = SigningKey::ed25519(&[1; 32]).with_key_id(bad);
            assert_eq!(key.err(), Some(KeyError::BadKeyId));
        }
    }

    #[test]
    fn the_prepared_keys_are_wiped_when_they_are_dropped() {
        fn is_wiped<T: zeroize::ZeroizeOnDrop>() {}
        is_wiped::<Sha256>();
        is_wiped::<ed25519_dalek::SigningKey>();
        // It is made of the states of its digest, and has no mark of its own.
        assert!(std::mem::needs_drop::<Hmac<Sha256>>());
    }

    #[test]
    fn another_secret_has_another_key_id_and_shows_nothing() {
        let one = SigningKey::hs256(SECRET).unwrap();
        let other = SigningKey::hs256(&[2; 32]).unwrap();
        assert_ne!(one.key_id(), other.key_id());
        assert!(!format!("{one:?}").contains("0123456789abcdef"));
    }
}
