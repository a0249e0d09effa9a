//! Strict verification of tokens, by the injected clock and in a fixed order.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Deserializer};

use crate::account::AccountId;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::secret::Secret;

use super::key::VerifyingKey;
use super::keys::TokenKeys;
use super::{AUDIENCE, ISSUER, TYPE};

/// The longest token that is parsed, in bytes. A token of this crate, with an issuer and an
/// audience of a line each, has under a thousand.
pub(super) const MAX_TOKEN_BYTES: usize = 4096;

/// The clock difference of issuer and verifier that is tolerated for `iat` and `nbf`, in
/// seconds: a token that is used on another instance right after it was issued must not
/// fail at the edge of a second. Expiry has no such tolerance.
const SKEW: u64 = 2;
/// The longest leeway. With more, an expired token would live on.
pub(crate) const MAX_LEEWAY: Duration = Duration::from_mins(10);

/// Verifies tokens. It needs no store, so another service can use it with the issuer's
/// public keys, see [`TokenKeys::from_jwks`].
///
/// It is strict (RFC 8725). The algorithm is the key's and no other. `typ`, `kid` and each
/// of `iss`, `sub`, `aud`, `exp`, `iat` and `jti` are required and typed. Any header
/// parameter besides `typ`, `alg` and `kid` is rejected, including `crit` (RFC 7515,
/// section 4.1.11). Base64url has one spelling. Time is the injected clock's, without
/// leeway.
///
/// ```
/// use signup::token::{SigningKey, TokenKeys, TokenVerifier};
///
/// let keys = TokenKeys::new(SigningKey::ed25519(&[7; 32]));
/// let verifier = TokenVerifier::new(keys).issuer("signup").audience("dashboard");
/// assert!(verifier.verify("eyJhbGciOiJub25lIn0.e30.").is_err());
/// ```
#[derive(Clone)]
#[must_use]
pub struct TokenVerifier {
    keys: TokenKeys,
    clock: Arc<dyn Clock>,
    issuer: String,
    audience: String,
    leeway: Duration,
}

impl TokenVerifier {
    /// Creates a verifier with these keys, for the issuer `signup` and the audience
    /// `dashboard`, on the system's clock.
    pub fn new(keys: TokenKeys) -> Self {
        Self {
            keys,
            clock: Arc::new(SystemClock),
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            leeway: Duration::ZERO,
        }
    }

    /// Sets the required `iss`.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = issuer.into();
        self
    }

    /// Sets the required `aud`; a token may name others too.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = audience.into();
        self
    }

    /// Sets the clock. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets how far the clocks of issuer and verifier may differ, in whole seconds, at most
    /// ten minutes. Default: zero, which suits one machine. A token from the future is
    /// accepted up to two seconds early in any case.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway.min(MAX_LEEWAY);
        self
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// Returns the first problem found. It is meant for the log; a client must not learn
    /// it.
    pub fn verify(&self, token: &str) -> Result<VerifiedToken, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let key = self.key(&decode(header)?)?;
        // No claim is parsed before this check.
        if !key.verifies(signed.as_bytes(), &decode(signature)?) {
            return Err(TokenError::Signature);
        }
        self.check_claims(decode(claims)?)
    }

    /// Returns the key that a valid header names.
    fn key(&self, header: &[u8]) -> Result<Arc<VerifyingKey>, TokenError> {
        let header: Header<'_> = object(header)?;
        if header.typ != TYPE {
            return Err(TokenError::Type);
        }
        let key = self.keys.verifying(&header.kid).ok_or(TokenError::UnknownKey)?;
        if header.alg == key.alg() { Ok(key) } else { Err(TokenError::Algorithm) }
    }

    fn check_claims(&self, json: Vec<u8>) -> Result<VerifiedToken, TokenError> {
        let claims: Claims<'_> = object(&json)?;
        let now = Timestamp::read(&self.clock, Timestamp::MAX).map_err(|_| TokenError::Clock)?;
        let (now, leeway) = (now.as_secs().unsigned_abs(), self.leeway.as_secs());
        if claims.iss != self.issuer {
            return Err(TokenError::Issuer);
        }
        if !claims.aud.has(&self.audience) {
            return Err(TokenError::Audience);
        }
        // On or after `exp` it is no longer valid (RFC 7519, section 4.1.4).
        if now >= claims.exp.saturating_add(leeway) {
            return Err(TokenError::Expired);
        }
        let begins = claims.iat.max(claims.nbf.unwrap_or(0));
        if begins > now.saturating_add(leeway.max(SKEW)) {
            return Err(TokenError::NotYetValid);
        }
        Ok(VerifiedToken {
            account_id: claims.sub.parse().map_err(|_| TokenError::Subject)?,
            id: claims.jti.into_owned(),
            issued_at: claims.iat,
            expires_at: claims.exp,
            generation: claims.generation.unwrap_or(0),
            json: json.into(),
        })
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier")
            .field("keys", &self.keys)
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

/// Decodes base64url without padding, white space or unused bits.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    Base64UrlUnpadded::decode_vec(part).map_err(|_| TokenError::Malformed)
}

