//! Buckets: limit, owner and quota.

use std::time::Duration;

use super::quota::Quota;

/// The owner of a bucket: 128 bits of a keyed hash of a network or of an email.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Key(pub(super) u64, pub(super) u64);

/// A bucket to check, and to consume from if `takes`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    pub(super) policy: Policy,
    pub(super) owner: Key,
    pub(super) quota: Quota,
    pub(super) takes: bool,
}

/// The limit that a bucket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    Requests,
    Client,
    Email,
}

/// An empty bucket, and the time until it allows one more.
pub(super) type Refusal = (Bucket, Duration);

impl Policy {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Client => "client",
            Self::Email => "email",
        }
    }
}

#[cfg(feature = "redis")]
impl Bucket {
    /// Returns its name in Redis, without the prefix of the limits. The part in braces
    /// decides the slot of a cluster, so that both buckets of a client are in one.
    pub(super) fn name(&self) -> String {
        let Key(high, low) = self.owner;
        format!("{{{high:016x}{low:016x}}}:{}", self.policy.name())
    }
}
