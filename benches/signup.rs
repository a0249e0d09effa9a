//! What a sign-up costs besides hash and store: all of it, and each part.
//!
//! `cargo bench --bench signup`. A whole sign-up is measured from the head of the
//! request to the bytes of the answer, with an engine that hashes nothing and a
//! store that stores nothing. It still hands a job to a worker and waits for it,
//! which is the hash's cost: so each sign-up is paired with a bare hand-off, and
//! the row is the difference, in processor time of the calling thread.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cpu_time::ThreadTime;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use signup::fields::{Email, EmailKey, EmailProfile, Name, Password};
use signup::hash::{FakeEngine, HashPool};
use signup::http::{Head, SignupEndpoint};
use signup::random::{SecureRandom, SystemRandom};
use signup::store::{AccountStore, CreateOutcome, NewAccount, StoreError};
use signup::token::SigningKey;
use signup::{SignupRequest, SignupService};
use tokio::runtime::{Builder, Runtime};

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

fn pool() -> Arc<HashPool> {
    Arc::new(HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap())
}

fn endpoint(key: SigningKey) -> SignupEndpoint<Nowhere> {
    let service = SignupService::builder(Nowhere).token_keys(key).hash_pool(pool());
    SignupEndpoint::new(service.build().unwrap())
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn head() -> Head<'static> {
    let headers = [("content-type", b"application/json".as_slice()), ("content-length", b"81")];
    Head::new("POST", headers)
}

/// The processor time that `run` takes of this thread.
fn cost<T>(run: impl FnOnce() -> T) -> Duration {
    let start = ThreadTime::now();
    black_box(run());
    start.elapsed()
}

/// A row: what `whole` costs more than `less`, run in turn.
fn difference(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut whole: impl FnMut(),
    mut less: impl FnMut(),
) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            let (mut more, mut fewer) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..times {
                more += cost(&mut whole);
                fewer += cost(&mut less);
            }
            more.saturating_sub(fewer)
        });
    });
}

fn whole(criterion: &mut Criterion) {
    let (runtime, pool) = (runtime(), pool());
    let hs256 = endpoint(SigningKey::hs256(SECRET).unwrap());
    let eddsa = endpoint(SigningKey::ed25519(&[7; 32]));
    let sign_up = |endpoint: &SignupEndpoint<Nowhere>| {
        let reply = runtime.block_on(async {
            let ticket = endpoint.head(&head()).await.unwrap();
            let mut body = ticket.body();
            body.push(BODY).unwrap();
            endpoint.answer(ticket, body).await
        });
        assert_eq!(reply.status(), 201);
        // As an adapter does, which sends it.
        black_box(reply.into_body());
    };
    let hand_off = || {
        let (password, place) =
            (Password::parse("correct horse").unwrap(), pool.reserve().unwrap());
        drop(runtime.block_on(place.hash_with_salt(password, [0; 16])).unwrap());
    };
    let request = || {
        let email = Email::parse("Dev@Example.com", EmailProfile::Strict).unwrap();
        let name = Name::parse("Jane Developer").unwrap();
        black_box((head(), SignupRequest::from_json(BODY).unwrap(), email, name));
    };
    let mut group = criterion.benchmark_group("signup");
    difference(&mut group, "everything_but_hash_and_store/hs256", || sign_up(&hs256), hand_off);
    difference(&mut group, "everything_but_hash_and_store/eddsa", || sign_up(&eddsa), hand_off);
    let both = || {
        hand_off();
        request();
    };
    difference(&mut group, "of_it_randomness_mint_and_answer/hs256", || sign_up(&hs256), both);
    difference(&mut group, "of_it_request_and_fields", both, hand_off);
    group.finish();
}

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

criterion_group!(benches, whole, parts);
criterion_main!(benches);
