//! The memory of a process after its sign-ups, as a core dump would have it: no password, no
//! API key and no token is left in it.

use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::process::{Command, Stdio};
use std::sync::Arc;

use regex::bytes::Regex;
use signup::clock::ManualClock;
use signup::hash::{HashPool, WorkFactor};
use signup::random::{SecureRandom as _, SeededRandom};
use signup::store::MemoryStore;
use signup::{SignupRequest, SignupService};

use crate::support::backend::NOW;

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
    signup::random::SystemRandom.fill(&mut seed).unwrap();
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
