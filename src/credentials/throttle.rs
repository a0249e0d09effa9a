//! Throttling of log-ins: waits that grow with the failures, and spare the owner.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::account::AccountId;
use crate::clock::Clock;
use crate::fields::EmailKey;
use crate::idempotency::ReplaySecrets;
#[cfg(feature = "redis")]
use crate::issue::InvalidValue;
use crate::limit::ClientIp;
#[cfg(feature = "redis")]
use crate::limit::RedisTarget;

mod known;
mod memory;
#[cfg(feature = "redis")]
mod redis;

pub use known::KnownClient;
use memory::Memory;
#[cfg(feature = "redis")]
use redis::Shared;

/// The failures that cost no wait: of one client for an address, of all clients for it, and
/// of a client that its owner has used before.
const FREE_OF_CLIENT: u32 = 5;
const FREE_OF_ADDRESS: u32 = 20;
const FREE_OF_KNOWN: u32 = 10;
/// The longest wait between two tries.
const MAX_WAIT: Duration = Duration::from_hours(1);
/// The time without a failure after which all are forgotten.
const MEMORY: Duration = Duration::from_hours(24);

/// The throttle of log-ins, for
/// [`with_throttle`](super::Credentials::with_throttle). Failures are counted before
/// anything is hashed, whether or not the address has an account.
///
/// | failures counted for | without a wait | then each waits |
/// | --- | --- | --- |
/// | an address, by one client (an IPv6 /64 is one) | 5 | twice as long as the one before, from a second up to an hour |
/// | an address, by all clients | 20 | likewise |
/// | an account, by a client that its owner has used before | 10 | likewise, and no other count applies |
///
/// So an address meets 21 guesses at once, and 55 on the first day, however many clients
/// guess: less than the 100 in a row of NIST SP 800-63B-4 (section 3.2.2; OWASP ASVS 5,
/// 6.3.1). A stranger can make the owner of an address wait, but not one who comes with a
/// [`KnownClient`]. A success forgets the failures of the address. Failures are forgotten a
/// day after the last one.
///
/// ```
/// use signup::credentials::LoginThrottle;
/// use signup::idempotency::ReplaySecret;
/// use signup::store::MemoryStore;
/// use signup::{SignupRequest, SignupService};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let service =
///     SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]).build()?;
/// service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
/// let throttle = LoginThrottle::new(ReplaySecret::new(&[8; 32])?);
/// let credentials = service.credentials().with_throttle(throttle);
///
/// let login = credentials.log_in("dev@example.com", "correct horse", None, None).await?;
/// // … as a cookie, for a year …
/// let cookie = login.known_client().unwrap().reveal().to_owned();
/// let again = credentials.log_in("dev@example.com", "correct horse", None, Some(&cookie)).await?;
/// assert_eq!(again.account_id(), login.account_id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use]
pub struct LoginThrottle {
    secrets: ReplaySecrets,
    #[cfg(feature = "redis")]
    redis: Option<RedisTarget>,
    #[cfg(feature = "redis")]
    redis_deadline: Option<Duration>,
}

impl LoginThrottle {
    /// Creates a throttle whose counts are in the memory of the process. Known clients are
    /// signed by these secrets: the same for all instances, and none that signs tokens. They
    /// may be those of [`retry_safe`](crate::SignupServiceBuilder::retry_safe).
    pub fn new(secrets: impl Into<ReplaySecrets>) -> Self {
        Self {
            secrets: secrets.into(),
            #[cfg(feature = "redis")]
            redis: None,
            #[cfg(feature = "redis")]
            redis_deadline: None,
        }
    }

    /// Keeps the counts in Redis, so that all instances with this URL and this secret, of 16
    /// bytes or more, share them.
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

    pub(super) fn start(self, clock: Arc<dyn Clock>) -> Throttle {
        Throttle {
            secrets: self.secrets,
            #[cfg(feature = "redis")]
            shared: self
                .redis
                .map(|target| Shared::new(target, Arc::clone(&clock), self.redis_deadline)),
            memory: Memory::new(clock),
        }
    }
}

