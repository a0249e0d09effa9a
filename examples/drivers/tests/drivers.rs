//! Each driver's store against the contract, and its sign-up in the host's own transaction, on
//! the servers that `scripts/test.sh` has started.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use async_trait::async_trait;
use drivers::{Users, with_diesel, with_mysql_async, with_sea_orm, with_tokio_postgres};
use signup::account::AccountId;
use signup::hash::{FakeEngine, HashPool};
use signup::random::{SecureRandom as _, SystemRandom};
use signup::store::conformance::{self, AccountRow, ApiKeyRow, Harness as _, Outage, Sample};
use signup::store::{
    AccountColumn, AccountStore, CreateOutcome, Dialect, FindBy, LifecycleStore as _, MySqlStore,
    PostgresStore, TableMap, TimeFormat,
};
use signup::{SignupError, SignupRequest, SignupService};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

/// A driver's store, beside one that reads what it has stored.
struct Driven<U, R> {
    users: U,
    rows: R,
}

#[async_trait]
impl<U: AccountStore, R: Locked> conformance::Harness for Driven<U, R> {
    type Store = U;

    fn under_test(&self) -> &U {
        &self.users
    }

    async fn account_rows(&self) -> Vec<AccountRow> {
        self.rows.account_rows().await
    }

    async fn api_key_rows(&self) -> Vec<ApiKeyRow> {
        self.rows.api_key_rows().await
    }

    async fn delete_account(&self, id: &AccountId) {
        self.rows.delete_account(id).await;
    }

    async fn outage(&self) -> Option<Outage> {
        Some(self.rows.lock_out().await)
    }
}

/// A database in which another session can lock the accounts out.
#[async_trait]
trait Locked: conformance::Harness {
    async fn lock_out(&self) -> Outage;
}

#[async_trait]
impl Locked for PostgresStore {
    async fn lock_out(&self) -> Outage {
        let mut transaction = self.pool().begin().await.unwrap();
        transaction.execute("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE").await.unwrap();
        Box::new(transaction)
    }
}

#[async_trait]
impl Locked for MySqlStore {
    async fn lock_out(&self) -> Outage {
        // It is closed, not returned: the lock ends with the session.
        let mut session = self.pool().acquire().await.unwrap().detach();
        session.execute("LOCK TABLES accounts WRITE").await.unwrap();
        Box::new(session)
    }
}

const WORKSPACES: &str = "CREATE TABLE workspaces (owner varchar(64) NOT NULL,
    title varchar(64) NOT NULL, CONSTRAINT titled CHECK (title <> ''))";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test.sh"))
}

/// The name of a database that nobody has, and the URL of the server.
fn new_database(server: &str) -> (String, String) {
    let mut random = [0; 8];
    SystemRandom.fill(&mut random).unwrap();
    let name = format!("d{:016x}", u64::from_le_bytes(random));
    let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    (name, url)
}

async fn postgres() -> (String, PostgresStore) {
    let server = variable("SIGNUP_TEST_POSTGRES");
    let (name, url) = new_database(&server);
    let mut connection = sqlx::PgConnection::connect(&server).await.unwrap();
    let create = format!("CREATE DATABASE {name}");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(create))).await.unwrap();
    let rows = PostgresStore::connect(&url).await.unwrap();
    // As a host's own tool migrates.
    for migration in Dialect::postgres().migrations() {
        rows.pool().execute(sqlx::raw_sql(AssertSqlSafe(migration.sql))).await.unwrap();
    }
    assert!(rows.is_up_to_date().await.unwrap());
    rows.pool().execute(WORKSPACES).await.unwrap();
    // A host's sessions have a limit, by which a call ends.
    let limit = format!("ALTER DATABASE {name} SET statement_timeout = '3s'");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(limit))).await.unwrap();
    (url, rows)
}

async fn with_tokio_postgres() -> Driven<Users<with_tokio_postgres::TokioPostgres>, PostgresStore> {
    let (url, rows) = postgres().await;
    let config = deadpool_postgres::Config { url: Some(url), ..Default::default() };
    let pool = config.create_pool(None, deadpool_postgres::tokio_postgres::NoTls).unwrap();
    let driver = with_tokio_postgres::TokioPostgres { pool, dialect: Dialect::postgres() };
    Driven { users: Users(Arc::new(driver)), rows }
}

