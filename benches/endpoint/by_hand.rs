//! The server that one writes by hand with axum, argon2 and sqlx, as the guides show it: the
//! hash on a thread for what blocks, and a transaction of two inserts.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use signup::clock::{Clock as _, SystemClock};
use signup::random::{SecureRandom as _, SystemRandom};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

const SCHEMA: &str = "
    CREATE TABLE users (
        id text PRIMARY KEY, email text NOT NULL UNIQUE, name text, password_hash text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE user_keys (
        digest bytea PRIMARY KEY, user_id text NOT NULL REFERENCES users, prefix text NOT NULL)";

#[derive(Clone)]
struct App {
    database: PgPool,
    /// A permit for each hash at a time, if they are bounded.
    permits: Option<Arc<Semaphore>>,
}

#[derive(Deserialize)]
struct Body {
    email: String,
    password: String,
    name: Option<String>,
}

/// Makes the server, with at most this many hashes at a time.
pub(super) async fn app(database: PgPool, hashes: Option<usize>) -> Router {
    sqlx::raw_sql(SCHEMA).execute(&database).await.unwrap();
    let permits = hashes.map(|hashes| Arc::new(Semaphore::new(hashes)));
    Router::new().route("/auth/signup", post(sign_up)).with_state(App { database, permits })
}

async fn sign_up(State(app): State<App>, Json(body): Json<Body>) -> Response {
    let email = body.email.trim().to_lowercase();
    if !email.contains('@') || body.password.chars().count() < 8 {
        let error = json!({"error": {"code": "VALIDATION_ERROR", "message": "Invalid input"}});
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    let hash = app.hash(body.password).await;
    let (id, key) = (format!("usr_{}", random::<16>()), format!("key_{}", random::<32>()));
    match insert(&app.database, &id, &email, body.name.as_deref(), &hash, &key).await {
        Ok(()) => {}
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
            let error = json!({"error": {"code": "CONFLICT", "message": "Email is taken"}});
            return (StatusCode::CONFLICT, Json(error)).into_response();
        }
        Err(_) => {
            let error = json!({"error": {"code": "INTERNAL_ERROR", "message": "Sorry"}});
            return (StatusCode::INTERNAL_SERVER_ERROR, Json(error)).into_response();
        }
    }
    let account = json!({"id": id, "email": email, "name": body.name, "plan": "trial"});
    let answer = json!({"data": {"account": account, "token": token(&id), "api_key": key}});
    (StatusCode::CREATED, Json(answer)).into_response()
}

impl App {
    async fn hash(&self, password: String) -> String {
        let permit = match &self.permits {
            Some(permits) => Some(Arc::clone(permits).acquire_owned().await.unwrap()),
            None => None,
        };
        let hash = move || {
            let mut salt = [0; 16];
            SystemRandom.fill(&mut salt).unwrap();
            let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
            drop(permit);
            hash.unwrap().to_string()
        };
        spawn_blocking(hash).await.unwrap()
    }
}

async fn insert(
    database: &PgPool,
    id: &str,
    email: &str,
    name: Option<&str>,
    hash: &str,
    key: &str,
) -> sqlx::Result<()> {
    let mut transaction = database.begin().await?;
    sqlx::query("INSERT INTO users (id, email, name, password_hash) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(email)
        .bind(name)
        .bind(hash)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("INSERT INTO user_keys (digest, user_id, prefix) VALUES ($1, $2, $3)")
        .bind(Sha256::digest(key).as_slice())
        .bind(id)
        .bind(key.get(..12))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

fn random<const N: usize>() -> String {
    let mut bytes = [0; N];
    SystemRandom.fill(&mut bytes).unwrap();
    BASE64.encode(bytes)
}

/// A token that is valid for a day, signed by HS256.
fn token(id: &str) -> String {
    let now = SystemClock.wall().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({"sub": id, "iat": now, "exp": now + 86_400}).to_string();
    let head = BASE64.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{head}.{}", BASE64.encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(&super::SECRET).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(mac.finalize().into_bytes()))
}
