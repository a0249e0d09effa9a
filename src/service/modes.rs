//! The modes in which a service mails codes: before a sign-up, after it, or for changes alone.

use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::observe;
use crate::store::LifecycleStore;
use crate::token::TokenMint;
use crate::verification::{MAX_LIFETIME, Verification, Verifier};

use super::SignupServiceBuilder;
use super::after::After;
use super::config::ConfigError;
use super::verification::First;

/// The setting of the builder, with the conversion of a store that was checked.
pub(super) struct Verifying<S> {
    pub(super) verification: Verification,
    pub(super) mode: ModeOn<S>,
}

/// When addresses are proven, on a store of this type.
pub(super) enum ModeOn<S> {
    First(fn(Arc<S>) -> Arc<dyn LifecycleStore>),
    After(fn(Arc<S>) -> Arc<dyn LifecycleStore>),
    Mails,
}

/// The part of a service that sends mails with codes.
pub(super) enum Mode {
    First(First),
    After(After),
    /// For resets and changes of addresses alone.
    Mails(Arc<Verifier>),
}

impl<S> SignupServiceBuilder<S> {
    /// Mails codes for [password resets](crate::service::Accounts::begin_password_reset) and
    /// changes of address, and notices about changes of accounts, without verifying the
    /// address of a sign-up. [`verify_first`](Self::verify_first) and
    /// [`verify_after`](Self::verify_after) do so, too.
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
    /// let service = SignupService::builder(MemoryStore::default())
    ///     .jwt_secret(&[7; 32])
    ///     .mails(Verification::new(ReplaySecret::new(&[8; 32])?, mails.clone()))
    ///     .build()?;
    /// service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
    ///
    /// let accounts = service.accounts();
    /// let pending = accounts.begin_password_reset("dev@example.com", None).await?;
    /// mails.drained().await;
    /// let code = mailer.last_code("dev@example.com").unwrap();
    /// accounts.complete_password_reset(pending.reveal_ticket(), &code, "battery staple").await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn mails(self, verification: Verification) -> Self {
        self.verifying(verification, ModeOn::Mails)
    }

    /// Makes a password reset of an account with an unverified address a takeover by the owner
    /// of the mailbox: it clears the name, lets the host wipe its rows, and is reported as
    /// `account.reclaimed`. Default: name and rows stay.
    pub fn reset_wipes_unverified(mut self) -> Self {
        self.reset_wipes_unverified = true;
        self
    }

    /// Sets the mode, which excludes the other ones.
    pub(super) fn verifying(mut self, verification: Verification, mode: ModeOn<S>) -> Self {
        let is_other = |it: &Verifying<S>| discriminant(&it.mode) != discriminant(&mode);
        if self.verifying.as_ref().is_some_and(is_other) {
            self.exclusive = Some("two of verify_first, verify_after and mails");
        }
        self.verifying = Some(Verifying { verification, mode });
        self
    }
}

impl<S> Verifying<S> {
    pub(super) fn is_first(&self) -> bool {
        matches!(self.mode, ModeOn::First(_))
    }

    pub(super) fn is_after(&self) -> bool {
        matches!(self.mode, ModeOn::After(_))
    }

    /// Refuses settings that could not work.
    pub(super) fn check(&self, requires_idempotency_key: bool) -> Result<(), ConfigError> {
        if requires_idempotency_key && self.is_first() {
            return Err(ConfigError::KeyOfPendingSignup);
        }
        if !self.verification.mails.can_send() {
            return Err(ConfigError::MailQueue);
        }
        let lifetime = self.verification.lifetime;
        if lifetime < Duration::from_mins(1) || lifetime > MAX_LIFETIME {
            return Err(ConfigError::CodeLifetime(lifetime));
        }
        Ok(())
    }

    pub(super) fn start(self, store: &Arc<S>, clock: Arc<dyn Clock>, tokens: &TokenMint) -> Mode {
        if tokens.is_default_deployment() {
            observe::default_deployment();
        }
        let verifier = self.verification.start(clock, tokens.issuer(), tokens.audience());
        let store = Arc::clone(store);
        match self.mode {
            ModeOn::First(as_store) => Mode::First(First { verifier, store: as_store(store) }),
            ModeOn::After(as_store) => Mode::After(After::new(verifier, as_store(store))),
            ModeOn::Mails => Mode::Mails(verifier),
        }
    }
}
