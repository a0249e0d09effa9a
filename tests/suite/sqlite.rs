//! SQLite's own cases: a disk that is full, names of tables, rows of the host's,
//! and a pool that is the host's.

use std::sync::{Arc, Mutex};

use crate::support::events_of;
use async_trait::async_trait;
use signup::event::{Event, EventKind};
use signup::hash::{FakeEngine, HashPool};
use signup::relay::{Delivery, SinkError};
use signup::store::conformance::{Harness as _, Sample, dropped_after};
use signup::store::{
    AccountChange, AccountStore as _, ChangeOutcome, CreateOutcome, Effect, HostRows,
    HostRowsError, KeyQuery, LifecycleStore as _, NewAccount, SqliteStore, StoreError, TablePrefix,
};
use signup::{SignupRequest, SignupService};
use sqlx::Executor as _;
use sqlx::sqlite::{SqliteConnection, SqlitePoolOptions};

#[path = "sqlite/deadlines.rs"]
mod deadlines;
#[path = "sqlite/opening.rs"]
mod opening;
#[path = "sqlite/transactions.rs"]
mod transactions;

#[path = "sqlite/power_loss.rs"]
mod power_loss;

/// A service that stores events.
fn with_events(store: &SqliteStore) -> SignupService<SqliteStore> {
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(store.clone()).jwt_secret(&[7; 32]).with_events();
    service.hash_pool(Arc::new(pool)).build().unwrap()
}

async fn store() -> SqliteStore {
    let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
    store.migrate().await.unwrap();
    store
}

#[tokio::test]
async fn a_store_that_is_closed_does_not_answer_a_ping() {
    let store = store().await;
    assert!(store.ping().await.is_ok());
    store.pool().close().await;
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn f08_a_disk_that_is_full_is_unavailable_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("full.db").display());
    let unlimited = SqliteStore::connect(&url).await.unwrap();
    unlimited.migrate().await.unwrap();
    let pages: i64 =
        sqlx::query_scalar("PRAGMA page_count").fetch_one(unlimited.pool()).await.unwrap();
    let limit = format!("PRAGMA max_page_count = {}", pages + 1);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .after_connect(move |connection, _| {
            let limit = sqlx::AssertSqlSafe(limit.clone());
            Box::pin(async move { connection.execute(limit).await.map(|_| ()) })
        })
        .connect(&url);
    let store = SqliteStore::new(pool.await.unwrap());
    let mut stored = 0;
    let full = loop {
        match store.create(Sample::new(stored).build()).await {
            Ok(CreateOutcome::Stored) => stored += 1,
            other => break other,
        }
    };
    assert!(matches!(full, Err(StoreError::Unavailable(_))), "{full:?}");
    // Again, for the connection that the first one used is another now.
    let again = store.create(Sample::new(stored).build()).await;
    assert!(matches!(again, Err(StoreError::Unavailable(_))), "{again:?}");
    assert_eq!(store.account_rows().await.len() as u64, stored);
    assert_eq!(store.api_key_rows().await.len() as u64, stored);
    // Now the disk has room again.
    assert_eq!(unlimited.create(Sample::new(stored).build()).await.unwrap(), CreateOutcome::Stored);
}

#[tokio::test]
async fn a_missing_table_is_a_failure_and_says_nothing_of_the_row() {
    let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
    let error = store.create(Sample::new(1).build()).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed(_)));
    let shown = format!("{error:?}");
    assert!(shown.contains("no such table") && !shown.contains("argon2id"), "{shown}");
}

