//! Accounts whose address is verified after the sign-up: the code, another code, and the
//! mailbox's owner who takes the account over.

use std::fmt;
use std::sync::Arc;

use serde_json::json;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::credentials::{CredentialError, Credentials};
use crate::error::SignupError;
use crate::event::EventKind;
use crate::limit::ClientIp;
use crate::mail::Code;
use crate::store::{
    AccountChange, ChangeOutcome, Condition, Effect, FindBy, LifecycleStore, StoredAccount,
};
use crate::verification::EmailCodes;

use super::SignupServiceBuilder;
use super::accounts::IN_USE;
use super::codes::{Codes, busy, invalid_code};
use super::inner::Inner;
use super::modes::Mode;

mod reclaim;

/// The credentials of an account's owner: the token, or email and password.
pub(crate) enum Owner<'a> {
    Token(&'a str),
    Password(&'a str, &'a str),
}

impl<S: LifecycleStore> SignupServiceBuilder<S> {
    /// Verifies each address after its account is stored: the sign-up is answered with the 201, a
    /// code is mailed, and [`VerifyAfter::verify`] accepts it. The endpoint has four more paths,
    /// and tokens have the claim `email_verified`.
    ///
    /// Until then the address may belong to someone else. A handler that depends on its owner
    /// requires [`VerifiedEmail`](crate::credentials::VerifiedEmail).
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use signup::idempotency::ReplaySecret;
    /// use signup::mail::{MailQueue, MemoryMailer};
    /// use signup::store::MemoryStore;
    /// use signup::verification::EmailCodes;
    /// use signup::{SignupRequest, SignupService};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let mailer = Arc::new(MemoryMailer::default());
    /// let mails = MailQueue::new(Arc::clone(&mailer));
    /// let codes = EmailCodes::new(ReplaySecret::new(&[8; 32])?, mails.clone());
    /// let service = SignupService::builder(MemoryStore::default())
    ///     .jwt_secret(&[7; 32])
    ///     .verify_after(codes)
    ///     .build()?;
    ///
    /// let signup = service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
    /// let verified = service.token_verifier().verify(signup.token().reveal())?;
    /// assert_eq!(verified.email_verified(), Some(false));
    ///
    /// mails.drained().await;
    /// let code = mailer.last_code("dev@example.com").unwrap();
    /// let after = service.verification().after().unwrap();
    /// after.verify(signup.account().id(), &code).await?;
    /// let auth = service.credentials().verify_token(signup.token().reveal()).await?;
    /// assert!(auth.email_verified_at().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn verify_after(self, codes: EmailCodes) -> Self {
        self.mailing(codes, Mode::After)
    }
}

/// The accounts of a service that verifies addresses after it stores accounts.
///
/// [`SignupService::verification`](crate::SignupService::verification) returns it. Clones are
/// cheap and share everything.
#[derive(Clone)]
pub struct VerifyAfter {
    pub(super) service: Arc<Inner>,
    pub(super) codes: Codes,
}

impl VerifyAfter {
    /// Verifies the address of an account with a mailed code. The caller has verified the
    /// owner by the token or the password: a code alone, which a scanner of mails has, too, is
    /// not enough. Repeating it succeeds.
    ///
    /// # Errors
    /// Returns an issue of `code` for a wrong or expired code, and for one from before
    /// [`revoke_tokens`](Credentials::revoke_tokens); [`SignupError::Busy`] if no try is left,
    /// and [`CredentialError::NotFound`] if the account does not exist.
    pub async fn verify(&self, account: &AccountId, code: &str) -> Result<(), CredentialError> {
        let Codes { stored, verifier } = &self.codes;
        let now = stored.core.now()?;
        let record = self.find(account).await?;
        let tries = account.as_str().as_bytes();
        let code = Code::parse(code).map_err(|_| invalid_code())?;
        verifier.charge_try(tries).await.map_err(busy)?;
        let owner = Codes::owner_of(&record);
        let is_code = owner.is_code(&code, now, verifier.lifetime, &verifier.secrets);
        if !is_code.map_err(SignupError::from)? {
            return Err(invalid_code().into());
        }
        verifier.refund_try(tries).await;
        if record.email_verified_at.is_some() {
            return Ok(());
        }
        let event = stored.core.event(EventKind::AccountVerified, account, now, &json!({}))?;
        let change = AccountChange::new(account.clone())
            .provided(Condition::Email(record.account.email().key().clone()))
            .provided(Condition::Generation(record.token_generation))
            .provided(Condition::State(IN_USE))
            .with(Effect::VerifyEmail(now))
            .with_all(event.map(Effect::Emit));
        match stored.store.change(change).await? {
            ChangeOutcome::Changed => Ok(()),
            _ => Err(invalid_code().into()),
        }
    }

    /// Mails the code of an account whose address is not verified again, or the next one.
    /// Returns when it expires.
    ///
    /// # Errors
    /// Returns [`SignupError::Busy`] if the queue of mails is full, and
    /// [`CredentialError::NotFound`] if the account does not exist.
    pub async fn resend_code(
        &self,
        account: &AccountId,
        client: Option<ClientIp>,
    ) -> Result<Timestamp, CredentialError> {
        let record = self.find(account).await?;
        let permit = self.codes.reserve_mail()?;
        let email = record.account.email().key();
        let may_mail = self.codes.verifier.charge_mail(email, client).await.map_err(busy)?;
        let (mail, expires_at) = self.codes.mail_to(&record, self.codes.stored.core.now()?)?;
        if may_mail && record.email_verified_at.is_none() {
            permit.send(mail);
        }
        Ok(expires_at)
    }

    /// Returns the account of an owner.
    pub(crate) async fn owner_of(
        &self,
        owner: Owner<'_>,
        client: Option<ClientIp>,
    ) -> Result<AccountId, CredentialError> {
        let credentials = Credentials::new(self.codes.stored.clone());
        match owner {
            Owner::Token(token) => Ok(credentials.verify_token(token).await?.account_id().clone()),
            // Throttled in any case: the routes are mounted even if the host has no log-in.
            Owner::Password(email, password) => {
                let login = credentials.log_in_throttled(email, password, client, None, true);
                Ok(login.await?.account_id().clone())
            }
        }
    }

    async fn find(&self, account: &AccountId) -> Result<StoredAccount, CredentialError> {
        let found = self.codes.stored.store.find_account(FindBy::Id(account)).await?;
        found.filter(|record| record.state.admits_owner()).ok_or(CredentialError::NotFound)
    }
}

impl fmt::Debug for VerifyAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyAfter").finish_non_exhaustive()
    }
}
