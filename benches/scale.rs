//! The cost of each call and each batch of a job in large tables: with 10⁷ accounts, API keys and
//! events on PostgreSQL, and 10⁶ on MariaDB and SQLite, against 10⁴ in the same server. A tenth of
//! the events wait.
//!
//! `cargo bench --features full --bench scale -- [--rows N] [--svg FILE] [DATABASE …]`. It starts
//! its servers by `scripts/postgres.sh` and `scripts/mariadb.sh`, and ends them. The calls on the
//! large and the small tables take turns; the medians and the 99th percentiles are in
//! microseconds, and `size` includes the indexes, in MiB. PostgreSQL and
//! MariaDB do not wait for the disk at a commit, so that its noise does not hide the rest.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]

use std::sync::Arc;
use std::time::Duration;

use signup::account::{AccountId, AccountState, Plan};
use signup::api_key::ApiKeyDigest;
use signup::clock::{Clock as _, ManualClock, SystemClock, Timestamp};
use signup::event::EventKind;
use signup::fields::Email;
use signup::hash::{FakeEngine, HashPool};
use signup::store::conformance::Sample;
use signup::store::{
    AccountCursor, AccountFilter, AccountStore as _, DeliveryOutcome, DeliveryState, EventQuery,
    EventStore, Expired, FindBy, KeyQuery, LifecycleStore as _, MySqlStore, OldEvents,
    PostgresStore, Schema, SqliteStore,
};
use signup::{SignupService, event};
use sqlx::AssertSqlSafe;

#[path = "support/chart.rs"]
mod chart;
#[path = "support/server.rs"]
mod server;

use chart::{Bar, Panel};
use server::Server;

const SMALL: u64 = 10_000;
/// The calls of each kind, and the batches of a job, which are small enough for the small tables.
const CALLS: usize = 300;
const BATCHES: usize = 10;
const BATCH: u32 = 100;
/// The moment of the measurement, at which all that has a date is due.
const NOW: i64 = 1_750_000_000_000;

/// The calls that are measured, and their number.
const KINDS: [(&str, usize); 23] = [
    ("create", CALLS),
    ("find_account by id", CALLS),
    ("find_login by email", CALLS),
    ("find_key_owner", CALLS),
    ("list_api_keys", CALLS),
    ("set_plan, with an event", CALLS),
    ("issue and revoke a key, with events", CALLS),
    ("list all", CALLS),
    ("list disabled", CALLS),
    ("list all but erased", CALLS),
    ("list a plan", CALLS),
    ("list what is to be erased", CALLS),
    ("list a plan and a state", CALLS),
    ("events of an account", CALLS),
    ("events that were given up", CALLS),
    ("relay: query all partitions", CALLS),
    ("relay: query one partition", CALLS),
    ("relay: deliver an event", CALLS),
    ("relay: backlog", CALLS),
    ("relay: lag", CALLS),
    ("purge 100 API keys", BATCHES),
    ("purge 100 tickets", BATCHES),
    ("purge 100 delivered events", BATCHES),
];

/// Tables of one size.
struct World {
    store: Arc<dyn EventStore>,
    service: SignupService<Arc<dyn EventStore>>,
    rows: u64,
}

impl World {
    fn new(store: Arc<dyn EventStore>, rows: u64) -> Self {
        let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
        let service = SignupService::builder(Arc::clone(&store))
            .jwt_secret(&[7; 32])
            .clock(ManualClock::at_unix(1_750_000_000))
            .hash_pool(Arc::new(pool))
            .with_events()
            .build()
            .unwrap();
        Self { store, service, rows }
    }

