//! The memory of a process after its sign-ups, as a core dump would have it: no password, no
//! API key and no token is left in it; nor in a server, but in its framework's buffers.

use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use regex::bytes::Regex;
use signup::clock::ManualClock;
use signup::hash::{HashPool, WorkFactor};
use signup::random::{SecureRandom as _, SeededRandom, SystemRandom};
use signup::store::MemoryStore;
use signup::{SignupRequest, SignupService};
use tokio::task::JoinSet;

use crate::support::backend::NOW;
use crate::support::client::Client;
use crate::support::server::Server;

const SEED: &str = "SIGNUP_TEST_SEED";
const SIGN_UPS: usize = 20;
const READY: &str = "the sign-ups are done";

/// The canaries of a seed: texts that are nowhere but in memory.
fn canaries(seed: u64) -> impl Iterator<Item = String> {
    let random = SeededRandom::new(seed);
    (0..2 * SIGN_UPS).map(move |_| {
        let mut bytes = [0; 40];
        random.fill(&mut bytes).unwrap();
        let mut text = String::with_capacity(80);
        for byte in bytes {
            text.push(char::from(b'a' + byte % 26));
            text.push(char::from(b'A' + byte / 16));
        }
        bytes.fill(0);
        text
    })
}

/// Overwrites what a caller of the crate has had in its hands.
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    std::hint::black_box(bytes);
}

/// Signs up, logs in, changes passwords and issues keys, all determined by the seed. Each secret
/// is shown once.
fn work(seed: u64, mut show: impl FnMut(&str)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pool = HashPool::builder().workers(1).work_factor(WorkFactor::OWASP_7_MIB);
    let service = SignupService::builder(MemoryStore::default())
        .jwt_secret(&[7; 32])
        .clock(ManualClock::at_unix(NOW))
        .randomness(SeededRandom::new(seed))
        .hash_pool(Arc::new(pool.build().unwrap()))
        .build()
        .unwrap();
    let (credentials, accounts) = (service.credentials(), service.accounts());
    let mut canaries = canaries(seed);
    for number in 0..SIGN_UPS {
        let (password, next) = (canaries.next().unwrap(), canaries.next().unwrap());
        let email = format!("u{number}@x.co");
        let mut body = Vec::with_capacity(256);
        for part in ["{\"email\":\"", &email, "\",\"password\":\"", &password, "\"}"] {
            body.extend_from_slice(part.as_bytes());
        }
        let request = SignupRequest::from_json(&body).unwrap();
        wipe(&mut body);
        runtime.block_on(async {
            let signup = service.signup(request).await.unwrap();
            let (token, key) = (signup.token().reveal(), signup.api_key().reveal());
            credentials.verify_token(token).await.unwrap();
            credentials.verify_api_key(key).await.unwrap();
            assert!(!signup.reveal_json().is_empty());
            let id = credentials.verify_password(&email, &password).await.unwrap();
            accounts.change_password(&id, &password, &next).await.unwrap();
            credentials.verify_password(&email, &next).await.unwrap();
            let other_key = credentials.issue_api_key(&id, None).await.unwrap();
            let other_token = credentials.issue_token(&id).await.unwrap();
            for secret in [token, key, other_key.key().reveal(), other_token.reveal()] {
                show(secret);
            }
        });
        for secret in [password, next] {
            show(&secret);
            wipe(&mut secret.into_bytes());
        }
    }
    // The pool and the store stay as they are while the memory is searched.
    std::mem::forget(service);
}

/// The process whose memory is searched. By itself it does nothing.
#[test]
#[ignore = "a process of the test below"]
fn process() {
    let Ok(seed) = std::env::var(SEED) else { return };
    work(seed.parse().unwrap(), |_| {});
    println!("{READY}");
    // Until the other process has looked.
    let _ = std::io::stdin().read(&mut [0]);
}

/// Reads all memory of a process that can be read.
fn memory_of(process: u32) -> Vec<Vec<u8>> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let mut memory = std::fs::File::open(format!("/proc/{process}/mem")).unwrap();
    let regions = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).unwrap();
        let (from, to) = (address(from), address(to));
        let is_own = rest.starts_with("rw") && !rest.contains("/dev/");
        is_own.then_some((from, usize::try_from(to - from).unwrap()))
    });
    let mut read = |(from, length)| {
        let mut bytes = vec![0; length];
        memory.seek(SeekFrom::Start(from)).ok()?;
        memory.read_exact(&mut bytes).ok()?;
        Some(bytes)
    };
    regions.filter_map(&mut read).collect()
}

