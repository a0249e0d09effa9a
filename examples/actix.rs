//! A server with the endpoint in actix-web, its OpenAPI document at `/openapi.json`, and a
//! page to sign up with at `/`. It has the settings of the axum server.
//!
//! ```text
//! cargo run --release -p signup-examples --example actix --features actix
//! ```

use std::process::ExitCode;

use actix_cors::Cors;
use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::middleware::Condition;
use actix_web::web::{self, Data, Html, ServiceConfig};
use actix_web::{App, HttpResponse, HttpServer};
use signup::credentials::CredentialError;

mod support;

use support::health::{self, Health};
use support::process::{Complaint, chain};
use support::settings::values::Origin;
use support::telemetry::Metrics;
use support::{HEAD_DEADLINE, PAGE, STOP_DEADLINE, Server, openapi};

fn main() -> ExitCode {
    actix_web::rt::System::new().block_on(support::run(serve))
}

async fn serve(server: Server) -> Result<(), Complaint> {
    let document = openapi(&server.endpoint)?;
    let (endpoint, health) = (server.endpoint.clone(), server.health.clone());
    let (metrics, cors_origin) = (server.metrics.clone(), server.cors_origin.clone());
    let app = move || {
        let cors = cors_origin.as_ref().map_or_else(Cors::default, cors);
        App::new()
            .configure(signup::adapters::actix::configure(endpoint.clone()))
            .configure(besides(document.clone(), health.clone(), metrics.clone()))
            .default_service(web::to(async || Err::<HttpResponse, _>(CredentialError::NotFound)))
            .wrap(Condition::new(cors_origin.is_some(), cors))
    };
    let http = HttpServer::new(app)
        .client_request_timeout(HEAD_DEADLINE)
        .shutdown_timeout(STOP_DEADLINE.as_secs())
        .bind(server.addr)
        .map_err(|error| server.cannot_listen(&error))?;
    server.announce(http.addrs());
    http.shutdown_signal(server.end).run().await.map_err(|error| chain(&error))
}

/// The routes beside the endpoint.
fn besides(
    document: String,
    health: Health,
    metrics: Option<Metrics>,
) -> impl FnOnce(&mut ServiceConfig) {
    let document = move || {
        let document = document.clone();
        async { HttpResponse::Ok().content_type("application/json").body(document) }
    };
    move |config| {
        config
            .app_data(Data::new(health))
            .route("/", web::get().to(async || Html::new(PAGE)))
            .route("/openapi.json", web::get().to(document))
            .route(health::PATH, web::get().to(report));
        if let Some(metrics) = metrics {
            let render = move || std::future::ready(metrics.render());
            config.route("/metrics", web::get().to(render));
        }
    }
}

async fn report(health: Data<Health>) -> HttpResponse {
    let (status, json) = health.report().await;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(status)
        .content_type("application/json")
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(json)
}

/// Allows a page of another origin to sign up, to retry it and, if the app has routes with
/// [`signup::credentials`], to present a token or an API key.
fn cors(Origin(origin): &Origin) -> Cors {
    Cors::default()
        .allowed_origin(origin)
        .allowed_methods(["POST"])
        .allowed_headers(["content-type", "idempotency-key", "authorization", "x-api-key"])
        .expose_headers(["retry-after", "idempotency-replayed"])
}
