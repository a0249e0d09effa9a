//! Counters that end at a time of their own, in memory or in Redis.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::clock::Clock;
#[cfg(feature = "redis")]
use crate::limit::RedisTarget;

mod memory;
#[cfg(feature = "redis")]
mod redis;

use memory::Memory;
#[cfg(feature = "redis")]
use redis::Shared;

/// The events that are counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counted {
    /// Codes that were tried with a ticket.
    Tries,
    /// Wrong codes for an address.
    WrongCodes,
    /// Mails to an address.
    Mails,
    /// Mails to an address that one client has caused.
    MailsOfClient,
}

/// The hash of what is counted and whose it is: addresses are not kept.
type Key = [u8; 32];

/// Counters by owner, each up to a limit until it ends. Nothing refills them before that.
pub(super) struct Counters {
    memory: Memory,
    #[cfg(feature = "redis")]
    shared: Option<Shared>,
}

impl Counters {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        #[cfg(feature = "redis")] redis: Option<(RedisTarget, Option<Duration>)>,
    ) -> Self {
        Self {
            #[cfg(feature = "redis")]
            shared: redis
                .map(|(target, deadline)| Shared::new(target, Arc::clone(&clock), deadline)),
            memory: Memory::new(clock),
        }
    }

    /// Counts one more of an owner, in a counter that ends `life` after its first one.
    /// Memory counts it too, and decides while Redis does not answer.
    ///
    /// # Errors
    /// Returns how long to wait, if the limit is reached.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_async, reason = "Redis is awaited"))]
    pub(super) async fn take(
        &self,
        counted: Counted,
        owner: &[&[u8]],
        limit: u32,
        life: Duration,
    ) -> Result<(), Duration> {
        let key = key(counted, owner);
        let here = self.memory.take(&key, limit, life);
        #[cfg(feature = "redis")]
        if let Some(shared) = &self.shared
            && let Some(decided) = shared.take(&key, limit, life).await
        {
            return decided;
        }
        here
    }

    /// Takes back what was counted.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_async, reason = "Redis is awaited"))]
    pub(super) async fn give_back(&self, counted: Counted, owner: &[&[u8]]) {
        let key = key(counted, owner);
        self.memory.give_back(&key);
        #[cfg(feature = "redis")]
        if let Some(shared) = &self.shared {
            shared.give_back(&key).await;
        }
    }
}

/// Hashes what is counted and whose it is: addresses are not kept.
fn key(counted: Counted, owner: &[&[u8]]) -> Key {
    let mut hash = Sha256::new();
    hash.update([counted as u8]);
    for part in owner {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn owners_and_purposes_do_not_share() {
        let keys = [
            key(Counted::Tries, &[b"ab", b"c"]),
            key(Counted::Tries, &[b"a", b"bc"]),
            key(Counted::Tries, &[b"abc"]),
            key(Counted::Mails, &[b"abc"]),
        ];
        assert_eq!(HashSet::from(keys).len(), keys.len());
    }
}
