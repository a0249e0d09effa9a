//! The pool: a bounded queue in front of threads that own their memory.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::{Clock, SystemClock};
use crate::error::SignupError;
use crate::fields::Password;

use super::engine::{Argon2Engine, Engine, EngineError};
use super::params::WorkFactor;
use super::phc::{PasswordHash, SALT_BYTES};

mod worker;

/// Hashes passwords on threads of its own, so many at a time and no more.
///
/// - As many workers as cores, each with its own memory for its lifetime: peak
///   memory is workers × m plus a constant, whatever the load.
/// - A bounded queue, first come, first served. Its places are given out
///   [before](HashPool::reserve) anything else is done for a request; when none
///   is left, or the wait would be longer than the deadline, the answer is the
///   wait to expect.
/// - A queued job whose caller is gone is skipped. A running one finishes, and
///   its place is free only then.
///
/// One pool can serve several services: share it as `Arc<HashPool>`. Dropping it
/// lets the workers finish the queue and end.
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
    /// A pool with the default configuration, to be changed.
    pub fn builder() -> HashPoolBuilder {
        HashPoolBuilder {
            workers: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            queue: 256,
            deadline: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            factor: WorkFactor::default(),
            engine: Arc::new(Argon2Engine),
            clock: Arc::new(SystemClock),
        }
    }

    /// Takes a place in the queue.
    ///
    /// # Errors
    /// There is none, or the wait would be longer than the deadline.
    pub fn reserve(&self) -> Result<Place, PoolFull> {
        let mut state = self.shared.state();
        let wait = self.shared.wait_behind(&state, state.places);
        let full = state.places >= self.shared.config.places();
        if full || state.closed || wait > self.shared.config.deadline {
            state.stats.refused += 1;
            return Err(PoolFull { retry_after: wait });
        }
        state.places += 1;
        Ok(Place { shared: Arc::clone(&self.shared) })
    }

    /// The work factor of every new hash.
    pub fn work_factor(&self) -> WorkFactor {
        self.shared.config.factor
    }

    /// The name of the engine in use.
    pub fn engine(&self) -> &'static str {
        self.shared.config.engine.name()
    }

    /// What the pool is doing, and has done.
    pub fn stats(&self) -> PoolStats {
        let state = self.shared.state();
        PoolStats { queued: state.queue.len(), ..state.stats }
    }

    /// Refuses new work, finishes all that has a place, and waits for the workers
    /// to end. It blocks, so an async host calls it where it may.
    pub fn shutdown(&self) {
        self.close();
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

/// A pool to be. Each setter replaces a default.
#[must_use]
pub struct HashPoolBuilder {
    workers: usize,
    queue: usize,
    deadline: Duration,
    idle: Duration,
    factor: WorkFactor,
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
}

impl HashPoolBuilder {
    /// How many hashes run at a time. Default: the cores, for more only wait
    /// for each other.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How many wait for a worker. Default: 256, which at 17 ms a hash and two
    /// workers is a little over two seconds' work.
    pub fn queue(mut self, places: usize) -> Self {
        self.queue = places;
        self
    }

    /// The longest wait for a worker. Default: 5 s, after which people reload.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long a worker keeps its memory with nothing to do. Default: 30 s.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// The cost of a hash. Default: [`WorkFactor::OWASP_19_MIB`].
    pub fn work_factor(mut self, factor: WorkFactor) -> Self {
        self.factor = factor;
        self
    }

    /// What computes the hash. Default: [`Argon2Engine`].
    pub fn engine(mut self, engine: impl Engine) -> Self {
        self.engine = Arc::new(engine);
        self
    }

    /// What waits are measured by. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Starts the workers. No runtime is needed.
    ///
    /// # Errors
    /// There is no worker or no place, or the system gives no thread.
    pub fn build(self) -> Result<HashPool, PoolError> {
        if self.workers == 0 || self.queue == 0 {
            return Err(PoolError::Empty);
        }
        let shared = Arc::new(Shared {
            config: self,
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
        });
        let mut threads = Vec::with_capacity(shared.config.workers);
        // The pool exists before its threads, so that those are ended if one
        // of them can't be started.
        let pool = HashPool { shared: Arc::clone(&shared), threads: Mutex::default() };
        for number in 0..shared.config.workers {
            threads.push(worker::start(number, &shared).map_err(PoolError::Thread)?);
        }
        *lock(&pool.threads) = threads;
        Ok(pool)
    }

    fn places(&self) -> usize {
        self.queue.saturating_add(self.workers)
    }
}

impl fmt::Debug for HashPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashPoolBuilder")
            .field("workers", &self.workers)
            .field("queue", &self.queue)
            .field("factor", &self.factor)
            .finish_non_exhaustive()
    }
}

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// No workers, or no places in the queue.
    #[error("a hash pool needs at least one worker and one place in its queue")]
    Empty,
    /// The system gives no thread.
    #[error("the hash pool could not start a thread")]
    Thread(#[source] std::io::Error),
}

