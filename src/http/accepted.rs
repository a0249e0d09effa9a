//! The head of a request that was accepted.

use std::fmt;
use std::time::Duration;

use crate::idempotency::IdempotencyKey;
use crate::limit::ClientIp;
use crate::store::AccountStore;

#[cfg(feature = "verification")]
use super::PresentedCredentials;
use super::head::Method;
use super::{Body, Head, Refusal, Reply, Route, SignupEndpoint};

/// The least limit of a body with a ticket, in bytes.
const TICKET_LIMIT: usize = 8 * 1024;

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

impl<S: AccountStore> SignupEndpoint<S> {
    /// Checks a head.
    pub(super) async fn accept(
        &self,
        route: Route,
        head: &Head<'_>,
    ) -> Result<AcceptedHead, Reply> {
        let operation = self.operation(route).map_err(|error| self.failed(&error))?;
        let client = self.proxies.client(head);
        let limit = self.service.check_request(client, operation.is_signup()).await;
        if head.method != Method::Post {
            return Err(Refusal::MethodNotAllowed.into());
        }
        if !head.is_json {
            return Err(Refusal::UnsupportedMediaType.into());
        }
        // A ticket has to fit in.
        let least = if operation.is_signup() { 0 } else { TICKET_LIMIT };
        let body_limit = self.body_limit.max(least);
        let declared = head.content_length.unwrap_or(0);
        if declared > u64::try_from(body_limit).unwrap_or(u64::MAX) {
            return Err(Refusal::PayloadTooLarge.into());
        }
        if let Err(limited) = limit {
            return Err(Reply::error(&limited.into()));
        }
        // The other operations are idempotent by themselves.
        let mut idempotency_key = None;
        if operation.is_signup() {
            let key = self.service.idempotency_key(head.idempotency_keys());
            idempotency_key = key.map_err(|invalid| Reply::error(&invalid))?;
        }
        // Only policies read the headers.
        let without = self.service.policies().is_empty();
        let headers = if without { &[] } else { head.headers.as_slice() };
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        Ok(AcceptedHead {
            route,
            limit: body_limit,
            declared,
            deadline: self.body_deadline,
            client,
            idempotency_key,
            headers: headers.collect(),
            #[cfg(feature = "verification")]
            presented: operation.takes_token().then(|| head.presented_credentials()),
        })
    }
}
