//! Tokens: compact JWS (RFC 7515, section 7.1) with the claims of a JWT (RFC 7519).
//!
//! [`TokenKeys`] holds the keys: one signs, any number verify. [`TokenVerifier`] verifies
//! tokens strictly and needs no store.
//!
//! The types of the header and of JWKs come from jsonwebtoken. Its `encode` and `decode`
//! are not used: they go through a process-wide provider, panic if the host's tree has none
//! or two of them, and read the wall clock.

use crate::secret::Secret;

mod alg;
mod jwk;
mod key;
mod keys;
mod mint;
mod options;
#[cfg(feature = "pem")]
mod pem;
mod verifier;

pub use jsonwebtoken::Algorithm;
pub use jsonwebtoken::jwk::{Jwk, JwkSet};
pub use key::{KeyError, SigningKey, VerifyingKey};
pub use keys::TokenKeys;
pub(crate) use mint::{MintError, Subject, TokenMint};
pub use options::TokenOptions;
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
/// The claim whether the owner's address is verified (OpenID Connect Core, section 5.1), in
/// the tokens of a service that verifies addresses after the sign-up.
const EMAIL_VERIFIED: &str = "email_verified";

/// A signed token. It is a bearer secret: wiped when dropped, and revealed only by a named
/// method.
#[derive(Debug)]
#[must_use = "nobody else has it"]
pub struct Token(Secret<String>);

impl Token {
    /// Returns the compact JWS.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests;
