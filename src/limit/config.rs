//! The configuration of rate limits.

use std::fmt;
#[cfg(feature = "redis")]
use std::time::Duration;

#[cfg(feature = "redis")]
use crate::issue::InvalidValue;

#[cfg(feature = "redis")]
use super::link::RedisTarget;
use super::quota::Quota;

/// The default number of clients, and of emails, with buckets in memory: 5 MiB, and 2.5
/// more for emails.
const CAPACITY: usize = 50_000;
/// The default number of requests per sign-up: a person mistypes a few times.
const REQUESTS: u32 = 5;

/// The configuration of rate limits, and of where their buckets are kept.
#[derive(Clone)]
#[must_use]
pub struct RateLimits {
    /// The prefix of its keys in Redis.
    #[cfg(feature = "redis")]
    pub(super) name: &'static str,
    pub(super) client: Quota,
    pub(super) requests: Quota,
    pub(super) email: Option<Quota>,
    pub(super) capacity: usize,
    #[cfg(feature = "redis")]
    pub(super) redis: Option<RedisTarget>,
    #[cfg(feature = "redis")]
    pub(crate) redis_deadline: Option<Duration>,
}

impl RateLimits {
    /// Limits each client to `quota` sign-ups, and to five times as many requests.
    pub const fn per_client(quota: Quota) -> Self {
        Self {
            #[cfg(feature = "redis")]
            name: "signup",
            client: quota,
            requests: quota.times(REQUESTS),
            email: None,
            capacity: CAPACITY,
            #[cfg(feature = "redis")]
            redis: None,
            #[cfg(feature = "redis")]
            redis_deadline: None,
        }
    }

    /// Limits each email to `quota` sign-ups. Default: no limit.
    pub fn per_email(self, quota: Quota) -> Self {
        Self { email: Some(quota), ..self }
    }

    /// Limits each client to `quota` requests of any kind.
    pub fn requests(self, quota: Quota) -> Self {
        Self { requests: quota, ..self }
    }

    /// Sets the number of clients, and of emails, with buckets in memory. Default: 50,000
    /// each.
    ///
    /// The memory is allocated at the start and never grows: some 100 bytes per client, and
    /// 50 per email if emails are limited. When full, the least-used bucket of the same
    /// kind is evicted, and its owner gets a fresh quota; emails never evict clients, nor
    /// clients emails.
    pub fn capacity(self, owners: usize) -> Self {
        Self { capacity: owners, ..self }
    }

    /// Keeps the buckets in Redis, so that all instances with this URL and this secret
    /// share one quota: `redis://…`, or `rediss://…` with one of the TLS features. The
    /// names of clients and emails are keyed with the secret, of 16 bytes or more. Use one
    /// primary, or a proxy in front of a cluster: a script's keys are in one slot, but
    /// redirections are not followed.
    ///
    /// It connects lazily. If Redis does not answer in time, the buckets in memory decide,
    /// which know what this instance has let through. A second later one request probes
    /// Redis again, and the others do not wait for it. The runtime must be tokio.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] for an invalid URL or a short secret.
    #[cfg(feature = "redis")]
    pub fn in_redis(self, url: &str, secret: &[u8]) -> Result<Self, InvalidValue> {
        Ok(Self { redis: Some(RedisTarget::new(url, secret)?), ..self })
    }

    /// Sets the prefix of the keys in Redis. Default: `signup`. Limits of something else,
    /// such as log-ins, need another prefix, or they share the buckets.
    #[cfg(feature = "redis")]
    pub fn redis_prefix(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Sets the time limit for a decision of Redis. Default: 50 ms.
    #[cfg(feature = "redis")]
    pub fn redis_deadline(self, deadline: Duration) -> Self {
        Self { redis_deadline: Some(deadline), ..self }
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
