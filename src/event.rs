//! Events: changes of an account, each stored with the change itself.
//!
//! With [`with_events`](crate::SignupServiceBuilder::with_events), each change of an account
//! stores one, in the same transaction. The events of an account are numbered without a
//! gap, in the order of its changes. They hold ids and no personal data.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::issue::InvalidValue;
use crate::random::{Entropy, RandomError};

mod notice;

pub use notice::{KeyCounts, Notice, NoticeKind};

const PREFIX: &str = "evt_";
const DIGITS: usize = 20;
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// The number of partitions of events. A relay leases one at a time.
pub const PARTITIONS: u8 = 64;
/// The version of the JSON of all events.
const VERSION: u32 = 1;
const UNKNOWN: InvalidValue = InvalidValue::new("unknown type of an event");

/// The type of an event.
///
/// ```
/// use signup::event::EventKind;
///
/// assert_eq!(EventKind::AccountCreated.as_str(), "account.created");
/// assert_eq!("account.erased".parse(), Ok(EventKind::AccountErased));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// An account has signed up. Data: `plan`, and `verified`.
    AccountCreated,
    /// The address of an account was verified.
    AccountVerified,
    /// Something of an account has changed. Data: `changed`, a list of `name`, `email` and
    /// `state`.
    AccountUpdated,
    /// An account is on another plan. Data: `plan`.
    AccountPlanChanged,
    /// An account has another password. Data: `reset`, the numbers `api_keys_ended` and
    /// `api_keys_kept`, and `address_was` of a reset: `verified`, `unverified` or `unknown`.
    AccountPasswordChanged,
    /// An account is disabled.
    AccountDisabled,
    /// An account is enabled again.
    AccountEnabled,
    /// The deletion of an account is planned. Data: `delete_at`, in milliseconds since 1970.
    AccountDeletionRequested,
    /// An account is erased. Data: `banned`.
    AccountErased,
    /// The owner of the mailbox has taken the account over. What its first owner has left is
    /// not the owner's.
    AccountReclaimed,
    /// An API key was added to an account. Data: `key_id`, and `expires_at` in milliseconds
    /// since 1970, or null.
    ApiKeyAdded,
    /// An API key was replaced by a new one. Data: `key_id` and `expires_at` of the new one,
    /// `old_key_id`, and `old_valid_until`, the time at which the old one has expired at the
    /// latest.
    ApiKeyRotated,
    /// An API key was revoked. Data: `key_id`.
    ApiKeyRevoked,
    /// A type of a newer release, whose name [`Event::kind_name`] returns.
    Unknown,
}

impl EventKind {
    pub(crate) const ALL: [Self; 13] = [
        Self::AccountCreated,
        Self::AccountVerified,
        Self::AccountUpdated,
        Self::AccountPlanChanged,
        Self::AccountPasswordChanged,
        Self::AccountDisabled,
        Self::AccountEnabled,
        Self::AccountDeletionRequested,
        Self::AccountErased,
        Self::AccountReclaimed,
        Self::ApiKeyAdded,
        Self::ApiKeyRotated,
        Self::ApiKeyRevoked,
    ];

    /// Returns the type as in JSON: `account.created`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccountCreated => "account.created",
            Self::AccountVerified => "account.verified",
            Self::AccountUpdated => "account.updated",
            Self::AccountPlanChanged => "account.plan_changed",
            Self::AccountPasswordChanged => "account.password_changed",
            Self::AccountDisabled => "account.disabled",
            Self::AccountEnabled => "account.enabled",
            Self::AccountDeletionRequested => "account.deletion_requested",
            Self::AccountErased => "account.erased",
            Self::AccountReclaimed => "account.reclaimed",
            Self::ApiKeyAdded => "api_key.added",
            Self::ApiKeyRotated => "api_key.rotated",
            Self::ApiKeyRevoked => "api_key.revoked",
            Self::Unknown => "unknown",
        }
    }
}

impl FromStr for EventKind {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UNKNOWN)
    }
}

impl AsRef<str> for EventKind {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    id: String,
    kind: EventKind,
    account_id: AccountId,
    created_at: Timestamp,
    data: String,
}

impl NewEvent {
    pub(crate) fn mint(
        kind: EventKind,
        account_id: AccountId,
        created_at: Timestamp,
        data: &Value,
        draw: &mut Entropy,
    ) -> Result<Self, RandomError> {
        let mut id = String::with_capacity(PREFIX.len() + DIGITS);
        id.push_str(PREFIX);
        draw.digits(ALPHABET, DIGITS, &mut id)?;
        Ok(Self { id, kind, account_id, created_at, data: data.to_string() })
    }

    /// Returns `events.id`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns `events.kind`.
    pub fn kind(&self) -> EventKind {
        self.kind
    }

    /// Returns `events.account_id`.
    pub fn account_id(&self) -> &AccountId {
        &self.account_id
    }

    /// Returns `events.created_at`.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Returns `events.data`, an object in JSON.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// Returns `events.partition_id`, below [`PARTITIONS`]: the same for all events of an
    /// account.
    pub fn partition(&self) -> u8 {
        partition_of(&self.account_id)
    }

