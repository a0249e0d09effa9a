//! The parts that are MySQL's own, on a real MariaDB: connections lost at the commit, rows of the host's,
//! simultaneous migrations, and errors that quote what a client has sent.

use std::time::Duration;

use async_trait::async_trait;
use signup::hash::{FakeEngine, HashPool};
use signup::store::conformance::{Harness as _, Sample, dropped_after};
use signup::store::{
    AccountStore as _, CreateOutcome, FindBy, HostRows, HostRowsError, LifecycleStore as _,
    LifecycleStoreExt as _, MySqlStore, NewAccount, StoreError, TablePrefix,
};
use signup::{SignupError, SignupRequest, SignupService};
use sqlx::mysql::{MySqlConnection, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::task::JoinSet;

use crate::support::mysql;
use crate::support::proxy::{Proxy, Trouble};

const DEADLINE: Duration = Duration::from_secs(2);
/// The command of a commit. The name of the isolation has the word too.
const COMMIT: &str = "\u{3}COMMIT";

/// A store behind a proxy, and the same without it.
struct Behind {
    proxy: Proxy,
    store: MySqlStore,
    direct: MySqlStore,
}

impl Behind {
    async fn a_proxy() -> Self {
        let direct = mysql::store().await;
        let (proxy, url) = mysql::behind_proxy(&direct).await;
        let store = MySqlStore::connect(&url).await.unwrap().with_deadline(DEADLINE);
        // A connection is there, so that the next use of it has nothing else to send.
        store.create(Sample::new(1).build()).await.unwrap();
        Self { proxy, store, direct }
    }

    async fn ids(&self) -> Vec<String> {
        let (accounts, keys) = (self.direct.account_rows().await, self.direct.api_key_rows().await);
        assert_eq!(accounts.len(), keys.len());
        accounts.into_iter().map(|row| row.id).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn a_commit_whose_connection_is_lost_is_settled_by_the_same_insert() {
    let troubles = [Trouble::CutBefore, Trouble::CutAfter, Trouble::CutUnanswered];
    for trouble in troubles.into_iter().cycle().take(12) {
        let behind = Behind::a_proxy().await;
        let new = Sample::new(2).build();
        behind.proxy.plan(COMMIT, trouble);
        let created = behind.store.create(new.clone()).await;
        assert!(behind.proxy.struck(), "nothing happened");
        assert_eq!(created.unwrap(), CreateOutcome::Stored, "{trouble:?}");
        assert!(behind.ids().await.contains(&new.id().as_str().to_owned()), "{trouble:?}");
        assert_eq!(behind.store.create(new).await.unwrap(), CreateOutcome::EmailTaken);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn a_commit_that_hangs_ends_at_the_deadline_and_is_told_as_it_was() {
    for (trouble, is_stored) in [(Trouble::SwallowAnswer, true), (Trouble::Hang, false)] {
        let behind = Behind::a_proxy().await;
        let new = Sample::new(2).build();
        behind.proxy.plan(COMMIT, trouble);
        let created = behind.store.create(new.clone()).await;
        let told = match created {
            Ok(outcome) => outcome == CreateOutcome::Stored,
            Err(StoreError::OutcomeUnknown(_)) => false,
            Err(other) => panic!("{trouble:?}: {other}"),
        };
        let is_there = behind.ids().await.contains(&new.id().as_str().to_owned());
        assert_eq!((told, is_there), (is_stored, is_stored), "{trouble:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn a_connection_lost_before_the_commit_stores_nothing_and_is_known() {
    let behind = Behind::a_proxy().await;
    let new = Sample::new(2).build();
    // The address is in the first statement of the transaction.
    behind.proxy.plan(new.email().as_str(), Trouble::CutAfter);
    let created = behind.store.create(new.clone()).await;
    assert!(matches!(created, Err(StoreError::Unavailable(_))), "{created:?}");
    assert_eq!(behind.ids().await.len(), 1);
    assert_eq!(behind.store.create(new).await.unwrap(), CreateOutcome::Stored);
}

/// A workspace for each account.
#[derive(Clone)]
struct Workspaces;

#[async_trait]
impl HostRows<MySqlConnection> for Workspaces {
    async fn insert(
        &self,
        connection: &mut MySqlConnection,
        new: &NewAccount,
    ) -> Result<(), HostRowsError> {
        let insert = sqlx::query("INSERT INTO workspaces (account_id) VALUES (?)");
        insert.bind(new.id().as_str().to_owned()).execute(connection).await?;
        if new.email().as_str().starts_with("refuse") {
            return Err(HostRowsError::refuse("email", "No workspace for this one"));
        }
        Ok(())
    }
}

async fn with_workspaces() -> MySqlStore {
    let store = mysql::store().await;
    let table = "CREATE TABLE workspaces (
        account_id varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
        FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE)";
    store.pool().execute(table).await.unwrap();
    store
}

async fn workspaces(store: &MySqlStore) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM workspaces");
    count.fetch_one(store.pool()).await.unwrap()
}

fn service(store: MySqlStore) -> SignupService<MySqlStore> {
    let pool = HashPool::builder().workers(2).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(store).jwt_secret(&[7; 32]);
    service.hash_pool(std::sync::Arc::new(pool)).build().unwrap()
}

fn request(email: &str) -> SignupRequest {
    SignupRequest::new(email, "correct horse")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn rows_of_the_hosts_are_there_with_their_account_or_not_at_all() {
    let store = with_workspaces().await;
    let signups = service(store.clone().with_host_rows(Workspaces));
    signups.signup(request("a@x.co")).await.unwrap();
    let refused = signups.signup(request("refuse@x.co")).await;
    assert!(matches!(refused, Err(SignupError::Invalid(_))), "{refused:?}");
    assert!(matches!(signups.signup(request("A@x.co")).await, Err(SignupError::EmailTaken)));
    for polls in 1..20 {
        let email = format!("drop{polls}@x.co");
        let _ = dropped_after(signups.signup(request(&email)), polls).await;
        let again = signups.signup(request(&email)).await;
        assert!(matches!(again, Ok(_) | Err(SignupError::EmailTaken)), "{again:?}");
    }
    assert_eq!((store.account_rows().await.len(), workspaces(&store).await), (20, 20));

    // And in a transaction of the host's own.
    let signups = service(store.clone());
    let prepared = signups.prepare(request("own@x.co")).await.unwrap();
    let mut transaction = store.pool().begin().await.unwrap();
    let proof = store.create_in(&mut transaction, prepared.new_account()).await.unwrap();
    let insert = sqlx::query("INSERT INTO workspaces (account_id) VALUES (?)");
    let insert = insert.bind(prepared.new_account().id().as_str().to_owned());
    insert.execute(&mut *transaction).await.unwrap();
    // A taken address leaves the transaction usable.
    let twice = signups.prepare(request("a@x.co")).await.unwrap_err();
    assert!(matches!(twice, SignupError::EmailTaken));
    let taken = Sample::new(7).email("own@x.co").build();
    let taken = store.create_in(&mut transaction, &taken).await;
    assert!(matches!(taken, Err(StoreError::EmailTaken)), "{taken:?}");
    transaction.commit().await.unwrap();
    drop(prepared.open(proof).unwrap());
    assert_eq!((store.account_rows().await.len(), workspaces(&store).await), (21, 21));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn instances_that_start_at_the_same_time_migrate_once() {
    let first = mysql::store().await;
    let prefix = TablePrefix::new("app_").unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (url, prefix) = (mysql::url_of(&first), prefix.clone());
        tasks.spawn(async move {
            let store = MySqlStore::connect(&url).await.unwrap().with_prefix(prefix);
            store.migrate().await.unwrap();
            assert!(store.is_up_to_date().await.unwrap());
            store
        });
    }
    let stores = tasks.join_all().await;
    assert_eq!(stores[0].create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
    let records: i64 = sqlx::query_scalar("SELECT count(*) FROM app__signup_migrations")
        .fetch_one(first.pool())
        .await
        .unwrap();
    let leases: i64 = sqlx::query_scalar("SELECT count(*) FROM app_event_leases")
        .fetch_one(first.pool())
        .await
        .unwrap();
    assert_eq!((records, leases), (1, 64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn a_migration_that_was_interrupted_is_finished_by_the_next() {
    let whole = mysql::store().await;
    let script = whole.migrations().remove(0).sql;
    let statements: Vec<_> = script.split_inclusive(";\n").collect();
    for done in 0..statements.len() {
        let store = mysql::unmigrated().await;
        for statement in &statements[..done] {
            let statement = sqlx::raw_sql(AssertSqlSafe((*statement).to_owned()));
            store.pool().execute(statement).await.unwrap();
        }
        store.migrate().await.unwrap();
        assert!(store.is_up_to_date().await.unwrap());
        assert_eq!(store.create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn another_table_of_accounts_is_not_taken() {
    for columns in ["id bigint PRIMARY KEY, name text", "id varchar(64) PRIMARY KEY"] {
        let store = mysql::unmigrated().await;
        let table = format!("CREATE TABLE accounts ({columns})");
        store.pool().execute(AssertSqlSafe(table)).await.unwrap();
        let refused = store.migrate().await.unwrap_err().to_string();
        assert!(refused.contains("there is another table accounts"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn no_error_quotes_what_the_client_has_sent() {
    let store = mysql::store().await;
    // A constraint of the host's, which no sign-up knows.
    let own = "ALTER TABLE accounts ADD CONSTRAINT own UNIQUE (name(100))";
    store.pool().execute(own).await.unwrap();
    let named = |number| Sample::new(number).name(Some("marker-name")).build();
    store.create(named(1)).await.unwrap();
    let refused = store.create(named(2)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Failed(_)), "{refused:?}");
    let shown = format!("{refused:?} {refused}");
    assert!(!shown.contains("marker") && shown.contains("1062"), "{shown}");
    // A name of a key in the value is not the name of the key.
    let tricky = "x' for key 'accounts_email_key_key'";
    let tricky = |number| Sample::new(number).name(Some(tricky)).build();
    store.create(tricky(3)).await.unwrap();
    let refused = store.create(tricky(4)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Failed(_)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn sessions_that_would_lose_changes_are_refused() {
    let first = mysql::store().await;
    for (setting, name) in [
        ("autocommit = 0", "autocommit"),
        ("sql_mode = ''", "sql_mode"),
        ("tx_isolation = 'READ-UNCOMMITTED'", "isolation"),
        ("completion_type = 'CHAIN'", "completion_type"),
    ] {
        let pool = MySqlPoolOptions::new().after_connect(move |connection, _| {
            let set = AssertSqlSafe(format!("SET SESSION autocommit = 1, SESSION {setting}"));
            Box::pin(async move { connection.execute(set).await.map(drop) })
        });
        let store = MySqlStore::new(pool.connect(&mysql::url_of(&first)).await.unwrap());
        for refused in [store.migrate().await, store.is_up_to_date().await.map(drop)] {
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains(name), "{refused}");
        }
    }
}

/// A handler that was dropped has left a transaction open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn a_transaction_that_a_host_has_left_open_loses_no_change() {
    let first = mysql::store().await;
    let new = Sample::new(1).build();
    first.create(new.clone()).await.unwrap();
    let pool = MySqlPoolOptions::new().max_connections(1);
    let pool = pool.connect(&mysql::url_of(&first)).await.unwrap();
    for set in ["SET SESSION autocommit = 1", "START TRANSACTION"] {
        sqlx::raw_sql(set).execute(&pool).await.unwrap();
    }
    let store = MySqlStore::new(pool);
    assert!(store.revoke_tokens(new.id()).await.unwrap());
    let record = first.find_account(FindBy::Id(new.id())).await.unwrap().unwrap();
    assert_eq!(record.token_generation, 1, "the revocation is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn a_pool_of_the_hosts_is_used_as_it_is() {
    let first = mysql::store().await;
    let pool = MySqlPoolOptions::new().max_connections(2).connect(&mysql::url_of(&first)).await;
    let store = MySqlStore::new(pool.unwrap());
    let new = Sample::new(1).build();
    assert_eq!(store.create(new.clone()).await.unwrap(), CreateOutcome::Stored);
    assert_eq!(store.create(new.clone()).await.unwrap(), CreateOutcome::EmailTaken);
    assert!(store.find_account(FindBy::Id(new.id())).await.unwrap().is_some());
}
