//! A circuit breaker: after a failure, one request at a time tries again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// A circuit breaker. While closed it admits every request; while open, one after each
/// pause, which probes for all others.
#[derive(Debug)]
pub(super) struct Breaker {
    /// The time of the next probe, in nanoseconds of monotonic time; 0 means closed.
    next_probe: AtomicU64,
    /// The time that a probe blocks others. A dropped probe reports nothing, so it has to
    /// expire.
    probe: Duration,
}

/// An admitted request.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub(super) struct Admitted {
    /// The state at admission. The request's outcome counts only for that state.
    state: u64,
}

impl Breaker {
    /// Creates a closed breaker for requests that take at most `deadline`.
    pub(super) fn new(deadline: Duration) -> Self {
        Self { next_probe: AtomicU64::new(0), probe: deadline.max(PAUSE) }
    }

    /// Admits a request, or returns `None` while the service is paused.
    pub(super) fn admit(&self, now: Duration) -> Option<Admitted> {
        let state = self.next_probe.load(Ordering::Relaxed);
        if state == 0 {
            return Some(Admitted { state });
        }
        if nanos(now) < state {
            return None;
        }
        let probing = after(now, self.probe);
        self.swap(state, probing).then_some(Admitted { state: probing })
    }

    /// Records a success. Returns whether it has closed the breaker.
    pub(super) fn record_success(&self, Admitted { state }: Admitted) -> bool {
        state != 0 && self.swap(state, 0)
    }

    /// Records a failure. Returns whether it has opened the breaker.
    pub(super) fn record_failure(&self, Admitted { state }: Admitted, now: Duration) -> bool {
        self.swap(state, after(now, PAUSE)) && state == 0
    }

    fn swap(&self, from: u64, to: u64) -> bool {
        let swapped =
            self.next_probe.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        swapped.is_ok()
    }
}

fn after(now: Duration, pause: Duration) -> u64 {
    nanos(now.saturating_add(pause))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_millis(50);

    fn admitted(breaker: &Breaker, now: Duration) -> Vec<Admitted> {
        (0..100).filter_map(|_| breaker.admit(now)).collect()
    }

    /// Creates a breaker that has failed at `now`.
    fn open(now: Duration) -> Breaker {
        let breaker = Breaker::new(DEADLINE);
        let requests = admitted(&breaker, now);
        assert_eq!(requests.len(), 100, "it began open");
        let opened = requests.into_iter().filter(|request| breaker.record_failure(*request, now));
        assert_eq!(opened.count(), 1);
        breaker
    }

    #[test]
    fn one_request_alone_probes_after_each_pause() {
        let mut now = Duration::ZERO;
        let breaker = open(now);
        for _ in 0..3 {
            assert!(admitted(&breaker, now).is_empty());
            now += PAUSE;
            let probes = admitted(&breaker, now);
            assert_eq!(probes.len(), 1);
            assert!(!breaker.record_failure(probes[0], now), "it was open before");
        }
        now += PAUSE;
        let probe = breaker.admit(now).unwrap();
        assert!(breaker.record_success(probe));
        assert_eq!(admitted(&breaker, now).len(), 100);
    }

    #[test]
    fn of_many_threads_one_probes() {
        let breaker = open(Duration::ZERO);
        let probes: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| admitted(&breaker, PAUSE).len())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(probes, 1);
    }

    #[test]
    fn a_probe_that_is_dropped_is_followed_by_another() {
        let breaker = open(Duration::ZERO);
        assert!(breaker.admit(PAUSE).is_some());
        assert!(breaker.admit(PAUSE + PAUSE / 2).is_none());
        assert_eq!(admitted(&breaker, PAUSE * 2).len(), 1);
    }

    #[test]
    fn requests_of_an_earlier_state_change_nothing() {
        let breaker = Breaker::new(DEADLINE);
        let before = [breaker.admit(Duration::ZERO), breaker.admit(Duration::ZERO)];
        let [late, failed] = before.map(Option::unwrap);
        assert!(breaker.record_failure(failed, Duration::ZERO));
        assert!(!breaker.record_success(late));
        assert!(breaker.admit(Duration::ZERO).is_none());
        let probe = breaker.admit(PAUSE).unwrap();
        assert!(!breaker.record_failure(late, PAUSE));
        assert!(breaker.record_success(probe));
    }
}
