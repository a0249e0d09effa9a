//! The rows that each statement reads, in tables that are large.

#![cfg(all(feature = "mysql", feature = "postgres", feature = "sqlite"))]

use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _, SqlSafeStr as _};

use super::backend::Backend;
use super::queries::deletion;
use super::*;
use crate::account::{AccountId, AccountState, Plan};
use crate::api_key::ApiKeyDigest;
use crate::clock::Timestamp;
use crate::event::{Event, Notice, NoticeKind};
use crate::fields::Email;
use crate::random::{SecureRandom as _, SystemRandom};
use crate::store::contract::{
    AccountChange, AccountCursor, AccountFilter, DeliveryOutcome, DeliveryState, Effect,
    EventLease, Expired, FindBy, KeyQuery, StoredEvent, believed,
};
use crate::store::dialect::statement::{Statement, Value};

/// The rows of each table but the events, which are four times as many.
const ROWS: u32 = 50_000;
/// The events of one account that wait.
const CROWD: u32 = 10_000;
/// The most rows that a statement may read, and that a list with several conditions may.
const FEW: u64 = 5_000;
const MANY: u64 = 35_000;
/// A moment at which a hundredth of all that has a time is due.
const NOW: i64 = 1_000_000;

/// A database whose reads can be counted.
trait Counted: Backend {
    /// The beginning of a query of the numbers from 1, which ends with the last one.
    const NUMBERS: [&str; 2];
    /// The statement that takes the limit off a session's statements.
    const UNLIMITED: &str;
    /// Returns the expression of text: a prefix and twenty digits of a number.
    fn text(prefix: &str, number: &str) -> String;
    /// Returns the expression of bytes: 32 digits of a number.
    fn bytes(number: &str) -> String;
    /// Returns a statement that updates the statistics of a table.
    fn analyze(table: &str) -> String;

    /// Runs a statement and takes it back. Returns how many rows it has read, by each way in
    /// which the database may plan it.
    async fn reads(store: &SqlStore<Self>, statement: &Statement) -> Vec<u64>;
}

/// Writes a statement with its values in it.
fn with_values(statement: &Statement, placeholder: fn(usize) -> String, blob: &str) -> String {
    let mut sql = statement.sql.to_string();
    for (at, value) in statement.values.iter().enumerate().rev() {
        sql = sql.replace(&placeholder(at + 1), &literal(value, blob));
    }
    sql
}

fn literal(value: &Value, blob: &str) -> String {
    match value {
        Value::Text(Some(text)) => format!("'{}'", text.as_str()),
        Value::Bytes(Some(bytes)) => {
            let digits = bytes.iter().fold(String::new(), |mut digits, byte| {
                let _ = write!(digits, "{byte:02x}");
                digits
            });
            if blob == "x" { format!("x'{digits}'") } else { format!("'\\x{digits}'") }
        }
        Value::Integer(Some(number)) => number.to_string(),
        _ => "NULL".to_owned(),
    }
}

impl Counted for crate::store::Sqlite {
    const NUMBERS: [&str; 2] = [
        "(WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n <",
        ") SELECT n FROM s) s",
    ];
    const UNLIMITED: &str = "SELECT 1";

    fn text(prefix: &str, number: &str) -> String {
        format!("printf('{prefix}%020d', {number})")
    }

    fn bytes(number: &str) -> String {
        format!("CAST(printf('%032d', {number}) AS BLOB)")
    }

    fn analyze(table: &str) -> String {
        format!("ANALYZE {table}")
    }

    /// Counts a tenth of the instructions of SQLite's machine: a row takes some of them.
    async fn reads(store: &SqlStore<Self>, statement: &Statement) -> Vec<u64> {
        const STEP: u64 = 100;
        let sql = with_values(statement, |number| format!("?{number}"), "x");
        let mut connection = store.pool.acquire().await.unwrap();
        let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let mut transaction = connection.begin().await.unwrap();
        let counted = std::sync::Arc::clone(&count);
        transaction.lock_handle().await.unwrap().set_progress_handler(100, move || {
            counted.fetch_add(STEP, std::sync::atomic::Ordering::Relaxed);
            true
        });
        let _ = transaction.fetch_all(AssertSqlSafe(sql).into_sql_str()).await.unwrap();
        transaction.lock_handle().await.unwrap().remove_progress_handler();
        transaction.rollback().await.unwrap();
        vec![count.load(std::sync::atomic::Ordering::Relaxed) / 10]
    }
}