async fn with_diesel() -> Driven<Users<with_diesel::Diesel>, PostgresStore> {
    let (url, rows) = postgres().await;
    let manager = diesel_async::pooled_connection::AsyncDieselConnectionManager::new(url);
    let pool = diesel_async::pooled_connection::deadpool::Pool::builder(manager).build().unwrap();
    let driver = with_diesel::Diesel { pool, dialect: Dialect::postgres() };
    Driven { users: Users(Arc::new(driver)), rows }
}

async fn with_sea_orm() -> Driven<Users<with_sea_orm::SeaOrm>, PostgresStore> {
    let (url, rows) = postgres().await;
    let mut options = sea_orm::ConnectOptions::new(url);
    options.max_connections(8).sqlx_logging(false);
    let database = sea_orm::Database::connect(options).await.unwrap();
    let driver = with_sea_orm::SeaOrm { database, dialect: Dialect::postgres() };
    Driven { users: Users(Arc::new(driver)), rows }
}

async fn with_mysql_async() -> Driven<Users<with_mysql_async::MysqlAsync>, MySqlStore> {
    let server = variable("SIGNUP_TEST_MARIADB");
    let (name, url) = new_database(&server);
    let mut connection = sqlx::MySqlConnection::connect(&server).await.unwrap();
    let create = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(create))).await.unwrap();
    let rows = MySqlStore::connect(&url).await.unwrap();
    for migration in Dialect::mysql().migrations() {
        rows.pool().execute(sqlx::raw_sql(AssertSqlSafe(migration.sql))).await.unwrap();
    }
    assert!(rows.is_up_to_date().await.unwrap());
    rows.pool().execute(WORKSPACES).await.unwrap();
    let options = mysql_async::Opts::from_url(&url).unwrap();
    let constraints = mysql_async::PoolConstraints::new(1, 8).unwrap();
    let limits = mysql_async::PoolOpts::default().with_constraints(constraints);
    let options = mysql_async::OptsBuilder::from_opts(options).pool_opts(limits);
    // Rows and tables have limits of their own.
    let limits = "SET SESSION innodb_lock_wait_timeout = 3, SESSION lock_wait_timeout = 3";
    let options = options.setup(vec![limits, "SET SESSION autocommit = 1"]);
    let pool = mysql_async::Pool::new(options);
    let driver = with_mysql_async::MysqlAsync { pool, dialect: Dialect::mysql() };
    Driven { users: Users(Arc::new(driver)), rows }
}

signup::conformance_tests!(tokio_postgres_keeps_the_contract, with_tokio_postgres());
signup::conformance_tests!(diesel_keeps_the_contract, with_diesel());
signup::conformance_tests!(sea_orm_keeps_the_contract, with_sea_orm());
signup::conformance_tests!(mysql_async_keeps_the_contract, with_mysql_async());

/// The owners of all workspaces.
macro_rules! owners {
    ($rows:ident) => {{
        let owners = sqlx::query_scalar::<_, String>("SELECT owner FROM workspaces");
        owners.fetch_all($rows.pool()).await.unwrap()
    }};
}

