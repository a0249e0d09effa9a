//! The endpoint as a server, in actix-web, with its OpenAPI document at
//! `/openapi.json` and a page to sign up with at `/`; by the same environment
//! variables as the axum one.
//!
//! ```text
//! cargo run --release --example actix --features actix,openapi,sqlite
//! ```

use std::process::ExitCode;

use actix_cors::Cors;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER};
use actix_web::middleware::Condition;
use actix_web::web::{self, Html, ServiceConfig};
use actix_web::{App, HttpResponse, HttpServer};

mod support;

use support::{
    Complaint, Config, HEAD_DEADLINE, Metrics, Origin, PAGE, cannot_listen, exit, openapi,
    print_logs,
};

fn main() -> ExitCode {
    exit(actix_web::rt::System::new().block_on(run()))
}

async fn run() -> Result<(), Complaint> {
    let config = Config::from_env()?;
    let (addr, cors_origin) = (config.addr, config.cors_origin.clone());
    let document = openapi()?;
    print_logs();
    let metrics = Metrics::record()?;
    let endpoint = config.endpoint().await?;
    let app = move || {
        let cors = cors_origin.as_ref().map_or_else(Cors::default, cors);
        let document = document.clone();
        let document = move || {
            let document = document.clone();
            async { HttpResponse::Ok().content_type("application/json").body(document) }
        };
        let metrics = metrics.clone();
        let scraped = move |config: &mut ServiceConfig| {
            if let Some(metrics) = metrics {
                let render = move || std::future::ready(metrics.render());
                config.route("/metrics", web::get().to(render));
            }
        };
        App::new()
            .configure(signup::adapters::actix::configure(endpoint.clone()))
            .route("/", web::get().to(async || Html::new(PAGE)))
            .route("/openapi.json", web::get().to(document))
            .configure(scraped)
            .wrap(Condition::new(cors_origin.is_some(), cors))
    };
    let server = HttpServer::new(app).client_request_timeout(HEAD_DEADLINE).bind(addr);
    let server = server.map_err(|error| cannot_listen(addr, &error))?;
    for addr in server.addrs() {
        println!("listening on http://{addr}");
    }
    // It ends gracefully on SIGTERM by itself.
    server.run().await.map_err(|error| error.to_string())
}

/// What a page of another origin's may do.
fn cors(Origin(origin): &Origin) -> Cors {
    Cors::default()
        .allowed_origin(origin)
        .allowed_methods(["POST"])
        .allowed_header(CONTENT_TYPE)
        .expose_headers([RETRY_AFTER])
}