impl Counted for crate::store::Postgres {
    const NUMBERS: [&str; 2] = ["generate_series(1,", ") s (n)"];
    const UNLIMITED: &str = "SET statement_timeout = 0";

    fn text(prefix: &str, number: &str) -> String {
        format!("'{prefix}' || lpad(({number})::text, 20, '0')")
    }

    fn bytes(number: &str) -> String {
        format!("convert_to(lpad(({number})::text, 32, '0'), 'UTF8')")
    }

    fn analyze(table: &str) -> String {
        format!("VACUUM ANALYZE {table}")
    }

    /// Adds up the rows of the scans, with the values known and unknown to the planner.
    async fn reads(store: &SqlStore<Self>, statement: &Statement) -> Vec<u64> {
        let types = statement.values.iter().map(|value| match value {
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytea",
            Value::Integer(_) => "bigint",
        });
        let values = statement.values.iter().map(|value| literal(value, "\\x"));
        let types = types.map(str::to_owned);
        let [types, values] = [types.collect::<Vec<_>>(), values.collect()]
            .map(|it: Vec<_>| it.join(", "))
            .map(|list| if list.is_empty() { list } else { format!("({list})") });
        let prepare = format!("PREPARE s {types} AS {}", statement.sql);
        let mut all = Vec::new();
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let mut transaction = store.pool.begin().await.unwrap();
            for sql in [format!("SET LOCAL plan_cache_mode = {mode}"), prepare.clone()] {
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await.unwrap();
            }
            let explain = format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE s {values}");
            let plan = sqlx::raw_sql(AssertSqlSafe(explain));
            let plan = plan.fetch_all(&mut *transaction).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
            all.push(rows_of(&plan));
            let forget = sqlx::raw_sql("DEALLOCATE s");
            forget.execute(&mut *transaction).await.unwrap();
            transaction.rollback().await.unwrap();
        }
        all
    }
}

/// Adds up the rows that the scans of a plan of PostgreSQL have read.
fn rows_of(plan: &[String]) -> u64 {
    let number = |text: &str, name: &str| -> u64 {
        let digits = text.split_once(name).map_or("", |(_, rest)| rest);
        let end = digits.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse().unwrap_or(0)
    };
    let (mut all, mut loops) = (0, 0);
    for line in plan {
        if line.contains("(actual rows=") {
            let is_scan = ["Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"];
            loops = number(line, "loops=");
            let reads = is_scan.iter().any(|scan| line.contains(scan));
            all += if reads { number(line, "actual rows=") * loops } else { 0 };
        } else if line.contains("Rows Removed by") {
            all += number(line, ": ") * loops;
        }
    }
    all
}

impl Counted for crate::store::MySql {
    const NUMBERS: [&str; 2] = ["(SELECT seq AS n FROM seq_1_to_", ") s"];
    const UNLIMITED: &str = "SET SESSION max_statement_time = 0";

    fn text(prefix: &str, number: &str) -> String {
        format!("CONCAT('{prefix}', LPAD({number}, 20, '0'))")
    }

    fn bytes(number: &str) -> String {
        format!("LPAD({number}, 32, '0')")
    }

    fn analyze(table: &str) -> String {
        format!("ANALYZE TABLE {table}")
    }

    /// Adds up what the server has asked of its tables.
    async fn reads(store: &SqlStore<Self>, statement: &Statement) -> Vec<u64> {
        let sql = with_values(statement, |number| format!("?{number}"), "x");
        let mut connection = store.pool.acquire().await.unwrap();
        for sql in ["FLUSH STATUS", "START TRANSACTION", &sql] {
            let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
            sql.fetch_all(&mut *connection).await.unwrap();
        }
        let status = sqlx::raw_sql("SHOW SESSION STATUS LIKE 'Handler_read%'");
        let status = status.fetch_all(&mut *connection).await.unwrap();
        let counts = status.iter().map(|row| row.get::<String, _>(1).parse::<u64>().unwrap());
        let all = counts.sum();
        sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.unwrap();
        vec![all]
    }
}

