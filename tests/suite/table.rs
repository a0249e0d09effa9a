//! Accounts in a table of the host's: what the check says, and existing rows on their way in.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use signup::account::{AccountId, EmailStatus};
use signup::fields::{EmailKey, EmailProfile};
use signup::hash::{FakeEngine, HashPool};
use signup::store::conformance::{Harness as _, Sample};
use signup::store::{
    AccountColumn, AccountFilter, AccountStore, AdoptionReport, CreateOutcome, FindBy,
    LifecycleStore, ListedKind, MySqlStore, OpenError, PostgresStore, SqliteStore, TableMap,
    TableProblem, TimeFormat,
};
use signup::{SignupRequest, SignupService};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::support::stores::Sqlite;
use crate::support::{mapped, rounds};

/// A store with a table of the host's, on any database.
#[async_trait]
trait MappedTable: LifecycleStore + Clone {
    fn with_map(self, map: TableMap) -> Self;
    async fn check(&self) -> Vec<TableProblem>;
    async fn adopt(&self, is_dry: bool, progress: Arc<AtomicU64>) -> AdoptionReport;
    async fn migrated(&self) -> Result<(), OpenError>;
    async fn execute(&self, sql: String);
    async fn count(&self, sql: &str) -> i64;
    fn users(&self) -> String;
    fn column_of(&self, column: AccountColumn) -> String;
    fn table_of(&self, name: &str) -> String;
    fn indexes(&self) -> Vec<String>;
}

macro_rules! mapped {
    ($store:ty) => {
        #[async_trait]
        impl MappedTable for $store {
            fn with_map(self, map: TableMap) -> Self {
                self.with_table(map).unwrap()
            }

            async fn check(&self) -> Vec<TableProblem> {
                self.check_table().await.unwrap()
            }

            async fn adopt(&self, is_dry: bool, progress: Arc<AtomicU64>) -> AdoptionReport {
                let adoption = self.adoption();
                let adoption = if is_dry { adoption.dry_run() } else { adoption };
                let adoption =
                    adoption.on_progress(move |done, _| progress.store(done, Ordering::Relaxed));
                adoption.run().await.unwrap()
            }

            async fn migrated(&self) -> Result<(), OpenError> {
                self.migrate().await
            }

            async fn execute(&self, sql: String) {
                self.pool().execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
            }

            async fn count(&self, sql: &str) -> i64 {
                let count = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
                count.fetch_one(self.pool()).await.unwrap()
            }

            fn users(&self) -> String {
                self.table("accounts")
            }

            fn column_of(&self, column: AccountColumn) -> String {
                self.column(column)
            }

            fn table_of(&self, name: &str) -> String {
                self.table(name)
            }

            fn indexes(&self) -> Vec<String> {
                self.table_indexes()
            }
        }
    };
}
mapped!(PostgresStore);
mapped!(MySqlStore);
mapped!(SqliteStore);

