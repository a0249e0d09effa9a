//! Security notices that outlive the process.

use std::str::FromStr;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::fields::Email;
use crate::issue::InvalidValue;

const UNKNOWN: InvalidValue = InvalidValue::new("unknown kind of a notice");

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
    /// `notices.created_at`.
    pub created_at: Timestamp,
    /// `notices.due_at`: the time at which any process sends it, because the one that was
    /// sending it has died.
    pub due_at: Timestamp,
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
        Self { account_id, id, kind, to, created_at, due_at: created_at }
    }

    /// Sets the time at which it is due.
    #[must_use]
    pub fn due_at(self, due_at: Timestamp) -> Self {
        Self { due_at, ..self }
    }
}
