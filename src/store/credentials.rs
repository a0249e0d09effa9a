//! What a store has to do for credentials to be verified, rotated and revoked.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

use crate::account::{Account, AccountId};
use crate::api_key::{ApiKey, ApiKeyDigest, ApiKeyId};
use crate::clock::Timestamp;
use crate::fields::EmailKey;
use crate::hash::PasswordHash;

use super::StoreError;

/// Where credentials are looked up and changed. A host that only signs people up
/// needs none of it: it stands beside [`AccountStore`](super::AccountStore).
///
/// # Contract
/// - A look is one look and writes nothing, so that verifying a key costs a read.
/// - A key is found by its whole digest, compared octet for octet.
/// - A change is atomic, and seen by every look that begins after it was answered.
///   A future that is dropped leaves it done or not done, and no transaction open.
/// - The keys of an account that is gone are gone with it.
/// - A key that has expired is still found and listed: whoever asks has the clock.
/// - An error of a change says whether the outcome is known, as for
///   [`AccountStore::create`](super::AccountStore::create).
///
/// The suite of [`credential_conformance_tests!`](crate::credential_conformance_tests)
/// holds a store to it.
#[async_trait]
pub trait CredentialStore: Send + Sync + 'static {
    /// Whose key this is, or none.
    ///
    /// # Errors
    /// The store does not answer, or fails. The same holds for all that follows.
    async fn find_api_key(&self, digest: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError>;

    /// Stores another key of an account. False without such an account.
    async fn add_api_key(&self, new: NewApiKey) -> Result<bool, StoreError>;

    /// All keys of an account, the oldest first; those that have expired too.
    async fn list_api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyInfo>, StoreError>;

    /// Stores a key in the place of another of the same account, which expires at
    /// `until`, or earlier if it would have anyway. False, and nothing is changed,
    /// without such a key that is good at `new.created_at`.
    async fn rotate_api_key(
        &self,
        old: &ApiKeyId,
        until: Timestamp,
        new: NewApiKey,
    ) -> Result<bool, StoreError>;

    /// Takes a key of an account's away. False without such a key.
    async fn revoke_api_key(&self, account: &AccountId, key: &ApiKeyId)
    -> Result<bool, StoreError>;

    /// Deletes the keys that have expired at this moment or before.
    async fn purge_api_keys(&self, expired_at: Timestamp) -> Result<(), StoreError>;

    /// Returns the password hash of the account with this email key.
    async fn find_password(&self, key: &EmailKey) -> Result<Option<StoredPassword>, StoreError>;

    /// Stores `new` in the place of `old`. False, and nothing is changed, where the
    /// hash is no longer `old`: the password was changed meanwhile, and that counts.
    async fn renew_password_hash(
        &self,
        account: &AccountId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<bool, StoreError>;

    /// The account with this id.
    async fn find_account(&self, id: &AccountId) -> Result<Option<AccountRecord>, StoreError>;

    /// Begins the next generation of an account's tokens, which ends those of all
    /// earlier ones. False without such an account.
    async fn revoke_tokens(&self, account: &AccountId) -> Result<bool, StoreError>;
}

/// The owner of an API key, and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyOwner {
    /// `api_keys.account_id`
    pub account_id: AccountId,
    /// `api_keys.expires_at`: from then on the key is not valid.
    pub expires_at: Option<Timestamp>,
}

impl KeyOwner {
    /// Returns what a store has found.
    pub const fn new(account_id: AccountId, expires_at: Option<Timestamp>) -> Self {
        Self { account_id, expires_at }
    }
}

/// The password hash of an account.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredPassword {
    /// `accounts.id`
    pub account_id: AccountId,
    /// `accounts.password_hash`, and `accounts.pepper_version`
    pub hash: PasswordHash,
}

impl StoredPassword {
    /// Returns what a store has found.
    pub const fn new(account_id: AccountId, hash: PasswordHash) -> Self {
        Self { account_id, hash }
    }
}

/// An API key as a list shows it: enough to tell one from another, and of no use
/// to whoever finds it.
///
/// As JSON, its moments are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ApiKeyInfo {
    /// By what it is rotated and revoked.
    pub id: ApiKeyId,
    /// `api_keys.prefix`: what it begins with.
    pub prefix: String,
    /// `api_keys.last_four`: its last four digits; empty for a key that was stored
    /// before they were kept.
    pub last_four: String,
    /// `api_keys.created_at`
    pub created_at: Timestamp,
    /// `api_keys.expires_at`
    pub expires_at: Option<Timestamp>,
}

