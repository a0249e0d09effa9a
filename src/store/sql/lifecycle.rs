//! [`LifecycleStore`] in SQL.

use std::time::Duration;

use async_trait::async_trait;

use crate::api_key::ApiKeyDigest;
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::store::contract::{
    AccountChange, AccountFilter, AccountPage, ChangeOutcome, Effect, Expired, FindBy, KeyOwner,
    KeyQuery, LifecycleStore, Purged, StoreError, StoredAccount, StoredApiKey, StoredLogin,
};
use crate::store::dialect::statement::Statement;
use crate::store::dialect::syntax::ViolatedConstraint;

use super::SqlStore;
use super::backend::Backend;
use super::change::{Applied, Change, HostWork};
use super::queries::Find;
use super::rows;
use super::statement::{Kind, decode};

#[async_trait]
impl<B: Backend> LifecycleStore for SqlStore<B> {
    async fn find_key_owner(&self, digest: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError> {
        let rows = self.find(self.queries.find_key_owner(digest)).await?;
        Ok(decode(rows, rows::key_owner)?.pop())
    }

    async fn find_account(&self, by: FindBy<'_>) -> Result<Option<StoredAccount>, StoreError> {
        let by_key = matches!(by, FindBy::ApiKey(_));
        let rows = self.find(self.queries.find_account(by)).await?;
        Ok(decode(rows, |mut row| rows::found(&mut row, by_key))?.pop())
    }

    async fn find_login(&self, by: FindBy<'_>) -> Result<Option<StoredLogin>, StoreError> {
        let by_key = matches!(by, FindBy::ApiKey(_));
        let rows = self.find(self.queries.find_login(by)).await?;
        Ok(decode(rows, |mut row| rows::login(&mut row, by_key))?.pop())
    }

    async fn list_accounts(&self, filter: &AccountFilter) -> Result<AccountPage, StoreError> {
        let list = self.queries.list_accounts(filter);
        let mut page = AccountPage::new(Vec::new(), None);
        for read in list.pages {
            let rows = self.find(read).await?;
            page = filter.page_of(decode(rows, |mut row| rows::account(&mut row))?);
            if page.next.is_some() {
                return Ok(page);
            }
        }
        if let Some(end) = list.end {
            page.next = decode(self.find(end).await?, rows::cursor)?.pop();
        }
        Ok(page)
    }

    async fn list_api_keys(&self, query: KeyQuery<'_>) -> Result<Vec<StoredApiKey>, StoreError> {
        decode(self.find(self.queries.list_api_keys(&query)).await?, rows::api_key)
    }

    async fn is_ticket_used(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        let rows = self.find(self.queries.is_ticket_used(hash)).await?;
        Ok(!rows.is_empty())
    }

    async fn change(&self, change: AccountChange) -> Result<ChangeOutcome, StoreError> {
        let (mut host, mut confirm) = (None, None);
        for effect in change.effects() {
            match effect {
                Effect::WipeHostRows(because) => {
                    host = Some(HostWork::WipeReason(change.account().clone(), *because));
                }
                Effect::AddApiKey(new)
                | Effect::RotateApiKey { new, .. }
                | Effect::ReplaceApiKeys(Some(new)) => {
                    confirm = Some(self.queries.find_key_owner(new.digest()));
                }
                Effect::Emit(event) if confirm.is_none() => {
                    confirm = Some(self.queries.find_event(event.id()));
                }
                _ => {}
            }
        }
        let steps = self.queries.change(&change);
        match self.apply(Change { steps, host }, confirm).await? {
            Applied::All(_) => Ok(ChangeOutcome::Changed),
            // An API key whose account is gone is an orphan.
            Applied::NotFound | Applied::ViolatedConstraint(ViolatedConstraint::Orphan) => {
                Ok(ChangeOutcome::NotApplicable)
            }
            Applied::ViolatedConstraint(ViolatedConstraint::Email) => Ok(ChangeOutcome::EmailTaken),
            Applied::ViolatedConstraint(ViolatedConstraint::Identifier) => {
                Ok(ChangeOutcome::IdentifierTaken)
            }
            Applied::ViolatedConstraint(ViolatedConstraint::Retry) => {
                Ok(ChangeOutcome::AlreadyAdded)
            }
            Applied::ViolatedConstraint(clash) => {
                Err(StoreError::Failed(format!("{clash:?} clashes").into()))
            }
        }
    }

    async fn purge(
        &self,
        expired: Expired,
        until: Timestamp,
        limit: u32,
    ) -> Result<Purged, StoreError> {
        self.compare_clocks().await?;
        self.delete(self.queries.purge(expired, until, limit), limit).await
    }

    async fn check_clock(&self) -> Result<(), StoreError> {
        self.compare_clocks().await
    }
}

impl<B: Backend> SqlStore<B> {
    /// Deletes up to `limit` rows.
    pub(super) async fn delete(&self, delete: Statement, limit: u32) -> Result<Purged, StoreError> {
        match self.apply(Change { steps: vec![delete.optional()], host: None }, None).await? {
            Applied::All(rows) => Ok(Purged::new(rows, limit)),
            Applied::NotFound | Applied::ViolatedConstraint(_) => Ok(Purged::default()),
        }
    }

    /// Compares the clocks of the process and the database.
    ///
    /// # Errors
    /// Fails if they differ by more than an hour: what can't be undone must not be done then.
    pub(super) async fn compare_clocks(&self) -> Result<(), StoreError> {
        let Some(now) = B::SYNTAX.now else { return Ok(()) };
        let find = Find { statement: Statement::new(&now.into(), []), columns: &[Kind::Integer] };
        let found = decode(self.find(find).await?, |mut row| row.timestamp())?;
        let ours = Timestamp::try_from(SystemClock.wall());
        let ours = ours.map_err(|error| StoreError::Failed(error.into()))?;
        let apart = found.first().map(|theirs| ours.since(*theirs).max(theirs.since(ours)));
        if apart.is_none_or(|apart| apart > Duration::from_hours(1)) {
            let text = "the clocks of the process and the database differ by more than an hour: \
                        nothing is erased or purged";
            return Err(StoreError::Failed(text.into()));
        }
        Ok(())
    }
}
