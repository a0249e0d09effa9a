//! Limits of how often a client may come, and how often an email may be tried.
//!
//! Off by default; [`rate_limits`](crate::SignupServiceBuilder::rate_limits) turns
//! them on:
//!
//! ```
//! use signup::SignupService;
//! use signup::limit::RateLimits;
//! use signup::store::MemoryStore;
//!
//! let limits = RateLimits::per_client("20/min".parse().unwrap())
//!     .per_email("10/h".parse().unwrap());
//! let service = SignupService::builder(MemoryStore::default())
//!     .jwt_secret(&[7; 32])
//!     .rate_limits(limits)
//!     .build();
//! assert!(service.is_ok());
//! ```
//!
//! # What counts
//! | bucket | what takes from it | what is asked of it |
//! | --- | --- | --- |
//! | the client's requests, five times its sign-ups by default | every request that the endpoint gets, 400s too | at the head, before the body is read |
//! | the client's sign-ups | a request whose fields are all good, whatever comes of it: 201, 409, 503 | at the head, where it decides alone; and again, atomically, when the fields are known to be good |
//! | the email's | the same, by its key in whatever spelling: so it counts the 409s | with the one before |
//!
//! A refusal takes nothing. It comes before the store is asked and before anything
//! is hashed. A client is an IPv4 address or an IPv6 /64; without an address (a Unix
//! socket, or axum's `serve` without `ConnectInfo`) all are one client.
//!
//! An address or an email is never kept, but a keyed hash of it: of an email, and of
//! both in Redis, an HMAC.

use std::fmt;
use std::future::{Ready, ready};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::clock::{Clock, SystemClock};
use crate::fields::EmailKey;
#[cfg(feature = "redis")]
use crate::observe;
use crate::random::{OsRandom, RandomError, Randomness};

mod local;
mod quota;
#[cfg(feature = "redis")]
mod redis;

use local::Local;
pub use quota::{Quota, QuotaError};
#[cfg(feature = "redis")]
use redis::{Shared, Turn};

/// How many buckets are kept in memory by default.
const CAPACITY: usize = 100_000;
/// The least octets of a secret that several instances share.
#[cfg(feature = "redis")]
const MIN_SECRET_BYTES: usize = 16;
/// How long Redis may take for a decision, by default.
#[cfg(feature = "redis")]
const REDIS_DEADLINE: Duration = Duration::from_millis(50);
/// How many requests a client has for each sign-up, by default.
const REQUESTS: u32 = 5;

/// Which limits there are, and where their buckets are kept.
#[derive(Clone)]
#[must_use]
pub struct RateLimits {
    client: Quota,
    requests: Quota,
    email: Option<Quota>,
    capacity: usize,
    #[cfg(feature = "redis")]
    redis: Option<(::redis::Client, Zeroizing<Vec<u8>>)>,
    #[cfg(feature = "redis")]
    redis_deadline: Duration,
}

impl RateLimits {
    /// So many sign-ups for each client, and five times as many requests.
    pub const fn per_client(quota: Quota) -> Self {
        Self {
            client: quota,
            requests: quota.times(REQUESTS),
            email: None,
            capacity: CAPACITY,
            #[cfg(feature = "redis")]
            redis: None,
            #[cfg(feature = "redis")]
            redis_deadline: REDIS_DEADLINE,
        }
    }

    /// So many sign-ups for each email. Default: no limit.
    pub fn per_email(self, quota: Quota) -> Self {
        Self { email: Some(quota), ..self }
    }

    /// So many requests of any kind for each client.
    pub fn requests(self, quota: Quota) -> Self {
        Self { requests: quota, ..self }
    }

    /// How many buckets are kept in memory, which take some 50 octets each from the
    /// start. Default: 100,000. Where more are in use at one time, the one that was
    /// used least is forgotten for each new one: its client starts afresh.
    pub fn capacity(self, buckets: usize) -> Self {
        Self { capacity: buckets, ..self }
    }

    /// Keeps the buckets in Redis, so that all instances with this URL and this
    /// secret share one quota: `redis://…`, or `rediss://…` with one of the TLS
    /// features. The names of clients and emails are keyed with the secret, of 16
    /// octets or more.
    ///
    /// Nothing is connected yet. Where Redis does not answer in time, the buckets in
    /// memory decide, which know what this instance has let through, and Redis is
    /// asked again after a second. The runtime is tokio's.
    ///
    /// # Errors
    /// The URL is none of Redis', or the secret is short.
    #[cfg(feature = "redis")]
    pub fn in_redis(self, url: &str, secret: &[u8]) -> Result<Self, RedisSetupError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(RedisSetupError::ShortSecret);
        }
        // Its error may quote the URL, and a password with it.
        let client = redis::client(url).map_err(|_| RedisSetupError::Url)?;
        Ok(Self { redis: Some((client, Zeroizing::new(secret.to_owned()))), ..self })
    }

    /// How long Redis may take for a decision. Default: 50 ms.
    #[cfg(feature = "redis")]
    pub fn redis_deadline(self, deadline: Duration) -> Self {
        Self { redis_deadline: deadline, ..self }
    }
}

