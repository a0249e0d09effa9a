//! The cost of a sign-up besides hash and store: in all, and of each part.
//!
//! `cargo bench --bench signup`; with `--features metrics` a row for each stage, too, as
//! the service itself times it. A whole sign-up is measured from the head of the
//! request to the bytes of the answer, with an engine that hashes nothing and a
//! store that stores nothing. It still hands a job to a worker and waits for it,
//! which is the hash's cost: so each batch of sign-ups is paired with one of bare
//! hand-offs, and the row is the difference, in processor time of the polls.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use cpu_time::ThreadTime;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, criterion_group, criterion_main};
use signup::api_key::ApiKeyDigest;
use signup::clock::Timestamp;
use signup::error::BoxError;
use signup::fields::{Email, EmailKey, EmailProfile, Name, Password};
use signup::hash::{Engine, EngineHasher, FakeEngine, HashInput, HashPool};
use signup::http::{Head, SignupEndpoint};
use signup::idempotency::ReplaySecret;
use signup::random::{SecureRandom, SystemRandom};
use signup::store::{
    AccountChange, AccountFilter, AccountPage, AccountStore, ChangeOutcome, CreateOutcome, Expired,
    FindBy, KeyOwner, KeyQuery, LifecycleStore, NewAccount, Purged, StoreError, StoredAccount,
    StoredApiKey, StoredLogin,
};
use signup::token::SigningKey;
use signup::{SignupRequest, SignupService};

const BODY: &[u8] =
    br#"{"email":"Dev@Example.com","password":"correct horse","name":"Jane Developer"}"#;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A store in which every email is free, for ever.
struct Nowhere;

#[async_trait]
impl AccountStore for Nowhere {
    async fn is_email_taken(&self, _: &EmailKey) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn create(&self, _: NewAccount) -> Result<CreateOutcome, StoreError> {
        Ok(CreateOutcome::Stored)
    }
}

#[async_trait]
impl LifecycleStore for Nowhere {
    async fn find_key_owner(&self, _: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError> {
        Ok(None)
    }

    async fn find_account(&self, _: FindBy<'_>) -> Result<Option<StoredAccount>, StoreError> {
        Ok(None)
    }

    async fn find_login(&self, _: FindBy<'_>) -> Result<Option<StoredLogin>, StoreError> {
        Ok(None)
    }

    async fn list_accounts(&self, _: &AccountFilter) -> Result<AccountPage, StoreError> {
        Ok(AccountPage::new(Vec::new(), None))
    }

    async fn list_api_keys(&self, _: KeyQuery<'_>) -> Result<Vec<StoredApiKey>, StoreError> {
        Ok(Vec::new())
    }

    async fn is_ticket_used(&self, _: &[u8; 32]) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn change(&self, _: AccountChange) -> Result<ChangeOutcome, StoreError> {
        Ok(ChangeOutcome::NotApplicable)
    }

    async fn purge(&self, _: Expired, _: Timestamp, _: u32) -> Result<Purged, StoreError> {
        Ok(Purged::default())
    }
}

/// Held while futures are polled, so that the worker waits for them, and is woken once a
/// batch: a wake-up costs as much as half a sign-up, and is the hash's.
static GATE: Mutex<()> = Mutex::new(());

/// An engine that hashes nothing, when the gate is open.
struct Gated(FakeEngine);

impl Engine for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn hasher(&self) -> Box<dyn EngineHasher> {
        Box::new(Self(self.0.clone()))
    }
}

impl EngineHasher for Gated {
    fn hash(&mut self, input: &HashInput<'_>, tag: &mut [u8]) -> Result<(), BoxError> {
        let _open = GATE.lock().unwrap();
        self.0.hash(input, tag)
    }
}

fn pool() -> Arc<HashPool> {
    let engine = Gated(FakeEngine::default());
    Arc::new(HashPool::builder().workers(1).engine(engine).build().unwrap())
}

fn endpoint(key: SigningKey) -> SignupEndpoint<Nowhere> {
    let service = SignupService::builder(Nowhere).token_keys(key).hash_pool(pool());
    SignupEndpoint::new(service.build().unwrap())
}

