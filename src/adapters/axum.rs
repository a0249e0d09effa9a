#![doc = include_str!("../../docs/axum.md")]

use std::net::SocketAddr;

use ::axum::Router;
use ::axum::body::Body;
use ::axum::extract::{
    ConnectInfo, FromRef, FromRequestParts, OptionalFromRequestParts, Request, State,
};
use ::axum::http::request::Parts;
use ::axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use ::axum::response::{IntoResponse, Response};
use ::axum::routing::{MethodRouter, any};
use ::bytes::Bytes;

#[cfg(feature = "verification")]
use crate::credentials::VerifiedEmail;
use crate::credentials::{ApiKeyAuth, CredentialError, Credentials, DashboardAuth};
use crate::error::SignupError;
use crate::http::{Head, JWKS_PATH, PresentedCredentials, Reply, Route, SignupEndpoint};
use crate::response::Signup;
use crate::service::Prepared;
use crate::store::AccountStore;
use crate::token::TokenKeys;

use super::{Authenticated, prepare_body, respond};

/// Creates a router with the endpoint at [`PATH`](crate::http::PATH), and its other
/// [routes](SignupEndpoint::routes) if there are any, to be merged into the host's.
///
/// ```
/// use signup::SignupService;
/// use signup::store::MemoryStore;
///
/// let service = SignupService::builder(MemoryStore::default())
///     .jwt_secret(b"0123456789abcdef0123456789abcdef")
///     .build()
///     .unwrap();
/// let app: axum::Router = axum::Router::new().merge(signup::adapters::axum::router(service));
/// ```
pub fn router<S: AccountStore, T: Clone + Send + Sync + 'static>(
    endpoint: impl Into<SignupEndpoint<S>>,
) -> Router<T> {
    let endpoint: SignupEndpoint<S> = endpoint.into();
    endpoint.routes().fold(Router::new(), |router, (route, path)| {
        router.route(path, service_at(endpoint.clone(), route))
    })
}

/// Creates the service of one of the endpoint's [routes](SignupEndpoint::routes), for a route of
/// the host that has its own layers.
///
/// ```
/// use signup::adapters::axum::service_at;
/// use signup::http::{PATH, SignupEndpoint};
///
/// # let service = signup::SignupService::builder(signup::store::MemoryStore::default());
/// # let service = service.jwt_secret(&[7; 32]).build().unwrap();
/// let endpoint = SignupEndpoint::new(service);
/// let route = endpoint.route(PATH).unwrap();
/// let register = service_at(endpoint, route);
/// let app: axum::Router = axum::Router::new().route("/v1/register", register);
/// ```
pub fn service_at<S: AccountStore, T: Clone + Send + Sync + 'static>(
    endpoint: impl Into<SignupEndpoint<S>>,
    route: Route,
) -> MethodRouter<T> {
    let answer = async move |State(endpoint): State<SignupEndpoint<S>>, request: Request| {
        let accepted = endpoint.check_head(route, &head(&request)).await;
        respond(&endpoint, accepted, request.into_body().into_data_stream()).await
    };
    any(answer).with_state(endpoint.into())
}

/// Creates a [tower service](MethodRouter#impl-Service<Request<B>>-for-MethodRouter<(),+E>)
/// of a sign-up, for any path, or for a server without paths. A service that verifies
/// addresses has more routes: see [`service_at`].
///
/// ```
/// use axum::http::Request;
/// use tower::ServiceExt as _;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// # let service = signup::SignupService::builder(signup::store::MemoryStore::default());
/// # let service = service.jwt_secret(&[7; 32]).build().unwrap();
/// let service = signup::adapters::axum::service(service);
/// let body = r#"{"email":"dev@example.com","password":"correct horse"}"#;
/// let request = Request::post("/").header("content-type", "application/json");
/// let response = service.oneshot(request.body(body.to_owned()).unwrap()).await.unwrap();
/// assert_eq!(response.status(), 201);
/// # });
/// ```
pub fn service<S: AccountStore, T: Clone + Send + Sync + 'static>(
    endpoint: impl Into<SignupEndpoint<S>>,
) -> MethodRouter<T> {
    let endpoint = endpoint.into();
    let answer = async move |State(endpoint): State<SignupEndpoint<S>>, request: Request| {
        signup(State(endpoint), request).await
    };
    any(answer).with_state(endpoint)
}

