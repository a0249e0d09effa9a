//! Round trips to the database, as a proxy on the way counts them.

use std::str::FromStr as _;
use std::sync::Arc;

use signup::credentials::ApiKeyOptions;
use signup::hash::{FakeEngine, HashPool, Pepper};
use signup::idempotency::{IdempotencyKey, ReplaySecret};
use signup::store::{EventStore, LifecycleStore, MySqlStore, PostgresStore};
use signup::{SignupRequest, SignupService};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::support::proxy::Proxy;
use crate::support::{mysql, postgres};

/// The operations, in the order in which they are counted.
const OPERATIONS: [&str; 14] = [
    "sign-up",
    "taken address",
    "sign-up with a key",
    "retry of a sign-up",
    "log-in",
    "log-in with rehash",
    "verify_token",
    "verify_api_key",
    "issue",
    "issue with a key",
    "retry of an issue",
    "rotate",
    "retry of a rotation",
    "revoke",
];

fn service<S: EventStore + LifecycleStore + Clone>(
    store: &S,
    events: bool,
    pepper: Option<Pepper>,
) -> SignupService<S> {
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default());
    let pool = match pepper {
        Some(pepper) => pool.pepper(pepper),
        None => pool,
    };
    let service = SignupService::builder(store.clone()).jwt_secret(&[7; 32]);
    let service = service.retry_safe(ReplaySecret::new(&[8; 32]).unwrap());
    let service = service.hash_pool(Arc::new(pool.build().unwrap()));
    let service = if events { service.with_events() } else { service };
    service.build().unwrap()
}

/// Carries the operations out with addresses of a round, and counts.
async fn count<S: EventStore + LifecycleStore + Clone>(
    store: &S,
    proxy: &Proxy,
    events: bool,
    round: usize,
) -> Vec<usize> {
    let plain = service(store, events, None);
    let peppered = service(store, events, Some(Pepper::new(1, [9; 32]).unwrap()));
    let (credentials, rehashing) = (plain.credentials(), peppered.credentials());
    let (mut counts, mut before) = (Vec::new(), proxy.round_trips());
    let mut counted = || {
        let now = proxy.round_trips();
        counts.push(now - std::mem::replace(&mut before, now));
    };
    let request = |name: &str| {
        SignupRequest::new(format!("{name}{round}{events}@example.com"), "correct horse")
    };
    let key =
        |name: &str| IdempotencyKey::new(format!("0123456789-{name}-{round}-{events}")).unwrap();
    let options = |name: &str| ApiKeyOptions::new().idempotency_key(key(name));

    let signup = plain.signup(request("a")).await.unwrap();
    counted();
    plain.signup(request("a")).await.unwrap_err();
    counted();
    plain.signup(request("b").idempotency_key(key("b"))).await.unwrap();
    counted();
    assert!(plain.signup(request("b").idempotency_key(key("b"))).await.unwrap().is_replayed());
    counted();
    let address = format!("a{round}{events}@example.com");
    credentials.log_in(&address, "correct horse", None, None).await.unwrap();
    counted();
    rehashing.log_in(&address, "correct horse", None, None).await.unwrap();
    counted();
    credentials.verify_token(signup.token().reveal()).await.unwrap();
    counted();
    credentials.verify_api_key(signup.api_key().reveal()).await.unwrap();
    counted();
    let id = signup.account().id();
    let issued = credentials.issue_api_key(id, None).await.unwrap();
    counted();
    credentials.issue_api_key_with(id, &options("issue")).await.unwrap();
    counted();
    credentials.issue_api_key_with(id, &options("issue")).await.unwrap();
    counted();
    let grace = std::time::Duration::from_hours(1);
    let (key, with) = (issued.info().id, options("rotate"));
    let rotated = credentials.rotate_api_key_with(id, &key, grace, &with).await.unwrap();
    counted();
    credentials.rotate_api_key_with(id, &key, grace, &with).await.unwrap();
    counted();
    credentials.revoke_api_key(id, &rotated.info().id).await.unwrap();
    counted();
    counts
}

/// Compares the table, operation by operation: without events, and with them.
async fn check<S: EventStore + LifecycleStore + Clone>(
    store: &S,
    proxy: &Proxy,
    expected: [(usize, usize); OPERATIONS.len()],
) {
    // The statements are prepared in a first round.
    count(store, proxy, false, 0).await;
    count(store, proxy, true, 0).await;
    let (without, with) = (count(store, proxy, false, 1).await, count(store, proxy, true, 1).await);
    let counted: Vec<_> = without.into_iter().zip(with).zip(OPERATIONS).collect();
    let expected: Vec<_> = expected.into_iter().zip(OPERATIONS).collect();
    assert_eq!(counted, expected);
}

/// A store like an opened one, on one connection that has prepared each statement before.
async fn on_one_connection(url: &str) -> PostgresStore {
    let pool = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
    // PgBouncer rejects the setting.
    let options = PgConnectOptions::from_str(url).unwrap().extra_float_digits(None);
    PostgresStore::new(pool.connect_with(options).await.unwrap()).trust_session_timeout()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn round_trips_to_postgres() {
    let direct = postgres::store(&postgres::url()).await;
    let (proxy, url) = postgres::behind_proxy(&postgres::url()).await;
    let store = on_one_connection(&url).await.with_schema(postgres::schema_of(&direct));
    check(
        &store,
        &proxy,
        [
            (2, 2),
            (1, 1),
            (2, 2),
            (2, 2),
            (1, 1),
            (2, 2),
            (1, 1),
            (1, 1),
            (2, 6),
            (3, 7),
            (1, 1),
            (5, 7),
            (1, 1),
            (1, 5),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PgBouncer: scripts/test.sh starts one"]
async fn round_trips_behind_pgbouncer() {
    let direct = postgres::store(&postgres::url()).await;
    let (proxy, url) = postgres::behind_proxy(&postgres::pgbouncer_url()).await;
    let store = on_one_connection(&url).await.with_schema(postgres::schema_of(&direct));
    let store = store.without_prepared_statements();
    check(
        &store,
        &proxy,
        [
            (8, 8),
            (4, 4),
            (8, 8),
            (8, 8),
            (4, 4),
            (8, 8),
            (4, 4),
            (4, 4),
            (8, 12),
            (12, 16),
            (4, 4),
            (10, 14),
            (4, 4),
            (4, 8),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn round_trips_to_mariadb() {
    let direct = mysql::store().await;
    let (proxy, url) = mysql::behind_proxy(&direct).await;
    let pool = MySqlPoolOptions::new().max_connections(1).test_before_acquire(false);
    let store = MySqlStore::new(pool.connect(&url).await.unwrap()).trust_sessions();
    check(
        &store,
        &proxy,
        [
            (5, 7),
            (1, 1),
            (5, 7),
            (2, 2),
            (1, 1),
            (2, 2),
            (1, 1),
            (1, 1),
            (2, 6),
            (3, 7),
            (1, 1),
            (5, 7),
            (1, 1),
            (1, 5),
        ],
    )
    .await;
}
