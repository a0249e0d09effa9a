//! The endpoint in axum.
//!
//! axum's `serve` waits for a request's head as long as the client likes: put it
//! behind a proxy that does not, or serve with hyper-util's builder and its
//! `header_read_timeout`. Answers to CORS preflights are a layer of the host's
//! (`tower_http::cors`), around the router that this one is merged into. Leave
//! response compression off this path: the body holds secrets beside text of
//! the client's choosing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::axum::Router;
use ::axum::body::{Body, Bytes, HttpBody as _};
use ::axum::extract::{Request, State};
use ::axum::http::{HeaderName, HeaderValue, StatusCode};
use ::axum::response::{IntoResponse, Response};
use ::axum::routing::any;

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
    Router::new().route(PATH, any(signup::<S, C>)).with_state(endpoint.into())
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
    let (parts, mut body) = request.into_parts();
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let head = Head::new(parts.method.as_str(), headers);
    let reply = respond(&endpoint, head, |context| poll_data(&mut body, context)).await;
    reply.into_response()
}

/// The next data of a body; trailers are nobody's.
fn poll_data(
    body: &mut Body,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, ::axum::Error>>> {
    loop {
        match ready!(Pin::new(&mut *body).poll_frame(context)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Poll::Ready(Some(Ok(data)));
                }
            }
        }
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
        *response.body_mut() = Body::from(self.into_body());
        response
    }
}
