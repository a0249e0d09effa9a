//! Tickets that change an account, together with the code of a mail: of a reclaim, of
//! another password, or of another address.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::fields::Email;
use crate::idempotency::ReplaySecrets;
use crate::issue::BoxError;
use crate::mail::Code;
use crate::random::SecureRandom;
use crate::secret::Secret;

use super::seal::{Purpose, code_tag};

const CODE: &[u8] = b"signup 1: code of a reclaim";
/// The length of a content: the address, its key and the account's id fit in, escaped.
const PADDED: usize = 3072;

/// The change that a ticket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TicketKind {
    /// Taking an account over whose address was never proven.
    Reclaim,
    /// Another password, for who has forgotten the old one.
    Reset,
    /// Another address, which is that of the ticket.
    NewEmail,
}

impl TicketKind {
    const fn purpose(self) -> Purpose {
        let (prefix, name): (_, &[u8]) = match self {
            Self::Reclaim => ("sur_", b"signup 1: ticket of a reclaim"),
            Self::Reset => ("sup_", b"signup 1: ticket of a reset"),
            Self::NewEmail => ("sue_", b"signup 1: ticket of an address"),
        };
        Purpose { prefix, name, padded: PADDED }
    }
}

/// The content of a ticket.
pub(crate) struct AccountTicket {
    pub(crate) number: [u8; 16],
    /// The address that the code is mailed to.
    pub(crate) email: Email,
    /// The account, with the generation of its tokens; `None` if there is none: then no code
    /// proves anything.
    pub(crate) account: Option<(AccountId, i64)>,
    pub(crate) expires_at: Timestamp,
    /// The version of the secret by which it was sealed.
    pub(crate) version: u32,
    code_tag: [u8; 32],
}

/// A ticket as JSON: short names, for it is padded to one length.
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    n: [u8; 16],
    e: Cow<'a, str>,
    k: Cow<'a, str>,
    a: Option<(Cow<'a, str>, i64)>,
    x: i64,
    m: [u8; 32],
}

impl AccountTicket {
    /// Creates a ticket for a code.
    ///
    /// # Errors
    /// Fails if the secret can't derive a key.
    pub(crate) fn new(
        number: [u8; 16],
        email: Email,
        account: Option<(AccountId, i64)>,
        expires_at: Timestamp,
        code: &Code,
        secrets: &ReplaySecrets,
    ) -> Result<Self, BoxError> {
        let (version, key) = secrets.purpose(None, CODE).ok_or("no secret is current")?;
        let code_tag = code_tag(&key, &number, code)?;
        Ok(Self { number, email, account, expires_at, version, code_tag })
    }

    /// Returns whether this is the code of this ticket, in constant time.
    pub(crate) fn is_code(&self, code: &Code, secrets: &ReplaySecrets) -> Result<bool, BoxError> {
        let Some((_, key)) = secrets.purpose(Some(self.version), CODE) else {
            return Ok(false);
        };
        let tag = code_tag(&key, &self.number, code)?;
        Ok(tag.ct_eq(&self.code_tag).into())
    }

    /// Seals the ticket. All tickets have one length.
    ///
    /// # Errors
    /// Fails without randomness.
    pub(crate) fn seal(
        &self,
        kind: TicketKind,
        secrets: &ReplaySecrets,
        random: &dyn SecureRandom,
    ) -> Result<Secret<String>, BoxError> {
        let wire = Wire {
            n: self.number,
            e: self.email.as_str().into(),
            k: self.email.key().as_str().into(),
            a: self.account.as_ref().map(|(id, generation)| (id.as_str().into(), *generation)),
            x: self.expires_at.as_millis(),
            m: self.code_tag,
        };
        kind.purpose().seal(&wire, self.version, secrets, random)
    }

    /// Opens a ticket; `None` for anything that was not sealed here, for this purpose, by a
    /// secret that is still accepted.
    pub(crate) fn open(ticket: &str, kind: TicketKind, secrets: &ReplaySecrets) -> Option<Self> {
        let (version, padded) = kind.purpose().open(ticket, secrets)?;
        let wire: Wire<'_> = serde_json::from_slice(&padded).ok()?;
        Some(Self {
            number: wire.n,
            email: Email::from_store(wire.e, wire.k),
            account: wire.a.map(|(id, generation)| (AccountId::from_store(id), generation)),
            expires_at: Timestamp::from_millis(wire.x).ok()?,
            version,
            code_tag: wire.m,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::EmailProfile;
    use crate::idempotency::ReplaySecret;
    use crate::random::SystemRandom;

    fn secrets() -> ReplaySecrets {
        ReplaySecrets::new(ReplaySecret::new(&[1; 32]).unwrap())
    }

    fn sealed(email: Email, account: Option<(AccountId, i64)>) -> Secret<String> {
        let (secrets, code) = (secrets(), Code::parse("7HXW3K9P").unwrap());
        let ticket =
            AccountTicket::new([7; 16], email, account, Timestamp::MAX, &code, &secrets).unwrap();
        ticket.seal(TicketKind::Reclaim, &secrets, &SystemRandom).unwrap()
    }

    #[test]
    fn a_ticket_opens_to_what_was_sealed_and_tells_nothing_by_its_length() {
        let account = Some((AccountId::from_store("acc_1"), 3));
        let email = Email::parse("Kim@m\u{fc}nchen.de", EmailProfile::Strict).unwrap();
        let text = sealed(email, account.clone());
        let ticket = AccountTicket::open(&text, TicketKind::Reclaim, &secrets()).unwrap();
        assert_eq!((&ticket.account, ticket.number), (&account, [7; 16]));
        assert_eq!(ticket.email.as_str(), "Kim@m\u{fc}nchen.de");
        assert_eq!(ticket.email.key().as_str(), "kim@xn--mnchen-3ya.de");
        assert!(ticket.is_code(&Code::parse("7hxw-3k9p").unwrap(), &secrets()).unwrap());
        assert!(!ticket.is_code(&Code::parse("7HXW3K9Q").unwrap(), &secrets()).unwrap());

        let longest = Email::from_store("\u{1f600}".repeat(256), "\"".repeat(322));
        let id = AccountId::from_store(format!("acc_{}", "9".repeat(60)));
        assert_eq!(sealed(longest, Some((id, i64::MIN))).len(), text.len());
        let unknown = Email::parse("a@x.co", EmailProfile::Strict).unwrap();
        assert_eq!(sealed(unknown, None).len(), text.len());
    }

    #[test]
    fn a_ticket_of_another_secret_or_purpose_opens_nothing() {
        let email = Email::parse("a@x.co", EmailProfile::Strict).unwrap();
        let text = sealed(email, None);
        let other = ReplaySecrets::new(ReplaySecret::new(&[2; 32]).unwrap());
        assert!(AccountTicket::open(&text, TicketKind::Reclaim, &other).is_none());
        for (kind, prefix) in [(TicketKind::Reset, "sup_"), (TicketKind::NewEmail, "sue_")] {
            let renamed = text.replacen("sur_", prefix, 1);
            assert!(AccountTicket::open(&renamed, kind, &secrets()).is_none());
        }
        let of_signup = text.replacen("sur_", "sut_", 1);
        assert!(super::super::Ticket::open(&of_signup, &secrets()).is_none());
        for at in 0..text.len() {
            let mut flipped = text.as_bytes().to_vec();
            flipped[at] ^= 2;
            let Ok(flipped) = String::from_utf8(flipped) else { continue };
            assert!(
                AccountTicket::open(&flipped, TicketKind::Reclaim, &secrets()).is_none(),
                "octet {at}"
            );
        }
    }
}
