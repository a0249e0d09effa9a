//! Accounts that are to be deleted, and their erasure.

use std::time::Duration;

use serde_json::json;

use crate::account::{AccountId, AccountState};
use crate::clock::Timestamp;
use crate::credentials::CredentialError;
use crate::error::SignupError;
use crate::event::EventKind;
use crate::fields::EmailKey;
use crate::store::{
    AccountChange, AccountCursor, AccountFilter, ChangeOutcome, Condition, Effect, StoredAccount,
    WipeReason,
};

use super::{Accounts, IN_USE, THERE, alone, change_of, changed};

/// The accounts that are erased by one call, and the page in which they are listed.
const ERASED_AT_MOST: usize = 1000;
const ERASED_AT_A_TIME: u32 = 250;

impl Accounts {
    /// Plans the deletion of an account after a time of grace, and returns when it is due.
    /// Until then its API keys are refused; its owner can log in, to
    /// [cancel](Self::cancel_deletion) it. [`erase_due`](Self::erase_due) deletes what is due.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no such account that is in use. One
    /// whose deletion is planned gets another time.
    pub async fn request_deletion(
        &self,
        id: &AccountId,
        grace: Duration,
    ) -> Result<Timestamp, CredentialError> {
        let due = self.core().now()?.plus(grace)?;
        let planned = Effect::SetState(AccountState::PendingDeletion, Some(due));
        let change = change_of(id, IN_USE).with(planned);
        let data = json!({"delete_at": due.as_millis()});
        self.change(self.with_event(change, EventKind::AccountDeletionRequested, &data)?).await?;
        Ok(due)
    }

    /// Cancels the deletion of an account that was [requested](Self::request_deletion).
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no account whose deletion is planned.
    pub async fn cancel_deletion(&self, id: &AccountId) -> Result<(), CredentialError> {
        let kept = Effect::SetState(AccountState::Active, None);
        let change = change_of(id, &[AccountState::PendingDeletion]).with(kept);
        self.change(self.with_event(change, EventKind::AccountUpdated, &changed("state"))?).await
    }

    /// Erases an account: email, name and password are gone, its tokens and API keys ended,
    /// and its address is free. The row with the id stays, for the host's foreign keys,
    /// whose own rows `HostRows::wipe` wipes in the same transaction of an SQL store.
    /// One that is erased already stays so.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no such account.
    pub async fn erase(&self, id: &AccountId) -> Result<(), CredentialError> {
        match self.change(self.erased(change_of(id, THERE), None)?).await {
            Err(CredentialError::NotFound) => {
                let found = self.get(id).await?;
                let is_erased = |record: StoredAccount| record.state == AccountState::Erased;
                if found.is_some_and(is_erased) { Ok(()) } else { Err(CredentialError::NotFound) }
            }
            other => other,
        }
    }

    /// Erases the accounts whose deletion is due, up to a thousand, and returns which were
    /// erased and which could not be. Call it once an hour, on any number of instances. A
    /// deletion that was cancelled in the meantime is not carried out.
    ///
    /// One account that can't be erased, because a host's row refuses for example, delays no
    /// other.
    ///
    /// # Errors
    /// Fails if the store can't list the accounts.
    pub async fn erase_due(&self) -> Result<Erased, CredentialError> {
        self.store().check_clock().await?;
        let (now, mut done) = (self.core().now()?, Erased::default());
        let mut filter = due_at(now);
        while done.erased < ERASED_AT_MOST {
            let Some(next) = self.erase_page(&filter, now, &mut done).await? else {
                return Ok(done);
            };
            filter = filter.after(next);
        }
        done.more = true;
        Ok(done)
    }

    /// Erases a page of accounts, and returns the place after which the next one begins: what
    /// fails stays on the list.
    pub(in crate::service) async fn erase_page(
        &self,
        filter: &AccountFilter,
        now: Timestamp,
        done: &mut Erased,
    ) -> Result<Option<AccountCursor>, CredentialError> {
        let page = self.list(filter).await?;
        for record in page.accounts {
            let id = record.account.id();
            match self.erase_planned(id, record.state, now).await {
                Ok(erased) => done.erased += usize::from(erased),
                Err(error) => done.failed.push((id.clone(), error)),
            }
        }
        Ok(page.next)
    }

    async fn erase_planned(
        &self,
        id: &AccountId,
        state: AccountState,
        now: Timestamp,
    ) -> Result<bool, CredentialError> {
        // Its owner may have chosen a later date meanwhile.
        let change = change_of(id, alone(state)).provided(Condition::DeletionDue(now));
        let outcome = self.store().change(self.erased(change, None)?).await?;
        Ok(outcome == ChangeOutcome::Changed)
    }

    /// Adds the effects of an erasure.
    pub(super) fn erased(
        &self,
        change: AccountChange,
        banned: Option<EmailKey>,
    ) -> Result<AccountChange, SignupError> {
        let data = json!({"banned": banned.is_some()});
        let change = change
            .with(Effect::Erase(banned))
            .with(Effect::ForgetRetries)
            .with(Effect::RevokeTokens)
            .with(Effect::ReplaceApiKeys(None))
            .with(Effect::WipeHostRows(WipeReason::Erased));
        let scrubbed = self.core().emits_events.then_some(Effect::ScrubEvents);
        let change = change.with_all(scrubbed);
        self.with_event(change, EventKind::AccountErased, &data)
    }
}

/// Returns the filter of accounts that are to be erased.
pub(in crate::service) fn due_at(now: Timestamp) -> AccountFilter {
    AccountFilter::new(ERASED_AT_A_TIME).due_at(now)
}

/// The accounts that a job erased, and those that it could not erase.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Erased {
    /// The number of erased accounts.
    pub erased: usize,
    /// The accounts that stay, each with the reason. They are tried again by the next call.
    pub failed: Vec<(AccountId, CredentialError)>,
    /// Whether more may be due.
    pub more: bool,
}
