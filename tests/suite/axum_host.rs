//! The endpoint inside of a host's own axum application.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::http::{Request, StatusCode};
use axum::routing::{any, get};
use axum::{Router, response::Response};
use signup::adapters::axum::service_at;
use signup::http::{PATH, Reply, SignupEndpoint, VERIFY_PATH};
use signup::idempotency::ReplaySecret;
use signup::limit::RateLimits;
use signup::mail::{MailQueue, MemoryMailer};
use signup::policy::InvitationOnly;
use signup::store::{AccountStore as _, CreateOutcome, InsertProof, MemoryStore};
use signup::verification::EmailCodes;
use signup::{SignupError, SignupService};
use tower::ServiceExt as _;

type Endpoint = SignupEndpoint<MemoryStore>;

#[derive(Clone)]
struct AppState {
    greeting: &'static str,
    signup: Endpoint,
}

impl FromRef<AppState> for Endpoint {
    fn from_ref(state: &AppState) -> Self {
        state.signup.clone()
    }
}

async fn greet(State(state): State<AppState>) -> &'static str {
    state.greeting
}

fn endpoint() -> Endpoint {
    let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
    service.build().unwrap().into()
}

/// The endpoint of a service that verifies addresses first.
pub fn verifying_first() -> Endpoint {
    let mails = MailQueue::new(Arc::new(MemoryMailer::default()));
    let verification = EmailCodes::new(ReplaySecret::new(&[8; 32]).unwrap(), mails);
    let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
    service.verify_first(verification).build().unwrap().into()
}

async fn post(app: &Router, path: &str) -> Response {
    let body = r#"{"email":"dev@example.com","password":"correct horse"}"#;
    let request = Request::post(path).header("content-type", "application/json");
    app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_bare_handler_lives_on_the_hosts_path_and_in_its_state() {
    let handler = signup::adapters::axum::signup::<MemoryStore>;
    let app = Router::new()
        .route("/", get(greet))
        .route("/v1/register", any(handler))
        .with_state(AppState { greeting: "hello", signup: endpoint() });
    assert_eq!(post(&app, "/v1/register").await.status(), StatusCode::CREATED);
    assert_eq!(post(&app, "/v1/register").await.status(), StatusCode::CONFLICT);
    assert_eq!(post(&app, "/auth/signup").await.status(), StatusCode::NOT_FOUND);
    let hello = Request::get("/").body(Body::empty()).unwrap();
    assert_eq!(app.oneshot(hello).await.unwrap().status(), StatusCode::OK);
}

/// The host chooses the path of each route.
#[tokio::test]
async fn each_route_lives_on_a_path_of_the_hosts() {
    let endpoint = verifying_first();
    let [begin, complete] = [PATH, VERIFY_PATH].map(|path| endpoint.route(path).unwrap());
    let by_hand = Router::new()
        .route("/v1/register", service_at(endpoint.clone(), begin))
        .route("/v1/register/complete", service_at(endpoint.clone(), complete));
    let endpoint = endpoint.mount(PATH, "/v1/register").mount(VERIFY_PATH, "/v1/register/complete");
    for app in [by_hand, signup::adapters::axum::router(endpoint)] {
        assert_eq!(post(&app, "/v1/register").await.status(), StatusCode::ACCEPTED);
        assert_eq!(post(&app, "/v1/register/complete").await.status(), StatusCode::BAD_REQUEST);
        assert_eq!(post(&app, "/auth/signup/verify").await.status(), StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn the_router_merges_into_one_with_a_state_and_a_fallback() {
    let app = Router::new()
        .route("/", get(greet))
        .merge(signup::adapters::axum::router(endpoint()))
        .fallback(|| async { StatusCode::IM_A_TEAPOT })
        .with_state(AppState { greeting: "hello", signup: endpoint() });
    assert_eq!(post(&app, "/auth/signup").await.status(), StatusCode::CREATED);
    assert_eq!(post(&app, "/elsewhere").await.status(), StatusCode::IM_A_TEAPOT);
    let get = Request::get("/auth/signup").body(Body::empty()).unwrap();
    assert_eq!(app.oneshot(get).await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_router_nests() {
    let app: Router = Router::new().nest("/api", signup::adapters::axum::router(endpoint()));
    assert_eq!(post(&app, "/api/auth/signup").await.status(), StatusCode::CREATED);
}

/// A handler that owns the transaction: it inserts by itself, and answers as documented.
async fn own_transaction(
    State((endpoint, store)): State<(Endpoint, Arc<MemoryStore>)>,
    request: axum::extract::Request,
) -> Result<Reply, Reply> {
    let prepared = signup::adapters::axum::prepare(&endpoint, request).await?;
    let new = prepared.new_account();
    Ok(match store.create(new.clone()).await {
        Ok(CreateOutcome::Stored) => {
            let proof = InsertProof::by_host(new);
            endpoint.respond(prepared.open(proof))
        }
        Ok(_) => endpoint.respond(Err(SignupError::EmailTaken)),
        Err(error) => endpoint.respond(Err(error)),
    })
}

#[tokio::test]
async fn a_handler_of_the_hosts_prepares_inserts_and_answers_as_documented() {
    let limits = RateLimits::per_client("3/min".parse().unwrap());
    let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
    let invited = InvitationOnly::new(async |code| Ok(code == "friends"));
    let service = service.rate_limits(limits).policy(invited).build().unwrap();
    let store = Arc::new(MemoryStore::default());
    let app = Router::new()
        .route("/register", any(own_transaction))
        .with_state((SignupEndpoint::new(service), Arc::clone(&store)));
    let send = async |method: &str, body: &'static str| {
        let request = Request::builder().method(method).uri("/register");
        let request = request.header("content-type", "application/json");
        let response = app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts.status.as_u16(), serde_json::from_slice::<serde_json::Value>(&body).unwrap())
    };
    let good = r#"{"email":"dev@example.com","password":"correct horse","invite_code":"friends"}"#;
    let (status, created) = send("POST", good).await;
    assert_eq!((status, &created["data"]["account"]["plan"]), (201, &"trial".into()));
    let new = &store.accounts()[0];
    assert_eq!(created["data"]["account"]["id"], new.id().as_str());
    assert_eq!(new.context().field("invite_code"), Some("friends"));
    let (status, conflict) = send("POST", good).await;
    assert_eq!((status, &conflict["error"]["code"]), (409, &"CONFLICT".into()));
    let (status, invalid) = send("POST", r#"{"email":"dev@example.com","password":"x"}"#).await;
    assert_eq!((status, invalid["error"]["details"]["issues"].as_array().unwrap().len()), (400, 1));
    assert_eq!(send("GET", "").await.0, 405);
    assert_eq!(send("POST", "[]").await.0, 400);
    assert_eq!(send("POST", good).await.0, 409);
    assert_eq!(send("POST", good).await.0, 429, "the head's limit holds here too");
    assert_eq!(store.accounts().len(), 1);
}
