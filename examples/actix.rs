//! The endpoint as a server, in actix-web, by the same environment variables as
//! the axum one.
//!
//! ```text
//! cargo run --release --example actix --features actix,sqlite
//! ```

use std::process::ExitCode;
use std::time::Duration;

use actix_web::{App, HttpServer};

mod support;

use support::{Complaint, Config, exit};

/// How long a client may take for the head of a request.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    exit(actix_web::rt::System::new().block_on(run()))
}

async fn run() -> Result<(), Complaint> {
    let config = Config::from_env()?;
    let addr = config.addr;
    let service = config.service().await?;
    let app = move || App::new().configure(signup::adapters::actix::configure(service.clone()));
    let server = HttpServer::new(app).client_request_timeout(HEAD_DEADLINE).bind(addr);
    let server = server.map_err(|error| format!("SIGNUP_ADDR: can't listen on {addr}: {error}"))?;
    for addr in server.addrs() {
        println!("listening on http://{addr}");
    }
    // It ends gracefully on SIGTERM by itself.
    server.run().await.map_err(|error| error.to_string())
}
