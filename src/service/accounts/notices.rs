//! Notices to the owner of an account: mails about changes that someone else may have made.

use std::sync::Arc;

use crate::credentials::CredentialError;
use crate::error::SignupError;
use crate::fields::Email;
#[cfg(feature = "verification")]
use crate::mail::{Mail, MailKind, MailPermit};
use crate::store::{AccountChange, AccountStore, ChangeOutcome, LifecycleStore, StoreError};

use super::Accounts;

/// The change that a notice reports.
#[derive(Debug, Clone, Copy)]
pub(super) enum NoticeOf {
    Password,
    #[cfg(feature = "verification")]
    Address,
}

/// A notice with its place in the queue, which is reserved before the change.
#[cfg(feature = "verification")]
pub(in crate::service) struct Notice {
    pub(in crate::service) permit: MailPermit,
    pub(in crate::service) mail: Mail,
}

#[cfg(not(feature = "verification"))]
pub(in crate::service) struct Notice;

impl<S: AccountStore + LifecycleStore> Accounts<S> {
    /// Reserves a notice to an address, if the service sends mails.
    ///
    /// # Errors
    /// Returns [`SignupError::Busy`] if the queue of notices is full: then the change must not
    /// be made.
    #[cfg(feature = "verification")]
    pub(super) fn notice(&self, of: NoticeOf, to: &Email) -> Result<Option<Notice>, SignupError> {
        let Ok(verifier) = self.service.verifier() else { return Ok(None) };
        let retry_after = crate::error::DEFAULT_RETRY_AFTER;
        let permit = verifier.mails.reserve_notice().ok_or(SignupError::Busy { retry_after })?;
        let kind = match of {
            NoticeOf::Password => MailKind::PasswordChanged,
            NoticeOf::Address => MailKind::EmailChanged,
        };
        Ok(Some(Notice { permit, mail: Mail::without_code(kind, to.clone()) }))
    }

    #[cfg(not(feature = "verification"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "its twin needs it")]
    pub(super) fn notice(&self, of: NoticeOf, _: &Email) -> Result<Option<Notice>, SignupError> {
        let NoticeOf::Password = of;
        Ok(None)
    }

    /// Makes a change and sends its notice, also if the caller leaves.
    pub(super) async fn change_with(
        &self,
        change: AccountChange,
        notice: Option<Notice>,
    ) -> Result<ChangeOutcome, CredentialError> {
        Ok(change_with(Arc::clone(&self.service.inner.store), change, notice).await?)
    }
}

/// Makes a change and sends its notice in a new task, so that the owner gets it even if the
/// caller leaves or the outcome is unknown.
pub(in crate::service) async fn change_with(
    store: Arc<impl LifecycleStore + ?Sized>,
    change: AccountChange,
    notice: Option<Notice>,
) -> Result<ChangeOutcome, SignupError> {
    let Some(notice) = notice else { return Ok(store.change_account(change).await?) };
    let task = tokio::spawn(async move {
        let outcome = store.change_account(change).await;
        // A change of unknown outcome may have been made, and its repeat sends no notice.
        let may_be_made =
            matches!(outcome, Ok(ChangeOutcome::Changed) | Err(StoreError::OutcomeUnknown(_)));
        if may_be_made {
            notice.send();
        }
        outcome
    });
    let ended = task.await.map_err(SignupError::internal)?;
    Ok(ended?)
}

impl Notice {
    #[cfg(feature = "verification")]
    fn send(self) {
        self.permit.send(self.mail);
    }

    #[cfg(not(feature = "verification"))]
    fn send(self) {
        let Self = self;
    }
}
