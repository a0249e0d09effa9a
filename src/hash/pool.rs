//! The hash pool: a bounded queue in front of threads that own their memory.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::params::WorkFactor;
use super::phc::{PasswordHash, SALT_BYTES, TAG_BYTES};

mod builder;
mod permit;
mod worker;

pub use builder::{HashPoolBuilder, PoolError};
pub use permit::{HashError, HashPermit, PoolFull, Verification};

use permit::{Input, Tag, Work};
use worker::Worker;

/// A pool that hashes passwords on a fixed number of threads.
///
/// - One worker per core by default, each with its own memory for its lifetime: peak memory
///   is workers × m plus a constant, at any load.
/// - A bounded, first-in first-out queue. A request [reserves](HashPool::reserve) a permit
///   before any other work; if none is left, or the wait would exceed the deadline, it is
///   refused with the expected wait.
/// - A queued job whose caller is gone is skipped. A running one finishes and keeps its
///   permit until then.
///
/// One pool can serve several services: share it as `Arc<HashPool>`. When it is dropped,
/// the workers finish the queue and end.
///
/// ```
/// use signup::hash::HashPool;
///
/// let pool = HashPool::builder().workers(2).queue(64).build().unwrap();
/// assert_eq!(pool.stats().queued, 0);
/// ```
pub struct HashPool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl HashPool {
    /// Creates a builder with the default configuration.
    pub fn builder() -> HashPoolBuilder {
        HashPoolBuilder::default()
    }

    /// Reserves a permit in the queue.
    ///
    /// # Errors
    /// Returns [`PoolFull`] if no permit is left, or if the wait would exceed the deadline.
    pub fn reserve(&self) -> Result<HashPermit, PoolFull> {
        let mut state = self.shared.state();
        self.shared.check_room(&mut state)?;
        state.permits += 1;
        Ok(HashPermit { shared: Arc::clone(&self.shared), begun: None })
    }

    /// Checks that [`reserve`](Self::reserve) would succeed at this moment.
    pub(crate) fn check_room(&self) -> Result<(), PoolFull> {
        self.shared.check_room(&mut self.shared.state())
    }

    /// Checks that a stored hash can be verified here, without computing anything.
    ///
    /// # Errors
    /// Fails if the hash is malformed, costs more than the limits allow, or needs a pepper
    /// that the pool does not have.
    pub(crate) fn check_stored(&self, stored: &PasswordHash) -> Result<(), HashError> {
        #[cfg(feature = "foreign-credentials")]
        if self.shared.config.check_foreign(stored)?.is_some() {
            return Ok(());
        }
        self.shared.config.check_stored(stored).map(drop)
    }

    /// Returns the longest wait for a worker.
    pub(crate) fn deadline(&self) -> Duration {
        self.shared.config.deadline
    }

    /// Returns a hash of no password that costs as much to verify as a new one.
    pub(crate) fn decoy(&self) -> PasswordHash {
        let config = &self.shared.config;
        let (salt, tag) = ([0; SALT_BYTES], [0; TAG_BYTES]);
        PasswordHash::assemble(config.factor, &salt, &tag, config.peppers.current())
    }

    /// Returns the work factor of new hashes.
    pub fn work_factor(&self) -> WorkFactor {
        self.shared.config.factor
    }

