//! A store in memory, for tests and for a first try.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::account::AccountId;
use crate::api_key::{ApiKeyDigest, ApiKeyId};
use crate::clock::Timestamp;
use crate::event::{Event, Notice};
use crate::fields::EmailKey;
use crate::hash::PasswordHash;

use super::{AccountChange, AccountFilter, AccountRecord, AccountStore, ApiKeyInfo};
use super::{
    ChangeOutcome, CreateOutcome, CredentialStore, EventStore, KeyOwner, LifecycleStore, NewAccount,
};
use super::{NewApiKey, ReplayStore, RetriedAccount, RetriedApiKey, StoreError, StoredPassword};
use super::{StoredSignup, VerificationStore};

mod relay;
mod tables;

use tables::{AccountRow, Tables};

/// A store that keeps accounts in memory. They are lost when it is dropped.
///
/// ```
/// use signup::store::MemoryStore;
///
/// let store = MemoryStore::default();
/// assert!(store.accounts().is_empty());
/// ```
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Tables>);

impl MemoryStore {
    /// Returns all accounts, in no particular order.
    pub fn accounts(&self) -> Vec<NewAccount> {
        self.with(|tables| tables.accounts.values().map(|row| row.new.clone()).collect())
    }

    /// Returns all API keys, in no particular order.
    pub fn api_keys(&self) -> Vec<NewApiKey> {
        self.with(|tables| tables.keys.values().cloned().collect())
    }

    /// Deletes the account with this email key, and its API keys, if it exists.
    pub fn delete(&self, email_key: &str) {
        self.with(|tables| tables.delete(email_key));
    }

