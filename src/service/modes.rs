//! The modes in which a service mails codes: before a sign-up, after it, or for changes alone.

use std::sync::Arc;
use std::time::Duration;

use crate::core::{Core, Stored};
use crate::observe;
use crate::store::LifecycleStore;
use crate::verification::{EmailCodes, MAX_LIFETIME};

use super::SignupServiceBuilder;
use super::codes::Codes;
use super::config::ConfigError;

/// The time at which the address of a sign-up is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    First,
    After,
    /// Never: codes are mailed for resets and changes of address alone.
    Changes,
}

/// The setting of the builder, with the store that was checked.
pub(super) struct Mailing {
    pub(super) codes: EmailCodes,
    pub(super) mode: Mode,
    store: Arc<dyn LifecycleStore>,
}

impl<S: LifecycleStore> SignupServiceBuilder<S> {
    /// Mails codes for password resets and changes of address
    /// ([`AccountCodes`](crate::AccountCodes)), and notices about changes of accounts, without
    /// verifying the address of a sign-up. [`verify_first`](Self::verify_first) and
    /// [`verify_after`](Self::verify_after) do so, too.
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
    /// let service = SignupService::builder(MemoryStore::default())
    ///     .jwt_secret(&[7; 32])
    ///     .mails(EmailCodes::new(ReplaySecret::new(&[8; 32])?, mails.clone()))
    ///     .build()?;
    /// service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
    ///
    /// let codes = service.account_codes().unwrap();
    /// let pending = codes.begin_password_reset("dev@example.com", None).await?;
    /// mails.drained().await;
    /// let code = mailer.last_code("dev@example.com").unwrap();
    /// codes.complete_password_reset(pending.reveal_ticket(), &code, "battery staple").await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn mails(self, codes: EmailCodes) -> Self {
        self.mailing(codes, Mode::Changes)
    }

    /// Makes a password reset of an account with an unverified address a takeover by the owner
    /// of the mailbox: it clears the name, lets the host wipe its rows, and is reported as
    /// `account.reclaimed`. Default: name and rows stay.
    pub fn reset_wipes_unverified(mut self) -> Self {
        self.reset_wipes_unverified = true;
        self
    }

    /// Sets the mode, which excludes the other ones.
    pub(super) fn mailing(mut self, codes: EmailCodes, mode: Mode) -> Self {
        if self.mailing.as_ref().is_some_and(|mailing| mailing.mode != mode) {
            self.exclusive = Some("two of verify_first, verify_after and mails");
        }
        let store: Arc<dyn LifecycleStore> = Arc::clone(&self.store) as _;
        self.mailing = Some(Mailing { codes, mode, store });
        self
    }
}

impl Mailing {
    /// Refuses settings that could not work.
    pub(super) fn check(&self, requires_idempotency_key: bool) -> Result<(), ConfigError> {
        if requires_idempotency_key && self.mode == Mode::First {
            return Err(ConfigError::KeyOfPendingSignup);
        }
        if !self.codes.mails.can_send() {
            return Err(ConfigError::MailQueue);
        }
        let lifetime = self.codes.lifetime;
        if lifetime < Duration::from_mins(1) || lifetime > MAX_LIFETIME {
            return Err(ConfigError::CodeLifetime(lifetime));
        }
        Ok(())
    }

    pub(super) fn start(self, core: &Arc<Core>) -> (Mode, Codes) {
        let tokens = &core.tokens;
        if tokens.is_default_deployment() {
            observe::default_deployment();
        }
        let clock = Arc::clone(&core.clock);
        let verifier = self.codes.start(clock, tokens.issuer(), tokens.audience());
        let stored = Stored { core: Arc::clone(core), store: self.store };
        (self.mode, Codes { stored, verifier })
    }
}
