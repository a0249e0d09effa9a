//! Email verification, before an account is stored or after: see
//! [the guide](crate::guide::verification).
//!
//! A mail carries a code, which is not enough alone. Before the account is stored, it also takes
//! the ticket that the sign-up was answered with; afterwards, the token or the password.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::account::AccountId;
use crate::clock::{Clock, Timestamp};
use crate::counters::{CAPACITY, Counter, Counters, Kind, Rule};
use crate::fields::EmailKey;
use crate::idempotency::ReplaySecrets;
#[cfg(feature = "redis")]
use crate::issue::InvalidValue;
use crate::limit::ClientIp;
#[cfg(feature = "redis")]
use crate::limit::RedisTarget;
use crate::mail::{Mail, MailPermit, MailQueue};
use crate::observe;
use crate::secret::Secret;

mod account_code;
mod account_ticket;
mod joined;
mod seal;
mod ticket;

pub(crate) use account_code::CodeOwner;
pub(crate) use account_ticket::{AccountTicket, BoundAccount, TicketKind};
use joined::Joined;
pub(crate) use seal::TicketSecrets;
pub(crate) use ticket::{NewTicket, Ticket};

/// The default life of a code.
const LIFETIME: Duration = Duration::from_hours(1);
/// The longest life of a code that is mailed (NIST SP 800-63B-4, section 4.2.1.2).
pub(crate) const MAX_LIFETIME: Duration = Duration::from_hours(24);
/// The wrong codes of a ticket, and of all that are sent again for it.
const TRIES: u32 = 10;
/// The mails to an address in an hour: all, and those that one client asks for.
const MAILS: Rule = Rule::Window(10, HOUR);
const MAILS_OF_CLIENT: Rule = Rule::Window(3, HOUR);
/// The further mails for each trusted device of the account, and for all of them.
const MAILS_OF_DEVICE: Rule = Rule::Window(3, HOUR);
const MAILS_OF_DEVICES: Rule = Rule::Window(9, HOUR);
const HOUR: Duration = Duration::from_hours(1);

/// The settings of mailed codes, for
/// [`verify_first`](crate::SignupServiceBuilder::verify_first),
/// [`verify_after`](crate::SignupServiceBuilder::verify_after) and
/// [`mails`](crate::SignupServiceBuilder::mails).
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use signup::idempotency::ReplaySecret;
/// use signup::mail::{MailQueue, MemoryMailer};
/// use signup::verification::EmailCodes;
///
/// let mails = MailQueue::new(Arc::new(MemoryMailer::default()));
/// let secret = ReplaySecret::new(b"0123456789abcdef0123456789abcdef").unwrap();
/// let codes = EmailCodes::new(secret, mails).code_lifetime(Duration::from_mins(15));
/// ```
#[must_use]
pub struct EmailCodes {
    pub(crate) secrets: ReplaySecrets,
    pub(crate) mails: MailQueue,
    pub(crate) lifetime: Duration,
    #[cfg(feature = "redis")]
    redis: Option<RedisTarget>,
    #[cfg(feature = "redis")]
    pub(crate) redis_deadline: Option<Duration>,
}

impl EmailCodes {
    /// Creates settings for codes that these mails carry. Tickets are sealed, and codes and
    /// accounts are derived, with these secrets, shared by all instances and not used to sign
    /// tokens. [`retry_safe`](crate::SignupServiceBuilder::retry_safe) may share them.
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

    /// Keeps the counters of codes and mails in Redis, shared by all instances with this URL
    /// and this secret of at least 16 bytes. Default: each instance counts in memory, so n
    /// instances allow n times the limits.
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

    pub(crate) fn start(
        self,
        clock: Arc<dyn Clock>,
        issuer: &str,
        audience: &str,
    ) -> Arc<Verifier> {
        let joined = Joined::new(Arc::clone(&clock));
        let counters = Counters::new(
            clock,
            CAPACITY,
            #[cfg(feature = "redis")]
            self.redis.map(|target| (target, self.redis_deadline)),
        );
        let Self { secrets, mails, lifetime, .. } = self;
        let secrets = TicketSecrets::new(secrets, issuer, audience);
        Arc::new(Verifier { secrets, mails, lifetime, counters, joined })
    }
}

impl fmt::Debug for EmailCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("EmailCodes");
        debug.field("mails", &self.mails).field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// The part of a running service that mails codes and counts them.
pub(crate) struct Verifier {
    pub(crate) secrets: TicketSecrets,
    pub(crate) mails: MailQueue,
    pub(crate) lifetime: Duration,
    counters: Counters,
    joined: Joined,
}

impl Verifier {
    /// Sends a mail, unless it has no code and one of its kind went to the address within the
    /// hour: then it is joined into the next one.
    pub(crate) fn send(&self, permit: MailPermit, mail: Mail) {
        if let Some(mail) = self.joined.join(mail) {
            permit.send(mail);
        }
    }

    /// Charges a try of a code to its ticket or account: the owner of a name. A matching
    /// code gets it [refunded](Self::refund_try).
    ///
    /// # Errors
    /// Returns how long to wait if no try is left.
    pub(crate) async fn charge_try(&self, owner: &[u8]) -> Result<(), Duration> {
        self.counters.charge(&[self.tries(owner)]).await
    }

    pub(crate) async fn refund_try(&self, owner: &[u8]) {
        self.counters.refund(&[self.tries(owner)]).await;
    }

    fn tries(&self, owner: &[u8]) -> Counter {
        Counter::new(Kind::Code, &[owner], Rule::Sliding(TRIES, self.lifetime))
    }

    /// Charges a mail to its address, and to the client that asks for it. Returns whether it
    /// may be sent: the address may have got enough.
    ///
    /// # Errors
    /// Returns how long to wait if this client has asked for too many mails to this address,
    /// which depends on nothing else.
    pub(crate) async fn charge_mail(
        &self,
        address: &EmailKey,
        client: Option<ClientIp>,
    ) -> Result<bool, Duration> {
        let address = address.as_str().as_bytes();
        if let Some(client) = client {
            let owner = [address, &client.network()];
            let of_client = Counter::new(Kind::MailOfClient, &owner, MAILS_OF_CLIENT);
            self.counters.charge(&[of_client]).await?;
        }
        let may_go = self.counters.charge(&[Counter::new(Kind::Mail, &[address], MAILS)]).await;
        if may_go.is_err() {
            observe::mail("withheld");
        }
        Ok(may_go.is_ok())
    }

    /// Charges a further mail to a trusted device of the account, by its number. Returns whether
    /// it may be sent.
    pub(crate) async fn charge_mail_of_device(&self, account: &AccountId, device: &[u8]) -> bool {
        let account = account.as_str().as_bytes();
        let of_device = Counter::new(Kind::MailOfDevice, &[account, device], MAILS_OF_DEVICE);
        let of_all = Counter::new(Kind::MailOfDevices, &[account], MAILS_OF_DEVICES);
        self.counters.charge(&[of_device]).await.is_ok()
            && self.counters.charge(&[of_all]).await.is_ok()
    }
}

/// The answer to a sign-up, or to a change of an account, that waits for its code: a sealed ticket
/// and its expiry.
pub struct PendingVerification {
    ticket: Secret<String>,
    expires_at: Timestamp,
}

impl PendingVerification {
    pub(crate) fn new(ticket: Secret<String>, expires_at: Timestamp) -> Self {
        Self { ticket, expires_at }
    }

    /// Returns the ticket, for the client that asked for it alone.
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

/// Omits the ticket.
impl fmt::Debug for PendingVerification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("PendingVerification");
        debug.field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}
