//! The contract of a store whose sign-ups can be retried.

use std::sync::Arc;

use async_trait::async_trait;

use crate::account::AccountId;
use crate::api_key::ApiKeyDigest;
use crate::fields::EmailKey;

use super::{AccountStore, RetriedAccount, RetriedApiKey, StoreError, StoredSignup};

/// A store that recognizes retries, beside [`AccountStore`] and
/// [`CredentialStore`](super::CredentialStore).
/// [`retry_safe`](crate::SignupServiceBuilder::retry_safe) asks for it. A host whose
/// requests are not retried does not need it.
///
/// # Contract
/// - [`create`](AccountStore::create) stores the [receipt](super::NewAccount::receipt) in
///   the account's row, and
///   [`add_api_key`](super::CredentialStore::add_api_key) and
///   [`rotate_api_key`](super::CredentialStore::rotate_api_key) store
///   [that of a key](super::NewApiKey::receipt) in its row: byte for byte, with the row, or
///   not at all. None is stored as null.
/// - A look-up sees what was stored before it began, also by another instance: it is not
///   served by a replica that lags behind.
/// - If the answer to the commit of an account is lost, the store asks for the row with
///   this nonce, and never takes the row of another request for it.
/// - The tag of an API key is unique among the keys of its account. Of any number of
///   simultaneous calls with one tag, one adds its key; all others return false and change
///   nothing, and a rotation among them leaves the old key as it was.
/// - A receipt ends with its row: a deleted account or a revoked key is not found.
///
/// ```
/// use std::sync::{Mutex, PoisonError};
///
/// use async_trait::async_trait;
/// use signup::account::AccountId;
/// use signup::api_key::ApiKeyDigest;
/// use signup::fields::EmailKey;
/// use signup::store::{
///     AccountStore, CreateOutcome, NewAccount, ReplayStore, RetriedAccount, RetriedApiKey,
///     StoreError, StoredSignup,
/// };
///
/// /// Accounts of a demonstration that have one API key each.
/// #[derive(Default)]
/// struct Demo(Mutex<Vec<NewAccount>>);
///
/// impl Demo {
///     fn find(&self, is_it: impl Fn(&NewAccount) -> bool) -> Option<NewAccount> {
///         let accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
///         accounts.iter().find(|account| is_it(account)).cloned()
///     }
/// }
///
/// #[async_trait]
/// impl ReplayStore for Demo {
///     async fn find_signup(&self, key: &EmailKey) -> Result<Option<StoredSignup>, StoreError> {
///         let found = self.find(|account| account.email().key() == key);
///         Ok(found.map(|account| {
///             let receipt = account.receipt().copied();
///             StoredSignup::new(receipt, account.created_at(), account.password_hash().clone())
///         }))
///     }
///
///     async fn find_account_of_key(
///         &self,
///         digest: &ApiKeyDigest,
///     ) -> Result<Option<RetriedAccount>, StoreError> {
///         let found = self.find(|account| account.key_digest() == digest);
///         Ok(found.map(|account| RetriedAccount::new(account.record(), None)))
///     }
///
///     async fn find_retried_key(
///         &self,
///         _: &AccountId,
///         _: &[u8; 32],
///     ) -> Result<Option<RetriedApiKey>, StoreError> {
///         Ok(None) // Nobody adds a key here.
///     }
/// }
/// # #[async_trait]
/// # impl AccountStore for Demo {
/// #     async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
/// #         Ok(self.find(|account| account.email().key() == key).is_some())
/// #     }
/// #     async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
/// #         if self.is_email_taken(new.email().key()).await? {
/// #             return Ok(CreateOutcome::EmailTaken);
/// #         }
/// #         self.0.lock().unwrap_or_else(PoisonError::into_inner).push(new);
/// #         Ok(CreateOutcome::Stored)
/// #     }
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use signup::{SignupRequest, SignupService, idempotency::{IdempotencyKey, ReplaySecret}};
/// # let service = SignupService::builder(Demo::default()).jwt_secret(&[7; 32]);
/// # let service = service.retry_safe(ReplaySecret::new(&[8; 32])?).build()?;
/// # let request = || SignupRequest::new("dev@example.com", "correct horse")
/// #     .idempotency_key(IdempotencyKey::new("8e03978e-40d5-43dd-bc93-6894a57f9324").unwrap());
/// # let first = service.signup(request()).await?;
/// # assert_eq!(service.signup(request()).await?.reveal_json(), first.reveal_json());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[async_trait]
pub trait ReplayStore: AccountStore {
    /// Returns what is kept of the sign-up of this email key, if there is an account.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn find_signup(&self, key: &EmailKey) -> Result<Option<StoredSignup>, StoreError>;

    /// Returns the account that has the API key with this digest, as it is now. An expired
    /// key is found, a revoked one is not.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn find_account_of_key(
        &self,
        digest: &ApiKeyDigest,
    ) -> Result<Option<RetriedAccount>, StoreError>;

    /// Returns the API key of this account whose receipt has this tag.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn find_retried_key(
        &self,
        account: &AccountId,
        tag: &[u8; 32],
    ) -> Result<Option<RetriedApiKey>, StoreError>;
}

macro_rules! forward {
    ($($wrapper:ident),+) => {$(
        #[async_trait]
        impl<S: ReplayStore + ?Sized> ReplayStore for $wrapper<S> {
            async fn find_signup(
                &self,
                key: &EmailKey,
            ) -> Result<Option<StoredSignup>, StoreError> {
                (**self).find_signup(key).await
            }

            async fn find_account_of_key(
                &self,
                digest: &ApiKeyDigest,
            ) -> Result<Option<RetriedAccount>, StoreError> {
                (**self).find_account_of_key(digest).await
            }

            async fn find_retried_key(
                &self,
                account: &AccountId,
                tag: &[u8; 32],
            ) -> Result<Option<RetriedApiKey>, StoreError> {
                (**self).find_retried_key(account, tag).await
            }
        }
    )+};
}
forward!(Arc, Box);
