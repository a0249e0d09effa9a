//! Commits without an answer: what the store reports of them is true.

use std::process::Command;
use std::time::Duration;

use signup::store::conformance::{Harness as _, Sample};
use signup::store::{
    AccountStore as _, CreateOutcome, LifecycleStore as _, LifecycleStoreExt as _, PostgresStore,
    SqliteStore, StoreError,
};
use sqlx::AssertSqlSafe;

use crate::support::alone::run_alone;
use crate::support::postgres::{self, PgBouncer, Postgres};
use crate::support::proxy::Trouble;

const DEADLINE: Duration = Duration::from_secs(2);

/// A server whose synchronous standby never answers.
struct Ghost {
    store: PostgresStore,
    other: PostgresStore,
    _server: Postgres,
}

impl Ghost {
    async fn start() -> Self {
        let server = Postgres::start();
        // With a connection from before the wait: it needs no commit.
        let other = PostgresStore::connect(&server.url()).await.unwrap();
        other.migrate().await.unwrap();
        execute(&other, "CREATE TABLE probe (id int)").await;
        execute(&other, "ALTER SYSTEM SET synchronous_standby_names = 'ghost'").await;
        execute(&other, "SELECT pg_reload_conf()").await;
        // The processes of the server read it one after the other.
        let waits = async {
            loop {
                let probe = PostgresStore::connect(&server.url()).await.unwrap();
                let insert = async move {
                    let _ended =
                        sqlx::raw_sql("INSERT INTO probe VALUES (1)").execute(probe.pool()).await;
                };
                let insert = tokio::spawn(insert);
                while !insert.is_finished() {
                    if ends_a_wait(&other).await {
                        return;
                    }
                }
            }
        };
        tokio::time::timeout(Duration::from_mins(1), waits).await.unwrap();
        let store = PostgresStore::connect(&server.url()).await.unwrap().with_deadline(DEADLINE);
        Self { store, other, _server: server }
    }

    /// Waits until the server has accounts, where a standby would get them from, and returns
    /// how many.
    async fn accounts(&self) -> usize {
        execute(&self.other, "ALTER SYSTEM RESET synchronous_standby_names").await;
        execute(&self.other, "SELECT pg_reload_conf()").await;
        let accounts = async {
            loop {
                match self.other.account_rows().await.len() {
                    0 => {}
                    accounts => return accounts,
                }
            }
        };
        tokio::time::timeout(Duration::from_mins(1), accounts).await.unwrap()
    }
}

async fn execute(store: &PostgresStore, sql: &'static str) {
    sqlx::raw_sql(sql).execute(store.pool()).await.unwrap();
}

/// Ends the sessions that wait for a standby, and returns whether there were any.
async fn ends_a_wait(store: &PostgresStore) -> bool {
    let ended = sqlx::query_scalar::<_, bool>(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'",
    );
    !ended.fetch_all(store.pool()).await.unwrap().is_empty()
}

/// PostgreSQL commits when a session that waits for a standby is ended. The store finds the
/// row, which no standby has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL's server"]
async fn a_commit_that_no_standby_has_is_not_called_stored() {
    let ghost = Ghost::start().await;
    let create = {
        let store = ghost.store.clone();
        tokio::spawn(async move { store.create(Sample::new(1).build()).await })
    };
    let ended = async { while !ends_a_wait(&ghost.other).await {} };
    tokio::time::timeout(Duration::from_mins(1), ended).await.unwrap();
    let created = create.await.unwrap();
    assert!(matches!(created, Err(StoreError::OutcomeUnknown(_))), "{created:?}");
    assert_eq!(ghost.accounts().await, 1);
}

/// A statement that is cancelled while it waits for a standby is reported as committed, with a
/// warning: the deadline of the call must come first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL's server"]
async fn a_commit_that_waits_for_a_standby_in_vain_is_not_called_stored() {
    let ghost = Ghost::start().await;
    let created = ghost.store.create(Sample::new(1).build()).await;
    assert!(matches!(created, Err(StoreError::OutcomeUnknown(_))), "{created:?}");
    assert_eq!(ghost.accounts().await, 1);
}