    /// Returns the name of the engine in use.
    pub fn engine(&self) -> &'static str {
        self.shared.config.engine.name()
    }

    /// Returns the current state and the totals of the pool.
    pub fn stats(&self) -> PoolStats {
        let state = self.shared.state();
        PoolStats { queued: state.queue.len(), ..state.stats }
    }

    /// Runs the next job of a [manual](HashPoolBuilder::manual) pool on this thread. Returns
    /// whether one was waiting.
    ///
    /// ```
    /// use signup::fields::Password;
    /// use signup::hash::{FakeEngine, HashPool};
    /// use signup::random::SystemRandom;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let pool = HashPool::builder().engine(FakeEngine::default()).manual().build()?;
    /// let hash = pool.reserve()?.hash(Password::parse("correct horse")?, &SystemRandom);
    /// let (hash, ran) = tokio::join!(hash, async { pool.run_next() });
    /// assert!(ran && hash.is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn run_next(&self) -> bool {
        let next = self.shared.state().queue.pop_front();
        next.is_some_and(|job| {
            let mut worker = Worker::new(&self.shared);
            worker.run_job(job);
            worker.release();
            true
        })
    }

    /// Refuses new work, finishes all jobs that have a permit, and waits for the workers to
    /// end.
    ///
    /// It blocks the thread: an async host calls it in `spawn_blocking`, after its server
    /// has drained. On the only thread of a runtime whose sign-ups still hold permits it
    /// never returns; use [`shutdown_timeout`](Self::shutdown_timeout) there.
    pub fn shutdown(&self) {
        self.close();
        self.join();
    }

    /// Shuts down like [`shutdown`](Self::shutdown), but gives up after `timeout`. Returns
    /// whether all permits were returned and the workers have ended.
    ///
    /// ```
    /// use signup::hash::HashPool;
    /// use std::time::Duration;
    ///
    /// let pool = HashPool::builder().workers(1).build().unwrap();
    /// let permit = pool.reserve().unwrap();
    /// assert!(!pool.shutdown_timeout(Duration::from_millis(1)));
    /// drop(permit);
    /// assert!(pool.shutdown_timeout(Duration::from_secs(10)));
    /// assert!(pool.reserve().unwrap_err().closed);
    /// ```
    pub fn shutdown_timeout(&self, limit: Duration) -> bool {
        self.close();
        let is_held = |state: &mut State| state.permits > 0;
        let waited = self.shared.wake.wait_timeout_while(self.shared.state(), limit, is_held);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        if timeout.timed_out() {
            return false;
        }
        self.join();
        true
    }

    fn join(&self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // A worker's panics are caught where they happen.
            let _ = thread.join();
        }
    }

    fn close(&self) {
        self.shared.state().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Drop for HashPool {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for HashPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashPool")
            .field("engine", &self.engine())
            .field("factor", &self.work_factor())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// The current state of a pool (`queued`, `running`, `holding`) and its totals (the rest).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PoolStats {
    /// Jobs waiting for a worker.
    pub queued: usize,
    /// Jobs that a worker is running.
    pub running: usize,
    /// Workers that hold the memory of a hash.
    pub holding: usize,
    /// Finished hashes of Argon2id, including failed ones, without hashes of other systems and
    /// [other work](HashPermit::run).
    pub hashes: u64,
    /// Requests that got no permit or waited past the deadline.
    pub refused: u64,
    /// Jobs skipped because their caller was gone.
    pub abandoned: u64,
    /// Total time that jobs waited for a worker.
    pub waited: Duration,
}

struct Job {
    work: Box<dyn Work>,
    since: Duration,
    permit: HashPermit,
}

struct Shared {
    config: HashPoolBuilder,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Permits given out: held by callers, in the queue, or at a worker.
    permits: usize,
    closed: bool,
    /// Recent duration of a hash; zero until the first one.
    recent: Duration,
    stats: PoolStats,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn check_room(&self, state: &mut State) -> Result<(), PoolFull> {
        let wait = self.wait_behind(state, state.permits);
        let full = state.permits >= self.config.permits();
        if full || state.closed || wait > self.config.deadline {
            state.stats.refused += 1;
            return Err(PoolFull { retry_after: wait, closed: state.closed });
        }
        Ok(())
    }

    /// Estimates how long `ahead` permits take to become free.
    fn wait_behind(&self, state: &State, ahead: usize) -> Duration {
        let rounds = ahead / self.config.workers;
        state.recent.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
    }
}

/// Locks `mutex`. No code under these locks can leave the state half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
