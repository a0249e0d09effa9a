//! Sign-up, log-in and API keys, in axum.
//!
//! ```text
//! export SIGNUP_JWT_SECRET=$(openssl rand -hex 32) SIGNUP_REPLAY_SECRET=$(openssl rand -hex 32)
//! cargo run --release -p signup-examples --example login
//! JSON='Content-Type: application/json'
//! curl -H "$JSON" localhost:3000/auth/signup -d '{"email":"dev@example.com","password":"correct horse"}'
//! curl -H "$JSON" localhost:3000/auth/login -d '{"email":"dev@example.com","password":"correct horse"}'
//! curl -H "Authorization: Bearer $TOKEN" localhost:3000/keys
//! curl -H "Authorization: Bearer $TOKEN" -X POST localhost:3000/keys/key_…/rotate
//! curl -H "X-API-Key: $KEY" localhost:3000/whoami
//! ```

use std::{env, error::Error, net::SocketAddr, process::ExitCode, time::Duration};

use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, Json, Path, State};
use axum::http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{Router, delete, get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use signup::api_key::ApiKeyId;
use signup::credentials::{
    ApiKeyAuth, CredentialError, Credentials, DashboardAuth, IssuedApiKey, LoginThrottle,
};
use signup::error::{Issue, SignupError};
use signup::idempotency::ReplaySecret;
use signup::limit::ClientIp;
use signup::store::SqliteStore;
use signup::{SignupService, adapters};

#[path = "support/process.rs"]
mod process;

const DEVICE: &str = "trusted_device";

/// The time that a rotated key stays valid.
const GRACE: Duration = Duration::from_hours(24);

type Data = ([(HeaderName, &'static str); 1], Json<Value>);
type Answer = Result<Data, CredentialError>;

#[tokio::main]
async fn main() -> ExitCode {
    process::exit(run().await.map_err(|error| process::chain(&*error)))
}

async fn run() -> Result<(), Box<dyn Error>> {
    let url = env::var("DATABASE_URL").unwrap_or("sqlite://login.db".to_owned());
    let addr = env::var("SIGNUP_ADDR").unwrap_or("127.0.0.1:3000".to_owned());
    let secret = env::var("SIGNUP_JWT_SECRET")
        .map_err(|_| "SIGNUP_JWT_SECRET is not set: `openssl rand -hex 32` makes one")?;
    let replay_secret = env::var("SIGNUP_REPLAY_SECRET")
        .map_err(|_| "SIGNUP_REPLAY_SECRET is not set: `openssl rand -hex 32` makes another one")?;
    let throttle = LoginThrottle::new(ReplaySecret::new(replay_secret.as_bytes())?);
    let store = SqliteStore::connect(&url).await?;
    let pool = store.pool().clone();
    let served = serve(store, &secret, throttle, &addr).await;
    // The last connection writes the WAL into the database and deletes it.
    pool.close().await;
    served
}

async fn serve(
    store: SqliteStore,
    secret: &str,
    throttle: LoginThrottle,
    addr: &str,
) -> Result<(), Box<dyn Error>> {
    store.migrate().await?;
    let service = SignupService::builder(store)
        .jwt_secret(secret.as_bytes())
        .login_throttle(throttle)
        .build()?;
    // A key that another process revoked stays valid for at most 30 seconds.
    let credentials = service.credentials().with_cache(10_000, Duration::from_secs(30));
    let app = Router::new()
        .route("/auth/login", post(login))
        .route("/keys", get(list_api_keys).post(issue_api_key))
        .route("/keys/{id}", delete(revoke_api_key))
        .route("/keys/{id}/rotate", post(rotate_api_key))
        .route("/whoami", get(whoami))
        .with_state(credentials)
        .merge(adapters::axum::jwks(service.token_keys().clone()))
        .merge(adapters::axum::router(service))
        .fallback(async || CredentialError::NotFound);
    let listener = tokio::net::TcpListener::bind(addr).await?;
    let end = process::asked_to_end();
    println!("listening on http://{}", listener.local_addr()?);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(listener, app).with_graceful_shutdown(end).await?)
}

#[derive(Deserialize)]
struct Login {
    email: String,
    password: String,
}

async fn login(
    State(credentials): State<Credentials>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    login: Result<Json<Login>, JsonRejection>,
) -> Result<impl IntoResponse, CredentialError> {
    let malformed = |_| SignupError::Invalid(vec![Issue::body("Expected email and password")]);
    let Json(Login { email, password }) = login.map_err(malformed)?;
    // Behind a proxy it is `http::TrustedProxies` that knows the client.
    let (client, device) = (Some(ClientIp::from(peer.ip())), trusted_device(&headers));
    let login = credentials.log_in(&email, &password, client, device).await?;
    let token = credentials.issue_token(&login).await?;
    let mark = login.trusted_device().map_or("", |mark| mark.reveal());
    let cookie = format!(
        "{DEVICE}={mark}; Path=/auth/login; Max-Age=31536000; HttpOnly; Secure; SameSite=Strict"
    );
    Ok(([(SET_COOKIE, cookie)], data(&json!({ "token": token.reveal() }))))
}

/// Returns the mark of a device that has logged in before, which failures of strangers do not
/// delay.
fn trusted_device(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get(COOKIE)?.to_str().ok()?.split("; ");
    cookies
        .filter_map(|cookie| cookie.split_once('='))
        .find(|(name, _)| *name == DEVICE)
        .map(|(_, mark)| mark)
}

async fn list_api_keys(auth: DashboardAuth, State(credentials): State<Credentials>) -> Answer {
    let keys = credentials.api_keys(auth.account_id()).await?;
    Ok(data(&json!(keys)))
}

async fn issue_api_key(auth: DashboardAuth, State(credentials): State<Credentials>) -> Answer {
    Ok(issued(&credentials.issue_api_key(auth.account_id(), None).await?))
}

async fn rotate_api_key(
    auth: DashboardAuth,
    State(credentials): State<Credentials>,
    Path(id): Path<String>,
) -> Answer {
    Ok(issued(&credentials.rotate_api_key(auth.account_id(), &key_id(&id)?, GRACE, None).await?))
}

async fn revoke_api_key(
    auth: DashboardAuth,
    State(credentials): State<Credentials>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, CredentialError> {
    credentials.revoke_api_key(auth.account_id(), &key_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn whoami(auth: ApiKeyAuth) -> Answer {
    let account = auth.account().await?.account;
    Ok(data(&json!({ "id": account.id().as_str(), "plan": account.plan().as_str() })))
}

fn key_id(id: &str) -> Result<ApiKeyId, CredentialError> {
    id.parse().map_err(|_| CredentialError::NotFound)
}

/// Shows a key, the only time.
fn issued(key: &IssuedApiKey) -> Data {
    data(&json!({ "api_key": key.key().reveal(), "key": key.info() }))
}

fn data(data: &Value) -> Data {
    ([(CACHE_CONTROL, "no-store")], Json(json!({ "data": data })))
}
