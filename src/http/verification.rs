//! The routes of a service that proves addresses.

use crate::clock::Timestamp;
use crate::credentials::CredentialError;
use crate::error::SignupError;
use crate::limit::ClientIp;
use crate::request::SignupRequest;
use crate::secret::Secret;
use crate::service::Owner;
use crate::store::AccountStore;
use crate::validate::texts;

use super::{Body, PresentedCredentials, Reply, Route, SignupEndpoint, Ticket};

impl<S: AccountStore> SignupEndpoint<S> {
    /// Answers on one of the routes of a service that proves addresses.
    pub(super) async fn reply_verifying(
        &self,
        ticket: Ticket,
        body: Body,
    ) -> Result<Reply, SignupError> {
        let client = Some(ticket.client);
        match ticket.route {
            Route::Signup => {
                let request = self.request(ticket, body)?;
                self.service.begin(request).await.map(Reply::from)
            }
            Route::Verify => {
                let [ticket, code] = read(&body, ["ticket", "code"])?;
                self.service.complete(&ticket, &code).await.map(Reply::from)
            }
            Route::Resend => {
                let [ticket] = read(&body, ["ticket"])?;
                self.service.resend(&ticket, client).await.map(Reply::from)
            }
            Route::VerifyEmail => {
                let proven = self.verify_email(ticket.presented, &body).await;
                or_refusal(proven.map(|()| Reply::no_content()))
            }
            Route::ResendEmailCode => {
                let sent = self.resend_email_code(ticket.presented, &body, ticket.client).await;
                or_refusal(sent.map(Reply::code_sent))
            }
            Route::Reclaim => {
                let [email] = read(&body, ["email"])?;
                self.service.begin_reclaim(&email, client).await.map(Reply::from)
            }
            Route::ConfirmReclaim => {
                let [ticket, code, password] = read(&body, ["ticket", "code", "password"])?;
                let reclaimed = self.service.complete_reclaim(&ticket, &code, &password).await;
                reclaimed.map(Reply::reclaimed)
            }
        }
    }

    /// Proves the address of the account that the request's token, or the email and password
    /// in its body, belong to.
    async fn verify_email(
        &self,
        presented: Option<PresentedCredentials>,
        body: &Body,
    ) -> Result<(), CredentialError> {
        let (account, code) = if let Some(token) = token(presented.as_ref())? {
            let [code] = read(body, ["code"])?;
            (self.service.owner_of(Owner::Token(token)).await?, code)
        } else {
            let [email, password, code] = read(body, ["email", "password", "code"])?;
            (self.service.owner_of(Owner::Password(&email, &password)).await?, code)
        };
        self.service.verify_email(&account, &code).await
    }

    /// Mails the code of such an account again.
    async fn resend_email_code(
        &self,
        presented: Option<PresentedCredentials>,
        body: &Body,
        client: ClientIp,
    ) -> Result<Timestamp, CredentialError> {
        let account = if let Some(token) = token(presented.as_ref())? {
            let [] = read(body, [])?;
            self.service.owner_of(Owner::Token(token)).await?
        } else {
            let [email, password] = read(body, ["email", "password"])?;
            self.service.owner_of(Owner::Password(&email, &password)).await?
        };
        self.service.resend_email_code(&account, Some(client)).await
    }
}

fn token(presented: Option<&PresentedCredentials>) -> Result<Option<&str>, CredentialError> {
    presented.map_or(Ok(None), PresentedCredentials::token)
}

/// Reads these required texts of a body.
fn read<const N: usize>(
    body: &Body,
    names: [&'static str; N],
) -> Result<[Secret<String>; N], SignupError> {
    texts(SignupRequest::from_json_with(body.as_bytes(), &names)?, names)
}

/// Returns the answer to a credential that is refused.
fn or_refusal(result: Result<Reply, CredentialError>) -> Result<Reply, SignupError> {
    result.or_else(|error| match error {
        CredentialError::Failed(error) => Err(error),
        CredentialError::NotFound => Ok(Reply::from(&CredentialError::Rejected)),
        refused => Ok(Reply::from(&refused)),
    })
}