/// The connection of a pooler to its server breaks between commit and answer, and the client's
/// connection stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and PgBouncer: scripts/test.sh starts them"]
async fn a_commit_that_breaks_behind_a_pooler_is_settled() {
    let direct = postgres::store(&postgres::url()).await;
    let (proxy, _) = postgres::behind_proxy(&postgres::url()).await;
    let bouncer = PgBouncer::before(proxy.addr);
    let store = PostgresStore::connect(&bouncer.url()).await.unwrap();
    let store = store.with_schema(postgres::schema_of(&direct)).with_deadline(DEADLINE);
    store.create(Sample::new(1).build()).await.unwrap();
    for (number, trouble) in [(2, Trouble::CutAfter), (3, Trouble::CutUnanswered)] {
        let new = Sample::new(number).build();
        proxy.plan(new.email().as_str(), trouble);
        let created = store.create(new.clone()).await;
        assert!(proxy.struck(), "nothing happened");
        assert_eq!(created.unwrap(), CreateOutcome::Stored, "{trouble:?}");
        let stored = direct.account_rows().await;
        assert!(stored.iter().any(|account| account.id == new.id().as_str()), "{trouble:?}");
    }
}

/// A foreign key in a host's table that prevents a revocation is an error, and not a missing
/// key.
#[tokio::test]
async fn a_row_of_the_hosts_in_the_way_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let store = SqliteStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    let new = Sample::new(1).build();
    store.create(new.clone()).await.unwrap();
    for deferred in ["", "DEFERRABLE INITIALLY DEFERRED"] {
        let uses = AssertSqlSafe(format!(
            "DROP TABLE IF EXISTS uses;
             CREATE TABLE uses (digest BLOB REFERENCES api_keys (digest) {deferred});
             INSERT INTO uses SELECT digest FROM api_keys"
        ));
        sqlx::raw_sql(uses).execute(store.pool()).await.unwrap();
        let revoked = store.revoke_api_key(new.id(), &new.key_digest().key_id()).await;
        assert!(matches!(revoked, Err(StoreError::Failed(_))), "{revoked:?}");
        assert!(store.find_key_owner(new.key_digest()).await.unwrap().is_some());
    }
}

/// A commit in SQLite waits for a busy disk, longer than the deadline: its outcome is unknown.
#[test]
#[cfg(target_os = "linux")]
fn a_commit_in_its_sync_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("slow_sync.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/slow_sync.c");
    let mut build = Command::new("cc");
    build.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
    assert!(build.status().unwrap().success());
    let busy = folder.path().join("busy");
    run_alone(
        "outcomes::settled::on_a_busy_disk",
        &[("LD_PRELOAD", library.as_os_str()), ("SIGNUP_TEST_BUSY_DISK", busy.as_os_str())],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs with a library that delays each sync"]
async fn on_a_busy_disk() {
    // Alone, it has no busy disk.
    let Some(busy) = std::env::var_os("SIGNUP_TEST_BUSY_DISK") else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let store = SqliteStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    let hasty = store.clone().with_deadline(Duration::from_millis(300));
    std::fs::write(&busy, "").unwrap();
    let created = hasty.create(Sample::new(1).build()).await;
    std::fs::remove_file(&busy).unwrap();
    assert!(matches!(created, Err(StoreError::OutcomeUnknown(_))), "{created:?}");
    // The commit goes on, and writers behind it find the row.
    let again = store.create(Sample::new(1).build()).await.unwrap();
    assert_eq!(again, CreateOutcome::EmailTaken);
    let sql = AssertSqlSafe(format!("SELECT count(*) FROM {}", store.table("accounts")));
    let count: i64 = sqlx::query_scalar(sql).fetch_one(store.pool()).await.unwrap();
    assert_eq!(count, 1);
}
