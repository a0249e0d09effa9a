//! The contract of a store whose sign-ups prove their address first.

use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Timestamp;

use super::{ReplayStore, StoreError};

/// A store that knows used tickets, beside [`ReplayStore`]. A service that proves addresses
/// before it registers accounts asks for it.
///
/// # Contract
/// - [`create`](super::AccountStore::create) stores the [ticket](super::NewAccount::ticket)
///   of an account with its rows, or nothing at all. It is unique: a ticket that was used
///   before stores nothing and returns
///   [`TicketUsed`](super::CreateOutcome::TicketUsed). If the email is taken, too,
///   [`EmailTaken`](super::CreateOutcome::EmailTaken) is returned.
/// - A used ticket stays used when its account is deleted, until it is purged.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
///
/// use async_trait::async_trait;
/// use signup::clock::Timestamp;
/// use signup::store::{MemoryStore, ReplayStore, StoreError, VerificationStore};
/// # use signup::account::AccountId;
/// # use signup::api_key::ApiKeyDigest;
/// # use signup::fields::EmailKey;
/// # use signup::store::{AccountStore, CreateOutcome, NewAccount};
/// # use signup::store::{RetriedAccount, RetriedApiKey, StoredSignup};
///
/// /// Accounts here, tickets there: a database would have both in one transaction.
/// #[derive(Default)]
/// struct Demo {
///     accounts: MemoryStore,
///     tickets: Mutex<HashMap<[u8; 32], Timestamp>>,
/// }
///
/// #[async_trait]
/// impl VerificationStore for Demo {
///     async fn is_ticket_used(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
///         Ok(self.tickets.lock().unwrap().contains_key(hash))
///     }
///
///     async fn purge_tickets(&self, expired_at: Timestamp) -> Result<(), StoreError> {
///         self.tickets.lock().unwrap().retain(|_, expires_at| *expires_at > expired_at);
///         Ok(())
///     }
/// }
/// # #[async_trait]
/// # impl AccountStore for Demo {
/// #     async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
/// #         self.accounts.is_email_taken(key).await
/// #     }
/// #     async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
/// #         self.accounts.create(new).await
/// #     }
/// # }
/// # #[async_trait]
/// # impl ReplayStore for Demo {
/// #     async fn find_signup(&self, key: &EmailKey) -> Result<Option<StoredSignup>, StoreError> {
/// #         self.accounts.find_signup(key).await
/// #     }
/// #     async fn find_account_of_key(
/// #         &self,
/// #         digest: &ApiKeyDigest,
/// #     ) -> Result<Option<RetriedAccount>, StoreError> {
/// #         self.accounts.find_account_of_key(digest).await
/// #     }
/// #     async fn find_retried_key(
/// #         &self,
/// #         account: &AccountId,
/// #         tag: &[u8; 32],
/// #     ) -> Result<Option<RetriedApiKey>, StoreError> {
/// #         self.accounts.find_retried_key(account, tag).await
/// #     }
/// # }
/// ```
#[async_trait]
pub trait VerificationStore: ReplayStore {
    /// Returns whether a ticket was used.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn is_ticket_used(&self, hash: &[u8; 32]) -> Result<bool, StoreError>;

    /// Deletes the tickets that have expired by then.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn purge_tickets(&self, expired_at: Timestamp) -> Result<(), StoreError>;
}

macro_rules! forward {
    ($($wrapper:ident),+) => {$(
        #[async_trait]
        impl<S: VerificationStore + ?Sized> VerificationStore for $wrapper<S> {
            async fn is_ticket_used(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
                (**self).is_ticket_used(hash).await
            }

            async fn purge_tickets(&self, expired_at: Timestamp) -> Result<(), StoreError> {
                (**self).purge_tickets(expired_at).await
            }
        }
    )+};
}
forward!(Arc, Box);