#[tokio::test]
async fn a_call_that_fails_keeps_the_connection_and_its_database_in_memory() {
    let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
    sqlx::query("CREATE TABLE accounts (id TEXT)").execute(store.pool()).await.unwrap();
    store.migrate().await.unwrap_err();
    store.is_email_taken(Sample::new(1).build().email().key()).await.unwrap_err();
    let kept: i64 =
        sqlx::query_scalar("SELECT count(*) FROM accounts").fetch_one(store.pool()).await.unwrap();
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn two_prefixes_live_in_one_database_on_the_hosts_pool() {
    let pool =
        SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
    let one = SqliteStore::new(pool.clone());
    let other = SqliteStore::new(pool).with_prefix(TablePrefix::new("app_").unwrap());
    for store in [&one, &other] {
        // The second time there is nothing to do.
        store.migrate().await.unwrap();
        store.migrate().await.unwrap();
        assert_eq!(store.create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
        assert_eq!(store.api_key_rows().await.len(), 1);
    }
}

/// A workspace for each account, but for the one whose email begins with `refuse`.
struct Workspaces;

#[async_trait]
impl HostRows<SqliteConnection> for Workspaces {
    async fn insert(
        &self,
        connection: &mut SqliteConnection,
        new: &NewAccount,
    ) -> Result<(), HostRowsError> {
        let insert = sqlx::query("INSERT INTO workspaces (owner) VALUES (?)");
        insert.bind(new.id().as_str()).execute(connection).await?;
        if new.email().as_str().starts_with("refuse") {
            return Err("no workspace for you".into());
        }
        Ok(())
    }
}

#[tokio::test]
async fn the_hosts_rows_are_stored_with_the_account_or_nothing_is() {
    let store = store().await;
    let table = "CREATE TABLE workspaces (owner TEXT NOT NULL REFERENCES accounts (id))";
    sqlx::raw_sql(table).execute(store.pool()).await.unwrap();
    let with_rows = store.clone().with_host_rows(Workspaces);
    let workspaces = async || -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM workspaces");
        count.fetch_one(store.pool()).await.unwrap()
    };
    assert_eq!(with_rows.create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
    let refused = with_rows.create(Sample::new(2).email("refuse@x.co").build()).await;
    assert!(matches!(refused, Err(StoreError::Failed(_))));
    let taken = with_rows.create(Sample::new(3).email_of(&Sample::new(1).build()).build()).await;
    assert_eq!(taken.unwrap(), CreateOutcome::EmailTaken);
    assert_eq!((store.account_rows().await.len(), workspaces().await), (1, 1));
    for polls in 1..10 {
        let new = Sample::new(10 + polls).build();
        let _ = dropped_after(with_rows.create(new.clone()), polls).await;
        let again = with_rows.create(new).await.unwrap();
        assert!(matches!(again, CreateOutcome::Stored | CreateOutcome::EmailTaken));
    }
    let accounts = store.account_rows().await.len();
    assert_eq!((accounts, workspaces().await), (10, 10));
    assert_eq!(store.api_key_rows().await.len(), 10);
}

#[tokio::test]
async fn an_account_in_the_hosts_transaction_is_gone_with_it() {
    let store = store().await;
    let new = Sample::new(1).build();
    let mut transaction = store.pool().begin().await.unwrap();
    let proof = store.create_in(&mut transaction, &new).await.unwrap();
    assert_eq!(proof.into_id(), *new.id());
    let twice = Sample::new(2).email_of(&new).build();
    assert!(store.create_in(&mut transaction, &twice).await.is_err());
    transaction.rollback().await.unwrap();
    assert!(store.account_rows().await.is_empty());
}

#[tokio::test]
async fn an_event_of_a_newer_release_is_delivered_as_it_is() {
    let store = store().await;
    let service = with_events(&store);
    let signup = service.signup(SignupRequest::new("a@x.co", "correct horse")).await.unwrap();
    store.pool().execute("UPDATE events SET kind = 'account.merged'").await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let seen = Arc::clone(&seen);
        move |delivery: Delivery| {
            seen.lock().unwrap().push(delivery.event.kind_name().to_owned());
            async { Ok::<_, SinkError>(()) }
        }
    };
    assert_eq!(service.event_relay(sink).run_once().await.unwrap().delivered, 1);
    assert_eq!(*seen.lock().unwrap(), ["account.merged"]);
    let listed = events_of(&store, signup.account().id(), 9).await.unwrap();
    assert_eq!(listed[0].kind(), EventKind::Unknown);
}

#[tokio::test]
async fn a_change_without_an_event_leaves_no_gap() {
    let store = store().await;
    let service = with_events(&store);
    let signup = service.signup(SignupRequest::new("a@x.co", "correct horse")).await.unwrap();
    let id = signup.account().id();
    let key = store.list_api_keys(KeyQuery::of(id)).await.unwrap().remove(0).info.id;
    let change = AccountChange::new(id.clone()).with(Effect::RevokeApiKey(key));
    assert_eq!(store.change(change).await.unwrap(), ChangeOutcome::Changed);
    service.accounts().disable(id).await.unwrap();
    let events = events_of(&store, id, 9).await.unwrap();
    assert_eq!(events.iter().map(Event::number).collect::<Vec<_>>(), [1, 2]);
}
