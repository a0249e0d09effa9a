//! Hazards 7: ten thousand sign-ups at once, in process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use async_trait::async_trait;
use signup::error::BoxError;
use signup::fields::EmailKey;
use signup::hash::{Engine, EngineHasher, HashInput, HashPool, WorkFactor};
use signup::store::{AccountStore, CreateOutcome, MemoryStore, NewAccount, StoreError};
use signup::{SignupError, SignupRequest, SignupService};
use tokio::task::JoinSet;

const CROWD: usize = 10_000;
const QUEUE: usize = 256;
const WORKERS: usize = 2;

/// A store that counts how often it is asked.
#[derive(Default)]
struct Counting {
    store: MemoryStore,
    calls: AtomicUsize,
}

#[async_trait]
impl AccountStore for Counting {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.store.is_email_taken(key).await
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.store.create(new).await
    }
}

/// The memory that the process has had at its peak, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h01_h02_ten_thousand_at_once_take_the_memory_of_two() {
    // A slow machine is no reason to refuse: the queue is.
    let pool = HashPool::builder().workers(WORKERS).queue(QUEUE).deadline(Duration::from_mins(10));
    let pool = pool.build().unwrap();
    let store = Arc::new(Counting::default());
    let service = SignupService::builder(Arc::clone(&store))
        .jwt_secret(&[7; 32])
        .hash_pool(Arc::new(pool))
        .build()
        .unwrap();
    // A request that is not hashed brings the code into memory, which is part of the base.
    let invalid = service.signup(SignupRequest::new("nobody", "short")).await;
    assert!(matches!(invalid, Err(SignupError::Invalid(_))), "{invalid:?}");
    let before = peak();
    let mut tasks = JoinSet::new();
    for number in 0..CROWD {
        let service = service.clone();
        tasks.spawn(async move {
            let request = SignupRequest::new(format!("user{number}@x.co"), "correct horse");
            service.signup(request).await.map(|_| ())
        });
    }
    let (mut created, mut refused) = (0, 0);
    while let Some(result) = tasks.join_next().await {
        match result.unwrap() {
            Ok(()) => created += 1,
            Err(SignupError::Busy { .. }) => refused += 1,
            Err(other) => unreachable!("{other}"),
        }
    }
    assert_eq!(created + refused, CROWD);
    assert!(created >= QUEUE + WORKERS, "{created} created");
    assert_eq!(store.store.accounts().len(), created);
    // A look and an insert each for those who had a place. Who came while the queue was
    // full has asked nothing; a look was in vain only where the other one of the two
    // threads took the place that both had seen, so that for each place there is at most
    // one of these.
    let calls = store.calls.load(Ordering::SeqCst);
    assert!((2 * created..=3 * created).contains(&calls), "{calls} calls, {created} created");
    let stats = service.hash_pool().stats();
    assert_eq!(stats.hashes, u64::try_from(created).unwrap());
    assert_eq!(stats.refused, u64::try_from(refused).unwrap());
    let factor = u64::from(WorkFactor::default().memory_kib()) * 1024;
    let bound = before + 2 * factor + (32 << 20);
    assert!(peak() <= bound, "{} MiB more", (peak() - before) >> 20);
}

/// An engine whose hashes wait until they are let go.
struct Held(Arc<Barrier>);

impl Engine for Held {
    fn name(&self) -> &'static str {
        "held"
    }

    fn hasher(&self) -> Box<dyn EngineHasher> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

impl EngineHasher for Held {
    fn hash(&mut self, _: &HashInput<'_>, tag: &mut [u8]) -> Result<(), BoxError> {
        self.0.wait();
        tag.fill(1);
        Ok(())
    }
}

#[tokio::test(flavor = "current_thread")]
async fn h06_the_only_thread_runs_other_tasks_while_every_worker_hashes() {
    // The workers begin and end their hashes together with this task: on its own
    // thread none of them would come to an end.
    let held = Arc::new(Barrier::new(WORKERS + 1));
    let pool = HashPool::builder().workers(WORKERS).engine(Held(Arc::clone(&held)));
    let service = SignupService::builder(MemoryStore::default())
        .jwt_secret(&[7; 32])
        .hash_pool(Arc::new(pool.build().unwrap()))
        .build()
        .unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..WORKERS {
        let request = SignupRequest::new(format!("user{number}@x.co"), "correct horse");
        let service = service.clone();
        tasks.spawn(async move { service.signup(request).await.map(|_| ()) });
    }
    while service.hash_pool().stats().running < WORKERS {
        tokio::task::yield_now().await;
    }
    assert!(tasks.try_join_next().is_none());
    held.wait();
    assert!(tasks.join_all().await.iter().all(Result::is_ok));
}
