//! The throttle: how often a password may be judged, by what its caller has.

use std::fmt;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::account::AccountId;
use crate::clock::{Clock, Timestamp};
use crate::counters::{CAPACITY, Counter, Counters, Kind, Rule};
use crate::error::SignupError;
use crate::fields::EmailKey;
use crate::idempotency::ReplaySecrets;
#[cfg(feature = "redis")]
use crate::issue::InvalidValue;
use crate::limit::ClientIp;
#[cfg(feature = "redis")]
use crate::limit::RedisTarget;
use crate::random::{Entropy, RandomError};

mod device;

pub use device::TrustedDevice;

/// The failures without a wait: for an address, and for it by one client.
const ADDRESS: Rule = Rule::Growing(20);
const CLIENT: Rule = Rule::Growing(5);
/// The failures without a wait, of a trusted device, and of all live tokens together.
const DEVICE: Rule = Rule::Growing(10);
const TOKEN: Rule = Rule::Growing(10);
/// The wrong passwords of the retries of one sign-up: a retry is answered for a day.
const RETRY: Rule = Rule::Window(10, Duration::from_hours(24));
/// The passwords of a ticket whose code is valid, which lives for a day at most.
#[cfg(feature = "verification")]
const TICKET: Rule = Rule::Window(10, Duration::from_hours(24));

/// The throttle of passwords, for
/// [`login_throttle`](crate::SignupServiceBuilder::login_throttle). Every call that verifies
/// an account's password asks it, before anything is hashed and whether or not the address
/// has an account.
///
/// | the caller has | counter | failures without a wait |
/// | --- | --- | --- |
/// | nothing | the address, by one client (an IPv6 /64 is one client) | 5 |
/// | nothing | the address, by all clients | 20 |
/// | the mark of a [`TrustedDevice`] | that mark | 10 |
/// | a live token | the account's tokens | 10 |
///
/// Each further failure waits twice as long as the one before, from a second up to an hour.
/// So at most 21 passwords of an address are judged at once, and 55 on the first day, however
/// many clients guess: less than the 100 in a row of NIST SP 800-63B-4 (section 3.2.2; OWASP
/// ASVS 5, 6.3.1). Strangers can delay the owner of an address, but not on a trusted device.
/// A success clears the failures of the address, and so does
/// [`Accounts::unlock`](crate::Accounts::unlock). Failures are forgotten a day after the last
/// one.
///
/// The counters have a fixed size. One that has to make room for others is not forgotten:
/// the counters that share its place start from it.
///
/// ```
/// use signup::credentials::LoginThrottle;
/// use signup::idempotency::ReplaySecret;
/// use signup::store::MemoryStore;
/// use signup::{SignupRequest, SignupService};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let service = SignupService::builder(MemoryStore::default())
///     .jwt_secret(&[7; 32])
///     .login_throttle(LoginThrottle::new(ReplaySecret::new(&[8; 32])?))
///     .build()?;
/// service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
///
/// let credentials = service.credentials();
/// let login = credentials.log_in("dev@example.com", "correct horse", None, None).await?;
/// // … as a cookie, for a year …
/// let cookie = login.trusted_device().unwrap().reveal().to_owned();
/// let again = credentials.log_in("dev@example.com", "correct horse", None, Some(&cookie)).await?;
/// assert_eq!(again.account_id(), login.account_id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use]
pub struct LoginThrottle {
    secrets: ReplaySecrets,
    capacity: usize,
    #[cfg(feature = "redis")]
    redis: Option<RedisTarget>,
    #[cfg(feature = "redis")]
    pub(crate) redis_deadline: Option<Duration>,
}

impl LoginThrottle {
    /// Creates a throttle that counts in the memory of the process. Marks of trusted devices
    /// are signed with these secrets, shared by all instances and not used to sign tokens.
    pub fn new(secrets: impl Into<ReplaySecrets>) -> Self {
        Self {
            secrets: secrets.into(),
            capacity: CAPACITY,
            #[cfg(feature = "redis")]
            redis: None,
            #[cfg(feature = "redis")]
            redis_deadline: None,
        }
    }

