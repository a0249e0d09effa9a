//! The contract of a store that registers accounts.

use std::sync::Arc;

use async_trait::async_trait;

use crate::account::{Account, AccountId, AccountState, Plan, TicketNonce};
use crate::api_key::ApiKeyDigest;
use crate::clock::Timestamp;
use crate::context::SignupContext;
use crate::event::NewEvent;
use crate::fields::{Email, EmailKey};
use crate::hash::PasswordHash;
use crate::idempotency::Receipt;

use super::error::StoreError;
use super::records::{NewApiKey, StoredAccount, UsedTicket};

/// A store of accounts.
///
/// # Contract
/// - [`create`](AccountStore::create) is atomic: afterwards account and API key are both
///   stored, or neither, under any fault.
/// - It alone decides whether an email is taken. Of any number of simultaneous calls with
///   one email key, one returns [`CreateOutcome::Stored`] and all others
///   [`CreateOutcome::EmailTaken`].
/// - `EmailTaken` may be reported because of a transaction that later rolls back. That is
///   safe: a retry succeeds.
/// - Account id and key digest are unique too; a clash of those is
///   [`CreateOutcome::IdentifierTaken`], never `EmailTaken`. A clash of any constraint that
///   a table has on the address is `EmailTaken`.
/// - A call ends: it has a deadline, after which it returns an error. The work of a caller
///   that has gone away ends by then, too.
/// - `Stored` means durable, as far as the store promises that.
/// - An error says whether the outcome is known. If it is, nothing is stored, and the same
///   email can register again.
/// - A future that is dropped at any point leaves both rows or none, and no open
///   transaction.
/// - Text is returned byte for byte, and an email key is compared by its bytes.
///
/// ```
/// use std::sync::{Mutex, PoisonError};
///
/// use async_trait::async_trait;
/// use signup::fields::EmailKey;
/// use signup::store::{AccountStore, CreateOutcome, NewAccount, StoreError};
///
/// /// Accounts of a demonstration, which end with the process. The lock makes it atomic.
/// #[derive(Default)]
/// struct Demo(Mutex<Vec<NewAccount>>);
///
/// #[async_trait]
/// impl AccountStore for Demo {
///     async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
///         let accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
///         Ok(accounts.iter().any(|account| account.email().key() == key))
///     }
///
///     async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
///         let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
///         if accounts.iter().any(|account| account.email().key() == new.email().key()) {
///             return Ok(CreateOutcome::EmailTaken);
///         }
///         let same = |account: &NewAccount| {
///             account.id() == new.id() || account.key_digest() == new.key_digest()
///         };
///         if accounts.iter().any(same) {
///             return Ok(CreateOutcome::IdentifierTaken);
///         }
///         accounts.push(new);
///         Ok(CreateOutcome::Stored)
///     }
/// }
/// ```
#[async_trait]
pub trait AccountStore: Send + Sync + 'static {
    /// Returns whether an account with this key exists. Advisory: saves work, decides
    /// nothing.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError>;

    /// Stores an account and its first API key, both or neither.
    ///
    /// # Errors
    /// Returns a [`StoreError`] that says whether the outcome is known.
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
    /// An account with this email key exists. Nothing is stored.
    EmailTaken,
    /// An account with this id, or a key with this digest, exists: by chance, or because
    /// the random source is broken. Nothing is stored.
    IdentifierTaken,
    /// The [ticket](NewAccount::ticket) was used before, whether or not its account still
    /// exists. Nothing is stored.
    TicketUsed,
}

/// The proof that an account was inserted in a transaction of the host. It opens the answer
/// of [`prepare`](crate::SignupService::prepare).
#[derive(Debug)]
#[must_use = "it opens the answer that was prepared"]
pub struct InsertProof(AccountId);

impl InsertProof {
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(in crate::store) fn for_account(new: &NewAccount) -> Self {
        Self(new.id().clone())
    }

