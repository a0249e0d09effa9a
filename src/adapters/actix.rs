#![doc = include_str!("../../docs/actix.md")]

use std::pin::Pin;

use ::actix_web::body::BoxBody;
use ::actix_web::dev;
use ::actix_web::guard::fn_guard;
use ::actix_web::http::StatusCode;
use ::actix_web::web::{self, Data, Payload, ServiceConfig};
use ::actix_web::{FromRequest, HttpRequest, HttpResponse, Resource, Responder, ResponseError};
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

/// Mounts the endpoint at [`PATH`](crate::http::PATH), and its other
/// [routes](SignupEndpoint::routes) if there are any, in an app or a scope of the host.
///
/// An app is built once per worker: build the service outside, and clone it.
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
pub fn configure<S: AccountStore>(
    endpoint: impl Into<SignupEndpoint<S>>,
) -> impl FnOnce(&mut ServiceConfig) {
    let endpoint: SignupEndpoint<S> = endpoint.into();
    move |config| {
        for (route, path) in endpoint.routes() {
            // actix-web matches the decoded path: `/auth/sign%75p` would match, too.
            let written = path.to_owned();
            let as_written = fn_guard(move |request| request.head().uri.path().ends_with(&written));
            let resource = resource_at(endpoint.clone(), route, path);
            config.service(resource.guard(as_written));
        }
    }
}

/// Creates the resource of one of the endpoint's [routes](SignupEndpoint::routes), at a path
/// of the host's choice.
///
/// ```
/// use signup::adapters::actix::resource_at;
/// use signup::http::{PATH, SignupEndpoint};
/// use signup::store::MemoryStore;
///
/// fn register(endpoint: SignupEndpoint<MemoryStore>) -> actix_web::Resource {
///     let route = endpoint.route(PATH).unwrap();
///     resource_at(endpoint, route, "/v1/register")
/// }
/// ```
pub fn resource_at<S: AccountStore>(
    endpoint: impl Into<SignupEndpoint<S>>,
    route: Route,
    path: &str,
) -> Resource {
    let answer = move |endpoint: Data<SignupEndpoint<S>>, request: HttpRequest, body: Payload| async move {
        let accepted = endpoint.check_head(route, &head(&request)).await;
        HttpResponse::from(respond(&endpoint, accepted, body).await)
    };
    web::resource(path).app_data(Data::new(endpoint.into())).to(answer)
}

/// Handles a request on a path of the host's choice. Mount it for *any* method: it answers
/// those other than POST itself, as documented.
///
/// ```
/// use actix_web::web::{self, Data};
/// use signup::http::SignupEndpoint;
/// use signup::store::MemoryStore;
///
/// fn register(endpoint: SignupEndpoint<MemoryStore>) -> actix_web::Resource {
///     let handler = signup::adapters::actix::signup::<MemoryStore>;
///     web::resource("/v1/register").app_data(Data::new(endpoint)).to(handler)
/// }
/// ```
pub async fn signup<S: AccountStore>(
    endpoint: Data<SignupEndpoint<S>>,
    request: HttpRequest,
    body: Payload,
) -> HttpResponse {
    let accepted = endpoint.head(&head(&request)).await;
    respond(&endpoint, accepted, body).await.into()
}

/// Does everything but the insert, for a handler of the host that owns the transaction. The
/// handler answers with [`SignupEndpoint::respond`], or with the returned [`Reply`].
///
/// ```
/// use actix_web::HttpRequest;
/// use actix_web::web::{Data, Payload};
/// use signup::adapters::actix::prepare;
/// use signup::http::{Reply, SignupEndpoint};
/// use signup::store::{InsertProof, MemoryStore};
///
/// async fn handler(
///     endpoint: Data<SignupEndpoint<MemoryStore>>,
///     request: HttpRequest,
///     body: Payload,
/// ) -> Reply {
///     let prepared = match prepare(&endpoint, &request, body).await {
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
/// Returns the documented answer if there is nothing to insert.
pub async fn prepare<S: AccountStore>(
    endpoint: &SignupEndpoint<S>,
    request: &HttpRequest,
    body: Payload,
) -> Result<Prepared, Reply> {
    let accepted = endpoint.head(&head(request)).await;
    prepare_body(endpoint, accepted, body).await
}

fn head(request: &HttpRequest) -> Head<'_> {
    let peer = request.peer_addr().map(|address| address.ip());
    Head::new(request.method().as_str(), pairs(request)).peer(peer)
}

/// Mounts the JWK set of these keys at [`JWKS_PATH`]. Mount it at the root, where other
/// services look for it.
///
/// ```
/// use signup::token::{SigningKey, TokenKeys};
///
/// let keys = TokenKeys::new(SigningKey::ed25519(&[7; 32]));
/// let app = move || {
///     let jwks = signup::adapters::actix::jwks(keys.clone());
///     actix_web::App::new().configure(jwks)
/// };
/// # let _ = app;
/// ```
pub fn jwks(keys: TokenKeys) -> impl FnOnce(&mut ServiceConfig) {
    let answer = async |keys: Data<TokenKeys>, request: HttpRequest| {
        HttpResponse::from(crate::http::jwks(&keys, request.method().as_str()))
    };
    let resource = web::resource(JWKS_PATH).app_data(Data::new(keys)).to(answer);
    move |config| {
        config.service(resource);
    }
}

fn pairs(request: &HttpRequest) -> impl Iterator<Item = (&str, &[u8])> {
    request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// An optional extractor: admits a request without such a credential, and refuses one with
/// an invalid credential. actix-web's `Option` would admit both.
#[derive(Debug, Clone)]
pub struct Optional<A>(pub Option<A>);

type Authentication<A> = Pin<Box<dyn Future<Output = Result<A, CredentialError>>>>;

fn authenticate<A: Authenticated + 'static>(request: &HttpRequest) -> Authentication<Option<A>> {
    let credentials = request.app_data::<Data<Credentials>>().cloned();
    let presented = PresentedCredentials::new(pairs(request));
    Box::pin(async move {
        let missing = || SignupError::internal("the app has no `Data<Credentials>`");
        let credentials = credentials.ok_or_else(missing)?;
        A::authenticate(&credentials, &presented).await
    })
}

macro_rules! extractor {
    ($auth:ty) => {
        /// Refuses a request without such a credential, or with an invalid one, with 401.
        /// The app needs a `Data<Credentials>`.
        impl FromRequest for $auth {
            type Error = CredentialError;
            type Future = Authentication<Self>;

            fn from_request(request: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
                let authentication = authenticate(request);
                Box::pin(async { authentication.await?.ok_or(CredentialError::Rejected) })
            }
        }

        impl FromRequest for Optional<$auth> {
            type Error = CredentialError;
            type Future = Authentication<Self>;

            fn from_request(request: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
                let authentication = authenticate(request);
                Box::pin(async { authentication.await.map(Self) })
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

impl ResponseError for CredentialError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        Reply::from(self).into()
    }
}

impl ResponseError for SignupError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        Reply::from(self).into()
    }
}

impl Responder for Signup {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        Reply::from(self).into()
    }
}

impl Responder for Reply {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.into()
    }
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
        response.body(Bytes::from_owner(reply))
    }
}