/// Fills the tables.
async fn fill<B: Counted>(store: &SqlStore<B>) {
    let numbers = |last: u32| format!("{}{last}{}", B::NUMBERS[0], B::NUMBERS[1]);
    let table = |name: &str| store.names.table(name);
    let id = |number: &str| B::text("acc_", number);
    let all = [
        format!(
            "INSERT INTO {} (id, email, email_key, plan, password_hash, created_at, state,
                 delete_at, event_number)
             SELECT {}, {}, {}, CASE WHEN n % 10 = 0 THEN 'pro' ELSE 'trial' END, 'x', n * 100,
                 CASE n % 50 WHEN 0 THEN 'disabled' WHEN 1 THEN 'pending_deletion'
                     WHEN 2 THEN 'erased' ELSE 'active' END,
                 CASE WHEN n % 50 = 1 THEN n * 2000 END, 4 FROM {}",
            table("accounts"),
            id("n"),
            B::text("a", "n"),
            B::text("a", "n"),
            numbers(ROWS)
        ),
        format!(
            "INSERT INTO {} (digest, account_id, prefix, created_at, expires_at)
             SELECT {}, {}, 'sk', n, CASE WHEN n % 10 = 0 THEN n * 2000 END FROM {}",
            table("api_keys"),
            B::bytes("n"),
            id("n"),
            numbers(ROWS)
        ),
        format!(
            "INSERT INTO {} (hash, expires_at) SELECT {}, n * 2000 FROM {}",
            table("used_tickets"),
            B::bytes("n"),
            numbers(ROWS)
        ),
        format!(
            "INSERT INTO {} (account_id, number, id, kind, created_at, data, partition_id,
                 delivery, attempts, due_at)
             SELECT {}, n, {}, 'account.updated', n, '{{}}', 1, 'waiting', 0, n FROM {}",
            table("events"),
            id("999999"),
            B::text("crd_", "n"),
            numbers(CROWD)
        ),
        format!(
            "INSERT INTO {} (account_id, id, kind, email, email_key, created_at, due_at, takeovers)
             SELECT {}, {}, 'password_changed', 'a', 'a', n, n * 2000, 0 FROM {}",
            table("notices"),
            id("n"),
            B::text("evt_", "n"),
            numbers(ROWS)
        ),
    ];
    // The last event of some accounts waits, or was given up.
    let events = (1..=4).map(|number| {
        let state = if number < 4 {
            "'delivered'"
        } else {
            "CASE n % 50 WHEN 0 THEN 'waiting' WHEN 1 THEN 'stopped' WHEN 2 THEN 'skipped'
             ELSE 'delivered' END"
        };
        format!(
            "INSERT INTO {} (account_id, number, id, kind, created_at, data, partition_id,
                 delivery, attempts, due_at)
             SELECT {}, {number}, {}, 'account.updated', n * 100 + {number}, '{{}}', n % 64,
                 {state}, 0, n * 2000 FROM {}",
            table("events"),
            id("n"),
            B::text(&format!("evt_{number}_"), "n"),
            numbers(ROWS)
        )
    });
    let tables = ["accounts", "api_keys", "used_tickets", "events", "notices"];
    let all = all.into_iter().chain(events).chain(tables.map(|name| B::analyze(&table(name))));
    let mut connection = store.pool.acquire().await.unwrap();
    for sql in std::iter::once(B::UNLIMITED.to_owned()).chain(all) {
        B::run(&mut connection, AssertSqlSafe(sql).into_sql_str()).await.unwrap();
    }
}

