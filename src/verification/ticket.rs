//! The ticket of a sign-up whose address is not verified yet: all that is known of it, sealed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::clock::Timestamp;
use crate::context::SignupContext;
use crate::fields::{Email, Name};
use crate::hash::PasswordHash;
use crate::idempotency::ReplaySecrets;
use crate::issue::BoxError;
use crate::mail::Code;
use crate::random::SecureRandom;
use crate::secret::Secret;

use super::seal::{Purpose, TicketSecrets, code_tag};

/// The length of a content: email and name of 256 characters of four bytes each, the
/// email's key, a PHC string of 256 bytes and the context fit in, with the names of the
/// fields.
const PURPOSE: Purpose =
    Purpose { prefix: "sut_", name: b"signup 1: ticket of a sign-up", padded: 4096 };
const CODE: &[u8] = b"signup 1: code of a ticket";
/// The maximum length of the attached values, as JSON in bytes.
const CONTEXT_BYTES: usize = 512;

/// The content of a ticket.
pub(crate) struct Ticket {
    /// Of this ticket and all that are sent again for it.
    pub(crate) number: [u8; 16],
    pub(crate) email: Email,
    pub(crate) name: Option<Name>,
    pub(crate) password_hash: PasswordHash,
    pub(crate) context: SignupContext,
    pub(crate) expires_at: Timestamp,
    /// Whether the address had an account: then no code is valid.
    pub(crate) is_taken: bool,
    /// The version of the secret by which it was sealed.
    pub(crate) version: u32,
    code_tag: [u8; 32],
}

/// The parts of a ticket that a sign-up has before there is one.
pub(crate) struct NewTicket {
    pub(crate) number: [u8; 16],
    pub(crate) email: Email,
    pub(crate) name: Option<Name>,
    pub(crate) password_hash: PasswordHash,
    pub(crate) context: SignupContext,
    pub(crate) expires_at: Timestamp,
    pub(crate) is_taken: bool,
}

/// A ticket as JSON: short names, for it is padded to one length.
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    n: [u8; 16],
    e: Cow<'a, str>,
    k: Cow<'a, str>,
    d: Option<Cow<'a, str>>,
    h: Cow<'a, str>,
    p: Option<u32>,
    c: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    x: i64,
    t: bool,
    m: [u8; 32],
}

impl Ticket {
    /// Creates a ticket whose code is another one.
    ///
    /// # Errors
    /// Fails if the secret can't derive a key.
    pub(crate) fn new(
        new: NewTicket,
        code: &Code,
        secrets: &ReplaySecrets,
    ) -> Result<Self, BoxError> {
        let (version, key) = secrets.purpose(None, CODE).ok_or("no secret is current")?;
        let code_tag = code_tag(&key, &new.number, code)?;
        let NewTicket { number, email, name, password_hash, context, expires_at, is_taken } = new;
        Ok(Self {
            number,
            email,
            name,
            password_hash,
            context,
            expires_at,
            is_taken,
            version,
            code_tag,
        })
    }

    /// Returns whether this is the code of this ticket, in constant time.
    pub(crate) fn is_code(&self, code: &Code, secrets: &ReplaySecrets) -> Result<bool, BoxError> {
        let Some((_, key)) = secrets.purpose(Some(self.version), CODE) else {
            return Ok(false);
        };
        let tag = code_tag(&key, &self.number, code)?;
        Ok(tag.ct_eq(&self.code_tag).into())
    }