    async fn call(&self, kind: usize, at: u64) {
        let now = Timestamp::from_millis(NOW).unwrap();
        // Spread over the table.
        let number = at.wrapping_mul(2_654_435_761) % self.rows + 1;
        let id = AccountId::from_store(format!("acc_{number:020}"));
        let (store, accounts) = (&self.store, self.service.accounts());
        let page = AccountFilter::new(100);
        let middle = AccountCursor::new(created_at(number, self.rows), id.clone());
        match kind {
            0 => {
                let new = Sample::new(at + 1_000_000_000).event(EventKind::AccountCreated).build();
                store.create(new).await.map(drop).unwrap();
            }
            1 => drop(store.find_account(FindBy::Id(&id)).await.unwrap().unwrap()),
            2 => {
                let email = Email::from_store("a", format!("a{number:020}"));
                drop(store.find_login(FindBy::Email(email.key())).await.unwrap().unwrap());
            }
            3 => {
                let digest = ApiKeyDigest::from_store(format!("{number:032}").as_bytes()).unwrap();
                let _ = store.find_key_owner(&digest).await.unwrap();
            }
            4 => drop(store.list_api_keys(KeyQuery::of(&id)).await.unwrap()),
            5 => {
                // One that is erased is not found.
                let _ = accounts.set_plan(&id, Plan::SCALE).await;
            }
            6 => {
                let credentials = self.service.credentials();
                if let Ok(key) = credentials.issue_api_key(&id, None).await {
                    credentials.revoke_api_key(&id, &key.info().id).await.unwrap();
                }
            }
            7 => drop(store.list_accounts(&page.after(middle)).await.unwrap()),
            8 => {
                let disabled = page.state(AccountState::Disabled).after(middle);
                drop(store.list_accounts(&disabled).await.unwrap());
            }
            9 => drop(store.list_accounts(&page.not_erased().after(middle)).await.unwrap()),
            10 => drop(store.list_accounts(&page.plan(Plan::PRO).after(middle)).await.unwrap()),
            11 => drop(store.list_accounts(&page.due_at(now)).await.unwrap()),
            12 => {
                let both = page.plan(Plan::PRO).state(AccountState::Disabled).after(middle);
                drop(store.list_accounts(&both).await.unwrap());
            }
            13 => {
                let query = EventQuery::OfAccount { account: &id, after: 0 };
                drop(store.list_events(query, 100).await.unwrap());
            }
            14 => {
                drop(store.list_events(EventQuery::GivenUp { after: None }, 100).await.unwrap());
            }
            15 => drop(store.due_partitions(now).await.unwrap()),
            16 => {
                let partition = u8::try_from(at % u64::from(event::PARTITIONS)).unwrap();
                drop(store.due_events(partition, now, 32).await.unwrap());
            }
            17 => {
                let free = store.due_partitions(now).await.unwrap();
                let last = *free.first().unwrap();
                let lease = store.lease_partition(last, now, Timestamp::EPOCH).await.unwrap();
                let lease = lease.unwrap();
                let due = store.due_events(lease.partition, now, 1).await.unwrap();
                let done =
                    due.iter().map(|it| DeliveryOutcome::new(it, DeliveryState::Delivered, now));
                let settled = store.settle_events(lease, Timestamp::EPOCH, done.collect());
                assert!(settled.await.unwrap());
            }
            18 => drop(store.event_backlog(10_001).await.unwrap()),
            19 => drop(store.event_backlog(0).await.unwrap()),
            20 => drop(store.purge(Expired::ApiKeys, now, BATCH).await.unwrap()),
            21 => drop(store.purge(Expired::Tickets, now, BATCH).await.unwrap()),
            _ => drop(store.purge_events(OldEvents::Delivered, now, BATCH).await.unwrap()),
        }
    }
}

/// Returns the time at which an account was created: the tables are spread over a year.
fn created_at(number: u64, rows: u64) -> Timestamp {
    let year = 365 * 24 * 3_600_000;
    let millis = NOW - year + year / i64::try_from(rows).unwrap() * i64::try_from(number).unwrap();
    Timestamp::from_millis(millis).unwrap()
}

/// The spelling of a database, for filling its tables.
struct Syntax {
    numbers: fn(u64) -> String,
    text: fn(&str) -> String,
    bytes: &'static str,
    analyze: &'static str,
}

const POSTGRES: Syntax = Syntax {
    numbers: |last| format!("generate_series(1, {last}::bigint) s (n)"),
    text: |prefix| format!("'{prefix}' || lpad(n::text, 20, '0')"),
    bytes: "convert_to(lpad(n::text, 32, '0'), 'UTF8')",
    analyze: "VACUUM ANALYZE",
};
const MARIADB: Syntax = Syntax {
    numbers: |last| format!("(SELECT seq AS n FROM seq_1_to_{last}) s"),
    text: |prefix| format!("CONCAT('{prefix}', LPAD(n, 20, '0'))"),
    bytes: "LPAD(n, 32, '0')",
    analyze: "ANALYZE TABLE",
};
const SQLITE: Syntax = Syntax {
    numbers: |last| {
        format!(
            "(WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {last})
             SELECT n FROM s) s"
        )
    },
    text: |prefix| format!("printf('{prefix}%020d', n)"),
    bytes: "CAST(printf('%032d', n) AS BLOB)",
    analyze: "ANALYZE",
};

