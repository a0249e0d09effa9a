//! The endpoint on plain hyper, as an example for frameworks without an adapter, with
//! [`signup::http`].
//!
//! ```text
//! cargo run --release -p signup-examples --example hyper
//! ```

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use signup::credentials::CredentialError;
use signup::http::{Head, Refusal, Reply, Route, SignupEndpoint};
use signup::store::AccountStore;
use tokio::net::TcpListener;

#[path = "support/serve.rs"]
mod serve;
mod support;

pub(crate) use serve::serve;
use support::health::{self, Health};
use support::process::Complaint;
use support::{Endpoint, Server};

#[tokio::main]
async fn main() -> ExitCode {
    support::run(run).await
}

async fn run(server: Server) -> Result<(), Complaint> {
    let listener = TcpListener::bind(server.addr).await;
    let listener = listener.map_err(|error| server.cannot_listen(&error))?;
    server.announce(listener.local_addr());
    let Server { endpoint, health, end, .. } = server;
    serve(listener, end, |peer| {
        let (endpoint, health) = (endpoint.clone(), health.clone());
        service_fn(move |request| all(endpoint.clone(), health.clone(), peer, request))
    })
    .await;
    Ok(())
}

/// Serves the endpoint, the health check, and the documented 404 elsewhere.
async fn all(
    endpoint: Endpoint,
    health: Health,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    if endpoint.route(path).is_some() {
        return route(endpoint, peer, request).await;
    }
    let (status, json) = match path {
        health::PATH if request.method() == Method::GET => health.report().await,
        _ => {
            let reply = Reply::from(&CredentialError::NotFound);
            (reply.status(), String::from_utf8_lossy(reply.body()).into_owned())
        }
    };
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("cache-control", "no-store");
    Ok(response.body(Full::from(json)).unwrap_or_default())
}

/// Serves the endpoint at its paths, and nothing elsewhere.
pub(crate) async fn route<S: AccountStore>(
    endpoint: SignupEndpoint<S>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    let Some(route) = endpoint.route(request.uri().path()) else {
        *response.status_mut() = hyper::StatusCode::NOT_FOUND;
        return Ok(response);
    };
    let reply = signup(&endpoint, route, peer, request).await;
    let mut response = Response::builder().status(reply.status());
    for (name, value) in reply.headers() {
        response = response.header(name, value);
    }
    // Status and headers of a reply are always valid.
    Ok(response.body(Full::from(Bytes::from_owner(reply))).unwrap_or_default())
}

/// Checks the head, which may decide; then reads the body, within its limit and deadline;
/// then signs up.
async fn signup<S: AccountStore>(
    endpoint: &SignupEndpoint<S>,
    route: Route,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Reply {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let head = Head::new(request.method().as_str(), headers).peer(Some(peer.ip()));
    let accepted = match endpoint.check_head(route, &head).await {
        Ok(accepted) => accepted,
        Err(refusal) => return refusal,
    };
    let read = async {
        let (mut incoming, mut body) = (request.into_body(), accepted.body());
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|_| Refusal::Incomplete)?;
            if let Some(data) = frame.data_ref() {
                body.push(data)?;
            }
        }
        Ok(body)
    };
    match tokio::time::timeout(accepted.deadline(), read).await {
        Ok(Ok(body)) => endpoint.answer(accepted, body).await,
        Ok(Err(refusal)) => endpoint.refuse(refusal),
        Err(_) => endpoint.refuse(Refusal::RequestTimeout),
    }
}
