//! The rows that a store writes and returns.

use serde::Serialize;

use crate::account::{Account, AccountId, AccountState, EmailStatus, TicketNonce};
use crate::api_key::{ApiKey, ApiKeyDigest, ApiKeyId};
use crate::clock::Timestamp;
use crate::hash::PasswordHash;
use crate::idempotency::Receipt;

/// The owner of an API key, and its expiry: what a verified key costs to read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyOwner {
    /// `api_keys.account_id`
    pub account_id: AccountId,
    /// `api_keys.expires_at`: from then on the key is not valid.
    pub expires_at: Option<Timestamp>,
    /// `accounts.email_verified_at`: when the owner's address was verified, if it was.
    pub email_verified_at: Option<Timestamp>,
    /// `accounts.state`, of the owner.
    pub state: AccountState,
}

impl KeyOwner {
    /// Creates the owner of a key, whose address was not verified.
    pub const fn new(
        account_id: AccountId,
        state: AccountState,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self { account_id, expires_at, email_verified_at: None, state }
    }

    /// Sets when the owner's address was verified.
    #[must_use]
    pub const fn email_verified_at(mut self, email_verified_at: Option<Timestamp>) -> Self {
        self.email_verified_at = email_verified_at;
        self
    }
}

/// An API key as a list shows it: enough to distinguish keys, and useless to an attacker.
///
/// As JSON, its times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ApiKeyInfo {
    /// Identifies the key when it is rotated or revoked.
    pub id: ApiKeyId,
    /// `api_keys.name`: what its owner calls it, if anything.
    pub name: Option<String>,
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
    /// Creates the result of a lookup for a key that does not expire.
    pub const fn new(
        id: ApiKeyId,
        prefix: String,
        last_four: String,
        created_at: Timestamp,
    ) -> Self {
        Self { id, name: None, prefix, last_four, created_at, expires_at: None }
    }

    /// Sets what its owner calls the key.
    #[must_use]
    pub fn name(mut self, name: Option<String>) -> Self {
        self.name = name;
        self
    }

    /// Returns whether the key has not expired at this time.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| end > now)
    }

    /// Sets when the key expires.
    #[must_use]
    pub const fn expires_at(mut self, expires_at: Option<Timestamp>) -> Self {
        self.expires_at = expires_at;
        self
    }
}

/// An API key as a store returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredApiKey {
    /// The part that its owner sees.
    pub info: ApiKeyInfo,
    /// `api_keys.replay_nonce`, `replay_version` and `replay_tag`; `None` if they are null.
    pub receipt: Option<Receipt>,
}

impl StoredApiKey {
    /// Creates the row of a key whose request can't be retried.
    pub const fn new(info: ApiKeyInfo) -> Self {
        Self { info, receipt: None }
    }

    /// Sets the receipt of the request.
    #[must_use]
    pub const fn receipt(mut self, receipt: Option<Receipt>) -> Self {
        self.receipt = receipt;
        self
    }
}

/// An API key to be stored.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    pub(crate) account_id: AccountId,
    pub(crate) digest: ApiKeyDigest,
    pub(crate) name: Option<String>,
    pub(crate) prefix: String,
    pub(crate) last_four: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) receipt: Option<Receipt>,
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
            name: None,
            prefix: key.display_prefix().to_owned(),
            last_four: key.last_four().to_owned(),
            created_at,
            expires_at,
            receipt: None,
        }
    }

    /// Creates a key that another system has made, of which it has kept the SHA-256 and, for a
    /// list, the beginning.
    #[cfg(feature = "foreign-credentials")]
    pub fn foreign(
        account_id: AccountId,
        digest: ApiKeyDigest,
        prefix: impl Into<String>,
        created_at: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Self {
        let (prefix, last_four) = (prefix.into(), String::new());
        let (name, receipt) = (None, None);
        Self { account_id, digest, name, prefix, last_four, created_at, expires_at, receipt }
    }

    /// Returns `api_keys.account_id`.
    pub fn account_id(&self) -> &AccountId {
        &self.account_id
    }

    /// Returns `api_keys.digest`.
    pub fn digest(&self) -> &ApiKeyDigest {
        &self.digest
    }

    /// Returns `api_keys.replay_nonce`, `replay_version` and `replay_tag`, if the request can be
    /// retried. The first key of an account has none: its account has them.
    pub fn receipt(&self) -> Option<&Receipt> {
        self.receipt.as_ref()
    }

    /// Returns the key as a list shows it: the other columns of `api_keys`.
    pub fn info(&self) -> ApiKeyInfo {
        ApiKeyInfo {
            id: self.digest.key_id(),
            name: self.name.clone(),
            prefix: self.prefix.clone(),
            last_four: self.last_four.clone(),
            created_at: self.created_at,
            expires_at: self.expires_at,
        }
    }
}

