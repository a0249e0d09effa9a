//! The head of a request that was accepted.

use std::fmt;
use std::time::Duration;

use crate::idempotency::IdempotencyKey;
use crate::limit::ClientIp;

#[cfg(feature = "verification")]
use super::PresentedCredentials;
use super::{Body, Route};

/// The accepted head of a request: what reads its body, and answers it, goes by this.
pub struct AcceptedHead {
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

/// Omits the headers, which may hold credentials.
impl fmt::Debug for AcceptedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptedHead").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl AcceptedHead {
    /// Creates an empty body with the limits of this request.
    pub fn body(&self) -> Body {
        Body::new(self.limit, self.declared)
    }

    /// Returns how long reading the body may take. After that, the answer is
    /// [`Refusal::RequestTimeout`](super::Refusal::RequestTimeout).
    pub fn deadline(&self) -> Duration {
        self.deadline
    }
}
