//! Adapters: a framework's request into the neutral one, the neutral reply into
//! the framework's, and nothing else.

#[cfg(feature = "actix")]
pub mod actix;
#[cfg(feature = "axum")]
pub mod axum;

use std::future::poll_fn;
use std::pin::Pin;

use futures_core::Stream;

use crate::clock::Clock;
use crate::http::{Body, Head, Refusal, Reply, SignupEndpoint, Ticket};
use crate::store::AccountStore;

/// One request, start to end. The body is not asked for where the head decides.
async fn respond<S: AccountStore, C: Clock, B: AsRef<[u8]>, E>(
    endpoint: &SignupEndpoint<S, C>,
    head: Head,
    body: impl Stream<Item = Result<B, E>> + Unpin,
) -> Reply {
    let ticket = match endpoint.head(&head) {
        Ok(ticket) => ticket,
        Err(refusal) => return refusal,
    };
    match tokio::time::timeout(ticket.deadline(), read(&ticket, body)).await {
        Ok(Ok(body)) => endpoint.answer(ticket, body).await,
        Ok(Err(refusal)) => refusal,
        Err(_) => Refusal::RequestTimeout.into(),
    }
}

async fn read<B: AsRef<[u8]>, E>(
    ticket: &Ticket,
    mut pieces: impl Stream<Item = Result<B, E>> + Unpin,
) -> Result<Body, Reply> {
    let mut body = ticket.body();
    while let Some(piece) = poll_fn(|context| Pin::new(&mut pieces).poll_next(context)).await {
        let piece = piece.map_err(|_| Refusal::Incomplete)?;
        body.push(piece.as_ref())?;
    }
    Ok(body)
}
