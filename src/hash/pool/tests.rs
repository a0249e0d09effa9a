use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::error::{BoxError, SignupError};
use crate::fields::Password;
use crate::hash::engine::{Engine, EngineHasher, FakeEngine, HashInput};
use crate::hash::pepper::Pepper;
use crate::hash::phc::PasswordHash;

/// An engine whose hashes stop until they are let go, one by one.
#[derive(Clone)]
struct Gate {
    begun: mpsc::SyncSender<()>,
    open: Arc<Mutex<mpsc::Receiver<()>>>,
}

fn gate() -> (Gate, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (begun, begins) = mpsc::sync_channel(1000);
    let (opener, open) = mpsc::channel();
    (Gate { begun, open: Arc::new(Mutex::new(open)) }, begins, opener)
}

impl Engine for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn hasher(&self) -> Box<dyn EngineHasher> {
        Box::new(self.clone())
    }
}

impl EngineHasher for Gate {
    fn hash(&mut self, _: &HashInput<'_>, _: &mut [u8]) -> Result<(), BoxError> {
        self.begun.send(()).unwrap();
        lock(&self.open).recv().unwrap();
        Ok(())
    }
}

fn password() -> Password {
    Password::parse("correct horse").unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Waits for what another thread does, however long that takes.
fn eventually(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

fn fake(engine: &FakeEngine) -> HashPool {
    HashPool::builder().workers(1).engine(engine.clone()).build().unwrap()
}

#[test]
fn the_phc_string_is_one_that_argon2_verifies() {
    use argon2::{Argon2, PasswordVerifier};
    let pool = HashPool::builder().workers(1).build().unwrap();
    let hash = block_on(pool.reserve().unwrap().hash_with_salt(password(), [3; 16])).unwrap();
    assert!(hash.as_phc().starts_with("$argon2id$v=19$m=19456,t=2,p=1$AwMDAwMDAwMDAwMDAwMDAw$"));
    assert!(Argon2::default().verify_password(b"correct horse", hash.as_phc()).is_ok());
    assert!(Argon2::default().verify_password(b"Correct horse", hash.as_phc()).is_err());
    assert_eq!(format!("{hash:?}"), "PasswordHash(_)");
}

#[test]
fn h04_a_full_queue_refuses_at_once_with_the_wait_to_expect() {
    let (engine, begins, opener) = gate();
    let clock = ManualClock::at_unix(0);
    let builder = HashPool::builder().workers(1).queue(2).engine(engine).clock(clock.clone());
    let pool = builder.build().unwrap();

    // One hash of four seconds teaches the pool what to expect.
    let mut first = pin!(pool.reserve().unwrap().hash_with_salt(password(), [0; 16]));
    assert!(poll_once(first.as_mut()).is_pending());
    begins.recv().unwrap();
    clock.advance(Duration::from_secs(4));
    opener.send(()).unwrap();
    assert!(block_on(first).is_ok());

    // One job ahead of a newcomer is a wait within the deadline, two are not.
    let permits = [pool.reserve().unwrap(), pool.reserve().unwrap()];
    let refused = pool.reserve().unwrap_err();
    assert_eq!(refused.retry_after, Duration::from_secs(8));
    assert_eq!(pool.stats().refused, 1);
    drop(permits);
    assert!(pool.reserve().is_ok());
}

#[test]
fn a_queue_is_as_long_as_it_was_made() {
    let pool = HashPool::builder().workers(2).queue(3).engine(FakeEngine::default());
    let pool = pool.build().unwrap();
    let permits: Vec<_> = (0..5).map(|_| pool.reserve().unwrap()).collect();
    assert!(pool.reserve().is_err());
    drop(permits);
    assert!(pool.reserve().is_ok());
}

#[test]
fn a_job_that_waited_past_the_deadline_is_answered_and_not_hashed() {
    let (engine, begins, opener) = gate();
    let clock = ManualClock::at_unix(0);
    let builder = HashPool::builder().workers(1).engine(engine).clock(clock.clone());
    let pool = builder.build().unwrap();
    let mut first = pin!(pool.reserve().unwrap().hash_with_salt(password(), [0; 16]));
    assert!(poll_once(first.as_mut()).is_pending());
    begins.recv().unwrap();
    let mut second = pin!(pool.reserve().unwrap().hash_with_salt(password(), [0; 16]));
    assert!(poll_once(second.as_mut()).is_pending());
    clock.advance(Duration::from_secs(6));
    opener.send(()).unwrap();
    assert!(block_on(first).is_ok());
    assert!(matches!(block_on(second), Err(HashError::Late(_))));
    assert_eq!((pool.stats().hashes, pool.stats().refused), (1, 1));
}

#[test]
fn h03_an_abandoned_hash_keeps_its_place_until_it_is_done() {
    let (engine, begins, opener) = gate();
    let pool = HashPool::builder().workers(1).queue(1).engine(engine).build().unwrap();
    {
        let mut running = pin!(pool.reserve().unwrap().hash_with_salt(password(), [0; 16]));
        assert!(poll_once(running.as_mut()).is_pending());
        begins.recv().unwrap();
    }
    let queued = pool.reserve().unwrap();
    assert!(pool.reserve().is_err(), "the running hash gave its permit away");
    {
        let mut queued = pin!(queued.hash_with_salt(password(), [0; 16]));
        assert!(poll_once(queued.as_mut()).is_pending());
    }
    opener.send(()).unwrap();
    eventually(|| pool.shared.state().permits == 0);
    let stats = pool.stats();
    assert_eq!((stats.hashes, stats.abandoned, stats.running), (1, 1, 0));
}

#[test]
fn x05_a_panic_answers_its_caller_and_the_next_hash_works() {
    let engine = FakeEngine::default();
    let pool = fake(&engine);
    engine.panic(true);
    let panicked = block_on(pool.reserve().unwrap().hash_with_salt(password(), [0; 16]));
    assert!(matches!(panicked, Err(HashError::Panicked)));
    engine.panic(false);
    assert!(block_on(pool.reserve().unwrap().hash_with_salt(password(), [0; 16])).is_ok());
    assert_eq!(pool.shared.state().permits, 0);
}

#[test]
fn x05_an_engine_that_panics_before_its_first_hash_leaves_the_worker_alive() {
    struct Unready(std::sync::atomic::AtomicBool);
    impl Engine for Unready {
        fn name(&self) -> &'static str {
            "unready"
        }

        fn hasher(&self) -> Box<dyn EngineHasher> {
            let first = !self.0.swap(true, std::sync::atomic::Ordering::SeqCst);
            assert!(!first, "the engine was told to panic");
            FakeEngine::default().hasher()
        }
    }
    let pool = HashPool::builder().workers(1).engine(Unready(false.into())).build().unwrap();
    let panicked = block_on(pool.reserve().unwrap().hash_with_salt(password(), [0; 16]));
    assert!(matches!(panicked, Err(HashError::Panicked)));
    assert!(block_on(pool.reserve().unwrap().hash_with_salt(password(), [0; 16])).is_ok());
    let stats = pool.stats();
    assert_eq!((stats.running, stats.holding, stats.hashes), (0, 1, 2));
}

#[test]
fn an_engine_that_fails_is_an_error() {
    let engine = FakeEngine::default();
    let pool = fake(&engine);
    engine.fail(true);
    let failed = block_on(pool.reserve().unwrap().hash_with_salt(password(), [0; 16]));
    assert!(matches!(failed, Err(HashError::Engine(_))));
}

#[test]
fn memory_is_given_back_when_idle_and_taken_again() {
    let idle = Duration::from_millis(1);
    let pool = HashPool::builder().workers(1).idle(idle).build().unwrap();
    for _ in 0..2 {
        assert!(block_on(pool.reserve().unwrap().hash_with_salt(password(), [0; 16])).is_ok());
        eventually(|| pool.stats().holding == 0);
    }
    assert_eq!(pool.stats().hashes, 2);
}

#[test]
fn x08_a_shutdown_finishes_what_has_a_place() {
    let engine = FakeEngine::default();
    let pool = Arc::new(fake(&engine));
    let permit = pool.reserve().unwrap();
    let mut queued = pin!(pool.reserve().unwrap().hash_with_salt(password(), [0; 16]));
    assert!(poll_once(queued.as_mut()).is_pending());
    let shutdown = std::thread::spawn({
        let pool = Arc::clone(&pool);
        move || pool.shutdown()
    });
    eventually(|| pool.shared.state().closed);
    assert!(pool.reserve().is_err());
    assert!(block_on(permit.hash_with_salt(password(), [0; 16])).is_ok());
    assert!(block_on(queued).is_ok());
    shutdown.join().unwrap();
    assert!(lock(&pool.threads).is_empty(), "no worker is left");
    assert_eq!(engine.hashes(), 2);
}

#[test]
fn a_worker_without_memory_waits_for_nothing_but_a_job() {
    let pool = HashPool::builder().workers(1).idle(Duration::ZERO);
    let pool = pool.engine(FakeEngine::default()).build().unwrap();
    let mut worker = worker::Worker::new(&pool.shared);
    assert_eq!(worker.patience(), None, "it would wake up again and again");
    worker.hold();
    assert_eq!(worker.patience(), Some(Duration::ZERO));
    worker.release();
    assert_eq!(worker.patience(), None);
    assert!(block_on(pool.reserve().unwrap().hash_with_salt(password(), [0; 16])).is_ok());
    eventually(|| pool.stats().holding == 0);
}

#[test]
fn the_memory_of_a_larger_hash_is_given_back_at_once() {
    gives_back(HashPool::builder());
    #[cfg(feature = "simd")]
    gives_back(HashPool::builder().engine(crate::hash::engine::SimdEngine));
}

fn gives_back(pool: HashPoolBuilder) {
    let larger = WorkFactor::new(20_000, 2, 1).unwrap();
    let elsewhere = HashPool::builder().workers(1).work_factor(larger).build().unwrap();
    let stored =
        block_on(elsewhere.reserve().unwrap().hash_with_salt(password(), [5; 16])).unwrap();
    let pool = pool.workers(1).idle(Duration::MAX).build().unwrap();
    let right = block_on(pool.reserve().unwrap().verify(password(), &stored)).unwrap();
    assert_eq!(right, Verification::Right { needs_rehash: true });
    assert_eq!(pool.stats().holding, 0, "the memory of the larger hash is held");
    assert!(block_on(pool.reserve().unwrap().hash_with_salt(password(), [0; 16])).is_ok());
    assert_eq!(pool.stats().holding, 1, "the memory of a hash of ours is not");
}

/// A clock that panics once, where a worker reads it.
#[derive(Default)]
struct BrokenOnce(std::sync::atomic::AtomicUsize);

impl Clock for BrokenOnce {
    fn wall(&self) -> std::time::SystemTime {
        std::time::UNIX_EPOCH
    }

    fn monotonic(&self) -> Duration {
        // The caller reads it first, then the worker: once before, and again after it
        // has counted itself among those that run.
        match self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            1 | 4 => panic!("no time today"),
            _ => Duration::ZERO,
        }
    }
}