impl fmt::Debug for LoginThrottle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginThrottle").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

/// A running throttle.
pub(super) struct Throttle {
    pub(super) secrets: ReplaySecrets,
    #[cfg(feature = "redis")]
    shared: Option<Shared>,
    memory: Memory,
}

/// The hash of what is counted: addresses are not kept.
type Key = [u8; 32];

/// A count of failures, and how many of them cost no wait.
#[derive(Debug, Clone, Copy)]
struct Count {
    key: Key,
    free: u32,
}

/// The counts of a try.
pub(super) struct Counts(Vec<Count>);

impl Counts {
    /// Returns the counts of a try by somebody who is not known.
    pub(super) fn of_stranger(email: &EmailKey, client: Option<ClientIp>) -> Self {
        let email = email.as_str().as_bytes();
        let of_address = Count { key: key(&[b"address", email]), free: FREE_OF_ADDRESS };
        let network = client.unwrap_or_default().network();
        let of_client = [b"client".as_slice(), email, &network];
        // A host that knows no client has the one count.
        let of_client = client.map(|_| Count { key: key(&of_client), free: FREE_OF_CLIENT });
        Self([of_address].into_iter().chain(of_client).collect())
    }

    /// Returns the count of a try by a client that the account's owner has used before.
    pub(super) fn of_known(account: &AccountId, known: &KnownClient) -> Self {
        let key = key(&[b"known", account.as_str().as_bytes(), known.number()]);
        Self(vec![Count { key, free: FREE_OF_KNOWN }])
    }
}

impl Throttle {
    /// Counts a try as a failure, which it is until it [succeeds](Self::succeeded).
    ///
    /// # Errors
    /// Returns how long to wait. Nothing is counted then.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_async, reason = "Redis is awaited"))]
    pub(super) async fn try_now(&self, Counts(counts): &Counts) -> Result<(), Duration> {
        let here = self.memory.try_now(counts);
        #[cfg(feature = "redis")]
        if let Some(shared) = &self.shared
            && let Some(decided) = shared.try_now(counts).await
        {
            return decided;
        }
        here
    }

    /// Takes back a try that was not judged, because hashing failed.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_async, reason = "Redis is awaited"))]
    pub(super) async fn take_back(&self, Counts(counts): &Counts) {
        self.memory.take_back(counts);
        #[cfg(feature = "redis")]
        if let Some(shared) = &self.shared {
            shared.take_back(counts).await;
        }
    }

    /// Forgets the failures.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_async, reason = "Redis is awaited"))]
    pub(super) async fn succeeded(&self, Counts(counts): &Counts) {
        self.memory.forget(counts);
        #[cfg(feature = "redis")]
        if let Some(shared) = &self.shared {
            shared.forget(counts).await;
        }
    }
}

/// Returns the wait after this many failures.
fn wait(failures: u32, free: u32) -> Duration {
    match failures.checked_sub(free + 1) {
        None => Duration::ZERO,
        Some(doublings) => {
            let seconds = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
            Duration::from_secs(seconds).min(MAX_WAIT)
        }
    }
}

fn key(parts: &[&[u8]]) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
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
    fn waits_double_from_a_second_up_to_an_hour() {
        let seconds = |failures| wait(failures, 5).as_secs();
        assert_eq!(
            [1, 5, 6, 7, 8, 17, 18, 1000, u32::MAX].map(seconds),
            [0, 0, 1, 2, 4, 2048, 3600, 3600, 3600]
        );
    }

    #[test]
    fn a_day_of_guessing_is_55_hashes() {
        let (mut now, mut guesses) = (Duration::ZERO, 0);
        while now < Duration::from_hours(24) {
            guesses += 1;
            now += wait(guesses, FREE_OF_ADDRESS);
        }
        assert_eq!(guesses, 55);
    }
}