fn retry_safe(key: SigningKey) -> SignupEndpoint<Nowhere> {
    let service = SignupService::builder(Nowhere).token_keys(key).hash_pool(pool());
    let service = service.retry_safe(ReplaySecret::new(&[8; 32]).unwrap());
    SignupEndpoint::new(service.build().unwrap())
}

fn head() -> Head<'static> {
    head_with(None)
}

fn head_with(key: Option<&str>) -> Head<'_> {
    let headers = [("content-type", b"application/json".as_slice()), ("content-length", b"81")];
    let key = key.map(|key| ("idempotency-key", key.as_bytes()));
    Head::new("POST", headers.into_iter().chain(key))
}

/// Idempotency keys in turn: equal requests of a batch would wait for each other.
struct Keys(Vec<String>, AtomicUsize);

impl Keys {
    fn new() -> Self {
        let keys = 0..BATCH * 2;
        let keys = keys.map(|number| format!("8e03978e-40d5-43dd-bc93-{number:012}"));
        Self(keys.collect(), AtomicUsize::new(0))
    }

    fn next(&self) -> &str {
        let number = self.1.fetch_add(1, Ordering::Relaxed);
        self.0.get(number % self.0.len()).unwrap()
    }
}

/// Sign-ups at a time: as on a loaded server, and enough that reading the clock is nothing.
const BATCH: u32 = 64;

/// Wakes nobody: it is asked how often it was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// The processor time of the polls of a batch of futures, for one of them. Waiting for a
/// worker is none of it: between two rounds of polls this thread spins, because going to
/// sleep and waking up would cost more than all that is measured.
fn cost<T>(future: impl AsyncFn() -> T) -> Duration {
    let woken = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut pending: Vec<_> = (0..BATCH).map(|_| Box::pin(future())).collect();
    let mut done = Vec::with_capacity(pending.len());
    let mut took = Duration::ZERO;
    loop {
        woken.0.store(0, Ordering::Release);
        let mut still = Vec::with_capacity(pending.len());
        let closed = GATE.lock().unwrap();
        let start = ThreadTime::now();
        for mut future in pending {
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_ready() { done.push(future) } else { still.push(future) }
        }
        took += start.elapsed();
        drop(closed);
        pending = still;
        if pending.is_empty() {
            return took / BATCH;
        }
        while woken.0.load(Ordering::Acquire) < pending.len() {
            std::hint::spin_loop();
        }
    }
}

/// A row: the median cost of `whole` less that of `less`, run in turn.
fn difference(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    whole: impl AsyncFn(),
    less: impl AsyncFn(),
) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            let pairs: Vec<_> = (0..times).map(|_| (cost(&whole), cost(&less))).collect();
            let more = median(pairs.iter().map(|(more, _)| *more).collect());
            let fewer = median(pairs.iter().map(|(_, fewer)| *fewer).collect());
            let difference = more.saturating_sub(fewer).max(Duration::from_nanos(1));
            difference * u32::try_from(times).unwrap()
        });
    });
}

fn median(mut costs: Vec<Duration>) -> Duration {
    let half = costs.len() / 2;
    *costs.select_nth_unstable(half).1
}

/// From the head of the request to the bytes of the answer.
async fn sign_up(endpoint: &SignupEndpoint<Nowhere>, key: Option<&str>) {
    let ticket = endpoint.head(&head_with(key)).await.unwrap();
    let mut body = ticket.body();
    body.push(BODY).unwrap();
    let reply = endpoint.answer(ticket, body).await;
    assert_eq!(reply.status(), 201);
    // As an adapter does, which sends it.
    black_box(reply.into_body());
}