    /// Runs an operation as one critical section without an await: nobody can see it half
    /// done, and it can't be dropped half done.
    fn with<T>(&self, operation: impl FnOnce(&mut Tables) -> T) -> T {
        operation(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl AccountStore for MemoryStore {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        Ok(self.with(|tables| tables.accounts.contains_key(key)))
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        Ok(self.with(|tables| tables.insert(new)))
    }
}

#[async_trait]
impl CredentialStore for MemoryStore {
    async fn find_api_key(&self, digest: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError> {
        Ok(self.with(|tables| {
            let key = tables.keys.get(digest)?;
            let owner = KeyOwner::new(key.account_id.clone(), key.expires_at);
            let account = tables.account(&owner.account_id)?;
            let owner = owner.state(account.state);
            Some(owner.email_verified_at(account.new.email_verified_at))
        }))
    }

    async fn add_api_key(&self, new: NewApiKey) -> Result<bool, StoreError> {
        self.with(|tables| tables.add_api_key(new))
    }

    async fn list_api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyInfo>, StoreError> {
        let mut keys = self.api_keys();
        keys.retain(|key| key.account_id == *account);
        keys.sort_by_key(|key| (key.created_at, key.digest));
        Ok(keys.iter().map(NewApiKey::info).collect())
    }

    async fn rotate_api_key(
        &self,
        old: &ApiKeyId,
        until: Timestamp,
        new: NewApiKey,
    ) -> Result<bool, StoreError> {
        self.with(|tables| tables.rotate_api_key(old, until, &new))
    }

    async fn revoke_api_key(
        &self,
        account: &AccountId,
        key: &ApiKeyId,
    ) -> Result<bool, StoreError> {
        Ok(self.with(|tables| tables.revoke_api_key(account, key)))
    }

    async fn purge_api_keys(&self, expired_at: Timestamp) -> Result<(), StoreError> {
        let is_kept = |key: &NewApiKey| key.expires_at.is_none_or(|end| end > expired_at);
        self.with(|tables| tables.keys.retain(|_, key| is_kept(key)));
        Ok(())
    }

    async fn find_password(&self, key: &EmailKey) -> Result<Option<StoredPassword>, StoreError> {
        Ok(self.with(|tables| {
            let row = tables.accounts.get(key)?;
            let hash = row.new.password_hash().clone();
            let stored = StoredPassword::new(row.new.id().clone(), hash).state(row.state);
            Some(stored.token_generation(row.token_generation))
        }))
    }

    async fn renew_password_hash(
        &self,
        account: &AccountId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<bool, StoreError> {
        Ok(self.with(|tables| match tables.account(account) {
            Some(row) if row.new.password_hash().as_phc() == old.as_phc() => {
                row.new.password_hash = Arc::new(new.clone());
                true
            }
            _ => false,
        }))
    }

    async fn find_account(&self, id: &AccountId) -> Result<Option<AccountRecord>, StoreError> {
        Ok(self.with(|tables| Some(tables.account(id)?.record())))
    }

    async fn revoke_tokens(&self, account: &AccountId) -> Result<bool, StoreError> {
        Ok(self.with(|tables| match tables.account(account) {
            Some(row) => {
                row.token_generation += 1;
                true
            }
            None => false,
        }))
    }
}

#[async_trait]
impl ReplayStore for MemoryStore {
    async fn find_signup(&self, key: &EmailKey) -> Result<Option<StoredSignup>, StoreError> {
        Ok(self.with(|tables| {
            let new = &tables.accounts.get(key)?.new;
            let password_hash = new.password_hash().clone();
            Some(StoredSignup::new(new.receipt, new.created_at(), password_hash))
        }))
    }

    async fn find_account_of_key(
        &self,
        digest: &ApiKeyDigest,
    ) -> Result<Option<RetriedAccount>, StoreError> {
        Ok(self.with(|tables| {
            let (owner, expires_at) = {
                let key = tables.keys.get(digest)?;
                (key.account_id.clone(), key.expires_at)
            };
            Some(RetriedAccount::new(tables.account(&owner)?.record(), expires_at))
        }))
    }

    async fn find_retried_key(
        &self,
        account: &AccountId,
        tag: &[u8; 32],
    ) -> Result<Option<RetriedApiKey>, StoreError> {
        Ok(self.with(|tables| {
            let key = tables.retried_key(account, tag)?;
            Some(RetriedApiKey::new(key.receipt?, key.info()))
        }))
    }
}

#[async_trait]
impl VerificationStore for MemoryStore {
    async fn is_ticket_used(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        Ok(self.with(|tables| tables.tickets.contains_key(hash)))
    }

    async fn purge_tickets(&self, expired_at: Timestamp) -> Result<(), StoreError> {
        self.with(|tables| tables.tickets.retain(|_, end| *end > expired_at));
        Ok(())
    }
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn list_events(
        &self,
        account: &AccountId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(self.with(|tables| {
            let events = tables.events.iter().map(|row| &row.event);
            let found = events.filter(|it| it.account_id() == account && it.number() > after);
            found.take(limit).cloned().collect()
        }))
    }

    async fn purge_events(&self, until: Timestamp) -> Result<(), StoreError> {
        self.with(|tables| {
            tables.events.retain(|row| row.event.created_at() > until);
            tables.notices.retain(|notice| notice.created_at > until);
        });
        Ok(())
    }

    async fn due_notices(&self, now: Timestamp, limit: u32) -> Result<Vec<Notice>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(self.with(|tables| {
            let mut due = tables.notices.clone();
            due.retain(|notice| relay::is_past(notice.due_at, now));
            due.sort_by_key(|notice| notice.due_at);
            due.truncate(limit);
            due
        }))
    }

    async fn settle_notice(
        &self,
        notice: &Notice,
        next: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        Ok(self.with(|tables| {
            let is_it = |kept: &Notice| (&kept.id, kept.due_at) == (&notice.id, notice.due_at);
            let Some(place) = tables.notices.iter().position(is_it) else { return false };
            let kept = tables.notices.swap_remove(place);
            let takeovers = notice.takeovers;
            tables.notices.extend(next.map(|next| kept.due_at(next).takeovers(takeovers)));
            true
        }))
    }
}

#[async_trait]
impl LifecycleStore for MemoryStore {
    async fn find_account_by_email(
        &self,
        key: &EmailKey,
    ) -> Result<Option<AccountRecord>, StoreError> {
        Ok(self.with(|tables| tables.accounts.get(key).map(AccountRow::record)))
    }

    async fn list_accounts(
        &self,
        filter: &AccountFilter,
    ) -> Result<Vec<AccountRecord>, StoreError> {
        let mut records: Vec<_> = self.with(|tables| {
            let records = tables.accounts.values().map(AccountRow::record);
            records.filter(|record| filter.admits(record)).collect()
        });
        records.sort_by(|one, other| {
            let place = |record: &AccountRecord| (record.created_at, record.account.id().clone());
            place(one).cmp(&place(other))
        });
        records.truncate(filter.limit().try_into().unwrap_or(usize::MAX));
        Ok(records)
    }

    async fn change_account(&self, change: AccountChange) -> Result<ChangeOutcome, StoreError> {
        Ok(self.with(|tables| tables.change(&change)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idempotency::Receipt;
    use crate::store::Effect;

    /// Creates an account with so few ids, digests and emails that they clash.
    fn new(email: &str, seed: u64) -> NewAccount {
        use crate::account::{Account, Plan};
        use crate::api_key::{ApiKey, ApiKeyPrefix};
        use crate::fields::{Email, EmailProfile};
        use crate::random::{Entropy, SeededRandom};
        let mut draw = Entropy::draw(&SeededRandom::new(seed)).unwrap();
        let id = AccountId::mint(&mut draw).unwrap();
        let key = ApiKey::mint(&ApiKeyPrefix::default(), &mut draw).unwrap();
        let email = Email::parse(email, EmailProfile::Strict).unwrap();
        NewAccount {
            key: NewApiKey::of(&key, id.clone(), Timestamp::EPOCH, None),
            account: Arc::new(Account::new(id, email, None, Plan::TRIAL)),
            password_hash: Arc::new(PasswordHash::from_store("", None)),
            context: Arc::default(),
            receipt: None,
            email_verified_at: None,
            email_unverified: false,
            ticket_nonce: None,
            ticket: None,
            event: None,
        }
    }

    #[test]
    fn a_change_with_a_taken_tag_changes_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (store, account) = (MemoryStore::default(), new("a@x.co", 1));
        let id = account.id().clone();
        runtime.block_on(store.create(account)).unwrap();
        let receipt = Receipt::from_store(&[1; 16], 1, &[1; 32]).unwrap();
        for (seed, outcome) in [(2, ChangeOutcome::Changed), (3, ChangeOutcome::AlreadyAdded)] {
            let key = new("b@x.co", seed).key;
            let key = NewApiKey { account_id: id.clone(), receipt: Some(receipt), ..key };
            let change = AccountChange::new(id.clone()).with(Effect::AddApiKey(Box::new(key)));
            let changed = runtime.block_on(store.change_account(change.with(Effect::RevokeTokens)));
            assert_eq!(changed.unwrap(), outcome);
            assert_eq!(store.api_keys().len(), 2);
            let record = runtime.block_on(store.find_account(&id)).unwrap().unwrap();
            assert_eq!(record.token_generation, 1);
        }
    }

    fn permutations(items: &[usize]) -> Vec<Vec<usize>> {
        if items.is_empty() {
            return vec![Vec::new()];
        }
        let mut all = Vec::new();
        for (at, &first) in items.iter().enumerate() {
            let rest = [&items[..at], &items[at + 1..]].concat();
            all.extend(permutations(&rest).into_iter().map(|rest| [vec![first], rest].concat()));
        }
        all
    }

    /// An operation is one critical section, so only whole operations interleave: these
    /// orders are all there are.
    #[test]
    fn r14_in_every_order_each_email_and_each_id_is_stored_once() {
        let operations = [
            ("a@x.co", 1),
            ("A@x.co", 2),
            ("a@x.co", 3),
            ("b@x.co", 1),
            ("b@x.co", 4),
            ("B@x.co", 5),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for order in permutations(&[0, 1, 2, 3, 4, 5]) {
            let store = MemoryStore::default();
            let mut stored = 0;
            for &at in &order {
                let (email, seed) = operations[at];
                let created = runtime.block_on(store.create(new(email, seed))).unwrap();
                stored += usize::from(created == CreateOutcome::Stored);
            }
            assert_eq!(stored, 2, "{order:?}");
            assert_eq!((store.accounts().len(), store.api_keys().len()), (2, 2), "{order:?}");
        }
    }

    #[test]
    fn a_deleted_account_leaves_nothing() {
        let store = MemoryStore::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            store.create(new("a@x.co", 1)).await.unwrap();
            store.delete("a@x.co");
            assert!(store.api_keys().is_empty());
            assert_eq!(store.create(new("a@x.co", 1)).await.unwrap(), CreateOutcome::Stored);
        });
    }
}