    /// Sets the number of counters of each kind in memory. Default: 100,000, which take 5 MiB
    /// for each kind in use.
    pub fn capacity(self, counters: usize) -> Self {
        Self { capacity: counters, ..self }
    }

    /// Keeps the counters in Redis, shared by all instances with this URL and this secret of
    /// at least 16 bytes.
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

    pub(crate) const fn secrets(&self) -> &ReplaySecrets {
        &self.secrets
    }

    /// Starts the throttle of a service. Without settings, only what needs no throttle of
    /// log-ins is counted: retries, and passwords next to a code.
    pub(crate) fn start(throttle: Option<Self>, clock: Arc<dyn Clock>) -> Arc<Throttle> {
        let capacity = throttle.as_ref().map_or(CAPACITY, |throttle| throttle.capacity);
        #[cfg(feature = "redis")]
        let redis = throttle.as_ref().and_then(|it| Some((it.redis.clone()?, it.redis_deadline)));
        let counters = Counters::new(
            clock,
            capacity,
            #[cfg(feature = "redis")]
            redis,
        );
        let secrets = throttle.map(|throttle| throttle.secrets);
        Arc::new(Throttle { counters: Arc::new(counters), secrets })
    }
}

impl fmt::Debug for LoginThrottle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginThrottle").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

/// A running throttle, which a service and its handles share.
pub(crate) struct Throttle {
    counters: Arc<Counters>,
    /// The secrets that sign marks; `None` if log-ins are not throttled.
    secrets: Option<ReplaySecrets>,
}

