//! The cost of a store: accounts created per second, 1 and 16 at a time, and with 10⁴ and
//! 10⁶ existing accounts; on PostgreSQL against a hand-written transaction of four round
//! trips on the same pool; on a Galera cluster of three against a single MariaDB.
//!
//! `cargo bench --features full --bench stores`. It starts servers of its own by
//! `scripts/postgres.sh`, `scripts/mariadb.sh` and `scripts/galera.sh`, and ends them. What
//! is compared is measured in turn, block by block, and given as a ratio. PostgreSQL has its
//! default settings; neither the MariaDBs nor the cluster wait for the disk at a commit.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use signup::clock::{Clock, SystemClock};
use signup::fields::EmailKey;
use signup::store::conformance::Sample;
use signup::store::{
    AccountStore, CreateOutcome, MemoryStore, MySqlStore, NewAccount, PostgresStore, SqliteStore,
    StoreError,
};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::task::JoinSet;

#[path = "support/server.rs"]
mod server;

use server::Server;

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

/// Opens a store on the node of a cluster, or on the MariaDB, of this port.
async fn mysql(port: &str) -> MySqlStore {
    let url = format!("mysql://root@127.0.0.1:{port}/bench");
    let server = sqlx::mysql::MySqlPool::connect(&url.replace("/bench", "/mysql")).await;
    let create = "CREATE DATABASE IF NOT EXISTS bench CHARACTER SET utf8mb4";
    sqlx::raw_sql(create).execute(&server.unwrap()).await.unwrap();
    let store = MySqlStore::connect(&url).await.unwrap();
    let store = store.with_deadline(Duration::from_mins(1));
    store.migrate().await.unwrap();
    store
}

async fn postgres(server: &Server, database: &str) -> PgPool {
    let url = format!("postgres://postgres@127.0.0.1:{}/{database}", server.port);
    let options = PgPoolOptions::new().max_connections(16).test_before_acquire(false);
    options.connect(&url).await.unwrap()
}

/// A cluster whose nodes store accounts in turn.
struct InTurn(Vec<MySqlStore>, AtomicU64);

#[async_trait]
impl AccountStore for InTurn {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        self.0[0].is_email_taken(key).await
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        let turn = usize::try_from(self.1.fetch_add(1, Ordering::Relaxed)).unwrap();
        self.0[turn % self.0.len()].create(new).await
    }
}

/// Accounts in a single MariaDB, and in a cluster of three.
async fn run_mysql() {
    let server = Server::start("mariadb.sh", &["--innodb-flush-log-at-trx-commit=0"]);
    let one: Arc<dyn AccountStore> = Arc::new(mysql(&server.port.to_string()).await);
    let cluster = Server::start("galera.sh", &[]);
    let ports = std::fs::read_to_string(cluster.folder.path().join("ports")).unwrap();
    let mut nodes = Vec::new();
    for node in ports.lines() {
        nodes.push(mysql(node.split(' ').next().unwrap()).await);
    }
    let three: Arc<dyn AccountStore> = Arc::new(InTurn(nodes, AtomicU64::new(0)));
    let ([first, three_first], ratio_one) = compare([&one, &three], 1).await;
    let ([many, three_many], ratio_many) = compare([&one, &three], 16).await;
    println!("{:<34} {first:>12.0} {many:>12.0}", "MariaDB, one node");
    println!("{:<34} {three_first:>12.0} {three_many:>12.0}", "MariaDB, a cluster of three");
    println!("{:<34} {ratio_one:>12.2} {ratio_many:>12.2}", "one node ÷ three");
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
    let server = Server::start("postgres.sh", &[]);
    let pool = postgres(&server, "postgres").await;
    let store = PostgresStore::new(pool.clone()).with_deadline(Duration::from_mins(1));
    let store = store.trust_session_timeout();
    store.migrate().await.unwrap();
    let one_statement: Arc<dyn AccountStore> = Arc::new(store);
    let by_hand: Arc<dyn AccountStore> = Arc::new(ByHand(pool.clone()));

    println!("{:<34} {:>12} {:>12}", "creates a second", "1 at a time", "16 at a time");
    for (name, store) in [("memory", &memory), ("SQLite, synchronous=FULL", &sqlite)] {
        let (one, many) = (block(store, 1).await, block(store, 16).await);
        println!("{name:<34} {one:>12.0} {many:>12.0}");
    }
    let ([one, one_by_hand], ratio_one) = compare([&one_statement, &by_hand], 1).await;
    let ([many, many_by_hand], ratio_many) = compare([&one_statement, &by_hand], 16).await;
    println!("{:<34} {one:>12.0} {many:>12.0}", "PostgreSQL, one statement");
    println!("{:<34} {one_by_hand:>12.0} {many_by_hand:>12.0}", "PostgreSQL, four round trips");
    println!("{:<34} {ratio_one:>12.2} {ratio_many:>12.2}", "one statement ÷ four round trips");
    run_mysql().await;

    // A second database on the same server.
    fill(&pool, 10_000).await;
    sqlx::raw_sql("CREATE DATABASE large").execute(&pool).await.unwrap();
    let large = postgres(&server, "large").await;
    let store = PostgresStore::new(large.clone()).with_deadline(Duration::from_mins(1));
    let store = store.trust_session_timeout();
    store.migrate().await.unwrap();
    fill(&large, 1_000_000).await;
    let large: Arc<dyn AccountStore> = Arc::new(store);
    let ([with_many, with_few], ratio) = compare([&large, &one_statement], 16).await;
    println!(
        "\n16 at a time, with 10⁶ accounts: {with_many:.0}, with some 10⁴: {with_few:.0}, ratio {ratio:.2}"
    );
}

fn main() {
    if std::env::args().any(|argument| argument == "--bench") {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run());
    }
}
