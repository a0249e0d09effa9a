//! The endpoint without a framework: method, headers and bytes in; status,
//! headers and bytes out.
//!
//! It works in two steps, so that a request that is refused by its head needs no body:
//! [`SignupEndpoint::head`] refuses it or returns an [`AcceptedHead`] with the limit and deadline
//! of the body; [`SignupEndpoint::answer`] takes the head and the body and registers the account.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use crate::error::SignupError;
use crate::observe;
use crate::request::SignupRequest;
use crate::response::Signup;
use crate::service::{Preparation, Prepared, SignupService};
use crate::store::AccountStore;

mod accepted;
mod body;
mod client;
mod head;
mod jwks;
mod media;
mod panic;
mod paths;
mod presented;
mod reply;
mod route;
#[cfg(feature = "verification")]
mod verification;

pub use accepted::AcceptedHead;
pub use body::Body;
pub use client::TrustedProxies;
pub use head::Head;
pub use ipnet::IpNet;
pub use jwks::{JWKS_PATH, jwks};
pub use paths::PATH;
#[cfg(feature = "verification")]
pub use paths::{
    CONFIRM_RECLAIM_PATH, RECLAIM_PATH, RESEND_EMAIL_CODE_PATH, RESEND_PATH, VERIFY_EMAIL_PATH,
    VERIFY_PATH,
};
pub use presented::PresentedCredentials;
pub use reply::{Refusal, Reply};
pub use route::Route;

use head::Method;
use panic::catch_panic;
use route::{Operation, Routes};

/// The default limit of a body, in bytes. All three fields at their longest, fully escaped,
/// take under 8 KiB.
pub const BODY_LIMIT: usize = 16 * 1024;
/// The default deadline of a body.
pub const BODY_DEADLINE: Duration = Duration::from_secs(10);

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
/// let head = endpoint.head(&head).await.unwrap();
/// let mut body = head.body();
/// body.push(br#"{"email":"dev@example.com","password":"correct horse"}"#).unwrap();
/// let reply = endpoint.answer(head, body).await;
/// assert_eq!(reply.status(), 201);
/// # });
/// ```
pub struct SignupEndpoint<S> {
    service: SignupService<S>,
    routes: Routes,
    body_limit: usize,
    body_deadline: Duration,
    proxies: TrustedProxies,
    on_failure: Option<OnFailure>,
}

type OnFailure = Arc<dyn Fn(&SignupError) + Send + Sync>;

impl<S: AccountStore> SignupEndpoint<S> {
    /// Creates the endpoint of `service`, with default limits.
    pub fn new(service: SignupService<S>) -> Self {
        let proxies = TrustedProxies::none();
        Self {
            routes: Routes::of(&service),
            service,
            body_limit: BODY_LIMIT,
            body_deadline: BODY_DEADLINE,
            proxies,
            on_failure: None,
        }
    }

