//! Adapters between a framework and the endpoint: they only translate.

#[cfg(feature = "actix")]
pub mod actix;
#[cfg(feature = "axum")]
pub mod axum;

use std::future::poll_fn;
use std::pin::Pin;

use futures_core::Stream;

#[cfg(feature = "verification")]
use crate::credentials::VerifiedEmail;
use crate::credentials::{ApiKeyAuth, CredentialError, Credentials, DashboardAuth};
use crate::http::{AcceptedHead, Body, PresentedCredentials, Refusal, Reply, SignupEndpoint};
use crate::service::Prepared;
use crate::store::AccountStore;

/// Answers a request after its head was checked. If the head decides, the body is not read.
async fn respond<S: AccountStore, B: AsRef<[u8]>, E>(
    endpoint: &SignupEndpoint<S>,
    head: Result<AcceptedHead, Reply>,
    body: impl Stream<Item = Result<B, E>> + Unpin,
) -> Reply {
    match read_within(endpoint, head, body).await {
        Ok((head, body)) => endpoint.answer(head, body).await,
        Err(refusal) => refusal,
    }
}

/// Prepares a sign-up in the same way, for a host that owns the transaction.
async fn prepare_body<S: AccountStore, B: AsRef<[u8]>, E>(
    endpoint: &SignupEndpoint<S>,
    head: Result<AcceptedHead, Reply>,
    body: impl Stream<Item = Result<B, E>> + Unpin,
) -> Result<Prepared, Reply> {
    let (head, body) = read_within(endpoint, head, body).await?;
    endpoint.prepare(head, body).await
}

/// Reads the body within its limit and deadline.
async fn read_within<S: AccountStore, B: AsRef<[u8]>, E>(
    endpoint: &SignupEndpoint<S>,
    head: Result<AcceptedHead, Reply>,
    body: impl Stream<Item = Result<B, E>> + Unpin,
) -> Result<(AcceptedHead, Body), Reply> {
    let head = head?;
    match tokio::time::timeout(head.deadline(), read(&head, body)).await {
        Ok(Ok(body)) => Ok((head, body)),
        Ok(Err(refusal)) => Err(endpoint.refuse(refusal)),
        Err(_) => Err(endpoint.refuse(Refusal::RequestTimeout)),
    }
}

async fn read<B: AsRef<[u8]>, E>(
    head: &AcceptedHead,
    mut pieces: impl Stream<Item = Result<B, E>> + Unpin,
) -> Result<Body, Refusal> {
    let mut body = head.body();
    while let Some(piece) = poll_fn(|context| Pin::new(&mut pieces).poll_next(context)).await {
        let piece = piece.map_err(|_| Refusal::Incomplete)?;
        body.push(piece.as_ref())?;
    }
    Ok(body)
}

/// A credential that an extractor requires.
trait Authenticated: Sized + Send {
    /// Verifies the presented credential of this kind; `None` without one.
    fn authenticate(
        credentials: &Credentials,
        presented: &PresentedCredentials,
    ) -> impl Future<Output = Result<Option<Self>, CredentialError>> + Send;
}

impl Authenticated for DashboardAuth {
    async fn authenticate(
        credentials: &Credentials,
        presented: &PresentedCredentials,
    ) -> Result<Option<Self>, CredentialError> {
        match presented.token()? {
            Some(token) => credentials.verify_token(token).await.map(Some),
            None => Ok(None),
        }
    }
}

impl Authenticated for ApiKeyAuth {
    async fn authenticate(
        credentials: &Credentials,
        presented: &PresentedCredentials,
    ) -> Result<Option<Self>, CredentialError> {
        match presented.api_key()? {
            Some(key) => credentials.verify_api_key(key).await.map(Some),
            None => Ok(None),
        }
    }
}

#[cfg(feature = "verification")]
macro_rules! verified {
    ($($auth:ty),+) => {$(
        impl Authenticated for VerifiedEmail<$auth> {
            async fn authenticate(
                credentials: &Credentials,
                presented: &PresentedCredentials,
            ) -> Result<Option<Self>, CredentialError> {
                let auth = <$auth>::authenticate(credentials, presented).await?;
                auth.map(<$auth>::require_verified_email).transpose()
            }
        }
    )+};
}
#[cfg(feature = "verification")]
verified!(DashboardAuth, ApiKeyAuth);
