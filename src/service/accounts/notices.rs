//! Security notices: mails to the owner of an account about changes that someone else may
//! have made.

#[cfg(feature = "verification")]
use std::sync::Arc;

use crate::core::Stored;
use crate::error::SignupError;
use crate::event::{KeyCounts, NoticeKind};
#[cfg(feature = "verification")]
use crate::event::{NewEvent, Notice};
use crate::fields::Email;
#[cfg(feature = "verification")]
use crate::mail::{Mail, MailPermit};
#[cfg(feature = "verification")]
use crate::relay::NoticeRecord;
use crate::service::inner::Inner;
use crate::store::{AccountChange, ChangeOutcome};
#[cfg(feature = "verification")]
use crate::store::{Effect, StoreError};

/// A notice with its place in the queue, which is reserved before the change.
#[cfg(feature = "verification")]
pub(in crate::service) struct Reserved {
    permit: MailPermit,
    kind: NoticeKind,
    to: Email,
    api_keys: Option<KeyCounts>,
}

#[cfg(not(feature = "verification"))]
pub(in crate::service) enum Reserved {}

#[cfg(not(feature = "verification"))]
impl Inner {
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "its twin needs it")]
    pub(in crate::service) fn reserve_notice(
        &self,
        _: NoticeKind,
        _: &Email,
        _: Option<KeyCounts>,
    ) -> Result<Option<Reserved>, SignupError> {
        Ok(None)
    }

    pub(in crate::service) async fn change_with(
        &self,
        stored: &Stored,
        change: AccountChange,
        _: Option<Reserved>,
    ) -> Result<ChangeOutcome, SignupError> {
        Ok(stored.store.change(change).await?)
    }
}

#[cfg(feature = "verification")]
impl Inner {
    /// Reserves a notice to an address, if the service sends mails.
    ///
    /// # Errors
    /// Returns [`SignupError::Busy`] if the queue of notices is full: then the change must not
    /// be made.
    pub(in crate::service) fn reserve_notice(
        &self,
        kind: NoticeKind,
        to: &Email,
        api_keys: Option<KeyCounts>,
    ) -> Result<Option<Reserved>, SignupError> {
        let Some((_, codes)) = &self.codes else { return Ok(None) };
        let retry_after = crate::error::DEFAULT_RETRY_AFTER;
        let permit = codes.verifier.mails.reserve_notice(to);
        let permit = permit.ok_or(SignupError::Busy { retry_after })?;
        Ok(Some(Reserved { permit, kind, to: to.clone(), api_keys }))
    }

    /// Makes a change and sends its notice in a new task, so that the owner gets it even if the
    /// caller leaves or the outcome is unknown. With events on, the notice is stored with the
    /// change, and survives the process.
    pub(in crate::service) async fn change_with(
        &self,
        stored: &Stored,
        change: AccountChange,
        notice: Option<Reserved>,
    ) -> Result<ChangeOutcome, SignupError> {
        let Some(notice) = notice else { return Ok(stored.store.change(change).await?) };
        let (kept, record) = self.record(&change, &notice)?;
        let mail = Mail::of_notice(&kept);
        let kept = record.as_ref().map(|record| Effect::AddNotice(Box::new(record.notice())));
        let change = change.with_all(kept);
        let store = Arc::clone(&stored.store);
        let task = tokio::spawn(async move {
            let outcome = store.change(change).await;
            // A change of unknown outcome may have been made, and its repeat sends no notice.
            let may_be_made =
                matches!(outcome, Ok(ChangeOutcome::Changed) | Err(StoreError::OutcomeUnknown(_)));
            if may_be_made {
                notice.permit.send_recorded(mail, record.map(|record| Box::new(record) as _));
            }
            outcome
        });
        let ended = task.await.map_err(SignupError::internal)?;
        Ok(ended?)
    }

    /// Returns what a notice says, and its record if the change stores an event.
    fn record(
        &self,
        change: &AccountChange,
        Reserved { kind, to, api_keys, .. }: &Reserved,
    ) -> Result<(Notice, Option<NoticeRecord>), SignupError> {
        let event = change.effects().iter().find_map(|effect| match effect {
            Effect::Emit(event) => Some(event),
            _ => None,
        });
        let id = event.map_or("", NewEvent::id).to_owned();
        let account = change.account().clone();
        let notice =
            Notice::new(account, id, *kind, to.clone(), self.core.now()?).api_keys(*api_keys);
        let (Some(events), true) = (&self.events, event.is_some()) else {
            return Ok((notice, None));
        };
        let (store, clock) = (Arc::clone(events), Arc::clone(&self.core.clock));
        let record = NoticeRecord::new(store, clock, notice.clone());
        Ok((notice, Some(record.map_err(SignupError::internal)?)))
    }
}