impl fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimits")
            .field("client", &self.client)
            .field("requests", &self.requests)
            .field("email", &self.email)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// Why limits can't be kept in Redis.
#[cfg(feature = "redis")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisSetupError {
    /// The URL can't be read, or asks for TLS, which no feature has brought.
    #[error("the URL of Redis can't be read; rediss:// needs the feature tls-rustls or tls-native")]
    Url,
    /// The secret has fewer than 16 octets.
    #[error("the secret of the rate limits needs 16 bytes or more")]
    ShortSecret,
}

/// Who sends a request, as far as limits and policies are concerned.
///
/// ```
/// use signup::limit::Client;
///
/// let mapped = Client::from("::ffff:192.0.2.1".parse::<std::net::IpAddr>().unwrap());
/// assert_eq!(mapped, Client::from("192.0.2.1".parse::<std::net::IpAddr>().unwrap()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Client(Option<IpAddr>);

impl Client {
    /// A client without an address. All of these are one.
    pub const UNKNOWN: Self = Self(None);

    /// Its address; an IPv4 address that is mapped into IPv6 as itself.
    pub fn address(&self) -> Option<IpAddr> {
        self.0
    }

    /// What it shares its buckets by: an IPv6 address has 2⁶⁴ neighbours that are
    /// one customer's.
    fn network(self) -> [u8; 16] {
        match self.0 {
            None => [0; 16],
            Some(IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
            Some(IpAddr::V6(address)) => {
                Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).octets()
            }
        }
    }
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self(Some(address.to_canonical()))
    }
}

impl From<Option<IpAddr>> for Client {
    fn from(address: Option<IpAddr>) -> Self {
        address.map_or(Self::UNKNOWN, Self::from)
    }
}

/// A client or an email has come too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("over the limit of {quota} by {policy}: wait {retry_after:?}")]
#[non_exhaustive]
pub struct RateLimited {
    /// Which limit it is: `requests`, `client` or `email`.
    pub policy: &'static str,
    /// What it allows.
    pub quota: Quota,
    /// When it allows one more.
    pub retry_after: Duration,
}

/// The limits at work. A service has its own; a host takes one for whatever else is
/// to be limited in the same way, such as log-ins.
///
/// ```
/// use signup::fields::{EmailKey, EmailProfile};
/// use signup::limit::{Client, Limiter, RateLimits};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let limits = RateLimits::per_client("20/min".parse().unwrap());
/// let limiter = Limiter::new(limits.per_email("1/min".parse().unwrap())).unwrap();
///
/// let key = EmailKey::of("dev@example.com", EmailProfile::Strict).unwrap();
/// assert!(limiter.attempt(Some(Client::UNKNOWN), &key).await.is_ok());
/// let limited = limiter.attempt(Some(Client::UNKNOWN), &key).await.unwrap_err();
/// assert_eq!(limited.policy, "email");
/// # });
/// ```
pub struct Limiter {
    limits: RateLimits,
    local: Local,
    #[cfg(feature = "redis")]
    shared: Option<Shared>,
    clock: Arc<dyn Clock>,
    mac: Hmac<Sha256>,
    hashers: [RandomState; 2],
    refusals: AtomicU32,
}

/// A client's or an email's name: 128 bits of a keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Key(u64, u64);

/// A bucket that is asked, and perhaps taken from.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    policy: Policy,
    owner: Key,
    quota: Quota,
    takes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Requests,
    Client,
    Email,
}

/// The bucket that has nothing left, and when it will have.
type Refusal = (Bucket, Duration);

impl Policy {
    const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Client => "client",
            Self::Email => "email",
        }
    }
}

impl Bucket {
    /// Its place in memory: a client has two buckets.
    const fn key(&self) -> Key {
        let Key(high, low) = self.owner;
        match self.policy {
            Policy::Requests => Key(high, !low),
            Policy::Client | Policy::Email => Key(high, low),
        }
    }

    /// Its name in Redis. What stands in braces decides the slot of a cluster, so
    /// that both buckets of a client are in one.
    #[cfg(feature = "redis")]
    fn name(&self) -> String {
        let Key(high, low) = self.owner;
        format!("signup:{{{high:016x}{low:016x}}}:{}", self.policy.name())
    }
}

impl Limiter {
    /// Limits by the system's clock.
    ///
    /// # Errors
    /// There is no randomness to key the buckets with.
    pub fn new(limits: RateLimits) -> Result<Self, RandomError> {
        Self::on(limits, Arc::new(SystemClock), &OsRandom)
    }