    /// Returns the event as it is stored under this number.
    pub fn numbered(self, number: i64) -> Event {
        let Self { id, kind, account_id, created_at, data } = self;
        Event { id, number, kind: kind.as_str().into(), account_id, created_at, data }
    }
}

/// Returns the partition of the events of an account.
pub(crate) fn partition_of(account: &AccountId) -> u8 {
    let hash = crc32fast::hash(account.as_str().as_bytes());
    hash.to_be_bytes().last().map_or(0, |byte| byte % PARTITIONS)
}

/// An event of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    id: String,
    number: i64,
    kind: Cow<'static, str>,
    account_id: AccountId,
    created_at: Timestamp,
    data: String,
}

impl Event {
    /// Creates the result of a lookup. An [`EventKind`] or its text is the type; one of a
    /// newer release stays as it is.
    pub fn from_store(
        account_id: AccountId,
        number: i64,
        id: String,
        kind: impl AsRef<str>,
        created_at: Timestamp,
        data: String,
    ) -> Self {
        let kind = match kind.as_ref().parse() {
            Ok(kind) => EventKind::as_str(kind).into(),
            Err(_) => kind.as_ref().to_owned().into(),
        };
        Self { id, number, kind, account_id, created_at, data }
    }

    /// Returns the id, `evt_` and 20 lower-case letters and digits: the same whenever the
    /// event is read.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the number among the events of its account, counted from one.
    pub fn number(&self) -> i64 {
        self.number
    }

    /// Returns the type, [`EventKind::Unknown`] for one of a newer release.
    pub fn kind(&self) -> EventKind {
        self.kind.parse().unwrap_or(EventKind::Unknown)
    }

    /// Returns the type as text, also one of a newer release.
    pub fn kind_name(&self) -> &str {
        &self.kind
    }

    /// Returns the account.
    pub fn account_id(&self) -> &AccountId {
        &self.account_id
    }

    /// Returns when it happened.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Returns the payload, a JSON object.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// Clears the payload.
    pub(crate) fn scrub(&mut self) {
        "{}".clone_into(&mut self.data);
    }

    /// Returns the event as JSON.
    ///
    /// ```
    /// use signup::account::AccountId;
    /// use signup::clock::Timestamp;
    /// use signup::event::{Event, EventKind};
    ///
    /// let account = AccountId::from_store("acc_a1b2c3d4e5");
    /// let (kind, data) = (EventKind::AccountPlanChanged, r#"{"plan":"pro"}"#.to_owned());
    /// let event = Event::from_store(account, 3, "evt_1".to_owned(), kind, Timestamp::EPOCH, data);
    /// assert_eq!(event.to_json(), serde_json::json!({
    ///     "id": "evt_1", "type": "account.plan_changed", "version": 1, "number": 3,
    ///     "account_id": "acc_a1b2c3d4e5", "created_at": 0, "data": { "plan": "pro" },
    /// }));
    /// ```
    pub fn to_json(&self) -> Value {
        let data: Map<String, Value> = serde_json::from_str(&self.data).unwrap_or_default();
        json!({
            "id": self.id,
            "type": self.kind,
            "version": VERSION,
            "number": self.number,
            "account_id": self.account_id.as_str(),
            "created_at": self.created_at.as_millis(),
            "data": data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_s_partition_is_the_remainder_of_its_crc() {
        // Instances of two releases work on the same events.
        for id in ["acc_1", "acc_a1b2c3d4e5", "acc_zzzzzzzzzz"] {
            let account = AccountId::from_store(id);
            let event = NewEvent {
                id: "evt_1".to_owned(),
                kind: EventKind::AccountCreated,
                account_id: account,
                created_at: Timestamp::EPOCH,
                data: String::new(),
            };
            let crc = crc32fast::hash(id.as_bytes());
            assert_eq!(u32::from(event.partition()), crc % u32::from(PARTITIONS), "{id}");
        }
    }

    #[test]
    fn a_type_of_a_newer_release_is_carried_as_text() {
        let (account, at) = (AccountId::from_store("acc_1"), Timestamp::EPOCH);
        let data = r#"{"into":"acc_2"}"#.to_owned();
        let event = Event::from_store(account, 1, "evt_1".to_owned(), "account.merged", at, data);
        assert_eq!((event.kind(), event.kind_name()), (EventKind::Unknown, "account.merged"));
        assert_eq!(event.to_json()["type"], "account.merged");
        assert_eq!(event.to_json()["data"], json!({ "into": "acc_2" }));
    }

    #[test]
    fn whatever_was_kept_the_data_are_an_object() {
        let event = |data: &str| {
            let (account, kind) = (AccountId::from_store("acc_1"), EventKind::AccountCreated);
            let (id, at) = ("evt_1".to_owned(), Timestamp::EPOCH);
            Event::from_store(account, 1, id, kind, at, data.to_owned()).to_json()
        };
        assert_eq!(event(r#"{"plan":"pro"}"#)["data"], json!({ "plan": "pro" }));
        for kept in ["", "[1]", "1", "null", "\"plan\"", "{"] {
            assert_eq!(event(kept)["data"], json!({}), "{kept}");
        }
    }
}