/// An account and its workspace are both stored or neither, for a workspace that the database
/// refuses and for an address that is taken.
macro_rules! in_the_hosts_transaction {
    ($($test:ident: $driver:ident),+ $(,)?) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let Driven { users, rows } = $driver().await;
            // A crowd must not wait for real hashes.
            let pool = HashPool::builder().queue(64).engine(FakeEngine::default()).build();
            let service = SignupService::builder(users).jwt_secret(&[7; 32]);
            let service = service.hash_pool(Arc::new(pool.unwrap())).build().unwrap();
            let sign_up = async |email: &str, title: &str| {
                let request = SignupRequest::new(email, "correct horse");
                drivers::sign_up(&service, request, title).await
            };
            let signup = sign_up("jane@example.com", "Jane's").await.unwrap();
            assert_eq!(rows.account_rows().await.len(), 1);
            assert_eq!(owners!(rows), [signup.account().id().as_str()]);

            // The database refuses the workspace.
            sign_up("joe@example.com", "").await.unwrap_err();
            let taken = sign_up("JANE@example.com", "again").await.unwrap_err();
            assert!(is_taken(&taken), "{taken:?}");
            assert_eq!(rows.account_rows().await.len(), 1);
            assert_eq!(rows.api_key_rows().await.len(), 1);
            assert_eq!(owners!(rows).len(), 1);

            // One of many.
            let mut wins = 0;
            let crowd = (0..50).map(|_| sign_up("joe@example.com", "Joe's"));
            for ended in futures_util::future::join_all(crowd).await {
                match ended {
                    Ok(_) => wins += 1,
                    Err(error) => assert!(is_taken(&error), "{error:?}"),
                }
            }
            assert_eq!(wins, 1);
            assert_eq!(rows.account_rows().await.len(), 2);
            assert_eq!(owners!(rows).len(), 2);
        }
    )+ };
}
in_the_hosts_transaction! {
    tokio_postgres_joins_a_transaction: with_tokio_postgres,
    diesel_joins_a_transaction: with_diesel,
    sea_orm_joins_a_transaction: with_sea_orm,
    mysql_async_joins_a_transaction: with_mysql_async,
}

fn is_taken(error: &SignupError) -> bool {
    matches!(error, SignupError::EmailTaken)
}

/// A table of the host's, with its own types: values are bound with theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_the_hosts_is_described_and_not_coded() {
    let harness = with_tokio_postgres().await;
    let pool = harness.rows.pool();
    sqlx::raw_sql(
        "DROP TABLE notices, events, event_leases, used_tickets, api_keys, accounts, _signup_migrations;
         CREATE EXTENSION citext;
         CREATE TABLE users (
             id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             account_id text UNIQUE, mail citext NOT NULL, email_key text UNIQUE, name text,
             plan text NOT NULL DEFAULT 'trial', password_hash text, pepper_version bigint,
             joined timestamptz NOT NULL, token_generation bigint NOT NULL DEFAULT 0,
             replay_nonce bytea, replay_version bigint, replay_tag bytea,
             email_verified_at timestamptz, state text NOT NULL DEFAULT 'active',
             delete_at bigint, event_number bigint NOT NULL DEFAULT 0,
             email_unverified bigint, ticket_nonce bytea,
             role text NOT NULL, tenant uuid NOT NULL)",
    )
    .execute(pool)
    .await
    .unwrap();
    let map = TableMap::new("users")
        .column(AccountColumn::Email, "mail")
        .column(AccountColumn::Name, "name")
        .column(AccountColumn::Plan, "plan")
        .column(AccountColumn::State, "state")
        .column(AccountColumn::DeleteAt, "delete_at")
        .column(AccountColumn::CreatedAt, "joined")
        .time(AccountColumn::CreatedAt, TimeFormat::Timestamp)
        .time(AccountColumn::EmailVerifiedAt, TimeFormat::Timestamp)
        .fill("role", "'member'")
        .fill_with("tenant", "CAST(? AS uuid)", |_| "0193a6b0-0000-7000-8000-000000000000".into());
    let rows = PostgresStore::new(pool.clone()).with_table(map.clone()).unwrap();
    rows.migrate().await.unwrap();
    let dialect = Dialect::postgres().with_table(map).unwrap();
    let driver = with_tokio_postgres::TokioPostgres { pool: harness.users.0.pool.clone(), dialect };
    let users = Users(Arc::new(driver));

    // The record is that of the store, and the store reads what was inserted.
    let (first, second) = (Sample::new(1).build(), Sample::new(2).build());
    assert_eq!(users.create(first.clone()).await.unwrap(), CreateOutcome::Stored);
    assert_eq!(users.create(second).await.unwrap(), CreateOutcome::Stored);
    let taken = Sample::new(3).email_of(&first).build();
    assert_eq!(users.create(taken).await.unwrap(), CreateOutcome::EmailTaken);
    let found = rows.find_account(FindBy::Id(first.id())).await.unwrap().unwrap();
    assert_eq!((found.account.id(), found.account.email()), (first.id(), first.email()));
    assert_eq!(found.created_at, first.created_at());
    let roles = sqlx::query_scalar::<_, String>("SELECT role FROM users").fetch_all(pool).await;
    assert_eq!(roles.unwrap(), ["member", "member"]);
}
