//! The example servers as processes: killed, ended, overrun and misconfigured.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use signup::SignupService;
use signup::credentials::Credentials;
use signup::store::conformance::Harness;
use signup::store::{LifecycleStore, MySqlStore, PostgresStore, SqliteStore};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::client::{Client, JSON, Response, signup};
use crate::support::mysql;
use crate::support::postgres;
use crate::support::server::{Server, complaint};
use crate::support::{memory, rounds};

/// The example servers under test.
pub const SERVERS: [&str; 3] = ["axum", "actix", "hyper"];

/// The databases that the servers run on.
pub enum Database {
    Sqlite(tempfile::TempDir),
    /// A database of its own on the server of all tests.
    Postgres(String),
    /// The same of MariaDB's.
    MariaDb(String),
}

impl Database {
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub async fn postgres(purpose: &str) -> Self {
        let name = format!("{purpose}_{}", std::process::id());
        let mut connection = PgConnection::connect(&postgres::url()).await.unwrap();
        let create = format!("CREATE DATABASE {name}");
        sqlx::query(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
        Self::Postgres(format!("{}{name}", postgres::url().trim_end_matches("postgres")))
    }

    pub async fn mariadb() -> Self {
        Self::MariaDb(mysql::url_of(&mysql::unmigrated().await))
    }

    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite://{}", folder.path().join("kill.db").display()),
            Self::Postgres(url) | Self::MariaDb(url) => url.clone(),
        }
    }

    /// No account without key, no key without account, nothing torn; and all
    /// emails that are stored.
    pub async fn check(&self) -> HashSet<String> {
        let store: Box<dyn Harness> = match self {
            Self::Sqlite(_) => {
                let store = SqliteStore::connect(&self.url()).await.unwrap();
                let check = sqlx::query_scalar::<_, String>("PRAGMA integrity_check")
                    .fetch_one(store.pool());
                assert_eq!(check.await.as_deref().ok(), Some("ok"));
                Box::new(store)
            }
            Self::Postgres(url) => Box::new(PostgresStore::connect(url).await.unwrap()),
            Self::MariaDb(url) => Box::new(MySqlStore::connect(url).await.unwrap()),
        };
        let mut looks = 0;
        loop {
            let (accounts, keys) = (store.account_rows().await, store.api_key_rows().await);
            let ids: HashSet<_> = accounts.iter().map(|account| &account.id).collect();
            let owners: HashSet<_> = keys.iter().map(|key| &key.account_id).collect();
            if ids == owners {
                assert_eq!(keys.len(), accounts.len());
                return accounts.into_iter().map(|account| account.email).collect();
            }
            // What a server was at when its client was killed may be done between the two
            // reads. What is torn stays so.
            looks += 1;
            assert!(looks < 100, "accounts without key, or keys without account");
        }
    }

    /// Checks that these API keys are valid.
    pub async fn verify(&self, keys: impl Iterator<Item = &String>) {
        let credentials = match self {
            Self::Sqlite(_) => credentials(SqliteStore::connect(&self.url()).await.unwrap()),
            Self::Postgres(url) => credentials(PostgresStore::connect(url).await.unwrap()),
            Self::MariaDb(url) => credentials(MySqlStore::connect(url).await.unwrap()),
        };
        for key in keys {
            credentials.verify_api_key(key).await.unwrap();
        }
    }
}

fn credentials(store: impl LifecycleStore) -> Credentials {
    SignupService::builder(store).jwt_secret(&[7; 32]).build().unwrap().credentials()
}

/// The outcome of one round of sign-ups.
#[derive(Default)]
struct DeliveryCounts {
    /// By address, the API key.
    created: HashMap<String, String>,
    unanswered: HashSet<String>,
}

/// Whether the clients send a key, by which a sign-up can be retried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Sent,
    NotSent,
}

/// Signs up, with a key for each address, or gives none where the connection breaks.
async fn sign_up(client: &mut Client, email: &str, keys: Keys) -> Option<Response> {
    let body = signup(email).to_string();
    let key = format!("Idempotency-Key: key-of-the-sign-up-of-{email}");
    let headers: &[&str] = if keys == Keys::Sent { &[JSON, &key] } else { &[JSON] };
    client.try_post_with(headers, body.as_bytes()).await
}

