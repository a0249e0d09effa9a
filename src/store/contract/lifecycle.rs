//! The contract of a store for the life of an account after the sign-up.

use std::sync::Arc;

use async_trait::async_trait;

use crate::account::AccountId;
use crate::api_key::{ApiKeyDigest, ApiKeyId};
use crate::clock::Timestamp;
use crate::hash::PasswordHash;

use super::account::AccountStore;
use super::change::{AccountChange, ChangeOutcome, Condition, Effect};
use super::error::StoreError;
use super::filter::{AccountFilter, AccountPage};
use super::query::{Expired, FindBy, KeyQuery, Purged};
use super::records::{KeyOwner, NewApiKey, StoredAccount, StoredApiKey, StoredLogin};

/// A store for everything after the sign-up: log-ins, API keys, retries, verified addresses and
/// changes of accounts.
///
/// # Contract
/// - A read is one query and writes nothing. It finds an API key by its whole digest, a ticket by
///   its whole hash and a tag by all of its bytes.
/// - A read that begins after a change returned sees the change. Reads of
///   [`find_login`](Self::find_login), [`is_ticket_used`](Self::is_ticket_used) and
///   [`KeyQuery::with_tags`] see everything that was stored before they began, also by another
///   instance: a replica that lags behind must not serve them.
/// - [`create`](AccountStore::create) stores the [receipt](super::NewAccount::receipt) and the
///   [ticket](super::NewAccount::ticket) of an account with its rows, all or nothing, byte for
///   byte. A ticket that was used before stores nothing and returns
///   [`TicketUsed`](super::CreateOutcome::TicketUsed), unless the address is taken, too. A used
///   ticket outlives its account until it is purged.
/// - If the answer to the commit of a sign-up is lost, the store looks for the row with its nonce,
///   and never takes the row of another request for it.
/// - [`change`](Self::change) is atomic: all effects happen or none. A dropped future leaves it
///   done or not done, and no open transaction. An error says whether the outcome is known, as
///   for [`create`](AccountStore::create).
/// - The conditions are judged by the write itself, not by a read before it. Of several
///   simultaneous changes that exclude each other, one returns [`ChangeOutcome::Changed`].
/// - A change of an account that does not exist, or of an API key whose account does not exist, is
///   [`ChangeOutcome::NotApplicable`].
/// - The digest of an API key is unique: a change that adds a second one is
///   [`ChangeOutcome::IdentifierTaken`]. The tag of its receipt is unique among the keys of its
///   account: of any number of simultaneous changes with one tag, one adds its key, and the
///   others return [`ChangeOutcome::AlreadyAdded`] and change nothing.
/// - The keys of a deleted account are deleted with it, and nothing finds them.
/// - A condition or an effect that the store does not know is [`StoreError::Failed`], and nothing
///   changes.
///
/// The suite of [`lifecycle_conformance_tests!`](crate::lifecycle_conformance_tests) tests all of this.
/// `examples/custom_store.rs` implements it on a `users` table of PostgreSQL.
///
/// ```
/// use signup::store::{
///     AccountChange, ChangeOutcome, Condition, Effect, FindBy, LifecycleStore, StoreError,
/// };
///
/// /// Ends the tokens of the account with an API key, unless someone else does it first.
/// async fn end_tokens(
///     store: &impl LifecycleStore,
///     key: &signup::api_key::ApiKeyDigest,
/// ) -> Result<bool, StoreError> {
///     let Some(found) = store.find_account(FindBy::ApiKey(key)).await? else { return Ok(false) };
///     let change = AccountChange::new(found.account.id().clone())
///         .provided(Condition::Generation(found.token_generation))
///         .with(Effect::RevokeTokens);
///     Ok(store.change(change).await? == ChangeOutcome::Changed)
/// }
/// ```
#[async_trait]
pub trait LifecycleStore: AccountStore {
    /// Returns the owner of an API key, expired or not. This is the read of each verified key.
    ///
    /// # Errors
    /// Fails if the store does not answer. The same holds for all reads that follow.
    async fn find_key_owner(&self, digest: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError>;

    /// Returns an account without secrets. Only [`FindBy::ApiKey`] sets
    /// [`found_by`](StoredAccount::found_by).
    async fn find_account(&self, by: FindBy<'_>) -> Result<Option<StoredAccount>, StoreError>;

    /// Returns an account with the hash of its password and the receipt of its sign-up.
    async fn find_login(&self, by: FindBy<'_>) -> Result<Option<StoredLogin>, StoreError>;

    /// Returns a page of the accounts that a filter lets through, by `created_at` and then by id,
    /// or by `delete_at` if their deletion is [due](AccountFilter::due_at).
    async fn list_accounts(&self, filter: &AccountFilter) -> Result<AccountPage, StoreError>;

    /// Returns the API keys that a query lets through, the oldest first.
    async fn list_api_keys(&self, query: KeyQuery<'_>) -> Result<Vec<StoredApiKey>, StoreError>;

    /// Returns whether the ticket with this hash was used.
    async fn is_ticket_used(&self, hash: &[u8; 32]) -> Result<bool, StoreError>;

    /// Changes an account if the conditions hold.
    ///
    /// # Errors
    /// Returns a [`StoreError`] that says whether the outcome is known.
    async fn change(&self, change: AccountChange) -> Result<ChangeOutcome, StoreError>;

    /// Deletes up to `limit` rows that have expired at `until` or earlier.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn purge(
        &self,
        expired: Expired,
        until: Timestamp,
        limit: u32,
    ) -> Result<Purged, StoreError>;

    /// Compares the clocks of the process and the database, before accounts are erased because
    /// of a date. Default: the store has no clock.
    ///
    /// # Errors
    /// Fails if they differ by more than an hour: nothing that can't be undone may happen then.
    async fn check_clock(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

macro_rules! forward {
    ($($wrapper:ident),+) => {$(
        #[async_trait]
        impl<S: LifecycleStore + ?Sized> LifecycleStore for $wrapper<S> {
            async fn find_key_owner(
                &self,
                digest: &ApiKeyDigest,
            ) -> Result<Option<KeyOwner>, StoreError> {
                (**self).find_key_owner(digest).await
            }

            async fn find_account(
                &self,
                by: FindBy<'_>,
            ) -> Result<Option<StoredAccount>, StoreError> {
                (**self).find_account(by).await
            }

            async fn find_login(&self, by: FindBy<'_>) -> Result<Option<StoredLogin>, StoreError> {
                (**self).find_login(by).await
            }

            async fn list_accounts(
                &self,
                filter: &AccountFilter,
            ) -> Result<AccountPage, StoreError> {
                (**self).list_accounts(filter).await
            }

            async fn list_api_keys(
                &self,
                query: KeyQuery<'_>,
            ) -> Result<Vec<StoredApiKey>, StoreError> {
                (**self).list_api_keys(query).await
            }

            async fn is_ticket_used(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
                (**self).is_ticket_used(hash).await
            }

            async fn change(&self, change: AccountChange) -> Result<ChangeOutcome, StoreError> {
                (**self).change(change).await
            }

            async fn purge(
                &self,
                expired: Expired,
                until: Timestamp,
                limit: u32,
            ) -> Result<Purged, StoreError> {
                (**self).purge(expired, until, limit).await
            }

            async fn check_clock(&self) -> Result<(), StoreError> {
                (**self).check_clock().await
            }
        }
    )+};
}
forward!(Arc, Box);

/// Usual changes of a [`LifecycleStore`], for every store.
#[async_trait]
pub trait LifecycleStoreExt: LifecycleStore {
    /// Adds an API key to its account. Returns false if the account does not exist or is erased,
    /// or if it has a key with the tag of the same request.
    ///
    /// # Errors
    /// Fails like [`change`](LifecycleStore::change), and if the digest is taken.
    async fn add_api_key(&self, new: NewApiKey) -> Result<bool, StoreError> {
        let change = AccountChange::new(new.account_id().clone());
        has_changed(self.change(change.with(Effect::AddApiKey(Box::new(new)))).await?)
    }

    /// Replaces an API key by another one of its account. Returns false if there is no such key
    /// that is valid, and in the cases of [`add_api_key`](Self::add_api_key).
    ///
    /// # Errors
    /// Fails like [`add_api_key`](Self::add_api_key).
    async fn rotate_api_key(
        &self,
        old: &ApiKeyId,
        until: Timestamp,
        new: NewApiKey,
    ) -> Result<bool, StoreError> {
        let change = AccountChange::new(new.account_id().clone());
        let rotate = Effect::RotateApiKey { old: *old, until, new: Box::new(new) };
        has_changed(self.change(change.with(rotate)).await?)
    }

    /// Revokes an API key. Returns false if the account has no such key.
    ///
    /// # Errors
    /// Fails like [`change`](LifecycleStore::change).
    async fn revoke_api_key(
        &self,
        account: &AccountId,
        key: &ApiKeyId,
    ) -> Result<bool, StoreError> {
        let change = AccountChange::new(account.clone()).with(Effect::RevokeApiKey(*key));
        has_changed(self.change(change).await?)
    }

    /// Revokes the tokens of an account. Returns false if it does not exist.
    ///
    /// # Errors
    /// Fails like [`change`](LifecycleStore::change).
    async fn revoke_tokens(&self, account: &AccountId) -> Result<bool, StoreError> {
        let change = AccountChange::new(account.clone()).with(Effect::RevokeTokens);
        has_changed(self.change(change).await?)
    }

    /// Replaces the hash of the same password. Returns false if it is no longer `old`: the password
    /// was changed, and that wins.
    ///
    /// # Errors
    /// Fails like [`change`](LifecycleStore::change).
    async fn renew_password_hash(
        &self,
        account: &AccountId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<bool, StoreError> {
        let change = AccountChange::new(account.clone())
            .provided(Condition::Password(old.clone()))
            .with(Effect::SetPassword(new.clone()));
        has_changed(self.change(change).await?)
    }
}

impl<S: LifecycleStore + ?Sized> LifecycleStoreExt for S {}

/// Returns whether a change of credentials applied.
fn has_changed(outcome: ChangeOutcome) -> Result<bool, StoreError> {
    match outcome {
        ChangeOutcome::Changed => Ok(true),
        ChangeOutcome::NotApplicable | ChangeOutcome::AlreadyAdded => Ok(false),
        ChangeOutcome::EmailTaken | ChangeOutcome::IdentifierTaken => {
            Err(StoreError::Failed("the digest of the key is taken".into()))
        }
    }
}