fn whole(criterion: &mut Criterion) {
    let pool = pool();
    let hs256 = endpoint(SigningKey::hs256(SECRET).unwrap());
    let eddsa = endpoint(SigningKey::ed25519(&[7; 32]));
    let hand_off = async || {
        let (password, permit) =
            (Password::parse("correct horse").unwrap(), pool.reserve().unwrap());
        black_box(permit.hash_with_salt(password, [0; 16]).await.unwrap());
    };
    let request = || {
        let email = Email::parse("Dev@Example.com", EmailProfile::Strict).unwrap();
        let name = Name::parse("Jane Developer").unwrap();
        black_box((head(), SignupRequest::from_json(BODY).unwrap(), email, name));
    };
    let both = async || {
        hand_off().await;
        request();
    };
    let mut group = criterion.benchmark_group("signup");
    // As many pairs of batches in each sample, of which the median is one.
    group.sampling_mode(SamplingMode::Flat);
    let hs256 = async || sign_up(&hs256, None).await;
    let eddsa = async || sign_up(&eddsa, None).await;
    let safe = retry_safe(SigningKey::hs256(SECRET).unwrap());
    let keys = Keys::new();
    let without_key = async || sign_up(&safe, None).await;
    let with_key = async || sign_up(&safe, Some(keys.next())).await;
    difference(&mut group, "everything_but_hash_and_store/hs256", hs256, hand_off);
    difference(&mut group, "everything_but_hash_and_store/eddsa", eddsa, hand_off);
    difference(&mut group, "more_where_it_is_retry_safe", without_key, hs256);
    difference(&mut group, "more_with_an_idempotency_key", with_key, hs256);
    difference(&mut group, "of_it_randomness_mint_and_answer/hs256", hs256, both);
    difference(&mut group, "of_it_request_and_fields", both, hand_off);
    group.finish();
}

/// A row a stage, by the histogram that an operator sees. `hash` is mostly the hand-off.
#[cfg(feature = "metrics")]
fn stages(criterion: &mut Criterion) {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let figures = recorder.handle();
    let spent = |stage: &str| -> Duration {
        let name = format!("signup_stage_duration_seconds_sum{{stage=\"{stage}\"}} ");
        let text = figures.render();
        let sum = text.lines().find_map(|line| line.strip_prefix(&name));
        Duration::from_secs_f64(sum.map_or(0.0, |sum| sum.parse().unwrap()))
    };
    let endpoint = endpoint(SigningKey::hs256(SECRET).unwrap());
    let mut group = criterion.benchmark_group("stage");
    metrics::with_local_recorder(&recorder, || {
        for stage in ["validate", "limit", "policy", "lookup", "hash", "mint", "store"] {
            group.bench_function(stage, |bencher| {
                bencher.iter_custom(|times| {
                    let before = spent(stage);
                    (0..times).for_each(|_| {
                        cost(async || sign_up(&endpoint, None).await);
                    });
                    spent(stage).saturating_sub(before) / BATCH
                });
            });
        }
    });
    group.finish();
}

#[cfg(not(feature = "metrics"))]
fn stages(_: &mut Criterion) {}

fn parts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("part");
    group.bench_function("head", |bencher| bencher.iter(head));
    group.bench_function("read_json", |bencher| {
        bencher.iter(|| SignupRequest::from_json(black_box(BODY)).unwrap());
    });
    group.bench_function("email", |bencher| {
        bencher.iter(|| Email::parse(black_box("Dev@Example.com"), EmailProfile::Strict).unwrap());
    });
    group.bench_function("email_international", |bencher| {
        bencher
            .iter(|| Email::parse(black_box("dev@m\u{fc}nchen.de"), EmailProfile::Strict).unwrap());
    });
    group.bench_function("password", |bencher| {
        bencher.iter(|| Password::parse(black_box("correct horse")).unwrap());
    });
    group.bench_function("name", |bencher| {
        bencher.iter(|| Name::parse(black_box("Jane Developer")).unwrap());
    });
    group.bench_function("randomness_of_the_os", |bencher| {
        bencher.iter(|| {
            let mut draw = [0; 128];
            SystemRandom.fill(&mut draw).unwrap();
            draw
        });
    });
    group.finish();
}

criterion_group!(benches, whole, stages, parts);
criterion_main!(benches);
