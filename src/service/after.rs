//! Accounts whose address is proven after the sign-up: the code, another code, the proof,
//! and the mailbox's owner who takes the account over.

use std::sync::Arc;

use serde_json::json;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::credentials::{CredentialError, Credentials};
use crate::error::SignupError;
use crate::event::EventKind;
use crate::limit::ClientIp;
use crate::mail::{Code, Mail, MailKind};
use crate::observe;
use crate::store::{
    AccountChange, AccountStore, ChangeOutcome, Condition, Effect, FindBy, LifecycleStore,
    NewAccount, StoredAccount,
};
use crate::verification::{CodeOwner, Verification, Verifier};

use super::accounts::IN_USE;
use super::modes::{Mode, ModeOn};
use super::verification::{busy, invalid};
use super::{SignupService, SignupServiceBuilder};

mod reclaim;

/// The part of a service that proves addresses after the sign-up.
pub(super) struct After {
    verifier: Arc<Verifier>,
    store: Arc<dyn LifecycleStore>,
}

/// The proof that a request comes from an account's owner: the token, or email and password.
pub(crate) enum Owner<'a> {
    Token(&'a str),
    Password(&'a str, &'a str),
}

/// The mail with an account's first code, which is sent when the account is stored.
pub(super) struct FirstCode {
    verifier: Arc<Verifier>,
    mail: Mail,
    client: Option<ClientIp>,
}

impl<S: LifecycleStore> SignupServiceBuilder<S> {
    /// Proves each address after its account is stored: the sign-up is answered as ever, a
    /// code is mailed, and [`verify_email`](SignupService::verify_email) takes it. The
    /// endpoint has four more paths, and tokens have the claim `email_verified`.
    ///
    /// Until then the address may be somebody else's. What needs its owner asks for
    /// [`VerifiedEmail`](crate::credentials::VerifiedEmail).
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use signup::idempotency::ReplaySecret;
    /// use signup::mail::{MailQueue, MemoryMailer};
    /// use signup::store::MemoryStore;
    /// use signup::verification::Verification;
    /// use signup::{SignupRequest, SignupService};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let mailer = Arc::new(MemoryMailer::default());
    /// let mails = MailQueue::new(Arc::clone(&mailer));
    /// let verification = Verification::new(ReplaySecret::new(&[8; 32])?, mails.clone());
    /// let service = SignupService::builder(MemoryStore::default())
    ///     .jwt_secret(&[7; 32])
    ///     .verify_after(verification)
    ///     .build()?;
    ///
    /// let signup = service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
    /// let verified = service.token_verifier().verify(signup.token().reveal())?;
    /// assert_eq!(verified.email_verified(), Some(false));
    ///
    /// mails.drained().await;
    /// let code = mailer.last_code("dev@example.com").unwrap();
    /// service.verify_email(signup.account().id(), &code).await?;
    /// let auth = service.credentials().verify_token(signup.token().reveal()).await?;
    /// assert!(auth.email_verified_at().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn verify_after(self, verification: Verification) -> Self {
        self.verifying(verification, ModeOn::After(|store| store))
    }
}

impl After {
    pub(super) fn new(verifier: Arc<Verifier>, store: Arc<dyn LifecycleStore>) -> Self {
        Self { verifier, store }
    }

    pub(super) fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    async fn find(&self, account: &AccountId) -> Result<StoredAccount, CredentialError> {
        let found = self.store.find_account(FindBy::Id(account)).await?;
        found.filter(|record| record.state.admits_owner()).ok_or(CredentialError::NotFound)
    }

    /// Derives the code of an account that is there, as a mail.
    fn code_mail(
        &self,
        record: &StoredAccount,
        now: Timestamp,
    ) -> Result<(Mail, Timestamp), SignupError> {
        let Verifier { secrets, lifetime, .. } = &*self.verifier;
        let minted = code_owner(record).mint(now, *lifetime, secrets);
        let (code, expires_at) = minted.map_err(SignupError::internal)?;
        let to = record.account.email().clone();
        let mail = Mail::new(MailKind::EmailCode, to, code, expires_at.since(now));
        Ok((mail, expires_at))
    }
}

impl FirstCode {
    /// Mails the code, unless the queue is full: the account is there, and its owner can
    /// ask for another mail.
    pub(super) fn send(self) {
        let Self { verifier, mail, client } = self;
        let Some(permit) = verifier.mails.reserve() else { return observe::mail("dropped") };
        let address = mail.to().key().clone();
        let may_go = async move { verifier.charge_mail(&address, client).await == Ok(true) };
        permit.send_if(may_go, mail);
    }
}

fn code_owner(record: &StoredAccount) -> CodeOwner<'_> {
    CodeOwner {
        account: record.account.id(),
        email: record.account.email().key(),
        generation: record.token_generation,
    }
}

