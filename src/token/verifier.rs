//! Judging a token: strictly, by the injected clock, in a fixed order.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Deserializer};

use crate::account::AccountId;
use crate::clock::{Clock, SystemClock, Timestamp};

use super::key::VerifyingKey;
use super::keys::TokenKeys;
use super::{AUDIENCE, ISSUER, TYPE};

/// The longest token that is looked at, in octets. One of ours, with an issuer and
/// an audience of a line each, has under a thousand.
const MAX_TOKEN_BYTES: usize = 4096;

/// The most that the clocks of issuer and verifier may be apart, in seconds: a token
/// that is used right after it was issued, on another instance, is not refused for the
/// edge of a second. Expiry has no such tolerance.
const SKEW: u64 = 2;
/// The longest leeway. Beyond it an expired token would live on.
pub(crate) const MAX_LEEWAY: Duration = Duration::from_mins(10);

/// Judges tokens. It needs no store, so another service can use it as well: with
/// the issuer's public keys, see [`TokenKeys::from_jwks`].
///
/// It is strict (RFC 8725): the algorithm is the key's and no other; `typ`, `kid`
/// and each of `iss`, `sub`, `aud`, `exp`, `iat` and `jti` is there and of its type;
/// a header parameter besides `typ`, `alg` and `kid` is refused, `crit` with it
/// (RFC 7515, section 4.1.11); base64url has one spelling; and time is the injected
/// clock's, without leeway.
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
    /// A verifier with these keys, for the issuer `signup` and the audience
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

    /// The `iss` that tokens must have.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = issuer.into();
        self
    }

    /// The `aud` that tokens must have, alone or among others.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = audience.into();
        self
    }

    /// Where the time comes from. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How far the clocks of issuer and verifier may be apart. Default: not at
    /// all, which suits one machine; a token from the future is accepted up to two
    /// seconds before its time in any case. Whole seconds count, and ten minutes are the
    /// most: a longer leeway counts as that.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway.min(MAX_LEEWAY);
        self
    }

    /// Judges a token.
    ///
    /// # Errors
    /// What was found first; it is for the log, and a client learns none of it.
    pub fn verify(&self, token: &str) -> Result<VerifiedToken, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let key = self.key(&decode(header)?)?;
        // Nothing of the claims is read before this.
        if !key.verifies(signed.as_bytes(), &decode(signature)?) {
            return Err(TokenError::Signature);
        }
        self.check_claims(&object(&decode(claims)?)?)
    }

    /// The key that the header names, if the header is as it must be.
    fn key(&self, header: &[u8]) -> Result<Arc<VerifyingKey>, TokenError> {
        let header: Header<'_> = object(header)?;
        if header.typ != TYPE {
            return Err(TokenError::Type);
        }
        let key = self.keys.verifying(&header.kid).ok_or(TokenError::UnknownKey)?;
        if header.alg == key.alg() { Ok(key) } else { Err(TokenError::Algorithm) }
    }

    fn check_claims(&self, claims: &Claims<'_>) -> Result<VerifiedToken, TokenError> {
        let now = Timestamp::read(&self.clock, Timestamp::MAX).map_err(|_| TokenError::Clock)?;
        let (now, leeway) = (now.as_secs().unsigned_abs(), self.leeway.as_secs());
        if claims.iss != self.issuer {
            return Err(TokenError::Issuer);
        }
        if !claims.aud.has(&self.audience) {
            return Err(TokenError::Audience);
        }
        // On or after `exp` it is no longer good (RFC 7519, section 4.1.4).
        if now >= claims.exp.saturating_add(leeway) {
            return Err(TokenError::Expired);
        }
        let begins = claims.iat.max(claims.nbf.unwrap_or(0));
        if begins > now.saturating_add(leeway.max(SKEW)) {
            return Err(TokenError::NotYetValid);
        }
        let account_id = claims.sub.parse().map_err(|_| TokenError::Subject)?;
        Ok(VerifiedToken {
            account_id,
            id: claims.jti.clone().into_owned(),
            issued_at: claims.iat,
            expires_at: claims.exp,
            generation: claims.generation.unwrap_or(0),
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

/// Without padding, white space or a bit that is not used.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    Base64UrlUnpadded::decode_vec(part).map_err(|_| TokenError::Malformed)
}

/// A JSON object. serde's derive would take an array of the values as well.
fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, TokenError> {
    if json.first() != Some(&b'{') {
        return Err(TokenError::Malformed);
    }
    serde_json::from_slice(json).map_err(|_| TokenError::Malformed)
}

/// All of a header. A key that is there twice is an error too.
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

/// What is looked at of the claims. A time is a whole number that is not negative.
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

/// A claim that may be absent, but not `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(deserializer).map(Some)
}

/// RFC 7519, section 4.1.3: a string, or a list of strings.
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

/// A token that has been judged good. Only [`TokenVerifier`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    account_id: AccountId,
    id: String,
    issued_at: u64,
    expires_at: u64,
    generation: u64,
}

impl VerifiedToken {
    /// Whose it is (`sub`).
    pub fn account_id(&self) -> &AccountId {
        &self.account_id
    }

    /// Its own id (`jti`).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When it was issued (`iat`), in seconds since 1970.
    pub fn issued_at(&self) -> u64 {
        self.issued_at
    }

    /// Returns the generation of its account's tokens that it was issued in
    /// (`signup_generation`, 0 where it is absent). One that the account has left is
    /// revoked; see [`Credentials::revoke_tokens`](crate::credentials::Credentials::revoke_tokens).
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// From when on it is no longer good (`exp`), in seconds since 1970.
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }
}

/// Why a token is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is longer than 4096 octets, and was not looked at.
    #[error("the token is too long")]
    TooLong,
    /// It is no compact JWS, or its JSON is not as it must be.
    #[error("the token is malformed")]
    Malformed,
    /// `typ` is another: it was made for another purpose.
    #[error("the token is of another type")]
    Type,
    /// There is no key of its `kid`.
    #[error("the token is of a key that is not known")]
    UnknownKey,
    /// Its `alg` is not the key's.
    #[error("the token's algorithm is not its key's")]
    Algorithm,
    /// The signature is not the key's.
    #[error("the token's signature is wrong")]
    Signature,
    /// `iss` is another.
    #[error("the token is of another issuer")]
    Issuer,
    /// `aud` does not name us.
    #[error("the token is for another audience")]
    Audience,
    /// `exp` has come.
    #[error("the token has expired")]
    Expired,
    /// `iat` or `nbf` is yet to come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `sub` is no account id.
    #[error("the token's subject is no account")]
    Subject,
    /// Our own clock can't be believed.
    #[error("the clock can't be believed")]
    Clock,
}
