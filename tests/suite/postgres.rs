//! Hazards 5, 6 and 8 on a real PostgreSQL: connections that are lost at a given
//! point, isolation levels, rows of the host's, and servers that go away.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use signup::clock::Timestamp;
use signup::fields::EmailKey;
use signup::hash::{FakeEngine, HashPool};
use signup::idempotency::{IdempotencyKey, Receipt, ReplaySecret};
use signup::store::conformance::{Harness as _, Sample, dropped_after};
use signup::store::{
    AccountStore, CreateOutcome, EventStore as _, Expired, FindBy, HostRows, HostRowsError,
    LifecycleStore as _, LifecycleStoreExt as _, NewAccount, OldEvents, PostgresStore, Schema,
    StoreError, TablePrefix,
};
use signup::{SignupError, SignupRequest, SignupService};
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::task::JoinSet;

#[path = "postgres/distributed.rs"]
mod distributed;

#[path = "postgres/operations.rs"]
mod operations;

#[path = "postgres/standby.rs"]
mod standby;

use crate::support::postgres::{self, Postgres};
use crate::support::proxy::{Proxy, Trouble};
use crate::support::rounds;

const DEADLINE: Duration = Duration::from_secs(2);

/// A store behind a proxy, and the same store without it.
struct Behind {
    proxy: Proxy,
    store: PostgresStore,
    direct: PostgresStore,
}

impl Behind {
    async fn a_proxy() -> Self {
        let direct = postgres::store(&postgres::url()).await;
        let (proxy, url) = postgres::behind_proxy(&postgres::url()).await;
        let store = PostgresStore::connect(&url).await.unwrap();
        let store = store.with_schema(postgres::schema_of(&direct)).with_deadline(DEADLINE);
        // A statement has been prepared on some connection, so that the next use
        // of it has nothing but the marker to send.
        store.create(Sample::new(1).build()).await.unwrap();
        Self { proxy, store, direct }
    }

    /// Creates `new` in trouble, and counts what is there afterwards.
    async fn create(
        &self,
        new: &NewAccount,
        trouble: Trouble,
    ) -> (Result<CreateOutcome, StoreError>, usize) {
        self.proxy.plan(new.email().as_str(), trouble);
        let created = self.store.create(new.clone()).await;
        assert!(self.proxy.struck(), "nothing happened");
        let (accounts, keys) = (self.direct.account_rows().await, self.direct.api_key_rows().await);
        assert_eq!(accounts.len(), keys.len());
        (created, accounts.len() - 1)
    }
}

fn service(store: impl AccountStore) -> SignupService<Arc<dyn AccountStore>> {
    let pool = HashPool::builder().workers(2).queue(2000).engine(FakeEngine::default());
    let store: Arc<dyn AccountStore> = Arc::new(store);
    let service = SignupService::builder(store).jwt_secret(&[7; 32]);
    service.hash_pool(Arc::new(pool.build().unwrap())).build().unwrap()
}

fn request(email: &str) -> SignupRequest {
    SignupRequest::new(email, "correct horse")
}

async fn execute(pool: &PgPool, sql: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(pool).await.unwrap();
}

