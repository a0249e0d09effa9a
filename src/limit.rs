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
//! A refused bucket is not taken from; where it is the email's, a sign-up of the
//! client's is taken all the same. A refusal comes before the store is asked and
//! before anything is hashed.
//!
//! # Clients
//! A client is an IPv4 address or an IPv6 /64. An IPv6 address that embeds an IPv4
//! address, by NAT64, 6to4 or Teredo, is the client of that address; one of the
//! local-use prefix of translators, `64:ff9b:1::/48`, is a client by itself.
//!
//! All requests without an address are one client, with one bucket: those over a Unix
//! socket, by axum's `serve` without `ConnectInfo`, and of [`SignupRequest`]s that
//! were given no [`client`](crate::SignupRequest::client). The first of them is an
//! event of the feature `tracing`.
//!
//! [`SignupRequest`]: crate::SignupRequest
//!
//! An address or an email is never kept, but a keyed hash of it: of an email, and of
//! both in Redis, an HMAC.

use std::time::Duration;

#[cfg(feature = "redis")]
mod breaker;
mod bucket;
mod client;
mod config;
mod limiter;
mod local;
mod quota;
#[cfg(feature = "redis")]
mod redis;

pub use client::ClientIp;
pub use config::RateLimits;
#[cfg(feature = "redis")]
pub use config::RedisSetupError;
pub use limiter::Limiter;
pub use quota::{Quota, QuotaError};

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

#[cfg(test)]
mod tests;
