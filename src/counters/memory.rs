//! Counters in memory: a table of fixed size for each kind.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

use super::{Counter, Key, Kind, Rule};

/// Slots per set (the table's associativity).
const WAYS: usize = 8;

/// Counters in memory.
pub(super) struct Memory {
    clock: Arc<dyn Clock>,
    tables: Mutex<Tables>,
}

/// A table for each kind, which has no sets before its first counter.
struct Tables {
    /// The sets of a table.
    size: usize,
    /// Places keys where their owners can't foresee.
    hasher: RandomState,
    sets: [Vec<Set>; Kind::ALL],
}

/// The counters whose keys share a place.
#[derive(Clone, Default)]
struct Set {
    slots: [Slot; WAYS],
    /// The highest counter that has made room: what a key without a slot begins with, for it
    /// may have been its own.
    evicted: Count,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    key: Key,
    count: Count,
}

/// A number of attempts, with monotonic times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    attempts: u32,
    next_at: Duration,
    ends_at: Duration,
}

impl Count {
    const fn is_live(&self, now: Duration) -> bool {
        self.ends_at.as_nanos() > now.as_nanos()
    }

    /// Returns the wait before one more.
    fn wait(self, rule: Rule, now: Duration) -> Duration {
        match rule {
            Rule::Window(limit, _) | Rule::Sliding(limit, _) if self.attempts >= limit => {
                self.ends_at.saturating_sub(now)
            }
            Rule::Window(..) | Rule::Sliding(..) => Duration::ZERO,
            Rule::Growing(_) => self.next_at.saturating_sub(now),
        }
    }

    /// Returns the counter after one more.
    fn plus_one(self, rule: Rule, now: Duration) -> Self {
        let attempts = self.attempts.saturating_add(1);
        let renews = rule.renews() || !self.is_live(now);
        let ends_at = if renews { now.saturating_add(rule.life()) } else { self.ends_at };
        Self { attempts, next_at: now.saturating_add(rule.wait(attempts)), ends_at }
    }

    fn max(self, other: Self) -> Self {
        Self {
            attempts: self.attempts.max(other.attempts),
            next_at: self.next_at.max(other.next_at),
            ends_at: self.ends_at.max(other.ends_at),
        }
    }
}

impl Set {
    /// Returns the counter of a key.
    fn count(&self, key: &Key, now: Duration) -> Count {
        let own = self.slots.iter().find(|slot| slot.key == *key && slot.count.is_live(now));
        let count = own.map_or(self.evicted, |slot| slot.count);
        if count.is_live(now) { count } else { Count::default() }
    }

    /// Sets the counter of a key. If the set is full, the lowest counter makes room.
    fn store(&mut self, key: &Key, count: Count, now: Duration, keeps_evicted: bool) {
        let Self { slots, evicted } = self;
        let worth = |slot: &&mut Slot| {
            let is_own = slot.key == *key;
            // Its own, or else one that has ended, or else the lowest.
            (!is_own, slot.count.is_live(now), slot.count.attempts, slot.count.ends_at)
        };
        let Some(slot) = slots.iter_mut().min_by_key(worth) else { return };
        // Nothing is lost with a counter at zero.
        let counts = slot.count.is_live(now) && slot.count.attempts > 0;
        if keeps_evicted && slot.key != *key && counts {
            let kept = if evicted.is_live(now) { *evicted } else { Count::default() };
            *evicted = kept.max(slot.count);
        }
        *slot = Slot { key: *key, count };
    }
}

impl Tables {
    /// Returns the set of a counter.
    fn set(&mut self, counter: &Counter) -> Option<&mut Set> {
        let table = self.sets.get_mut(counter.kind as usize)?;
        if table.is_empty() {
            table.resize_with(self.size, Set::default);
        }
        let place = self.hasher.hash_one(counter.key).checked_rem(u64::try_from(table.len()).ok()?);
        table.get_mut(usize::try_from(place?).ok()?)
    }

    fn count(&mut self, counter: &Counter, now: Duration) -> Count {
        self.set(counter).map(|set| set.count(&counter.key, now)).unwrap_or_default()
    }

    /// Returns all counts. The first one bounds the others: it counts what they count.
    fn counts(&mut self, counters: &[Counter], now: Duration) -> Vec<Count> {
        let mut counts: Vec<_> = counters.iter().map(|it| self.count(it, now)).collect();
        if let Some((first, others)) = counts.split_first_mut() {
            for other in others.iter_mut().filter(|other| other.attempts > first.attempts) {
                *other = Count { attempts: first.attempts, next_at: Duration::ZERO, ..*other };
            }
        }
        counts
    }

    fn store(&mut self, counter: &Counter, count: Count, now: Duration) {
        if let Some(set) = self.set(counter) {
            set.store(&counter.key, count, now, counter.kind.counts_passwords());
        }
    }
}

