//! Deadlines of whole calls, which hold on the server, too.

use std::time::Duration;

use signup::clock::{Clock as _, SystemClock};
use signup::store::conformance::{Harness as _, Sample};
use signup::store::{
    AccountStore as _, CreateOutcome, MySqlStore, PostgresStore, SqliteStore, StoreError,
};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::task::JoinSet;

use crate::support::mysql;
use crate::support::postgres;
use crate::support::proxy::Trouble;

const DEADLINE: Duration = Duration::from_secs(2);

/// A call that has waited for a connection for most of its deadline has only the rest of it on
/// the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn nothing_is_written_after_its_caller_was_refused() {
    let direct = postgres::store(&postgres::url()).await;
    let store = PostgresStore::connect(&postgres::url()).await.unwrap();
    let store = store.with_schema(postgres::schema_of(&direct)).with_deadline(DEADLINE);
    let lock = format!("LOCK TABLE {} IN SHARE MODE", direct.table("accounts"));
    let waiting = format!(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{}'::regclass",
        direct.table("accounts")
    );
    let until_waiting = async |expected: i64| loop {
        let count = sqlx::query_scalar(AssertSqlSafe(waiting.clone()));
        let count: i64 = count.fetch_one(direct.pool()).await.unwrap();
        if count == expected {
            break;
        }
    };
    let create = |calls: &mut JoinSet<_>, numbers| {
        for number in numbers {
            let store = store.clone();
            calls.spawn(async move { store.create(Sample::new(number).build()).await });
        }
    };
    // All eight connections have prepared the statement.
    let mut calls = JoinSet::new();
    let mut first = direct.pool().begin().await.unwrap();
    first.execute(AssertSqlSafe(lock.clone())).await.unwrap();
    create(&mut calls, 0..8);
    until_waiting(8).await;
    first.commit().await.unwrap();
    for created in std::mem::take(&mut calls).join_all().await {
        assert_eq!(created.unwrap(), CreateOutcome::Stored);
    }
    // They wait for the first lock, and as many calls wait for them. The second lock is asked
    // for behind them, and granted when they have inserted.
    let mut first = direct.pool().begin().await.unwrap();
    first.execute(AssertSqlSafe(lock.clone())).await.unwrap();
    create(&mut calls, 8..24);
    until_waiting(8).await;
    let mut second = direct.pool().begin().await.unwrap();
    let waits = tokio::spawn(async move {
        second.execute(AssertSqlSafe(lock)).await.unwrap();
        second
    });
    until_waiting(9).await;
    tokio::time::sleep(DEADLINE * 6 / 10).await;
    first.commit().await.unwrap();
    let answers = calls.join_all().await;
    waits.await.unwrap().commit().await.unwrap();
    let mut stored = 8;
    for answer in answers {
        match answer {
            Ok(outcome) => {
                assert_eq!(outcome, CreateOutcome::Stored);
                stored += 1;
            }
            Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}"),
        }
    }
    // A write that waits for the lock would be done before this one.
    let created = direct.create(Sample::new(100).build()).await;
    assert_eq!(created.unwrap(), CreateOutcome::Stored);
    assert_eq!(direct.account_rows().await.len(), stored + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn nothing_is_written_to_mariadb_after_its_caller_was_refused() {
    let direct = mysql::store().await;
    let store = MySqlStore::connect(&mysql::url_of(&direct)).await.unwrap();
    let store = store.with_deadline(DEADLINE);
    let mut locking = direct.pool().acquire().await.unwrap();
    locking.execute("LOCK TABLES accounts READ, api_keys READ").await.unwrap();
    // The calls wait for a connection first, and then have less than half of their time left.
    let mut connections = Vec::new();
    for _ in 0..store.pool().options().get_max_connections() {
        connections.push(store.pool().acquire().await.unwrap());
    }
    let mut calls = JoinSet::new();
    for number in 0..4 {
        let store = store.clone();
        calls.spawn(async move { store.create(Sample::new(number).build()).await });
    }
    tokio::time::sleep(DEADLINE * 6 / 10).await;
    drop(connections);
    for refused in calls.join_all().await {
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    locking.execute("UNLOCK TABLES").await.unwrap();
    // A write that waits for the lock would be done before this one.
    let created = direct.create(Sample::new(100).build()).await;
    assert_eq!(created.unwrap(), CreateOutcome::Stored);
    assert_eq!(direct.account_rows().await.len(), 1);
}

/// Two transactions insert the same address: the second one waits for the first until the
/// deadline, and keeps its own limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn an_insert_in_a_transaction_of_the_hosts_has_the_deadline() {
    let direct = postgres::store(&postgres::url()).await;
    let pool = PgPoolOptions::new().max_connections(2).connect(&postgres::url()).await.unwrap();
    let store = PostgresStore::new(pool).with_schema(postgres::schema_of(&direct));
    let store = store.with_deadline(Duration::from_millis(500));
    let new = Sample::new(1).build();
    let same = Sample::new(2).email_of(&new).build();
    let mut first = store.begin().await.unwrap();
    drop(store.create_in(&mut first, &new).await.unwrap());
    for _ in 0..4 {
        let mut second = store.pool().begin().await.unwrap();
        second.execute("SET LOCAL statement_timeout = '7min'").await.unwrap();
        let refused = store.create_in(&mut second, &same).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        // The transaction goes on.
        drop(store.create_in(&mut second, &Sample::new(3).build()).await.unwrap());
        let limit = sqlx::query_scalar("SHOW statement_timeout").fetch_one(&mut *second);
        let limit: String = limit.await.unwrap();
        assert_eq!(limit, "7min");
        second.rollback().await.unwrap();
    }
    first.commit().await.unwrap();
    assert_eq!(direct.account_rows().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn an_insert_in_a_transaction_of_mariadb_has_the_deadline() {
    let direct = mysql::store().await;
    let pool = MySqlPoolOptions::new().max_connections(2).after_connect(|connection, _| {
        let settings = "SET SESSION autocommit = 1, SESSION innodb_lock_wait_timeout = 77";
        Box::pin(async move { connection.execute(settings).await.map(drop) })
    });
    let pool = pool.connect(&mysql::url_of(&direct)).await.unwrap();
    let store = MySqlStore::new(pool).with_deadline(DEADLINE);
    let new = Sample::new(1).build();
    let same = Sample::new(2).email_of(&new).build();
    let mut first = store.begin().await.unwrap();
    drop(store.create_in(&mut first, &new).await.unwrap());
    for _ in 0..2 {
        let mut second = store.pool().begin().await.unwrap();
        let refused = store.create_in(&mut second, &same).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        // The transaction goes on.
        drop(store.create_in(&mut second, &Sample::new(3).build()).await.unwrap());
        let limit = sqlx::query_scalar("SELECT @@innodb_lock_wait_timeout").fetch_one(&mut *second);
        let limit: u64 = limit.await.unwrap();
        assert_eq!(limit, 77);
        second.rollback().await.unwrap();
    }
    first.commit().await.unwrap();
    assert_eq!(direct.account_rows().await.len(), 1);
}

/// A firewall that drops an idle connection costs half a second.
macro_rules! a_dead_connection_is_replaced {
    ($store:expr, $proxy:expr, $ping:expr) => {{
        let (store, proxy) = ($store.with_deadline(DEADLINE), $proxy);
        store.create(Sample::new(1).build()).await.unwrap();
        // Longer than a connection counts as fresh.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        proxy.plan($ping, Trouble::Hang);
        let begun = SystemClock.monotonic();
        let created = store.create(Sample::new(2).build()).await;
        assert!(proxy.struck(), "no ping was sent");
        assert_eq!(created.unwrap(), CreateOutcome::Stored);
        assert!(SystemClock.monotonic() - begun < DEADLINE);
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_dead_connection_to_postgres_costs_less_than_a_call() {
    let direct = postgres::store(&postgres::url()).await;
    let (proxy, url) = postgres::behind_proxy(&postgres::url()).await;
    let store = PostgresStore::connect(&url).await.unwrap();
    let store = store.with_schema(postgres::schema_of(&direct));
    // sqlx asks by a `Sync`.
    a_dead_connection_is_replaced!(store, proxy, "S\0\0\0\u{4}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn a_dead_connection_to_mariadb_costs_less_than_a_call() {
    let direct = mysql::store().await;
    let (proxy, url) = mysql::behind_proxy(&direct).await;
    let store = MySqlStore::connect(&url).await.unwrap();
    // `COM_PING`.
    a_dead_connection_is_replaced!(store, proxy, "\u{1}\0\0\0\u{e}");
}

/// A write that waits for a locked table ends at its deadline, on the server, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn a_locked_table_of_mariadb_keeps_no_session() {
    let direct = mysql::store().await;
    let store = MySqlStore::connect(&mysql::url_of(&direct)).await.unwrap();
    let store = store.with_deadline(DEADLINE);
    let mut locking = direct.pool().acquire().await.unwrap();
    locking.execute("LOCK TABLES accounts READ, api_keys READ").await.unwrap();
    let mut calls = JoinSet::new();
    for number in 0..16 {
        let store = store.clone();
        calls.spawn(async move { store.create(Sample::new(number).build()).await });
    }
    for refused in calls.join_all().await {
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    // No session waits on, although the table is still locked.
    let waiting = "SELECT count(*) FROM information_schema.processlist
        WHERE db = DATABASE() AND state LIKE 'Waiting for table%'";
    let ended = async {
        loop {
            let waiting = sqlx::query_scalar(waiting).fetch_one(&mut *locking);
            let waiting: i64 = waiting.await.unwrap();
            if waiting == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, ended).await.unwrap();
    locking.execute("UNLOCK TABLES").await.unwrap();
    assert_eq!(direct.account_rows().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_deadline_works() {
    let store = SqliteStore::connect("sqlite::memory:").await.unwrap().with_deadline(Duration::MAX);
    store.migrate().await.unwrap();
    let created = store.create(Sample::new(1).build()).await;
    assert_eq!(created.unwrap(), CreateOutcome::Stored);
    let mut transaction = store.begin().await.unwrap();
    drop(store.create_in(&mut transaction, &Sample::new(2).build()).await.unwrap());
    transaction.commit().await.unwrap();
    assert_eq!(store.account_rows().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and MariaDB: scripts/test.sh starts them"]
async fn the_longest_deadline_works_on_servers() {
    let store = postgres::store(&postgres::url()).await.with_deadline(Duration::MAX);
    assert_eq!(store.create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
    let store = mysql::store().await.with_deadline(Duration::MAX);
    assert_eq!(store.create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
}
