//! A permit of the hash queue and the jobs that it allows.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use subtle::ConstantTimeEq as _;
use tokio::sync::oneshot;

use crate::fields::Password;
use crate::issue::BoxError;
use crate::random::{RandomError, SecureRandom};
use crate::secret::Secret;

use super::worker::Worker;
use super::{Job, Shared};
#[cfg(feature = "foreign-credentials")]
use crate::hash::foreign::ForeignHash;
use crate::hash::params::WorkFactor;
use crate::hash::phc::{PasswordHash, PhcError, SALT_BYTES, TAG_BYTES};

/// A permit of the hash queue, held from before a request is processed until its hash is
/// done. Dropping it returns it.
pub struct HashPermit {
    pub(super) shared: Arc<Shared>,
    /// Set when a worker starts the job.
    pub(super) begun: Option<Arc<AtomicBool>>,
}

impl HashPermit {
    /// Sets `begun` when a worker begins the job.
    pub(crate) fn reporting(mut self, begun: Arc<AtomicBool>) -> Self {
        self.begun = Some(begun);
        self
    }

    /// Hashes `password` with a salt drawn from `random`, when its turn comes.
    ///
    /// # Errors
    /// Fails like [`hash_with_salt`](Self::hash_with_salt), or if `random` does.
    pub async fn hash(
        self,
        password: Password,
        random: &dyn SecureRandom,
    ) -> Result<PasswordHash, HashError> {
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt)?;
        self.hash_with_salt(password, salt).await
    }

    /// Hashes `password` when its turn comes, with a salt that was drawn for this password
    /// alone: two passwords with one salt are guessed at the cost of one.
    ///
    /// If the future is dropped before a worker has begun, nothing is computed; the job
    /// keeps its permit until a worker removes it from the queue. A hash that has begun
    /// finishes, and the permit is returned then.
    ///
    /// # Errors
    /// Fails if the wait exceeds the deadline or the engine fails.
    pub async fn hash_with_salt(
        self,
        password: Password,
        salt: [u8; SALT_BYTES],
    ) -> Result<PasswordHash, HashError> {
        let config = &self.shared.config;
        let (factor, pepper) = (config.factor, config.peppers.current());
        let input = Input { password, salt: salt.to_vec(), factor, pepper, tag_bytes: TAG_BYTES };
        let tag = self.submit(move |worker| worker.compute(&input)).await?;
        Ok(PasswordHash::assemble(factor, &salt, &tag, pepper))
    }

    /// Verifies `password` against a stored hash, when its turn comes, on the same workers.
    /// The tags are compared in constant time.
    ///
    /// # Errors
    /// Fails like [`hash`](HashPermit::hash). It also fails, without computing anything, if
    /// the stored hash is not Argon2id, costs more than the limits allow, or needs a pepper
    /// that the pool does not have.
    ///
    /// ```
    /// use signup::fields::Password;
    /// use signup::hash::{HashPool, Verification};
    /// use signup::random::SystemRandom;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let pool = HashPool::builder().workers(1).build()?;
    /// let password = Password::parse("correct horse")?;
    /// let stored = pool.reserve()?.hash(password, &SystemRandom).await?;
    ///
    /// let wrong = Password::parse("another horse")?;
    /// assert_eq!(pool.reserve()?.verify(wrong, &stored).await?, Verification::Wrong);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn verify(
        self,
        password: Password,
        stored: &PasswordHash,
    ) -> Result<Verification, HashError> {
        let config = &self.shared.config;
        #[cfg(feature = "foreign-credentials")]
        if let Some(foreign) = config.check_foreign(stored)? {
            return self.verify_foreign(password, foreign).await;
        }
        let parsed = config.check_stored(stored)?;
        let pepper = stored.pepper_version();
        let needs_rehash = parsed.factor != config.factor
            || pepper != config.peppers.current()
            || parsed.salt.len() < SALT_BYTES
            || parsed.tag.len() < TAG_BYTES;
        // Argon2id of another system is of what was typed.
        #[cfg(feature = "foreign-credentials")]
        let verbatim = config.foreign.as_ref().and_then(|_| password.verbatim());
        let input = Input {
            password,
            salt: parsed.salt.to_vec(),
            factor: parsed.factor,
            pepper,
            tag_bytes: parsed.tag.len(),
        };
        self.submit(move |worker| {
            let is_right = |tag: &Tag| bool::from(tag.ct_eq(parsed.tag.as_bytes()));
            if is_right(&worker.compute(&input)?) {
                return Ok(Verification::Right { needs_rehash });
            }
            #[cfg(feature = "foreign-credentials")]
            if let Some(password) = verbatim
                && is_right(&worker.compute(&Input { password, ..input })?)
            {
                return Ok(Verification::Right { needs_rehash: true });
            }
            Ok(Verification::Wrong)
        })
        .await
    }

    #[cfg(feature = "foreign-credentials")]
    async fn verify_foreign(
        self,
        password: Password,
        stored: ForeignHash,
    ) -> Result<Verification, HashError> {
        self.submit(move |worker| {
            // It may need as much memory as a hash of ours.
            worker.release();
            let right = stored.verify(&password);
            let needs_rehash = stored.covers(&password);
            Ok(if right { Verification::Right { needs_rehash } } else { Verification::Wrong })
        })
        .await
    }

    /// Runs other work of that size, when its turn comes, on the same workers.
    ///
    /// # Errors
    /// Fails if the wait exceeds the deadline or the work panics.
    ///
    /// ```
    /// use signup::hash::HashPool;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let pool = HashPool::builder().workers(1).build()?;
    /// assert_eq!(pool.reserve()?.run(|| (1..=20).product::<u64>()).await?, 2_432_902_008_176_640_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        self.submit(|_| Ok(work())).await
    }

    async fn submit<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut Worker) -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let shared = Arc::clone(&self.shared);
        let (reply, answer) = oneshot::channel();
        let since = shared.config.clock.monotonic();
        let begun = self.begun.clone();
        let work = move |worker: &mut Worker| {
            if let Some(begun) = begun {
                begun.store(true, Ordering::SeqCst);
            }
            work(worker)
        };
        let work = Box::new(Request { work, reply });
        let is_closed = {
            let mut state = shared.state();
            state.queue.push_back(Job { work, since, permit: self });
            state.closed
        };
        // While the pool shuts down, a thread that waits for its end would take the only call.
        if is_closed {
            shared.wake.notify_all();
        } else {
            shared.wake.notify_one();
        }
        answer.await.unwrap_or(Err(HashError::Panicked))
    }
}

