//! Security notices that outlive the process.

use std::str::FromStr;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::fields::Email;
use crate::issue::InvalidValue;

const UNKNOWN: InvalidValue = InvalidValue::new("unknown kind of notice");

/// The change that a security notice reports.
///
/// ```
/// use signup::event::NoticeKind;
///
/// assert_eq!(NoticeKind::EmailChanged.as_str(), "email_changed");
/// assert_eq!("password_changed".parse(), Ok(NoticeKind::PasswordChanged));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoticeKind {
    /// The password of the account was changed or reset.
    PasswordChanged,
    /// The account has a new address. The notice goes to the old one.
    EmailChanged,
    /// The owner of the mailbox has taken the account over.
    AccountReclaimed,
}

impl NoticeKind {
    pub(crate) const ALL: [Self; 3] =
        [Self::PasswordChanged, Self::EmailChanged, Self::AccountReclaimed];

    /// Returns the kind as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PasswordChanged => "password_changed",
            Self::EmailChanged => "email_changed",
            Self::AccountReclaimed => "account_reclaimed",
        }
    }
}

impl FromStr for NoticeKind {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UNKNOWN)
    }
}

/// A security notice to the owner of an account, stored with the change that it reports until
/// it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// `notices.account_id`.
    pub account_id: AccountId,
    /// `notices.id`: the id of the event of the same change.
    pub id: String,
    /// `notices.kind`.
    pub kind: NoticeKind,
    /// `notices.email` and `notices.email_key`: the recipient.
    pub to: Email,
    /// `notices.api_keys_ended` and `notices.api_keys_kept`.
    pub api_keys: Option<KeyCounts>,
    /// `notices.created_at`.
    pub created_at: Timestamp,
    /// `notices.due_at`: from this time on any process may send it.
    pub due_at: Timestamp,
    /// `notices.takeovers`: the processes that have taken it over from a dead one.
    pub takeovers: u32,
}

/// The API keys of an account when its password was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyCounts {
    /// The keys that ended with the change.
    pub ended: u32,
    /// The keys that are still valid.
    pub kept: u32,
}

impl KeyCounts {
    pub(crate) fn new(ended: usize, kept: usize) -> Self {
        let count = |keys: usize| u32::try_from(keys).unwrap_or(u32::MAX);
        Self { ended: count(ended), kept: count(kept) }
    }
}

impl Notice {
    /// Creates a notice about a change made at `created_at`, due at the same time.
    pub fn new(
        account_id: AccountId,
        id: String,
        kind: NoticeKind,
        to: Email,
        created_at: Timestamp,
    ) -> Self {
        let (api_keys, due_at, takeovers) = (None, created_at, 0);
        Self { account_id, id, kind, to, api_keys, created_at, due_at, takeovers }
    }

    /// Sets the numbers of API keys that it reports.
    #[must_use]
    pub fn api_keys(self, api_keys: Option<KeyCounts>) -> Self {
        Self { api_keys, ..self }
    }

    /// Sets the processes that have taken it over.
    #[must_use]
    pub fn takeovers(self, takeovers: u32) -> Self {
        Self { takeovers, ..self }
    }

    /// Sets the time at which it is due.
    #[must_use]
    pub fn due_at(self, due_at: Timestamp) -> Self {
        Self { due_at, ..self }
    }
}
