//! The example servers as who operates them meets them: what they say at their start,
//! what a load balancer asks, and what they leave behind.

use std::collections::HashSet;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signup::store::SqliteStore;
use signup::store::conformance::Harness as _;
use tokio::task::JoinSet;

use crate::support::client::{Client, Response, signup};
use crate::support::postgres::Postgres;
use crate::support::rounds;
use crate::support::server::{Server, command, complaint};

const SERVERS: [&str; 3] = ["axum", "actix", "hyper"];

fn url(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("signup.db").display())
}

/// Signs up on 4 connections at a time until that many were answered, asks the
/// server to end in the middle of the others, and gives the emails that got a 201.
async fn until_ended(server: Server, round: usize, answers: usize) -> Vec<String> {
    let answered = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for connection in 0..4 {
        let (addr, answered) = (server.addr, Arc::clone(&answered));
        tasks.spawn(async move {
            let mut created = Vec::new();
            for number in 0.. {
                let email = format!("r{round}c{connection}n{number}@x.co");
                // A new connection each: one that is kept is served on while it asks.
                let body = signup(&email).to_string();
                match Client::new(addr).try_post(body.as_bytes()).await {
                    Some(response) => assert_eq!(response.status, 201, "{response:?}"),
                    None => break,
                }
                created.push(email);
                answered.fetch_add(1, Ordering::SeqCst);
            }
            created
        });
    }
    while answered.load(Ordering::SeqCst) < answers {
        tokio::task::yield_now().await;
    }
    server.terminate();
    let created = tasks.join_all().await.concat();
    assert!(server.wait(), "round {round}");
    created
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Copies the database file alone, and gives the emails that are in the copy.
async fn emails_of_a_copy(folder: &Path) -> HashSet<String> {
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::copy(folder.join("signup.db"), elsewhere.path().join("signup.db")).unwrap();
    let store = SqliteStore::connect(&url(elsewhere.path())).await.unwrap();
    let emails = store.account_rows().await.into_iter().map(|account| account.email).collect();
    store.pool().close().await;
    emails
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_leaves_one_file_with_every_account_in_it() {
    let names = [SERVERS[0], SERVERS[1], SERVERS[2], "login"];
    for (round, name) in names.into_iter().cycle().take(rounds(8, 50)).enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(name, &url(folder.path()), &[]);
        let created = until_ended(server, round, 1 + round % 3).await;
        assert_eq!(files(folder.path()), ["signup.db"], "{name} in round {round}");
        let stored = emails_of_a_copy(folder.path()).await;
        let lost: Vec<_> = created.iter().filter(|email| !stored.contains(*email)).collect();
        assert!(lost.is_empty() && !created.is_empty(), "{name} in round {round}: {lost:?}");
    }
}

#[test]
fn a_start_that_fails_leaves_one_file_too() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for name in [SERVERS[0], SERVERS[1], SERVERS[2], "login"] {
        // Nobody listens on this network, which is for documentation.
        for addr in ["192.0.2.1:80", &taken] {
            let folder = tempfile::tempdir().unwrap();
            complaint(name, &url(folder.path()), &[("SIGNUP_ADDR", addr)]);
            assert_eq!(files(folder.path()), ["signup.db"], "{name} on {addr}");
        }
    }
}

async fn get(server: &Server, path: &str) -> Response {
    Client::new(server.addr).request("GET", path, &[], b"").await
}

/// Makes the database's schema unreadable to every connection's next statement.
async fn damage(pool: &sqlx::SqlitePool) {
    let mut connection = pool.acquire().await.unwrap();
    for statement in [
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'damaged' WHERE name = 'accounts'",
        "PRAGMA schema_version = 1000000",
    ] {
        sqlx::query(statement).execute(&mut *connection).await.unwrap();
    }
}

