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