/// There is no place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hash queue is full for {retry_after:?}")]
#[non_exhaustive]
pub struct PoolFull {
    /// When the work that is queued now will be done, as far as can be told.
    pub retry_after: Duration,
}

/// Why a hash that had its place came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// It waited for a worker past the deadline.
    #[error(transparent)]
    Late(#[from] PoolFull),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The worker panicked. It has been replaced.
    #[error("the hash worker panicked")]
    Panicked,
}

impl From<PoolFull> for SignupError {
    fn from(full: PoolFull) -> Self {
        Self::Busy { retry_after: full.retry_after }
    }
}

impl From<HashError> for SignupError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Late(full) => full.into(),
            other => Self::internal(other),
        }
    }
}

/// What a pool is doing (`queued`, `running`, `holding`) and has done (the rest).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PoolStats {
    /// Jobs that wait for a worker.
    pub queued: usize,
    /// Jobs that a worker is at.
    pub running: usize,
    /// Workers that hold the memory of a hash.
    pub holding: usize,
    /// Jobs done, failed ones included.
    pub hashes: u64,
    /// Requests that got no place, or waited past the deadline.
    pub refused: u64,
    /// Jobs skipped because their caller was gone.
    pub abandoned: u64,
    /// The time that all jobs together waited for a worker.
    pub waited: Duration,
}

/// A place in the queue, from before a request is looked at until its hash is
/// done. Dropping it frees it.
pub struct Place {
    shared: Arc<Shared>,
}

impl Place {
    /// Hashes `password`, in its turn.
    ///
    /// Dropping the future before a worker has begun takes the job out of the
    /// queue; after that the hash is finished for nobody, and the place is free
    /// when it is.
    ///
    /// # Errors
    /// The wait was longer than the deadline, or the engine failed.
    pub async fn hash(
        self,
        password: Password,
        salt: [u8; SALT_BYTES],
    ) -> Result<PasswordHash, HashError> {
        let shared = Arc::clone(&self.shared);
        let (reply, answer) = oneshot::channel();
        let since = shared.config.clock.monotonic();
        shared.state().queue.push_back(Job { password, salt, since, reply, place: self });
        shared.wake.notify_one();
        answer.await.unwrap_or(Err(HashError::Panicked))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.places -= 1;
        if state.closed && state.places == 0 {
            self.shared.wake.notify_all();
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

struct Job {
    password: Password,
    salt: [u8; SALT_BYTES],
    since: Duration,
    reply: oneshot::Sender<Result<PasswordHash, HashError>>,
    place: Place,
}

struct Shared {
    config: HashPoolBuilder,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Places given out: those at the door, in the queue and at a worker.
    places: usize,
    closed: bool,
    /// What a hash has taken lately; zero until the first one.
    recent: Duration,
    stats: PoolStats,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// How long `ahead` places take to become free.
    fn wait_behind(&self, state: &State, ahead: usize) -> Duration {
        let rounds = ahead / self.config.workers;
        state.recent.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
    }
}

/// No code under these locks can leave the state half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
