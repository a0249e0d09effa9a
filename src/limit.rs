//! Rate limits by client and by email.
//!
//! They are off by default; [`rate_limits`](crate::SignupServiceBuilder::rate_limits) turns
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
//! | bucket | consumed by | checked |
//! | --- | --- | --- |
//! | the client's requests, five times its sign-ups by default | every request to the
//! endpoint, including 400s | at the head, before the body is read |
//! | the client's sign-ups | a request with valid fields, whatever its outcome: 201, 409,
//! 503 | at the head, without consuming; and again, atomically, when the fields are valid |
//! | the email's sign-ups | the same, by the email's key in any spelling: so it counts
//! the 409s | with the previous one |
//!
//! An empty bucket is not consumed further; if it is the email's, the client's is consumed
//! all the same. A refusal comes before the store is asked and before anything is hashed.
//!
//! # Clients
//! A client is an IPv4 address or an IPv6 /64. An IPv6 address that embeds an IPv4 address,
//! by NAT64, 6to4 or Teredo, is the client of that address; one of the local-use prefix of
//! translators, `64:ff9b:1::/48`, is a client by itself.
//!
//! All requests without an address are one client, with one bucket: those over a Unix
//! socket, from axum's `serve` without `ConnectInfo`, and [`SignupRequest`]s without a
//! [`client`](crate::SignupRequest::client). The feature `tracing` warns of the first of
//! them.
//!
//! [`SignupRequest`]: crate::SignupRequest
//!
//! Addresses and emails are never kept, only a keyed hash: an HMAC for emails, and for both
//! in Redis.

use std::time::Duration;

#[cfg(feature = "redis")]
mod breaker;
mod bucket;
mod client;
mod config;
mod limiter;
#[cfg(feature = "redis")]
mod link;
mod local;
mod quota;
#[cfg(feature = "redis")]
mod redis;

pub use client::ClientIp;
pub use config::RateLimits;
pub use limiter::Limiter;
#[cfg(feature = "redis")]
pub(crate) use link::{RedisLink, RedisTarget};
pub use quota::Quota;

/// The error of a client or an email over its rate limit.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("over the limit of {quota} by {policy}: retry in {retry_after:?}")]
#[non_exhaustive]
pub struct RateLimited {
    /// The limit: `requests`, `client` or `email`.
    pub policy: &'static str,
    /// Its quota.
    pub quota: Quota,
    /// Time until it allows one more.
    pub retry_after: Duration,
}

crate::issue::debug_by_text!(RateLimited);

#[cfg(test)]
mod tests;