/// Handles a request on a path of the host's choice. Mount it for *any* method: it answers
/// those other than POST itself, as documented.
///
/// ```
/// use axum::extract::FromRef;
/// use signup::http::SignupEndpoint;
/// use signup::store::MemoryStore;
///
/// #[derive(Clone)]
/// struct AppState {
///     signup: SignupEndpoint<MemoryStore>,
/// }
///
/// impl FromRef<AppState> for SignupEndpoint<MemoryStore> {
///     fn from_ref(state: &AppState) -> Self {
///         state.signup.clone()
///     }
/// }
///
/// let handler = signup::adapters::axum::signup::<MemoryStore>;
/// let app: axum::Router<AppState> =
///     axum::Router::new().route("/v1/register", axum::routing::any(handler));
/// ```
pub async fn signup<S: AccountStore>(
    State(endpoint): State<SignupEndpoint<S>>,
    request: Request,
) -> Response {
    let accepted = endpoint.head(&head(&request)).await;
    respond(&endpoint, accepted, request.into_body().into_data_stream()).await.into_response()
}

/// Does everything but the insert, for a handler of the host that owns the transaction. The
/// handler answers with [`SignupEndpoint::respond`], or with the returned [`Reply`].
///
/// ```
/// use axum::extract::{Request, State};
/// use signup::adapters::axum::prepare;
/// use signup::http::{Reply, SignupEndpoint};
/// use signup::store::{InsertProof, MemoryStore};
///
/// async fn handler(
///     State(endpoint): State<SignupEndpoint<MemoryStore>>,
///     request: Request,
/// ) -> Result<Reply, Reply> {
///     let prepared = prepare(&endpoint, request).await?;
///     // … the host inserts prepared.new_account(), and COMMIT …
///     let proof = InsertProof::by_host(prepared.new_account());
///     Ok(endpoint.respond(prepared.open(proof)))
/// }
/// ```
///
/// # Errors
/// Returns the documented answer if there is nothing to insert.
pub async fn prepare<S: AccountStore>(
    endpoint: &SignupEndpoint<S>,
    request: Request,
) -> Result<Prepared, Reply> {
    let accepted = endpoint.head(&head(&request)).await;
    prepare_body(endpoint, accepted, request.into_body().into_data_stream()).await
}

fn head(request: &Request) -> Head<'_> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|ConnectInfo(address)| address.ip());
    Head::new(request.method().as_str(), pairs(request.headers())).peer(peer)
}

/// Creates a router with the JWK set of these keys at [`JWKS_PATH`]. Merge it at the root,
/// where other services look for it.
///
/// ```
/// use signup::token::{SigningKey, TokenKeys};
///
/// let keys = TokenKeys::new(SigningKey::ed25519(&[7; 32]));
/// let app: axum::Router = axum::Router::new().merge(signup::adapters::axum::jwks(keys));
/// ```
pub fn jwks<T: Clone + Send + Sync + 'static>(keys: TokenKeys) -> Router<T> {
    let answer = async move |method: Method| crate::http::jwks(&keys, method.as_str());
    Router::new().route(JWKS_PATH, any(answer))
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

async fn authenticate<A: Authenticated, T>(
    parts: &Parts,
    state: &T,
) -> Result<Option<A>, CredentialError>
where
    Credentials: FromRef<T>,
{
    let credentials = Credentials::from_ref(state);
    A::authenticate(&credentials, &PresentedCredentials::new(pairs(&parts.headers))).await
}

macro_rules! extractor {
    ($auth:ty) => {
        /// Refuses a request without such a credential, or with an invalid one, with 401.
        impl<T: Send + Sync> FromRequestParts<T> for $auth
        where
            Credentials: FromRef<T>,
        {
            type Rejection = CredentialError;

            async fn from_request_parts(
                parts: &mut Parts,
                state: &T,
            ) -> Result<Self, CredentialError> {
                authenticate(parts, state).await?.ok_or(CredentialError::Rejected)
            }
        }

        /// As an `Option`: admits a request without such a credential, and refuses one with
        /// an invalid credential.
        impl<T: Send + Sync> OptionalFromRequestParts<T> for $auth
        where
            Credentials: FromRef<T>,
        {
            type Rejection = CredentialError;

            async fn from_request_parts(
                parts: &mut Parts,
                state: &T,
            ) -> Result<Option<Self>, CredentialError> {
                authenticate(parts, state).await
            }
        }
    };
}
extractor!(DashboardAuth);
extractor!(ApiKeyAuth);
#[cfg(feature = "verification")]
extractor!(VerifiedEmail<DashboardAuth>);
#[cfg(feature = "verification")]
extractor!(VerifiedEmail<ApiKeyAuth>);

impl IntoResponse for CredentialError {
    fn into_response(self) -> Response {
        Reply::from(&self).into_response()
    }
}

impl IntoResponse for Signup {
    fn into_response(self) -> Response {
        Reply::from(self).into_response()
    }
}

impl IntoResponse for SignupError {
    fn into_response(self) -> Response {
        Reply::from(self).into_response()
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        *response.status_mut() =
            StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in self.headers() {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        *response.body_mut() = Body::from(Bytes::from_owner(self));
        response
    }
}