impl Memory {
    pub(super) fn new(clock: Arc<dyn Clock>, capacity: usize) -> Self {
        let size = capacity.div_ceil(WAYS).max(1);
        let sets = std::array::from_fn(|_| Vec::new());
        Self { clock, tables: Mutex::new(Tables { size, hasher: RandomState::new(), sets }) }
    }

    /// Counts one more in each of these counters.
    ///
    /// # Errors
    /// Returns how long to wait, if one of them is full. Nothing is counted then.
    pub(super) fn charge(&self, counters: &[Counter]) -> Result<(), Duration> {
        self.with(|tables, now| {
            let counts = tables.counts(counters, now);
            let waits = counters.iter().zip(&counts).map(|(it, count)| count.wait(it.rule, now));
            if let Some(wait) = waits.max().filter(|wait| !wait.is_zero()) {
                return Err(wait);
            }
            for (counter, count) in counters.iter().zip(counts) {
                tables.store(counter, count.plus_one(counter.rule, now), now);
            }
            Ok(())
        })
    }

    /// Counts one less in each, whose wait was over.
    pub(super) fn refund(&self, counters: &[Counter]) {
        self.with(|tables, now| {
            for (counter, count) in counters.iter().zip(tables.counts(counters, now)) {
                let attempts = count.attempts.saturating_sub(1);
                let refunded = Count { attempts, next_at: Duration::ZERO, ..count };
                tables.store(counter, refunded, now);
            }
        });
    }

    /// Sets counters to zero, and stores them: an evicted count of their set is not theirs.
    pub(super) fn reset(&self, counters: &[Counter]) {
        self.with(|tables, now| {
            for counter in counters {
                let ends_at = now.saturating_add(counter.rule.life());
                tables.store(counter, Count { ends_at, ..Count::default() }, now);
            }
        });
    }