/// The credential that a caller has next to the password.
pub(crate) enum Caller<'a> {
    /// Nothing: anyone can ask.
    Stranger(&'a EmailKey, Option<ClientIp>),
    /// Nothing, and nothing is counted.
    Unthrottled,
    /// The mark of a trusted device.
    Device(&'a AccountId, &'a TrustedDevice),
    /// A live token.
    Token(&'a AccountId),
    /// The idempotency key of a sign-up: the tag of its row.
    Retry(&'a [u8]),
    /// A ticket and its code: the number of the ticket.
    #[cfg(feature = "verification")]
    Ticket(&'a [u8]),
}

impl<'a> Caller<'a> {
    /// Creates a caller at log-in who has no mark of a trusted device.
    pub(crate) const fn without_mark(
        is_throttled: bool,
        email: &'a EmailKey,
        client: Option<ClientIp>,
    ) -> Self {
        if is_throttled { Self::Stranger(email, client) } else { Self::Unthrottled }
    }
}

impl Throttle {
    /// Charges a password to the caller.
    ///
    /// # Errors
    /// Returns [`SignupError::Busy`] with the time to wait. Nothing is charged then.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        caller: &Caller<'_>,
    ) -> Result<Attempt, SignupError> {
        let counters = self.counters_of(caller);
        if !counters.is_empty() {
            let charged = self.counters.charge(&counters).await;
            charged.map_err(|retry_after| SignupError::Busy { retry_after })?;
        }
        let clears = !matches!(counters.first(), Some(first) if first.is_window());
        let begun = Arc::new(AtomicBool::new(false));
        Ok(Attempt { counters, clears, begun, throttle: Arc::clone(self) })
    }

    /// Returns whether log-ins are throttled.
    pub(crate) const fn is_on(&self) -> bool {
        self.secrets.is_some()
    }

    fn counters_of(&self, caller: &Caller<'_>) -> Vec<Counter> {
        match caller {
            Caller::Unthrottled => Vec::new(),
            Caller::Retry(tag) => vec![Counter::new(Kind::Retry, &[tag], RETRY)],
            #[cfg(feature = "verification")]
            Caller::Ticket(number) => vec![Counter::new(Kind::Ticket, &[number], TICKET)],
            Caller::Stranger(email, client) => {
                let email = email.as_str().as_bytes();
                let of_client = client
                    .map(|client| Counter::new(Kind::Client, &[email, &client.network()], CLIENT));
                // The address is first: it bounds its clients.
                let of_address = Counter::new(Kind::Address, &[email], ADDRESS);
                iter::once(of_address).chain(of_client).collect()
            }
            Caller::Device(account, device) => {
                let owner = [account.as_str().as_bytes(), device.number()];
                vec![Counter::new(Kind::Device, &owner, DEVICE)]
            }
            Caller::Token(_) if !self.is_on() => Vec::new(),
            Caller::Token(account) => {
                vec![Counter::new(Kind::Token, &[account.as_str().as_bytes()], TOKEN)]
            }
        }
    }

    /// Ends the waits of an account, for strangers and tokens alike.
    pub(crate) async fn unlock(&self, account: &AccountId, email: &EmailKey) {
        // The address's counter bounds the counters of its clients.
        for caller in [Caller::Stranger(email, None), Caller::Token(account)] {
            let counters = self.counters_of(&caller);
            if !counters.is_empty() {
                self.counters.reset(&counters).await;
            }
        }
    }

    /// Parses the mark of a device.
    pub(crate) fn device(
        &self,
        mark: Option<&str>,
        account: &AccountId,
        generation: i64,
    ) -> Option<TrustedDevice> {
        let device = TrustedDevice::parse(mark?, account, self.secrets.as_ref()?)?;
        device.is_of(generation).then_some(device)
    }

    /// Parses the mark of a device for mails with codes.
    #[cfg(feature = "verification")]
    pub(crate) fn device_for_mails(
        &self,
        mark: Option<&str>,
        account: &AccountId,
        generation: i64,
        now: Timestamp,
    ) -> Option<TrustedDevice> {
        let device = TrustedDevice::parse(mark?, account, self.secrets.as_ref()?)?;
        device.counts_for_mails(generation, now).then_some(device)
    }

    /// Signs a mark of the present generation, with the number of an earlier one; `None` if
    /// log-ins are not throttled.
    ///
    /// # Errors
    /// Fails without randomness.
    pub(crate) fn mark(
        &self,
        account: &AccountId,
        generation: i64,
        before: Option<TrustedDevice>,
        now: Timestamp,
        draw: &mut Entropy,
    ) -> Result<Option<TrustedDevice>, RandomError> {
        let sign = |secrets| TrustedDevice::new(account, generation, before, now, draw, secrets);
        self.secrets.as_ref().map(sign).transpose()
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

/// A password that is being judged. It counts as wrong unless it [succeeds](Self::succeeded);
/// if it is dropped before its hash has begun, it is refunded.
#[must_use]
pub(crate) struct Attempt {
    counters: Vec<Counter>,
    /// Whether a success clears the counters. Otherwise it takes its own charge back.
    clears: bool,
    begun: Arc<AtomicBool>,
    throttle: Arc<Throttle>,
}

impl Attempt {
    /// Returns what is set when the hash of the password begins.
    pub(crate) fn begun(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.begun)
    }

    /// Records that the hash failed, so that the password was not judged.
    pub(crate) fn has_failed(&self) {
        self.begun.store(false, Ordering::SeqCst);
    }

    /// Clears the failures: the password was right.
    pub(crate) async fn succeeded(self) {
        self.begun.store(true, Ordering::SeqCst);
        if self.counters.is_empty() {
            return;
        }
        if self.clears {
            self.throttle.counters.reset(&self.counters).await;
        } else {
            self.throttle.counters.refund(&self.counters).await;
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.counters.is_empty() && !self.begun.load(Ordering::SeqCst) {
            self.throttle.counters.refund_later(std::mem::take(&mut self.counters));
        }
    }
}

/// Computes a tag over parts, each with its length.
fn tag(key: &[u8; 32], parts: &[&[u8]]) -> Option<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    Some(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_guessing_is_55_hashes() {
        let (mut now, mut guesses) = (Duration::ZERO, 0);
        while now < Duration::from_hours(24) {
            guesses += 1;
            now += ADDRESS.wait(guesses);
        }
        assert_eq!(guesses, 55);
    }
}
