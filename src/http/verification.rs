//! The routes of a service that proves addresses.

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::credentials::CredentialError;
use crate::error::SignupError;
use crate::limit::ClientIp;
use crate::request::SignupRequest;
use crate::secret::Secret;
use crate::service::Owner;
use crate::store::AccountStore;
use crate::validate::{texts, texts_and_password};

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
                let proven = self.verify_email(ticket.presented, &body, ticket.client).await;
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
        client: ClientIp,
    ) -> Result<(), CredentialError> {
        let request = SignupRequest::from_json_with(body.as_bytes(), &["code"])?;
        let ([code], password) = texts_and_password(request, ["code"])?;
        let account = self.owner(presented.as_ref(), password, client).await?;
        self.service.verify_email(&account, &code).await
    }

    /// Mails the code of such an account again.
    async fn resend_email_code(
        &self,
        presented: Option<PresentedCredentials>,
        body: &Body,
        client: ClientIp,
    ) -> Result<Timestamp, CredentialError> {
        let request = SignupRequest::from_json(body.as_bytes())?;
        let ([], password) = texts_and_password(request, [])?;
        let account = self.owner(presented.as_ref(), password, client).await?;
        self.service.resend_email_code(&account, Some(client)).await
    }

    /// Returns the account whose token is presented, or else whose email and password are
    /// in the body.
    async fn owner(
        &self,
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
        self.service.owner_of(owner, Some(client)).await
    }
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
