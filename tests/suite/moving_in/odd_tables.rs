//! Tables that need a word before accounts can live in them, and tables that only look so.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use signup::account::AccountState;
use signup::hash::{FakeEngine, HashPool};
use signup::store::ListedKind::{ChangedEmail, InvalidTime};
use signup::store::conformance::Sample;
use signup::store::{
    AccountColumn, AccountFilter, AccountStore as _, CreateOutcome, FindBy, LifecycleStore as _,
    MySqlStore, PostgresStore, Schema, SqliteStore, TableMap, TimeFormat,
};
use signup::{SignupRequest, SignupService};
use tokio::task::JoinSet;

use super::key_of;
use super::lives::Engine;
use crate::support::postgres;

const USERS: &str = "id serial PRIMARY KEY, email text NOT NULL";
const USERS_OF_MYSQL: &str = "id int AUTO_INCREMENT PRIMARY KEY,
    email varchar(256) COLLATE utf8mb4_bin NOT NULL";

fn users() -> TableMap {
    TableMap::new("users")
}

/// A table with old users, adopted if that can be.
async fn adopted<S: Engine>(tables: &str, map: TableMap) -> S {
    let store = S::open().await;
    store.load(tables).await;
    let store = store.mapped(map);
    store.adopt(false).await;
    store
}

/// Checks that a table is refused with these words, by its catalog or when it is tried out.
async fn is_refused<S: Engine>(tables: &str, map: TableMap, words: &str) {
    let store = S::open().await;
    store.load(tables).await;
    let store = store.mapped(map);
    let mut problems = store.check().await;
    if problems.iter().all(|problem| problem.sql.is_some()) {
        // Columns are missing. What else is wrong may be in the way of the adoption, too.
        match store.try_adopt().await {
            Ok(_) => problems = store.check().await,
            Err(error) => assert!(error.contains(words), "{error} instead of {words}"),
        }
    }
    let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|line| line.contains(words)), "{said:?} instead of {words}");
}

