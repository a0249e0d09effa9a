//! The endpoint in actix-web.
#![doc = include_str!("../../docs/actix.md")]

use ::actix_web::guard::fn_guard;
use ::actix_web::http::StatusCode;
use ::actix_web::web::{self, Data, Payload, ServiceConfig};
use ::actix_web::{HttpRequest, HttpResponse};

use crate::clock::Clock;
use crate::http::{Head, PATH, Reply, SignupEndpoint};
use crate::store::AccountStore;

use super::respond;

/// Mounts the endpoint at [`PATH`], in an app or a scope of the host's.
///
/// An app is built once for each worker: build the service outside, and clone it.
///
/// ```
/// use signup::SignupService;
/// use signup::store::MemoryStore;
///
/// let service = SignupService::builder(MemoryStore::default())
///     .jwt_secret(b"0123456789abcdef0123456789abcdef")
///     .build()
///     .unwrap();
/// let app = move || {
///     let endpoint = signup::adapters::actix::configure(service.clone());
///     actix_web::App::new().configure(endpoint)
/// };
/// # let _ = app;
/// ```
pub fn configure<S: AccountStore, C: Clock>(
    endpoint: impl Into<SignupEndpoint<S, C>>,
) -> impl FnOnce(&mut ServiceConfig) {
    let endpoint = Data::new(endpoint.into());
    // actix-web matches the decoded path: to it, `/auth/sign%75p` is ours as well.
    let as_written = fn_guard(|request| request.head().uri.path().ends_with(PATH));
    let resource = web::resource(PATH).guard(as_written).app_data(endpoint).to(signup::<S, C>);
    move |config| {
        config.service(resource);
    }
}

/// The bare handler, for a path of the host's choice. Mount it for *any* method:
/// it answers those other than POST itself, as documented.
///
/// ```
/// use actix_web::web::{self, Data};
/// use signup::clock::SystemClock;
/// use signup::http::SignupEndpoint;
/// use signup::store::MemoryStore;
///
/// fn register(endpoint: SignupEndpoint<MemoryStore>) -> actix_web::Resource {
///     let handler = signup::adapters::actix::signup::<MemoryStore, SystemClock>;
///     web::resource("/v1/register").app_data(Data::new(endpoint)).to(handler)
/// }
/// ```
pub async fn signup<S: AccountStore, C: Clock>(
    endpoint: Data<SignupEndpoint<S, C>>,
    request: HttpRequest,
    body: Payload,
) -> HttpResponse {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let head = Head::new(request.method().as_str(), headers);
    respond(&endpoint, head, body).await.into()
}

impl From<Reply> for HttpResponse {
    fn from(reply: Reply) -> Self {
        let status = StatusCode::from_u16(reply.status());
        let mut response = Self::build(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        for header in reply.headers() {
            response.insert_header(header);
        }
        if reply.leaves_body_unread() {
            response.force_close();
        }
        response.body(reply.into_body())
    }
}
