//! The contract of a store that keeps events.

use std::sync::Arc;

use async_trait::async_trait;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::event::{Event, Notice};

use super::{LifecycleStore, StoreError};

/// A store that keeps events, beside [`LifecycleStore`].
///
/// # Contract
/// - [`create`](super::AccountStore::create) stores the
///   [event](super::NewAccount::event) of an account with its rows, and
///   [`change_account`](LifecycleStore::change_account) that of
///   [`Effect::Emit`](super::Effect::Emit) with the other effects: all or nothing.
/// - The events of an account are numbered from one, without a gap, in the order in which
///   their changes were made. They outlive the account's row.
/// - A [notice](super::Effect::AddNotice) is stored with the change that it reports, all or
///   nothing, until it is [deleted](Self::settle_notice) or the account is
///   [scrubbed](super::Effect::ScrubEvents). Of several processes that settle the same one,
///   one does. A `due_at` that is more than 7.5 hours ahead of `now` was written by a clock
///   that was ahead: the notice is due.
///
/// ```
/// use async_trait::async_trait;
/// use signup::account::AccountId;
/// use signup::clock::Timestamp;
/// use signup::event::{Event, Notice};
/// use signup::store::{EventStore, MemoryStore, StoreError};
/// # use signup::api_key::{ApiKeyDigest, ApiKeyId};
/// # use signup::fields::EmailKey;
/// # use signup::hash::PasswordHash;
/// # use signup::store::{AccountChange, AccountFilter, AccountRecord, ApiKeyInfo, ChangeOutcome};
/// # use signup::store::{CredentialStore, KeyOwner, LifecycleStore, NewApiKey, StoredPassword};
///
/// /// Keeps events for ever.
/// struct Archive(MemoryStore);
///
/// #[async_trait]
/// impl EventStore for Archive {
///     async fn list_events(
///         &self,
///         account: &AccountId,
///         after: i64,
///         limit: u32,
///     ) -> Result<Vec<Event>, StoreError> {
///         self.0.list_events(account, after, limit).await
///     }
///
///     async fn purge_events(&self, _: Timestamp) -> Result<(), StoreError> {
///         Ok(())
///     }
///
///     async fn due_notices(&self, now: Timestamp, limit: u32) -> Result<Vec<Notice>, StoreError> {
///         self.0.due_notices(now, limit).await
///     }
///
///     async fn settle_notice(
///         &self,
///         notice: &Notice,
///         next: Option<Timestamp>,
///     ) -> Result<bool, StoreError> {
///         self.0.settle_notice(notice, next).await
///     }
/// }
/// # #[async_trait]
/// # impl LifecycleStore for Archive {
/// #     async fn find_account_by_email(
/// #         &self,
/// #         key: &EmailKey,
/// #     ) -> Result<Option<AccountRecord>, StoreError> {
/// #         self.0.find_account_by_email(key).await
/// #     }
/// #     async fn list_accounts(
/// #         &self,
/// #         filter: &AccountFilter,
/// #     ) -> Result<Vec<AccountRecord>, StoreError> {
/// #         self.0.list_accounts(filter).await
/// #     }
/// #     async fn change_account(&self, it: AccountChange) -> Result<ChangeOutcome, StoreError> {
/// #         self.0.change_account(it).await
/// #     }
/// # }
/// # #[async_trait]
/// # impl CredentialStore for Archive {
/// #     async fn find_api_key(&self, it: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError> {
/// #         self.0.find_api_key(it).await
/// #     }
/// #     async fn add_api_key(&self, new: NewApiKey) -> Result<bool, StoreError> {
/// #         self.0.add_api_key(new).await
/// #     }
/// #     async fn list_api_keys(&self, it: &AccountId) -> Result<Vec<ApiKeyInfo>, StoreError> {
/// #         self.0.list_api_keys(it).await
/// #     }
/// #     async fn rotate_api_key(
/// #         &self,
/// #         old: &ApiKeyId,
/// #         until: Timestamp,
/// #         new: NewApiKey,
/// #     ) -> Result<bool, StoreError> {
/// #         self.0.rotate_api_key(old, until, new).await
/// #     }
/// #     async fn revoke_api_key(&self, it: &AccountId, key: &ApiKeyId) -> Result<bool, StoreError> {
/// #         self.0.revoke_api_key(it, key).await
/// #     }
/// #     async fn purge_api_keys(&self, expired_at: Timestamp) -> Result<(), StoreError> {
/// #         self.0.purge_api_keys(expired_at).await
/// #     }
/// #     async fn find_password(&self, it: &EmailKey) -> Result<Option<StoredPassword>, StoreError> {
/// #         self.0.find_password(it).await
/// #     }
/// #     async fn renew_password_hash(
/// #         &self,
/// #         it: &AccountId,
/// #         old: &PasswordHash,
/// #         new: &PasswordHash,
/// #     ) -> Result<bool, StoreError> {
/// #         self.0.renew_password_hash(it, old, new).await
/// #     }
/// #     async fn find_account(&self, it: &AccountId) -> Result<Option<AccountRecord>, StoreError> {
/// #         self.0.find_account(it).await
/// #     }
/// #     async fn revoke_tokens(&self, it: &AccountId) -> Result<bool, StoreError> {
/// #         self.0.revoke_tokens(it).await
/// #     }
/// # }
/// ```
#[async_trait]
pub trait EventStore: LifecycleStore {
    /// Returns events of an account, in their order, from the one after this number on.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn list_events(
        &self,
        account: &AccountId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError>;

    /// Deletes the events that happened at this time or earlier, also those that no relay
    /// has delivered, and the notices of these changes.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn purge_events(&self, until: Timestamp) -> Result<(), StoreError>;

    /// Returns up to `limit` notices that are due at `now`, the earliest ones first. Kinds of a
    /// newer release are left to it.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn due_notices(&self, now: Timestamp, limit: u32) -> Result<Vec<Notice>, StoreError>;

    /// Postpones a notice until `next` and stores its `takeovers`, or deletes it. Returns
    /// false, and changes nothing, if it does not exist or its time is no longer
    /// `notice.due_at`.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn settle_notice(
        &self,
        notice: &Notice,
        next: Option<Timestamp>,
    ) -> Result<bool, StoreError>;
}

macro_rules! forward {
    ($($wrapper:ident),+) => {$(
        #[async_trait]
        impl<S: EventStore + ?Sized> EventStore for $wrapper<S> {
            async fn list_events(
                &self,
                account: &AccountId,
                after: i64,
                limit: u32,
            ) -> Result<Vec<Event>, StoreError> {
                (**self).list_events(account, after, limit).await
            }

            async fn purge_events(&self, until: Timestamp) -> Result<(), StoreError> {
                (**self).purge_events(until).await
            }

            async fn due_notices(
                &self,
                now: Timestamp,
                limit: u32,
            ) -> Result<Vec<Notice>, StoreError> {
                (**self).due_notices(now, limit).await
            }

            async fn settle_notice(
                &self,
                notice: &Notice,
                next: Option<Timestamp>,
            ) -> Result<bool, StoreError> {
                (**self).settle_notice(notice, next).await
            }
        }
    )+};
}
forward!(Arc, Box);