/// Signs up on a table.
async fn signs_up<S: Engine + 'static>(store: &S, email: &str) -> Result<(), signup::SignupError> {
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(store.clone()).jwt_secret(&[7; 32]);
    let service = service.hash_pool(pool.into()).build().unwrap();
    service.signup(SignupRequest::new(email, "correct horse")).await?;
    service.credentials().verify_password(email, "correct horse").await.unwrap();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn what_postgres_would_refuse_is_said_before() {
    let with = |columns: &str| format!("CREATE TABLE users ({USERS}, {columns})");
    let verified = users()
        .column(AccountColumn::EmailVerifiedAt, "confirmed_at")
        .time(AccountColumn::EmailVerifiedAt, TimeFormat::Timestamp);
    let filled = users().fill("updated_at", "nowadays()");
    for (tables, map, words) in [
        (with("CHECK (email = lower(email))"), users(), "capital letters in the address fails"),
        (with("CHECK (length(email) < 200)"), users(), "address of 256 characters fails"),
        (with("CHECK (email NOT LIKE 'acc_%')"), users(), "erasing an account fails"),
        (with("password_hash char(128)"), users(), "password_hash is bpchar"),
        (with("password_hash varchar(60)"), users(), "holds 60 characters"),
        (
            with("confirmed_at timestamptz GENERATED ALWAYS AS ('epoch'::timestamptz) STORED"),
            verified,
            "confirmed_at is generated",
        ),
        (with("updated_at timestamptz NOT NULL"), filled, "a sign-up fails: function nowadays()"),
        (
            "CREATE TABLE users (tenant int, id int, email varchar(256), PRIMARY KEY (tenant, id))"
                .to_owned(),
            users().fill("tenant", "1").fill("id", "1"),
            "id is not unique by itself",
        ),
        (
            format!(
                "CREATE TABLE users ({USERS}); INSERT INTO users VALUES (1, 'a@x.co'), (2, 'b@x.co')"
            ),
            users(),
            "SELECT setval(pg_get_serial_sequence(",
        ),
        (
            "CREATE TABLE people (id int PRIMARY KEY, email text);
             CREATE VIEW users AS SELECT * FROM people"
                .to_owned(),
            users(),
            "users is a view",
        ),
        (
            "CREATE TABLE users (id int PRIMARY KEY, email text) PARTITION BY HASH (id)".to_owned(),
            users(),
            "users is a view or a partitioned",
        ),
    ] {
        is_refused::<PostgresStore>(&tables, map, words).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn what_mariadb_would_refuse_is_said_before() {
    let with = |columns: &str, rest: &str| {
        format!("CREATE TABLE users ({USERS_OF_MYSQL}{columns}) CHARACTER SET utf8mb4 {rest}")
    };
    let named = users().column(AccountColumn::Name, "name");
    let timed = users().time(AccountColumn::CreatedAt, TimeFormat::Timestamp);
    for (tables, map, words) in [
        (with("", "ENGINE = MyISAM"), users(), "ENGINE = InnoDB"),
        (with("", "ROW_FORMAT = COMPACT"), users(), "ROW_FORMAT = DYNAMIC"),
        (
            with(", name varchar(300) CHARACTER SET utf8mb3", ""),
            named.clone(),
            "can't hold every character",
        ),
        (with(", name varchar(255)", ""), named, "MODIFY `name` varchar(256)"),
        (with(", password_hash varchar(60)", ""), users(), "holds 60 characters"),
        (
            "CREATE TABLE users (id int AUTO_INCREMENT PRIMARY KEY,
                email varchar(256) NOT NULL UNIQUE)
             CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"
                .to_owned(),
            users(),
            "for one address",
        ),
        (
            with(
                ", created_at timestamp DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP",
                "",
            ),
            timed,
            "created_at is set anew",
        ),
        (with(", CHECK (email NOT LIKE 'acc%')", ""), users(), "erasing an account fails"),
    ] {
        is_refused::<MySqlStore>(&tables, map, words).await;
    }
}

#[tokio::test]
async fn what_sqlite_would_refuse_is_said_before() {
    let table = |columns: &str| format!("CREATE TABLE users (email TEXT NOT NULL, {columns})");
    let filled = users().fill("updated_at", "now()");
    for (tables, map, words) in [
        (table("id TEXT PRIMARY KEY"), users(), "id may not be null and has no default"),
        (table("id TEXT PRIMARY KEY NOT NULL"), users(), "id may not be null and has no default"),
        (table("id INTEGER PRIMARY KEY, created_at"), users(), "created_at is of no type"),
        (
            table("id INTEGER PRIMARY KEY, updated_at datetime NOT NULL"),
            filled,
            "no such function: now",
        ),
        (
            table("id INTEGER PRIMARY KEY, CHECK (email LIKE '%@%.co')"),
            users(),
            "a sign-up fails: CHECK constraint failed",
        ),
        ("CREATE VIEW users AS SELECT 1 AS id, 'a' AS email".to_owned(), users(), "is a view"),
    ] {
        is_refused::<SqliteStore>(&tables, map, words).await;
    }
}

/// The rules that applications add to an address, and names that they use for other things.
#[tokio::test]
async fn an_ordinary_table_is_not_refused() {
    let tables = "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL,
            state TEXT DEFAULT 'CA', plan TEXT, name TEXT NOT NULL DEFAULT '', delete_at TEXT,
            CHECK (email LIKE '%_@_%'));
        CREATE UNIQUE INDEX by_mailbox ON users (lower(email));
        INSERT INTO users (email, state) VALUES ('old@example.com', 'NY')";
    let store = adopted::<SqliteStore>(tables, users()).await;
    assert_eq!(store.check().await, []);
    signs_up(&store, "new@example.com").await.unwrap();
    let state = sqlx::query_scalar::<_, String>("SELECT state FROM users ORDER BY id");
    assert_eq!(state.fetch_all(store.pool()).await.unwrap(), ["NY", "CA"]);
    // A row of the old application, which is no account.
    store.load("INSERT INTO users (email) VALUES ('Late@example.com')").await;
    let taken = signs_up(&store, "late@example.com").await.unwrap_err();
    assert!(matches!(taken, signup::SignupError::EmailTaken), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn an_address_that_is_unique_by_an_expression_is_taken() {
    let tables = format!(
        "CREATE TABLE users ({USERS}, deleted boolean NOT NULL DEFAULT false);
         CREATE UNIQUE INDEX by_mailbox ON users (lower(email)) WHERE NOT deleted"
    );
    let store = adopted::<PostgresStore>(&tables, users()).await;
    assert_eq!(store.check().await, []);
    store.load("INSERT INTO users (email) VALUES ('Late@example.com')").await;
    let taken = signs_up(&store, "late@example.com").await.unwrap_err();
    assert!(matches!(taken, signup::SignupError::EmailTaken), "{taken:?}");
}

/// An index of some rows, or of a pair of columns, does not make a column unique.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_partial_index_is_not_relied_on() {
    let tables = format!(
        "CREATE TABLE users ({USERS}, account_id text, email_key text);
         CREATE UNIQUE INDEX users_email_key_key ON users (email_key) WHERE id > 1;
         CREATE UNIQUE INDEX users_account_id_key ON users (account_id, email)"
    );
    let store = adopted::<PostgresStore>(&tables, users()).await;
    assert_eq!(store.check().await, []);
    signs_up(&store, "kim@example.com").await.unwrap();
    assert!(signs_up(&store, "KIM@example.com").await.is_err());
}

/// Keys of 16 bytes, and numbers beyond 2⁶³.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn any_primary_key_has_an_order() {
    let rows = |keys: [&str; 3]| {
        let row = |key: &str| format!("({key}, '{}@example.com')", key.trim_matches(['x', '\'']));
        format!("INSERT INTO users (id, email) VALUES {}", keys.map(row).join(", "))
    };
    let binary = rows([
        "x'00112233445566778899aabbccddeeff'",
        "x'0193a6b000007000800000000000ffff'",
        "x'ffeeddccbbaa99887766554433221100'",
    ]);
    for (kind, rows) in [
        ("binary(16)", binary.clone()),
        ("bigint unsigned", rows(["1", "9223372036854775809", "18446744073709551615"])),
        ("char(36) COLLATE utf8mb4_unicode_ci", rows(["'a'", "'B'", "'c'"])),
    ] {
        let columns = USERS_OF_MYSQL.replace("int AUTO_INCREMENT", kind);
        let tables = format!("CREATE TABLE users ({columns}) CHARACTER SET utf8mb4; {rows}");
        let store = MySqlStore::open().await;
        store.load(&tables).await;
        let store = store.mapped(users().fill("id", "1"));
        assert_eq!(store.adopt(true).await.adopted, 3, "{kind}");
        assert_eq!(store.adopt(false).await.adopted, 3, "{kind}");
        assert_eq!(store.adopt(false).await.unchanged, 3, "{kind}");
    }
    let tables = format!("CREATE TABLE users (id blob PRIMARY KEY, email TEXT NOT NULL); {binary}");
    let store = adopted::<SqliteStore>(&tables, users().fill("id", "randomblob(16)")).await;
    assert_eq!(store.adopt(false).await.unchanged, 3);
}