#[tokio::test]
async fn health_is_of_the_store() {
    for name in SERVERS {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(name, &url(folder.path()), &[]);
        let up = get(&server, "/health").await;
        assert_eq!((up.status, up.header("content-type")), (200, Some("application/json")));
        assert_eq!(up.header("cache-control"), Some("no-store"));
        let json = up.json();
        assert_eq!((&json["status"], &json["store"]), (&"up".into(), &"up".into()), "{json}");
        for figure in ["queued", "running", "refused"] {
            assert_eq!(json["hashes"][figure], 0, "{json}");
        }
        let store = SqliteStore::connect(&url(folder.path())).await.unwrap();
        damage(store.pool()).await;
        let down = get(&server, "/health").await;
        assert_eq!((down.status, &down.json()["status"]), (503, &"down".into()), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh installs one"]
async fn health_is_down_while_postgres_is() {
    let database = Postgres::start();
    let server = Server::start(SERVERS[0], &database.url(), &[]);
    assert_eq!(get(&server, "/health").await.status, 200);
    database.crash();
    assert_eq!(get(&server, "/health").await.status, 503);
    database.restart();
    assert_eq!(get(&server, "/health").await.status, 200);
}

#[tokio::test]
async fn a_path_that_is_none_is_the_documented_404() {
    for name in SERVERS {
        let server = Server::start(name, "memory:", &[]);
        let mut client = Client::new(server.addr);
        for (method, path) in [
            ("POST", "/auth/signup/"),
            ("POST", "/auth/sign%75p"),
            ("GET", "/auth"),
            ("DELETE", "/no/such/path"),
        ] {
            let response = client.request(method, path, &[], b"{}").await;
            response.is(404, "NOT_FOUND");
            assert_eq!(response.header("content-type"), Some("application/json"), "{name} {path}");
        }
        let head = client.request("HEAD", "/no/such/path", &[], b"").await;
        assert_eq!(head.status, 404, "{name}");
    }
}

#[tokio::test]
async fn a_page_elsewhere_may_show_its_credentials() {
    for name in &SERVERS[..2] {
        let origin = "https://dashboard.example.com";
        let server = Server::start(name, "memory:", &[("SIGNUP_CORS_ORIGIN", origin)]);
        let asked = [
            &format!("Origin: {origin}"),
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: authorization,content-type,idempotency-key,x-api-key",
        ];
        let mut client = Client::new(server.addr);
        let preflight = client.request("OPTIONS", "/auth/signup", &asked, b"").await;
        assert_eq!(preflight.header("access-control-allow-origin"), Some(origin), "{name}");
        let allowed = preflight.header("access-control-allow-headers").unwrap();
        for header in ["authorization", "content-type", "idempotency-key", "x-api-key"] {
            assert!(allowed.to_ascii_lowercase().contains(header), "{name}: {allowed}");
        }
    }
}

#[test]
fn a_start_says_how_it_hashes_and_warns_last() {
    let engine = if cfg!(feature = "simd") { "argon2-rust" } else { "argon2" };
    for name in SERVERS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stderr");
        let mut command = command(name, "memory:", &[("SIGNUP_HASH_WORKERS", "2")]);
        command.env_remove("SIGNUP_JWT_SECRET").env_remove("SIGNUP_REPLAY_SECRET");
        command.env("SIGNUP_PORT", "tcp://10.0.0.1:80");
        command.stderr(std::fs::File::create(&path).unwrap());
        let mut server = Server::listening(command);
        let said = server.line();
        assert_eq!(said, format!("hashing by {engine} at m=19456,t=2,p=1, workers: 2"), "{name}");
        server.terminate();
        assert!(server.wait(), "{name}");
        let said = std::fs::read_to_string(&path).unwrap();
        let warnings: Vec<_> = said.lines().filter(|line| line.starts_with("warning: ")).collect();
        assert!(warnings[0].contains("SIGNUP_PORT is no setting"), "{name}: {said}");
        for (warning, secret) in warnings[1..].iter().zip(["JWT_SECRET", "REPLAY_SECRET"]) {
            assert!(warning.contains(secret), "{name}: {said}");
            assert!(warning.contains("`openssl rand -hex 32` makes one"), "{name}: {said}");
        }
        assert_eq!(warnings.len(), 3, "{name}: {said}");
    }
}

#[tokio::test]
async fn an_address_may_be_a_name_or_a_port() {
    for name in SERVERS {
        for addr in ["localhost:0", ":0", "0"] {
            let server = Server::start(name, "memory:", &[("SIGNUP_ADDR", addr)]);
            assert!(server.addr.ip().is_loopback(), "{name} on {addr}");
            assert_eq!(get(&server, "/health").await.status, 200, "{name} on {addr}");
        }
    }
}

#[test]
fn help_ends_and_another_option_is_refused() {
    for name in SERVERS {
        let output = |option| {
            let mut command = command(name, "memory:", &[]);
            command.arg(option).stderr(Stdio::piped()).output().unwrap()
        };
        let help = output("--help");
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(help.status.success() && text.contains("SIGNUP_JWT_SECRET"), "{name}: {text}");
        let other = output("--port");
        let text = String::from_utf8(other.stderr).unwrap();
        assert_eq!(other.status.code(), Some(1), "{name}");
        assert_eq!(text, "error: `--port` is no option: --help lists the settings\n");
    }
}
