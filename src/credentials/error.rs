//! The error of credentials, and its JSON.

use std::time::Duration;

use crate::clock::ClockError;
use crate::error::{ErrorCode, SignupError, error_json};
use crate::hash::{HashError, PoolFull};
use crate::lookup::NoPermit;
use crate::observe;
use crate::random::RandomError;
use crate::store::StoreError;
use crate::token::TokenError;

/// The reason why a credential was rejected or not changed.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The credential is invalid or missing. The cause is not revealed, so that an answer
    /// says nothing about accounts and keys.
    #[error("invalid credential")]
    Rejected,
    /// The key or account to change does not exist.
    #[error("no such API key or account")]
    NotFound,
    /// The account has its maximum of valid API keys: 402.
    #[error("the account has its maximum of valid API keys")]
    TooManyKeys,
    /// Another request with this idempotency key was answered otherwise, or its API key is
    /// no longer valid: 409.
    #[error("the idempotency key belongs to another request")]
    Conflict,
    /// The credential is valid, but the address of its account is not verified: 403.
    #[error("the email address is not verified")]
    EmailUnverified,
    /// The check failed: capacity, the store, or an internal error.
    #[error(transparent)]
    Failed(SignupError),
}

crate::issue::debug_by_text!(CredentialError);

impl CredentialError {
    /// Returns the machine-readable code.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Rejected | Self::EmailUnverified => ErrorCode::AuthenticationError,
            Self::NotFound => ErrorCode::NotFound,
            Self::TooManyKeys => ErrorCode::UsageLimitExceeded,
            Self::Conflict => ErrorCode::Conflict,
            Self::Failed(error) => error.code(),
        }
    }

    /// Returns the HTTP status of the [code](Self::code), and 403 for an address that is not
    /// verified.
    pub const fn status(&self) -> u16 {
        match self {
            Self::EmailUnverified => 403,
            other => other.code().status(),
        }
    }

    /// Returns the message for a person.
    pub fn message(&self) -> &str {
        match self {
            Self::Rejected => "Missing or invalid credentials",
            Self::NotFound => "Not found",
            Self::TooManyKeys => "The account has as many API keys as it may",
            Self::Conflict => "The idempotency key belongs to another request",
            Self::EmailUnverified => "The email address is not verified",
            Self::Failed(error) => error.message(),
        }
    }

    /// Returns how long to wait before a retry, if waiting helps.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Failed(error) => error.retry_after(),
            _ => None,
        }
    }

    /// Returns the documented JSON, without anything that a client must not see.
    ///
    /// ```
    /// use signup::credentials::CredentialError;
    ///
    /// assert_eq!(
    ///     CredentialError::Rejected.to_json(),
    ///     br#"{"error":{"code":"AUTHENTICATION_ERROR","message":"Missing or invalid credentials"}}"#,
    /// );
    /// ```
    pub fn to_json(&self) -> Vec<u8> {
        match self {
            Self::Failed(error) => error.to_json(),
            _ => error_json(self.code(), self.message(), &[]),
        }
    }
}

impl From<SignupError> for CredentialError {
    /// Logs a failure that the client did not cause.
    fn from(error: SignupError) -> Self {
        if let SignupError::Internal(_) | SignupError::Unavailable { .. } = error {
            observe::failed("credential check failed", &error);
        }
        Self::Failed(error)
    }
}

/// Conversions of errors that a sign-up has, too.
macro_rules! from_errors {
    ($($error:ty),+) => {
        $(impl From<$error> for CredentialError {
            fn from(error: $error) -> Self {
                SignupError::from(error).into()
            }
        })+
    };
}

from_errors!(StoreError, NoPermit, PoolFull, HashError, ClockError, RandomError);

impl From<TokenError> for CredentialError {
    fn from(rejected: TokenError) -> Self {
        match rejected {
            TokenError::Clock => SignupError::internal(rejected).into(),
            TokenError::UnknownKey => {
                observe::unknown_secret("token");
                Self::Rejected
            }
            _ => Self::Rejected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_as_that_of_a_sign_up() {
        use crate::error::Issue;
        let failed = || SignupError::Invalid(vec![Issue::field("password", "Too short")]);
        assert_eq!(CredentialError::Failed(failed()).to_json(), failed().to_json());
        // A token that can't be judged is not a wrong one.
        let unjudged = CredentialError::from(TokenError::Clock);
        assert!(matches!(unjudged, CredentialError::Failed(SignupError::Internal(_))));
        assert!(matches!(TokenError::Expired.into(), CredentialError::Rejected));
    }
}