/// Several rows of one statement, with times that round to the same millisecond.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn pages_have_each_account_once_whatever_its_time_is() {
    let rows = ["123456", "123999", "1247", "124999", "124999"].map(|fraction| {
        format!("('{fraction}' || random() || '@x.co', '2024-05-01 10:00:00.{fraction}Z')")
    });
    let map = users().time(AccountColumn::CreatedAt, TimeFormat::Timestamp);
    let tables = format!(
        "CREATE TABLE users ({USERS}, created_at timestamptz);
         INSERT INTO users (email, created_at) VALUES {},
            ('infinite@x.co', 'infinity'), ('early@x.co', '0044-03-15 BC')",
        rows.join(", ")
    );
    let store = PostgresStore::open().await;
    store.load(&tables).await;
    let store = store.mapped(map);
    assert_eq!(store.adopt(false).await.count(InvalidTime), 2);
    each_once(&store, 5).await;
    // The other system writes such times later on.
    store.load("UPDATE users SET created_at = 'infinity' WHERE email LIKE '1247%'").await;
    each_once(&store, 4).await;
}

async fn each_once<S: Engine>(store: &S, accounts: usize) {
    for length in 1..=3 {
        let (mut ids, mut filter) = (Vec::new(), AccountFilter::new(length));
        loop {
            let page = store.list_accounts(&filter).await.unwrap();
            ids.extend(page.accounts.iter().map(|record| record.account.id().clone()));
            match page.next {
                Some(next) if ids.len() <= accounts => filter = filter.after(next),
                _ => break,
            }
        }
        let mut distinct = ids.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!((distinct.len(), ids.len()), (accounts, accounts), "pages of {length}");
    }
}

