//! Tokens: compact JWS (RFC 7515, section 7.1) with the claims of a JWT (RFC 7519).
//!
//! [`TokenKeys`] holds the keys: one signs, any number verify. [`TokenVerifier`] verifies
//! tokens strictly and needs no store.
//!
//! The types of the header and of JWKs are those of jsonwebtoken. Its `encode` and `decode`
//! are not used: they go through a process-wide provider, panic if the host's tree has none
//! or two of them, and read the wall clock.

use std::fmt;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use zeroize::Zeroizing;

use crate::account::AccountId;
use crate::clock::{ClockError, Timestamp};
use crate::random::{Entropy, RandomError};

mod jwk;
mod key;
mod keys;
#[cfg(feature = "pem")]
mod pem;
mod verifier;

pub use jsonwebtoken::Algorithm;
pub use jsonwebtoken::jwk::{Jwk, JwkSet};
pub use key::{KeyError, SigningKey, VerifyingKey};
pub use keys::TokenKeys;
pub(crate) use verifier::MAX_LEEWAY;
pub use verifier::{TokenError, TokenVerifier, VerifiedToken};

/// The default `iss` of tokens.
pub(crate) const ISSUER: &str = "signup";
/// The default `aud` of tokens.
pub(crate) const AUDIENCE: &str = "dashboard";
/// The `typ` of every token (RFC 7519, section 5.1).
const TYPE: &str = "JWT";

/// The claim with the generation of the account's tokens: a private claim, hence its prefix
/// (RFC 7519, section 4.3).
const GENERATION: &str = "signup_generation";

/// A signed token. It is a bearer secret: wiped when dropped, and revealed only by a named
/// method.
#[must_use = "nobody else has it"]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Returns the compact JWS.
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
    keys: TokenKeys,
    issuer: String,
    audience: String,
    /// The claims that all tokens share, as the beginning of their JSON.
    claims: String,
    lifetime: Duration,
}

impl TokenMint {
    pub(crate) fn new(
        keys: TokenKeys,
        issuer: String,
        audience: String,
        lifetime: Duration,
    ) -> serde_json::Result<Self> {
        let (iss, aud) = (serde_json::to_string(&issuer)?, serde_json::to_string(&audience)?);
        let claims = format!(r#"{{"iss":{iss},"aud":{aud}"#);
        Ok(Self { keys, issuer, audience, claims, lifetime })
    }

    pub(crate) fn keys(&self) -> &TokenKeys {
        &self.keys
    }

    /// Returns a verifier for the tokens minted here.
    pub(crate) fn verifier(&self) -> TokenVerifier {
        TokenVerifier::new(self.keys.clone()).issuer(&*self.issuer).audience(&*self.audience)
    }

    /// Mints a token of this generation, which is named only if it is not the first.
    pub(crate) fn mint(
        &self,
        account: &AccountId,
        generation: i64,
        now: Timestamp,
        draw: &mut Entropy,
    ) -> Result<Token, MintError> {
        let key = self.keys.signing().ok_or(KeyError::Unusable)?;
        let (iat, exp) = (now.as_secs(), now.plus(self.lifetime)?.as_secs());
        let jti = Base64UrlUnpadded::encode_string(&draw.take::<16>()?);
        // The claims of RFC 7519, section 4.1, except `nbf`. None of them needs an escape.
        let opening = &self.claims;
        let generation = match generation {
            0 => String::new(),
            number => format!(r#","{GENERATION}":{number}"#),
        };
        let claims = format!(
            r#"{opening},"sub":"{account}","iat":{iat},"exp":{exp},"jti":"{jti}"{generation}}}"#
        );
        let signed = [key.header(), &Base64UrlUnpadded::encode_string(claims.as_bytes())].join(".");
        let signature = Zeroizing::new(key.sign(signed.as_bytes())?);
        let signature = Zeroizing::new(Base64UrlUnpadded::encode_string(&signature));
        // The signed part is no secret without its signature.
        let mut token = Zeroizing::new(String::with_capacity(signed.len() + 1 + signature.len()));
        for part in [&signed, ".", &signature] {
            token.push_str(part);
        }
        Ok(Token(token))
    }
}

/// The reason why no token could be minted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum MintError {
    #[error(transparent)]
    Clock(#[from] ClockError),
    #[error(transparent)]
    Random(#[from] RandomError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

#[cfg(test)]
mod tests;
