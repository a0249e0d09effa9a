//! The cost of a store: accounts created per second, 1 and 16 at a time, and with 10⁴ and
//! 10⁶ existing accounts; on PostgreSQL against a hand-written transaction of four round
//! trips on the same pool.
//!
//! `cargo bench --features full --bench stores`. It starts a PostgreSQL of its
//! own by `scripts/postgres.sh`, with its default settings, and ends it. What is
//! compared is measured in turn, block by block, and given as a ratio.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use signup::clock::{Clock, SystemClock};
use signup::fields::EmailKey;
use signup::store::conformance::Sample;
use signup::store::{
    AccountStore, CreateOutcome, MemoryStore, NewAccount, PostgresStore, SqliteStore, StoreError,
};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::task::JoinSet;

/// Creates of a block, and blocks of a comparison.
const BLOCK: u64 = 1000;
const BLOCKS: usize = 9;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Inserts as a hand-written server does: begin, two inserts, commit.
struct ByHand(PgPool);

#[async_trait]
impl AccountStore for ByHand {
    async fn is_email_taken(&self, _: &EmailKey) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        let mut transaction = self.0.begin().await.unwrap();
        sqlx::query(
            "INSERT INTO accounts (id, email, email_key, name, plan, password_hash, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(new.id().as_str())
        .bind(new.email().as_str())
        .bind(new.email().key().as_str())
        .bind(new.name())
        .bind(new.plan().as_str())
        .bind(new.password_hash().as_phc())
        .bind(new.created_at().as_millis())
        .execute(&mut *transaction)
        .await
        .unwrap();
        sqlx::query("INSERT INTO api_keys VALUES ($1, $2, $3, $4)")
            .bind(new.key_digest().as_bytes().as_slice())
            .bind(new.id().as_str())
            .bind(new.key_prefix())
            .bind(new.created_at().as_millis())
            .execute(&mut *transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        Ok(CreateOutcome::Stored)
    }
}

/// Creates a second of one block.
async fn block(store: &Arc<dyn AccountStore>, at_a_time: u64) -> f64 {
    let samples: Vec<_> =
        (0..BLOCK).map(|_| Sample::new(NEXT.fetch_add(1, Ordering::Relaxed)).build()).collect();
    let each = usize::try_from(BLOCK / at_a_time).unwrap();
    let start = SystemClock.monotonic();
    let mut tasks = JoinSet::new();
    for share in samples.chunks(each).map(<[_]>::to_vec) {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            for new in share {
                assert_eq!(store.create(new).await.unwrap(), CreateOutcome::Stored);
            }
        });
    }
    tasks.join_all().await;
    let took = SystemClock.monotonic().saturating_sub(start);
    f64::from(u32::try_from(BLOCK).unwrap()) / took.as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Creates a second of each store, measured in turn, and of the first by the
/// second: the median of the ratios of neighbouring blocks.
async fn compare(stores: [&Arc<dyn AccountStore>; 2], at_a_time: u64) -> ([f64; 2], f64) {
    let (mut first, mut second, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..=BLOCKS {
        let one = block(stores[0], at_a_time).await;
        let other = block(stores[1], at_a_time).await;
        // The first blocks open connections and prepare statements.
        if turn > 0 {
            first.push(one);
            second.push(other);
            ratios.push(one / other);
        }
    }
    ([median(&mut first), median(&mut second)], median(&mut ratios))
}

/// A server of the bench's own.
struct Postgres {
    folder: tempfile::TempDir,
    port: u16,
}

impl Postgres {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { folder: tempfile::tempdir().unwrap(), port };
        server.run("start");
        server
    }

    fn run(&self, what: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres.sh");
        let mut command = Command::new("bash");
        command.arg(script).arg(what).arg(self.folder.path()).arg(self.port.to_string());
        assert!(command.status().unwrap().success());
    }

    async fn pool(&self, database: &str) -> PgPool {
        let url = format!("postgres://postgres@127.0.0.1:{}/{database}", self.port);
        let options = PgPoolOptions::new().max_connections(16).test_before_acquire(false);
        options.connect(&url).await.unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.run("crash");
    }
}

/// Fills the tables up to that many accounts, of the same shape as real ones.
async fn fill(pool: &PgPool, rows: u64) {
    let fill = format!(
        "WITH account AS (
             INSERT INTO accounts (id, email, email_key, plan, password_hash, created_at)
             SELECT 'acc_' || left(md5(n || 'id'), 20), 'filler' || n || '@example.com',
                    'filler' || n || '@example.com', 'trial', repeat('h', 97), n
             FROM generate_series((SELECT count(*) FROM accounts) + 1, {rows}) n
             RETURNING id)
         INSERT INTO api_keys
         SELECT sha256(id::bytea), id, 'rag_live_abcd', 0 FROM account"
    );
    sqlx::query(AssertSqlSafe(fill)).execute(pool).await.unwrap();
    for settle in ["VACUUM ANALYZE accounts, api_keys", "CHECKPOINT"] {
        sqlx::raw_sql(settle).execute(pool).await.unwrap();
    }
}

async fn run() {
    let memory: Arc<dyn AccountStore> = Arc::new(MemoryStore::default());
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/bench.db", folder.path().display());
    let sqlite = SqliteStore::connect(&url).await.unwrap();
    sqlite.migrate().await.unwrap();
    let sqlite: Arc<dyn AccountStore> = Arc::new(sqlite);
    let server = Postgres::start();
    let pool = server.pool("postgres").await;
    let store = PostgresStore::new(pool.clone()).with_deadline(Duration::from_mins(1));
    store.migrate().await.unwrap();
    let postgres: Arc<dyn AccountStore> = Arc::new(store);
    let by_hand: Arc<dyn AccountStore> = Arc::new(ByHand(pool.clone()));

    println!("{:<34} {:>12} {:>12}", "creates a second", "1 at a time", "16 at a time");
    for (name, store) in [("memory", &memory), ("SQLite, synchronous=FULL", &sqlite)] {
        let (one, many) = (block(store, 1).await, block(store, 16).await);
        println!("{name:<34} {one:>12.0} {many:>12.0}");
    }
    let ([one, one_by_hand], ratio_one) = compare([&postgres, &by_hand], 1).await;
    let ([many, many_by_hand], ratio_many) = compare([&postgres, &by_hand], 16).await;
    println!("{:<34} {one:>12.0} {many:>12.0}", "PostgreSQL, one statement");
    println!("{:<34} {one_by_hand:>12.0} {many_by_hand:>12.0}", "PostgreSQL, four round trips");
    println!("{:<34} {ratio_one:>12.2} {ratio_many:>12.2}", "one statement ÷ four round trips");

    // A second database on the same server.
    fill(&pool, 10_000).await;
    sqlx::raw_sql("CREATE DATABASE large").execute(&pool).await.unwrap();
    let large = server.pool("large").await;
    let store = PostgresStore::new(large.clone()).with_deadline(Duration::from_mins(1));
    store.migrate().await.unwrap();
    fill(&large, 1_000_000).await;
    let large: Arc<dyn AccountStore> = Arc::new(store);
    let ([with_many, with_few], ratio) = compare([&large, &postgres], 16).await;
    println!(
        "\n16 at a time, with 10⁶ accounts: {with_many:.0}, with some 10⁴: {with_few:.0}, ratio {ratio:.2}"
    );
}

fn main() {
    if std::env::args().any(|argument| argument == "--bench") {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run());
    }
}