/// The forms of a time that SQLite's tables have, also after the adoption.
#[tokio::test]
async fn a_row_that_cant_be_read_fails_no_other() {
    let times = ["2024-05-01T10:00:00Z", "2024-05-01 10:00:00.123456", "2024-05-01"];
    let odd = ["1714557600.5", "1714557600000", "2024-05-01 10:00:00 UTC", "", "yesterday"];
    let rows = times.iter().chain(&odd).enumerate();
    let rows: Vec<_> = rows.map(|(at, time)| format!("('user{at}@x.co', '{time}')")).collect();
    let tables = format!(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, created_at datetime);
         INSERT INTO users (email, created_at) VALUES {}",
        rows.join(", ")
    );
    let map = users().time(AccountColumn::CreatedAt, TimeFormat::DateTime);
    let store = SqliteStore::open().await;
    store.load(&tables).await;
    let store = store.mapped(map);
    let report = store.adopt(false).await;
    assert_eq!((report.adopted, report.count(InvalidTime)), (3, 5), "{report}");
    each_once(&store, 3).await;
    for (what, left) in [
        ("created_at = 'tomorrow' WHERE id = 1", 2),
        ("account_plan = 'odd', account_state = 'odd' WHERE id = 2", 1),
        ("email = NULL WHERE id = 3", 0),
    ] {
        store.load(&format!("UPDATE users SET {what}")).await;
        each_once(&store, left).await;
    }
    assert!(store.find_account(FindBy::Email(&key_of("user1@x.co"))).await.unwrap().is_none());
    // It stays taken.
    assert!(store.is_email_taken(&key_of("user1@x.co")).await.unwrap());
}

/// The old application goes on while the service runs.
#[tokio::test]
async fn the_next_run_follows_what_the_old_application_does() {
    let tables = "CREATE TABLE users (
            id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, banned INTEGER DEFAULT 0,
            deleted_at TEXT);
        INSERT INTO users (email) VALUES
            ('moves@x.co'), ('behaves@x.co'), ('leaves@x.co'), ('meets@x.co'), ('erased@x.co')";
    let map = users().disabled_if("banned = 1").exclude("deleted_at IS NOT NULL");
    let store = adopted::<SqliteStore>(tables, map).await;
    let of = async |email: &str| {
        store.find_account(FindBy::Email(&key_of(email))).await.unwrap().map(|record| record.state)
    };
    store
        .load(
            "UPDATE users SET email = 'Moved@x.co' WHERE id = 1;
             UPDATE users SET banned = 1 WHERE id = 2;
             UPDATE users SET deleted_at = '2024-05-01' WHERE id = 3;
             UPDATE users SET email = 'MOVED@x.co', banned = 1 WHERE id = 4;
             UPDATE users SET account_state = 'erased', email = 'acc_1@erased.invalid',
                 email_key = 'erased:acc_1' WHERE id = 5;
             INSERT INTO users (email) VALUES ('new@x.co');
             INSERT INTO users (email, deleted_at) VALUES ('gone@x.co', '2024-05-01')",
        )
        .await;
    assert_eq!(of("moves@x.co").await, Some(AccountState::Active), "until the next run");
    let planned = store.adopt(true).await;
    let done = store.adopt(false).await;
    assert_eq!(planned, done);
    assert_eq!((done.adopted, done.disabled, done.excluded), (1, 3, 1), "{done}");
    assert_eq!(done.rows(ChangedEmail)[0].email, "Moved@x.co");
    assert_eq!(done.listed.len(), 2, "{done}");
    for (email, state) in [
        ("moves@x.co", None),
        ("moved@x.co", Some(AccountState::Active)),
        ("behaves@x.co", Some(AccountState::Disabled)),
        ("leaves@x.co", Some(AccountState::Disabled)),
        // It is banned, although its new address is another account's.
        ("meets@x.co", Some(AccountState::Disabled)),
        ("new@x.co", Some(AccountState::Active)),
        ("gone@x.co", None),
    ] {
        assert_eq!(of(email).await, state, "{email}");
    }
}

