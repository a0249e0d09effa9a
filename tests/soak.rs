//! An operator's drill: the example server on PostgreSQL and Redis, under a mixed load, for
//! twenty minutes in which it is flooded, its Redis and its database die and come back, its
//! clock steps, and its log is rotated. Memory, descriptors and threads must stay flat, and
//! every client must get its account, once.
//!
//! `cargo test --features full --test soak -- --ignored --nocapture`, or
//! `bash .ci/release soak`; with `SIGNUP_SOAK_MINUTES=5` it is shorter. It needs `redis-server`, PostgreSQL and `faketime`,
//! from the packages of these names.

#![cfg(target_os = "linux")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use support::client::{Client, JSON, Response};
use support::postgres::Postgres;
use support::redis::Redis;
use support::server::Server;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The repetitions of the drill.
const CYCLES: u64 = 10;
/// The repetitions after which everything has been used that the server takes.
const WARM: usize = 4;
const WORKERS: u64 = 8;
const FLOODERS: u64 = 16;
/// The length of a step of the clock, in seconds: less than a retry may be behind the account
/// whose answer it asks for.
const STEP: i64 = 240;
/// The library that shows the server another time of day than there is.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// The load that the clients make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    None,
    Mixed,
    Flood,
    End,
}

/// The answers of a drill, by status.
#[derive(Default)]
struct Answers([AtomicU64; 6]);

impl Answers {
    const STATUSES: [u16; 6] = [201, 400, 409, 413, 429, 503];

    fn count(&self, response: &Response) {
        response.check_contract(false);
        let known = Self::STATUSES.iter().position(|status| *status == response.status);
        let known = known.unwrap_or_else(|| panic!("{response:?}"));
        self.0[known].fetch_add(1, Ordering::Relaxed);
    }

    fn all(&self) -> Vec<(u16, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        Self::STATUSES.into_iter().zip(counts).collect()
    }
}

/// The clients' part of the drill.
#[derive(Clone)]
struct Clients {
    addr: std::net::SocketAddr,
    load: watch::Receiver<Load>,
    answers: Arc<Answers>,
    /// The clients that have paused, each on no connection.
    paused: Arc<AtomicU64>,
}

impl Clients {
    /// Waits for this load, or the end, of which it returns false.
    async fn wait_for(&mut self, loads: &[Load]) -> bool {
        if !loads.contains(&*self.load.borrow()) {
            self.paused.fetch_add(1, Ordering::Relaxed);
            let _ = self.load.wait_for(|load| *load == Load::End || loads.contains(load)).await;
            self.paused.fetch_sub(1, Ordering::Relaxed);
        }
        *self.load.borrow() != Load::End
    }