/// Returns the statements that fill the tables. The partition of an event is by its number here,
/// which the calls that are measured do not notice.
fn fill(spelling: &Syntax, table: impl Fn(&str) -> String, rows: u64) -> Vec<String> {
    let Syntax { numbers, text, bytes, analyze } = spelling;
    let (numbers, step) = (numbers(rows), 365 * 24 * 3_600_000 / rows);
    let year = NOW - 365 * 24 * 3_600_000;
    let at = format!("{year} + n * {step}");
    let date = format!("{NOW} - n");
    let mut all = vec![
        format!(
            "INSERT INTO {} (id, email, email_key, plan, password_hash, created_at, state,
                 delete_at, event_number)
             SELECT {}, {}, {}, CASE WHEN n % 10 = 0 THEN 'pro' ELSE 'trial' END,
                 '$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g',
                 {at}, CASE n % 50 WHEN 0 THEN 'disabled' WHEN 1 THEN 'pending_deletion'
                     WHEN 2 THEN 'erased' ELSE 'active' END,
                 CASE WHEN n % 50 = 1 THEN {date} END, 1 FROM {numbers}",
            table("accounts"),
            text("acc_"),
            text("a"),
            text("a")
        ),
        format!(
            "INSERT INTO {} (digest, account_id, prefix, last_four, created_at, expires_at)
             SELECT {bytes}, {}, 'sk_', 'abcd', {at}, CASE WHEN n % 10 = 0 THEN {date} END
             FROM {numbers}",
            table("api_keys"),
            text("acc_")
        ),
        format!(
            "INSERT INTO {} (hash, expires_at) SELECT {bytes}, {date} FROM {numbers}",
            table("used_tickets")
        ),
        format!(
            "INSERT INTO {} (account_id, number, id, kind, created_at, data, partition_id,
                 delivery, attempts, due_at)
             SELECT {}, 1, {}, 'account.created', {at}, '{{}}', n % 64, CASE
                 WHEN n % 10 = 0 THEN 'waiting' WHEN n % 50 = 1 THEN 'stopped'
                 ELSE 'delivered' END, 0, {at} FROM {numbers}",
            table("events"),
            text("acc_"),
            text("evt_")
        ),
    ];
    let tables = ["accounts", "api_keys", "used_tickets", "events"];
    all.extend(tables.map(|name| format!("{analyze} {}", table(name))));
    all
}

/// The median and the 99th percentile of some calls, in microseconds.
#[derive(Clone, Copy)]
struct Times {
    median: f64,
    p99: f64,
}

fn times(mut calls: Vec<Duration>) -> Times {
    calls.sort();
    let at = |share: usize| calls.get((calls.len() - 1) * share / 100).unwrap().as_secs_f64() * 1e6;
    Times { median: at(50), p99: at(99) }
}

/// Measures each kind of call on both in turn, and prints a table. Returns the ratios.
async fn compare(name: &str, worlds: [World; 2]) -> Vec<(&'static str, f64)> {
    let [_, World { rows, .. }] = worlds;
    println!("\n## {name}\n");
    println!("| call | 10⁴: median | p99 | {rows}: median | p99 | ratio |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut ratios = Vec::new();
    for (kind, (call, count)) in KINDS.into_iter().enumerate() {
        let mut taken = [Vec::new(), Vec::new()];
        for at in 0..u64::try_from(count).unwrap() {
            for (world, taken) in worlds.iter().zip(&mut taken) {
                let begun = SystemClock.monotonic();
                world.call(kind, at).await;
                taken.push(SystemClock.monotonic().saturating_sub(begun));
            }
        }
        let [small, large] = taken.map(times);
        let ratio = large.median / small.median;
        println!(
            "| {call} | {:.0} | {:.0} | {:.0} | {:.0} | {ratio:.2} |",
            small.median, small.p99, large.median, large.p99
        );
        ratios.push((call, ratio));
    }
    ratios
}

async fn postgres(rows: u64) -> Vec<(&'static str, f64)> {
    let options = "-c fsync=off -c shared_buffers=1GB -c max_wal_size=8GB";
    let server = Server::start("postgres.sh", &[options]);
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port);
    let mut worlds = Vec::new();
    for (name, rows) in [("small", SMALL), ("large", rows)] {
        let store = PostgresStore::connect(&url).await.unwrap();
        let store = store.with_schema(Schema::new(name).unwrap());
        store.migrate().await.unwrap();
        // Without the limit of the store's own sessions.
        let host = sqlx::PgPool::connect(&url).await.unwrap();
        for sql in fill(&POSTGRES, |table| store.table(table), rows) {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&host).await.unwrap();
        }
        let tables: Vec<(String, i64)> = sqlx::query_as(
            "SELECT relname::text, pg_total_relation_size(oid) / 1048576 FROM pg_class
             WHERE relkind = 'r' AND relnamespace = $1::regnamespace ORDER BY 2 DESC LIMIT 4",
        )
        .bind(name)
        .fetch_all(store.pool())
        .await
        .unwrap();
        println!("size on PostgreSQL of {rows}, MiB: {tables:?}");
        worlds.push(World::new(Arc::new(store), rows));
    }
    compare("PostgreSQL", worlds.try_into().unwrap_or_else(|_| unreachable!())).await
}