/// A pooler gives the session of one client to the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and PgBouncer: scripts/test.sh starts them"]
async fn nothing_is_left_in_the_sessions_of_a_pooler() {
    let direct = PostgresStore::open().await;
    direct.load(&format!("CREATE TABLE users ({USERS})")).await;
    let store = PostgresStore::connect(&postgres::pgbouncer_url()).await.unwrap();
    let schema = direct.table("").trim_end_matches('.').to_owned();
    let store = store.with_schema(Schema::new(&schema).unwrap()).without_prepared_statements();
    let store = store.mapped(users());
    store.adopt(false).await;
    assert_eq!(store.check().await, []);
    let mut others = Vec::new();
    for _ in 0..4 {
        let mut other = store.pool().begin().await.unwrap();
        let show = sqlx::raw_sql("SHOW lock_timeout");
        let row = sqlx::Executor::fetch_one(&mut *other, show).await.unwrap();
        let limit: String = sqlx::Row::get(&row, 0);
        assert_eq!(limit, "0");
        others.push(other);
    }
}

/// A backup reads the table in a long transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn an_adoption_waits_for_a_reader_and_says_so() {
    let store = PostgresStore::open().await;
    store.load(&format!("CREATE TABLE users ({USERS})")).await;
    let other = store.mapped(users());
    // The wait is longer than the deadline of a call.
    let store = other.clone().with_deadline(Duration::from_millis(1500));
    let mut reading = store.pool().begin().await.unwrap();
    let count = format!("SELECT count(*) FROM {}", store.table("accounts"));
    let count: i64 =
        sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&mut *reading).await.unwrap();
    assert_eq!(count, 0);
    let waits = AtomicUsize::new(0);
    let mut reading = Some(reading);
    let report = store
        .adoption()
        .on_wait(|statement| {
            assert!(statement.starts_with("ALTER TABLE"), "{statement}");
            if waits.fetch_add(1, Ordering::SeqCst) == 1 {
                drop(reading.take());
            }
        })
        .run()
        .await;
    assert!(!report.unwrap().statements.is_empty());
    assert!(waits.load(Ordering::SeqCst) >= 2);
    other.migrate().await.unwrap();
    assert_eq!(other.check().await, []);
}

/// The check leaves no row, and delays no sign-up.
macro_rules! is_tried_beside_sign_ups {
    ($store:ty, $users:expr) => {{
        let tables = format!("CREATE TABLE users ({})", $users);
        let store = adopted::<$store>(&tables, users()).await;
        let mut creates = JoinSet::new();
        for number in 0..100 {
            let store = store.clone();
            creates.spawn(async move {
                // Fifty a second.
                tokio::time::sleep(Duration::from_millis(20) * number).await;
                store.create(Sample::new(number.into()).build()).await
            });
        }
        // They take two seconds, so that some of these are made meanwhile.
        let creates = tokio::spawn(creates.join_all());
        while !creates.is_finished() {
            assert_eq!(store.check().await, []);
        }
        for created in creates.await.unwrap() {
            assert_eq!(created.unwrap(), CreateOutcome::Stored);
        }
        let rows = format!("SELECT count(*) FROM {}", store.table("accounts"));
        let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_one(store.pool()).await;
        let rows: i64 = rows.unwrap();
        assert_eq!(rows, 100);
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_check_of_postgres_leaves_nothing_beside_sign_ups() {
    is_tried_beside_sign_ups!(PostgresStore, USERS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn a_check_of_mariadb_leaves_nothing_beside_sign_ups() {
    is_tried_beside_sign_ups!(MySqlStore, USERS_OF_MYSQL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_sqlite_leaves_nothing_beside_sign_ups() {
    is_tried_beside_sign_ups!(SqliteStore, "id INTEGER PRIMARY KEY, email TEXT NOT NULL");
}
