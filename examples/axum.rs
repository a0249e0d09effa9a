//! A server with the endpoint in axum, its OpenAPI document at `/openapi.json`, and a page
//! to sign up with at `/`.
//!
//! ```text
//! cargo run --release -p signup-examples --example axum
//! curl -i http://127.0.0.1:3000/auth/signup -H 'Content-Type: application/json' \
//!      -d '{"email":"dev@example.com","password":"correct horse"}'
//! ```
//!
//! With the features `tracing` and `metrics` it prints its logs as JSON, and serves metrics
//! for Prometheus at `/metrics`. `examples/README.md` lists its settings.

use std::process::ExitCode;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use axum::http::header::{self, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::method::Method;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use hyper::service::{Service as _, service_fn};
use hyper_util::service::TowerToHyperService;
use signup::credentials::CredentialError;
use tokio::net::TcpListener;
use tower_http::cors::CorsLayer;

#[path = "support/serve.rs"]
mod serve;
mod support;

use support::health::{self, Health};
use support::process::Complaint;
use support::settings::values::Origin;
use support::telemetry::Metrics;
use support::{Endpoint, PAGE, Server, openapi};

#[tokio::main]
async fn main() -> ExitCode {
    support::run(serve).await
}

async fn serve(server: Server) -> Result<(), Complaint> {
    let listener = TcpListener::bind(server.addr).await;
    let listener = listener.map_err(|error| server.cannot_listen(&error))?;
    server.announce(listener.local_addr());
    let Server { endpoint, health, metrics, cors_origin, end, .. } = server;
    // axum's own `serve` has no time limit for the head of a request.
    let app = TowerToHyperService::new(app(endpoint, health, metrics, cors_origin)?);
    serve::serve(listener, end, |peer| {
        let app = app.clone();
        service_fn(move |mut request| {
            request.extensions_mut().insert(ConnectInfo(peer));
            app.call(request)
        })
    })
    .await;
    Ok(())
}

fn app(
    endpoint: Endpoint,
    health: Health,
    metrics: Option<Metrics>,
    cors_origin: Option<Origin>,
) -> Result<Router, Complaint> {
    let document = openapi(&endpoint)?;
    let mut app = Router::new()
        .merge(signup::adapters::axum::router(endpoint))
        .route("/", get(async || Html(PAGE)))
        .route("/openapi.json", get(async || ([(CONTENT_TYPE, "application/json")], document)))
        .route(health::PATH, get(move || report(health)))
        .fallback(async || CredentialError::NotFound);
    if let Some(metrics) = metrics {
        app = app.route("/metrics", get(async move || metrics.render()));
    }
    if let Some(origin) = cors_origin {
        app = app.layer(cors(&origin)?);
    }
    Ok(app)
}

async fn report(health: Health) -> impl IntoResponse {
    let (status, json) = health.report().await;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, json)
}

/// Allows a page of another origin to sign up, to retry it and, if the app has routes with
/// [`signup::credentials`], to present a token or an API key.
fn cors(Origin(origin): &Origin) -> Result<CorsLayer, Complaint> {
    let origin: HeaderValue =
        origin.parse().map_err(|error| format!("SIGNUP_CORS_ORIGIN: {error}"))?;
    Ok(CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::POST])
        .allow_headers([
            CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            header::AUTHORIZATION,
            HeaderName::from_static("x-api-key"),
        ])
        .expose_headers([header::RETRY_AFTER, HeaderName::from_static("idempotency-replayed")]))
}
