//! Accounts in memory, for tests and for a first try.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::account::AccountId;
use crate::api_key::ApiKeyDigest;
use crate::fields::EmailKey;

use super::{AccountStore, Created, NewAccount, StoreError};

/// Accounts in memory. They are gone with it.
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
    /// All accounts, in no order.
    pub fn accounts(&self) -> Vec<NewAccount> {
        self.with(|tables| tables.accounts.values().cloned().collect())
    }

    /// The digests of all API keys, and whose they are, in no order.
    pub fn api_keys(&self) -> Vec<(ApiKeyDigest, AccountId)> {
        self.with(|tables| tables.keys.iter().map(|(digest, id)| (*digest, id.clone())).collect())
    }

    /// Takes the account with this email key away, and its API keys. Without
    /// one, nothing happens.
    pub fn delete(&self, email_key: &str) {
        self.with(|tables| tables.delete(email_key));
    }

    /// Every operation is one critical section without an await in it: it
    /// can't be seen half done, nor be dropped half done.
    fn with<T>(&self, operation: impl FnOnce(&mut Tables) -> T) -> T {
        operation(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl AccountStore for MemoryStore {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        Ok(self.with(|tables| tables.accounts.contains_key(key)))
    }

    async fn create(&self, new: NewAccount) -> Result<Created, StoreError> {
        Ok(self.with(|tables| tables.insert(new)))
    }
}

#[derive(Debug, Default)]
struct Tables {
    accounts: HashMap<EmailKey, NewAccount>,
    ids: HashSet<AccountId>,
    keys: HashMap<ApiKeyDigest, AccountId>,
}

impl Tables {
    fn delete(&mut self, email_key: &str) {
        let gone = self.accounts.extract_if(|key, _| key.as_str() == email_key);
        for (_, account) in gone {
            self.ids.remove(account.id());
            self.keys.retain(|_, owner| owner != account.id());
        }
    }

    fn insert(&mut self, new: NewAccount) -> Created {
        if self.accounts.contains_key(new.email().key()) {
            return Created::EmailTaken;
        }
        if self.ids.contains(new.id()) || self.keys.contains_key(new.key_digest()) {
            return Created::IdentifierTaken;
        }
        self.ids.insert(new.id().clone());
        self.keys.insert(*new.key_digest(), new.id().clone());
        self.accounts.insert(new.email().key().clone(), new);
        Created::Stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An account, of so few ids, digests and emails that they clash.
    fn new(email: &str, seed: u64) -> NewAccount {
        use crate::account::{Account, Plan};
        use crate::api_key::{ApiKey, ApiKeyPrefix};
        use crate::fields::{Email, EmailProfile};
        use crate::random::{Draw, SeededRandom};
        let mut draw = Draw::from(&SeededRandom::new(seed)).unwrap();
        let id = AccountId::mint(&mut draw).unwrap();
        let key = ApiKey::mint(&ApiKeyPrefix::default(), &mut draw).unwrap();
        let email = Email::parse(email, EmailProfile::Strict).unwrap();
        NewAccount {
            account: std::sync::Arc::new(Account::new(id, email, None, Plan::Trial)),
            password_hash: std::sync::Arc::new(crate::hash::PasswordHash::from_store("", None)),
            created_at: crate::clock::Timestamp::EPOCH,
            key_digest: key.digest(),
            key_prefix: String::new(),
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

    /// An operation is one critical section, so what can interleave is whole
    /// operations: every order of them is every run there is.
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
                stored += usize::from(created == Created::Stored);
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
            assert_eq!(store.create(new("a@x.co", 1)).await.unwrap(), Created::Stored);
        });
    }
}
