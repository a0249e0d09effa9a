//! The errors of a sign-up, and their JSON.

use std::borrow::Cow;
use std::time::Duration;

use crate::clock::ClockError;
use crate::hash::{HashError, PoolFull};
pub use crate::issue::{BoxError, ErrorCode, InvalidValue, Issue};
pub(crate) use crate::issue::{DEFAULT_RETRY_AFTER, error_json};
use crate::limit::RateLimited;
use crate::lookup::NoPermit;
use crate::random::RandomError;
use crate::store::StoreError;
use crate::token::MintError;

/// The reason why no account was registered.
///
/// `Display` and the source chain are for the log. A client gets
/// [`to_json`](SignupError::to_json).
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SignupError {
    /// The request is invalid; every wrong field has its issue.
    #[error("invalid request: {} issue(s)", .0.len())]
    Invalid(Vec<Issue>),
    /// An account with this email key exists.
    #[error("an account with this email exists")]
    EmailTaken,
    /// Hashing capacity is full, or it was tried too often; a retry after the wait may succeed.
    #[error("full, or tried too often: try again in {retry_after:?}")]
    Busy {
        /// Time to wait.
        retry_after: Duration,
    },
    /// The client or the email is over its rate limit.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// A policy of the host refuses the sign-up.
    #[error("refused by a policy: {message}")]
    Refused {
        /// The code, which determines the status.
        code: ErrorCode,
        /// The message for a person.
        message: Cow<'static, str>,
    },
    /// The store, or a service that a policy asks, does not answer.
    #[error("a service does not answer")]
    Unavailable {
        /// Time to wait.
        retry_after: Duration,
        /// The cause.
        source: BoxError,
    },
    /// Anything else. Nothing is stored.
    #[error("internal error")]
    Internal(#[source] BoxError),
}

crate::issue::debug_by_text!(SignupError);

impl SignupError {
    pub(crate) fn internal(source: impl Into<BoxError>) -> Self {
        Self::Internal(source.into())
    }

    /// Returns the machine-readable code.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(_) => ErrorCode::ValidationError,
            Self::EmailTaken => ErrorCode::Conflict,
            Self::Refused { code, .. } => *code,
            Self::Busy { .. } | Self::RateLimited(_) => ErrorCode::RateLimitExceeded,
            Self::Unavailable { .. } => ErrorCode::ExternalServiceError,
            Self::Internal(_) => ErrorCode::InternalError,
        }
    }

    /// Returns the label in spans and metrics.
    pub(crate) const fn outcome(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::EmailTaken => "email_taken",
            Self::Refused { .. } => "refused",
            Self::RateLimited(_) => "rate_limited",
            Self::Busy { .. } => "busy",
            Self::Unavailable { .. } => "unavailable",
            Self::Internal(_) => "internal",
        }
    }

    /// Returns how long to wait before a retry, if waiting helps.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after } | Self::Unavailable { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::RateLimited(limited) => Some(limited.retry_after),
            Self::Refused {
                code: ErrorCode::RateLimitExceeded | ErrorCode::ExternalServiceError,
                ..
            } => Some(DEFAULT_RETRY_AFTER),
            _ => None,
        }
    }

    /// Returns the message for a person.
    pub fn message(&self) -> &str {
        match self {
            Self::Refused { message, .. } => message,
            Self::Invalid(_) => "Invalid request body",
            Self::EmailTaken => "An account with this email already exists",
            Self::Busy { .. } | Self::RateLimited(_) => "Too many requests, please try again later",
            Self::Unavailable { .. } => "Service temporarily unavailable, please try again later",
            Self::Internal(_) => "Internal server error",
        }
    }

    /// Returns the issues, field by field.
    pub fn issues(&self) -> &[Issue] {
        match self {
            Self::Invalid(issues) => issues,
            _ => &[],
        }
    }

    /// Returns the documented JSON, without anything that a client must not see.
    ///
    /// ```
    /// use signup::SignupError;
    ///
    /// assert_eq!(
    ///     SignupError::EmailTaken.to_json(),
    ///     br#"{"error":{"code":"CONFLICT","message":"An account with this email already exists"}}"#,
    /// );
    /// ```
    pub fn to_json(&self) -> Vec<u8> {
        error_json(self.code(), self.message(), self.issues())
    }
}

impl From<PoolFull> for SignupError {
    /// Maps a pool that is shut down to unavailable: another instance may take the retry.
    fn from(full: PoolFull) -> Self {
        if full.closed {
            return Self::Unavailable { retry_after: DEFAULT_RETRY_AFTER, source: full.into() };
        }
        Self::Busy { retry_after: full.retry_after }
    }
}

impl From<HashError> for SignupError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Late(full) => full.into(),
            other => Self::internal(other),
        }
    }
}

impl From<ClockError> for SignupError {
    fn from(error: ClockError) -> Self {
        Self::internal(error)
    }
}

impl From<RandomError> for SignupError {
    fn from(error: RandomError) -> Self {
        Self::internal(error)
    }
}

impl From<BoxError> for SignupError {
    fn from(error: BoxError) -> Self {
        Self::Internal(error)
    }
}

impl From<MintError> for SignupError {
    fn from(error: MintError) -> Self {
        Self::internal(error)
    }
}

impl From<StoreError> for SignupError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Failed(source) => Self::Internal(source),
            StoreError::EmailTaken => Self::EmailTaken,
            StoreError::Refused(issues) => Self::Invalid(issues),
            StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_) => {
                Self::Unavailable { retry_after: DEFAULT_RETRY_AFTER, source: error.into() }
            }
        }
    }
}

impl From<NoPermit> for SignupError {
    fn from(no_place: NoPermit) -> Self {
        match no_place {
            NoPermit::Full => Self::Busy { retry_after: DEFAULT_RETRY_AFTER },
            NoPermit::Stalled => Self::Unavailable {
                retry_after: DEFAULT_RETRY_AFTER,
                source: "the store has answered no look-up for more than a second".into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn the_example_of_the_published_page() {
        let error = SignupError::Invalid(vec![Issue::field("name", "Required")]);
        let json = String::from_utf8(error.to_json()).unwrap();
        assert_eq!(
            json,
            r#"{"error":{"code":"VALIDATION_ERROR","message":"Invalid request body","details":{"issues":[{"path":["name"],"message":"Required"}]}}}"#
        );
    }

    #[test]
    fn a_source_is_for_the_log_alone() {
        let error = SignupError::internal("disk on fire");
        assert_eq!(error.source().unwrap().to_string(), "disk on fire");
        assert_eq!(
            error.to_json(),
            br#"{"error":{"code":"INTERNAL_ERROR","message":"Internal server error"}}"#
        );
    }
}
