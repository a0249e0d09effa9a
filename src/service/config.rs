//! The settings that can't work.

use std::time::Duration;

use crate::account::Plan;
use crate::hash::PoolError;
use crate::issue::InvalidValue;
use crate::random::RandomError;
use crate::token::KeyError;

/// The reason why a service can't be built.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Neither `jwt_secret` nor `token_keys` was called, or these keys can only verify.
    #[error("missing signing key: call jwt_secret or token_keys")]
    NoSigningKey,
    /// The key is unusable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Issuer or audience is empty.
    #[error("empty token issuer or audience")]
    NoIssuerOrAudience,
    /// Tokens would be born expired, or live for ever.
    #[error("invalid token lifetime: needs one second to a hundred years")]
    TokenLifetime,
    /// Expired tokens would live on.
    #[error("excessive token leeway {0:?}: at most ten minutes")]
    TokenLeeway(Duration),
    /// The initial plan is not one of the plans.
    #[error("initial plan `{0}` is not among the plans: add it to plans")]
    InitialPlan(Plan),
    /// A plan has an invalid name, see [`Plan`].
    #[error("invalid plan `{plan}`: {source}")]
    Plan {
        /// The plan.
        plan: Plan,
        /// The form of a plan's name.
        source: InvalidValue,
    },
    /// A policy declares this field, which it could never read.
    #[error(
        "invalid policy field `{0}`: it must not be empty, nor email, password or name, which \
         every policy is given"
    )]
    PolicyField(&'static str),
    /// A policy would refuse every request.
    #[error("a policy would refuse every request")]
    Policy(#[source] InvalidValue),
    /// Issuer or audience is too long for a token.
    #[error("long token issuer or audience: at most 255 bytes")]
    LongIssuerOrAudience,
    /// Idempotency keys are required, but retries are off.
    #[error("missing replay secret: require_idempotency_key needs retry_safe")]
    NoReplaySecret,
    /// Idempotency keys are required, but a sign-up that verifies its address first has none:
    /// its ticket does the same.
    #[cfg(feature = "verification")]
    #[error("require_idempotency_key can't be combined with verify_first")]
    KeyOfPendingSignup,
    /// Codes would expire before they are read, or be good for too long.
    #[cfg(feature = "verification")]
    #[error("invalid lifetime of codes {0:?}: needs one minute to 24 hours")]
    CodeLifetime(Duration),
    /// Two settings exclude each other.
    #[error("{0} exclude each other: choose one")]
    Exclusive(&'static str),
    /// The secret of one part is used for another one, which ends with it.
    #[error("one secret for {0}: give each a secret of its own")]
    SharedSecret(&'static str),
    /// The mail queue has no room for a mail, no time to send it, or no pause between attempts.
    #[cfg(feature = "verification")]
    #[error(
        "the mail queue can't send: it needs a place, a deadline, and a wait before the second attempt"
    )]
    MailQueue,
    /// Nothing answers within this deadline.
    #[error("the deadline of {0} is zero")]
    ZeroDeadline(&'static str),
    /// The hash pool can't be started.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// No randomness to key the rate limits with.
    #[error(transparent)]
    Random(#[from] RandomError),
}

crate::issue::debug_by_text!(ConfigError);
