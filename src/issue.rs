//! The parts of every error: code, issues, source, and their JSON.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use serde::Serialize;

/// Implements `Debug` with the text of an error and of its sources: `fn main() -> Result<…>` prints
/// it.
macro_rules! debug_by_text {
    ($error:ty) => {
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&$crate::issue::Chain(self), f)
            }
        }
    };
}
pub(crate) use debug_by_text;

/// A source error of any kind: for the log, never for a client.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// An error with its chain of sources, for the log.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mut error, mut last) = (self.0, self.0.to_string());
        f.write_str(&last)?;
        while let Some(source) = error.source() {
            let text = source.to_string();
            // Some errors repeat their source.
            if !last.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            (error, last) = (source, text);
        }
        Ok(())
    }
}

/// `Retry-After` when no better estimate exists.
pub(crate) const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The machine-readable code of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum ErrorCode {
    /// A body or field is wrong, or the request is refused by its head.
    ValidationError,
    /// A token, API key or password is invalid.
    AuthenticationError,
    /// The resource does not exist.
    NotFound,
    /// The email is taken.
    Conflict,
    /// Too many requests, or hashing capacity is full.
    RateLimitExceeded,
    /// The plan's limit is exhausted.
    UsageLimitExceeded,
    /// The store or another service does not answer.
    ExternalServiceError,
    /// Anything else.
    InternalError,
}

impl ErrorCode {
    /// All codes, in the order of the published API.
    pub const ALL: [Self; 8] = [
        Self::ValidationError,
        Self::AuthenticationError,
        Self::NotFound,
        Self::Conflict,
        Self::RateLimitExceeded,
        Self::UsageLimitExceeded,
        Self::ExternalServiceError,
        Self::InternalError,
    ];

    /// Returns the HTTP status of the code, unless the transport has its own.
    pub const fn status(self) -> u16 {
        match self {
            Self::ValidationError => 400,
            Self::AuthenticationError => 401,
            Self::UsageLimitExceeded => 402,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::RateLimitExceeded => 429,
            Self::InternalError => 500,
            Self::ExternalServiceError => 503,
        }
    }
}

/// A problem of a request: its path and a message, without the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Issue {
    /// The keys that lead to the field; empty for the body itself.
    pub path: Vec<Cow<'static, str>>,
    /// The message for a person.
    pub message: Cow<'static, str>,
}

impl Issue {
    /// Creates an issue of the body itself.
    pub fn body(message: impl Into<Cow<'static, str>>) -> Self {
        Self { path: Vec::new(), message: message.into() }
    }

    /// Creates an issue of one field.
    pub fn field(
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { path: vec![field.into()], message: message.into() }
    }
}

/// The error of a text or number that does not have the documented form. Its message names
/// that form, and never contains a secret.
///
/// ```
/// use signup::account::AccountId;
///
/// let error = "acc_../etc".parse::<AccountId>().unwrap_err();
/// assert!(error.to_string().starts_with("invalid account id"));
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(Cow<'static, str>);

debug_by_text!(InvalidValue);

impl InvalidValue {
    pub(crate) const fn new(message: &'static str) -> Self {
        Self(Cow::Borrowed(message))
    }

    /// Creates an error whose message quotes what was given, which is no secret.
    pub(crate) const fn with_value(message: String) -> Self {
        Self(Cow::Owned(message))
    }
}

/// Writes the envelope of every error.
pub(crate) fn error_json(code: ErrorCode, message: &str, issues: &[Issue]) -> Vec<u8> {
    let details = (!issues.is_empty()).then_some(Details { issues });
    let envelope = Envelope { error: Body { code, message, details } };
    // Strings and lists of strings: there is nothing in it that can fail.
    serde_json::to_vec(&envelope).unwrap_or_default()
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: ErrorCode,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details<'a>>,
}

#[derive(Serialize)]
struct Details<'a> {
    issues: &'a [Issue],
}

#[cfg(all(test, any(feature = "conformance", feature = "tracing")))]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_logged_with_its_sources() {
        #[derive(Debug, thiserror::Error)]
        #[error("the store failed")]
        struct Outer(#[source] std::io::Error);
        let inner = std::io::Error::other("the disk is full");
        assert_eq!(Chain(&Outer(inner)).to_string(), "the store failed: the disk is full");
    }
}
