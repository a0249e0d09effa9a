//! Sign-up, log-in and API keys, in axum.
//!
//! ```text
//! export SIGNUP_JWT_SECRET=$(openssl rand -hex 32)
//! cargo run --release --example login --features axum,sqlite
//! JSON='Content-Type: application/json'
//! curl -H "$JSON" localhost:3000/auth/signup -d '{"email":"dev@example.com","password":"correct horse"}'
//! curl -H "$JSON" localhost:3000/auth/login -d '{"email":"dev@example.com","password":"correct horse"}'
//! curl -H "Authorization: Bearer $TOKEN" localhost:3000/keys
//! curl -H "Authorization: Bearer $TOKEN" -X POST localhost:3000/keys/key_…/rotate
//! curl -H "X-API-Key: $KEY" localhost:3000/whoami
//! ```

use std::{env, error::Error, process::ExitCode, time::Duration};

use axum::extract::rejection::JsonRejection;
use axum::extract::{Json, Path, State};
use axum::http::{HeaderName, StatusCode, header::CACHE_CONTROL};
use axum::response::IntoResponse;
use axum::routing::{Router, delete, get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use signup::api_key::ApiKeyId;
use signup::credentials::{ApiKeyAuth, CredentialError, Credentials, DashboardAuth, IssuedApiKey};
use signup::error::{Issue, SignupError};
use signup::store::SqliteStore;
use signup::{SignupService, adapters};

#[path = "support/process.rs"]
mod process;

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
    let store = SqliteStore::connect(&url).await?;
    let pool = store.pool().clone();
    let served = serve(store, &secret, &addr).await;
    // The last connection writes the WAL into the database and deletes it.
    pool.close().await;
    served
}

async fn serve(store: SqliteStore, secret: &str, addr: &str) -> Result<(), Box<dyn Error>> {
    store.migrate().await?;
    let service = SignupService::builder(store).jwt_secret(secret.as_bytes()).build()?;
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
    Ok(axum::serve(listener, app).with_graceful_shutdown(end).await?)
}

#[derive(Deserialize)]
struct Login {
    email: String,
    password: String,
}

async fn login(
    State(credentials): State<Credentials>,
    login: Result<Json<Login>, JsonRejection>,
) -> Answer {
    let malformed = |_| SignupError::Invalid(vec![Issue::body("Expected email and password")]);
    let Json(Login { email, password }) = login.map_err(malformed)?;
    let account = credentials.verify_password(&email, &password).await?;
    Ok(data(&json!({ "token": credentials.issue_token(&account).await?.reveal() })))
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
