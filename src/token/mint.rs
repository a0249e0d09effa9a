//! Minting of tokens.

use std::fmt::{self, Write as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64ct::{Base64UrlUnpadded, Encoding};

use crate::account::AccountId;
use crate::clock::{ClockError, Timestamp};
use crate::random::{Entropy, RandomError};
use crate::secret::Secret;

use super::verifier::MAX_TOKEN_BYTES;
use super::{EMAIL_VERIFIED, GENERATION, KeyError, Token, TokenKeys, TokenOptions, TokenVerifier};

/// The room for the claims of each token: `sub`, two times, `jti`, the generation and
/// `email_verified`.
const ROOM_FOR_CLAIMS: usize = 248;

/// Mints the tokens of a service.
pub(crate) struct TokenMint {
    keys: TokenKeys,
    issuer: String,
    audience: String,
    /// The claims that all tokens share, as the beginning of their JSON.
    claims: String,
    lifetime: Duration,
    tells_email_verified: bool,
}

/// The account that a token is minted for.
pub(crate) struct Subject<'a> {
    pub(crate) account: &'a AccountId,
    /// The generation of its tokens, which is named only if it is not the first.
    pub(crate) generation: i64,
    pub(crate) is_email_verified: bool,
}

impl<'a> Subject<'a> {
    /// Creates the subject of an account that is new.
    pub(crate) const fn new(account: &'a AccountId) -> Self {
        Self { account, generation: 0, is_email_verified: false }
    }
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
        Ok(Self { keys, issuer, audience, claims, lifetime, tells_email_verified: false })
    }

    #[cfg(feature = "verification")]
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    #[cfg(feature = "verification")]
    pub(crate) fn audience(&self) -> &str {
        &self.audience
    }

    /// Returns whether issuer and audience are both the defaults, which do not distinguish
    /// deployments.
    #[cfg(feature = "verification")]
    pub(crate) fn is_default_deployment(&self) -> bool {
        self.issuer == crate::token::ISSUER && self.audience == crate::token::AUDIENCE
    }

    /// Sets whether tokens claim that their owner's address is verified.
    #[cfg(feature = "verification")]
    pub(crate) fn tell_email_verified(self, tells_email_verified: bool) -> Self {
        Self { tells_email_verified, ..self }
    }

    pub(crate) fn keys(&self) -> &TokenKeys {
        &self.keys
    }

    /// Returns a verifier for the tokens minted here.
    pub(crate) fn verifier(&self) -> TokenVerifier {
        TokenVerifier::new(self.keys.clone()).issuer(&*self.issuer).audience(&*self.audience)
    }

    /// Mints a token.
    pub(crate) fn mint(
        &self,
        subject: &Subject<'_>,
        now: Timestamp,
        draw: &mut Entropy,
        options: &TokenOptions,
    ) -> Result<Token, MintError> {
        let key = self.keys.signing().ok_or(KeyError::Unusable)?;
        let lifetime = options.lifetime.unwrap_or(self.lifetime);
        let (iat, exp) = (now.as_secs(), now.plus(lifetime)?.as_secs());
        if self.tells_email_verified && options.sets_email_verified {
            return Err(MintError::Reserved);
        }
        let Subject { account, generation, is_email_verified } = *subject;
        let jti = URL_SAFE_NO_PAD.encode(draw.take::<16>()?);
        // An id that a store has kept may be any text.
        let sub = serde_json::to_string(account.as_str()).map_err(|_| fmt::Error)?;
        // The claims of RFC 7519, section 4.1, except `nbf`.
        let (opening, own) = (&self.claims, &options.claims);
        let mut claims = String::with_capacity(opening.len() + own.len() + ROOM_FOR_CLAIMS);
        for part in [opening, r#","sub":"#, &sub, r#","jti":""#, &jti, "\"", own] {
            claims.push_str(part);
        }
        write!(claims, r#","iat":{iat},"exp":{exp}"#)?;
        if generation != 0 {
            write!(claims, r#","{GENERATION}":{generation}"#)?;
        }
        if self.tells_email_verified {
            write!(claims, r#","{EMAIL_VERIFIED}":{is_email_verified}"#)?;
        }
        claims.push('}');

        // Header and claims are no secret without the signature.
        let mut signed = String::with_capacity(key.header().len() + 1 + claims.len() * 4 / 3 + 3);
        signed.push_str(key.header());
        signed.push('.');
        URL_SAFE_NO_PAD.encode_string(&claims, &mut signed);
        let signature = Secret::new(key.sign(signed.as_bytes())?);
        let signature = Secret::new(Base64UrlUnpadded::encode_string(&signature));
        let length = signed.len() + 1 + signature.len();
        if length > MAX_TOKEN_BYTES {
            return Err(MintError::TooLong);
        }
        let mut token = Secret::new(String::with_capacity(length));
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
    #[error("the token's additional claims are too long")]
    TooLong,
    #[error("the claim email_verified is the service's own")]
    Reserved,
    #[error(transparent)]
    Format(#[from] fmt::Error),
}