    /// Creates the proof for an account that the host has inserted with its own statements:
    /// both rows, in one transaction, into a table with a unique email key.
    ///
    /// Nothing verifies it. A host that claims this of an account that is not stored hands
    /// out a token and an API key without an account.
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

/// An account to be stored, with its first API key.
#[derive(Debug, Clone)]
pub struct NewAccount {
    pub(crate) account: Arc<Account>,
    pub(crate) password_hash: Arc<PasswordHash>,
    pub(crate) key: NewApiKey,
    pub(crate) context: Arc<SignupContext>,
    pub(crate) receipt: Option<Receipt>,
    pub(crate) email_verified_at: Option<Timestamp>,
    pub(crate) email_unverified: bool,
    pub(crate) ticket_nonce: Option<TicketNonce>,
    pub(crate) ticket: Option<UsedTicket>,
    pub(crate) event: Option<NewEvent>,
}

impl NewAccount {
    /// Returns `accounts.id`.
    pub fn id(&self) -> &AccountId {
        self.account.id()
    }

    /// Returns `accounts.email` and, by its [`key`](Email::key), `accounts.email_key`.
    pub fn email(&self) -> &Email {
        self.account.email()
    }

    /// Returns `accounts.name`.
    pub fn name(&self) -> Option<&str> {
        self.account.name()
    }

    /// Returns `accounts.plan`.
    pub fn plan(&self) -> &Plan {
        self.account.plan()
    }

    /// Returns `accounts.password_hash` and `accounts.pepper_version`.
    pub fn password_hash(&self) -> &PasswordHash {
        &self.password_hash
    }

    /// Returns `accounts.created_at` and `api_keys.created_at`.
    pub fn created_at(&self) -> Timestamp {
        self.key.created_at
    }

    /// Returns `api_keys.digest`.
    pub fn key_digest(&self) -> &ApiKeyDigest {
        &self.key.digest
    }

    /// Returns `api_keys.prefix`.
    pub fn key_prefix(&self) -> &str {
        &self.key.prefix
    }

    /// Returns `api_keys.last_four`.
    pub fn key_last_four(&self) -> &str {
        &self.key.last_four
    }

    /// Returns the first API key.
    pub fn key(&self) -> &NewApiKey {
        &self.key
    }

    /// Returns the account as it is found right after it was stored.
    pub fn record(&self) -> StoredAccount {
        let record =
            StoredAccount::new((*self.account).clone(), self.created_at(), 0, AccountState::Active);
        let record = record.email_verified_at(self.email_verified_at);
        record.email_unverified(self.email_unverified).ticket_nonce(self.ticket_nonce)
    }

    /// Returns `accounts.replay_nonce`, `replay_version` and `replay_tag`, if the request
    /// can be retried, for a [`LifecycleStore`](crate::store::LifecycleStore).
    pub fn receipt(&self) -> Option<&Receipt> {
        self.receipt.as_ref()
    }

    /// Returns `accounts.email_verified_at`: when the address was verified, if it was.
    pub fn email_verified_at(&self) -> Option<Timestamp> {
        self.email_verified_at
    }

    /// Returns `accounts.email_unverified`: whether the address is to be verified after the
    /// sign-up.
    pub fn is_email_unverified(&self) -> bool {
        self.email_unverified
    }

    /// Returns `accounts.ticket_nonce`.
    pub fn ticket_nonce(&self) -> Option<&TicketNonce> {
        self.ticket_nonce.as_ref()
    }

    /// Returns the ticket that the sign-up uses up, if its address was verified first, for a
    /// [`LifecycleStore`](crate::store::LifecycleStore).
    pub fn ticket(&self) -> Option<&UsedTicket> {
        self.ticket.as_ref()
    }

    /// Returns the event of the sign-up, if events are stored, for an
    /// [`EventStore`](crate::store::EventStore).
    pub fn event(&self) -> Option<&NewEvent> {
        self.event.as_ref()
    }

    /// Returns the declared fields of the request and the values that policies attached,
    /// for the host's own rows.
    pub fn context(&self) -> &SignupContext {
        &self.context
    }
}
