//! Tickets that change an account, together with the code of a mail: of a reclaim, of
//! another password, or of another address.

use std::borrow::Cow;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::account::{AccountId, TicketNonce};
use crate::clock::Timestamp;
use crate::fields::Email;
use crate::idempotency::ReplaySecrets;
use crate::issue::BoxError;
use crate::mail::Code;
use crate::random::SecureRandom;
use crate::secret::Secret;

use super::seal::{Purpose, TicketSecrets, code_tag};

const CODE: &[u8] = b"signup 1: code of a reclaim";
const SPENT: &[u8] = b"signup 1: nonce of a spent ticket";
/// The length of a content: the address, its key and the account's id fit in, escaped.
const PADDED: usize = 3072;

/// The change that a ticket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TicketKind {
    /// Taking an account over whose address was never verified.
    Reclaim,
    /// Another password, for who has forgotten the old one.
    Reset,
    /// Another address, the one in the ticket.
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

/// The account of a ticket, as it is when the ticket is issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BoundAccount {
    pub(crate) id: AccountId,
    /// The generation of its tokens.
    pub(crate) generation: i64,
    /// The SHA-256 of the nonce of its tickets.
    nonce_hash: [u8; 32],
}

impl BoundAccount {
    pub(crate) fn new(id: AccountId, generation: i64, nonce: &TicketNonce) -> Self {
        Self { id, generation, nonce_hash: Sha256::digest(nonce.as_bytes()).into() }
    }

    /// Returns whether the account still has the nonce that its ticket is bound to.
    pub(crate) fn has_nonce(&self, nonce: &TicketNonce) -> bool {
        let hash: [u8; 32] = Sha256::digest(nonce.as_bytes()).into();
        hash.ct_eq(&self.nonce_hash).into()
    }
}

/// The content of a ticket.
pub(crate) struct AccountTicket {
    pub(crate) number: [u8; 16],
    /// The address that the code is mailed to.
    pub(crate) email: Email,
    /// The account; `None` for an address without one, for which no code is right.
    pub(crate) account: Option<BoundAccount>,
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
    a: Option<(Cow<'a, str>, i64, [u8; 32])>,
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
        account: Option<BoundAccount>,
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

    /// Returns the nonce that an account gets by the change which this ticket is for, by which
    /// a repetition is recognized after a lost answer.
    ///
    /// # Errors
    /// Fails if the secret was retired.
    pub(crate) fn spent_nonce(&self, secrets: &ReplaySecrets) -> Result<TicketNonce, BoxError> {
        let (_, key) =
            secrets.purpose(Some(self.version), SPENT).ok_or("the secret was retired")?;
        let mac = Hmac::<Sha256>::new_from_slice(&*key)?.chain_update(self.number);
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        let (nonce, _) = tag.split_first_chunk().ok_or("a tag has 32 bytes")?;
        Ok(TicketNonce::new(*nonce))
    }

    /// Seals the ticket. All tickets have one length.
    ///
    /// # Errors
    /// Fails without randomness.
    pub(crate) fn seal(
        &self,
        kind: TicketKind,
        secrets: &TicketSecrets,
        random: &dyn SecureRandom,
    ) -> Result<Secret<String>, BoxError> {
        let wire = Wire {
            n: self.number,
            e: self.email.as_str().into(),
            k: self.email.key().as_str().into(),
            a: self
                .account
                .as_ref()
                .map(|it| (it.id.as_str().into(), it.generation, it.nonce_hash)),
            x: self.expires_at.as_millis(),
            m: self.code_tag,
        };
        kind.purpose().seal(&wire, self.version, secrets, random)
    }

    /// Opens a ticket; `None` for anything that was not sealed here, for this purpose, by a
    /// secret that is still accepted.
    pub(crate) fn open(ticket: &str, kind: TicketKind, secrets: &TicketSecrets) -> Option<Self> {
        let (version, padded) = kind.purpose().open(ticket, secrets)?;
        let wire: Wire<'_> = serde_json::from_slice(&padded).ok()?;
        Some(Self {
            number: wire.n,
            email: Email::from_store(wire.e, wire.k),
            account: wire.a.map(|(id, generation, nonce_hash)| BoundAccount {
                id: AccountId::from_store(id),
                generation,
                nonce_hash,
            }),
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

    fn secrets() -> TicketSecrets {
        secrets_of(1, "signup")
    }

    fn secrets_of(byte: u8, issuer: &str) -> TicketSecrets {
        let secrets = ReplaySecrets::new(ReplaySecret::new(&[byte; 32]).unwrap());
        TicketSecrets::new(secrets, issuer, "dashboard")
    }

    fn bound(id: AccountId, generation: i64) -> BoundAccount {
        BoundAccount::new(id, generation, &TicketNonce::new([0xff; 16]))
    }

    fn sealed(email: Email, account: Option<BoundAccount>) -> Secret<String> {
        let (secrets, code) = (secrets(), Code::parse("7HXW3K9P").unwrap());
        let ticket =
            AccountTicket::new([7; 16], email, account, Timestamp::MAX, &code, &secrets).unwrap();
        ticket.seal(TicketKind::Reclaim, &secrets, &SystemRandom).unwrap()
    }

    #[test]
    fn a_ticket_opens_to_what_was_sealed_and_tells_nothing_by_its_length() {
        let account = Some(bound(AccountId::from_store("acc_1"), 3));
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
        assert_eq!(sealed(longest, Some(bound(id, i64::MIN))).len(), text.len());
        let unknown = Email::parse("a@x.co", EmailProfile::Strict).unwrap();
        assert_eq!(sealed(unknown, None).len(), text.len());
    }

    #[test]
    fn a_ticket_of_another_secret_or_purpose_opens_nothing() {
        let email = Email::parse("a@x.co", EmailProfile::Strict).unwrap();
        let text = sealed(email, None);
        // Nor one of another deployment with the same secret.
        for other in [secrets_of(2, "signup"), secrets_of(1, "staging")] {
            assert!(AccountTicket::open(&text, TicketKind::Reclaim, &other).is_none());
        }
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
