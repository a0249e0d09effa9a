//! Failures in bounded memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

use super::{Count, Key, MEMORY, wait};

/// The number of counts: 8 MiB.
const CAPACITY: usize = 100_000;

/// Failures by key. When memory is full, another count is forgotten: whoever makes room
/// with a flood pays a hash for each.
pub(super) struct Memory {
    clock: Arc<dyn Clock>,
    failures: Mutex<HashMap<Key, Failures>>,
}

#[derive(Clone, Copy, Default)]
struct Failures {
    count: u32,
    /// Monotonic time of the next try, and of the end of this count.
    next_try: Duration,
    ends_at: Duration,
}

impl Memory {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, failures: Mutex::default() }
    }

    /// Counts a failure for each.
    ///
    /// # Errors
    /// Returns how long to wait; nothing is counted then.
    pub(super) fn try_now(&self, counts: &[Count]) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        self.with(|failures| {
            let known = |count: &Count| {
                let found = failures.get(&count.key).copied();
                found.filter(|found| found.ends_at > now).unwrap_or_default()
            };
            let waits = counts.iter().map(|count| known(count).next_try.saturating_sub(now));
            let wait_for = waits.max().unwrap_or_default();
            if !wait_for.is_zero() {
                return Err(wait_for);
            }
            for count in counts {
                let found = failures.get(&count.key).copied();
                let found = found.filter(|found| found.ends_at > now).unwrap_or_default();
                let number = found.count.saturating_add(1);
                if failures.len() >= CAPACITY
                    && !failures.contains_key(&count.key)
                    && let Some(any) = failures.keys().next().copied()
                {
                    failures.remove(&any);
                }
                failures.insert(
                    count.key,
                    Failures {
                        count: number,
                        next_try: now.saturating_add(wait(number, count.free)),
                        ends_at: now.saturating_add(MEMORY),
                    },
                );
            }
            Ok(())
        })
    }

    /// Counts a failure less for each, whose wait was over.
    pub(super) fn take_back(&self, counts: &[Count]) {
        self.with(|failures| {
            for count in counts {
                if let Some(found) = failures.get_mut(&count.key) {
                    found.count = found.count.saturating_sub(1);
                    found.next_try = Duration::ZERO;
                }
            }
        });
    }

    pub(super) fn forget(&self, counts: &[Count]) {
        self.with(|failures| {
            for count in counts {
                failures.remove(&count.key);
            }
        });
    }

    /// Locks the counts. No code under this lock can leave them half changed.
    fn with<T>(&self, operation: impl FnOnce(&mut HashMap<Key, Failures>) -> T) -> T {
        operation(&mut self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn all_counts_of_a_try_are_counted_or_none() {
        let clock = ManualClock::at_unix(0);
        let memory = Memory::new(Arc::new(clock.clone()));
        let (one, other) = (Count { key: [1; 32], free: 1 }, Count { key: [2; 32], free: 3 });
        assert_eq!(memory.try_now(&[one, other]), Ok(()));
        assert_eq!(memory.try_now(&[one, other]), Ok(()));
        for _ in 0..9 {
            assert_eq!(memory.try_now(&[one, other]), Err(Duration::from_secs(1)));
        }
        // The other one has two, and has waited for nothing.
        assert_eq!(memory.try_now(&[other]), Ok(()));
        assert_eq!(memory.try_now(&[other]), Ok(()));
        assert_eq!(memory.try_now(&[other]), Err(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(memory.try_now(&[one]), Ok(()));
        assert_eq!(memory.try_now(&[one]), Err(Duration::from_secs(2)));
        clock.advance(Duration::from_secs(2));
        for _ in 0..9 {
            assert_eq!(memory.try_now(&[one]), Ok(()));
            memory.take_back(&[one]);
        }
        assert_eq!(memory.try_now(&[one]), Ok(()));
        assert_eq!(memory.try_now(&[one]), Err(Duration::from_secs(4)));
        memory.forget(&[one]);
        assert_eq!(memory.try_now(&[one]), Ok(()));
        clock.advance(MEMORY);
        assert_eq!((memory.try_now(&[one]), memory.try_now(&[one])), (Ok(()), Ok(())));
        // Failures count until their hour is over, and no longer.
        let seldom = Count { key: [3; 32], free: 1 };
        for (wait, next) in [
            (Duration::ZERO, Ok(())),
            (Duration::ZERO, Ok(())),
            (MEMORY.saturating_sub(Duration::from_nanos(1)), Ok(())),
            (Duration::ZERO, Err(Duration::from_secs(2))),
            (MEMORY, Ok(())),
            (Duration::ZERO, Ok(())),
        ] {
            clock.advance(wait);
            assert_eq!(memory.try_now(&[seldom]), next, "after {wait:?}");
        }
    }

    #[test]
    fn the_memory_is_bounded() {
        let memory = Memory::new(Arc::new(ManualClock::at_unix(0)));
        for number in 0..CAPACITY + 10 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            assert_eq!(memory.try_now(&[Count { key, free: 1 }]), Ok(()));
        }
        assert_eq!(memory.with(|failures| failures.len()), CAPACITY);
    }
}
