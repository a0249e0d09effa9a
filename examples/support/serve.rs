//! A server for hyper services: HTTP/1.1, with a time limit for the head of a
//! request, until it is asked to end.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;

use super::support::{HEAD_DEADLINE, STOP_DEADLINE};

/// Serves each peer with its own service, and returns when the last answer was sent or time
/// is up.
pub async fn serve<S, B>(
    listener: TcpListener,
    end: impl Future<Output = ()>,
    service_for: impl Fn(SocketAddr) -> S,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let mut server = http1::Builder::new();
    // A client that sends a byte of its head per minute would otherwise hold on for ever.
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
    let connections = GracefulShutdown::new();
    let mut end = pin!(end);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        let Ok((stream, peer)) = accepted else {
            // No file descriptor is left: some are released soon.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let connection = server.serve_connection(TokioIo::new(stream), service_for(peer));
        let connection = connections.watch(connection);
        tokio::spawn(async {
            // A client that leaves is not an error of the server.
            let _ = connection.await;
        });
    }
    // New connections are refused instead of waiting for nobody.
    drop(listener);
    let _ = tokio::time::timeout(STOP_DEADLINE, connections.shutdown()).await;
}
