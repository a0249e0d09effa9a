//! The endpoint inside of a host's own axum application.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::http::{Request, StatusCode};
use axum::routing::{any, get};
use axum::{Router, response::Response};
use signup::SignupService;
use signup::clock::SystemClock;
use signup::http::SignupEndpoint;
use signup::store::MemoryStore;
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

async fn post(app: &Router, path: &str) -> Response {
    let body = r#"{"email":"dev@example.com","password":"correct horse"}"#;
    let request = Request::post(path).header("content-type", "application/json");
    app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_bare_handler_lives_on_the_hosts_path_and_in_its_state() {
    let handler = signup::adapters::axum::signup::<MemoryStore, SystemClock>;
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
