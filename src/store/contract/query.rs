//! The questions that a service asks a store.

use crate::account::AccountId;
use crate::api_key::ApiKeyDigest;
use crate::clock::Timestamp;
use crate::fields::EmailKey;

use super::delivery::StoredEvent;
use super::records::{ApiKeyInfo, StoredApiKey};

/// The column by which an account is found. Each is unique.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum FindBy<'a> {
    /// `accounts.id`
    Id(&'a AccountId),
    /// `accounts.email_key`
    Email(&'a EmailKey),
    /// `api_keys.digest` of one of its keys, expired or not.
    ApiKey(&'a ApiKeyDigest),
}

/// A query of an account's API keys, the oldest first.
///
/// ```
/// use signup::account::AccountId;
/// use signup::clock::Timestamp;
/// use signup::store::KeyQuery;
///
/// let id = AccountId::from_store("acc_a1b2c3d4e5");
/// let query = KeyQuery::of(&id).valid_at(Timestamp::EPOCH).limit(10);
/// assert_eq!((query.account(), query.max_rows()), (&id, Some(10)));
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct KeyQuery<'a> {
    account: &'a AccountId,
    valid_at: Option<Timestamp>,
    tags: Option<&'a [[u8; 32]]>,
    limit: Option<u32>,
}

impl<'a> KeyQuery<'a> {
    /// Creates a query of all keys, including expired ones.
    pub const fn of(account: &'a AccountId) -> Self {
        Self { account, valid_at: None, tags: None, limit: None }
    }

    /// Leaves out the keys that have expired at this time.
    pub const fn valid_at(mut self, now: Timestamp) -> Self {
        self.valid_at = Some(now);
        self
    }

    /// Leaves out the keys whose receipt has none of these tags. The query then sees everything
    /// that was stored before it, also by another instance.
    pub const fn with_tags(mut self, tags: &'a [[u8; 32]]) -> Self {
        self.tags = Some(tags);
        self
    }

    /// Limits the number of keys.
    pub const fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Returns the account.
    pub const fn account(&self) -> &'a AccountId {
        self.account
    }

    /// Returns the time at which the keys are valid, if the query has one.
    pub const fn validity(&self) -> Option<Timestamp> {
        self.valid_at
    }

    /// Returns the tags of which each key has one, if the query has them.
    pub const fn tags(&self) -> Option<&'a [[u8; 32]]> {
        self.tags
    }

    /// Returns the largest number of keys, if there is one.
    pub const fn max_rows(&self) -> Option<u32> {
        self.limit
    }

    /// Returns whether a key of the account matches, apart from the limit.
    pub fn admits(&self, key: &StoredApiKey) -> bool {
        let StoredApiKey { info, receipt } = key;
        let is_valid = |now| ApiKeyInfo::is_valid_at(info, now);
        let has_one_of = |tags: &[[u8; 32]]| {
            receipt.as_ref().is_some_and(|receipt| tags.contains(receipt.tag()))
        };
        self.valid_at.is_none_or(is_valid) && self.tags.is_none_or(has_one_of)
    }
}

/// A query of stored events.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum EventQuery<'a> {
    /// The events of an account, by their numbers.
    OfAccount {
        /// The account.
        account: &'a AccountId,
        /// The number after which the page begins; 0 for the first page.
        after: i64,
    },
    /// The events that were given up, by the time at which they happened and then by id.
    GivenUp {
        /// The last event of the page before.
        after: Option<&'a StoredEvent>,
    },
}

/// The rows that [`purge`](super::LifecycleStore::purge) deletes, by the time at which they
/// expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expired {
    /// API keys.
    ApiKeys,
    /// Used tickets.
    Tickets,
}

/// The events that [`purge_events`](super::EventStore::purge_events) deletes, by the time at
/// which they happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OldEvents {
    /// Those that were delivered.
    Delivered,
    /// All of them, whether or not they were delivered, and all notices.
    All,
}

/// The rows that were deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Purged {
    /// The number of rows.
    pub rows: u64,
    /// Whether there may be more: the limit was reached.
    pub more: bool,
}

impl Purged {
    /// Creates the result of a purge with a limit.
    pub fn new(rows: u64, limit: u32) -> Self {
        Self { rows, more: rows >= u64::from(limit) }
    }
}