    /// Returns the hash of the number, by which a store knows that the ticket was used.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.number).into()
    }

    /// Seals the ticket. All tickets have one length.
    ///
    /// # Errors
    /// Fails if the policies have attached more than fits in, or without randomness.
    pub(crate) fn seal(
        &self,
        secrets: &TicketSecrets,
        random: &dyn SecureRandom,
    ) -> Result<Secret<String>, BoxError> {
        let values: BTreeMap<_, _> = self.context.values().collect();
        let context = serde_json::to_vec(&values)?.len();
        if context > CONTEXT_BYTES {
            let text = format!(
                "the policies have attached {context} bytes: at most {CONTEXT_BYTES} fit into a \
                 ticket"
            );
            return Err(text.into());
        }
        let wire = Wire {
            n: self.number,
            e: self.email.as_str().into(),
            k: self.email.key().as_str().into(),
            d: self.name.as_ref().map(|name| name.as_str().into()),
            h: self.password_hash.as_phc().into(),
            p: self.password_hash.pepper_version(),
            c: values.into_iter().map(|(name, json)| (name.into(), json.into())).collect(),
            x: self.expires_at.as_millis(),
            t: self.is_taken,
            m: self.code_tag,
        };
        PURPOSE.seal(&wire, self.version, secrets, random)
    }

    /// Opens a ticket; `None` for anything that was not sealed here, for this purpose, by a
    /// secret that is still accepted.
    pub(crate) fn open(ticket: &str, secrets: &TicketSecrets) -> Option<Self> {
        let (version, padded) = PURPOSE.open(ticket, secrets)?;
        let wire: Wire<'_> = serde_json::from_slice(&padded).ok()?;
        let context = wire.c.into_iter();
        let context = context.map(|(name, json)| (name.into_owned(), json.into_owned()));
        Some(Self {
            number: wire.n,
            email: Email::from_store(wire.e, wire.k),
            name: wire.d.map(Name::from_store),
            password_hash: PasswordHash::from_store(wire.h, wire.p),
            context: SignupContext::of_values(context),
            expires_at: Timestamp::from_millis(wire.x).ok()?,
            is_taken: wire.t,
            version,
            code_tag: wire.m,
        })
    }

    /// Takes the parts out, for a ticket with another code.
    pub(crate) fn into_new(self) -> NewTicket {
        let Self { number, email, name, password_hash, context, expires_at, is_taken, .. } = self;
        NewTicket { number, email, name, password_hash, context, expires_at, is_taken }
    }
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64UrlUnpadded, Encoding as _};

    use super::*;
    use crate::context::{Attached, ContextValue};
    use crate::fields::EmailProfile;
    use crate::idempotency::ReplaySecret;
    use crate::random::SystemRandom;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Tenant(String);

    impl ContextValue for Tenant {
        const NAME: &'static str = "tenant";
    }

    fn secrets(byte: u8) -> TicketSecrets {
        let secrets = ReplaySecrets::new(ReplaySecret::new(&[byte; 32]).unwrap());
        TicketSecrets::new(secrets, "signup", "dashboard")
    }

    fn code(text: &str) -> Code {
        Code::parse(text).unwrap()
    }

    fn new_ticket(email: &str, name: Option<&str>, tenant: usize) -> NewTicket {
        let mut context = SignupContext::default();
        context.attach(Attached::new(&Tenant("t".repeat(tenant))).unwrap());
        NewTicket {
            number: [7; 16],
            email: Email::parse(email, EmailProfile::Rfc5321).unwrap(),
            name: name.map(|name| Name::parse(name).unwrap()),
            password_hash: PasswordHash::from_store("$argon2id$v=19$m=19456,t=2,p=1$c2E$dGE", None),
            context,
            expires_at: Timestamp::from_millis(1_750_003_600_123).unwrap(),
            is_taken: false,
        }
    }

    fn sealed(new: NewTicket, secrets: &TicketSecrets) -> Secret<String> {
        let ticket = Ticket::new(new, &code("7HXW3K9P"), secrets).unwrap();
        ticket.seal(secrets, &SystemRandom).unwrap()
    }

    #[test]
    fn a_ticket_opens_to_what_was_sealed() {
        let secrets = secrets(1);
        let text = sealed(new_ticket("Kim@m\u{fc}nchen.de", Some(""), 3), &secrets);
        let ticket = Ticket::open(&text, &secrets).unwrap();
        assert_eq!(ticket.email.as_str(), "Kim@m\u{fc}nchen.de");
        assert_eq!(ticket.email.key().as_str(), "kim@xn--mnchen-3ya.de");
        assert_eq!(ticket.name.as_ref().map(Name::as_str), Some(""));
        assert_eq!(ticket.context.get::<Tenant>().unwrap(), Some(Tenant("ttt".into())));
        assert_eq!(ticket.expires_at.as_millis(), 1_750_003_600_123);
        assert_eq!((ticket.number, ticket.is_taken), ([7; 16], false));
        assert!(ticket.is_code(&code("7hxw-3k9p"), &secrets).unwrap());
        assert!(!ticket.is_code(&code("7HXW3K9Q"), &secrets).unwrap());
    }

    #[test]
    fn all_tickets_have_one_length_and_hold_the_longest_sign_up() {
        let secrets = secrets(1);
        let short = sealed(new_ticket("a@x.co", None, 0), &secrets);
        let long = "\u{1f600}".repeat(256);
        let quoted = "\"".repeat(256);
        let domain = format!("{}.{}.{}.co", "d".repeat(63), "d".repeat(63), "d".repeat(50));
        let email = format!("{}@{domain}", "l".repeat(64));
        for name in [&long, &quoted] {
            let mut new = new_ticket(&email, Some(name), 495);
            new.password_hash = PasswordHash::from_store("$".repeat(256), Some(u32::MAX));
            // No address of a profile is that long, with an A-label of its own.
            new.email = Email::from_store(long.clone(), "k".repeat(320));
            new.is_taken = true;
            assert_eq!(sealed(new, &secrets).len(), short.len());
        }
        let much = Ticket::new(new_ticket("a@x.co", None, 496), &code("7HXW3K9P"), &secrets);
        let error = much.unwrap().seal(&secrets, &SystemRandom).unwrap_err();
        assert!(error.to_string().contains("at most 512"), "{error}");
    }

    #[test]
    fn a_bit_that_is_flipped_anywhere_opens_nothing() {
        let secrets = secrets(1);
        let text = sealed(new_ticket("a@x.co", None, 0), &secrets);
        let sealed =
            Base64UrlUnpadded::decode_vec(text.strip_prefix(PURPOSE.prefix).unwrap()).unwrap();
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1 << (at % 8);
            let flipped = [PURPOSE.prefix, &Base64UrlUnpadded::encode_string(&flipped)].concat();
            assert!(Ticket::open(&flipped, &secrets).is_none(), "octet {at}");
        }
        for at in (0..text.len()).step_by(7).chain([text.len() - 1]) {
            assert!(Ticket::open(&text[..at], &secrets).is_none(), "cut at {at}");
        }
        for spoilt in [format!("{}A", *text), format!(" {}", *text), text.replace("sut_", "sux_")] {
            assert!(Ticket::open(&spoilt, &secrets).is_none());
        }
    }

    #[test]
    fn a_ticket_of_another_secret_or_purpose_opens_nothing() {
        let (one, other) = (secrets(1), secrets(2));
        let text = sealed(new_ticket("a@x.co", None, 0), &one);
        assert!(Ticket::open(&text, &other).is_none());
        let (version, content) = PURPOSE.open(&text, &one).unwrap();
        let content: serde_json::Value = serde_json::from_slice(&content).unwrap();
        for (name, opens) in [(PURPOSE.name, true), (b"signup 1: another", false)] {
            let purpose = Purpose { name, ..PURPOSE };
            let text = purpose.seal(&content, version, &one, &SystemRandom).unwrap();
            assert_eq!(Ticket::open(&text, &one).is_some(), opens);
        }
        // The old secret opens until it is retired.
        let old = ReplaySecret::new(&[1; 32]).unwrap().version();
        let new = ReplaySecret::new(&[3; 32]).unwrap();
        let promoted = new.version();
        one.accept(new).unwrap();
        one.promote(promoted).unwrap();
        let ticket = Ticket::open(&text, &one).unwrap();
        assert!(ticket.is_code(&code("7HXW3K9P"), &one).unwrap());
        one.retire(old).unwrap();
        assert!(Ticket::open(&text, &one).is_none());
        assert!(!ticket.is_code(&code("7HXW3K9P"), &one).unwrap());
    }
}
