//! The endpoint without a framework: method, headers and bytes in; status,
//! headers and bytes out.
//!
//! It works in two steps, so that what the head decides needs no body:
//! [`SignupEndpoint::head`] refuses the request or gives a [`Ticket`], which says
//! how much body to read and for how long; [`SignupEndpoint::answer`] takes the
//! ticket and the body and signs up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::SignupError;
use crate::limit::ClientIp;
use crate::observe;
use crate::request::SignupRequest;
use crate::response::Signup;
use crate::service::{Prepared, SignupService};
use crate::store::AccountStore;
use crate::token::TokenKeys;

mod body;
mod client;
mod head;
mod media;
mod panic;
mod presented;
mod reply;

pub use body::Body;
pub use client::TrustedProxies;
pub use head::Head;
pub use ipnet::IpNet;
pub use presented::PresentedCredentials;
pub use reply::{Refusal, Reply};

use head::Method;
use panic::catch_panic;

/// The path of the endpoint.
pub const PATH: &str = "/auth/signup";

/// The path of the JWK set (RFC 8615 keeps `/.well-known` for such).
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// The most octets of a body by default: all three fields at their longest, and
/// all of it escaped, take under 8 KiB.
pub const BODY_LIMIT: usize = 16 * 1024;

/// The time that a body may take by default.
pub const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// The answer to a request for [`JWKS_PATH`]: the public keys as a JWK set (RFC
/// 7517, section 5), which others may keep for five minutes. Wait as long between
/// adding a key and promoting it.
///
/// ```
/// use signup::http::jwks;
/// use signup::token::{SigningKey, TokenKeys};
///
/// let keys = TokenKeys::new(SigningKey::ed25519(&[7; 32]));
/// let reply = jwks(&keys, "GET");
/// assert_eq!(reply.status(), 200);
/// assert!(reply.headers().any(|header| header == ("cache-control", "public, max-age=300")));
/// ```
pub fn jwks(keys: &TokenKeys, method: &str) -> Reply {
    match method {
        // The server leaves the body of a HEAD out.
        "GET" | "HEAD" => Reply::jwks(&keys.jwks()),
        _ => Reply::from(Refusal::MethodNotAllowed).allowing("GET, HEAD"),
    }
}

/// A [`SignupService`] as an HTTP endpoint, to be mounted by an adapter or by hand.
///
/// ```
/// use signup::http::{Head, SignupEndpoint};
/// use signup::store::MemoryStore;
/// use signup::SignupService;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let service = SignupService::builder(MemoryStore::default())
///     .jwt_secret(b"0123456789abcdef0123456789abcdef")
///     .build()
///     .unwrap();
/// let endpoint = SignupEndpoint::new(service);
///
/// let head = Head::new("POST", [("content-type", b"application/json".as_slice())]);
/// let ticket = endpoint.head(&head).await.unwrap();
/// let mut body = ticket.body();
/// body.push(br#"{"email":"dev@example.com","password":"correct horse"}"#).unwrap();
/// let reply = endpoint.answer(ticket, body).await;
/// assert_eq!(reply.status(), 201);
/// # });
/// ```
pub struct SignupEndpoint<S> {
    service: SignupService<S>,
    body_limit: usize,
    body_deadline: Duration,
    proxies: TrustedProxies,
    on_failure: Option<OnFailure>,
}

type OnFailure = Arc<dyn Fn(&SignupError) + Send + Sync>;

impl<S: AccountStore> SignupEndpoint<S> {
    /// The endpoint of `service`, with the default limits.
    pub fn new(service: SignupService<S>) -> Self {
        let proxies = TrustedProxies::none();
        Self {
            service,
            body_limit: BODY_LIMIT,
            body_deadline: BODY_DEADLINE,
            proxies,
            on_failure: None,
        }
    }

    /// Whose word is taken for a client's address. Default: nobody's.
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// The most octets of a body. Default: [`BODY_LIMIT`].
    #[must_use]
    pub fn body_limit(mut self, octets: usize) -> Self {
        self.body_limit = octets;
        self
    }

    /// The time from the head until the body is there. Default: [`BODY_DEADLINE`].
    #[must_use]
    pub fn body_deadline(mut self, deadline: Duration) -> Self {
        self.body_deadline = deadline;
        self
    }

    /// Calls `report` with each failure that the client did not cause, before its 500 or
    /// 503 is answered: for a host that logs without the feature `tracing`. The error's
    /// [source](std::error::Error::source) says what happened.
    #[must_use]
    pub fn on_failure(mut self, report: impl Fn(&SignupError) + Send + Sync + 'static) -> Self {
        self.on_failure = Some(Arc::new(report));
        self
    }

    /// Judges the head of a request: whether its client has come too often; and then
    /// method, media type and declared length, in this order.
    ///
    /// # Errors
    /// The answer, where the head decides it. The body need not be read.
    pub async fn head(&self, head: &Head<'_>) -> Result<Ticket, Reply> {
        let judged = self.check_head(head).await;
        judged.map_err(|reply| {
            observe::answered(reply.status());
            if head.method == Method::Head { reply.without_body() } else { reply }
        })
    }

