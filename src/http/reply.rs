//! Answers, complete with headers.

use std::time::Duration;

#[cfg(feature = "verification")]
use crate::clock::Timestamp;
use crate::credentials::CredentialError;
use crate::error::{ErrorCode, SignupError, error_json};
use crate::idempotency::REPLAYED_HEADER;
use crate::limit::RateLimited;
use crate::response::Signup;
use crate::secret::Secret;
use crate::token::JwkSet;
#[cfg(feature = "verification")]
use crate::verification::PendingVerification;

/// A refusal before or while the body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// 405: the method is not POST.
    MethodNotAllowed,
    /// 415: the body is not plain `application/json`.
    UnsupportedMediaType,
    /// 413: the body exceeds its limit.
    PayloadTooLarge,
    /// 408: the body did not arrive in time.
    RequestTimeout,
    /// 400: the body ended early.
    Incomplete,
}

impl Refusal {
    const fn status(self) -> u16 {
        match self {
            Self::MethodNotAllowed => 405,
            Self::UnsupportedMediaType => 415,
            Self::PayloadTooLarge => 413,
            Self::RequestTimeout => 408,
            Self::Incomplete => 400,
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::MethodNotAllowed => "Method not allowed",
            Self::UnsupportedMediaType => "Content-Type must be application/json",
            Self::PayloadTooLarge => "Request body is too large",
            Self::RequestTimeout => "Request body did not arrive in time",
            Self::Incomplete => "Request body is incomplete",
        }
    }
}

/// An answer: status, headers and body. The body is wiped when dropped, unless it was
/// [taken out](Reply::into_body).
#[derive(Debug)]
pub struct Reply {
    status: u16,
    content_type: &'static str,
    cache_control: &'static str,
    allow: &'static str,
    retry_after: Option<String>,
    limit: Option<Box<[String; 2]>>,
    is_replayed: bool,
    body: Secret<Vec<u8>>,
}

impl Reply {
    pub(crate) fn error(error: &SignupError) -> Self {
        let limit = match error {
            SignupError::RateLimited(limited) => Some(Box::new(limit(limited))),
            _ => None,
        };
        let reply = Self::new(error.code().status(), error.retry_after(), error.to_json());
        Self { limit, ..reply }
    }

    pub(super) fn jwks(set: &JwkSet) -> Self {
        // Strings and lists of strings: there is nothing in it that can fail.
        let json = serde_json::to_vec(set).unwrap_or_default();
        Self {
            content_type: "application/jwk-set+json",
            cache_control: "public, max-age=300",
            ..Self::new(200, None, json)
        }
    }

    /// Returns the same 405 for a resource with other methods.
    pub(super) fn allowing(self, allow: &'static str) -> Self {
        Self { allow, ..self }
    }

    /// Removes the body, for HEAD (RFC 9110, section 9.3.2).
    pub(super) fn without_body(mut self) -> Self {
        self.body = Secret::default();
        self
    }

    fn new(status: u16, retry_after: Option<Duration>, body: impl Into<Secret<Vec<u8>>>) -> Self {
        let retry_after = retry_after.map(|wait| whole_seconds(wait).to_string());
        Self {
            status,
            content_type: "application/json",
            cache_control: "no-store",
            allow: "POST",
            retry_after,
            limit: None,
            is_replayed: false,
            body: body.into(),
        }
    }

    /// Returns the status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the headers, except `Content-Length`, which the server adds.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        // Without content there is no type of it.
        let content_type = (self.status != 204).then_some(("content-type", self.content_type));
        let always = [("cache-control", self.cache_control), ("x-content-type-options", "nosniff")];
        let always = content_type.into_iter().chain(always);
        let allow = (self.status == 405).then_some(("allow", self.allow));
        // A 401 needs a challenge (RFC 9110, section 15.5.2) with a parameter (RFC 6750,
        // section 3).
        let challenge = ("www-authenticate", r#"Bearer realm="api""#);
        let challenge = (self.status == 401).then_some(challenge);
        let retry_after = self.retry_after.as_deref().map(|wait| ("retry-after", wait));
        let limit = self.limit.iter().flat_map(|pair| pair.iter().map(String::as_str));
        let limit = ["ratelimit-policy", "ratelimit"].into_iter().zip(limit);
        let replayed = self.is_replayed.then_some((REPLAYED_HEADER, "true"));
        let always = always.chain(replayed);
        always.chain(allow).chain(challenge).chain(retry_after).chain(limit)
    }

    /// Returns whether the client may still be sending a body that will not be read: then
    /// the connection is closed after the answer.
    pub fn leaves_body_unread(&self) -> bool {
        matches!(self.status, 408 | 413)
    }

