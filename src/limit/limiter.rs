//! The limiter: it selects the buckets of a request and checks them.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};

use hmac::digest::consts::U8;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::clock::{Clock, SystemClock};
use crate::fields::EmailKey;
use crate::observe;
use crate::random::{RandomError, SecureRandom, SystemRandom};
use crate::secret::Secret;

use super::bucket::{Bucket, Key, Policy, Refusal};
use super::local::Local;
#[cfg(feature = "redis")]
use super::redis::Shared;
use super::{ClientIp, RateLimited, RateLimits};

/// The label of a client's key, before its network.
#[cfg(feature = "redis")]
const NETWORK: &[u8] = b"network:";
/// The label of an email's key, before the email's own key.
const EMAIL: &[u8] = b"email:";

/// A rate limiter. A service has its own; a host creates another one for anything else to
/// be limited in the same way, such as log-ins.
///
/// ```
/// use signup::fields::{EmailKey, EmailProfile};
/// use signup::limit::{ClientIp, Limiter, RateLimits};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let limits = RateLimits::per_client("20/min".parse().unwrap());
/// let limiter = Limiter::new(limits.per_email("1/min".parse().unwrap())).unwrap();
///
/// let key = EmailKey::parse("dev@example.com", EmailProfile::Strict).unwrap();
/// assert!(limiter.check_signup(Some(ClientIp::UNKNOWN), &key).await.is_ok());
/// let limited = limiter.check_signup(Some(ClientIp::UNKNOWN), &key).await.unwrap_err();
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
    warned: Once,
}

impl Limiter {
    /// Creates a limiter on the system's clock.
    ///
    /// # Errors
    /// Fails if there is no randomness to key the buckets with.
    pub fn new(limits: RateLimits) -> Result<Self, RandomError> {
        Self::with_clock(limits, Arc::new(SystemClock), &SystemRandom)
    }

    pub(crate) fn with_clock(
        limits: RateLimits,
        clock: Arc<dyn Clock>,
        random: &dyn SecureRandom,
    ) -> Result<Self, RandomError> {
        let mut secret = Secret::new(vec![0; 32]);
        random.fill(&mut secret)?;
        #[cfg(feature = "redis")]
        if let Some(target) = &limits.redis {
            secret.clone_from(&target.secret);
        }
        let mac = Hmac::new_from_slice(&secret).map_err(|_| RandomError::Failed)?;
        #[cfg(feature = "redis")]
        let shared = limits.redis.as_ref().map(|target| {
            let (name, client) = (limits.name, target.client.clone());
            Shared::new(name, client, Arc::clone(&clock), limits.redis_deadline)
        });
        Ok(Self {
            local: Local::new(&limits),
            #[cfg(feature = "redis")]
            shared,
            limits,
            clock,
            mac,
            hashers: [RandomState::new(), RandomState::new()],
            refusals: AtomicU32::new(0),
            warned: Once::new(),
        })
    }

    /// Checks the client's sign-up bucket and consumes one request. Called when the head of a
    /// sign-up arrives.
    ///
    /// # Errors
    /// Returns [`RateLimited`] if either bucket is empty; then nothing is consumed.
    pub async fn check_request(&self, client: ClientIp) -> Result<(), RateLimited> {
        let owner = self.network(client);
        let asked = Bucket { takes: false, ..self.sign_ups(owner) };
        let quota = self.limits.requests;
        let requests = Bucket { policy: Policy::Requests, owner, quota, takes: true };
        self.check(&[asked, requests]).await
    }

    /// Consumes one request. Called when the head of any other request arrives, which must not
    /// depend on the quota of sign-ups.
    ///
    /// # Errors
    /// Returns [`RateLimited`] if the client's bucket of requests is empty.
    pub(crate) async fn check_other_request(&self, client: ClientIp) -> Result<(), RateLimited> {
        let (owner, quota) = (self.network(client), self.limits.requests);
        self.check(&[Bucket { policy: Policy::Requests, owner, quota, takes: true }]).await
    }

    /// Consumes one sign-up from the client's bucket and one from the email's. Called when
    /// the fields are valid. `None` skips the limit by client, for attempts without one; a
    /// client without an address is [`ClientIp::UNKNOWN`].
    ///
    /// # Errors
    /// Returns [`RateLimited`] if either bucket is empty. If it is the email's, the
    /// client's is consumed all the same.
    pub async fn check_signup(
        &self,
        client: Option<ClientIp>,
        email: &EmailKey,
    ) -> Result<(), RateLimited> {
        if let Some(client) = client {
            self.check(&[self.sign_ups(self.network(client))]).await?;
        }
        if let Some(quota) = self.limits.email {
            let owner = self.owner(EMAIL, email.as_str().as_bytes());
            self.check(&[Bucket { policy: Policy::Email, owner, quota, takes: true }]).await?;
        }
        Ok(())
    }

    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_async, reason = "Redis is awaited"))]
    async fn check(&self, buckets: &[Bucket]) -> Result<(), RateLimited> {
        #[cfg(feature = "redis")]
        if let Some(shared) = &self.shared
            // In a box, so that a request without Redis has no room for its future.
            && let Some(decided) = Box::pin(shared.check(buckets)).await
        {
            decided.map_err(|refusal| self.limited(refusal))?;
            // Memory counts it too, in case it has to take over.
            let _ = self.in_memory(buckets);
            return Ok(());
        }
        self.in_memory(buckets).map_err(|refusal| self.limited(refusal))
    }

    fn in_memory(&self, buckets: &[Bucket]) -> Result<(), Refusal> {
        let now = u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(u64::MAX);
        let check = |bucket: &Bucket| self.local.check(bucket, now).map_err(|wait| (*bucket, wait));
        buckets.iter().try_for_each(check)
    }

    /// Adds up to 10 % jitter to a wait, so that clients do not retry at the same moment.
    fn limited(&self, (bucket, wait): Refusal) -> RateLimited {
        // Multiples of the golden ratio, whose fractions are evenly spread.
        let number = self.refusals.fetch_add(1, Ordering::Relaxed);
        let fraction = f64::from(number.wrapping_mul(0x9E37_79B9)) / f64::from(u32::MAX);
        let retry_after = wait.saturating_add(wait.mul_f64(fraction / 10.0));
        RateLimited { policy: bucket.policy.name(), quota: bucket.quota, retry_after }
    }

    fn sign_ups(&self, owner: Key) -> Bucket {
        Bucket { policy: Policy::Client, owner, quota: self.limits.client, takes: true }
    }

    /// Returns the key of a client. In memory alone, the keyed hash of the standard
    /// library's maps is enough, and takes a tenth of the time.
    fn network(&self, client: ClientIp) -> Key {
        if client == ClientIp::UNKNOWN {
            self.warned.call_once(observe::client_without_address);
        }
        let network = client.network();
        #[cfg(feature = "redis")]
        if self.shared.is_some() {
            return self.owner(NETWORK, &network);
        }
        let [high, low] = &self.hashers;
        Key(high.hash_one(network), low.hash_one(network))
    }

    /// Derives a key from a name; the label separates kinds of names.
    fn owner(&self, label: &[u8], name: &[u8]) -> Key {
        let mac = self.mac.clone().chain_update(label).chain_update(name);
        let (high, rest) = mac.finalize().into_bytes().split::<U8>();
        let (low, _) = rest.split::<U8>();
        Key(u64::from_be_bytes(high.into()), u64::from_be_bytes(low.into()))
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("limits", &self.limits).finish_non_exhaustive()
    }
}
