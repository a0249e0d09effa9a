//! The ticket of a request whose head was accepted.

use std::fmt;
use std::time::Duration;

use crate::idempotency::IdempotencyKey;
use crate::limit::ClientIp;

#[cfg(feature = "verification")]
use super::PresentedCredentials;
use super::{Body, Route};

/// The limits of a body whose head was accepted.
pub struct Ticket {
    #[cfg_attr(not(feature = "verification"), expect(dead_code, reason = "there is one route"))]
    pub(super) route: Route,
    pub(super) limit: usize,
    pub(super) declared: u64,
    pub(super) deadline: Duration,
    pub(super) client: ClientIp,
    pub(super) idempotency_key: Option<IdempotencyKey>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    /// The credentials of a route that takes a token.
    #[cfg(feature = "verification")]
    pub(super) presented: Option<PresentedCredentials>,
}

/// Without the headers, which may hold credentials.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Ticket {
    /// Creates an empty body with these limits.
    pub fn body(&self) -> Body {
        Body::new(self.limit, self.declared)
    }

    /// Returns how long reading the body may take. After that, the answer is
    /// [`Refusal::RequestTimeout`](super::Refusal::RequestTimeout).
    pub fn deadline(&self) -> Duration {
        self.deadline
    }
}
