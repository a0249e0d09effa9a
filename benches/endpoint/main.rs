//! Sign-ups by HTTP, start to end, on PostgreSQL: the endpoint of this crate, with either
//! engine, against the server that one writes by hand ([`by_hand`]), with and without a bound
//! on its hashes.
//!
//! `cargo bench --features axum,postgres,simd --bench endpoint` prints the table; with
//! `-- --svg docs/endpoint.svg` it draws the picture too. Each row is a server in a process
//! of its own with a database of its own, so that its peak of memory is its own. All servers
//! have the same runtime, framework, work factor and number of connections to the database.
//! The clients, and the database, share the cores with them.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::Router;
use signup::SignupService;
use signup::clock::{Clock as _, SystemClock};
use signup::hash::{Argon2Engine, HashPool};
use signup::store::PostgresStore;
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::runtime::Builder;

mod by_hand;
#[path = "../support/chart.rs"]
mod chart;
mod clients;
#[path = "../support/server.rs"]
mod server;

use chart::{Bar, Panel};
use server::Server;

/// The duration of a row, after each client's first sign-up.
const MEASURED: Duration = Duration::from_secs(10);
const CONNECTIONS: [usize; 3] = [16, 64, 512];
const WAYS: [&str; 4] = ["signup, simd", "signup", "by hand, bounded", "by hand"];
/// The connections to the database, as many as a pool of sqlx has by default.
const TO_DATABASE: u32 = 10;
const SECRET: [u8; 32] = [7; 32];

/// The measurements of a server.
struct Row {
    way: &'static str,
    connections: usize,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    peak_mib: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    if let Some(way) = value("--serve") {
        let database = value("--database").unwrap();
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(serve(&way, &database));
    } else if arguments.iter().any(|argument| argument == "--bench") {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let rows = runtime.block_on(all_rows());
        if let Some(path) = value("--svg") {
            std::fs::write(path, draw(&rows)).unwrap();
        }
    }
}

/// Serves one of the ways, and says on stdout where.
async fn serve(way: &str, database: &str) {
    let pool = PgPoolOptions::new().max_connections(TO_DATABASE).connect(database).await.unwrap();
    let app = match way {
        "by hand" => by_hand::app(pool, None).await,
        "by hand, bounded" => by_hand::app(pool, Some(cores())).await,
        _ => endpoint(way, pool).await,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    axum::serve(listener, app).await.unwrap();
}

/// The crate's endpoint, which waits as long as the others do.
async fn endpoint(way: &str, database: PgPool) -> Router {
    let pool = HashPool::builder().workers(cores()).queue(512).deadline(Duration::MAX);
    let pool = match way {
        #[cfg(feature = "simd")]
        "signup, simd" => pool.engine(signup::hash::SimdEngine),
        _ => pool.engine(Argon2Engine),
    };
    let store = PostgresStore::new(database).with_deadline(Duration::from_mins(1));
    store.migrate().await.unwrap();
    let service = SignupService::builder(store).jwt_secret(&SECRET);
    let service = service.hash_pool(Arc::new(pool.build().unwrap())).build().unwrap();
    signup::adapters::axum::router(service)
}

fn cores() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

/// A server in a process of its own.
struct Process {
    child: Child,
    addr: SocketAddr,
}

impl Process {
    fn start(way: &str, database: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--serve", way, "--database", database])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, addr: line.trim().parse().unwrap() }
    }

    /// The most memory that it has had at a time, in MiB.
    fn peak_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn all_rows() -> Vec<Row> {
    let server = Server::start("postgres.sh", &[]);
    println!(
        "{:>18} {:>11} {:>18} {:>9} {:>9} {:>10}",
        "way", "connections", "sign-ups a second", "p50, ms", "p99, ms", "peak, MiB"
    );
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        for (number, way) in WAYS.into_iter().enumerate() {
            if way == "signup, simd" && !cfg!(feature = "simd") {
                continue;
            }
            let row =
                measure(&server, &format!("way{number}_{connections}"), way, connections).await;
            println!(
                "{way:>18} {connections:>11} {:>18.1} {:>9.0} {:>9.0} {:>10.0}",
                row.per_second, row.p50_ms, row.p99_ms, row.peak_mib
            );
            rows.push(row);
        }
    }
    rows
}

async fn measure(server: &Server, database: &str, way: &'static str, connections: usize) -> Row {
    let url = |name: &str| format!("postgres://postgres@127.0.0.1:{}/{name}", server.port);
    let pool = PgPool::connect(&url("postgres")).await.unwrap();
    let create = AssertSqlSafe(format!("CREATE DATABASE {database}"));
    sqlx::raw_sql(create).execute(&pool).await.unwrap();
    let process = Process::start(way, &url(database));
    let next = Arc::new(AtomicU64::new(0));
    // Everybody has signed up once before the measurement begins.
    clients::run(process.addr, connections, &next, Duration::ZERO).await;
    let start = SystemClock.monotonic();
    let mut times = clients::run(process.addr, connections, &next, MEASURED).await;
    let took = SystemClock.monotonic().saturating_sub(start);
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).unwrap().as_secs_f64() * 1e3;
    let number = f64::from(u32::try_from(times.len()).unwrap());
    Row {
        way,
        connections,
        per_second: number / took.as_secs_f64(),
        p50_ms: at(50),
        p99_ms: at(99),
        peak_mib: process.peak_mib(),
    }
}

fn draw(rows: &[Row]) -> String {
    let panel = |title: &str, number: fn(&Row) -> f64| Panel {
        title: format!("{title}, by connections"),
        bars: rows
            .iter()
            .map(|row| Bar {
                name: format!("{}: {}", row.connections, row.way),
                value: number(row),
                is_ours: row.way.starts_with("signup"),
            })
            .collect(),
    };
    chart::draw(
        "Sign-ups by HTTP on two cores: this crate and servers written by hand",
        &[
            panel("sign-ups a second", |row| row.per_second),
            panel("99th percentile, ms", |row| row.p99_ms),
            panel("peak memory, MiB", |row| row.peak_mib),
        ],
    )
}
