//! Counters in bounded memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

use super::Key;

/// The number of counters: 8 MiB.
const CAPACITY: usize = 100_000;
/// The time between two searches for counters that have ended, when there is no room.
const SWEEP: Duration = Duration::from_mins(1);

/// Counters by owner, each up to a limit until it ends. Nothing refills them before that.
///
/// When memory is full, another one is forgotten, so that a flood of addresses silences
/// nobody.
pub(super) struct Memory {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counters: HashMap<Key, Counter>,
    /// Monotonic time of the next search for counters that have ended.
    next_sweep: Duration,
}

#[derive(Clone, Copy)]
struct Counter {
    count: u32,
    /// Monotonic time.
    ends_at: Duration,
}

impl Memory {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Counts one more of an owner, in a counter that ends `life` after its first one.
    ///
    /// # Errors
    /// Returns how long to wait, if the limit is reached.
    pub(super) fn take(&self, key: &Key, limit: u32, life: Duration) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        let fresh = Counter { count: 0, ends_at: now.saturating_add(life) };
        self.with(|state| {
            if !state.counters.contains_key(key) {
                state.make_room(now);
            }
            let counter = state.counters.entry(*key).or_insert(fresh);
            if counter.ends_at <= now {
                *counter = fresh;
            }
            if counter.count >= limit {
                return Err(counter.ends_at.saturating_sub(now));
            }
            counter.count += 1;
            Ok(())
        })
    }

    /// Takes back what was counted.
    pub(super) fn give_back(&self, key: &Key) {
        self.with(|state| {
            if let Some(counter) = state.counters.get_mut(key) {
                counter.count = counter.count.saturating_sub(1);
            }
        });
    }

    /// Locks the state. No code under this lock can leave it half changed.
    fn with<T>(&self, operation: impl FnOnce(&mut State) -> T) -> T {
        operation(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    /// Makes room for another counter: forgets those that have ended, or else any one.
    fn make_room(&mut self, now: Duration) {
        if self.counters.len() >= CAPACITY && self.next_sweep <= now {
            self.counters.retain(|_, counter| counter.ends_at > now);
            self.next_sweep = now.saturating_add(SWEEP);
        }
        if self.counters.len() >= CAPACITY
            && let Some(any) = self.counters.keys().next().copied()
        {
            self.counters.remove(&any);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const HOUR: Duration = Duration::from_hours(1);

    fn key(number: usize) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        key
    }

    #[test]
    fn a_counter_ends_as_a_whole_and_does_not_refill() {
        let clock = ManualClock::at_unix(0);
        let counters = Memory::new(Arc::new(clock.clone()));
        let take = || counters.take(&key(1), 2, HOUR);
        assert_eq!((take(), take()), (Ok(()), Ok(())));
        clock.advance(Duration::from_mins(59));
        assert_eq!(take(), Err(Duration::from_mins(1)));
        counters.give_back(&key(1));
        assert_eq!((take(), take()), (Ok(()), Err(Duration::from_mins(1))));
        assert_eq!(counters.take(&key(2), 1, HOUR), Ok(()));
        clock.advance(Duration::from_mins(1));
        assert_eq!((take(), take(), take()), (Ok(()), Ok(()), Err(HOUR)));
    }

    #[test]
    fn the_memory_is_bounded_and_a_flood_silences_nobody() {
        let clock = ManualClock::at_unix(0);
        let counters = Memory::new(Arc::new(clock.clone()));
        let take = |number: usize| counters.take(&key(number), 1, HOUR);
        let len = || counters.with(|state| state.counters.len());
        assert!((0..CAPACITY + 1000).all(|number| take(number).is_ok()));
        assert_eq!(len(), CAPACITY);
        clock.advance(HOUR);
        assert_eq!(take(CAPACITY * 2), Ok(()));
        assert_eq!(len(), 1);
    }
}
