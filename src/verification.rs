//! Proof of the address, before there is an account or after: see
//! [the guide](crate::guide::verification).
//!
//! A mail carries a code, which proves nothing alone. Before there is an account, it takes
//! the ticket that the sign-up was answered with; afterwards, the token or the password.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::fields::EmailKey;
use crate::idempotency::ReplaySecrets;
#[cfg(feature = "redis")]
use crate::issue::InvalidValue;
use crate::limit::ClientIp;
#[cfg(feature = "redis")]
use crate::limit::RedisTarget;
use crate::mail::{Mail, MailQueue, Place};
use crate::secret::Secret;

mod account_code;
mod account_ticket;
mod counters;
mod seal;
mod ticket;

pub(crate) use account_code::CodeOwner;
pub(crate) use account_ticket::{AccountTicket, TicketKind};
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

/// The proof of addresses, for [`verify_first`](crate::SignupServiceBuilder::verify_first)
/// or [`verify_after`](crate::SignupServiceBuilder::verify_after).
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
#[must_use]
pub struct Verification {
    pub(crate) secrets: ReplaySecrets,
    pub(crate) mails: MailQueue,
    pub(crate) lifetime: Duration,
    #[cfg(feature = "redis")]
    redis: Option<RedisTarget>,
    #[cfg(feature = "redis")]
    redis_deadline: Option<Duration>,
}

impl Verification {
    /// Creates a verification. Tickets are sealed, and codes and accounts are derived, by
    /// these secrets: the same for all instances, and none that signs tokens. They may be
    /// those of [`retry_safe`](crate::SignupServiceBuilder::retry_safe).
    pub fn new(secrets: impl Into<ReplaySecrets>, mails: MailQueue) -> Self {
        Self {
            secrets: secrets.into(),
            mails,
            lifetime: LIFETIME,
            #[cfg(feature = "redis")]
            redis: None,
            #[cfg(feature = "redis")]
            redis_deadline: None,
        }
    }

    /// Sets how long a code is valid, 24 hours at most. Default: an hour.
    pub fn code_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Keeps the counters of tries and mails in Redis, so that all instances with this URL
    /// and this secret, of 16 bytes or more, share them. Default: each instance counts in
    /// memory, and several allow as many times the limits.
    ///
    /// It connects lazily. While Redis does not answer in time, memory decides.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] for an invalid URL or a short secret.
    #[cfg(feature = "redis")]
    pub fn in_redis(self, url: &str, secret: &[u8]) -> Result<Self, InvalidValue> {
        Ok(Self { redis: Some(RedisTarget::new(url, secret)?), ..self })
    }

    /// Sets the time limit for a decision of Redis. Default: 50 ms.
    #[cfg(feature = "redis")]
    pub fn redis_deadline(self, deadline: Duration) -> Self {
        Self { redis_deadline: Some(deadline), ..self }
    }

    pub(crate) fn start(self, clock: Arc<dyn Clock>) -> Arc<Verifier> {
        let counters = Counters::new(
            clock,
            #[cfg(feature = "redis")]
            self.redis.map(|target| (target, self.redis_deadline)),
        );
        let Self { secrets, mails, lifetime, .. } = self;
        Arc::new(Verifier { secrets, mails, lifetime, counters })
    }
}

impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Verification");
        debug.field("mails", &self.mails).field("lifetime", &self.lifetime).finish_non_exhaustive()
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
    /// Takes one of the tries of a ticket or an account, and one of the address, if it is
    /// given. Both come back by [`was_right`](Self::was_right).
    ///
    /// # Errors
    /// Returns how long to wait, if none is left.
    pub(crate) async fn take_try(
        &self,
        owner: &[u8],
        email: Option<&EmailKey>,
    ) -> Result<(), Duration> {
        self.counters.take(Counted::Tries, &[owner], TRIES, self.lifetime).await?;
        let Some(email) = email else { return Ok(()) };
        let address = &[email.as_str().as_bytes()];
        let of_address = self.counters.take(Counted::WrongCodes, address, WRONG_CODES, HOUR).await;
        if of_address.is_err() {
            // The owner's tries are not used up by others.
            self.counters.give_back(Counted::Tries, &[owner]).await;
        }
        of_address
    }

    /// Gives back the try of a right code.
    pub(crate) async fn was_right(&self, owner: &[u8], email: Option<&EmailKey>) {
        self.counters.give_back(Counted::Tries, &[owner]).await;
        if let Some(email) = email {
            self.counters.give_back(Counted::WrongCodes, &[email.as_str().as_bytes()]).await;
        }
    }

    /// Sends a mail in the background, unless its address has got enough: in all, or because
    /// of this client.
    pub(crate) fn mail(self: &Arc<Self>, place: Place, mail: Mail, client: Option<ClientIp>) {
        let (verifier, address) = (Arc::clone(self), mail.to().key().clone());
        place.send_if(async move { verifier.may_mail(&address, client).await }, mail);
    }

    async fn may_mail(&self, address: &EmailKey, client: Option<ClientIp>) -> bool {
        let address = address.as_str().as_bytes();
        // A client without an address of its own is one of all such.
        let client = client.and_then(|client| client.address());
        let client = client.map(|address| address.to_string()).unwrap_or_default();
        let of_client = [address, client.as_bytes()];
        let counters = &self.counters;
        counters.take(Counted::MailsOfClient, &of_client, MAILS_OF_CLIENT, HOUR).await.is_ok()
            && counters.take(Counted::Mails, &[address], MAILS, HOUR).await.is_ok()
    }
}

/// A sign-up, or a reclaim, that waits for the proof of its address: the answer to it, which
/// holds all that is known of it, sealed.
pub struct PendingProof {
    ticket: Secret<String>,
    expires_at: Timestamp,
}

impl PendingProof {
    pub(crate) fn new(ticket: Secret<String>, expires_at: Timestamp) -> Self {
        Self { ticket, expires_at }
    }

    /// Returns the ticket, for the client that has asked for it, and nobody else.
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
impl fmt::Debug for PendingProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("PendingProof");
        debug.field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}