    /// Locks the tables. No code under this lock can leave them half changed.
    fn with<T>(&self, operation: impl FnOnce(&mut Tables, Duration) -> T) -> T {
        let now = self.clock.monotonic();
        operation(&mut self.tables.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::counters::DAY;

    fn counter(kind: Kind, number: u32, rule: Rule) -> Counter {
        Counter::new(kind, &[&number.to_be_bytes()], rule)
    }

    fn memory(capacity: usize) -> (ManualClock, Memory) {
        let clock = ManualClock::at_unix(0);
        (clock.clone(), Memory::new(Arc::new(clock), capacity))
    }

    #[test]
    fn all_counters_are_charged_or_none() {
        let (clock, memory) = memory(100);
        let one = counter(Kind::Address, 1, Rule::Growing(1));
        let other = counter(Kind::Client, 2, Rule::Growing(3));
        assert_eq!(memory.charge(&[one, other]), Ok(()));
        assert_eq!(memory.charge(&[one, other]), Ok(()));
        for _ in 0..9 {
            assert_eq!(memory.charge(&[one, other]), Err(Duration::from_secs(1)));
        }
        // The other one has two, and has waited for nothing.
        assert_eq!(memory.charge(&[other]), Ok(()));
        assert_eq!(memory.charge(&[other]), Ok(()));
        assert_eq!(memory.charge(&[other]), Err(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(memory.charge(&[one]), Ok(()));
        assert_eq!(memory.charge(&[one]), Err(Duration::from_secs(2)));
        clock.advance(Duration::from_secs(2));
        for _ in 0..9 {
            assert_eq!(memory.charge(&[one]), Ok(()));
            memory.refund(&[one]);
        }
        assert_eq!(memory.charge(&[one]), Ok(()));
        assert_eq!(memory.charge(&[one]), Err(Duration::from_secs(4)));
        memory.reset(&[one]);
        assert_eq!(memory.charge(&[one]), Ok(()));
        clock.advance(DAY);
        assert_eq!((memory.charge(&[one]), memory.charge(&[one])), (Ok(()), Ok(())));
    }

    #[test]
    fn the_first_counter_bounds_the_others() {
        let (_, memory) = memory(100);
        let address = counter(Kind::Address, 1, Rule::Growing(20));
        let client = counter(Kind::Client, 2, Rule::Growing(1));
        while memory.charge(&[address, client]).is_ok() {}
        // What the client has counted is over with the address.
        memory.reset(&[address]);
        assert_eq!(memory.charge(&[address, client]), Ok(()));
        assert_eq!(memory.charge(&[address, client]), Ok(()));
        assert!(memory.charge(&[address, client]).is_err());
    }

    #[test]
    fn failures_count_for_a_day_after_the_last_one() {
        let (clock, memory) = memory(100);
        let seldom = counter(Kind::Address, 3, Rule::Growing(1));
        for (wait, next) in [
            (Duration::ZERO, Ok(())),
            (Duration::ZERO, Ok(())),
            (DAY.saturating_sub(Duration::from_nanos(1)), Ok(())),
            (Duration::ZERO, Err(Duration::from_secs(2))),
            (DAY, Ok(())),
            (Duration::ZERO, Ok(())),
        ] {
            clock.advance(wait);
            assert_eq!(memory.charge(&[seldom]), next, "after {wait:?}");
        }
    }

    #[test]
    fn a_window_ends_so_long_after_its_first() {
        let (clock, memory) = memory(100);
        let hour = Duration::from_hours(1);
        let mails = counter(Kind::Mail, 1, Rule::Window(2, hour));
        assert_eq!(memory.charge(&[mails]), Ok(()));
        clock.advance(hour / 2);
        assert_eq!(memory.charge(&[mails]), Ok(()));
        assert_eq!(memory.charge(&[mails]), Err(hour / 2));
        memory.refund(&[mails]);
        assert_eq!(memory.charge(&[mails]), Ok(()));
        clock.advance(hour / 2);
        assert_eq!((memory.charge(&[mails]), memory.charge(&[mails])), (Ok(()), Ok(())));
        assert_eq!(memory.charge(&[mails]), Err(hour));
    }

    #[test]
    fn no_span_has_more_than_a_sliding_counter_lets_through() {
        let (clock, memory) = memory(100);
        let (hour, minute) = (Duration::from_hours(1), Duration::from_mins(1));
        let codes = counter(Kind::Code, 1, Rule::Sliding(2, hour));
        assert_eq!(memory.charge(&[codes]), Ok(()));
        clock.advance(hour.saturating_sub(minute));
        assert_eq!(memory.charge(&[codes]), Ok(()));
        clock.advance(minute);
        assert_eq!(memory.charge(&[codes]), Err(hour.saturating_sub(minute)));
        clock.advance(hour.saturating_sub(minute));
        assert_eq!((memory.charge(&[codes]), memory.charge(&[codes])), (Ok(()), Ok(())));
        assert_eq!(memory.charge(&[codes]), Err(hour));
    }

    /// Returns how many of a hundred guesses are let through, with four times the capacity of
    /// new counters between any two.
    fn guesses(kind: Kind, rule: Rule, before: u32) -> usize {
        const CAPACITY: u32 = 64;
        let (_, memory) = memory(CAPACITY as usize);
        let mut others = 1..;
        let mut flood = |count: u32| {
            for number in others.by_ref().take(count as usize) {
                let _ = memory.charge(&[counter(kind, number, rule)]);
            }
        };
        flood(before);
        let mut judged = 0;
        for _ in 0..100 {
            judged += usize::from(memory.charge(&[counter(kind, 0, rule)]).is_ok());
            flood(4 * CAPACITY);
        }
        judged
    }

    #[test]
    fn a_flood_of_counters_forgets_no_password() {
        for before in [0, 64, 1000] {
            assert!(guesses(Kind::Address, Rule::Growing(20), before) <= 21);
            assert!(guesses(Kind::Retry, Rule::Window(10, DAY), before) <= 10);
        }
    }

    #[test]
    fn a_counter_at_its_limit_outlives_lower_ones() {
        let (_, memory) = memory(WAYS);
        let rule = Rule::Window(10, DAY);
        let full = counter(Kind::Code, 0, rule);
        for _ in 0..10 {
            assert_eq!(memory.charge(&[full]), Ok(()));
        }
        for number in 1..1000 {
            assert_eq!(memory.charge(&[counter(Kind::Code, number, rule)]), Ok(()));
        }
        assert_eq!(memory.charge(&[full]), Err(DAY));
    }

    #[test]
    fn ended_counters_take_no_room() {
        let (clock, memory) = memory(WAYS);
        let rule = Rule::Growing(0);
        let charge = |number| memory.charge(&[counter(Kind::Address, number, rule)]);
        for number in 0..100 {
            let _ = charge(number);
        }
        assert!(charge(100).is_err(), "what was evicted is not forgotten");
        clock.advance(DAY);
        for number in 0..8 {
            assert_eq!(charge(number), Ok(()));
        }
    }

    #[test]
    fn an_owner_who_succeeds_does_not_inherit_the_set() {
        let (_, memory) = memory(WAYS);
        let rule = Rule::Growing(0);
        for number in 0..100 {
            let _ = memory.charge(&[counter(Kind::Address, number, rule)]);
        }
        let owner = counter(Kind::Address, 1000, rule);
        assert!(memory.charge(&[owner]).is_err());
        memory.reset(&[owner]);
        assert_eq!(memory.charge(&[owner]), Ok(()));
    }
}
