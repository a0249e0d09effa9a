//! A store in memory, for tests and for a first try.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::api_key::ApiKeyDigest;
use crate::clock::Timestamp;
use crate::fields::EmailKey;

use super::contract::{
    AccountChange, AccountFilter, AccountPage, AccountStore, ChangeOutcome, CreateOutcome, Expired,
    FindBy, KeyOwner, KeyQuery, LifecycleStore, NewAccount, NewApiKey, Purged, StoreError,
    StoredAccount, StoredApiKey, StoredLogin,
};

mod events;
mod rows;
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

    /// Runs an operation as one critical section without an await: no other caller can see it half
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
impl LifecycleStore for MemoryStore {
    async fn find_key_owner(&self, digest: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError> {
        Ok(self.with(|tables| {
            let key = tables.keys.get(digest)?;
            let row = tables.account(&key.account_id)?;
            let owner = KeyOwner::new(key.account_id.clone(), row.state, key.expires_at);
            Some(owner.email_verified_at(row.new.email_verified_at))
        }))
    }

    async fn find_account(&self, by: FindBy<'_>) -> Result<Option<StoredAccount>, StoreError> {
        Ok(self.with(|tables| Some(tables.find(by)?.0)))
    }

    async fn find_login(&self, by: FindBy<'_>) -> Result<Option<StoredLogin>, StoreError> {
        Ok(self.with(|tables| {
            let (account, row) = tables.find(by)?;
            let login = StoredLogin::new(account, row.new.password_hash().clone());
            Some(login.receipt(row.new.receipt))
        }))
    }

    async fn list_accounts(&self, filter: &AccountFilter) -> Result<AccountPage, StoreError> {
        Ok(self.with(|tables| filter.page(tables.accounts.values().map(AccountRow::stored))))
    }

    async fn list_api_keys(&self, query: KeyQuery<'_>) -> Result<Vec<StoredApiKey>, StoreError> {
        let mut keys = self.api_keys();
        keys.retain(|key| key.account_id == *query.account());
        keys.sort_by_key(|key| (key.created_at, key.digest));
        let keys = keys.iter().map(|key| StoredApiKey::new(key.info()).receipt(key.receipt));
        let keys = keys.filter(|key| query.admits(key));
        Ok(keys.take(query.max_rows().map_or(usize::MAX, limit)).collect())
    }

    async fn is_ticket_used(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        Ok(self.with(|tables| tables.tickets.contains_key(hash)))
    }

    async fn change(&self, change: AccountChange) -> Result<ChangeOutcome, StoreError> {
        Ok(self.with(|tables| tables.change(&change)))
    }

    async fn purge(
        &self,
        expired: Expired,
        until: Timestamp,
        limit: u32,
    ) -> Result<Purged, StoreError> {
        Ok(self.with(|tables| {
            let mut left = limit;
            match expired {
                Expired::ApiKeys => tables.keys.retain(|_, key| {
                    !(key.expires_at.is_some_and(|end| end <= until) && takes_one(&mut left))
                }),
                Expired::Tickets => {
                    tables.tickets.retain(|_, end| !(*end <= until && takes_one(&mut left)));
                }
            }
            Purged::new(u64::from(limit - left), limit)
        }))
    }
}

/// Takes one of the remaining ones. Returns false if all are used.
fn takes_one(left: &mut u32) -> bool {
    let one_less = left.checked_sub(1);
    *left = one_less.unwrap_or(0);
    one_less.is_some()
}

fn limit(rows: u32) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::account::AccountId;
    use crate::hash::PasswordHash;
    use crate::idempotency::Receipt;
    use crate::store::contract::Effect;

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
            let changed = runtime.block_on(store.change(change.with(Effect::RevokeTokens)));
            assert_eq!(changed.unwrap(), outcome);
            assert_eq!(store.api_keys().len(), 2);
            let record = runtime.block_on(store.find_account(FindBy::Id(&id))).unwrap().unwrap();
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