#[test]
fn x06_a_clock_that_panics_ends_a_job_and_not_its_worker() {
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default());
    let pool = pool.clock(BrokenOnce::default()).build().unwrap();
    for _ in 0..2 {
        let lost = block_on(pool.reserve().unwrap().hash_with_salt(password(), [0; 16]));
        assert!(matches!(lost, Err(HashError::Panicked)), "{lost:?}");
    }
    assert!(block_on(pool.reserve().unwrap().hash_with_salt(password(), [0; 16])).is_ok());
    eventually(|| pool.shared.state().permits == 0);
    assert_eq!(pool.stats().running, 0);
}

#[test]
fn a_pool_that_is_shut_down_is_unavailable_and_not_busy() {
    let pool = fake(&FakeEngine::default());
    let permit = pool.reserve().unwrap();
    assert!(!pool.shutdown_timeout(Duration::from_millis(10)), "a permit is out");
    let refused = SignupError::from(pool.reserve().unwrap_err());
    assert_eq!(refused.code().status(), 503);
    drop(permit);
    assert!(pool.shutdown_timeout(Duration::MAX));
    assert!(pool.shutdown_timeout(Duration::MAX), "once more");
}

#[test]
fn a_pool_that_can_not_work_is_not_built() {
    for builder in [HashPool::builder().workers(0), HashPool::builder().queue(0)] {
        assert!(matches!(builder.build(), Err(PoolError::Empty)));
    }
    for builder in [HashPool::builder().workers(100_000), HashPool::builder().queue(usize::MAX)] {
        let refused = builder.build().unwrap_err().to_string();
        assert!(refused.contains("1024"), "{refused}");
    }
}