impl Drop for HashPermit {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.permits -= 1;
        if state.closed && state.permits == 0 {
            self.shared.wake.notify_all();
        }
    }
}

impl fmt::Debug for HashPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashPermit")
    }
}

/// The work of a job, with the caller that waits for it.
pub(super) trait Work: Send {
    /// Returns whether the caller is gone.
    fn is_abandoned(&self) -> bool;

    /// Replies that the job has waited too long.
    fn refuse(self: Box<Self>, late: PoolFull);

    /// Works, returns the permit, and replies.
    fn run(self: Box<Self>, worker: &mut Worker, permit: HashPermit);
}

struct Request<F, T> {
    work: F,
    reply: oneshot::Sender<Result<T, HashError>>,
}

impl<F, T> Work for Request<F, T>
where
    F: FnOnce(&mut Worker) -> Result<T, HashError> + Send,
    T: Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn refuse(self: Box<Self>, late: PoolFull) {
        let _ = self.reply.send(Err(late.into()));
    }

    fn run(self: Box<Self>, worker: &mut Worker, permit: HashPermit) {
        let Self { work, reply } = *self;
        let result = worker.work(work);
        drop(permit);
        let _ = reply.send(result);
    }
}

/// The input of a tag.
pub(super) struct Input {
    pub(super) password: Password,
    pub(super) salt: Vec<u8>,
    pub(super) factor: WorkFactor,
    pub(super) pepper: Option<u32>,
    pub(super) tag_bytes: usize,
}

pub(super) type Tag = Secret<Vec<u8>>;

/// The result of verifying a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Verification {
    /// The password is wrong.
    Wrong,
    /// The password is right.
    Right {
        /// The stored hash has another work factor or pepper than new ones: hash the
        /// password again while it is at hand, and store that.
        needs_rehash: bool,
    },
}

/// The error of a pool that has no permit left.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", if *closed { "the hash pool is shut down" } else { "the hash queue is full" })]
#[non_exhaustive]
pub struct PoolFull {
    /// Estimated time until the queued work is done.
    pub retry_after: Duration,
    /// The pool is shut down; this process will not accept work again.
    pub closed: bool,
}

crate::issue::debug_by_text!(PoolFull);

/// The reason why a job with a permit failed.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// The job waited for a worker past the deadline.
    #[error(transparent)]
    Late(#[from] PoolFull),
    /// The engine failed.
    #[error("the password could not be hashed")]
    Engine(#[source] BoxError),
    /// No salt could be drawn.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The stored hash can't be verified.
    #[error(transparent)]
    Phc(#[from] PhcError),
    /// The stored hash needs a pepper that the pool does not have.
    #[error("unknown pepper version of a stored hash")]
    UnknownPepper,
    /// The worker panicked. It has been replaced.
    #[error("the hash worker panicked")]
    Panicked,
}

crate::issue::debug_by_text!(HashError);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{FakeEngine, HashPool};

    fn password() -> Password {
        Password::parse("correct horse").unwrap()
    }

    #[tokio::test]
    async fn a_hash_is_renewed_if_its_salt_or_its_tag_is_shorter_than_those_of_new_ones() {
        let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
        for (salt, tag, needs_rehash) in [
            (SALT_BYTES, TAG_BYTES, false),
            (SALT_BYTES + 1, TAG_BYTES, false),
            (SALT_BYTES, TAG_BYTES + 1, false),
            (SALT_BYTES - 1, TAG_BYTES, true),
            (SALT_BYTES, TAG_BYTES - 1, true),
        ] {
            let (salt, factor) = (vec![5; salt], pool.work_factor());
            let input = Input {
                password: password(),
                salt: salt.clone(),
                factor,
                pepper: None,
                tag_bytes: tag,
            };
            let tag = pool.reserve().unwrap().submit(move |worker| worker.compute(&input));
            let stored = PasswordHash::assemble(factor, &salt, &tag.await.unwrap(), None);
            let verified = pool.reserve().unwrap().verify(password(), &stored).await.unwrap();
            assert_eq!(verified, Verification::Right { needs_rehash }, "{}", stored.as_phc());
        }
    }

    #[tokio::test]
    async fn the_last_permit_of_a_closed_pool_ends_its_workers() {
        // Often, for a worker may look once more just when the permit is returned.
        for _ in 0..100 {
            let pool = HashPool::builder().workers(1).engine(FakeEngine::default());
            let pool = Arc::new(pool.build().unwrap());
            let (last, job) = (pool.reserve().unwrap(), pool.reserve().unwrap());
            let ended = tokio::task::spawn_blocking({
                let pool = Arc::clone(&pool);
                move || pool.shutdown()
            });
            while !pool.shared.state().closed {
                tokio::task::yield_now().await;
            }
            job.hash_with_salt(password(), [0; SALT_BYTES]).await.unwrap();
            drop(last);
            ended.await.unwrap();
        }
    }
}