/// A store whose sessions begin with some settings.
async fn with_settings(settings: &'static str, connections: u32) -> PostgresStore {
    let direct = postgres::store(&postgres::url()).await;
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .after_connect(move |connection, _| {
            Box::pin(async move { connection.execute(settings).await.map(|_| ()) })
        })
        .connect(&postgres::url())
        .await
        .unwrap();
    PostgresStore::new(pool).with_schema(postgres::schema_of(&direct))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn verifying_an_api_key_is_one_round_trip() {
    let Behind { proxy, direct, .. } = Behind::a_proxy().await;
    let store = on_one_connection(&proxy, &direct).await;
    let service = SignupService::builder(store).jwt_secret(&[7; 32]).build().unwrap();
    let signup = service.signup(request("a@x.co")).await.unwrap();
    let credentials = service.credentials();
    let verify = async || {
        credentials.verify_api_key(signup.api_key().reveal()).await.unwrap();
    };
    // The first time the statement is prepared.
    verify().await;
    let before = proxy.round_trips();
    for _ in 0..10 {
        verify().await;
    }
    assert_eq!(proxy.round_trips() - before, 10);
    let mistyped = credentials.verify_api_key("rag_live_0").await;
    assert!(mistyped.is_err());
    assert_eq!(proxy.round_trips() - before, 10);
}

/// A store behind a proxy, on one connection of which nobody asks a sign of life.
async fn on_one_connection(proxy: &Proxy, direct: &PostgresStore) -> PostgresStore {
    let server = postgres::url().rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
    let url = postgres::url().replace(&server, &proxy.addr.to_string());
    let pool = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
    let store = PostgresStore::new(pool.connect(&url).await.unwrap());
    store.with_schema(postgres::schema_of(direct))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_key_costs_no_round_trip_and_a_replay_one_more_than_a_conflict() {
    let Behind { proxy, direct, .. } = Behind::a_proxy().await;
    let store = on_one_connection(&proxy, &direct).await;
    let service = SignupService::builder(store).jwt_secret(&[7; 32]);
    let service = service.retry_safe(ReplaySecret::new(&[8; 32]).unwrap()).build().unwrap();
    let key = || IdempotencyKey::new("0123456789abcdef").unwrap();
    let trips = async |request: SignupRequest| {
        let before = proxy.round_trips();
        let answer = service.signup(request).await;
        (answer.map(|signup| signup.is_replayed()).ok(), proxy.round_trips() - before)
    };
    // The statements are prepared with the first use of each.
    for warming in [request("a@x.co"), request("b@x.co").idempotency_key(key())] {
        service.signup(warming).await.unwrap();
    }
    service.signup(request("b@x.co").idempotency_key(key())).await.unwrap();
    let without_key = trips(request("c@x.co")).await;
    assert_eq!(without_key.0, Some(false));
    assert_eq!(trips(request("d@x.co").idempotency_key(key())).await, without_key);
    assert_eq!(trips(request("c@x.co")).await, (None, 1));
    assert_eq!(trips(request("c@x.co").idempotency_key(key())).await, (None, 1));
    assert_eq!(trips(request("d@x.co").idempotency_key(key())).await, (Some(true), 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn verifying_writes_nothing() {
    let read_only = with_settings("SET default_transaction_read_only = on", 4).await;
    let writing = PostgresStore::connect(&postgres::url()).await.unwrap();
    let writing = writing.with_schema(postgres::schema_of(&read_only));
    let build = |store| SignupService::builder(store).jwt_secret(&[7; 32]).build().unwrap();
    let signup = build(writing).signup(request("a@x.co")).await.unwrap();
    let service = build(read_only);
    let refused = service.signup(request("b@x.co")).await;
    assert!(refused.is_err(), "the database can't be written to");
    let credentials = service.credentials();
    credentials.verify_api_key(signup.api_key().reveal()).await.unwrap();
    credentials.verify_token(signup.token().reveal()).await.unwrap();
    credentials.verify_password("a@x.co", "correct horse").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn f07_a_rotation_whose_answer_is_lost_is_told_as_it_was() {
    let behind = Behind::a_proxy().await;
    let account = Sample::new(1).build();
    let until = account.created_at().plus(Duration::from_mins(1)).unwrap();
    let mut old = account.key_digest().key_id();
    for (number, trouble, told) in [
        (10, Trouble::CutAfter, true),
        (11, Trouble::SwallowAnswer, true),
        (12, Trouble::CutBefore, false),
    ] {
        let new = Sample::new(number).id_of(&account).build().key().clone();
        behind.proxy.plan("COMMIT", trouble);
        let rotated = behind.store.rotate_api_key(&old, until, new.clone()).await;
        assert!(behind.proxy.struck());
        let is_there = behind.direct.find_key_owner(new.digest()).await.unwrap().is_some();
        assert_eq!(is_there, told, "{trouble:?}");
        match rotated {
            Ok(rotated) => assert!(rotated && told, "{trouble:?}"),
            Err(StoreError::OutcomeUnknown(_)) => assert!(!told, "{trouble:?}"),
            Err(other) => panic!("{trouble:?}: {other}"),
        }
        if told {
            old = new.digest().key_id();
        }
    }
    // A key whose revocation got no answer may be valid or not, and the error says so.
    behind.proxy.plan(account.id().as_str(), Trouble::CutAfter);
    let revoked = behind.store.revoke_api_key(account.id(), &old).await;
    assert!(matches!(revoked, Err(StoreError::OutcomeUnknown(_))), "{revoked:?}");
    assert!(!behind.direct.revoke_api_key(account.id(), &old).await.unwrap(), "it was done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn f03_f06_a_connection_cut_before_the_commit_is_settled_by_the_same_insert() {
    let behind = Behind::a_proxy().await;
    let new = Sample::new(2).build();
    let (created, stored) = behind.create(&new, Trouble::CutBefore).await;
    assert_eq!((created.unwrap(), stored), (CreateOutcome::Stored, 1));
    assert_eq!(behind.store.create(new).await.unwrap(), CreateOutcome::EmailTaken);
}

/// The first session waits for a lock, and may still commit when its connection is gone: a
/// look finds nothing then, and proves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn f07_a_session_that_may_still_commit_is_waited_for() {
    let behind = Behind::a_proxy().await;
    let new = Sample::new(2).build();
    // A transaction that has the email, and gives it up.
    let other = Sample::new(3).email_of(&new).build();
    let mut holder = behind.direct.pool().begin().await.unwrap();
    drop(behind.direct.create_in(&mut holder, &other).await.unwrap());
    behind.proxy.plan(new.email().as_str(), Trouble::CutUnanswered);
    let creating = tokio::spawn({
        let (store, new) = (behind.store.clone(), new.clone());
        async move { store.create(new).await }
    });
    // The session that was cut, and the one after it.
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND position($1 in query) > 0";
    let table = behind.direct.table("accounts");
    let waiters = async || -> i64 {
        let waiters = sqlx::query_scalar(waiting).bind(table.clone());
        waiters.fetch_one(behind.direct.pool()).await.unwrap()
    };
    while waiters().await < 2 {
        tokio::task::yield_now().await;
    }
    holder.rollback().await.unwrap();
    assert_eq!(creating.await.unwrap().unwrap(), CreateOutcome::Stored);
    let ids: Vec<_> = behind.direct.account_rows().await.into_iter().map(|row| row.id).collect();
    assert!(ids.contains(&new.id().as_str().to_owned()), "{ids:?}");
    assert_eq!(behind.direct.api_key_rows().await.len(), ids.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn f07_a_commit_whose_answer_is_lost_is_found_again() {
    for trouble in [Trouble::CutAfter, Trouble::SwallowAnswer] {
        let behind = Behind::a_proxy().await;
        let new = Sample::new(2).build();
        let (created, stored) = behind.create(&new, trouble).await;
        assert_eq!((created.unwrap(), stored), (CreateOutcome::Stored, 1), "{trouble:?}");
        assert_eq!(behind.store.create(new).await.unwrap(), CreateOutcome::EmailTaken);
    }
}

/// Of two requests with one key and different passwords the first is stored. The second
/// finds the email taken, loses that answer, and looks for its own row: not for any of its
/// id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_lost_answer_is_not_settled_by_the_row_of_another_request() {
    for trouble in [Trouble::CutAfter, Trouble::SwallowAnswer] {
        let behind = Behind::a_proxy().await;
        let receipt = |byte| Receipt::from_store(&[byte; 16], 7, &[byte; 32]).unwrap();
        let first = Sample::new(2).receipt(receipt(1)).build();
        let second = Sample::new(3).email_of(&first).id_of(&first).receipt(receipt(2)).build();
        assert_eq!(behind.direct.create(first).await.unwrap(), CreateOutcome::Stored);
        let (created, stored) = behind.create(&second, trouble).await;
        match trouble {
            Trouble::CutAfter => assert_eq!(created.unwrap(), CreateOutcome::EmailTaken),
            // It has waited to the deadline, and is not inserted again.
            _ => assert!(matches!(created, Err(StoreError::OutcomeUnknown(_))), "{created:?}"),
        }
        assert_eq!(stored, 1);
        let found =
            behind.direct.find_login(FindBy::Email(second.email().key())).await.unwrap().unwrap();
        assert!(found.receipt == Some(receipt(1)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn f02_f10_a_statement_that_hangs_ends_at_the_deadline_with_its_connection() {
    let behind = Behind::a_proxy().await;
    let new = Sample::new(2).build();
    let (created, stored) = behind.create(&new, Trouble::Hang).await;
    assert!(matches!(created, Err(StoreError::OutcomeUnknown(_))), "{created:?}");
    assert_eq!(stored, 0);
    assert_eq!(behind.store.create(new).await.unwrap(), CreateOutcome::Stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_network_that_is_slow_within_the_deadline_is_waited_for() {
    let behind = Behind::a_proxy().await;
    let (created, stored) = behind.create(&Sample::new(2).build(), Trouble::Delay).await;
    assert_eq!((created.unwrap(), stored), (CreateOutcome::Stored, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_look_whose_connection_is_dead_is_tried_again() {
    let behind = Behind::a_proxy().await;
    let key = EmailKey::parse("look@x.co", signup::fields::EmailProfile::Strict).unwrap();
    for trouble in [Trouble::CutBefore, Trouble::CutAfter] {
        behind.proxy.plan("look@x.co", trouble);
        assert!(!behind.store.is_email_taken(&key).await.unwrap());
        assert!(behind.proxy.struck());
    }
}

/// Rows of the host's, of which there are none: a write is a transaction with a commit.
struct Nothing;
#[async_trait]
impl HostRows<PgConnection> for Nothing {
    async fn insert(&self, _: &mut PgConnection, _: &NewAccount) -> Result<(), HostRowsError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn f06_a_connection_lost_before_the_commit_is_sent_stores_nothing_and_is_known() {
    for trouble in [Trouble::CutBefore, Trouble::CutAfter, Trouble::CutUnanswered] {
        let mut behind = Behind::a_proxy().await;
        behind.store = behind.store.with_host_rows(Nothing);
        let new = Sample::new(2).build();
        let (created, stored) = behind.create(&new, trouble).await;
        assert!(matches!(created, Err(StoreError::Unavailable(_))), "{trouble:?}: {created:?}");
        assert_eq!(stored, 0, "{trouble:?}");
        assert_eq!(behind.store.create(new).await.unwrap(), CreateOutcome::Stored);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn f06_f07_with_rows_of_the_hosts_the_commit_is_a_step_of_its_own() {
    for (trouble, expected) in [
        (Trouble::CutBefore, 1),
        (Trouble::CutAfter, 1),
        (Trouble::SwallowAnswer, 1),
        (Trouble::Hang, 0),
    ] {
        let mut behind = Behind::a_proxy().await;
        behind.store = behind.store.with_host_rows(Nothing);
        let new = Sample::new(2).build();
        behind.proxy.plan("COMMIT", trouble);
        let created = behind.store.create(new.clone()).await;
        assert!(behind.proxy.struck());
        let stored = behind.direct.account_rows().await.len() - 1;
        assert_eq!(stored, expected, "{trouble:?}");
        assert_eq!(behind.direct.api_key_rows().await.len() - 1, expected);
        match expected {
            1 => assert_eq!(created.unwrap(), CreateOutcome::Stored),
            _ => assert!(matches!(created, Err(StoreError::OutcomeUnknown(_)))),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn r05_f11_at_serializable_there_is_one_winner_too() {
    let store = with_settings("SET default_transaction_isolation = 'serializable'", 16).await;
    let service = service(store.clone().with_deadline(Duration::from_secs(30)));
    let mut tasks = JoinSet::new();
    for number in 0..200 {
        let service = service.clone();
        let email =
            if number % 2 == 0 { "Race@x.co".to_owned() } else { format!("u{number}@x.co") };
        tasks.spawn(async move { (email.clone(), service.signup(request(&email)).await) });
    }
    let mut winners = 0;
    for (email, result) in tasks.join_all().await {
        match result {
            Ok(_) => winners += 1,
            Err(SignupError::EmailTaken) => assert_eq!(email, "Race@x.co"),
            Err(other) => panic!("{email}: {other:?}"),
        }
    }
    assert_eq!(winners, 101);
    assert_eq!(store.api_key_rows().await.len(), 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn f09_a_read_only_database_is_unavailable() {
    let store = with_settings("SET default_transaction_read_only = on", 2).await;
    let created = store.create(Sample::new(1).build()).await;
    assert!(matches!(created, Err(StoreError::Unavailable(_))), "{created:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn f10_a_lock_that_is_not_given_up_ends_at_the_deadline() {
    let store = postgres::store(&postgres::url()).await.with_deadline(Duration::from_millis(300));
    let mut holder = store.pool().begin().await.unwrap();
    let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", store.table("accounts"));
    sqlx::query(AssertSqlSafe(lock)).execute(&mut *holder).await.unwrap();
    let service = service(store.clone());
    let refused = service.signup(request("a@x.co")).await;
    assert!(matches!(refused, Err(SignupError::Unavailable { .. })), "{refused:?}");
    holder.rollback().await.unwrap();
    // The look that was given up lets go of its lock by itself.
    assert!(service.signup(request("a@x.co")).await.is_ok());
}

/// The email key twice, which a deferred constraint finds at the commit.
struct Twins {
    table: String,
}

#[async_trait]
impl HostRows<PgConnection> for Twins {
    async fn insert(
        &self,
        connection: &mut PgConnection,
        new: &NewAccount,
    ) -> Result<(), HostRowsError> {
        let insert = format!("INSERT INTO {} (email_key) VALUES ($1), ($1)", self.table);
        let insert = sqlx::query(AssertSqlSafe(insert)).bind(new.email().key().as_str());
        insert.execute(connection).await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn f05_a_constraint_that_is_judged_at_the_commit_is_a_taken_email() {
    let store = postgres::store(&postgres::url()).await;
    // A constraint of the same name, in a schema of its own.
    let twins = format!("{}_twins", store.table("").trim_end_matches('.'));
    let create = format!(
        "CREATE SCHEMA {twins}; CREATE TABLE {twins}.twin (email_key text,
             CONSTRAINT accounts_email_key_key UNIQUE (email_key) DEFERRABLE INITIALLY DEFERRED)"
    );
    execute(store.pool(), create).await;
    let deferred = store.clone().with_host_rows(Twins { table: format!("{twins}.twin") });
    let created = deferred.create(Sample::new(1).build()).await;
    assert_eq!(created.unwrap(), CreateOutcome::EmailTaken);
    assert!(store.account_rows().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn r12_a_violation_of_the_hosts_own_constraint_is_no_conflict() {
    let store = postgres::store(&postgres::url()).await;
    let accounts = store.table("accounts");
    execute(store.pool(), format!("ALTER TABLE {accounts} ADD CONSTRAINT one_name UNIQUE (name)"))
        .await;
    let named = |number| Sample::new(number).name(Some("Jane")).build();
    assert_eq!(store.create(named(1)).await.unwrap(), CreateOutcome::Stored);
    let error = store.create(named(2)).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed(_)), "{error:?}");
    // The row that the database quotes stays out of the error.
    let shown = format!("{error:?} {error}");
    assert!(!shown.contains("Jane") && !shown.contains("argon2id"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn f19_a_connection_that_somebody_left_in_a_failed_transaction_is_closed() {
    let store = with_settings("SET application_name = 'f19'", 1).await;
    // Past sqlx, which would roll back what it knows of.
    let poison = "BEGIN; SELECT 1 / 0";
    assert!(sqlx::raw_sql(poison).execute(store.pool()).await.is_err());
    let created = store.create(Sample::new(1).build()).await;
    assert!(matches!(created, Err(StoreError::Unavailable(_))), "{created:?}");
    assert_eq!(store.create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
}

/// A workspace for each account, and none for the account of that email.
struct Workspaces {
    table: String,
}

#[async_trait]
impl HostRows<PgConnection> for Workspaces {
    async fn insert(
        &self,
        connection: &mut PgConnection,
        new: &NewAccount,
    ) -> Result<(), HostRowsError> {
        assert!(!new.email().as_str().starts_with("panic"), "the host was told to");
        if new.email().as_str().starts_with("refuse") {
            return Err("no workspace for you".into());
        }
        let insert = format!("INSERT INTO {} (owner) VALUES ($1)", self.table);
        sqlx::query(AssertSqlSafe(insert)).bind(new.id().as_str()).execute(connection).await?;
        Ok(())
    }
}

async fn with_workspaces() -> (PostgresStore, PostgresStore) {
    let store = postgres::store(&postgres::url()).await;
    let (table, accounts) = (store.table("workspaces"), store.table("accounts"));
    execute(
        store.pool(),
        format!("CREATE TABLE {table} (owner text NOT NULL UNIQUE REFERENCES {accounts} (id))"),
    )
    .await;
    (store.clone().with_host_rows(Workspaces { table }), store)
}

async fn workspaces(store: &PostgresStore) -> i64 {
    let count = format!("SELECT count(*) FROM {}", store.table("workspaces"));
    sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(store.pool()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn the_hosts_rows_are_stored_with_the_account_or_nothing_is() {
    let (with_rows, store) = with_workspaces().await;
    let service = service(with_rows);
    assert!(service.signup(request("a@x.co")).await.is_ok());
    let refused = service.signup(request("refuse@x.co")).await;
    assert!(matches!(refused, Err(SignupError::Internal(_))));
    let panicked = service.signup(request("panic@x.co")).await;
    // X06: a panic on the way is an internal error, and says nothing more.
    assert!(matches!(panicked, Err(SignupError::Internal(_))), "{panicked:?}");
    assert!(!format!("{panicked:?}").contains("the host was told to"));
    assert!(matches!(service.signup(request("A@x.co")).await, Err(SignupError::EmailTaken)));
    assert_eq!((store.account_rows().await.len(), workspaces(&store).await), (1, 1));
    // And dropped at any poll.
    for polls in 1..20 {
        let email = format!("drop{polls}@x.co");
        let _ = dropped_after(service.signup(request(&email)), polls).await;
        let again = service.signup(request(&email)).await;
        assert!(matches!(again, Ok(_) | Err(SignupError::EmailTaken)), "{again:?}");
    }
    assert_eq!((store.account_rows().await.len(), workspaces(&store).await), (20, 20));
    assert_eq!(store.api_key_rows().await.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_host_that_owns_the_transaction_gets_its_answer_against_the_proof() {
    let (_, store) = with_workspaces().await;
    let service = service(store.clone());
    let prepared = service.prepare(request("a@x.co")).await.unwrap();
    let other = service.prepare(request("b@x.co")).await.unwrap();
    assert!(store.account_rows().await.is_empty());

    let mut transaction = store.pool().begin().await.unwrap();
    let inserted = store.create_in(&mut transaction, prepared.new_account()).await.unwrap();
    let workspaces = Workspaces { table: store.table("workspaces") };
    workspaces.insert(&mut transaction, prepared.new_account()).await.unwrap();
    // A taken email leaves the transaction usable.
    let twice = service.prepare(request("A@x.co")).await.unwrap();
    let taken = store.create_in(&mut transaction, twice.new_account()).await;
    assert!(matches!(taken, Err(StoreError::EmailTaken)));
    transaction.commit().await.unwrap();
    let signup = prepared.open(inserted).unwrap();
    assert_eq!(store.account_rows().await[0].id, signup.account().id().as_str());

    let mut transaction = store.pool().begin().await.unwrap();
    let proof = store.create_in(&mut transaction, other.new_account()).await.unwrap();
    transaction.rollback().await.unwrap();
    assert!(twice.open(proof).is_err(), "the proof of another account opened it");
    assert_eq!(store.account_rows().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn x03_one_connection_and_a_hundred_clients_that_go_away() {
    let (_, store) = with_workspaces().await;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .after_connect(move |connection, _| {
            Box::pin(
                async move { connection.execute("SET application_name = 'x03'").await.map(|_| ()) },
            )
        })
        .connect(&postgres::url())
        .await
        .unwrap();
    let single = PostgresStore::new(pool)
        .with_schema(postgres::schema_of(&store))
        .with_host_rows(Workspaces { table: store.table("workspaces") });
    let service = service(single.clone());
    let mut tasks = JoinSet::new();
    for number in 0..100_u64 {
        let service = service.clone();
        tasks.spawn(async move {
            let email = format!("gone{number}@x.co");
            dropped_after(service.signup(request(&email)), 1 + number % 9).await.is_some()
        });
    }
    tasks.join_all().await;
    // The one connection is usable, and no transaction is open on any.
    assert!(service.signup(request("after@x.co")).await.is_ok());
    let open = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'x03' AND state LIKE 'idle in transaction%'";
    let open: i64 = sqlx::query_scalar(open).fetch_one(store.pool()).await.unwrap();
    assert_eq!(open, 0);
    let (accounts, keys) = (store.account_rows().await.len(), store.api_key_rows().await.len());
    assert_eq!(accounts, keys);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn f15_instances_that_start_at_the_same_time_migrate_once() {
    let first = postgres::store(&postgres::url()).await;
    let prefix = TablePrefix::new("app_").unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (schema, prefix) = (postgres::schema_of(&first), prefix.clone());
        tasks.spawn(async move {
            let store = PostgresStore::connect(&postgres::url()).await.unwrap();
            let store = store.with_schema(schema).with_prefix(prefix);
            store.migrate().await.map(|()| store)
        });
    }
    for store in tasks.join_all().await {
        store.unwrap();
    }
    let store = first.clone().with_prefix(prefix);
    assert_eq!(store.create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
    assert_eq!((store.account_rows().await.len(), first.account_rows().await.len()), (1, 0));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_store_that_can_not_be_opened_says_why_without_the_password() {
    let server = postgres::url().rsplit_once('@').unwrap().1.to_owned();
    let cases = [
        ("postgres://u:s3cret@127.0.0.1:1/app".to_owned(), "postgres://127.0.0.1:1/app", "refused"),
        (format!("postgres://nobody:s3cret@{server}"), "postgres://127.0.0.1", "nobody"),
        (format!("postgres://postgres:s3cret@{server}_absent"), "_absent", "does not exist"),
        (
            "postgres://u:s3cret@[::1".to_owned(),
            "can't open the store postgres://",
            "can't be read",
        ),
    ];
    for (url, location, reason) in cases {
        let error = PostgresStore::connect(&url).await.unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains(location) && said.contains(reason), "{said}");
        assert!(!said.contains("s3cret") && !error.to_string().contains('\n'), "{said}");
    }
    let store = postgres::store(&postgres::url()).await;
    let missing = store.clone().with_schema(Schema::new("no_such_schema").unwrap());
    let error = missing.create(Sample::new(1).build()).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed(_)));
    let newer = format!(
        "INSERT INTO {} (version, description, success, checksum, execution_time, requires)
         VALUES (999, 'later', true, '\\x00', 0, 999)",
        store.table("_signup_migrations"),
    );
    execute(store.pool(), newer).await;
    let error = store.migrate().await.unwrap_err().to_string();
    assert!(error.contains("can't migrate") && error.contains("999"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn f01_f12_a_server_that_crashes_loses_no_201() {
    let server = Postgres::start();
    let store = PostgresStore::connect(&server.url()).await.unwrap();
    let store = store.with_deadline(Duration::from_secs(1));
    store.migrate().await.unwrap();
    let service = service(store.clone());
    let (mut created, mut unanswered) = (Vec::new(), 0);
    for round in 0..rounds(5, 20) {
        let mut tasks = JoinSet::new();
        for number in 0..16 {
            let service = service.clone();
            tasks.spawn(async move {
                let mut done = Vec::new();
                for turn in 0.. {
                    let email = format!("r{round}n{number}t{turn}@x.co");
                    match service.signup(request(&email)).await {
                        Ok(_) => done.push(email),
                        Err(SignupError::Unavailable { .. }) => return (done, email),
                        Err(other) => panic!("{email}: {other:?}"),
                    }
                }
                unreachable!("the server crashes before")
            });
        }
        tokio::task::block_in_place(|| server.crash());
        let answers = tasks.join_all().await;
        // Dead, it is a 503 within the deadline.
        let dead = service.signup(request("dead@x.co")).await;
        assert!(matches!(dead, Err(SignupError::Unavailable { .. })), "{dead:?}");
        tokio::task::block_in_place(|| server.restart());
        for (done, lost) in answers {
            created.extend(done);
            // Service is back with the database, without a restart of ours; the
            // unanswered are there with their keys, or can sign up.
            let retry = until_answered(&service, &lost).await;
            assert!(matches!(retry, Ok(()) | Err(SignupError::EmailTaken)), "{retry:?}");
            created.push(lost);
            unanswered += 1;
        }
    }
    let stored: Vec<_> = store.account_rows().await.into_iter().map(|row| row.email).collect();
    assert_eq!(store.api_key_rows().await.len(), stored.len());
    assert!(created.iter().all(|email| stored.contains(email)), "a 201 was lost");
    assert_eq!(created.len(), stored.len());
    println!("{} accounts, {unanswered} unanswered", stored.len());
}

/// Signs up, again where the answer is a 503: connections that were open when
/// the server went away are found out one by one.
async fn until_answered(
    service: &SignupService<Arc<dyn AccountStore>>,
    email: &str,
) -> Result<(), SignupError> {
    for _ in 0..20 {
        match service.signup(request(email)).await {
            Err(SignupError::Unavailable { .. }) => {}
            other => return other.map(|_| ()),
        }
    }
    panic!("{email} is still not answered")
}

const ROUNDS: u64 = 20;

/// 500 that create one email at the same time, and how many of them won.
async fn crowd(store: &PostgresStore, round: u64, first: u64) -> usize {
    let gate = Arc::new(tokio::sync::Barrier::new(500));
    let mut tasks = JoinSet::new();
    for number in 0..500 {
        let (store, gate) = (store.clone(), Arc::clone(&gate));
        let new =
            Sample::new(first + round * 500 + number).email(&format!("R{round}@x.co")).build();
        tasks.spawn(async move {
            gate.wait().await;
            store.create(new).await.unwrap()
        });
    }
    let created = tasks.join_all().await;
    assert!(
        created
            .iter()
            .all(|created| matches!(created, CreateOutcome::Stored | CreateOutcome::EmailTaken))
    );
    created.iter().filter(|created| **created == CreateOutcome::Stored).count()
}

/// A process of the test below, by itself a crowd with a schema of its own. It
/// begins a round for each line of its input, and tells how many won.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn r04_a_crowd_of_500_at_read_committed() {
    let schema = std::env::var("SIGNUP_TEST_CROWD").ok();
    let Some((schema, first)) = schema.as_deref().and_then(|crowd| crowd.split_once('/')) else {
        let store = postgres::store(&postgres::url()).await;
        assert_eq!(crowd(&store, 0, 0).await, 1);
        assert_eq!(store.api_key_rows().await.len(), 1);
        return;
    };
    let store = PostgresStore::connect(&postgres::url()).await.unwrap();
    let store = store.with_schema(Schema::new(schema).unwrap());
    let store = store.with_deadline(Duration::from_mins(1));
    for round in 0..ROUNDS {
        let mut line = String::new();
        tokio::task::block_in_place(|| std::io::stdin().read_line(&mut line).unwrap());
        println!("\nwinners {}", crowd(&store, round, first.parse().unwrap()).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn r06_two_processes_of_500_have_one_winner_in_20_rounds() {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Command, Stdio};
    // The name of a test of this binary.
    const CROWD: &str = "postgres::r04_a_crowd_of_500_at_read_committed";
    let store = postgres::store(&postgres::url()).await;
    let schema = store.table("").trim_end_matches('.').to_owned();
    let mut processes = [0, 1_000_000].map(|first| {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", CROWD, "--nocapture"])
            .env("SIGNUP_TEST_CROWD", format!("{schema}/{first}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, output)
    });
    for round in 1..=ROUNDS {
        for (child, _) in &mut processes {
            child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        }
        let won = processes.each_mut().map(|(_, output)| {
            let lines = output.map(Result::unwrap);
            let line = { lines }.find(|line| line.starts_with("winners ")).unwrap();
            line.trim_start_matches("winners ").parse::<usize>().unwrap()
        });
        assert_eq!(won.iter().sum::<usize>(), 1, "round {round}");
    }
    for (mut child, _) in processes {
        assert!(child.wait().unwrap().success());
    }
    let expected = usize::try_from(ROUNDS).unwrap();
    assert_eq!(store.account_rows().await.len(), expected);
    assert_eq!(store.api_key_rows().await.len(), expected);
}

/// A server whose clock is two hours ahead.
#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn nothing_is_purged_or_erased_by_a_clock_that_is_wrong() {
    let right = postgres::store(&postgres::url()).await;
    let schema = right.table("").trim_end_matches('.').to_owned();
    sqlx::query(AssertSqlSafe(format!(
        "CREATE FUNCTION {schema}.clock_timestamp() RETURNS timestamptz LANGUAGE sql
         AS 'SELECT pg_catalog.clock_timestamp() + interval ''2 hours'''"
    )))
    .execute(right.pool())
    .await
    .unwrap();
    let url = format!("{}?options=-c%20search_path%3D{schema},pg_catalog", postgres::url());
    let wrong = PostgresStore::connect(&url).await.unwrap();
    let wrong = wrong.with_schema(postgres::schema_of(&right));
    let now = Timestamp::EPOCH;
    for (store, is_right) in [(right, true), (wrong, false)] {
        assert_eq!(store.check_clock().await.is_ok(), is_right);
        assert_eq!(store.purge_events(OldEvents::All, now, 10).await.is_ok(), is_right);
        assert_eq!(store.purge_events(OldEvents::Delivered, now, 10).await.is_ok(), is_right);
        assert_eq!(store.purge(Expired::Tickets, now, 10).await.is_ok(), is_right);
        assert_eq!(store.purge(Expired::ApiKeys, now, 10).await.is_ok(), is_right);
        let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
        let service = SignupService::builder(store).jwt_secret(&[7; 32]).hash_pool(Arc::new(pool));
        let due = service.build().unwrap().accounts().erase_due().await;
        assert_eq!(due.is_ok(), is_right);
    }
}
