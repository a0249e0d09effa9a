//! One deadline for a whole call, whatever is in the way: another process that
//! writes, or a row of the host's that is stuck.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use signup::store::conformance::{Harness as _, Sample, dropped_after};
use signup::store::{
    AccountStore as _, CreateOutcome, HostRows, HostRowsError, LifecycleStoreExt as _, NewAccount,
    SqliteStore, StoreError, TablePrefix,
};
use sqlx::sqlite::SqliteConnection;
use tokio::task::JoinSet;

const DEADLINE: Duration = Duration::from_millis(300);

struct File {
    store: SqliteStore,
    url: String,
    _folder: tempfile::TempDir,
}

async fn file() -> File {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let store = SqliteStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    File { store: store.with_deadline(DEADLINE), url, _folder: folder }
}

impl File {
    /// A writer of another process, as far as SQLite can tell.
    async fn other(&self) -> sqlx::Transaction<'static, sqlx::Sqlite> {
        let pool = sqlx::SqlitePool::connect(&self.url).await.unwrap();
        pool.begin_with("BEGIN IMMEDIATE").await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_wait_for_another_process_end_and_none_writes_afterwards() {
    let file = file().await;
    let other = file.other().await;
    let mut waiting = JoinSet::new();
    for number in 0..20 {
        let store = file.store.clone();
        waiting.spawn(async move { store.create(Sample::new(number).build()).await });
    }
    let key = Sample::new(1).build();
    let revoked = file.store.revoke_api_key(key.id(), &key.key_digest().key_id()).await;
    assert!(matches!(revoked, Err(StoreError::Unavailable(_))), "{revoked:?}");
    for created in waiting.join_all().await {
        assert!(matches!(created, Err(StoreError::Unavailable(_))), "{created:?}");
    }
    other.rollback().await.unwrap();
    // Writers take turns: behind this one nothing is left of the others.
    let created = file.store.create(Sample::new(100).build()).await;
    assert_eq!(created.unwrap(), CreateOutcome::Stored);
    assert_eq!(file.store.account_rows().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_the_queue_leaves_it() {
    let file = file().await;
    let patient = file.store.clone().with_deadline(Duration::from_mins(1));
    let other = file.other().await;
    // One of them may have its turn already; that is rolled back with the deadline.
    for number in 0..20 {
        let left = dropped_after(patient.create(Sample::new(number).build()), 1).await;
        assert!(left.is_none(), "it was not waiting");
    }
    other.rollback().await.unwrap();
    let created = patient.create(Sample::new(100).build()).await;
    assert_eq!(created.unwrap(), CreateOutcome::Stored);
    assert!(file.store.account_rows().await.len() <= 2, "those that waited have written");
}

/// Rows that are never inserted, for one address.
struct Stuck;

#[async_trait]
impl HostRows<SqliteConnection> for Stuck {
    async fn insert(
        &self,
        _: &mut SqliteConnection,
        new: &NewAccount,
    ) -> Result<(), HostRowsError> {
        if new.email().as_str().starts_with("stuck") {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_row_of_the_hosts_stops_nobody_else() {
    let file = file().await;
    let memory = SqliteStore::connect("sqlite::memory:").await.unwrap();
    memory.migrate().await.unwrap();
    for store in [file.store.clone(), memory.with_deadline(DEADLINE)] {
        let with_rows = store.clone().with_host_rows(Stuck);
        let stuck = Sample::new(1).email("stuck@x.co").build();
        // The client of the first one leaves at once.
        let _ = dropped_after(with_rows.create(stuck.clone()), 3).await;
        let refused = with_rows.create(stuck.clone()).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        let created = with_rows.create(Sample::new(2).build()).await;
        assert_eq!(created.unwrap(), CreateOutcome::Stored);
        assert_eq!(store.create(stuck).await.unwrap(), CreateOutcome::Stored);
        assert_eq!(store.account_rows().await.len(), 2);
        assert_eq!(store.api_key_rows().await.len(), 2);
    }
}

/// Rows of which one takes an hour to insert.
struct Endless;

#[async_trait]
impl HostRows<SqliteConnection> for Endless {
    async fn insert(
        &self,
        connection: &mut SqliteConnection,
        new: &NewAccount,
    ) -> Result<(), HostRowsError> {
        if new.email().as_str().starts_with("endless") {
            let endless = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n)
                           SELECT count(*) FROM n";
            sqlx::query(endless).execute(connection).await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_runs_past_the_deadline_gives_the_writer_back() {
    let file = file().await;
    let memory = SqliteStore::connect("sqlite::memory:").await.unwrap();
    memory.migrate().await.unwrap();
    for store in [file.store.clone(), memory.with_deadline(DEADLINE)] {
        let with_rows = store.clone().with_host_rows(Endless);
        let endless = Sample::new(1).email("endless@x.co").build();
        for _ in 0..4 {
            let refused = with_rows.create(endless.clone()).await;
            assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        }
        // Nor is what comes next on the same connections interrupted.
        for number in 2..10 {
            let created = with_rows.create(Sample::new(number).build()).await;
            assert_eq!(created.unwrap(), CreateOutcome::Stored);
            assert_eq!(store.account_rows().await.len(), usize::try_from(number - 1).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_of_the_host_takes_its_turn_among_the_writers_of_all_prefixes() {
    let file = file().await;
    let prefixed = file.store.clone().with_prefix(TablePrefix::new("app_").unwrap());
    prefixed.migrate().await.unwrap();
    let mut held = file.store.begin().await.unwrap();
    let new = Sample::new(1).build();
    let proof = file.store.create_in(&mut held, &new).await.unwrap();
    assert_eq!(proof.into_id(), *new.id());
    for store in [&file.store, &prefixed] {
        let refused = store.create(Sample::new(2).build()).await;
        let Err(StoreError::Unavailable(source)) = refused else { panic!("{refused:?}") };
        // The call waited for its turn, not for SQLite's lock.
        assert!(source.to_string().contains("turn"), "{source}");
    }
    held.commit().await.unwrap();
    assert_eq!(file.store.create(Sample::new(2).build()).await.unwrap(), CreateOutcome::Stored);
    assert_eq!(prefixed.create(Sample::new(2).build()).await.unwrap(), CreateOutcome::Stored);
    assert_eq!(file.store.account_rows().await.len(), 2);
}

#[test]
fn outside_of_a_runtime_there_is_an_error_and_no_panic() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = Arc::new(runtime.block_on(async { file().await }));
    let mut created = std::pin::pin!(store.store.create(Sample::new(1).build()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match created.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Err(StoreError::Failed(source))) => {
            assert!(source.to_string().contains("tokio runtime"), "{source}");
        }
        other => panic!("{other:?}"),
    }
}