async fn mariadb(rows: u64) -> Vec<(&'static str, f64)> {
    let options = ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=1G"];
    let server = Server::start("mariadb.sh", &options);
    let url = format!("mysql://root@127.0.0.1:{}/", server.port);
    let mut worlds = Vec::new();
    for (name, rows) in [("small", SMALL), ("large", rows)] {
        let root = sqlx::MySqlPool::connect(&format!("{url}mysql")).await.unwrap();
        let create = format!("CREATE DATABASE {name}");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&root).await.unwrap();
        let store = MySqlStore::connect(&format!("{url}{name}")).await.unwrap();
        store.migrate().await.unwrap();
        // Without the limit of the store's own sessions.
        let host = sqlx::MySqlPool::connect(&format!("{url}{name}")).await.unwrap();
        for sql in fill(&MARIADB, |table| store.table(table), rows) {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&host).await.unwrap();
        }
        worlds.push(World::new(Arc::new(store), rows));
    }
    compare("MariaDB", worlds.try_into().unwrap_or_else(|_| unreachable!())).await
}

async fn sqlite(rows: u64) -> Vec<(&'static str, f64)> {
    let folder = tempfile::tempdir().unwrap();
    let mut worlds = Vec::new();
    for (name, rows) in [("small", SMALL), ("large", rows)] {
        let path = folder.path().join(name);
        let store = SqliteStore::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        store.migrate().await.unwrap();
        for sql in fill(&SQLITE, |table| store.table(table), rows) {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(store.pool()).await.unwrap();
        }
        let size = std::fs::metadata(&path).unwrap().len() / 1_048_576;
        println!("size on SQLite of {rows}: {size} MiB");
        worlds.push(World::new(Arc::new(store), rows));
    }
    compare("SQLite", worlds.try_into().unwrap_or_else(|_| unreachable!())).await
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let after = |name: &str| {
        let at = arguments.iter().position(|it| it == name)?;
        arguments.get(at + 1).cloned()
    };
    let rows = after("--rows").map(|rows| rows.parse().unwrap());
    let databases = ["postgres", "mariadb", "sqlite"];
    let named = |name: &str| arguments.iter().any(|it| it == name);
    let all = !databases.iter().any(|name| named(name));
    let mut panels = Vec::new();
    for name in databases.into_iter().filter(|name| all || named(name)) {
        let ratios = match name {
            "postgres" => postgres(rows.unwrap_or(10_000_000)).await,
            "mariadb" => mariadb(rows.unwrap_or(1_000_000)).await,
            _ => sqlite(rows.unwrap_or(1_000_000)).await,
        };
        let bar = |(call, ratio): (&str, f64)| Bar {
            name: call.to_owned(),
            value: ratio * 100.0,
            is_ours: true,
        };
        let bars = ratios.into_iter().map(bar).collect();
        let title = format!("{name}: time in large tables, in percent of that in small ones");
        panels.push(Panel { title, bars });
    }
    if let Some(path) = after("--svg") {
        let description = "The time of each call in large tables, as a share of that in small ones";
        std::fs::write(path, chart::draw(description, &panels)).unwrap();
    }
}
