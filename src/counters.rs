//! Bounded counters of attempts and mails, in memory or in Redis.
//!
//! Each kind of counter has its own table, so that a flood of one kind leaves the others
//! alone. A counter that has ended takes no room.

use std::fmt;
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

/// The default number of counters of each kind: 5 MiB, which are taken with the first one.
pub(crate) const CAPACITY: usize = 100_000;
/// The longest wait between two passwords.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// The time without a failure after which all are forgotten.
const DAY: Duration = Duration::from_hours(24);

/// The events that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "verification"),
    expect(dead_code, reason = "codes and mails belong to email verification")
)]
pub(crate) enum Kind {
    /// Passwords for an address, by callers who have nothing.
    Address,
    /// Passwords for an address, by one client.
    Client,
    /// Passwords for an account, from one trusted device.
    Device,
    /// Passwords for an account, by callers with a live token.
    Token,
    /// Wrong passwords of retries of one sign-up.
    Retry,
    /// Passwords of a ticket whose code is right.
    Ticket,
    /// Codes of a ticket, or of an account.
    Code,
    /// Mails to an address.
    Mail,
    /// Mails to an address that one client has asked for.
    MailOfClient,
    /// Mails to an account's owner on one trusted device.
    MailOfDevice,
    /// Mails to an account's owner on all trusted devices.
    MailOfDevices,
}

impl Kind {
    const ALL: usize = 11;

    /// Returns whether the set stores a counter that has to make room: then passwords are
    /// over-counted, and never forgotten.
    const fn counts_passwords(self) -> bool {
        matches!(
            self,
            Self::Address | Self::Client | Self::Device | Self::Token | Self::Retry | Self::Ticket
        )
    }
}

/// The number of events that a counter lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// This many without a wait; then each waits twice as long as the one before, from a
    /// second up to an hour. A day after the last one, all are forgotten.
    Growing(u32),
    /// This many until the counter ends, this long after its first event.
    Window(u32, Duration),
    /// This many until the counter ends, this long after its last event: no span of this length
    /// has more.
    #[cfg_attr(
        not(feature = "verification"),
        expect(dead_code, reason = "codes belong to email verification")
    )]
    Sliding(u32, Duration),
}

/// The hash of what is counted, and for whom: addresses are not kept.
type Key = [u8; 16];

/// A counter, and its rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counter {
    kind: Kind,
    key: Key,
    rule: Rule,
}

impl Counter {
    /// Creates the counter of an owner, who has a name of several parts.
    pub(crate) fn new(kind: Kind, owner: &[&[u8]], rule: Rule) -> Self {
        let mut hash = Sha256::new();
        hash.update([kind as u8]);
        for part in owner {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut key = [0; 16];
        key.iter_mut().zip(hash.finalize()).for_each(|(byte, hashed)| *byte = hashed);
        Self { kind, key, rule }
    }

    /// Returns whether it ends a fixed time after its first attempt.
    pub(crate) const fn is_window(&self) -> bool {
        matches!(self.rule, Rule::Window(..))
    }
}

impl Rule {
    /// Returns the wait after this many.
    pub(crate) fn wait(self, count: u32) -> Duration {
        let Self::Growing(free) = self else { return Duration::ZERO };
        let Some(doublings) = count.checked_sub(free.saturating_add(1)) else {
            return Duration::ZERO;
        };
        let seconds = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        Duration::from_secs(seconds).min(LONGEST_WAIT)
    }

    /// Returns whether each event extends the life of the counter.
    const fn renews(self) -> bool {
        matches!(self, Self::Growing(_) | Self::Sliding(..))
    }

    /// Returns how long the counter lasts.
    const fn life(self) -> Duration {
        match self {
            Self::Growing(_) => DAY,
            Self::Window(_, life) | Self::Sliding(_, life) => life,
        }
    }
}

/// The counters of a service.
pub(crate) struct Counters {
    memory: Memory,
    #[cfg(feature = "redis")]
    shared: Option<Shared>,
}

impl Counters {
    /// Creates counters in memory, up to a number of each kind, and in Redis if it is given.
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        capacity: usize,
        #[cfg(feature = "redis")] redis: Option<(RedisTarget, Option<Duration>)>,
    ) -> Self {
        Self {
            #[cfg(feature = "redis")]
            shared: redis
                .map(|(target, deadline)| Shared::new(target, Arc::clone(&clock), deadline)),
            memory: Memory::new(clock, capacity),
        }
    }

    /// Counts one more in each of these counters. Memory counts it too, and decides while
    /// Redis does not answer.
    ///
    /// # Errors
    /// Returns how long to wait, if one of them is full. Nothing is counted then.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_async, reason = "Redis is awaited"))]
    pub(crate) async fn charge(&self, counters: &[Counter]) -> Result<(), Duration> {
        let here = self.memory.charge(counters);
        #[cfg(feature = "redis")]
        if let Some(shared) = &self.shared
            && let Some(decided) = shared.charge(counters).await
        {
            return decided;
        }
        here
    }

    /// Takes back what was charged.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_async, reason = "Redis is awaited"))]
    pub(crate) async fn refund(&self, counters: &[Counter]) {
        self.memory.refund(counters);
        #[cfg(feature = "redis")]
        if let Some(shared) = &self.shared {
            shared.refund(counters).await;
        }
    }

    /// Takes back what was charged, in memory at once and in Redis in the background: for a
    /// caller that is gone.
    pub(crate) fn refund_later(self: &Arc<Self>, counters: Vec<Counter>) {
        self.memory.refund(&counters);
        #[cfg(feature = "redis")]
        if self.shared.is_some()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let all = Arc::clone(self);
            runtime.spawn(async move {
                if let Some(shared) = &all.shared {
                    shared.refund(&counters).await;
                }
            });
        }
    }

    /// Sets these counters to zero.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_async, reason = "Redis is awaited"))]
    pub(crate) async fn reset(&self, counters: &[Counter]) {
        self.memory.reset(counters);
        #[cfg(feature = "redis")]
        if let Some(shared) = &self.shared {
            shared.reset(counters).await;
        }
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn waits_double_from_a_second_to_an_hour() {
        let seconds = |count| Rule::Growing(5).wait(count).as_secs();
        assert_eq!(
            [1, 5, 6, 7, 8, 17, 18, 1000, u32::MAX].map(seconds),
            [0, 0, 1, 2, 4, 2048, 3600, 3600, 3600]
        );
    }

    #[test]
    fn owners_and_kinds_do_not_share() {
        let rule = Rule::Growing(5);
        let keys = [
            Counter::new(Kind::Code, &[b"ab", b"c"], rule),
            Counter::new(Kind::Code, &[b"a", b"bc"], rule),
            Counter::new(Kind::Code, &[b"abc"], rule),
            Counter::new(Kind::Mail, &[b"abc"], rule),
        ];
        assert_eq!(HashSet::from(keys.map(|counter| counter.key)).len(), keys.len());
    }
}