    /// Returns the body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Takes the body out, to be sent. It is no longer wiped: `bytes::Bytes::from_owner(reply)`
    /// is, once it was sent.
    pub fn into_body(mut self) -> Vec<u8> {
        std::mem::take(&mut self.body)
    }
}

/// The body: a reply is an owner of it for `bytes::Bytes::from_owner`, and wipes it when it was
/// sent.
impl AsRef<[u8]> for Reply {
    fn as_ref(&self) -> &[u8] {
        self.body()
    }
}

/// The documented 201, including the secrets.
impl From<Signup> for Reply {
    fn from(signup: Signup) -> Self {
        let is_replayed = signup.is_replayed();
        Self { is_replayed, ..Self::new(201, None, signup.into_json()) }
    }
}

/// The documented 200 of a reclaim, including the secrets.
#[cfg(feature = "verification")]
impl Reply {
    pub(super) fn reclaimed(signup: Signup) -> Self {
        Self { status: 200, ..Self::from(signup) }
    }

    /// Creates an answer without a body.
    pub(super) fn no_content() -> Self {
        Self::new(204, None, Vec::new())
    }

    /// Creates the answer to a request for a code that expires at this time.
    pub(super) fn code_sent(expires_at: Timestamp) -> Self {
        let json = format!(r#"{{"data":{{"expires_at":"{}"}}}}"#, expires_at.to_rfc_3339());
        Self::new(202, None, json.into_bytes())
    }
}

/// The documented 202, with the ticket.
#[cfg(feature = "verification")]
impl From<PendingVerification> for Reply {
    fn from(pending: PendingVerification) -> Self {
        Self::new(202, None, pending.reveal_json())
    }
}

/// The documented error, without anything that a client must not see.
impl From<&SignupError> for Reply {
    fn from(error: &SignupError) -> Self {
        Self::error(error)
    }
}

impl From<SignupError> for Reply {
    fn from(error: SignupError) -> Self {
        Self::error(&error)
    }
}

impl From<&CredentialError> for Reply {
    fn from(error: &CredentialError) -> Self {
        match error {
            CredentialError::Failed(error) => Self::error(error),
            // The credential is good, and another one would not help (RFC 9110, section
            // 15.5.4).
            CredentialError::EmailUnverified => Self::new(403, None, error.to_json()),
            _ => Self::new(error.code().status(), None, error.to_json()),
        }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let json = error_json(ErrorCode::ValidationError, refusal.message(), &[]);
        Self::new(refusal.status(), None, json)
    }
}

/// Formats `RateLimit-Policy` and `RateLimit` of a refusal, as structured fields
/// (draft-ietf-httpapi-ratelimit-headers-10): the quota and its window, and the seconds
/// until something is left. The owner of the bucket is not revealed.
fn limit(RateLimited { policy, quota, retry_after }: &RateLimited) -> [String; 2] {
    let (quota, window) = (quota.burst(), quota.period().as_secs());
    let wait = whole_seconds(*retry_after);
    [format!(r#""{policy}";q={quota};w={window}"#), format!(r#""{policy}";r=0;t={wait}"#)]
}

/// Formats `Retry-After` in whole seconds, rounded up, at least one.
fn whole_seconds(wait: Duration) -> u64 {
    let rounded_up = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    rounded_up.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        for (millis, expected) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), expected);
        }
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
        let busy = SignupError::Busy { retry_after: Duration::from_millis(2300) };
        let reply = Reply::error(&busy);
        assert_eq!(reply.status(), 429);
        assert!(reply.headers().any(|header| header == ("retry-after", "3")));
    }

    #[test]
    fn a_body_that_nobody_reads_ends_the_connection() {
        let leaves = |refusal| Reply::from(refusal).leaves_body_unread();
        assert!(leaves(Refusal::PayloadTooLarge) && leaves(Refusal::RequestTimeout));
        assert!(!leaves(Refusal::MethodNotAllowed) && !leaves(Refusal::Incomplete));
    }

    #[test]
    fn m26_an_internal_error_is_in_the_envelope_and_not_cached() {
        let reply = Reply::from(SignupError::internal("on fire"));
        assert_eq!(reply.status(), 500);
        assert!(reply.headers().any(|header| header == ("cache-control", "no-store")));
        let json: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
        assert_eq!(json["error"]["code"], "INTERNAL_ERROR");
    }

    #[test]
    fn a_head_request_is_refused_without_a_body() {
        let reply = Reply::from(Refusal::MethodNotAllowed).without_body();
        assert_eq!((reply.status(), reply.body()), (405, [].as_slice()));
        assert!(reply.headers().any(|header| header == ("allow", "POST")));
    }
}
