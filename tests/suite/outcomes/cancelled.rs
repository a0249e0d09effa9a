//! Dropped calls leave no transaction open in which later writes would be lost.

use std::time::Duration;

use signup::store::conformance::{Harness as _, Sample, dropped_after};
use signup::store::{
    AccountStore as _, CreateOutcome, LifecycleStore as _, LifecycleStoreExt as _, MySqlStore,
    PostgresStore, SqliteStore,
};
use tokio::time::timeout;

use crate::support::mysql;
use crate::support::postgres;
use crate::support::proxy::{Proxy, Trouble};

/// The moments at which a call is dropped.
const POLLS: u64 = 12;

/// Drops `begin` of a store and of its pool at each poll, and while its answer is delayed.
/// Other sessions see what is written afterwards.
macro_rules! nothing_is_lost {
    ($store:expr, $direct:expr, $begin:expr, $proxy:expr) => {{
        let (store, direct) = ($store, $direct);
        let mut number = 0_u64;
        let mut create = async || {
            number += 1;
            let new = Sample::new(number).build();
            assert_eq!(store.create(new.clone()).await.unwrap(), CreateOutcome::Stored);
            let stored = direct.account_rows().await;
            assert!(
                stored.iter().any(|account| account.id == new.id().as_str()),
                "{number} was answered 201 and is not there"
            );
            let key = new.key_digest().key_id();
            assert!(store.revoke_api_key(new.id(), &key).await.unwrap());
            assert!(direct.find_key_owner(new.key_digest()).await.unwrap().is_none());
        };
        create().await;
        for polls in 1..POLLS {
            drop(dropped_after(store.begin(), polls).await);
            create().await;
            drop(dropped_after(store.pool().begin(), polls).await);
            create().await;
        }
        let proxy: Option<&Proxy> = $proxy;
        if let Some(proxy) = proxy {
            for is_the_stores in [true, false] {
                proxy.plan($begin, Trouble::Delay);
                let moment = Duration::from_millis(100);
                let is_late = if is_the_stores {
                    timeout(moment, store.begin()).await.is_err()
                } else {
                    timeout(moment, store.pool().begin()).await.is_err()
                };
                assert!(is_late && proxy.struck());
                for _ in 0..3 {
                    create().await;
                }
            }
        }
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_begin_loses_nothing_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let store = SqliteStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    let direct = SqliteStore::connect(&url).await.unwrap();
    nothing_is_lost!(store, direct, "", None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_dropped_begin_loses_nothing_on_postgres() {
    let direct = postgres::store(&postgres::url()).await;
    let (proxy, url) = postgres::behind_proxy(&postgres::url()).await;
    let store = PostgresStore::connect(&url).await.unwrap();
    let store = store.with_schema(postgres::schema_of(&direct));
    nothing_is_lost!(store, direct, "BEGIN", Some(&proxy));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PgBouncer: scripts/test.sh starts one"]
async fn a_dropped_begin_loses_nothing_behind_pgbouncer() {
    let direct = postgres::store(&postgres::url()).await;
    let (proxy, url) = postgres::behind_proxy(&postgres::pgbouncer_url()).await;
    let store = PostgresStore::connect(&url).await.unwrap();
    let store = store.with_schema(postgres::schema_of(&direct)).without_prepared_statements();
    nothing_is_lost!(store, direct, "BEGIN", Some(&proxy));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn a_dropped_begin_loses_nothing_on_mariadb() {
    let direct = mysql::store().await;
    let (proxy, url) = mysql::behind_proxy(&direct).await;
    let store = MySqlStore::connect(&url).await.unwrap();
    // `pool().begin()` says `BEGIN`, the store `START TRANSACTION`.
    nothing_is_lost!(store, direct, "\u{3}", Some(&proxy));
}

/// Drops `create_in` and its transaction at each poll: nothing of the account is stored, and
/// the next account is.
macro_rules! nothing_is_left {
    ($store:expr, $direct:expr) => {{
        let (store, direct) = ($store, $direct);
        for polls in 1..POLLS {
            let mut transaction = store.begin().await.unwrap();
            let new = Sample::new(polls).build();
            let created = dropped_after(store.create_in(&mut transaction, &new), polls).await;
            let is_created = created.is_some();
            if is_created {
                transaction.commit().await.unwrap();
            } else {
                drop(transaction);
            }
            let other = Sample::new(1000 + polls).build();
            assert_eq!(store.create(other.clone()).await.unwrap(), CreateOutcome::Stored);
            let stored = direct.account_rows().await;
            let is_stored = |id: &str| stored.iter().any(|account| account.id == id);
            assert_eq!(is_stored(new.id().as_str()), is_created, "after {polls} polls");
            assert!(is_stored(other.id().as_str()), "after {polls} polls");
            let keys = direct.api_key_rows().await;
            assert_eq!(keys.len(), stored.len(), "after {polls} polls");
        }
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insert_that_is_given_up_leaves_nothing_on_sqlite() {
    let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
    store.migrate().await.unwrap();
    nothing_is_left!(store.clone(), store);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn an_insert_that_is_given_up_leaves_nothing_on_postgres() {
    let direct = postgres::store(&postgres::url()).await;
    nothing_is_left!(direct.clone(), direct);
    let direct = postgres::store(&postgres::url()).await;
    let pooled = PostgresStore::connect(&postgres::pgbouncer_url()).await.unwrap();
    let pooled = pooled.with_schema(postgres::schema_of(&direct)).without_prepared_statements();
    nothing_is_left!(pooled, direct);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn an_insert_that_is_given_up_leaves_nothing_on_mariadb() {
    let store = mysql::store().await;
    nothing_is_left!(store.clone(), store);
}

/// A migration that is dropped while it begins closes its connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_dropped_migration_leaves_no_transaction_open() {
    let direct = postgres::unmigrated(&postgres::url()).await;
    let (proxy, url) = postgres::behind_proxy(&postgres::url()).await;
    let store = PostgresStore::connect(&url).await.unwrap();
    let store = store.with_schema(postgres::schema_of(&direct));
    proxy.plan("BEGIN", Trouble::Delay);
    assert!(timeout(Duration::from_millis(200), store.migrate()).await.is_err());
    assert!(proxy.struck());
    direct.migrate().await.unwrap();
    let new = Sample::new(1).build();
    assert_eq!(store.create(new.clone()).await.unwrap(), CreateOutcome::Stored);
    assert_eq!(direct.account_rows().await.len(), 1);
}
