//! The contract of a store whose credentials are verified, rotated and revoked.

use std::sync::Arc;

use async_trait::async_trait;

use crate::account::AccountId;
use crate::api_key::{ApiKeyDigest, ApiKeyId};
use crate::clock::Timestamp;
use crate::fields::EmailKey;
use crate::hash::PasswordHash;

use super::{AccountRecord, ApiKeyInfo, KeyOwner, NewApiKey, StoreError, StoredPassword};

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
/// tests all of this. `examples/custom_credentials.rs` implements it on a `users` table in
/// PostgreSQL.
///
/// ```
/// use async_trait::async_trait;
/// use signup::account::AccountId;
/// use signup::api_key::{ApiKeyDigest, ApiKeyId};
/// use signup::clock::Timestamp;
/// use signup::fields::EmailKey;
/// use signup::hash::PasswordHash;
/// use signup::store::{
///     AccountRecord, ApiKeyInfo, CredentialStore, KeyOwner, NewApiKey, StoreError, StoredPassword,
/// };
///
/// /// Looks API keys up in a replica that is near, as far behind as the host allows for.
/// /// Whatever decides otherwise is asked of the primary.
/// struct NearReplica<S> {
///     primary: S,
///     replica: S,
/// }
///
/// #[async_trait]
/// impl<S: CredentialStore> CredentialStore for NearReplica<S> {
///     async fn find_api_key(&self, digest: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError> {
///         match self.replica.find_api_key(digest).await {
///             Ok(Some(owner)) => Ok(Some(owner)),
///             // A key that is new has not arrived there yet.
///             Ok(None) | Err(_) => self.primary.find_api_key(digest).await,
///         }
///     }
///
///     async fn add_api_key(&self, new: NewApiKey) -> Result<bool, StoreError> {
///         self.primary.add_api_key(new).await
///     }
///
///     async fn list_api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyInfo>, StoreError> {
///         self.primary.list_api_keys(account).await
///     }
///
///     async fn rotate_api_key(
///         &self,
///         old: &ApiKeyId,
///         until: Timestamp,
///         new: NewApiKey,
///     ) -> Result<bool, StoreError> {
///         self.primary.rotate_api_key(old, until, new).await
///     }
///
///     async fn revoke_api_key(
///         &self,
///         account: &AccountId,
///         key: &ApiKeyId,
///     ) -> Result<bool, StoreError> {
///         self.primary.revoke_api_key(account, key).await
///     }
///
///     async fn purge_api_keys(&self, expired_at: Timestamp) -> Result<(), StoreError> {
///         self.primary.purge_api_keys(expired_at).await
///     }
///
///     async fn find_password(&self, key: &EmailKey) -> Result<Option<StoredPassword>, StoreError> {
///         self.primary.find_password(key).await
///     }
///
///     async fn renew_password_hash(
///         &self,
///         account: &AccountId,
///         old: &PasswordHash,
///         new: &PasswordHash,
///     ) -> Result<bool, StoreError> {
///         self.primary.renew_password_hash(account, old, new).await
///     }
///
///     async fn find_account(&self, id: &AccountId) -> Result<Option<AccountRecord>, StoreError> {
///         self.primary.find_account(id).await
///     }
///
///     async fn revoke_tokens(&self, account: &AccountId) -> Result<bool, StoreError> {
///         self.primary.revoke_tokens(account).await
///     }
/// }
/// ```
#[async_trait]
pub trait CredentialStore: Send + Sync + 'static {
    /// Returns the owner of a key, or `None` for an unknown key.
    ///
    /// # Errors
    /// Fails if the store does not answer. The same holds for all that follows.
    async fn find_api_key(&self, digest: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError>;

    /// Stores another key of an account. Returns false if there is no such account, if it is
    /// erased, or if it has a key with the tag of this one's receipt, which only a
    /// [`ReplayStore`](super::ReplayStore) is given.
    async fn add_api_key(&self, new: NewApiKey) -> Result<bool, StoreError>;

    /// Returns all keys of an account, the oldest first, including expired ones.
    async fn list_api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyInfo>, StoreError>;

    /// Stores `new` to replace the key `old` of the same account, which then expires at
    /// `until`, or earlier if it would have anyway. Returns false, and changes nothing, if
    /// there is no such key that is valid at `new.created_at`, or in the other case of
    /// [`add_api_key`](Self::add_api_key).
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