/// Signs up on 8 connections until that many were answered, then kills the
/// server in the middle of the others.
async fn until_killed(server: Server, round: usize, answers: usize, keys: Keys) -> DeliveryCounts {
    let answered = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for connection in 0..8 {
        let (addr, answered) = (server.addr, Arc::clone(&answered));
        tasks.spawn(async move {
            let (mut client, mut created) = (Client::new(addr), Vec::new());
            for number in 0.. {
                let email = format!("r{round}c{connection}n{number}@x.co");
                match sign_up(&mut client, &email, keys).await {
                    Some(response) => {
                        created.push((email, api_key(&response)));
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                    None => return (created, email),
                }
            }
            unreachable!("the server is killed before")
        });
    }
    while answered.load(Ordering::SeqCst) < answers {
        tokio::task::yield_now().await;
    }
    server.kill();
    let mut result = DeliveryCounts::default();
    while let Some(task) = tasks.join_next().await {
        let (created, unanswered) = task.unwrap();
        result.created.extend(created);
        result.unanswered.insert(unanswered);
    }
    result
}

fn api_key(response: &Response) -> String {
    response.data()["api_key"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f12_f14_kill_9_in_the_middle_of_load() {
    kill_repeatedly(Database::sqlite(), Keys::NotSent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn f12_f14_kill_9_on_postgres() {
    kill_repeatedly(Database::postgres("killed").await, Keys::NotSent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_kill_9_has_taken_comes_again() {
    kill_repeatedly(Database::sqlite(), Keys::Sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn an_answer_that_kill_9_has_taken_comes_again_on_postgres() {
    kill_repeatedly(Database::postgres("retried").await, Keys::Sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn an_answer_that_kill_9_has_taken_comes_again_on_mariadb() {
    kill_repeatedly(Database::mariadb().await, Keys::Sent).await;
}

/// Kills the adapters' servers in turn, 8 times, or 100 times in a full run. Requests without
/// an answer are repeated.
async fn kill_repeatedly(database: Database, keys: Keys) {
    let (mut created, mut stored_before) = (HashMap::new(), 0);
    let rounds = rounds(8, 100);
    for number in 0..rounds {
        let server = Server::start(SERVERS[number % 2], &database.url(), &[]);
        let round = until_killed(server, number, 1 + number % 8, keys).await;
        created.extend(round.created);
        let stored = database.check().await;
        assert!(created.keys().all(|email| stored.contains(email)), "a 201 was lost");

        let server = Server::start(SERVERS[number % 2], &database.url(), &[]);
        let mut client = Client::new(server.addr);
        for email in round.unanswered {
            let answer = sign_up(&mut client, &email, keys).await.unwrap();
            // A statement that a server was at when its client was killed may be done
            // after the check.
            let may_be_late = !matches!(database, Database::Sqlite(_));
            let is_stored = match keys {
                Keys::Sent => {
                    created.insert(email.clone(), api_key(&answer));
                    answer.header("idempotency-replayed").is_some()
                }
                Keys::NotSent if answer.status == 201 => {
                    created.insert(email.clone(), api_key(&answer));
                    false
                }
                Keys::NotSent => {
                    answer.is(409, "CONFLICT");
                    true
                }
            };
            let was_stored = stored.contains(&email);
            assert!(is_stored == was_stored || (may_be_late && is_stored), "{email}");
            stored_before += usize::from(is_stored);
        }
        server.kill();
    }
    let accounts = database.check().await;
    let lost = if keys == Keys::Sent { 0 } else { stored_before };
    assert_eq!(accounts.len(), created.len() + lost);
    database.verify(created.values()).await;
    let unanswered = rounds * 8;
    println!("{} accounts; of {unanswered} unanswered, {stored_before} stored", accounts.len());
}

/// A thousand requests at once with one key, or 200 in a quick run, on two processes of one database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn two_processes_give_a_crowd_with_one_key_one_answer() {
    let crowd_size = rounds(200, 1000);
    let database = Database::postgres("crowd").await;
    let settings = [("SIGNUP_HASH_QUEUE", "2048"), ("SIGNUP_HASH_DEADLINE_MS", "600000")];
    let servers = [0, 1].map(|at| Server::start(SERVERS[at], &database.url(), &settings));
    let mut crowd = JoinSet::new();
    for number in 0..crowd_size {
        let mut client = Client::new(servers[number % 2].addr);
        crowd.spawn(async move { sign_up(&mut client, "kim@x.co", Keys::Sent).await.unwrap() });
    }
    let answers = crowd.join_all().await;
    assert_eq!(answers.len(), crowd_size);
    let keys: HashSet<_> = answers.iter().map(api_key).collect();
    assert_eq!(keys.len(), 1);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    let first = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_none());
    assert_eq!(first.count(), 1);
    assert_eq!(database.check().await.len(), 1);
    database.verify(keys.iter()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_two_processes_on_one_database_have_one_winner() {
    let database = Database::sqlite();
    // Both migrate at the same time, too.
    let urls = [database.url(), database.url()];
    let servers = urls.map(|url| std::thread::spawn(move || Server::start(SERVERS[0], &url, &[])));
    let servers = servers.map(|server| server.join().unwrap());
    for round in 0..20 {
        let mut tasks = JoinSet::new();
        for number in 0..20 {
            let addr = servers[number % 2].addr;
            tasks.spawn(async move {
                let email = format!("Race{round}@X.co");
                Client::new(addr).post(signup(&email).to_string().as_bytes()).await.status
            });
        }
        let mut statuses = tasks.join_all().await;
        statuses.sort_unstable();
        assert_eq!((statuses[0], &statuses[1..]), (201, [409; 19].as_slice()));
    }
    assert_eq!(database.check().await.len(), 20);
}

#[test]
fn the_example_of_policies_fails_open_and_closed_as_it_says() {
    let output = std::process::Command::new(crate::support::example("policies")).output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let statuses: Vec<_> = output.lines().filter_map(|line| line.split(' ').next()).collect();
    let statuses: Vec<_> = statuses.into_iter().filter(|status| !status.is_empty()).collect();
    let both = ["400", "401", "400", "201"];
    let without_the_list = ["400", "401", "201", "409"];
    let without_the_captcha = ["400", "503", "503", "503"];
    assert_eq!(statuses, [both, without_the_list, without_the_captcha].concat(), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h01_512_connections_fit_into_workers_times_19_mib_and_32() {
    let database = Database::sqlite();
    // A slow machine is no reason to refuse: the queue is.
    let settings = [("SIGNUP_HASH_WORKERS", "2"), ("SIGNUP_HASH_DEADLINE_MS", "600000")];
    let server = Server::start(SERVERS[0], &database.url(), &settings);
    // A request that takes no memory of a hash wakes the server up.
    assert_eq!(Client::new(server.addr).post(b"{}").await.status, 400);
    let idle = memory(&server.pid(), "VmRSS");
    let mut tasks = JoinSet::new();
    for number in 0..512 {
        let addr = server.addr;
        tasks.spawn(async move {
            let email = format!("load{number}@x.co");
            Client::new(addr).post(signup(&email).to_string().as_bytes()).await.status
        });
    }
    let statuses = tasks.join_all().await;
    let created = statuses.iter().filter(|status| **status == 201).count();
    assert!(statuses.iter().all(|status| matches!(status, 201 | 429)), "{statuses:?}");
    assert!(created >= 258, "the queue of 256 and two workers, and {created} were created");
    let peak = memory(&server.pid(), "VmHWM");
    let bound = idle + 2 * 19_456 * 1024 + (32 << 20);
    assert!(peak <= bound, "{} MiB over {} MiB idle", (peak - idle) >> 20, idle >> 20);
    println!("{} MiB over {} MiB idle", (peak - idle) >> 20, idle >> 20);
    assert_eq!(database.check().await.len(), created);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x08_a_server_that_is_asked_to_end_finishes_what_it_has() {
    for name in SERVERS {
        let database = Database::sqlite();
        let server = Server::start(name, &database.url(), &[("SIGNUP_HASH_WORKERS", "1")]);
        let mut tasks = JoinSet::new();
        for number in 0..8 {
            let mut client = Client::new(server.addr);
            tasks.spawn(async move {
                // The connection is the server's before it is asked to end.
                assert_eq!(client.post(b"{}").await.status, 400);
                let body = signup(&format!("end{number}@x.co")).to_string();
                client.try_post(body.as_bytes()).await.map(|response| response.status)
            });
        }
        let first = tasks.join_next().await.unwrap().unwrap();
        assert_eq!(first, Some(201), "{name}");
        server.terminate();
        let rest = tasks.join_all().await;
        let created = 1 + rest.iter().filter(|status| **status == Some(201)).count();
        assert!(server.wait(), "{name}");
        // A client without an answer was not accepted.
        assert_eq!(database.check().await.len(), created, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j63_a_head_that_trickles_in_is_not_waited_for() {
    let servers = SERVERS.map(|name| Server::start(name, "memory:", &[]));
    let mut tasks = JoinSet::new();
    for server in &servers {
        let addr = server.addr;
        tasks.spawn(async move {
            let (mut reader, mut writer) = TcpStream::connect(addr).await.unwrap().into_split();
            writer.write_all(b"POST /auth/signup HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
            let trickle = tokio::spawn(async move {
                let mut interval = tokio::time::interval(Duration::from_millis(50));
                while writer.write_all(b"x").await.is_ok() {
                    interval.tick().await;
                }
            });
            // The server's limit is five seconds; ours is for a server that has none.
            let mut said = Vec::new();
            let ended = timeout(Duration::from_mins(1), reader.read_to_end(&mut said)).await;
            trickle.abort();
            ended.expect("the server still waits").ok();
            said
        });
    }
    for said in tasks.join_all().await {
        let said = String::from_utf8(said).unwrap();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{said}");
    }
}

#[tokio::test]
async fn the_document_and_the_page_are_served() {
    for name in &SERVERS[..2] {
        let server = Server::start(name, "memory:", &[]);
        let mut client = Client::new(server.addr);
        let document = client.request("GET", "/openapi.json", &[], b"").await;
        assert_eq!(document.header("content-type"), Some("application/json"));
        assert_eq!(document.body, signup::openapi().to_json().unwrap().into_bytes());
        let page = client.request("GET", "/", &[], b"").await;
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(page.body, include_bytes!("../../examples/support/page.html"));
    }
}

type Settings = &'static [(&'static str, &'static str)];

#[test]
fn what_can_not_work_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let missing = format!("sqlite://u:s3cret@{}/no/such/folder.db", folder.path().display());
    let cases: [(&str, Settings, &str); 10] = [
        (
            "memory:",
            &[("SIGNUP_JWT_SECRET", "0123456789abcdef0123456789abcde")],
            "has 31 bytes, not counting white space at its end: it needs 32 or more",
        ),
        ("memory:", &[("SIGNUP_ADDR", "localhost")], "SIGNUP_ADDR: `localhost` can't be read"),
        ("memory:", &[("SIGNUP_ADDR", "no.such.host.invalid:1")], "SIGNUP_ADDR: can't find"),
        ("memory:", &[("SIGNUP_ADDR", "192.0.2.1:80")], "can't listen on 192.0.2.1:80"),
        ("memory:", &[("SIGNUP_HASH_WORKERS", "0")], "SIGNUP_HASH_WORKERS: `0` is no number"),
        ("memory:", &[("SIGNUP_HASH_WORKER", "2")], "did you mean SIGNUP_HASH_WORKERS?"),
        (&missing, &[], "can't open the store sqlite://"),
        ("oracle://u:s3cret@db/app", &[], "none of"),
        ("mysql://u:s3cret@127.0.0.1:1/app", &[], "can't open the store mysql://127.0.0.1:1/app: "),
        (
            "postgres://u:s3cret@127.0.0.1:1/app",
            &[],
            "can't open the store postgres://127.0.0.1:1/app: ",
        ),
    ];
    for server in SERVERS {
        for (url, settings, expected) in cases {
            let said = complaint(server, url, settings);
            let lines: Vec<_> = said.lines().collect();
            assert_eq!(lines.len(), 1, "{said}");
            assert!(lines[0].starts_with("error: ") && said.contains(expected), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
        assert!(complaint(server, &missing, &[]).contains("/no/such/folder.db"));
    }
}

#[tokio::test]
async fn f15_a_database_of_a_newer_version_is_told() {
    let database = Database::sqlite();
    Server::start(SERVERS[0], &database.url(), &[]).kill();
    let newer = "INSERT INTO _signup_migrations
        (version, description, success, checksum, execution_time, requires)
        VALUES (999, 'later', 1, x'00', 0, 999)";
    let store = SqliteStore::connect(&database.url()).await.unwrap();
    sqlx::query(newer).execute(store.pool()).await.unwrap();
    let said = complaint(SERVERS[0], &database.url(), &[]);
    assert!(said.contains("can't migrate the store sqlite://") && said.contains("999"), "{said}");
}