    pub(crate) fn on(
        limits: RateLimits,
        clock: Arc<dyn Clock>,
        random: &dyn Randomness,
    ) -> Result<Self, RandomError> {
        let mut secret = Zeroizing::new(vec![0; 32]);
        random.fill(&mut secret)?;
        #[cfg(feature = "redis")]
        if let Some((_, shared)) = &limits.redis {
            secret.clone_from(shared);
        }
        let mac = Hmac::new_from_slice(&secret).map_err(|_| RandomError::Failed)?;
        #[cfg(feature = "redis")]
        let shared = limits.redis.as_ref().map(|(client, _)| {
            Shared::new(client.clone(), Arc::clone(&clock), limits.redis_deadline)
        });
        Ok(Self {
            local: Local::new(limits.capacity),
            #[cfg(feature = "redis")]
            shared,
            limits,
            clock,
            mac,
            hashers: [RandomState::new(), RandomState::new()],
            refusals: AtomicU32::new(0),
        })
    }

    /// At the head of a request: asks whether a sign-up is left, and takes a request.
    ///
    /// # Errors
    /// Nothing is left. Nothing is taken.
    pub async fn arrive(&self, client: Client) -> Result<(), RateLimited> {
        let owner = self.network(client);
        let asked = Bucket { takes: false, ..self.sign_ups(owner) };
        let quota = self.limits.requests;
        let requests = Bucket { policy: Policy::Requests, owner, quota, takes: true };
        self.judge(&[asked, requests]).await
    }

    /// When the fields are good: takes a sign-up of the client's, and one of the
    /// email's.
    ///
    /// # Errors
    /// Nothing is left of one of them. Where it is the email's, the client's is taken.
    pub async fn attempt(
        &self,
        client: Option<Client>,
        email: &EmailKey,
    ) -> Result<(), RateLimited> {
        if let Some(client) = client {
            self.judge(&[self.sign_ups(self.network(client))]).await?;
        }
        if let Some(quota) = self.limits.email {
            // An address has no space in it, and a network has sixteen octets.
            let owner = self.owner(format!("the address {email}").as_bytes());
            self.judge(&[Bucket { policy: Policy::Email, owner, quota, takes: true }]).await?;
        }
        Ok(())
    }

    async fn judge(&self, buckets: &[Bucket]) -> Result<(), RateLimited> {
        #[cfg(feature = "redis")]
        if let Some(shared) = &self.shared {
            let (decided, turned) = shared.judge(buckets).await;
            match turned {
                Some(Turn::Lost(error)) => observe::limits_lost(&error),
                Some(Turn::Back) => observe::limits_back(),
                None => {}
            }
            if let Some(decided) = decided {
                decided.map_err(|refusal| self.limited(refusal))?;
                // Memory sees it as well, for when it has to take over.
                let _ = self.in_memory(buckets).await;
                return Ok(());
            }
        }
        self.in_memory(buckets).await.map_err(|refusal| self.limited(refusal))
    }

    /// Takes no time to speak of; it is a future like the other.
    fn in_memory(&self, buckets: &[Bucket]) -> Ready<Result<(), Refusal>> {
        let now = u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(u64::MAX);
        let judge = |bucket: &Bucket| self.local.judge(bucket, now).map_err(|wait| (*bucket, wait));
        ready(buckets.iter().try_for_each(judge))
    }

    /// A wait is told up to a tenth too long, each time another part of that, so
    /// that not everybody comes back at once.
    fn limited(&self, (bucket, wait): Refusal) -> RateLimited {
        // Multiples of the golden ratio, whose fractions lie evenly.
        let number = self.refusals.fetch_add(1, Ordering::Relaxed);
        let fraction = f64::from(number.wrapping_mul(0x9E37_79B9)) / f64::from(u32::MAX);
        let retry_after = wait.saturating_add(wait.mul_f64(fraction / 10.0));
        RateLimited { policy: bucket.policy.name(), quota: bucket.quota, retry_after }
    }

    fn sign_ups(&self, owner: Key) -> Bucket {
        Bucket { policy: Policy::Client, owner, quota: self.limits.client, takes: true }
    }

    /// Who a client is. In memory alone the keyed hash of the standard library's maps
    /// is enough, which takes a tenth of the time.
    fn network(&self, client: Client) -> Key {
        #[cfg(feature = "redis")]
        if self.shared.is_some() {
            return self.owner(&client.network());
        }
        let network = client.network();
        let [high, low] = &self.hashers;
        Key(high.hash_one(network), low.hash_one(network))
    }

    fn owner(&self, name: &[u8]) -> Key {
        let mac = self.mac.clone().chain_update(name).finalize().into_bytes();
        let half = |at: usize| {
            let octets = mac.get(at..).and_then(|rest| rest.first_chunk::<8>());
            octets.map_or(0, |octets| u64::from_be_bytes(*octets))
        };
        Key(half(0), half(8))
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
