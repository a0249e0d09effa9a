//! Stores of accounts: their contracts, one in memory, and those in SQL databases.

use std::sync::Arc;

use async_trait::async_trait;

use crate::account::{Account, AccountId, Plan};
use crate::api_key::ApiKeyDigest;
use crate::clock::Timestamp;
use crate::context::SignupContext;
use crate::error::{BoxError, DEFAULT_RETRY_AFTER, Issue, SignupError};
use crate::fields::{Email, EmailKey};
use crate::hash::PasswordHash;

#[cfg(feature = "conformance")]
pub mod conformance;
mod credentials;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use credentials::{
    AccountRecord, ApiKeyInfo, CredentialStore, KeyOwner, NewApiKey, StoredPassword,
};
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::{Postgres, PostgresStore};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use sql::{
    HostRows, HostRowsError, HostTransaction, OpenError, PrefixError, Schema, SqlStore, TablePrefix,
};
#[cfg(feature = "sqlite")]
pub use sqlite::{Sqlite, SqliteStore};

/// A store of accounts.
///
/// # Contract
/// - [`create`](AccountStore::create) is atomic: account and API key are both
///   there afterwards, or neither, whatever fails and wherever.
/// - It alone judges whether an email is taken. Of any number of simultaneous
///   calls with one email key, one is told [`CreateOutcome::Stored`] and all others
///   [`CreateOutcome::EmailTaken`].
/// - `EmailTaken` may be answered because of a transaction that is rolled back later.
///   That is safe: a retry succeeds.
/// - Account id and key digest are unique too; a clash of those is
///   [`CreateOutcome::IdentifierTaken`], never `EmailTaken`. A clash of any constraint that
///   a table has on the address is `EmailTaken`.
/// - A call ends: it has a deadline, after which it answers an error. The work of a
///   caller that has gone away ends by then, too.
/// - `Stored` means durable, as far as the store promises that.
/// - An error says whether the outcome is known. After one that is known,
///   nothing is stored, and the same email can sign up.
/// - A future that is dropped at any point leaves both rows or none, and no
///   transaction open.
/// - Text comes back byte for byte, and an email key is compared by its bytes.
#[async_trait]
pub trait AccountStore: Send + Sync + 'static {
    /// Whether there is an account with this key. Advisory: it saves work, and decides
    /// nothing.
    ///
    /// # Errors
    /// The store does not answer, or fails.
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError>;

    /// Stores an account and its first API key, both or neither.
    ///
    /// # Errors
    /// The store does not answer, or fails, or what came of it is not known.
    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError>;
}

macro_rules! forward {
    ($($wrapper:ident),+) => {$(
        #[async_trait]
        impl<S: AccountStore + ?Sized> AccountStore for $wrapper<S> {
            async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
                (**self).is_email_taken(key).await
            }

            async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
                (**self).create(new).await
            }
        }
    )+};
}
forward!(Arc, Box);

/// The outcome of a [`create`](AccountStore::create).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CreateOutcome {
    /// Account and API key are stored.
    Stored,
    /// There is an account with this email key. Nothing is stored.
    EmailTaken,
    /// There is an account with this id, or a key with this digest: by chance, or
    /// because the random source is broken. Nothing is stored.
    IdentifierTaken,
}

/// The proof that an account is inserted, in a transaction that the host owns. It
/// opens the answer that [`prepare`](crate::SignupService::prepare) has sealed.
#[derive(Debug)]
#[must_use = "it opens the answer that was prepared"]
pub struct InsertProof(AccountId);

impl InsertProof {
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    fn for_account(new: &NewAccount) -> Self {
        Self(new.id().clone())
    }