/// Returns every statement that finds, lists, changes or deletes rows, with the most rows that it
/// may read.
fn statements(queries: &Queries) -> Vec<(String, Statement, u64)> {
    let at = |millis| Timestamp::from_millis(millis).unwrap();
    let (now, id) = (at(NOW), AccountId::from_store(format!("acc_{:020}", 777)));
    let email = Email::from_store(format!("a{:020}", 777), format!("a{:020}", 777));
    let digest = ApiKeyDigest::from_store(format!("{:032}", 777).as_bytes()).unwrap();
    let mut all = Vec::new();
    let mut add = |name: &str, statement, most| all.push((name.to_owned(), statement, most));
    for by in [FindBy::Id(&id), FindBy::Email(email.key()), FindBy::ApiKey(&digest)] {
        add(&format!("account {by:?}"), queries.find_account(by).statement, FEW);
        add(&format!("login {by:?}"), queries.find_login(by).statement, FEW);
    }
    add("owner of a key", queries.find_key_owner(&digest).statement, FEW);
    add("email taken", queries.email_taken(email.key()).statement, FEW);
    add("ticket", queries.is_ticket_used(&[b'0'; 32]).statement, FEW);
    add("event", queries.find_event("evt_1").statement, FEW);
    let keys = KeyQuery::of(&id);
    for query in [keys, keys.valid_at(now), keys.with_tags(&[[1; 32]]), keys.limit(3)] {
        add(&format!("{query:?}"), queries.list_api_keys(&query).statement, FEW);
    }
    // Each filter alone, at the beginning and in the middle.
    let page = AccountFilter::new(100);
    let alone = [
        page.clone(),
        page.clone().not_erased(),
        page.clone().state(AccountState::Active),
        page.clone().state(AccountState::Disabled),
        page.clone().plan(Plan::TRIAL),
        page.clone().plan(Plan::from_store("none")),
        page.clone().created_from(at(2_500_000)),
        page.clone().created_before(at(2_500_000)),
        page.clone().due_at(now),
        page.clone().due_at(at(90_000_000)),
    ];
    for filter in alone {
        let place = AccountCursor::new(at(2_500_000), id.clone());
        for filter in [filter.clone(), filter.after(place)] {
            let name = format!("{filter:?}");
            let list = queries.list_accounts(&filter);
            assert!(list.end.is_none(), "{name}");
            for page in list.pages {
                add(&name, page.statement, FEW);
            }
        }
    }
    for filter in [
        page.clone().plan(Plan::PRO).state(AccountState::Active),
        page.clone().plan(Plan::TRIAL).state(AccountState::Erased).created_from(now),
        page.due_at(at(90_000_000)).plan(Plan::from_store("none")).state(AccountState::Active),
    ] {
        let list = queries.list_accounts(&filter);
        for page in list.pages {
            add(&format!("{filter:?}"), page.statement, MANY);
        }
        add(&format!("end of {filter:?}"), list.end.unwrap().statement, MANY);
    }
    for expired in [Expired::ApiKeys, Expired::Tickets] {
        add(&format!("purge {expired:?}"), queries.purge(expired, now, 100), FEW);
    }
    let changes = [
        Effect::RevokeTokens,
        Effect::RevokeApiKey(digest.key_id()),
        Effect::ReplaceApiKeys(None),
        Effect::ScrubEvents,
    ];
    for effect in changes {
        let name = format!("{effect:?}");
        for statement in queries.change(&AccountChange::new(id.clone()).with(effect)) {
            add(&name, statement, FEW);
        }
    }
    event_statements(queries, now, &id, &mut add);
    all
}

