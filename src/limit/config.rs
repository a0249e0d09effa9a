//! Which limits there are, as a host says it.

use std::fmt;
#[cfg(feature = "redis")]
use std::time::Duration;

#[cfg(feature = "redis")]
use zeroize::Zeroizing;

use super::quota::Quota;
#[cfg(feature = "redis")]
use super::redis;

/// How many clients, and how many emails, have buckets in memory by default: in 5 MiB, and
/// 2.5 more for the emails.
const CAPACITY: usize = 50_000;
/// The least octets of a secret that several instances share.
#[cfg(feature = "redis")]
const MIN_SECRET_BYTES: usize = 16;
/// How long Redis may take for a decision, by default: a hundred times what one in the
/// same place takes, and nothing that a person notices.
#[cfg(feature = "redis")]
const REDIS_DEADLINE: Duration = Duration::from_millis(50);
/// How many requests a client has for each sign-up, by default: a person mistypes a few
/// times.
const REQUESTS: u32 = 5;

/// Which limits there are, and where their buckets are kept.
#[derive(Clone)]
#[must_use]
pub struct RateLimits {
    /// What its keys in Redis begin with.
    #[cfg(feature = "redis")]
    pub(super) name: &'static str,
    pub(super) client: Quota,
    pub(super) requests: Quota,
    pub(super) email: Option<Quota>,
    pub(super) capacity: usize,
    #[cfg(feature = "redis")]
    pub(super) redis: Option<(::redis::Client, Zeroizing<Vec<u8>>)>,
    #[cfg(feature = "redis")]
    pub(super) redis_deadline: Duration,
}

impl RateLimits {
    /// So many sign-ups for each client, and five times as many requests.
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

    /// Sets for how many clients, and for how many emails, buckets are kept in memory.
    /// Default: 50,000 of each.
    ///
    /// They take memory from the start, and never more: some 100 bytes for a client,
    /// and 50 for an email where there is a limit by email. Where more are in use at
    /// one time, each new one replaces the least used of its own kind, which gets a
    /// fresh quota; emails never replace clients, nor clients emails.
    pub fn capacity(self, owners: usize) -> Self {
        Self { capacity: owners, ..self }
    }

    /// Keeps the buckets in Redis, so that all instances with this URL and this
    /// secret share one quota: `redis://…`, or `rediss://…` with one of the TLS
    /// features. The names of clients and emails are keyed with the secret, of 16
    /// octets or more. It is one primary, or a proxy in front of a cluster: a script's
    /// keys are of one slot, but redirections are not followed.
    ///
    /// Nothing is connected yet. Where Redis does not answer in time, the buckets in
    /// memory decide, which know what this instance has let through. A second later one
    /// request asks Redis again, and the others do not wait for it: memory decides until
    /// that one is answered. The runtime is tokio's.
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

    /// What the keys in Redis begin with. Default: `signup`. Limits of something else,
    /// such as log-ins, have another name, or they share the buckets.
    #[cfg(feature = "redis")]
    pub fn redis_prefix(self, name: &'static str) -> Self {
        Self { name, ..self }
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