    /// Sends until there is an answer other than that the service can't be had now.
    async fn until_answered(&self, client: &mut Client, headers: &[&str], body: &[u8]) -> Response {
        loop {
            if let Some(response) = client.try_post_with(headers, body).await {
                self.answers.count(&response);
                if !matches!(response.status, 429 | 503) {
                    return response;
                }
            }
            // A client's patience, not a wait for something to happen.
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Signs up, and tries again until there is an account; then the same again, the same
    /// address by somebody else, and something invalid. Returns the accounts by their address.
    async fn sign_up(mut self, worker: u64) -> HashMap<String, String> {
        let mut accounts = HashMap::new();
        for number in 0.. {
            if !self.wait_for(&[Load::Mixed, Load::Flood]).await {
                break;
            }
            let mut client = Client::new(self.addr);
            let email = format!("w{worker}n{number}@example.com");
            let body = json!({"email": email, "password": "correct horse"}).to_string();
            // Each of a network's many clients.
            let from =
                format!("X-Forwarded-For: 10.{worker}.{}.{}", number / 256 % 256, number % 256);
            let key = format!("Idempotency-Key: {worker:08}-{number:08}-soak");
            let headers = [JSON, &from, &key];
            let first = self.until_answered(&mut client, &headers, body.as_bytes()).await;
            let again = self.until_answered(&mut client, &headers, body.as_bytes()).await;
            let id = first.data()["account"]["id"].clone();
            assert_eq!(again.data()["account"]["id"], id);
            let id = id.as_str().unwrap().to_owned();
            assert!(accounts.insert(email, id).is_none());
            let taken = self.until_answered(&mut client, &[JSON, &from], body.as_bytes()).await;
            assert_eq!(taken.status, 409);
            let invalid = self.until_answered(&mut client, &[JSON, &from], b"{}").await;
            assert_eq!(invalid.status, 400);
        }
        accounts
    }

    /// Sends as fast as it can what is refused, all from one client's address.
    async fn flood(mut self, number: u64) {
        let large = vec![b' '; 64 * 1024];
        while self.wait_for(&[Load::Flood]).await {
            let mut client = Client::new(self.addr);
            while *self.load.borrow() == Load::Flood {
                let body = if number.is_multiple_of(4) { &large[..] } else { b"{\"email\":1}" };
                match client.try_post(body).await {
                    Some(response) => self.answers.count(&response),
                    None => client = Client::new(self.addr),
                }
            }
        }
    }
}

/// The resources of a process that is left alone.
#[derive(Debug, Clone, Copy)]
struct Resources {
    mib: u64,
    descriptors: u64,
    threads: u64,
}

impl Resources {
    fn of(server: &Server) -> Self {
        let pid = server.pid();
        let entries = |folder: &str| {
            let entries = std::fs::read_dir(format!("/proc/{pid}/{folder}")).unwrap();
            u64::try_from(entries.count()).unwrap()
        };
        Self {
            mib: support::memory(&pid, "VmRSS:") >> 20,
            descriptors: entries("fd"),
            threads: entries("task"),
        }
    }
}

/// The servers, their clock and their log.
struct Drill {
    postgres: Postgres,
    redis: Redis,
    server: Server,
    load: watch::Sender<Load>,
    clients: Clients,
    folder: tempfile::TempDir,
    /// The length of a part of a cycle, of which it has five.
    part: Duration,
}

impl Drill {
    async fn start(part: Duration) -> Self {
        assert!(Path::new(FAKETIME).exists(), "faketime is not installed");
        let (postgres, redis) = (Postgres::start(), Redis::start(&[]).await);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("clock"), "+0").unwrap();
        let log = OpenOptions::new().create(true).append(true).open(folder.path().join("log"));
        let mut command = support::server::command(
            "axum",
            &postgres.url(),
            &[
                ("REDIS_URL", &redis.url()),
                ("SIGNUP_TRUSTED_HOPS", "1"),
                ("SIGNUP_RATE_LIMIT", "20/min"),
                ("LD_PRELOAD", FAKETIME),
                ("FAKETIME_TIMESTAMP_FILE", folder.path().join("clock").to_str().unwrap()),
                ("FAKETIME_CACHE_DURATION", "1"),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ],
        );
        command.stderr(log.unwrap());
        let server = Server::listening(command);
        let (load, receiver) = watch::channel(Load::None);
        let (answers, paused) = (Arc::default(), Arc::default());
        let clients = Clients { addr: server.addr, load: receiver, answers, paused };
        Self { postgres, redis, server, load, clients, folder, part }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A flood, then each trouble under load; then silence, in which it is measured.
    async fn cycle(&mut self, number: u64) -> Resources {
        self.load.send_replace(Load::Flood);
        sleep(self.part).await;
        self.load.send_replace(Load::Mixed);

        self.redis.stop();
        sleep(self.part / 2).await;
        self.redis.run().await;
        sleep(self.part / 2).await;

        self.postgres.crash();
        sleep(self.part / 4).await;
        self.postgres.restart();
        sleep(self.part * 3 / 4).await;

        for step in [STEP, 0, -STEP, 0] {
            self.step_clock(step).await;
            sleep(self.part / 4).await;
        }

        self.rotate_log(number);
        sleep(self.part / 2).await;
        self.load.send_replace(Load::None);
        self.until_silent().await;
        // Threads for what blocks leave after ten idle seconds.
        sleep(Duration::from_secs(12)).await;
        Resources::of(&self.server)
    }

    async fn until_silent(&self) {
        while self.clients.paused.load(Ordering::Relaxed) < WORKERS + FLOODERS {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sets the server's time of day so many seconds off, and waits until its tokens say so.
    async fn step_clock(&self, seconds: i64) {
        std::fs::write(self.path("clock"), format!("{seconds:+}")).unwrap();
        let mut client = Client::new(self.server.addr);
        for number in 0.. {
            let email = format!("clock{number}t{seconds}@example.com");
            let body = json!({"email": email, "password": "correct horse"}).to_string();
            let from = format!("X-Forwarded-For: 10.99.{}.{}", number / 256, number % 256);
            let Some(answer) = client.try_post_with(&[JSON, &from], body.as_bytes()).await else {
                continue;
            };
            if answer.status == 201 && (self.offset(&answer) - seconds).abs() < 60 {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Returns by how many seconds a token was issued after now.
    fn offset(&self, answer: &Response) -> i64 {
        let token = answer.data()["token"].as_str().unwrap().to_owned();
        let claims = BASE64.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let now = self.path("now");
        // The time of day as the file system has it.
        let now = File::create(&now).and_then(|file| file.metadata()).unwrap().modified().unwrap();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        claims["iat"].as_i64().unwrap() - i64::try_from(now).unwrap()
    }

    /// Copies the log and cuts it short, as logrotate's `copytruncate` does.
    fn rotate_log(&self, number: u64) {
        std::fs::copy(self.path("log"), self.path(&format!("log.{number}"))).unwrap();
        OpenOptions::new().write(true).open(self.path("log")).unwrap().set_len(0).unwrap();
    }

    /// Holds what is stored against what the clients were told.
    async fn check_accounts(&self, told: &HashMap<String, String>) {
        let mut database = PgConnection::connect(&self.postgres.url()).await.unwrap();
        let stored = "SELECT email, id FROM accounts WHERE email NOT LIKE 'clock%'";
        let stored: Vec<(String, String)> =
            sqlx::query_as(stored).fetch_all(&mut database).await.unwrap();
        assert_eq!(stored.len(), told.len());
        assert_eq!(&stored.into_iter().collect::<HashMap<_, _>>(), told);
        let orphans = "SELECT count(*) FROM accounts a
             WHERE (SELECT count(*) FROM api_keys k WHERE k.account_id = a.id) <> 1";
        let orphans: i64 = sqlx::query_scalar(orphans).fetch_one(&mut database).await.unwrap();
        assert_eq!(orphans, 0);
    }

    /// Reads all logs, which are lines of JSON, and returns how many.
    fn check_logs(&self) -> usize {
        let mut lines = 0;
        let logs = (0..CYCLES).map(|number| format!("log.{number}")).chain(["log".to_owned()]);
        for log in logs {
            let text = std::fs::read_to_string(self.path(&log)).unwrap();
            for line in text.lines() {
                let line: Value = serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("{log}: {error}: {line}"));
                assert!(line.is_object() && !line.to_string().contains("correct horse"));
                lines += 1;
            }
        }
        lines
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "twenty minutes"]
async fn the_server_stays_as_it_is_whatever_happens_around_it() {
    let minutes = std::env::var("SIGNUP_SOAK_MINUTES").map_or(20, |text| text.parse().unwrap());
    // Of each cycle, 12 seconds are silence.
    let part = Duration::from_secs(minutes * 60 / CYCLES).saturating_sub(Duration::from_secs(12));
    let mut drill = Drill::start(part * 2 / 9).await;
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        workers.spawn(drill.clients.clone().sign_up(worker));
    }
    let mut flooders = JoinSet::new();
    for number in 0..FLOODERS {
        flooders.spawn(drill.clients.clone().flood(number));
    }
    drill.until_silent().await;

    let mut at_rest = vec![Resources::of(&drill.server)];
    println!("at the start: {:?}", at_rest[0]);
    for number in 0..CYCLES {
        at_rest.push(drill.cycle(number).await);
        println!("after cycle {number}: {:?}", at_rest.last().unwrap());
    }
    drill.load.send_replace(Load::End);
    flooders.join_all().await;
    let told: HashMap<_, _> = workers.join_all().await.into_iter().flatten().collect();
    drill.check_accounts(&told).await;
    let lines = drill.check_logs();
    println!("{} accounts, {lines} lines of logs", told.len());
    println!("answers: {:?}", drill.clients.answers.all());
    assert!(drill.clients.answers.all().iter().all(|(_, count)| *count > 0));

    let (warm, later) = at_rest[1..].split_at(WARM);
    let most = |of: &[Resources], what: fn(&Resources) -> u64| of.iter().map(what).max().unwrap();
    for what in [|at: &Resources| at.descriptors, |at: &Resources| at.threads] {
        assert!(most(later, what) <= most(warm, what), "{at_rest:?}");
    }
    let mib = |at: &Resources| at.mib;
    assert!(most(later, mib) <= most(warm, mib) + most(warm, mib) / 20, "{at_rest:?}");
}
