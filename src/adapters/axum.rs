//! The endpoint in axum.
#![doc = include_str!("../../docs/axum.md")]

use ::axum::Router;
use ::axum::body::Body;
use ::axum::extract::{Request, State};
use ::axum::http::{HeaderName, HeaderValue, StatusCode};
use ::axum::response::{IntoResponse, Response};
use ::axum::routing::{MethodRouter, any};

use crate::clock::Clock;
use crate::http::{Head, PATH, Reply, SignupEndpoint};
use crate::store::AccountStore;

use super::respond;

/// A router with the endpoint at [`PATH`], to be merged into the host's.
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
pub fn router<S: AccountStore, C: Clock, T: Clone + Send + Sync + 'static>(
    endpoint: impl Into<SignupEndpoint<S, C>>,
) -> Router<T> {
    Router::new().route(PATH, service(endpoint))
}

/// The endpoint as a [tower service](MethodRouter#impl-Service<Request<B>>-for-MethodRouter<(),+E>),
/// for any path, or for a server that has none.
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
pub fn service<S: AccountStore, C: Clock, T: Clone + Send + Sync + 'static>(
    endpoint: impl Into<SignupEndpoint<S, C>>,
) -> MethodRouter<T> {
    any(signup::<S, C>).with_state(endpoint.into())
}

/// The bare handler, for a path of the host's choice. Mount it for *any* method:
/// it answers those other than POST itself, as documented.
///
/// ```
/// use axum::extract::FromRef;
/// use signup::clock::SystemClock;
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
/// let handler = signup::adapters::axum::signup::<MemoryStore, SystemClock>;
/// let app: axum::Router<AppState> =
///     axum::Router::new().route("/v1/register", axum::routing::any(handler));
/// ```
pub async fn signup<S: AccountStore, C: Clock>(
    State(endpoint): State<SignupEndpoint<S, C>>,
    request: Request,
) -> Response {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let head = Head::new(request.method().as_str(), headers);
    respond(&endpoint, head, request.into_body().into_data_stream()).await.into_response()
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
        *response.body_mut() = Body::from(self.into_body());
        response
    }
}
