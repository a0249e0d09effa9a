//! The bound of what is asked of the store before a password is hashed.
//!
//! Look-ups have places of their own, apart from those of the hash pool: a store that
//! stalls holds none of the pool's, so that whoever needs no store can go on hashing,
//! and the answer is that the store does not respond, and not that hashing is busy.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// Look-ups at a time. Those of a store that answers take a millisecond.
const PLACES: usize = 1024;

/// A store that has answered none of its look-ups for this long has stalled.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// The places of the look-ups.
pub(crate) struct LookupGate {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    /// The monotonic time of the last answer, or of the first look-up since none ran.
    progress: Duration,
}

/// The reason why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// The store answers, but too many ask.
    Full,
    /// The store has answered nobody for a while.
    Stalled,
}

/// A place for one look-up. Dropping it gives it back.
pub(crate) struct Lookup<'a>(&'a LookupGate);

impl LookupGate {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn enter(&self) -> Result<Lookup<'_>, NoPlace> {
        let mut state = self.state();
        if state.running == 0 {
            state.progress = self.clock.monotonic();
        } else if state.running >= PLACES {
            let since = self.clock.monotonic().saturating_sub(state.progress);
            return Err(if since > STALLED_AFTER { NoPlace::Stalled } else { NoPlace::Full });
        }
        state.running += 1;
        Ok(Lookup(self))
    }

    /// No code under this lock can leave the state half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup<'_> {
    /// Notes that the store has answered.
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
        let mut places: Vec<_> = (0..PLACES).map(|_| gate.enter().unwrap()).collect();
        assert_eq!(gate.enter().err(), Some(NoPlace::Full));
        clock.advance(STALLED_AFTER + Duration::from_millis(1));
        assert_eq!(gate.enter().err(), Some(NoPlace::Stalled));
        // One answer, and it works again.
        places.pop().unwrap().answered();
        places.push(gate.enter().unwrap());
        assert_eq!(gate.enter().err(), Some(NoPlace::Full));
        drop(places);
        // A pause with nothing to do is no stall.
        clock.advance(Duration::from_hours(1));
        let places: Vec<_> = (0..PLACES).filter_map(|_| gate.enter().ok()).collect();
        assert_eq!((places.len(), gate.enter().err()), (PLACES, Some(NoPlace::Full)));
    }
}