    async fn check_head(&self, head: &Head<'_>) -> Result<Ticket, Reply> {
        let client = self.proxies.client(head);
        if let Err(limited) = self.service.check_request(client).await {
            return Err(Reply::error(&limited.into()));
        }
        if head.method != Method::Post {
            return Err(Refusal::MethodNotAllowed.into());
        }
        if !head.is_json {
            return Err(Refusal::UnsupportedMediaType.into());
        }
        let declared = head.content_length.unwrap_or(0);
        if declared > u64::try_from(self.body_limit).unwrap_or(u64::MAX) {
            return Err(Refusal::PayloadTooLarge.into());
        }
        // Nobody but a policy looks at the headers.
        let without = self.service.policies().is_empty();
        let headers = if without { &[] } else { head.headers.as_slice() };
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        Ok(Ticket {
            limit: self.body_limit,
            declared,
            deadline: self.body_deadline,
            client,
            headers: headers.collect(),
        })
    }

    /// Signs up. A panic on the way is answered as an internal error.
    pub async fn answer(&self, ticket: Ticket, body: Body) -> Reply {
        let signup = async {
            let request = self.request(ticket, body)?;
            self.service.signup(request).await
        };
        let reply = self.caught(signup).await.map_or_else(|reply| reply, Reply::from);
        observe::answered(reply.status());
        reply
    }

    /// Does everything but the insert, for a host that owns the transaction: it inserts
    /// [`Prepared::new_account`], commits, and answers by [`opened`](Self::opened). The
    /// limits at the head, declared fields and headers are those of the endpoint.
    ///
    /// ```
    /// use signup::SignupService;
    /// use signup::http::{Body, Reply, SignupEndpoint, Ticket};
    /// use signup::store::{InsertProof, MemoryStore};
    ///
    /// /// Where the head was judged and the body read, as the adapters do.
    /// async fn answer(endpoint: &SignupEndpoint<MemoryStore>, ticket: Ticket, body: Body) -> Reply {
    ///     let prepared = match endpoint.prepare(ticket, body).await {
    ///         Ok(prepared) => prepared,
    ///         Err(refusal) => return refusal,
    ///     };
    ///     // … the host inserts prepared.new_account(), and COMMIT …
    ///     let proof = InsertProof::by_host(prepared.new_account());
    ///     endpoint.opened(prepared.open(proof))
    /// }
    /// ```
    ///
    /// # Errors
    /// The documented answer, where there is nothing to insert.
    pub async fn prepare(&self, ticket: Ticket, body: Body) -> Result<Prepared, Reply> {
        let prepared = async {
            let request = self.request(ticket, body)?;
            self.service.prepare(request).await
        };
        self.caught(prepared).await.inspect_err(|reply| observe::answered(reply.status()))
    }

    /// Returns the answer to a sign-up that was [prepared](Self::prepare), inserted and
    /// opened, or whose insert failed.
    pub fn opened<E: Into<SignupError>>(&self, opened: Result<Signup, E>) -> Reply {
        let failed = |error: E| self.failed(&error.into());
        let reply = opened.map_or_else(failed, Reply::from);
        observe::answered(reply.status());
        reply
    }

    /// Reads the body, with the fields and headers that the policies look at.
    fn request(&self, ticket: Ticket, body: Body) -> Result<SignupRequest, SignupError> {
        let fields = self.service.policies().fields();
        let request = SignupRequest::from_json_with(body.as_bytes(), fields);
        drop(body);
        let headers = ticket.headers.into_iter();
        let request = request?.client(ticket.client);
        Ok(headers.fold(request, |request, (name, value)| request.header(name, value)))
    }

    /// Awaits a sign-up. A panic in it is an internal error.
    async fn caught<T>(
        &self,
        signup: impl Future<Output = Result<T, SignupError>>,
    ) -> Result<T, Reply> {
        if let Some(result) = catch_panic(signup).await {
            return result.map_err(|error| self.failed(&error));
        }
        let panicked = SignupError::internal("the sign-up panicked");
        observe::failed("sign-up failed", &panicked);
        Err(self.failed(&panicked))
    }

    /// Returns the answer to an error, which the host hears of if the client did not
    /// cause it.
    fn failed(&self, error: &SignupError) -> Reply {
        let is_ours = matches!(error, SignupError::Internal(_) | SignupError::Unavailable { .. });
        if let (true, Some(report)) = (is_ours, &self.on_failure) {
            report(error);
        }
        Reply::error(error)
    }

    /// The answer where the body could not be read.
    pub fn refuse(&self, refusal: Refusal) -> Reply {
        let reply = Reply::from(refusal);
        observe::answered(reply.status());
        reply
    }
}

impl<S: AccountStore> From<SignupService<S>> for SignupEndpoint<S> {
    fn from(service: SignupService<S>) -> Self {
        Self::new(service)
    }
}

impl<S> Clone for SignupEndpoint<S> {
    fn clone(&self) -> Self {
        Self {
            service: self.service.clone(),
            body_limit: self.body_limit,
            body_deadline: self.body_deadline,
            proxies: self.proxies.clone(),
            on_failure: self.on_failure.clone(),
        }
    }
}

impl<S> fmt::Debug for SignupEndpoint<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignupEndpoint")
            .field("body_limit", &self.body_limit)
            .field("body_deadline", &self.body_deadline)
            .finish_non_exhaustive()
    }
}

/// The head was good: read the body, so much and so long.
pub struct Ticket {
    limit: usize,
    declared: u64,
    deadline: Duration,
    client: ClientIp,
    headers: Vec<(String, Vec<u8>)>,
}

/// Without the headers: there are credentials among them.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Ticket {
    /// An empty body that takes as much as it may.
    pub fn body(&self) -> Body {
        Body::new(self.limit, self.declared)
    }

    /// The time that reading the body may take. After it, the answer is
    /// [`Refusal::RequestTimeout`].
    pub fn deadline(&self) -> Duration {
        self.deadline
    }
}

#[cfg(test)]
mod tests;
