//! The cost of verifying: tokens, API keys with and without a cache, and a password
//! of a known email against one of an unknown.
//!
//! `cargo bench --features full --bench verify`; with `SIGNUP_BENCH_POSTGRES` set to
//! a URL, PostgreSQL's round trip as well. `-- passwords` prints medians of 200
//! tries of each kind, taken in turn.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use signup::api_key::{ApiKey, ApiKeyPrefix};
use signup::credentials::Credentials;
use signup::hash::{FakeEngine, HashPool};
use signup::store::{AccountStore, CredentialStore, MemoryStore, PostgresStore, Schema};
use signup::token::{SigningKey, TokenKeys};
use signup::{Signup, SignupRequest, SignupService};
use tokio::runtime::{Builder, Runtime};

const EMAIL: &str = "dev@example.com";
const PASSWORD: &str = "correct horse";

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Somebody who has signed up, and what verifies them.
fn signed_up<S: AccountStore + CredentialStore>(
    runtime: &Runtime,
    store: S,
    keys: impl Into<TokenKeys>,
) -> (Signup, SignupService<S>) {
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(store).token_keys(keys).hash_pool(Arc::new(pool));
    let service = service.build().unwrap();
    let signup = runtime.block_on(service.signup(SignupRequest::new(EMAIL, PASSWORD))).unwrap();
    (signup, service)
}

fn tokens(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("token");
    let keys = [
        ("hs256", SigningKey::hs256(&[7; 32]).unwrap()),
        ("ed25519", SigningKey::ed25519(&[7; 32])),
        ("es256", SigningKey::es256(&[7; 32]).unwrap()),
    ];
    for (name, key) in keys {
        let (signup, service) = signed_up(&runtime, MemoryStore::default(), key);
        let (token, verifier) = (signup.token().reveal(), service.token_verifier());
        group.bench_function(name, |bencher| {
            bencher.iter(|| verifier.verify(black_box(token)).unwrap());
        });
        let credentials = service.credentials();
        group.bench_function(format!("{name} and its account in memory"), |bencher| {
            bencher.iter(|| runtime.block_on(credentials.verify_token(black_box(token))).unwrap());
        });
    }
}

fn api_keys(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("api key");
    let prefix = ApiKeyPrefix::default();
    let hs256 = || SigningKey::hs256(&[7; 32]).unwrap();
    let (signup, service) = signed_up(&runtime, MemoryStore::default(), hs256());
    let key = signup.api_key().reveal();
    group.bench_function("form and checksum", |bencher| {
        bencher.iter(|| ApiKey::parse(black_box(key), &prefix).unwrap());
    });
    let mistyped = [key.strip_suffix(|_| true).unwrap(), "*"].concat();
    group.bench_function("malformed", |bencher| {
        bencher.iter(|| ApiKey::parse(black_box(&mistyped), &prefix).unwrap_err());
    });
    let verify = |credentials: &Credentials, key: &str| {
        runtime.block_on(credentials.verify_api_key(black_box(key))).unwrap()
    };
    let credentials = service.credentials();
    group.bench_function("memory", |bencher| bencher.iter(|| verify(&credentials, key)));
    let cached = credentials.with_cache(10_000, Duration::from_mins(1));
    group.bench_function("warm cache", |bencher| bencher.iter(|| verify(&cached, key)));

    if let Ok(url) = std::env::var("SIGNUP_BENCH_POSTGRES") {
        let store = runtime.block_on(async {
            let store = PostgresStore::connect(&url).await.unwrap();
            let name = format!("verify_{}", std::process::id());
            let store = store.with_schema(Schema::new(&name).unwrap());
            store.migrate().await.unwrap();
            store
        });
        let pool = store.pool().clone();
        let (signup, service) = signed_up(&runtime, store, hs256());
        let credentials = service.credentials();
        let key = signup.api_key().reveal();
        group.bench_function("postgres", |bencher| bencher.iter(|| verify(&credentials, key)));
        group.bench_function("postgres, SELECT 1", |bencher| {
            let one = async || {
                let task = {
                    let pool = pool.clone();
                    tokio::spawn(async move { sqlx::query("SELECT 1").fetch_all(&pool).await })
                };
                task.await.unwrap().unwrap()
            };
            bencher.iter(|| runtime.block_on(one()));
        });
    }
}

/// Medians, printed: what is asked is their ratio, and criterion does not take
/// samples in turn.
fn passwords(_: &mut Criterion) {
    const TRIES: usize = 200;
    let runtime = runtime();
    let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
    let service = service.build().unwrap();
    runtime.block_on(service.signup(SignupRequest::new(EMAIL, PASSWORD))).unwrap();
    let credentials = service.credentials();
    let emails = [EMAIL, "nobody@example.com"];
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..TRIES {
        for (email, times) in emails.iter().zip(&mut times) {
            let began = Instant::now();
            let verified = credentials.verify_password(email, "another horse");
            assert!(runtime.block_on(verified).is_err());
            times.push(began.elapsed());
        }
    }
    let [known, unknown] = times.map(|mut times| {
        times.sort_unstable();
        times.get(TRIES / 2).copied().unwrap()
    });
    let ratio = known.as_secs_f64() / unknown.as_secs_f64();
    println!("passwords: known {known:?}, unknown {unknown:?}, ratio {ratio:.4}");
}

criterion_group!(benches, tokens, api_keys, passwords);
criterion_main!(benches);
