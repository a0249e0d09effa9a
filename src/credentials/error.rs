//! Why a credential is not accepted, and its JSON.

use std::time::Duration;

use crate::error::{BoxError, ErrorCode, SignupError, error_json};
use crate::hash::{HashError, PoolFull};
use crate::lookup::NoPlace;
use crate::observe;
use crate::store::StoreError;
use crate::token::TokenError;

/// Why a credential is not accepted, or not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// It does not verify, or there is none. The cause is told to nobody, so that
    /// an answer teaches nothing about accounts and keys.
    #[error("the credential does not verify")]
    Rejected,
    /// There is no such key or account to change.
    #[error("there is no such key or account")]
    NotFound,
    /// The account has as many valid API keys as it may: 402.
    #[error("the account has as many API keys as it may")]
    TooManyKeys,
    /// It could not be judged: capacity, the store, or something within.
    #[error(transparent)]
    Failed(SignupError),
}

impl CredentialError {
    /// The machine-readable code.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Rejected => ErrorCode::AuthenticationError,
            Self::NotFound => ErrorCode::NotFound,
            Self::TooManyKeys => ErrorCode::UsageLimitExceeded,
            Self::Failed(error) => error.code(),
        }
    }

    /// The sentence for a person.
    pub fn message(&self) -> &str {
        match self {
            Self::Rejected => "Missing or invalid credentials",
            Self::NotFound => "Not found",
            Self::TooManyKeys => "The account has as many API keys as it may",
            Self::Failed(error) => error.message(),
        }
    }

    /// How long to wait before a retry, where waiting helps.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Failed(error) => error.retry_after(),
            Self::Rejected | Self::NotFound | Self::TooManyKeys => None,
        }
    }

    /// The same JSON as of every error, and nothing that a client must not see.
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
            Self::Rejected | Self::NotFound | Self::TooManyKeys => {
                error_json(self.code(), self.message(), &[])
            }
            Self::Failed(error) => error.to_json(),
        }
    }
}

pub(super) fn internal(source: impl Into<BoxError>) -> CredentialError {
    SignupError::internal(source).into()
}

impl From<SignupError> for CredentialError {
    /// What is not the client's doing is told to whoever watches.
    fn from(error: SignupError) -> Self {
        if let SignupError::Internal(_) | SignupError::Unavailable { .. } = error {
            observe::failed("credential check failed", &error);
        }
        Self::Failed(error)
    }
}

impl From<StoreError> for CredentialError {
    fn from(error: StoreError) -> Self {
        SignupError::from(error).into()
    }
}

impl From<NoPlace> for CredentialError {
    fn from(no_place: NoPlace) -> Self {
        SignupError::from(no_place).into()
    }
}

impl From<PoolFull> for CredentialError {
    fn from(full: PoolFull) -> Self {
        SignupError::from(full).into()
    }
}

impl From<HashError> for CredentialError {
    fn from(error: HashError) -> Self {
        SignupError::from(error).into()
    }
}

impl From<TokenError> for CredentialError {
    fn from(rejected: TokenError) -> Self {
        match rejected {
            TokenError::Clock => internal(rejected),
            _ => Self::Rejected,
        }
    }
}