async fn hash(pool: &HashPool, password: &str) -> PasswordHash {
    let password = Password::parse(password).unwrap();
    pool.reserve().unwrap().hash_with_salt(password, [5; 16]).await.unwrap()
}

async fn verify(
    pool: &HashPool,
    password: &str,
    stored: &PasswordHash,
) -> Result<Verification, HashError> {
    pool.reserve().unwrap().verify(Password::parse(password).unwrap(), stored).await
}

fn pepper(version: u32) -> Pepper {
    Pepper::new(version, format!("a pepper, version {version}")).unwrap()
}

#[test]
fn a_password_verifies_on_the_pool_and_no_other_does() {
    let pool = HashPool::builder().workers(1).build().unwrap();
    block_on(async {
        let stored = hash(&pool, "correct horse").await;
        let right = Verification::Right { needs_rehash: false };
        assert_eq!(verify(&pool, "correct horse", &stored).await.unwrap(), right);
        assert_eq!(verify(&pool, "Correct horse", &stored).await.unwrap(), Verification::Wrong);
        assert_eq!(pool.stats().hashes, 3);
    });
}

#[test]
fn a_hash_of_another_work_factor_is_right_and_outdated() {
    let weak = PasswordHash::from_store(
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        None,
    );
    let pool = HashPool::builder().workers(1).build().unwrap();
    let verified = block_on(verify(&pool, "password", &weak)).unwrap();
    assert_eq!(verified, Verification::Right { needs_rehash: true });
}