/// An account as a store returns it, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredAccount {
    /// The part that its owner sees.
    pub account: Account,
    /// `accounts.created_at`
    pub created_at: Timestamp,
    /// `accounts.token_generation`: tokens of another generation are revoked. A new account
    /// is in generation 0.
    pub token_generation: i64,
    /// `accounts.email_verified_at`: when the address was verified, if it was.
    pub email_verified_at: Option<Timestamp>,
    /// `accounts.state`
    pub state: AccountState,
    /// `accounts.delete_at`: when an account that is to be deleted will be.
    pub delete_at: Option<Timestamp>,
    /// `accounts.email_unverified`: whether the account signed up while addresses were verified
    /// after the sign-up.
    pub email_unverified: bool,
    /// `accounts.ticket_nonce`
    pub ticket_nonce: Option<TicketNonce>,
    /// The API key by which the account was found, if it was found by one.
    pub found_by: Option<ApiKeyInfo>,
}

impl StoredAccount {
    /// Creates the row of an account, nothing of whose address is known.
    pub const fn new(
        account: Account,
        created_at: Timestamp,
        token_generation: i64,
        state: AccountState,
    ) -> Self {
        Self {
            account,
            created_at,
            token_generation,
            email_verified_at: None,
            state,
            delete_at: None,
            email_unverified: false,
            ticket_nonce: None,
            found_by: None,
        }
    }

    /// Sets the API key by which the account was found.
    #[must_use]
    pub fn found_by(mut self, key: Option<ApiKeyInfo>) -> Self {
        self.found_by = key;
        self
    }

    /// Returns whether the address is known to be the owner's.
    pub const fn email_status(&self) -> EmailStatus {
        match (self.email_verified_at, self.email_unverified) {
            (Some(_), _) => EmailStatus::Verified,
            (None, true) => EmailStatus::Unverified,
            (None, false) => EmailStatus::Unknown,
        }
    }

    /// Sets whether the account signed up while addresses were verified after the sign-up.
    #[must_use]
    pub const fn email_unverified(mut self, email_unverified: bool) -> Self {
        self.email_unverified = email_unverified;
        self
    }

    /// Sets the nonce that the account's tickets are bound to.
    #[must_use]
    pub const fn ticket_nonce(mut self, ticket_nonce: Option<TicketNonce>) -> Self {
        self.ticket_nonce = ticket_nonce;
        self
    }

    /// Sets when the account will be deleted.
    #[must_use]
    pub const fn delete_at(mut self, delete_at: Option<Timestamp>) -> Self {
        self.delete_at = delete_at;
        self
    }

    /// Sets when the address was verified.
    #[must_use]
    pub const fn email_verified_at(mut self, email_verified_at: Option<Timestamp>) -> Self {
        self.email_verified_at = email_verified_at;
        self
    }
}

/// An account with what verifies its owner: the hash of the password, and the receipt of the
/// sign-up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredLogin {
    /// The account.
    pub account: StoredAccount,
    /// `accounts.password_hash`, and `accounts.pepper_version`. Empty for an account without a
    /// password.
    pub password_hash: PasswordHash,
    /// `accounts.replay_nonce`, `replay_version` and `replay_tag`; `None` if they are null.
    pub receipt: Option<Receipt>,
}

impl StoredLogin {
    /// Creates the row of an account whose sign-up can't be retried.
    pub const fn new(account: StoredAccount, password_hash: PasswordHash) -> Self {
        Self { account, password_hash, receipt: None }
    }

    /// Sets the receipt of the sign-up.
    #[must_use]
    pub const fn receipt(mut self, receipt: Option<Receipt>) -> Self {
        self.receipt = receipt;
        self
    }
}

/// A ticket that a sign-up uses up: the hash of its number, and when it expires.
///
/// ```
/// use signup::clock::Timestamp;
/// use signup::store::UsedTicket;
///
/// let ticket = UsedTicket::new([7; 32], Timestamp::MAX);
/// assert_eq!((ticket.hash(), ticket.expires_at()), (&[7; 32], Timestamp::MAX));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedTicket {
    hash: [u8; 32],
    expires_at: Timestamp,
}

impl UsedTicket {
    /// Creates the mark of a ticket.
    pub const fn new(hash: [u8; 32], expires_at: Timestamp) -> Self {
        Self { hash, expires_at }
    }

    /// Returns `used_tickets.hash`.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// Returns `used_tickets.expires_at`: from then on the ticket is void, and the
    /// row can go.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}