    /// Returns the proof for an account that the host has inserted by statements of its
    /// own: both rows, in one transaction, into a table whose email key is unique.
    ///
    /// Nothing checks it. A host that says so of an account that is not stored hands
    /// out a token and an API key of nobody.
    ///
    /// ```
    /// use signup::store::{InsertProof, MemoryStore};
    /// use signup::{SignupRequest, SignupService};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let service =
    ///     SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]).build()?;
    /// let prepared = service.prepare(SignupRequest::new("dev@example.com", "correct horse")).await?;
    /// let new = prepared.new_account();
    /// // … INSERT INTO users … with new.id(), new.email(), new.password_hash() …
    /// // … INSERT INTO keys … with new.key_digest() … and COMMIT …
    /// let proof = InsertProof::by_host(new);
    /// let signup = prepared.open(proof)?;
    /// assert_eq!(signup.account().email().as_str(), "dev@example.com");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn by_host(new: &NewAccount) -> Self {
        Self(new.id().clone())
    }

    /// Returns the id of the account.
    pub fn into_id(self) -> AccountId {
        self.0
    }
}

/// An account on its way into a store, with its first API key's digest.
#[derive(Debug, Clone)]
pub struct NewAccount {
    pub(crate) account: Arc<Account>,
    pub(crate) password_hash: Arc<PasswordHash>,
    pub(crate) key: NewApiKey,
    pub(crate) context: Arc<SignupContext>,
}

impl NewAccount {
    /// `accounts.id`
    pub fn id(&self) -> &AccountId {
        self.account.id()
    }

    /// `accounts.email` and, by its [`key`](Email::key), `accounts.email_key`
    pub fn email(&self) -> &Email {
        self.account.email()
    }

    /// `accounts.name`
    pub fn name(&self) -> Option<&str> {
        self.account.name()
    }

    /// `accounts.plan`
    pub fn plan(&self) -> &Plan {
        self.account.plan()
    }

    /// `accounts.password_hash`, and `accounts.pepper_version`
    pub fn password_hash(&self) -> &PasswordHash {
        &self.password_hash
    }

    /// `accounts.created_at` and `api_keys.created_at`
    pub fn created_at(&self) -> Timestamp {
        self.key.created_at
    }

    /// `api_keys.digest`
    pub fn key_digest(&self) -> &ApiKeyDigest {
        &self.key.digest
    }

    /// `api_keys.prefix`
    pub fn key_prefix(&self) -> &str {
        &self.key.prefix
    }

    /// `api_keys.last_four`
    pub fn key_last_four(&self) -> &str {
        &self.key.last_four
    }

    /// The first API key as a whole.
    pub fn key(&self) -> &NewApiKey {
        &self.key
    }

    /// The declared fields of the request, and what the policies have attached to it:
    /// for the host's own rows.
    pub fn context(&self) -> &SignupContext {
        &self.context
    }
}

/// The reason why a store gives no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It does not answer now and may later. Nothing is stored.
    #[error("the store does not answer")]
    Unavailable(#[source] BoxError),
    /// It was lost after what it was given may have been written, and could not be
    /// asked again.
    #[error("the store was lost on the way: what it was given may be written or not")]
    OutcomeUnknown(#[source] BoxError),
    /// The host's rows refuse the account, with these issues. Nothing is stored.
    #[error("the host's rows refuse the account")]
    Refused(Vec<Issue>),
    /// It fails, and will fail again. Nothing is stored.
    #[error("the store failed")]
    Failed(#[source] BoxError),
}

/// Joins a task of the store. A panic in it, in the host's rows for example, rolls the
/// transaction back; its message goes to the panic hook only.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn join_task<T>(
    ended: Result<Result<T, StoreError>, tokio::task::JoinError>,
) -> Result<T, StoreError> {
    ended.unwrap_or_else(|lost| {
        if lost.is_panic() {
            Err(StoreError::Failed("the task of the store panicked".into()))
        } else {
            Err(StoreError::OutcomeUnknown("the runtime ended before the store answered".into()))
        }
    })
}

impl From<StoreError> for SignupError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Failed(source) => Self::Internal(source),
            StoreError::Refused(issues) => Self::Invalid(issues),
            StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_) => {
                Self::Unavailable { retry_after: DEFAULT_RETRY_AFTER, source: error.into() }
            }
        }
    }
}
