//! Mails to whom an address belongs, off the path of a request: see
//! [the guide](crate::guide::verification).
//!
//! The host's [`Mailer`] sends them. It gets the content as data, and finds its own
//! words, templates and languages, or uses the plain ones of a [`Mail`].

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::event::{KeyCounts, Notice, NoticeKind};
use crate::fields::Email;
use crate::issue::BoxError;

mod code;
mod queue;
#[cfg(feature = "smtp")]
mod smtp;
mod text;

pub use code::Code;
pub(crate) use queue::{MailPermit, MailRecord};
pub use queue::{MailQueue, MailStats};
#[cfg(feature = "smtp")]
pub use smtp::SmtpMailer;

/// A transport of mails: SMTP, or a provider's API.
///
/// # Contract
/// - It is called off the path of requests, several times at once, and may be dropped at
///   any await when it is late. A failure that may pass is
///   [`Temporary`](MailError::Temporary): then it is called again with the same mail.
/// - It does not write down addresses and codes.
///
/// ```
/// use async_trait::async_trait;
/// use signup::mail::{Mail, MailError, MailKind, Mailer};
///
/// /// Prints mails, for development.
/// struct Printed;
///
/// #[async_trait]
/// impl Mailer for Printed {
///     async fn send(&self, mail: &Mail) -> Result<(), MailError> {
///         let text = match mail.kind() {
///             MailKind::SignupCode => format!("Bienvenue ! {}", mail.reveal_code().unwrap_or("")),
///             _ => mail.text(), // in English
///         };
///         eprintln!("To: {}\n{text}", mail.to().as_str());
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Mailer: Send + Sync + 'static {
    /// Sends a mail.
    ///
    /// # Errors
    /// Fails with [`MailError::Temporary`] if it may succeed later, and with
    /// [`MailError::Permanent`] if not.
    async fn send(&self, mail: &Mail) -> Result<(), MailError>;
}

macro_rules! forward {
    ($($wrapper:ident),+) => {$(
        #[async_trait]
        impl<M: Mailer + ?Sized> Mailer for $wrapper<M> {
            async fn send(&self, mail: &Mail) -> Result<(), MailError> {
                (**self).send(mail).await
            }
        }
    )+};
}
forward!(Arc, Box);

/// The reason why a mail was not sent.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    /// A lost connection, or a reply of SMTP's 4xx: worth another attempt.
    #[error("a mail could not be sent for now")]
    Temporary(#[source] BoxError),
    /// A reply of SMTP's 5xx: the same mail will fail again.
    #[error("a mail can't be sent")]
    Permanent(#[source] BoxError),
}

crate::issue::debug_by_text!(MailError);

/// The purpose of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MailKind {
    /// The code that completes a sign-up.
    SignupCode,
    /// Someone has signed up with an address that has an account already. There is no code
    /// in it.
    AccountExists,
    /// The code that verifies the address of an existing account.
    EmailCode,
    /// The code by which the owner of a mailbox takes over an account that someone else made
    /// with its address.
    ReclaimCode,
    /// Someone wanted to take over an account whose address is verified. There is no code in
    /// it.
    AlreadyVerified,
    /// The code by which the owner of an account sets another password.
    ResetCode,
    /// The code that verifies the new address of an account.
    NewEmailCode,
    /// The address of an account is another one from now on: a mail to the old one. There is
    /// no code in it.
    EmailChanged,
    /// The password of an account was changed or reset. There is no code in it.
    PasswordChanged,
    /// The owner of the mailbox has taken the account over. There is no code in it.
    AccountReclaimed,
}

impl MailKind {
    /// Returns whether a mail of this kind has a code.
    const fn has_code(self) -> bool {
        use MailKind::{EmailCode, NewEmailCode, ReclaimCode, ResetCode, SignupCode};
        matches!(self, SignupCode | EmailCode | ReclaimCode | ResetCode | NewEmailCode)
    }
}