#[test]
fn s07_no_secret_is_left_in_memory() {
    let mut seed = [0; 8];
    SystemRandom.fill(&mut seed).unwrap();
    let seed = u64::from_le_bytes(seed);
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::process", "--ignored", "--nocapture"])
        .env(SEED, seed.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let is_ready = lines.any(|line| line.contains(READY));
    let regions = memory_of(process.id());
    drop(process.stdin.take());
    lines.for_each(drop);
    assert!(process.wait().unwrap().success() && is_ready);

    let found = |needle: &[u8]| {
        let finder = Regex::new(&regex::escape(std::str::from_utf8(needle).unwrap())).unwrap();
        regions.iter().map(|region| finder.find_iter(region).count()).sum::<usize>()
    };
    // The search finds what is kept: addresses, and the secret that signs.
    assert!(found(b"u19@x.co") > 0, "{} regions", regions.len());
    let mut secrets = Vec::new();
    work(seed, |secret| secrets.push(secret.to_owned()));
    // An allocator writes into what is free, so that a part of a secret is enough. The head of
    // a token is none, and a key begins with its prefix, of which a list shows more.
    let is_left = |secret: &String| {
        let secret = secret.strip_prefix("rag_live_").map_or(&**secret, |digits| &digits[4..]);
        let secret = secret.rsplit('.').next().unwrap().as_bytes();
        secret.chunks_exact(16).any(|part| found(part) > 0)
    };
    let left: Vec<_> = secrets.into_iter().filter(is_left).collect();
    assert!(left.is_empty(), "{} are left, {:?} among them", left.len(), left.first());
}

/// Writes each character of a text as an escape of JSON, so that a body has none of it.
fn escaped(text: &str) -> String {
    text.chars().map(|char| format!("\\u{:04x}", u32::from(char))).collect()
}

/// Stops a process while its memory is read.
fn snapshot_of(server: &Server) -> Vec<Vec<u8>> {
    let signal = |signal: &str| Command::new("kill").args([signal, &server.pid()]).status();
    assert!(signal("-STOP").unwrap().success());
    let regions = memory_of(server.pid().parse().unwrap());
    assert!(signal("-CONT").unwrap().success());
    regions
}

/// Returns the places of a text, each with the two bytes before it.
fn places<'a>(regions: &'a [Vec<u8>], text: &str) -> Vec<&'a [u8]> {
    let finder = Regex::new(&regex::escape(text)).unwrap();
    let in_region = |region: &'a Vec<u8>| {
        let places = finder.find_iter(region).map(|found| found.start());
        places.map(|at| &region[at.saturating_sub(2)..at]).collect::<Vec<_>>()
    };
    regions.iter().flat_map(in_region).collect()
}

/// Signs up on a connection of its own, and returns the key and the token.
async fn sign_up(addr: SocketAddr, email: &str, password: &str) -> [String; 2] {
    let body = format!(r#"{{"email":"{email}","password":"{}"}}"#, escaped(password));
    let answer = Client::new(addr).post(body.as_bytes()).await.data();
    ["api_key", "token"].map(|name| answer[name].as_str().unwrap().to_owned())
}

/// A password with the key and the token that its sign-up got.
type Secrets = [String; 3];

/// Signs up many, and checks the memory of the server during the load and after it.
async fn check_under_load(name: &str, server: &Server) {
    let mut seed = [0; 8];
    SystemRandom.fill(&mut seed).unwrap();
    let passwords: Vec<_> = canaries(u64::from_le_bytes(seed)).collect();
    let answered = Arc::new(Mutex::new(Vec::new()));
    let mut clients = JoinSet::new();
    for (worker, passwords) in passwords.chunks(10).enumerate() {
        let (passwords, answered) = (passwords.to_vec(), Arc::clone(&answered));
        let addr = server.addr;
        clients.spawn(async move {
            for (number, password) in passwords.into_iter().enumerate() {
                let email = format!("w{worker}n{number}@x.co");
                let [key, token] = sign_up(addr, &email, &password).await;
                answered.lock().unwrap().push([password, key, token]);
            }
        });
    }
    for number in [10, passwords.len()] {
        while answered.lock().unwrap().len() < number {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let answered = answered.lock().unwrap().clone();
        until_gone(name, server, &answered).await;
    }
    clients.join_all().await;
}

/// Reads a server's memory until it has none of these secrets: buffers are freed a moment after
/// the client has the answer.
async fn until_gone(name: &str, server: &Server, secrets: &[Secrets]) {
    for tries_left in (0..50).rev() {
        let regions = snapshot_of(server);
        // The search finds what is kept.
        assert!(!places(&regions, "w0n1@x.co").is_empty(), "{name}");
        match secrets.iter().find_map(|secrets| leak(name, secrets, &regions)) {
            None => return,
            Some(leak) => assert!(tries_left > 0, "{name} has {leak}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns the first of these secrets in a server's memory.
fn leak(name: &str, [password, key, token]: &Secrets, regions: &[Vec<u8>]) -> Option<String> {
    let parts = password.as_bytes().chunks_exact(16);
    let mut parts = parts.map(|part| std::str::from_utf8(part).unwrap());
    let part = parts.find(|part| !places(regions, part).is_empty()).map(str::to_owned);
    part.or_else(|| {
        let is_leaked = |secret: &&String| {
            // An allocator writes over the name, once it has the buffer back.
            let is_json = |before: &&[u8]| before.ends_with(b":\"");
            let places = places(regions, secret);
            let is_copy = name == "actix" && places.iter().all(is_json);
            !places.is_empty() && !is_copy
        };
        [key, token].into_iter().find(is_leaked).cloned()
    })
}

/// The passwords that come as escapes are nowhere in a server as they are, and what it has
/// answered is nowhere, or in the buffer into which actix-web copies a body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s07_a_server_has_secrets_in_the_buffers_of_its_framework_only() {
    for name in ["axum", "actix", "hyper"] {
        let server = Server::start(name, "memory:", &[]);
        check_under_load(name, &server).await;
    }
}