impl ApiKeyInfo {
    /// Returns what a store has found of a key that ends at no time.
    pub const fn new(
        id: ApiKeyId,
        prefix: String,
        last_four: String,
        created_at: Timestamp,
    ) -> Self {
        Self { id, prefix, last_four, created_at, expires_at: None }
    }

    /// Returns the same for a key that ends then.
    #[must_use]
    pub const fn expires_at(mut self, expires_at: Option<Timestamp>) -> Self {
        self.expires_at = expires_at;
        self
    }
}

/// An API key on its way into a store.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    pub(crate) account_id: AccountId,
    pub(crate) digest: ApiKeyDigest,
    pub(crate) prefix: String,
    pub(crate) last_four: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
}

impl NewApiKey {
    pub(crate) fn of(
        key: &ApiKey,
        account_id: AccountId,
        created_at: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self {
            account_id,
            digest: key.digest(),
            prefix: key.display_prefix().to_owned(),
            last_four: key.last_four().to_owned(),
            created_at,
            expires_at,
        }
    }

    /// `api_keys.account_id`
    pub fn account_id(&self) -> &AccountId {
        &self.account_id
    }

    /// `api_keys.digest`
    pub fn digest(&self) -> &ApiKeyDigest {
        &self.digest
    }

    /// How a list shows it: the other columns of `api_keys`.
    pub fn info(&self) -> ApiKeyInfo {
        ApiKeyInfo {
            id: self.digest.key_id(),
            prefix: self.prefix.clone(),
            last_four: self.last_four.clone(),
            created_at: self.created_at,
            expires_at: self.expires_at,
        }
    }
}

/// An account as a store gives it back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountRecord {
    /// What its owner sees of it.
    pub account: Account,
    /// `accounts.created_at`
    pub created_at: Timestamp,
    /// `accounts.token_generation`: tokens of another generation are not valid. A new
    /// account is in generation 0.
    pub token_generation: i64,
}

impl AccountRecord {
    /// Returns what a store has found.
    pub const fn new(account: Account, created_at: Timestamp, token_generation: i64) -> Self {
        Self { account, created_at, token_generation }
    }
}

macro_rules! forward {
    ($($wrapper:ident),+) => {$(
        #[async_trait]
        impl<S: CredentialStore + ?Sized> CredentialStore for $wrapper<S> {
            async fn find_api_key(&self, digest: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError> {
                (**self).find_api_key(digest).await
            }

            async fn add_api_key(&self, new: NewApiKey) -> Result<bool, StoreError> {
                (**self).add_api_key(new).await
            }

            async fn list_api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyInfo>, StoreError> {
                (**self).list_api_keys(account).await
            }

            async fn rotate_api_key(
                &self,
                old: &ApiKeyId,
                until: Timestamp,
                new: NewApiKey,
            ) -> Result<bool, StoreError> {
                (**self).rotate_api_key(old, until, new).await
            }

            async fn revoke_api_key(
                &self,
                account: &AccountId,
                key: &ApiKeyId,
            ) -> Result<bool, StoreError> {
                (**self).revoke_api_key(account, key).await
            }

            async fn purge_api_keys(&self, expired_at: Timestamp) -> Result<(), StoreError> {
                (**self).purge_api_keys(expired_at).await
            }

            async fn find_password(
                &self,
                key: &EmailKey,
            ) -> Result<Option<StoredPassword>, StoreError> {
                (**self).find_password(key).await
            }

            async fn renew_password_hash(
                &self,
                account: &AccountId,
                old: &PasswordHash,
                new: &PasswordHash,
            ) -> Result<bool, StoreError> {
                (**self).renew_password_hash(account, old, new).await
            }

            async fn find_account(
                &self,
                id: &AccountId,
            ) -> Result<Option<AccountRecord>, StoreError> {
                (**self).find_account(id).await
            }

            async fn revoke_tokens(&self, account: &AccountId) -> Result<bool, StoreError> {
                (**self).revoke_tokens(account).await
            }
        }
    )+};
}
forward!(Arc, Box);
