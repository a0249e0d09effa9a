//! A worker: a thread with the memory of one hash.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{HashError, Input, Job, PoolFull, Shared, State, Tag};
use crate::hash::engine::{EngineHasher, HashInput};

/// The weight of one hash in the estimate of the next ones: an eighth.
const SMOOTHING: u32 = 8;

pub(super) fn start(number: usize, shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name(format!("signup-hash-{number}"));
    thread.spawn(move || Worker::new(&shared).run())
}

pub(super) struct Worker {
    /// The hasher, from the first job until the worker has been idle for a while.
    hasher: Option<Box<dyn EngineHasher>>,
    /// Whether this worker is counted in `holding`.
    is_holding: bool,
    /// Whether this worker is counted in `running`.
    is_running: bool,
    /// Tags computed by the current job.
    hashes: u64,
    shared: Arc<Shared>,
}

impl Worker {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let shared = Arc::clone(shared);
        Self { hasher: None, is_holding: false, is_running: false, hashes: 0, shared }
    }

    /// Works until the pool is closed. If the host's clock panics, the current job fails
    /// and the worker goes on.
    fn run(mut self) {
        loop {
            let stepped = catch_unwind(AssertUnwindSafe(|| self.step()));
            if matches!(stepped, Ok(false)) {
                return;
            }
            if std::mem::take(&mut self.is_running) {
                self.shared.state().stats.running -= 1;
            }
        }
    }

    /// Runs one job, or returns false when there will be none.
    fn step(&mut self) -> bool {
        let Some(job) = self.next() else {
            return false;
        };
        self.run_job(job);
        true
    }

    /// Runs a job, unless its caller is gone.
    pub(super) fn run_job(&mut self, job: Job) {
        if let Some(Job { work, permit, .. }) = self.still_wanted(job) {
            work.run(self, permit);
        }
    }

    /// Returns the next job, or `None` when the pool is closed and every permit was
    /// returned: a holder of a permit may still queue a job.
    fn next(&mut self) -> Option<Job> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        loop {
            if let Some(job) = state.queue.pop_front() {
                return Some(job);
            }
            if state.closed && state.permits == 0 {
                return None;
            }
            let Some(patience) = self.patience() else {
                let woken = shared.wake.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let woken = shared.wake.wait_timeout(state, patience);
            let (locked, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            state = locked;
            if timeout.timed_out() && state.queue.is_empty() {
                drop(state);
                self.release();
                state = shared.state();
            }
        }
    }

    /// Returns how long to wait for a job before the memory is released; a worker without
    /// memory needs no wake-up.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.is_holding.then_some(self.shared.config.idle)
    }

    /// Counts this worker in `holding`.
    pub(super) fn hold(&mut self) {
        if !std::mem::replace(&mut self.is_holding, true) {
            self.shared.state().stats.holding += 1;
        }
    }

    /// Releases the memory of a hash.
    pub(super) fn release(&mut self) {
        self.hasher = None;
        if std::mem::take(&mut self.is_holding) {
            self.shared.state().stats.holding -= 1;
        }
    }

    /// Drops a job whose caller is gone or that has waited too long.
    fn still_wanted(&mut self, job: Job) -> Option<Job> {
        let waited = self.now().saturating_sub(job.since);
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        state.stats.waited += waited;
        if job.work.is_abandoned() {
            state.stats.abandoned += 1;
        } else if waited > self.shared.config.deadline {
            state.stats.refused += 1;
            let retry_after = self.shared.wait_behind(&state, state.permits);
            drop(state);
            drop(job.permit);
            job.work.refuse(PoolFull { retry_after, closed: false });
            return None;
        } else {
            state.stats.running += 1;
            self.is_running = true;
            return Some(job);
        }
        // The job's permit takes the same lock when it is dropped.
        drop(state);
        None
    }

    /// Runs the work of a job, and counts it. After a panic, this worker's memory is discarded.
    pub(super) fn work<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, HashError>,
    ) -> Result<T, HashError> {
        let begun = self.now();
        let result = catch_unwind(AssertUnwindSafe(|| work(self))).unwrap_or_else(|_| {
            self.release();
            Err(HashError::Panicked)
        });
        let took = self.now().saturating_sub(begun);
        self.is_running = false;
        let hashes = std::mem::take(&mut self.hashes);
        self.shared.state().finished(took, hashes);
        result
    }

    /// Computes a tag.
    pub(super) fn compute(&mut self, input: &Input) -> Result<Tag, HashError> {
        self.hashes += 1;
        self.hold();
        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        let secret = config.peppers.secret(input.pepper).ok_or(HashError::UnknownPepper)?;
        let password = input.password.reveal().as_bytes();
        let parts = HashInput::new(password, &input.salt, input.factor).with(secret, &[]);
        let mut tag = Tag::new(vec![0; input.tag_bytes]);
        let hasher = self.hasher.get_or_insert_with(|| config.engine.hasher());
        let result = hasher.hash(&parts, &mut tag);
        // A hash from elsewhere may have needed more memory than new ones do.
        if config.releases_at_once || input.factor.memory_kib() > config.factor.memory_kib() {
            self.release();
        }
        result.map_err(HashError::Engine)?;
        Ok(tag)
    }

    fn now(&self) -> Duration {
        self.shared.config.clock.monotonic()
    }
}

impl State {
    fn finished(&mut self, took: Duration, hashes: u64) {
        self.stats.running -= 1;
        self.stats.hashes += hashes;
        self.recent = if self.recent.is_zero() {
            took
        } else {
            (self.recent * (SMOOTHING - 1) + took) / SMOOTHING
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::PoolStats;

    #[test]
    fn the_estimate_of_a_hash_follows_the_recent_ones_by_an_eighth() {
        let second = Duration::from_secs(1);
        let mut state = State {
            queue: std::collections::VecDeque::new(),
            permits: 0,
            closed: false,
            recent: Duration::ZERO,
            stats: PoolStats::default(),
        };
        for (took, recent) in [(8, 8), (0, 7), (15, 8)] {
            state.stats.running = 1;
            state.finished(second * took, 1);
            assert_eq!(state.recent, second * recent);
        }
        assert_eq!((state.stats.hashes, state.stats.running), (3, 0));
    }
}
