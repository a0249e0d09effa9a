//! The bound on queries that a sign-up or log-in sends before its password is hashed.
//!
//! Lookups have their own permits, apart from the permits of the hash pool. A store that
//! stalls does not hold the pool's permits, so that requests that need no store go on, and the
//! client learns that the store does not respond instead of that hashing is busy.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// The maximum number of simultaneous lookups. A store that works answers in a
/// millisecond.
const CAPACITY: usize = 1024;

/// The time without any answer after which a store counts as stalled.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// The permits for lookups.
pub(crate) struct LookupGate {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    /// Monotonic time of the last answer, or of the first lookup since none was running.
    progress: Duration,
}

/// The reason why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPermit {
    /// The store answers, but too many requests wait for it.
    Full,
    /// The store has not answered anyone for a while.
    Stalled,
}

/// A permit for one lookup, returned when dropped.
pub(crate) struct Lookup<'a>(&'a LookupGate);

impl LookupGate {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Acquires a permit.
    ///
    /// # Errors
    /// Returns [`NoPermit`] if all are taken.
    pub(crate) fn enter(&self) -> Result<Lookup<'_>, NoPermit> {
        let mut state = self.state();
        if state.running == 0 {
            state.progress = self.clock.monotonic();
        } else if state.running >= CAPACITY {
            let since = self.clock.monotonic().saturating_sub(state.progress);
            return Err(if since > STALLED_AFTER { NoPermit::Stalled } else { NoPermit::Full });
        }
        state.running += 1;
        Ok(Lookup(self))
    }

    /// Locks the state. No code under this lock can leave it half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup<'_> {
    /// Records that the store has answered.
    pub(crate) fn answered(self) {
        let now = self.0.clock.monotonic();
        self.0.state().progress = now;
    }
}

impl Drop for Lookup<'_> {
    fn drop(&mut self) {
        self.0.state().running -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    impl std::fmt::Debug for Lookup<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Lookup")
        }
    }

    #[test]
    fn a_stalled_store_is_told_from_a_busy_one() {
        let clock = ManualClock::at_unix(0);
        let gate = LookupGate::new(Arc::new(clock.clone()));
        let mut places: Vec<_> = (0..CAPACITY).map(|_| gate.enter().unwrap()).collect();
        assert_eq!(gate.enter().err(), Some(NoPermit::Full));
        clock.advance(STALLED_AFTER);
        assert_eq!(gate.enter().err(), Some(NoPermit::Full));
        clock.advance(Duration::from_millis(1));
        assert_eq!(gate.enter().err(), Some(NoPermit::Stalled));
        // One answer, and it works again.
        places.pop().unwrap().answered();
        places.push(gate.enter().unwrap());
        assert_eq!(gate.enter().err(), Some(NoPermit::Full));
        drop(places);
        // A pause with nothing to do is no stall.
        clock.advance(Duration::from_hours(1));
        let places: Vec<_> = (0..CAPACITY).filter_map(|_| gate.enter().ok()).collect();
        assert_eq!((places.len(), gate.enter().err()), (CAPACITY, Some(NoPermit::Full)));
    }
}
