//! Configuration of a [`HashPool`].

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};

use super::{HashError, HashPool, Shared, State, lock, worker};
use crate::hash::engine::{Argon2Engine, Engine};
#[cfg(feature = "foreign-credentials")]
use crate::hash::foreign::{ForeignHash, ForeignHashes};
use crate::hash::params::{Limits, WorkFactor};
use crate::hash::pepper::{Pepper, Peppers};
use crate::hash::phc::{Parsed, PasswordHash};
use crate::issue::InvalidValue;

/// The maximum number of workers: more than any machine has cores.
const MAX_WORKERS: usize = 1024;
/// The maximum length of the queue: hours of work.
const MAX_QUEUE: usize = 1 << 20;

/// Builder for a [`HashPool`]. Every setting has a default.
#[must_use]
pub struct HashPoolBuilder {
    pub(super) workers: usize,
    queue: usize,
    pub(super) deadline: Duration,
    pub(super) idle: Duration,
    pub(super) releases_at_once: bool,
    is_manual: bool,
    pub(super) factor: WorkFactor,
    pub(super) limits: Limits,
    pub(super) peppers: Peppers,
    #[cfg(feature = "foreign-credentials")]
    pub(super) foreign: Option<ForeignHashes>,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Default for HashPoolBuilder {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            queue: 256,
            deadline: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            releases_at_once: false,
            is_manual: false,
            factor: WorkFactor::default(),
            limits: Limits::default(),
            peppers: Peppers::default(),
            #[cfg(feature = "foreign-credentials")]
            foreign: None,
            engine: Arc::new(Argon2Engine),
            clock: Arc::new(SystemClock),
        }
    }
}

impl HashPoolBuilder {
    /// Sets the number of simultaneous hashes. Default: the number of cores; more only wait
    /// for each other.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Sets how many jobs may wait. Default: 256, which is about two seconds of work for
    /// two workers at 17 ms per hash.
    pub fn queue(mut self, permits: usize) -> Self {
        self.queue = permits;
        self
    }

    /// Sets the longest wait for a worker. Default: 5 s, after which people reload.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how long an idle worker keeps its memory. Default: 30 s.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Wipes and releases the memory of each hash as soon as it is done, for its content
    /// depends on the password. Default: it is overwritten by the next hash, and wiped when
    /// the worker is [idle](Self::idle). Each hash then takes its memory anew.
    pub fn wipe_after_each_hash(mut self) -> Self {
        self.releases_at_once = true;
        self
    }

    /// Starts no workers: [`HashPool::run_next`] runs the jobs, so that a test decides when
    /// a hash is computed. **For tests only**: without these calls, every request waits
    /// forever.
    pub fn manual(mut self) -> Self {
        self.is_manual = true;
        self
    }

    /// Sets the cost of a hash. Default: [`WorkFactor::OWASP_19_MIB`].
    pub fn work_factor(mut self, factor: WorkFactor) -> Self {
        self.factor = factor;
        self
    }

    /// Limits the cost of verifying a stored hash. Default: [`Limits::default`], and never
    /// less than this pool's own hashes cost.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the pepper of new hashes, which also verifies hashes of its version. Default:
    /// none.
    pub fn pepper(mut self, pepper: Pepper) -> Self {
        self.peppers.add_current(pepper);
        self
    }

    /// Adds a pepper that only verifies hashes of its version.
    pub fn verifying_pepper(mut self, pepper: Pepper) -> Self {
        self.peppers.add(pepper);
        self
    }

    /// Verifies password hashes of other systems too, within these limits. Default: none.
    #[cfg(feature = "foreign-credentials")]
    pub fn foreign_hashes(mut self, foreign: ForeignHashes) -> Self {
        self.foreign = Some(foreign);
        self
    }

    /// Sets the engine. Default: [`Argon2Engine`].
    pub fn engine(mut self, engine: impl Engine) -> Self {
        self.engine = Arc::new(engine);
        self
    }

