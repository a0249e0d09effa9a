//! The cost of verifying: tokens, API keys with and without a cache, and a wrong password
//! of a known email against one of an unknown, of a disabled account, and of throttled
//! log-ins; and the proofs that must not tell an address with an account from one without.
//!
//! `cargo bench --features full --bench verify`; with `SIGNUP_BENCH_POSTGRES` set to
//! a URL, PostgreSQL's round trip as well. Of passwords and proofs it prints medians of
//! tries of each kind, taken in turn.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use signup::api_key::{ApiKey, ApiKeyPrefix};
use signup::credentials::{CredentialError, Credentials, LoginThrottle};
use signup::hash::{FakeEngine, HashPool};
use signup::idempotency::ReplaySecret;
use signup::mail::{Mail, MailError, MailQueue, Mailer, MemoryMailer};
use signup::store::{LifecycleStore, MemoryStore, PostgresStore, Schema};
use signup::token::{SigningKey, TokenKeys};
use signup::verification::EmailCodes;
use signup::{Signup, SignupRequest, SignupService};
use tokio::runtime::{Builder, Runtime};

const EMAIL: &str = "dev@example.com";
const PASSWORD: &str = "correct horse";
const WRONG: &str = "another horse";

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Somebody who has signed up, and what verifies them.
fn signed_up<S: LifecycleStore>(
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

/// Tries two ways in turn, and prints their medians: what is asked is their ratio, and
/// criterion does not take samples in turn.
fn in_turn(what: &str, tries: usize, ways: [(&str, &dyn Fn(usize)); 2]) {
    let mut times = [const { Vec::new() }; 2];
    for number in 0..tries {
        for ((_, run), times) in ways.iter().zip(&mut times) {
            let began = Instant::now();
            run(number);
            times.push(began.elapsed());
        }
    }
    let [one, other] = times.map(|mut times| {
        times.sort_unstable();
        times.get(tries / 2).copied().unwrap()
    });
    let (ratio, [(first, _), (second, _)]) = (one.as_secs_f64() / other.as_secs_f64(), ways);
    println!("{what}: {first} {one:?}, {second} {other:?}, ratio {ratio:.4}");
}

fn passwords(_: &mut Criterion) {
    let runtime = runtime();
    let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
    let service = service.build().unwrap();
    let sign_up = |email: &str| {
        let signup = runtime.block_on(service.signup(SignupRequest::new(email, PASSWORD)));
        signup.unwrap().account().id().clone()
    };
    sign_up(EMAIL);
    runtime.block_on(service.accounts().disable(&sign_up("off@example.com"))).unwrap();
    let credentials = service.credentials();
    let guess = |email, password| {
        let verified = credentials.verify_password(email, password);
        assert!(runtime.block_on(verified).is_err());
    };
    let known: (_, &dyn Fn(usize)) = ("known", &|_| guess(EMAIL, WRONG));
    let unknown: (_, &dyn Fn(usize)) = ("unknown", &|_| guess("nobody@example.com", WRONG));
    let disabled: (_, &dyn Fn(usize)) = ("disabled", &|_| guess("off@example.com", PASSWORD));
    in_turn("wrong passwords", 200, [known, unknown]);
    in_turn("a wrong password, and the right one of an account", 200, [known, disabled]);

    // After some failures no password is hashed.
    let secret = ReplaySecret::new(&[8; 32]).unwrap();
    let throttled = SignupService::builder(MemoryStore::default())
        .jwt_secret(&[7; 32])
        .login_throttle(LoginThrottle::new(secret))
        .build()
        .unwrap();
    let signed_up = throttled.signup(SignupRequest::new(EMAIL, PASSWORD));
    runtime.block_on(signed_up).unwrap();
    let throttled = throttled.credentials();
    let guess = |email| {
        let login = throttled.log_in(email, WRONG, None, None);
        runtime.block_on(login).err().unwrap()
    };
    for email in [EMAIL, "nobody@example.com"] {
        while matches!(guess(email), CredentialError::Rejected) {}
    }
    let ways: [(_, &dyn Fn(usize)); 2] =
        [("known", &|_| drop(guess(EMAIL))), ("unknown", &|_| drop(guess("nobody@example.com")))];
    in_turn("throttled log-ins", 1000, ways);
}

/// A mailer of mails that nobody reads.
struct Unread;

#[async_trait::async_trait]
impl Mailer for Unread {
    async fn send(&self, _: &Mail) -> Result<(), MailError> {
        Ok(())
    }
}

/// Sign-ups and reclaims that must not tell whether an address has an account.
fn proofs(_: &mut Criterion) {
    let runtime = runtime();
    let verification = || {
        let secret = ReplaySecret::new(&[8; 32]).unwrap();
        EmailCodes::new(secret, MailQueue::new(Unread).capacity(100_000))
    };
    let builder = || SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
    let (first, mailer) = {
        let mailer = Arc::new(MemoryMailer::default());
        let secret = ReplaySecret::new(&[8; 32]).unwrap();
        let mails = MailQueue::new(Arc::clone(&mailer)).capacity(100_000);
        (builder().verify_first(EmailCodes::new(secret, mails)).build().unwrap(), mailer)
    };
    let verifying = first.verification().first().unwrap();
    let begin = |email: &str| {
        runtime.block_on(verifying.begin(SignupRequest::new(email, PASSWORD))).unwrap()
    };
    let pending = begin(EMAIL);
    while mailer.last_code(EMAIL).is_none() {
        runtime.block_on(tokio::task::yield_now());
    }
    let code = mailer.last_code(EMAIL).unwrap();
    runtime.block_on(verifying.complete(pending.reveal_ticket(), &code)).unwrap();
    let ways: [(_, &dyn Fn(usize)); 2] = [
        ("taken", &|_| drop(begin(EMAIL))),
        ("free", &|number| drop(begin(&format!("u{number}@example.com")))),
    ];
    in_turn("sign-ups, proven first", 1000, ways);

    let after = builder().verify_after(verification()).build().unwrap();
    runtime.block_on(after.signup(SignupRequest::new(EMAIL, PASSWORD))).unwrap();
    let verifying = after.verification().after().unwrap();
    let reclaim = |email: &str| runtime.block_on(verifying.begin_reclaim(email, None)).unwrap();
    let ways: [(_, &dyn Fn(usize)); 2] = [
        ("an account", &|_| drop(reclaim(EMAIL))),
        ("none", &|_| drop(reclaim("xyz@example.com"))),
    ];
    in_turn("reclaims", 1000, ways);
}

criterion_group!(benches, tokens, api_keys, passwords, proofs);
criterion_main!(benches);