#[test]
fn peppers_rotate() {
    let builder = || HashPool::builder().workers(1).engine(FakeEngine::default());
    let old = builder().pepper(pepper(1)).build().unwrap();
    let new = builder().verifying_pepper(pepper(1)).pepper(pepper(2)).build().unwrap();
    let none = builder().build().unwrap();
    block_on(async {
        let stored = hash(&old, "correct horse").await;
        assert_eq!(stored.pepper_version(), Some(1));
        let outdated = Verification::Right { needs_rehash: true };
        assert_eq!(verify(&new, "correct horse", &stored).await.unwrap(), outdated);
        let renewed = hash(&new, "correct horse").await;
        assert_eq!(renewed.pepper_version(), Some(2));
        let right = Verification::Right { needs_rehash: false };
        assert_eq!(verify(&new, "correct horse", &renewed).await.unwrap(), right);
        let unknown = verify(&old, "correct horse", &renewed).await;
        assert!(matches!(unknown, Err(HashError::UnknownPepper)));
        // Without its pepper a hash is of nothing that anybody can guess.
        let stripped = PasswordHash::from_store(renewed.as_phc(), None);
        assert_eq!(verify(&none, "correct horse", &stripped).await.unwrap(), Verification::Wrong);
        // A host that begins with peppers has hashes without one.
        let plain = hash(&none, "correct horse").await;
        assert_eq!(verify(&new, "correct horse", &plain).await.unwrap(), outdated);
    });
}

#[test]
fn two_peppers_of_one_version_and_a_weak_factor_make_no_pool() {
    let twice = HashPool::builder().verifying_pepper(pepper(1)).pepper(pepper(1)).build();
    assert!(matches!(twice, Err(PoolError::DuplicatePepper(1))));
    let weak = WorkFactor::stored(8, 1, 1).unwrap();
    let weak = HashPool::builder().work_factor(weak).build();
    assert!(matches!(weak, Err(PoolError::WorkFactor(_))));
}

#[test]
fn what_costs_too_much_is_refused_before_memory_is_taken() {
    let engine = FakeEngine::default();
    let pool = fake(&engine);
    let stored = block_on(hash(&pool, "correct horse"));
    let greedy = stored.as_phc().replace("m=19456", "m=2097152");
    let refused = block_on(verify(&pool, "correct horse", &PasswordHash::from_store(greedy, None)));
    assert!(matches!(refused, Err(HashError::Phc(_))));
    assert_eq!(engine.hashes(), 1);
    assert_eq!(pool.shared.state().permits, 0);
}

#[test]
fn a_job_that_comes_during_the_shutdown_is_run() {
    // The thread that waits for the end must not take the only call of a worker.
    let (begun, ready) = std::sync::mpsc::channel();
    let (go, goes) = std::sync::mpsc::channel::<()>();
    let pool = Arc::new(HashPool::builder().workers(1).build().unwrap());
    let run = |job: Box<dyn FnOnce() + Send>| {
        let permit = pool.reserve().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(permit.run(job)).unwrap();
        })
    };
    let first = run(Box::new(move || {
        begun.send(()).unwrap();
        let _ = goes.recv();
    }));
    ready.recv().unwrap();
    let second = pool.reserve().unwrap();
    let closing = {
        let pool = Arc::clone(&pool);
        std::thread::spawn(move || pool.shutdown_timeout(Duration::from_mins(1)))
    };
    while pool.reserve().is_ok_and(|permit| {
        drop(permit);
        true
    }) {
        std::thread::yield_now();
    }
    go.send(()).unwrap();
    first.join().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(second.run(|| 7)).unwrap(), 7);
    assert!(closing.join().unwrap(), "the shutdown has not ended");
}

#[test]
fn a_deadline_of_zero_is_refused() {
    let refused = HashPool::builder().workers(1).deadline(Duration::ZERO).build();
    assert!(matches!(refused, Err(PoolError::Deadline)), "{refused:?}");
}