    /// Sets the clock that measures waits. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Starts the workers. No runtime is needed.
    ///
    /// # Errors
    /// Fails if there are no workers or no queue, if the work factor is weak, if two
    /// peppers have the same version, or if a thread can't be started.
    pub fn build(mut self) -> Result<HashPool, PoolError> {
        if self.workers == 0 || self.queue == 0 {
            return Err(PoolError::Empty);
        }
        if self.workers > MAX_WORKERS || self.queue > MAX_QUEUE {
            return Err(PoolError::TooLarge { workers: self.workers, queue: self.queue });
        }
        if self.deadline.is_zero() {
            return Err(PoolError::Deadline);
        }
        self.factor.check_strong()?;
        if let Some(version) = self.peppers.duplicate() {
            return Err(PoolError::DuplicatePepper(version));
        }
        self.limits = self.limits.at_least(self.factor);
        let shared = Arc::new(Shared {
            config: self,
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
        });
        let workers = if shared.config.is_manual { 0 } else { shared.config.workers };
        let mut threads = Vec::with_capacity(workers);
        // The pool exists before its threads, so that all of them end if one can't be
        // started.
        let pool = HashPool { shared: Arc::clone(&shared), threads: Mutex::default() };
        for number in 0..workers {
            threads.push(worker::start(number, &shared).map_err(PoolError::Thread)?);
        }
        *lock(&pool.threads) = threads;
        Ok(pool)
    }

    /// Parses a stored hash that can be verified with this configuration.
    pub(super) fn check_stored(&self, stored: &PasswordHash) -> Result<Parsed, HashError> {
        let parsed = stored.parse(&self.limits)?;
        match self.peppers.secret(stored.pepper_version()) {
            Some(_) => Ok(parsed),
            None => Err(HashError::UnknownPepper),
        }
    }

    /// Parses a stored hash if it is one of another system.
    #[cfg(feature = "foreign-credentials")]
    pub(super) fn check_foreign(
        &self,
        stored: &PasswordHash,
    ) -> Result<Option<ForeignHash>, HashError> {
        let foreign = self.foreign.as_ref().filter(|_| stored.is_foreign());
        if foreign.is_some() && stored.pepper_version().is_some() {
            return Err(HashError::UnknownPepper);
        }
        Ok(foreign.map(|foreign| foreign.parse(stored.as_phc())).transpose()?)
    }

    pub(super) fn permits(&self) -> usize {
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

/// The reason why a pool can't be built.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// No workers, or no queue.
    #[error("a hash pool needs at least one worker and a queue of at least one")]
    Empty,
    /// A deadline of zero, which no hash meets.
    #[error("a hash pool needs a deadline above zero")]
    Deadline,
    /// More workers or a longer queue than can be of use: the system would run out of
    /// threads or memory first.
    #[error(
        "a hash pool of {workers} workers and {queue} permits: the most are {MAX_WORKERS} and \
         {MAX_QUEUE}"
    )]
    TooLarge {
        /// The requested workers.
        workers: usize,
        /// The requested length of the queue.
        queue: usize,
    },
    /// The work factor is weaker than OWASP's table.
    #[error(transparent)]
    WorkFactor(#[from] InvalidValue),
    /// Two peppers have the same version.
    #[error("two peppers of version {0}")]
    DuplicatePepper(u32),
    /// The system could not start a thread.
    #[error("could not start a thread of the hash pool")]
    Thread(#[source] std::io::Error),
}

crate::issue::debug_by_text!(PoolError);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Password;
    use crate::hash::FakeEngine;

    #[test]
    fn a_queue_is_bounded() {
        let pool =
            |queue| HashPool::builder().workers(1).queue(queue).engine(FakeEngine::default());
        assert!(pool(MAX_QUEUE).build().is_ok());
        assert!(matches!(pool(MAX_QUEUE + 1).build(), Err(PoolError::TooLarge { .. })));
        let permits = pool(3).build().unwrap().shared.config.permits();
        assert_eq!(permits, 4, "those that wait, and the one that is hashed");
    }

    #[test]
    fn the_memory_of_each_hash_is_released_if_that_is_asked_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let pool = || HashPool::builder().workers(1).engine(FakeEngine::default());
        for (pool, holding) in [(pool(), 1), (pool().wipe_after_each_hash(), 0)] {
            let pool = pool.build().unwrap();
            let password = Password::parse("correct horse").unwrap();
            let hash = pool.reserve().unwrap().hash_with_salt(password, [3; 16]);
            runtime.block_on(hash).unwrap();
            assert_eq!(pool.stats().holding, holding);
        }
    }
}
