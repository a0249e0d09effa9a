//! The endpoint as a server, in axum.
//!
//! ```text
//! cargo run --release --example axum --features axum,sqlite
//! curl -i http://127.0.0.1:3000/auth/signup -H 'Content-Type: application/json' \
//!      -d '{"email":"dev@example.com","password":"correct horse"}'
//! ```
//!
//! `SIGNUP_ADDR`, `DATABASE_URL`, `SIGNUP_JWT_SECRET`, `SIGNUP_HASH_WORKERS` and
//! `SIGNUP_HASH_QUEUE` change it; the README says how.

use std::process::ExitCode;

use axum::Router;
use tokio::net::TcpListener;

mod support;

use support::{Complaint, Config, asked_to_end, exit};

#[tokio::main]
async fn main() -> ExitCode {
    exit(run().await)
}

async fn run() -> Result<(), Complaint> {
    let config = Config::from_env()?;
    let addr = config.addr;
    let service = config.service().await?;
    let app = Router::new().merge(signup::adapters::axum::router(service));

    let listener = TcpListener::bind(addr).await;
    let listener =
        listener.map_err(|error| format!("SIGNUP_ADDR: can't listen on {addr}: {error}"))?;
    let addr = listener.local_addr().map_err(|error| error.to_string())?;
    println!("listening on http://{addr}");
    let server = axum::serve(listener, app).with_graceful_shutdown(asked_to_end());
    server.await.map_err(|error| error.to_string())
}
