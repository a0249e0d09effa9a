//! The endpoint as a server, in axum, with its OpenAPI document at
//! `/openapi.json` and a page to sign up with at `/`.
//!
//! ```text
//! cargo run --release --example axum --features axum,openapi,sqlite
//! curl -i http://127.0.0.1:3000/auth/signup -H 'Content-Type: application/json' \
//!      -d '{"email":"dev@example.com","password":"correct horse"}'
//! ```
//!
//! With the features `tracing` and `metrics` it prints its logs as JSON, and serves
//! what Prometheus scrapes at `/metrics`. Environment variables change it; the README
//! says how.

use std::process::ExitCode;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::method::Method;
use axum::response::Html;
use axum::routing::get;
use hyper::service::{Service as _, service_fn};
use hyper_util::service::TowerToHyperService;
use tower_http::cors::CorsLayer;

#[path = "support/serve.rs"]
mod serve;
mod support;

use support::{Complaint, Config, Metrics, Origin, PAGE, exit, listen, openapi, print_logs};

#[tokio::main]
async fn main() -> ExitCode {
    exit(run().await)
}

async fn run() -> Result<(), Complaint> {
    let config = Config::from_env()?;
    let (addr, cors_origin) = (config.addr, config.cors_origin.clone());
    let document = openapi()?;
    print_logs();
    let metrics = Metrics::record()?;
    let mut app = Router::new()
        .merge(signup::adapters::axum::router(config.endpoint().await?))
        .route("/", get(async || Html(PAGE)))
        .route("/openapi.json", get(async || ([(CONTENT_TYPE, "application/json")], document)));
    if let Some(metrics) = metrics {
        app = app.route("/metrics", get(async move || metrics.render()));
    }
    if let Some(origin) = cors_origin {
        app = app.layer(cors(&origin)?);
    }
    let listener = listen(addr).await?;
    // axum's own `serve` has no time limit for the head of a request.
    let app = TowerToHyperService::new(app);
    serve::serve(listener, |peer| {
        let app = app.clone();
        service_fn(move |mut request| {
            request.extensions_mut().insert(ConnectInfo(peer));
            app.call(request)
        })
    })
    .await;
    Ok(())
}

/// What a page of another origin's may do.
fn cors(Origin(origin): &Origin) -> Result<CorsLayer, Complaint> {
    let origin: HeaderValue =
        origin.parse().map_err(|error| format!("SIGNUP_CORS_ORIGIN: {error}"))?;
    Ok(CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::POST])
        .allow_headers([CONTENT_TYPE])
        .expose_headers([RETRY_AFTER]))
}
