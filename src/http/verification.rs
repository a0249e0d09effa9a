//! The routes of a service that verifies addresses.

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::credentials::CredentialError;
use crate::error::SignupError;
use crate::limit::ClientIp;
use crate::request::SignupRequest;
use crate::secret::Secret;
use crate::service::{Owner, VerifyAfter, VerifyFirst};
use crate::validate::{texts, texts_and_password};

use super::paths::{
    CONFIRM_RECLAIM_PATH, RECLAIM_PATH, RESEND_EMAIL_CODE_PATH, RESEND_PATH, VERIFY_EMAIL_PATH,
    VERIFY_PATH,
};
use super::{AcceptedHead, Body, PresentedCredentials, Reply};

/// An operation of email verification.
#[derive(Debug, Clone)]
pub(super) enum Verification {
    First(VerifyFirst, FirstRoute),
    After(VerifyAfter, AfterRoute),
}

/// The routes of a service that verifies addresses first, next to the sign-up.
#[derive(Debug, Clone, Copy)]
pub(super) enum FirstRoute {
    Complete,
    Resend,
}

/// The routes of a service that verifies addresses after the sign-up, next to it.
#[derive(Debug, Clone, Copy)]
pub(super) enum AfterRoute {
    Verify,
    Resend,
    BeginReclaim,
    CompleteReclaim,
}

impl FirstRoute {
    pub(super) const ALL: [(&str, Self); 2] =
        [(VERIFY_PATH, Self::Complete), (RESEND_PATH, Self::Resend)];
}

impl AfterRoute {
    pub(super) const ALL: [(&str, Self); 4] = [
        (VERIFY_EMAIL_PATH, Self::Verify),
        (RESEND_EMAIL_CODE_PATH, Self::Resend),
        (RECLAIM_PATH, Self::BeginReclaim),
        (CONFIRM_RECLAIM_PATH, Self::CompleteReclaim),
    ];
}

impl Verification {
    pub(super) const fn takes_token(&self) -> bool {
        matches!(self, Self::After(_, AfterRoute::Verify | AfterRoute::Resend))
    }

    /// Answers a request.
    pub(super) async fn reply(
        &self,
        head: AcceptedHead,
        body: &Body,
    ) -> Result<Reply, SignupError> {
        match self {
            Self::First(first, route) => first_reply(first, *route, head.client, body).await,
            Self::After(after, route) => after_reply(after, *route, head, body).await,
        }
    }
}

async fn first_reply(
    first: &VerifyFirst,
    route: FirstRoute,
    client: ClientIp,
    body: &Body,
) -> Result<Reply, SignupError> {
    match route {
        FirstRoute::Complete => {
            let [ticket, code] = read(body, ["ticket", "code"])?;
            first.complete(&ticket, &code).await.map(Reply::from)
        }
        FirstRoute::Resend => {
            let [ticket] = read(body, ["ticket"])?;
            first.resend_code(&ticket, Some(client)).await.map(Reply::from)
        }
    }
}

async fn after_reply(
    after: &VerifyAfter,
    route: AfterRoute,
    AcceptedHead { client, presented, .. }: AcceptedHead,
    body: &Body,
) -> Result<Reply, SignupError> {
    match route {
        AfterRoute::Verify => {
            let verified = verify_email(after, presented, body, client).await;
            into_reply(verified.map(|()| Reply::no_content()))
        }
        AfterRoute::Resend => {
            let sent = resend_email_code(after, presented, body, client).await;
            into_reply(sent.map(Reply::code_sent))
        }
        AfterRoute::BeginReclaim => {
            let [email] = read(body, ["email"])?;
            after.begin_reclaim(&email, Some(client)).await.map(Reply::from)
        }
        AfterRoute::CompleteReclaim => {
            let [ticket, code, password] = read(body, ["ticket", "code", "password"])?;
            after.complete_reclaim(&ticket, &code, &password).await.map(Reply::reclaimed)
        }
    }
}

/// Verifies the address of the account that the request's token, or the email and password in its
/// body, belong to.
async fn verify_email(
    after: &VerifyAfter,
    presented: Option<PresentedCredentials>,
    body: &Body,
    client: ClientIp,
) -> Result<(), CredentialError> {
    let request = SignupRequest::from_json_with(body.as_bytes(), &["code"])?;
    let ([code], password) = texts_and_password(request, ["code"])?;
    let account = owner(after, presented.as_ref(), password, client).await?;
    after.verify(&account, &code).await
}

/// Mails the code of the account again.
async fn resend_email_code(
    after: &VerifyAfter,
    presented: Option<PresentedCredentials>,
    body: &Body,
    client: ClientIp,
) -> Result<Timestamp, CredentialError> {
    let request = SignupRequest::from_json(body.as_bytes())?;
    let ([], password) = texts_and_password(request, [])?;
    let account = owner(after, presented.as_ref(), password, client).await?;
    after.resend_code(&account, Some(client)).await
}

/// Returns the account whose token is presented, or else whose email and password are in the
/// body.
async fn owner(
    after: &VerifyAfter,
    presented: Option<&PresentedCredentials>,
    password: Option<[Secret<String>; 2]>,
    client: ClientIp,
) -> Result<AccountId, CredentialError> {
    let token = presented.map_or(Ok(None), PresentedCredentials::token)?;
    let owner = match (token, &password) {
        (Some(token), _) => Owner::Token(token),
        (None, Some([email, password])) => Owner::Password(email, password),
        (None, None) => return Err(CredentialError::Rejected),
    };
    after.owner_of(owner, Some(client)).await
}

/// Reads these required texts of a body.
fn read<const N: usize>(
    body: &Body,
    names: [&'static str; N],
) -> Result<[Secret<String>; N], SignupError> {
    texts(SignupRequest::from_json_with(body.as_bytes(), &names)?, names)
}

/// Turns a refused credential into its answer.
fn into_reply(result: Result<Reply, CredentialError>) -> Result<Reply, SignupError> {
    result.or_else(|error| match error {
        CredentialError::Failed(error) => Err(error),
        CredentialError::NotFound => Ok(Reply::from(&CredentialError::Rejected)),
        refused => Ok(Reply::from(&refused)),
    })
}