/// Runs a test on each database.
macro_rules! on_each {
    ($($test:ident: $body:ident),+ $(,)?) => {$(
        mod $test {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                let Sqlite { store, .. } = &mapped::sqlite_unadopted().await;
                $body(store.clone()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
            async fn on_postgres() {
                $body(mapped::postgres_unadopted().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs MariaDB: scripts/test.sh starts one"]
            async fn on_mariadb() {
                $body(mapped::mariadb_unadopted().await).await;
            }
        }
    )+};
}
on_each!(
    what_is_missing_is_said_with_the_sql_that_adds_it: says_what_is_missing,
    a_dry_run_tells_what_a_real_one_does: is_told_before,
    an_interrupted_adoption_is_finished_by_the_next: survives_interruptions,
    an_adopted_row_has_its_sign_up_behind_it: is_taken_by_its_row,
    a_table_of_the_host_s_with_a_name_of_ours_is_told: is_told_of_another_table,
    a_unique_index_may_have_another_name: knows_another_name,
    indexes_are_added_to_a_table_in_use: is_indexed,
);

/// Inserts rows; each thousandth has the mailbox of the row before it in another spelling.
async fn fill<S: MappedTable>(store: &S, rows: usize) -> usize {
    let (users, mail) = (store.users(), store.column_of(AccountColumn::Email));
    let mut collisions = 0;
    let mut values = Vec::new();
    for number in 0..rows {
        let domain = if number % 1000 == 999 {
            collisions += 1;
            format!("{}@EXAMPLE.com.", number - 1)
        } else {
            format!("{number}@example.com")
        };
        let address = domain.trim_end_matches('.').to_owned();
        values.push(format!("('person{address}', 'member', 'Hello')"));
        if values.len() == 500 || number + 1 == rows {
            let values = std::mem::take(&mut values).join(", ");
            let insert = format!("INSERT INTO {users} ({mail}, role, greeting) VALUES {values}");
            store.execute(insert).await;
        }
    }
    collisions
}

async fn says_what_is_missing<S: MappedTable>(store: S) {
    let lines = |problems: Vec<TableProblem>| -> Vec<_> {
        problems.iter().map(ToString::to_string).collect()
    };
    let problems = store.check().await;
    let said = lines(problems.clone());
    assert!(said.iter().any(|line| line.contains("has no column public_id: ALTER TABLE")));
    assert!(said.iter().any(|line| line.contains("mailKey is not unique: CREATE UNIQUE INDEX")));
    let refused = store.migrated().await.unwrap_err().to_string();
    assert!(refused.contains("has no column mailKey: ALTER TABLE"), "{refused}");
    // What it says is what has to be done.
    for problem in problems {
        store.execute(problem.sql.unwrap()).await;
    }
    assert_eq!(store.check().await, []);
    store.migrated().await.unwrap();

    // What no statement can add: a wrong type, a column that nobody fills, no table.
    let users = store.users();
    store.execute(format!("ALTER TABLE {users} ADD COLUMN team int NOT NULL DEFAULT 1")).await;
    let wrong = mapped_again(&store).column(AccountColumn::State, "team");
    let said = lines(store.clone().with_map(wrong).check().await);
    assert!(said.iter().any(|line| line.contains("app_users.team is int")), "{said:?}");
    let unfilled = TableMap::new("app_users");
    let said = lines(store.clone().with_map(with_schema(unfilled, &store)).check().await);
    assert!(said.iter().any(|line| line.contains("role may not be null")), "{said:?}");
    // An account may have no name.
    let named = mapped_again(&store).column(AccountColumn::Name, "role");
    let said = lines(store.clone().with_map(named).check().await);
    assert!(said.iter().any(|line| line.contains("an account may have no name")), "{said:?}");
    let said = lines(store.clone().with_map(TableMap::new("nothing")).check().await);
    assert!(said.len() == 1 && said[0].starts_with("there is no table"), "{said:?}");
}

/// The schema that stands before the name of the table.
fn with_schema<S: MappedTable>(map: TableMap, store: &S) -> TableMap {
    match store.users().split_once('.') {
        Some((schema, _)) => map.schema(schema.trim_matches('"')),
        None => map,
    }
}

fn mapped_again<S: MappedTable>(store: &S) -> TableMap {
    // The table in MariaDB has `datetime`.
    let is_mariadb = store.users().contains('`');
    let format = if is_mariadb { TimeFormat::DateTime } else { TimeFormat::Timestamp };
    with_schema(mapped::map_with(format), store)
}

async fn is_told_before<S: MappedTable>(store: S) {
    let collisions = fill(&store, 3000).await;
    let users = store.users();
    store
        .execute(format!(
            "INSERT INTO {users} ({}, role, greeting) VALUES ('nobody', 'member', 'Hello')",
            store.column_of(AccountColumn::Email)
        ))
        .await;
    let planned = store.adopt(true, Arc::default()).await;
    assert!(store.check().await.iter().any(|problem| problem.sql.is_some()), "it has changed");
    let done = store.adopt(false, Arc::default()).await;
    assert_eq!((done.adopted, done.unchanged), (3000 - 3, 0));
    assert_eq!((done.rows(ListedKind::Collision).len(), collisions), (3, 3));
    assert_eq!(done.count(ListedKind::InvalidEmail), 1);
    assert_eq!(planned.statements, done.statements);
    assert_eq!(planned.adopted, done.adopted);
    assert_eq!(planned.listed, done.listed);
    // Again, nothing is left to do but what it can't decide.
    for is_dry in [true, false] {
        let again = store.adopt(is_dry, Arc::default()).await;
        assert_eq!((again.adopted, again.unchanged), (0, 2997), "dry: {is_dry}");
        assert_eq!(again.listed, done.listed, "dry: {is_dry}");
    }
}

async fn knows_another_name<S: MappedTable + AccountStore>(store: S) {
    for problem in store.check().await {
        let sql = problem.sql.unwrap();
        store
            .execute(match sql.split_once(" ON ") {
                Some((_, column)) if problem.what.contains("mailKey is not unique") => {
                    format!("CREATE UNIQUE INDEX by_mailbox ON {column}")
                }
                _ => sql,
            })
            .await;
    }
    assert_eq!(store.check().await, []);
    // Another instance reads the name when it migrates.
    let other = store.clone().with_map(mapped_again(&store));
    other.migrated().await.unwrap();
    let new = Sample::new(1).build();
    assert_eq!(other.create(new.clone()).await.unwrap(), CreateOutcome::Stored);
    let same = Sample::new(2).email_of(&new).build();
    assert_eq!(other.create(same).await.unwrap(), CreateOutcome::EmailTaken);
}

async fn survives_interruptions<S: MappedTable>(store: S) {
    let turns = rounds(6, 20);
    let rows = turns * 1000;
    let collisions = fill(&store, rows).await;
    for turn in 1..=u64::try_from(turns).unwrap() {
        let progress = Arc::<AtomicU64>::default();
        let adopting = store.adopt(false, Arc::clone(&progress));
        let enough = async {
            while progress.load(Ordering::Relaxed) < turn * 600 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = adopting => panic!("it was not interrupted"),
            () = enough => {}
        }
    }
    let report = store.adopt(false, Arc::default()).await;
    assert_eq!(usize::try_from(report.count(ListedKind::Collision)).unwrap(), collisions);
    assert!(report.unchanged > 0 && report.adopted > 0, "{report:?}");
    let (users, id) = (store.users(), store.column_of(AccountColumn::Id));
    let key = store.column_of(AccountColumn::EmailKey);
    for column in [&id, &key] {
        let distinct = store.count(&format!("SELECT count(DISTINCT {column}) FROM {users}")).await;
        assert_eq!(usize::try_from(distinct).unwrap(), rows - collisions);
    }
    let stored = store.count(&format!("SELECT count(*) FROM {users}")).await;
    assert_eq!(usize::try_from(stored).unwrap(), rows);
}

async fn is_taken_by_its_row<S: MappedTable + AccountStore>(store: S) {
    let users = store.users();
    let mail = store.column_of(AccountColumn::Email);
    let insert = format!(
        "INSERT INTO {users} ({mail}, role, greeting) VALUES ('Old@Example.com', 'owner', 'Hi')"
    );
    store.execute(insert).await;
    store.adopt(false, Arc::default()).await;
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(store.clone()).jwt_secret(&[7; 32]);
    let service = service.hash_pool(Arc::new(pool)).build().unwrap();
    let signup = async |email: &str| {
        let name = SignupRequest::new(email, "correct horse").name("Ada");
        service.signup(name).await
    };
    assert!(signup("old@EXAMPLE.com").await.is_err());
    // A user without a password has no log-in.
    let credentials = service.credentials();
    assert!(credentials.verify_password("old@example.com", "correct horse").await.is_err());
    let new = signup("new@example.com").await.unwrap();
    assert!(credentials.verify_password("NEW@example.com", "correct horse").await.is_ok());
    credentials.verify_api_key(new.api_key().reveal()).await.unwrap();
    let filled =
        format!("SELECT count(*) FROM {users} WHERE role = 'member' AND greeting = 'Hello, Ada'");
    assert_eq!(store.count(&filled).await, 1);
    let record = store.find_account(FindBy::Id(new.account().id())).await.unwrap().unwrap();
    assert_eq!(record.account.email().as_str(), "new@example.com");
    assert!(
        store.find_account(FindBy::Id(&AccountId::from_store("acc_none"))).await.unwrap().is_none()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connection_of_sqlite_notices_an_adoption() {
    let sqlite = mapped::sqlite_unadopted().await;
    let store = &sqlite.store;
    let mut connections = Vec::new();
    for _ in 0..store.pool().options().get_max_connections() {
        let mut connection = store.pool().acquire().await.unwrap();
        connection.execute("SELECT count(*) FROM app_users").await.unwrap();
        connections.push(connection);
    }
    drop(connections);
    store.adoption().run().await.unwrap();
    store.migrate().await.unwrap();
    let mut creates = tokio::task::JoinSet::new();
    for number in 0..8 {
        let store = store.clone();
        creates.spawn(async move { store.create(Sample::new(number).build()).await });
    }
    for created in creates.join_all().await {
        assert_eq!(created.unwrap(), CreateOutcome::Stored);
    }
}

async fn is_indexed<S: MappedTable>(store: S) {
    let collisions = fill(&store, 1_000).await;
    store.adopt(false, Arc::default()).await;
    store.migrated().await.unwrap();
    let indexes = store.indexes();
    assert_eq!(indexes.len(), 3);
    for index in indexes {
        store.execute(index).await;
    }
    let page = store.list_accounts(&AccountFilter::new(1_000).not_erased()).await.unwrap();
    assert_eq!((page.accounts.len(), collisions), (999, 1));
    assert_eq!(page.next, None);
}

async fn is_told_of_another_table<S: MappedTable>(store: S) {
    for problem in store.check().await {
        store.execute(problem.sql.unwrap()).await;
    }
    let events = store.table_of("events");
    store.execute(format!("CREATE TABLE {events} (what int)")).await;
    let refused = store.migrated().await.unwrap_err().to_string();
    assert!(refused.contains("with_prefix"), "{refused}");
    store.execute(format!("DROP TABLE {events}")).await;
    store.migrated().await.unwrap();
}

#[tokio::test]
async fn a_column_that_is_filled_is_not_another_one() {
    let Sqlite { store, .. } = &mapped::sqlite().await;
    let one = TableMap::new("app_users").column(AccountColumn::Email, "mail").fill("role", "'x'");
    let problems = store.clone().with_table(one).unwrap().check_table().await.unwrap();
    let said: Vec<_> =
        problems.iter().map(|it| &it.what).filter(|what| what.contains("null")).collect();
    assert!(said.len() == 1 && said[0].starts_with("app_users.greeting may not be"), "{said:?}");
}

#[tokio::test]
async fn a_dry_run_knows_that_a_later_row_is_the_account() {
    let Sqlite { store, .. } = &mapped::sqlite().await;
    let rows = "INSERT INTO app_users (mail, role, greeting)
                VALUES ('KIM@x.co', 'member', 'Hi'), ('Kim@x.co', 'member', 'Hi');
                UPDATE app_users SET public_id = 'acc_1', mailKey = 'kim@x.co' WHERE id = 2";
    sqlx::raw_sql(rows).execute(store.pool()).await.unwrap();
    let planned = store.adoption().dry_run().run().await.unwrap();
    let done = store.adoption().run().await.unwrap();
    assert_eq!((planned.adopted, planned.unchanged), (0, 1));
    let [row] = planned.rows(ListedKind::Collision) else { panic!("{planned:?}") };
    assert_eq!((&*row.email, row.account.as_deref()), ("KIM@x.co", Some("2")));
    assert_eq!(planned, done);
}

#[tokio::test]
async fn an_adoption_tells_its_progress_and_ends_what_was_half_done() {
    let Sqlite { store, .. } = &mapped::sqlite().await;
    fill(store, 1_700).await;
    // A row whose key was written without its id, as by hand.
    let half = "UPDATE app_users SET mailKey = mail WHERE id = 7";
    sqlx::query(half).execute(store.pool()).await.unwrap();
    let mut told = Vec::new();
    let report = store.adoption().on_progress(|done, all| told.push((done, all))).run().await;
    let pages = vec![(1_000, 1_700), (1_700, 1_700)];
    assert_eq!((report.unwrap().adopted, told), (1_699, pages));
}

#[tokio::test]
async fn a_name_that_is_none_is_refused() {
    let bad = ["", "a\"b", "a`b", "a\nb", "it's", &"a".repeat(64)];
    for name in bad {
        let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
        let map = TableMap::new("users").column(AccountColumn::Email, name);
        assert!(store.clone().with_table(map).is_err(), "{name}");
        assert!(store.with_table(TableMap::new(name)).is_err(), "{name}");
    }
}

#[tokio::test]
async fn an_api_key_s_times_and_an_account_s_are_as_exact_as_in_a_table_of_its_own() {
    let sqlite = mapped::sqlite().await;
    let map = mapped::map().time(AccountColumn::DeleteAt, TimeFormat::Timestamp);
    let said = sqlite.store.clone().with_table(map).unwrap().check_table().await.unwrap();
    assert!(said.iter().any(|problem| problem.what.contains("delete_at is int")), "{said:?}");
    let ids: HashSet<_> =
        sqlite.store.account_rows().await.into_iter().map(|account| account.id).collect();
    assert!(ids.is_empty());
}

#[tokio::test]
async fn an_adopted_address_counts_as_the_host_says() {
    for status in [EmailStatus::Unknown, EmailStatus::Verified, EmailStatus::Unverified] {
        let Sqlite { store, .. } = &mapped::sqlite_unadopted().await;
        let row = "INSERT INTO app_users (mail, role, greeting) VALUES ('a@x.co', 'm', 'Hi')";
        store.pool().execute(row).await.unwrap();
        let report = store.adoption().addresses_count_as(status).run().await.unwrap();
        assert_eq!(report.adopted, 1);
        let key = EmailKey::parse("a@x.co", EmailProfile::Strict).unwrap();
        let record = store.find_account(FindBy::Email(&key)).await.unwrap().unwrap();
        assert_eq!(record.email_status(), status);
    }
}

/// A session in another time zone writes, and one in UTC reads.
macro_rules! times_are_the_same {
    ($store:expr, $set_zone:expr) => {{
        let store = $store;
        store.adoption().run().await.unwrap();
        let new = Sample::new(1).build();
        let mut transaction = store.begin().await.unwrap();
        transaction.connection().execute($set_zone).await.unwrap();
        drop(store.create_in(&mut transaction, &new).await.unwrap());
        transaction.commit().await.unwrap();
        let found = store.find_account(FindBy::Id(new.id())).await.unwrap().unwrap();
        assert_eq!(found.created_at, new.created_at());
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_mapped_time_is_the_same_in_every_zone_of_postgres() {
    for (format, time) in
        [(TimeFormat::Timestamp, "timestamptz"), (TimeFormat::DateTime, "timestamp")]
    {
        let store = mapped::postgres_with(format, time).await;
        times_are_the_same!(store, "SET LOCAL TIME ZONE 'America/New_York'");
        let store = mapped::postgres_with(format, time).await;
        let other = match format {
            TimeFormat::Timestamp => TimeFormat::DateTime,
            _ => TimeFormat::Timestamp,
        };
        let schema = store.table("").trim_end_matches('.').to_owned();
        let map = mapped::map_with(other).schema(schema);
        let problems = store.with_table(map).unwrap().check_table().await.unwrap();
        assert!(problems.iter().any(|it| it.what.contains("TableMap::time")), "{problems:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn a_mapped_time_is_the_same_in_every_zone_of_mariadb() {
    for (format, time) in
        [(TimeFormat::Timestamp, "timestamp(3)"), (TimeFormat::DateTime, "datetime(3)")]
    {
        times_are_the_same!(mapped::mariadb_with(format, time).await, "SET time_zone = '-05:00'");
    }
}
