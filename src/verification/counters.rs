//! Counters that end at a time of their own, in bounded memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::clock::Clock;

/// The number of counters: 8 MiB.
const CAPACITY: usize = 100_000;

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

/// Counters by owner, each up to a limit until it ends. Nothing refills them before that.
pub(super) struct Counters {
    clock: Arc<dyn Clock>,
    /// The count, and the monotonic time when it ends.
    counts: Mutex<HashMap<[u8; 32], (u32, Duration)>>,
}

impl Counters {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, counts: Mutex::default() }
    }

    /// Counts one more of `owner`, in a counter that ends `life` after its first one. Where
    /// the limit is reached, or no counter is left, returns how long to wait.
    pub(super) fn take(
        &self,
        counted: Counted,
        owner: &[&[u8]],
        limit: u32,
        life: Duration,
    ) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        let mut counts = self.lock();
        let key = key(counted, owner);
        if counts.len() >= CAPACITY && !counts.contains_key(&key) {
            counts.retain(|_, (_, end)| *end > now);
            if counts.len() >= CAPACITY {
                return Err(life);
            }
        }
        let (count, end) = counts.entry(key).or_insert((0, now.saturating_add(life)));
        if *end <= now {
            (*count, *end) = (0, now.saturating_add(life));
        }
        if *count >= limit {
            return Err(end.saturating_sub(now));
        }
        *count += 1;
        Ok(())
    }

    /// Takes back what was counted.
    pub(super) fn give_back(&self, counted: Counted, owner: &[&[u8]]) {
        if let Some((count, _)) = self.lock().get_mut(&key(counted, owner)) {
            *count = count.saturating_sub(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], (u32, Duration)>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hashes what is counted and whose it is: addresses are not kept.
fn key(counted: Counted, owner: &[&[u8]]) -> [u8; 32] {
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
    use super::*;
    use crate::clock::ManualClock;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_counter_ends_as_a_whole_and_does_not_refill() {
        let clock = ManualClock::at_unix(0);
        let counters = Counters::new(Arc::new(clock.clone()));
        let take = || counters.take(Counted::Tries, &[b"one"], 2, HOUR);
        assert_eq!((take(), take()), (Ok(()), Ok(())));
        clock.advance(Duration::from_mins(59));
        assert_eq!(take(), Err(Duration::from_mins(1)));
        counters.give_back(Counted::Tries, &[b"one"]);
        assert_eq!((take(), take()), (Ok(()), Err(Duration::from_mins(1))));
        clock.advance(Duration::from_mins(1));
        assert_eq!((take(), take(), take()), (Ok(()), Ok(()), Err(HOUR)));
    }

    #[test]
    fn owners_and_purposes_do_not_share() {
        let counters = Counters::new(Arc::new(ManualClock::at_unix(0)));
        for (counted, owner) in [
            (Counted::Tries, &[b"ab".as_slice(), b"c"][..]),
            (Counted::Tries, &[b"a", b"bc"]),
            (Counted::Tries, &[b"abc"]),
            (Counted::Mails, &[b"abc"]),
        ] {
            assert_eq!(counters.take(counted, owner, 1, HOUR), Ok(()));
            assert_eq!(counters.take(counted, owner, 1, HOUR), Err(HOUR));
        }
    }

    #[test]
    fn the_memory_is_bounded_and_what_has_ended_makes_room() {
        let clock = ManualClock::at_unix(0);
        let counters = Counters::new(Arc::new(clock.clone()));
        let take = |number: usize| counters.take(Counted::Mails, &[&number.to_be_bytes()], 1, HOUR);
        assert!((0..CAPACITY).all(|number| take(number).is_ok()));
        assert_eq!(take(CAPACITY), Err(HOUR));
        clock.advance(HOUR);
        assert_eq!(take(CAPACITY), Ok(()));
        assert_eq!(counters.lock().len(), 1);
    }
}
