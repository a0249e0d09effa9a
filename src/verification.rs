//! Proof of the address before there is an account: see
//! [the guide](crate::guide::verification).
//!
//! A sign-up is answered 202 with a sealed ticket, and nothing is stored; a mail carries a
//! code. Ticket and code together make the account: who has only one of them makes nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::fields::EmailKey;
use crate::idempotency::ReplaySecrets;
use crate::limit::ClientIp;
use crate::mail::MailQueue;
use crate::secret::Secret;

mod counters;
mod ticket;

use counters::{Counted, Counters};
pub(crate) use ticket::{NewTicket, Ticket};

/// The default life of a code.
const LIFETIME: Duration = Duration::from_hours(1);
/// The longest life of a code that is mailed (NIST SP 800-63B-4, section 4.2.1.2).
pub(crate) const MAX_LIFETIME: Duration = Duration::from_hours(24);
/// The tries of a ticket, and of all that are sent again for it.
const TRIES: u32 = 10;
/// The wrong codes for an address, in an hour.
const WRONG_CODES: u32 = 50;
/// The mails to an address in an hour: all, and those that one client has caused.
const MAILS: u32 = 10;
const MAILS_OF_CLIENT: u32 = 3;
const HOUR: Duration = Duration::from_hours(1);

/// The proof of addresses before sign-ups are stored, for
/// [`verify_first`](crate::SignupServiceBuilder::verify_first).
///
/// The counters of tries and mails are in the memory of the process: several instances have
/// as many times the limits.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use signup::idempotency::ReplaySecret;
/// use signup::mail::{MailQueue, MemoryMailer};
/// use signup::verification::Verification;
///
/// let mails = MailQueue::new(Arc::new(MemoryMailer::default()));
/// let secret = ReplaySecret::new(b"0123456789abcdef0123456789abcdef").unwrap();
/// let verification = Verification::new(secret, mails).code_lifetime(Duration::from_mins(15));
/// ```
#[derive(Debug)]
#[must_use]
pub struct Verification {
    pub(crate) secrets: ReplaySecrets,
    pub(crate) mails: MailQueue,
    pub(crate) lifetime: Duration,
}

impl Verification {
    /// Creates a verification. Tickets are sealed, and accounts are derived, by these
    /// secrets: the same for all instances, and none that signs tokens. They may be those
    /// of [`retry_safe`](crate::SignupServiceBuilder::retry_safe).
    pub fn new(secrets: impl Into<ReplaySecrets>, mails: MailQueue) -> Self {
        Self { secrets: secrets.into(), mails, lifetime: LIFETIME }
    }

    /// Sets how long a code is valid, 24 hours at most. Default: an hour.
    pub fn code_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    pub(crate) fn start(self, clock: Arc<dyn Clock>) -> Verifier {
        let Self { secrets, mails, lifetime } = self;
        Verifier { secrets, mails, lifetime, counters: Counters::new(clock) }
    }
}

/// A running verification.
pub(crate) struct Verifier {
    pub(crate) secrets: ReplaySecrets,
    pub(crate) mails: MailQueue,
    pub(crate) lifetime: Duration,
    counters: Counters,
}

impl Verifier {
    /// Takes one of the tries of a ticket, and checks those of its address. Both come back
    /// by [`was_right`](Self::was_right).
    ///
    /// # Errors
    /// Returns how long to wait, if none is left.
    pub(crate) fn take_try(&self, ticket: &Ticket) -> Result<(), Duration> {
        let [number, address] = owners(ticket);
        self.counters.take(Counted::Tries, &[number], TRIES, self.lifetime)?;
        let address = self.counters.take(Counted::WrongCodes, &[address], WRONG_CODES, HOUR);
        if address.is_err() {
            // The ticket's own tries are not used up by others.
            self.counters.give_back(Counted::Tries, &[number]);
        }
        address
    }

    /// Gives back the try of a right code.
    pub(crate) fn was_right(&self, ticket: &Ticket) {
        let [number, address] = owners(ticket);
        self.counters.give_back(Counted::Tries, &[number]);
        self.counters.give_back(Counted::WrongCodes, &[address]);
    }

    /// Returns whether another mail may go to this address because of this client.
    pub(crate) fn may_mail(&self, address: &EmailKey, client: Option<ClientIp>) -> bool {
        let address = address.as_str().as_bytes();
        // A client without an address of its own is one of all such.
        let client = client.and_then(|client| client.address());
        let client = client.map(|address| address.to_string()).unwrap_or_default();
        let of_client = [address, client.as_bytes()];
        let counters = &self.counters;
        counters.take(Counted::MailsOfClient, &of_client, MAILS_OF_CLIENT, HOUR).is_ok()
            && counters.take(Counted::Mails, &[address], MAILS, HOUR).is_ok()
    }
}

fn owners(ticket: &Ticket) -> [&[u8]; 2] {
    [&ticket.number, ticket.email.key().as_str().as_bytes()]
}

/// A sign-up that waits for the proof of its address: the answer to it, which holds all
/// that is known of it, sealed.
pub struct PendingSignup {
    ticket: Secret<String>,
    expires_at: Timestamp,
}

impl PendingSignup {
    pub(crate) fn new(ticket: Secret<String>, expires_at: Timestamp) -> Self {
        Self { ticket, expires_at }
    }

    /// Returns the ticket, for the client that has signed up, and nobody else.
    pub fn reveal_ticket(&self) -> &str {
        &self.ticket
    }

    /// Returns when ticket and code expire.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns the documented JSON of the 202. No character in it needs an escape.
    pub fn reveal_json(&self) -> Vec<u8> {
        let (ticket, expires_at) = (self.reveal_ticket(), self.expires_at.to_rfc_3339());
        let json = [r#"{"data":{"ticket":""#, ticket, r#"","expires_at":""#, &expires_at, r#""}}"#];
        json.concat().into_bytes()
    }
}

/// Without the ticket.
impl fmt::Debug for PendingSignup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("PendingSignup");
        debug.field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}