/// A mail: what is to be said, and to whom. Its code is wiped when it is dropped, and
/// `Debug` shows neither code nor address.
#[derive(Clone)]
pub struct Mail {
    kind: MailKind,
    to: Email,
    code: Option<Code>,
    expires_in: Duration,
    api_keys: Option<KeyCounts>,
    occurrences: u32,
}

impl Mail {
    /// Creates a mail, for the tests of a [`Mailer`]. A kind without a code drops it.
    pub fn new(kind: MailKind, to: Email, code: Code, expires_in: Duration) -> Self {
        let code = kind.has_code().then_some(code);
        Self { kind, to, code, expires_in, api_keys: None, occurrences: 1 }
    }

    pub(crate) fn without_code(kind: MailKind, to: Email) -> Self {
        let (code, expires_in, api_keys) = (None, Duration::ZERO, None);
        Self { kind, to, code, expires_in, api_keys, occurrences: 1 }
    }

    /// Creates the mail of a security notice.
    pub(crate) fn of_notice(notice: &Notice) -> Self {
        let kind = match notice.kind {
            NoticeKind::PasswordChanged => MailKind::PasswordChanged,
            NoticeKind::EmailChanged => MailKind::EmailChanged,
            NoticeKind::AccountReclaimed => MailKind::AccountReclaimed,
        };
        Self { api_keys: notice.api_keys, ..Self::without_code(kind, notice.to.clone()) }
    }

    /// Returns the purpose.
    pub fn kind(&self) -> MailKind {
        self.kind
    }

    /// Returns the address.
    pub fn to(&self) -> &Email {
        &self.to
    }

    /// Returns the code, eight characters without a hyphen, if the mail has one.
    pub fn reveal_code(&self) -> Option<&str> {
        self.code.as_ref().map(Code::reveal)
    }

    pub(crate) fn standing_for(self, occurrences: u32) -> Self {
        Self { occurrences, ..self }
    }

    /// Returns how often what it reports has happened since the last mail of its kind. Mails
    /// without a code that are no security notices are joined within an hour.
    pub fn occurrences(&self) -> u32 {
        self.occurrences
    }

    /// Returns how many API keys ended and are still valid, in a notice about a password.
    pub fn api_keys(&self) -> Option<KeyCounts> {
        self.api_keys
    }

    /// Returns how long the code is valid.
    pub fn expires_in(&self) -> Duration {
        self.expires_in
    }

    /// Returns a subject in English, without the code: a lock screen shows it.
    pub fn subject(&self) -> &'static str {
        text::subject(self.kind)
    }

    /// Returns a plain text in English.
    pub fn text(&self) -> String {
        text::plain(self)
    }

    /// Returns the same as HTML: nothing in it is loaded, and nothing is a link.
    pub fn html(&self) -> String {
        text::html(self)
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A mailer that keeps mails in memory, for tests.
///
/// ```
/// use std::time::Duration;
///
/// use signup::fields::{Email, EmailProfile};
/// use signup::mail::{Code, Mail, MailKind, Mailer, MemoryMailer};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let mailer = MemoryMailer::default();
/// let to = Email::parse("dev@example.com", EmailProfile::Strict).unwrap();
/// let code = Code::parse("7HXW-3K9P").unwrap();
/// let mail = Mail::new(MailKind::SignupCode, to, code, Duration::from_hours(1));
/// mailer.send(&mail).await.unwrap();
/// assert_eq!(mailer.last_code("dev@example.com").as_deref(), Some("7HXW3K9P"));
/// # });
/// ```
#[derive(Debug, Default)]
pub struct MemoryMailer(Mutex<Vec<Mail>>);

impl MemoryMailer {
    /// Returns all mails, the oldest first.
    pub fn sent(&self) -> Vec<Mail> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the last code that this address has got.
    pub fn last_code(&self, address: &str) -> Option<String> {
        let sent = self.sent();
        let mut codes = sent.iter().rev().filter(|mail| mail.to.as_str() == address);
        codes.find_map(|mail| mail.reveal_code().map(str::to_owned))
    }
}

#[async_trait]
impl Mailer for MemoryMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(mail.clone());
        Ok(())
    }
}