impl<S: AccountStore> SignupService<S> {
    /// Proves the address of an account by the code of a mail. The caller has proven the
    /// account by its token or password: a code alone, which a scanner of mails has, too,
    /// proves nothing. A proof that is repeated succeeds again.
    ///
    /// # Errors
    /// Returns an issue of `code` for a wrong code and for one that is no longer good; a
    /// code of before [`revoke_tokens`](Credentials::revoke_tokens) is not.
    /// Returns [`SignupError::Busy`] if no try is left, and [`CredentialError::NotFound`] if
    /// there is no such account. Fails for a service that does not
    /// [verify after](SignupServiceBuilder::verify_after).
    pub async fn verify_email(
        &self,
        account: &AccountId,
        code: &str,
    ) -> Result<(), CredentialError> {
        let After { verifier, store } = self.after()?;
        let now = self.now()?;
        let record = self.after()?.find(account).await?;
        let tries = account.as_str().as_bytes();
        let code = Code::parse(code).map_err(|_| invalid())?;
        verifier.charge_try(tries).await.map_err(busy)?;
        let is_code = code_owner(&record).is_code(&code, now, verifier.lifetime, &verifier.secrets);
        if !is_code.map_err(SignupError::internal)? {
            return Err(invalid().into());
        }
        verifier.refund_try(tries).await;
        if record.email_verified_at.is_some() {
            return Ok(());
        }
        let change = AccountChange::new(account.clone())
            .provided(Condition::Email(record.account.email().key().clone()))
            .provided(Condition::Generation(record.token_generation))
            .provided(Condition::State(IN_USE))
            .with(Effect::VerifyEmail(now))
            .with_all(
                self.event(EventKind::AccountVerified, account, now, &json!({}))?.map(Effect::Emit),
            );
        match store.change(change).await? {
            ChangeOutcome::Changed => Ok(()),
            _ => Err(invalid().into()),
        }
    }

    /// Mails the code of an account whose address is not proven again, or the next one.
    /// Returns when it expires.
    ///
    /// # Errors
    /// Returns [`SignupError::Busy`] if the queue of mails is full, and
    /// [`CredentialError::NotFound`] if there is no such account. Fails for a service that
    /// does not [verify after](SignupServiceBuilder::verify_after).
    pub async fn resend_email_code(
        &self,
        account: &AccountId,
        client: Option<ClientIp>,
    ) -> Result<Timestamp, CredentialError> {
        let after = self.after()?;
        let record = after.find(account).await?;
        let place = Self::reserve_mail(&after.verifier)?;
        let email = record.account.email().key();
        let may_mail = after.verifier.charge_mail(email, client).await.map_err(busy)?;
        let (mail, expires_at) = after.code_mail(&record, self.now()?)?;
        if may_mail && record.email_verified_at.is_none() {
            place.send(mail);
        }
        Ok(expires_at)
    }

    /// Derives the first code of an account that is about to be stored, if addresses are
    /// proven after the sign-up.
    pub(super) fn first_code(
        &self,
        new: &NewAccount,
        client: Option<ClientIp>,
    ) -> Result<Option<Box<FirstCode>>, SignupError> {
        let Some(Mode::After(after)) = &self.inner.verification else { return Ok(None) };
        let (mail, _) = after.code_mail(&new.record(), new.created_at())?;
        Ok(Some(Box::new(FirstCode { verifier: Arc::clone(&after.verifier), mail, client })))
    }

    /// Returns whether addresses are proven after the sign-up.
    pub(crate) fn verifies_after(&self) -> bool {
        matches!(self.inner.verification, Some(Mode::After(_)))
    }

    fn after(&self) -> Result<&After, SignupError> {
        match &self.inner.verification {
            Some(Mode::After(after)) => Ok(after),
            _ => Err(SignupError::internal("the service does not verify after")),
        }
    }

    fn credentials_after(&self) -> Result<Credentials, SignupError> {
        Ok(self.credentials_on(Arc::clone(&self.after()?.store) as Arc<dyn LifecycleStore>))
    }

    /// Returns the account of an owner.
    pub(crate) async fn owner_of(
        &self,
        owner: Owner<'_>,
        client: Option<ClientIp>,
    ) -> Result<AccountId, CredentialError> {
        let credentials = self.credentials_after()?;
        match owner {
            Owner::Token(token) => Ok(credentials.verify_token(token).await?.account_id().clone()),
            // Throttled in any case: the routes are mounted even if the host has no log-in.
            Owner::Password(email, password) => {
                let login = credentials.log_in_throttled(email, password, client, None, true);
                Ok(login.await?.account_id().clone())
            }
        }
    }
}