fn event_statements(
    queries: &Queries,
    now: Timestamp,
    id: &AccountId,
    add: &mut dyn FnMut(&str, Statement, u64),
) {
    let sql = &queries.events;
    let (millis, crowd) = (now.as_millis(), AccountId::from_store(format!("acc_{:020}", 999_999)));
    let ahead = believed(now).as_millis();
    let values = |values: &[i64]| values.iter().map(|it| Value::from(*it)).collect::<Vec<_>>();
    let statement = |sql: &std::sync::Arc<str>, values| {
        Statement::from_parts(std::sync::Arc::clone(sql), values)
    };
    for state in DeliveryState::ALL {
        let values = [millis.into(), state.as_str().into()];
        add(&format!("purge {state} events"), deletion(&sql.purge, 100, values), FEW);
    }
    add("purge notices", deletion(&sql.purge_notices, 100, [millis.into()]), FEW);
    add("partitions", statement(&sql.due_partitions, values(&[millis, ahead])), FEW);
    add("due", statement(&sql.due, values(&[1, millis, 64, ahead])), FEW);
    add("backlog", statement(&sql.backlog, values(&[1_000])), FEW);
    add("lag", statement(&sql.backlog, values(&[0])), FEW);
    add("given up", statement(&sql.given_up, values(&[100])), FEW);
    let after = vec![Value::from(100), millis.into(), "evt_4_".into()];
    add("given up after", statement(&sql.given_up_after, after), FEW);
    add("due notices", statement(&sql.due_notices, values(&[millis, 100, ahead])), FEW);
    let list = vec![crowd.as_str().into(), Value::from(5_000), Value::from(100)];
    add("events of an account", statement(&sql.list, list), FEW);
    let event = Event::from_store(
        crowd.clone(),
        9_000,
        "crd_1".to_owned(),
        "account.updated",
        now,
        "{}".to_owned(),
    );
    add("postpone", queries.postpone_later(&event, now), FEW);
    for account in [&crowd, id] {
        add("advance", queries.advance_next(account), FEW);
    }
    let event = StoredEvent::new(event, 0, DeliveryState::Waiting, now);
    let settled = DeliveryOutcome::new(&event, DeliveryState::Delivered, now);
    add("settle", queries.settle_event(&settled), FEW);
    add("lease", queries.renew_lease(EventLease { partition: 1, fence: 0 }, now), FEW);
    let dead = vec![crowd.as_str().into(), Value::from(5_000)];
    add("skip", statement(&sql.skip_dead_letter, dead.clone()), FEW);
    let revived = [dead, vec![Value::from(millis)]].concat();
    add("revive", statement(&sql.revive_dead_letter, revived), FEW);
    let kind = NoticeKind::PasswordChanged;
    let to = Email::from_store("a", "a");
    let notice = Notice::new(id.clone(), "evt_1".to_owned(), kind, to, now);
    for next in [None, Some(now)] {
        add("settle a notice", queries.settle_notice(&notice, next), FEW);
    }
}

async fn every_statement_reads_few_rows<B: Counted>(store: &SqlStore<B>) {
    store.migrate().await.unwrap();
    fill(store).await;
    let mut all = 0;
    for (name, statement, most) in statements(&store.queries) {
        for reads in B::reads(store, &statement).await {
            assert!(reads <= most, "{name} reads {reads} rows: {}", statement.sql);
            all += reads;
        }
    }
    // The counts count.
    assert!(all > u64::from(CROWD), "{all}");
    let whole = std::sync::Arc::<str>::from(format!(
        "SELECT count(name) FROM {}",
        store.names.table("accounts")
    ));
    for reads in B::reads(store, &Statement::new(&whole, [])).await {
        assert!(reads > FEW, "a scan reads {reads} rows");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_reads_few_rows_of_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/plans.db", folder.path().display());
    every_statement_reads_few_rows(&crate::store::SqliteStore::connect(&url).await.unwrap()).await;
}

/// Returns a name that no other test has.
fn own_name() -> String {
    let mut random = [0; 8];
    SystemRandom.fill(&mut random).unwrap();
    format!("plans_{:016x}", u64::from_le_bytes(random))
}

fn url(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run scripts/test.sh"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn every_statement_reads_few_rows_of_postgresql() {
    let store = crate::store::PostgresStore::connect(&url("SIGNUP_TEST_POSTGRES")).await.unwrap();
    let schema = crate::store::Schema::new(&own_name()).unwrap();
    let store = store.with_schema(schema.clone());
    every_statement_reads_few_rows(&store).await;
    let drop = format!("DROP SCHEMA {} CASCADE", schema.name().unwrap());
    store.pool().execute(sqlx::raw_sql(AssertSqlSafe(drop))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn every_statement_reads_few_rows_of_mariadb() {
    let server = crate::store::MySqlStore::connect(&url("SIGNUP_TEST_MARIADB")).await.unwrap();
    let name = own_name();
    let create = sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")));
    server.pool().execute(create).await.unwrap();
    let (base, _) = url("SIGNUP_TEST_MARIADB")
        .rsplit_once('/')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let store = crate::store::MySqlStore::connect(&format!("{base}/{name}")).await.unwrap();
    every_statement_reads_few_rows(&store).await;
    let drop = sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {name}")));
    server.pool().execute(drop).await.unwrap();
}