    /// Sets which proxies are trusted to report the client's address. Default: none.
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// Sets the limit of a body in bytes. Default: [`BODY_LIMIT`].
    ///
    /// # Panics
    /// Panics if it is zero: then every request would be refused.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        assert!(bytes > 0, "the limit of a body is zero");
        self.body_limit = bytes;
        self
    }

    /// Sets the time from the head to the end of the body. Default: [`BODY_DEADLINE`].
    ///
    /// # Panics
    /// Panics if it is zero: then every request would be refused.
    #[must_use]
    pub fn body_deadline(mut self, deadline: Duration) -> Self {
        assert!(!deadline.is_zero(), "the deadline of a body is zero");
        self.body_deadline = deadline;
        self
    }

    /// Sets a function that is called with each failure that the client did not cause,
    /// before its 500 or 503 is answered, for a host that logs without the feature
    /// `tracing`. The error's [source](std::error::Error::source) is the cause.
    #[must_use]
    pub fn on_failure(mut self, report: impl Fn(&SignupError) + Send + Sync + 'static) -> Self {
        self.on_failure = Some(Arc::new(report));
        self
    }

    /// Checks the head of a request: method, media type, declared length, the client's rate
    /// limit, and the form of an idempotency key, in this order. Each request counts for
    /// the limit.
    ///
    /// # Errors
    /// Returns the answer if the head is refused. The body need not be read.
    pub async fn head(&self, head: &Head<'_>) -> Result<AcceptedHead, Reply> {
        self.check_head(Route::SIGNUP, head).await
    }

    /// Checks the head of a request for one of the [routes](Self::routes), in the same way.
    ///
    /// # Errors
    /// Returns the answer if the head is refused. The body need not be read.
    pub async fn check_head(&self, route: Route, head: &Head<'_>) -> Result<AcceptedHead, Reply> {
        let checked = pin!(self.accept(route, head));
        let checked = catch_panic(checked).await.unwrap_or_else(|| Err(self.panicked()));
        checked.map_err(|reply| {
            observe::answered(reply.status());
            if head.method == Method::Head { reply.without_body() } else { reply }
        })
    }

    /// Returns the routes to mount, each with its path: the sign-up, and the routes of a service that
    /// verifies addresses.
    ///
    /// ```
    /// use signup::http::{PATH, SignupEndpoint};
    ///
    /// # let service = signup::SignupService::builder(signup::store::MemoryStore::default());
    /// # let service = service.jwt_secret(&[7; 32]).build().unwrap();
    /// let endpoint = SignupEndpoint::new(service);
    /// assert!(endpoint.routes().map(|(_, path)| path).eq([PATH]));
    /// ```
    pub fn routes(&self) -> impl Iterator<Item = (Route, &str)> {
        self.routes.iter()
    }

    /// Returns the route with this path, if the endpoint has one.
    pub fn route(&self, path: &str) -> Option<Route> {
        self.routes.find(path)
    }

    /// Moves a route to a path of the host.
    ///
    /// ```
    /// use signup::http::{PATH, SignupEndpoint};
    ///
    /// # let service = signup::SignupService::builder(signup::store::MemoryStore::default());
    /// # let service = service.jwt_secret(&[7; 32]).build().unwrap();
    /// let endpoint = SignupEndpoint::new(service).mount(PATH, "/v1/register");
    /// assert!(endpoint.routes().map(|(_, path)| path).eq(["/v1/register"]));
    /// ```
    ///
    /// # Panics
    /// Panics if the endpoint has no route with the path `from`, or already one with `to`.
    #[must_use]
    pub fn mount(mut self, from: &str, to: impl Into<String>) -> Self {
        let (route, to) = (self.route(from), to.into());
        assert!(route.is_some(), "no route with the path {from}");
        assert!(from == to || self.route(&to).is_none(), "two routes with the path {to}");
        if let Some(route) = route {
            self.routes = self.routes.moved(route, to);
        }
        self
    }

    fn operation(&self, route: Route) -> Result<&Operation, SignupError> {
        let operation = self.routes.operation(route);
        operation.ok_or_else(|| SignupError::internal("the route is of another endpoint"))
    }

    /// Answers a request on its route: registers an account, or begins or completes a
    /// sign-up. A panic is answered as an internal error.
    pub async fn answer(&self, head: AcceptedHead, body: Body) -> Reply {
        let reply = pin!(self.reply(head, body));
        let reply = self.catching_panics(reply).await.unwrap_or_else(|reply| reply);
        observe::answered(reply.status());
        reply
    }

    async fn reply(&self, head: AcceptedHead, body: Body) -> Result<Reply, SignupError> {
        match self.operation(head.route)? {
            Operation::Signup => {
                let request = self.request(head, body)?;
                self.service.signup(request).await.map(Reply::from)
            }
            #[cfg(feature = "verification")]
            Operation::Begin(first) => {
                let request = self.request(head, body)?;
                first.begin(request).await.map(Reply::from)
            }
            #[cfg(feature = "verification")]
            Operation::Verification(verification) => verification.reply(head, &body).await,
        }
    }

    /// Does everything but the insert, for a host that owns the transaction. The host
    /// inserts [`Prepared::new_account`], commits, and answers with
    /// [`respond`](Self::respond). Limits, declared fields and headers are the same as those for
    /// the endpoint.
    ///
    /// ```
    /// use signup::SignupService;
    /// use signup::http::{AcceptedHead, Body, Reply, SignupEndpoint};
    /// use signup::store::{InsertProof, MemoryStore};
    ///
    /// /// Called after head and body were read, as the adapters do.
    /// async fn answer(
    ///     endpoint: &SignupEndpoint<MemoryStore>,
    ///     head: AcceptedHead,
    ///     body: Body,
    /// ) -> Reply {
    ///     let prepared = match endpoint.prepare(head, body).await {
    ///         Ok(prepared) => prepared,
    ///         Err(refusal) => return refusal,
    ///     };
    ///     // … the host inserts prepared.new_account(), and COMMIT …
    ///     let proof = InsertProof::by_host(prepared.new_account());
    ///     endpoint.respond(prepared.open(proof))
    /// }
    /// ```
    ///
    /// # Errors
    /// Returns the documented answer if there is nothing to insert. A service that verifies
    /// addresses before it stores accounts has nothing to insert here: each answer is a 500.
    pub async fn prepare(&self, head: AcceptedHead, body: Body) -> Result<Prepared, Reply> {
        let prepared = pin!(async {
            let request = self.request(head, body)?;
            self.service.prepare_or_replay(request).await
        });
        let reply = match self.catching_panics(prepared).await {
            Ok(Preparation::New(prepared)) => return Ok(prepared),
            Ok(Preparation::Replayed(signup)) => Reply::from(signup),
            Err(reply) => reply,
        };
        observe::answered(reply.status());
        Err(reply)
    }

    /// Answers for a sign-up that was [prepared](Self::prepare) and whose insert found the
    /// email taken: by the first answer, if it is a retry, and otherwise by the documented
    /// 409.
    pub async fn replay(&self, taken: Prepared) -> Reply {
        let replayed = pin!(taken.replay());
        let reply = self.catching_panics(replayed).await.map_or_else(|reply| reply, Reply::from);
        observe::answered(reply.status());
        reply
    }

    /// Returns the answer to a sign-up that was [prepared](Self::prepare), inserted and
    /// opened, or whose insert failed.
    pub fn respond<E: Into<SignupError>>(&self, opened: Result<Signup, E>) -> Reply {
        let failed = |error: E| self.failed(&error.into());
        let reply = opened.map_or_else(failed, Reply::from);
        observe::answered(reply.status());
        reply
    }

    /// Parses the body, with the fields and headers that policies read.
    fn request(&self, head: AcceptedHead, body: Body) -> Result<SignupRequest, SignupError> {
        let fields = self.service.policies().fields();
        let request = SignupRequest::from_json_with(body.as_bytes(), fields);
        drop(body);
        let headers = head.headers.into_iter();
        let mut request = request?.client(head.client);
        request.idempotency_key = head.idempotency_key;
        Ok(headers.fold(request, |request, (name, value)| request.header(name, value)))
    }

    /// Awaits a sign-up. A panic in it becomes an internal error.
    async fn catching_panics<T>(
        &self,
        signup: Pin<&mut impl Future<Output = Result<T, SignupError>>>,
    ) -> Result<T, Reply> {
        if let Some(result) = catch_panic(signup).await {
            return result.map_err(|error| self.failed(&error));
        }
        Err(self.panicked())
    }

    /// Creates the answer to a request in which the host's code has panicked.
    fn panicked(&self) -> Reply {
        let panicked = SignupError::internal("the sign-up panicked");
        observe::failed("sign-up failed", &panicked);
        self.failed(&panicked)
    }

    /// Creates the answer to an error, and reports a failure that the client did not cause.
    fn failed(&self, error: &SignupError) -> Reply {
        let is_ours = matches!(error, SignupError::Internal(_) | SignupError::Unavailable { .. });
        if let (true, Some(report)) = (is_ours, &self.on_failure) {
            // The panic hook reports a panic in it.
            let _ = catch_unwind(AssertUnwindSafe(|| report(error)));
        }
        Reply::error(error)
    }

    /// Creates the answer to a body that could not be read.
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
            routes: self.routes.clone(),
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

#[cfg(test)]
mod tests;
