//! The contract of a store whose credentials are verified, rotated and revoked.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

use crate::account::{Account, AccountId};
use crate::api_key::{ApiKey, ApiKeyDigest, ApiKeyId};
use crate::clock::Timestamp;
use crate::fields::EmailKey;
use crate::hash::PasswordHash;

use super::StoreError;

/// A store of credentials, beside [`AccountStore`](super::AccountStore). A host that only
/// registers accounts does not need it.
///
/// # Contract
/// - A look-up is one query and writes nothing, so that verifying a key costs one read.
/// - A key is found by its whole digest, compared byte for byte.
/// - A change is atomic, and visible to every look-up that begins after it returned. A
///   future that is dropped leaves it done or not done, and no open transaction.
/// - The keys of a deleted account are deleted with it.
/// - An expired key is still found and listed: the caller has the clock.
/// - An error of a change says whether the outcome is known, as for
///   [`AccountStore::create`](super::AccountStore::create).
///
/// The suite of [`credential_conformance_tests!`](crate::credential_conformance_tests)
/// tests all of this.
#[async_trait]
pub trait CredentialStore: Send + Sync + 'static {
    /// Returns the owner of a key, or `None` for an unknown key.
    ///
    /// # Errors
    /// Fails if the store does not answer. The same holds for all that follows.
    async fn find_api_key(&self, digest: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError>;

    /// Stores another key of an account. Returns false if there is no such account.
    async fn add_api_key(&self, new: NewApiKey) -> Result<bool, StoreError>;

    /// Returns all keys of an account, the oldest first, including expired ones.
    async fn list_api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyInfo>, StoreError>;

    /// Stores `new` to replace the key `old` of the same account, which then expires at
    /// `until`, or earlier if it would have anyway. Returns false, and changes nothing, if
    /// there is no such key that is valid at `new.created_at`.
    async fn rotate_api_key(
        &self,
        old: &ApiKeyId,
        until: Timestamp,
        new: NewApiKey,
    ) -> Result<bool, StoreError>;

    /// Revokes a key of `account`. Returns false if there is no such key.
    async fn revoke_api_key(&self, account: &AccountId, key: &ApiKeyId)
    -> Result<bool, StoreError>;

    /// Deletes the keys that have expired at this moment or before.
    async fn purge_api_keys(&self, expired_at: Timestamp) -> Result<(), StoreError>;

    /// Returns the password hash of the account with this email key.
    async fn find_password(&self, key: &EmailKey) -> Result<Option<StoredPassword>, StoreError>;

    /// Replaces the password hash `old` by `new`. Returns false, and changes nothing, if
    /// the hash is no longer `old`: the password was changed, and that wins.
    async fn renew_password_hash(
        &self,
        account: &AccountId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<bool, StoreError>;

    /// Returns the account with this id.
    async fn find_account(&self, id: &AccountId) -> Result<Option<AccountRecord>, StoreError>;

    /// Begins the next generation of an account's tokens, which revokes those of all
    /// earlier ones. Returns false if there is no such account.
    async fn revoke_tokens(&self, account: &AccountId) -> Result<bool, StoreError>;
}

/// The owner of an API key, and its expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyOwner {
    /// `api_keys.account_id`
    pub account_id: AccountId,
    /// `api_keys.expires_at`: from then on the key is not valid.
    pub expires_at: Option<Timestamp>,
}

impl KeyOwner {
    /// Creates the result of a look-up.
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
    /// Creates the result of a look-up.
    pub const fn new(account_id: AccountId, hash: PasswordHash) -> Self {
        Self { account_id, hash }
    }
}

/// An API key as a list shows it: enough to tell keys apart, and useless to an attacker.
///
/// As JSON, its times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ApiKeyInfo {
    /// Identifies the key when it is rotated or revoked.
    pub id: ApiKeyId,
    /// `api_keys.prefix`: the beginning of the key.
    pub prefix: String,
    /// `api_keys.last_four`: its last four digits; empty for a key stored before they were
    /// kept.
    pub last_four: String,
    /// `api_keys.created_at`
    pub created_at: Timestamp,
    /// `api_keys.expires_at`
    pub expires_at: Option<Timestamp>,
}

impl ApiKeyInfo {
    /// Creates the result of a look-up for a key that does not expire.
    pub const fn new(
        id: ApiKeyId,
        prefix: String,
        last_four: String,
        created_at: Timestamp,
    ) -> Self {
        Self { id, prefix, last_four, created_at, expires_at: None }
    }

    /// Sets when the key expires.
    #[must_use]
    pub const fn expires_at(mut self, expires_at: Option<Timestamp>) -> Self {
        self.expires_at = expires_at;
        self
    }
}

/// An API key to be stored.
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

    /// Returns `api_keys.account_id`.
    pub fn account_id(&self) -> &AccountId {
        &self.account_id
    }

    /// Returns `api_keys.digest`.
    pub fn digest(&self) -> &ApiKeyDigest {
        &self.digest
    }

    /// Returns the key as a list shows it: the other columns of `api_keys`.
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

/// An account as a store returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountRecord {
    /// The part that its owner sees.
    pub account: Account,
    /// `accounts.created_at`
    pub created_at: Timestamp,
    /// `accounts.token_generation`: tokens of another generation are revoked. A new account
    /// is in generation 0.
    pub token_generation: i64,
}

impl AccountRecord {
    /// Creates the result of a look-up.
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