/// Parses a JSON object. serde's derive would also accept an array of the values.
fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, TokenError> {
    if json.first() != Some(&b'{') {
        return Err(TokenError::Malformed);
    }
    serde_json::from_slice(json).map_err(|_| TokenError::Malformed)
}

/// The whole header. A duplicate key is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    #[serde(borrow)]
    typ: Cow<'a, str>,
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    kid: Cow<'a, str>,
}

/// The claims that are checked. A time is a non-negative whole number.
#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    #[serde(borrow)]
    aud: Audience<'a>,
    #[serde(borrow)]
    jti: Cow<'a, str>,
    exp: u64,
    iat: u64,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<u64>,
    #[serde(default, deserialize_with = "present", rename = "signup_generation")]
    generation: Option<u64>,
}

/// Parses a claim that may be absent, but not `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(deserializer).map(Some)
}

/// The `aud` claim: a string or a list of strings (RFC 7519, section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience<'a> {
    #[serde(borrow)]
    One(Cow<'a, str>),
    #[serde(borrow)]
    Several(Vec<Cow<'a, str>>),
}

impl Audience<'_> {
    fn has(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Several(several) => several.iter().any(|one| one == audience),
        }
    }
}

/// A verified token. Only [`TokenVerifier`] creates one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    account_id: AccountId,
    id: String,
    issued_at: u64,
    expires_at: u64,
    generation: u64,
    /// All claims, in JSON. The host's claims may be personal, so `Debug` omits them.
    json: Secret<Vec<u8>>,
}

impl VerifiedToken {
    /// Returns the account that it was issued to (`sub`).
    pub fn account_id(&self) -> &AccountId {
        &self.account_id
    }

    /// Returns the token's id (`jti`).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns when it was issued (`iat`), in seconds since 1970.
    pub fn issued_at(&self) -> u64 {
        self.issued_at
    }

    /// Returns the generation of the account's tokens (`signup_generation`, 0 if absent). A
    /// token of an earlier generation than the account's is revoked; see
    /// [`Credentials::revoke_tokens`](crate::credentials::Credentials::revoke_tokens).
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns when it expires (`exp`), in seconds since 1970.
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// Returns whether the owner's address was verified when the token was issued
    /// (`email_verified`); `None` if the token has no such claim.
    pub fn email_verified(&self) -> Option<bool> {
        #[derive(Deserialize)]
        struct Verified {
            email_verified: bool,
        }
        self.claims::<Verified>().ok().map(|claims| claims.email_verified)
    }

    /// Deserializes the claims, for those that [`TokenOptions::claims`] added.
    ///
    /// # Errors
    /// Returns [`TokenError::Claims`] if they do not have the form of `T`.
    ///
    /// [`TokenOptions::claims`]: super::TokenOptions::claims
    pub fn claims<'a, T: Deserialize<'a>>(&'a self) -> Result<T, TokenError> {
        serde_json::from_slice(&self.json).map_err(|_| TokenError::Claims)
    }
}

/// The reason why a token is invalid.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The token is longer than 4096 bytes and was not parsed.
    #[error("the token is too long")]
    TooLong,
    /// The token is not a compact JWS, or its JSON is invalid.
    #[error("the token is malformed")]
    Malformed,
    /// The `typ` is another: the token was issued for another purpose.
    #[error("the token has another type")]
    Type,
    /// The `kid` is unknown.
    #[error("the token's key id is unknown")]
    UnknownKey,
    /// The `alg` does not match the key.
    #[error("the token's algorithm does not match its key")]
    Algorithm,
    /// The signature is invalid.
    #[error("the token's signature is invalid")]
    Signature,
    /// The `iss` is another.
    #[error("the token is from another issuer")]
    Issuer,
    /// The `aud` does not contain the audience.
    #[error("the token is for another audience")]
    Audience,
    /// The `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// The `iat` or `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The `sub` is not an account id.
    #[error("the token's subject is not an account id")]
    Subject,
    /// The additional claims are of another form, or set a claim of this crate's.
    #[error("the token's additional claims are invalid")]
    Claims,
    /// The wall clock is outside of the accepted range.
    #[error("the clock is outside of the accepted range")]
    Clock,
}

crate::issue::debug_by_text!(TokenError);
