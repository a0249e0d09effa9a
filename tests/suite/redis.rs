//! Rate limits in Redis: shared, and without it as well.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use signup::clock::ManualClock;
use signup::fields::{EmailKey, EmailProfile};
use signup::hash::{FakeEngine, HashPool};
use signup::idempotency::ReplaySecret;
use signup::limit::{ClientIp, Limiter, RateLimits};
use signup::mail::{MailQueue, MemoryMailer};
use signup::store::MemoryStore;
use signup::verification::EmailCodes;
use signup::{SignupError, SignupRequest, SignupService};
use tokio::task::JoinSet;

use crate::support::backend::NOW;
use crate::support::client::{Client, signup};
use crate::support::redis::{Alias, Redis, Silent};
use crate::support::server::Server;

const SECRET: &[u8] = b"a secret that instances share";
/// Where it is Redis that has to decide, on however slow a machine.
const PATIENT: Duration = Duration::from_mins(1);
const CLIENT: &str = "192.0.2.1";

/// An instance of a host's, with a clock of its own.
struct Instance {
    service: SignupService<MemoryStore>,
    clock: ManualClock,
}

impl Instance {
    fn new(url: &str, quota: &str) -> Self {
        Self::at(url, quota, NOW, PATIENT)
    }

    fn at(url: &str, quota: &str, now: u32, deadline: Duration) -> Self {
        let clock = ManualClock::at_unix(now);
        let limits = RateLimits::per_client(quota.parse().unwrap())
            .per_email("1000/h".parse().unwrap())
            .in_redis(url, SECRET)
            .unwrap()
            .redis_deadline(deadline);
        let pool = HashPool::builder().workers(1).queue(2000).engine(FakeEngine::default());
        let pool = pool.deadline(Duration::from_mins(10)).build().unwrap();
        let service = SignupService::builder(MemoryStore::default())
            .jwt_secret(&[7; 32])
            .clock(clock.clone())
            .hash_pool(Arc::new(pool))
            .rate_limits(limits)
            .build()
            .unwrap();
        Self { service, clock }
    }

    /// Returns whether a sign-up passes. A slow or missing Redis must not fail it.
    async fn passes(&self, number: usize) -> bool {
        let request = SignupRequest::new(format!("r{number}@x.co"), "correct horse");
        let request = request.client(ClientIp::from(CLIENT.parse::<IpAddr>().unwrap()));
        match self.service.signup(request).await {
            Ok(_) | Err(SignupError::EmailTaken) => true,
            Err(SignupError::RateLimited(limited)) => {
                assert_eq!(limited.policy, "client");
                false
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Returns how many of `of` requests pass, one after the other.
    async fn passed(&self, of: usize) -> usize {
        let mut passed = 0;
        for number in 0..of {
            passed += usize::from(self.passes(number + 10_000).await);
        }
        passed
    }

    /// The time is over for which a Redis that failed is left alone.
    fn try_again(&self) {
        self.clock.advance(Duration::from_secs(1));
    }
}

// Hazards: Q02 Q20
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis: scripts/test.sh installs it"]
async fn of_1000_at_once_in_three_instances_exactly_the_quota_passes() {
    let redis = Redis::start(&[]).await;
    // Their clocks differ by years: it is the server's that counts.
    let times = [NOW, NOW - 1_000_000, NOW + 1_000_000];
    let instance = |now| Instance::at(&redis.url(), "100/h", now, PATIENT);
    let instances = times.map(|now| Arc::new(instance(now)));
    let mut tasks = JoinSet::new();
    for number in 0..1000 {
        let instance = Arc::clone(&instances[number % 3]);
        tasks.spawn(async move { instance.passes(number).await });
    }
    let passed = tasks.join_all().await.into_iter().filter(|passed| *passed).count();
    assert_eq!(passed, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis: scripts/test.sh installs it"]
async fn of_1000_requests_to_three_servers_exactly_the_quota_passes() {
    let redis = Redis::start(&[]).await;
    let url = redis.url();
    let settings = [
        ("SIGNUP_RATE_LIMIT", "60/h"),
        ("REDIS_URL", &*url),
        ("SIGNUP_REDIS_DEADLINE_MS", "60000"),
        // A slow machine refuses no sign-up that is within the quota.
        ("SIGNUP_HASH_DEADLINE_MS", "60000"),
        ("SIGNUP_HASH_QUEUE", "1000"),
    ];
    let servers = [0; 3].map(|_| Server::start("axum", "memory:", &settings));
    let mut tasks = JoinSet::new();
    for number in 0..1000 {
        let addr = servers[number % 3].addr;
        tasks.spawn(async move {
            let body = signup(&format!("s{number}@x.co")).to_string();
            Client::new(addr).post(body.as_bytes()).await.status
        });
    }
    let statuses = tasks.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 60);
    assert!(statuses.iter().all(|status| matches!(status, 201 | 429)), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis: scripts/test.sh installs it"]
async fn q14_without_redis_memory_decides_until_it_is_there() {
    let mut redis = Redis::stopped(&[]);
    let (one, other) = (Instance::new(&redis.url(), "3/h"), Instance::new(&redis.url(), "3/h"));
    // Not there at the start: each instance has a quota in memory.
    assert_eq!((one.passed(5).await, other.passed(5).await), (3, 3));
    redis.run().await;
    for instance in [&one, &other] {
        instance.try_again();
    }
    // Each instance finds the shared one by itself.
    assert_eq!((one.passed(2).await, other.passed(5).await), (2, 1));
    // And again, when it goes away in the middle and comes back with nothing.
    redis.stop();
    assert_eq!(one.passed(5).await, 0, "memory knows what it has let through");
    redis.run().await;
    for instance in [&one, &other] {
        instance.try_again();
    }
    assert_eq!((one.passed(2).await, other.passed(5).await), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis: scripts/test.sh installs it"]
async fn q14_that_redis_is_lost_and_back_is_told_once_and_nobody_gets_a_500() {
    let mut redis = Redis::start(&[]).await;
    let url = redis.url();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let settings = [
        ("SIGNUP_RATE_LIMIT", "1000/h"),
        ("REDIS_URL", &*url),
        // A server that is gone is gone at once.
        ("SIGNUP_REDIS_DEADLINE_MS", "60000"),
    ];
    let logs = std::fs::File::create(&log).unwrap();
    let server = Server::logging("axum", "memory:", &settings, logs);
    let mut client = Client::new(server.addr);
    let mut number = 0;
    // Signs up, again and again, until the server says so.
    let mut until = async |metric: &str| {
        loop {
            number += 1;
            let body = signup(&format!("l{number}@x.co")).to_string();
            assert_eq!(client.post(body.as_bytes()).await.status, 201);
            let metrics = client.request("GET", "/metrics", &[], b"").await.body;
            if String::from_utf8(metrics).unwrap().lines().any(|line| line == metric) {
                break;
            }
        }
    };
    redis.stop();
    until("signup_limiter_redis_up 0").await;
    redis.run().await;
    until("signup_limiter_redis_up 1").await;
    until("signup_limiter_fallbacks_total 1").await;
    drop(server);
    let logs = std::fs::read_to_string(&log).unwrap();
    let told = |what: &str| logs.lines().filter(|line| line.contains(what)).count();
    assert_eq!(told("Redis rate limits unavailable"), 1, "{logs}");
    assert_eq!(told("Redis rate limits available again"), 1, "{logs}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis: scripts/test.sh installs it"]
async fn q14_a_redis_that_is_slow_is_not_waited_for() {
    let redis = Redis::start(&[]).await;
    let instance = || Instance::at(&redis.url(), "3/h", NOW, Duration::from_millis(50));
    let one = instance();
    assert_eq!(one.passed(2).await, 2);
    // Redis would answer in an hour. Memory has counted the two that have passed.
    let () = redis.command(&["CLIENT", "PAUSE", "3600000", "ALL"]).await;
    assert_eq!(one.passed(5).await, 1);
    one.try_again();
    assert_eq!(one.passed(1).await, 0);
    assert_eq!(instance().passed(4).await, 3, "a new connection is not waited for either");
}

#[tokio::test]
async fn q14_one_request_alone_finds_out_whether_redis_is_back() {
    let redis = Silent::start().await;
    let deadline = Duration::from_millis(500);
    let instance = Arc::new(Instance::at(&redis.url(), "100/h", NOW, deadline));
    while redis.asked() == 0 {
        instance.try_again();
        assert_eq!(instance.passed(1).await, 1);
    }
    let mut asked = redis.asked();
    for _ in 0..2 {
        instance.try_again();
        let mut tasks = JoinSet::new();
        for number in 0..20 {
            let instance = Arc::clone(&instance);
            tasks.spawn(async move { instance.passes(number).await });
        }
        let passed = tasks.join_all().await;
        assert!(passed.iter().all(|passed| *passed), "memory did not let them through");
        let before = std::mem::replace(&mut asked, redis.asked());
        assert!(asked <= before + 1, "{} requests waited for Redis", asked - before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis: scripts/test.sh installs it"]
async fn q17_a_script_that_is_forgotten_is_sent_again() {
    let redis = Redis::start(&[]).await;
    let instance = Instance::new(&redis.url(), "3/h");
    assert_eq!(instance.passed(2).await, 2);
    let () = redis.command(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(instance.passed(5).await, 1);
    // Had it not been, Redis would not know.
    let other = Instance::new(&redis.url(), "3/h");
    assert_eq!(other.passed(5).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis: scripts/test.sh installs it"]
async fn q17_a_failover_is_followed() {
    let mut primary = Redis::start(&[]).await;
    let (host, port) = ("127.0.0.1", primary.addr().port().to_string());
    let replica = Redis::start(&["--replicaof", host, &port]).await;
    let alias = Alias::of(primary.addr()).await;
    let instance = Instance::new(&format!("redis://{}", alias.addr), "5/h");
    assert_eq!(instance.passed(2).await, 2);
    // All has reached the replica when the last thing has: the second email's bucket.
    while replica.command::<i64>(&["DBSIZE"]).await < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    // The name points to the replica, which may not be written to yet: memory.
    alias.point_to(replica.addr());
    alias.cut();
    assert_eq!(instance.passed(7).await, 3);
    // The replica is promoted, and has what the primary had.
    primary.stop();
    let () = replica.command(&["REPLICAOF", "NO", "ONE"]).await;
    instance.try_again();
    assert_eq!(instance.passed(7).await, 3);
    // A connection that is cut between two requests is made anew, and asked again.
    alias.cut();
    let other = Instance::new(&format!("redis://{}", alias.addr), "5/h");
    assert_eq!(other.passed(1).await, 0);
    assert_eq!(instance.passed(1).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis: scripts/test.sh installs it"]
async fn q15_q16_every_key_is_hashed_and_expires_and_a_script_stays_in_its_slot() {
    // A cluster of one refuses a script whose keys are in two slots.
    let redis = Redis::start(&["--cluster-enabled", "yes"]).await;
    let () = redis.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    while !redis.command::<String>(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let url = redis.url();
    let settings = [("SIGNUP_RATE_LIMIT", "2/h"), ("REDIS_URL", &*url)];
    let server = Server::start("axum", "memory:", &settings);
    let mut client = Client::new(server.addr);
    let mut statuses = Vec::new();
    for number in 0..4 {
        let body = signup(&format!("Canary{number}@x.co")).to_string();
        statuses.push(client.post(body.as_bytes()).await.status);
    }
    assert_eq!(statuses, [201, 201, 429, 429]);
    let instance = Instance::new(&redis.url(), "2/h");
    assert_eq!(instance.passed(1).await, 1);

    let keys: Vec<String> = redis.command(&["KEYS", "*"]).await;
    // Requests and sign-ups of the server's one client; sign-ups and the email of the
    // instance's.
    assert_eq!(keys.len(), 4, "{keys:?}");
    for key in &keys {
        let (name, policy) = key.strip_prefix("signup:{").unwrap().split_once("}:").unwrap();
        assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
        assert!(matches!(policy, "requests" | "client" | "email"), "{key}");
        let life: i64 = redis.command(&["PTTL", key]).await;
        assert!((1..=3_600_000).contains(&life), "{key} lives for {life} ms");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis: scripts/test.sh installs it"]
async fn limits_of_another_name_have_buckets_of_their_own_and_a_raised_quota_locks_nobody_out() {
    let redis = Redis::start(&[]).await;
    let limiter = |quota: &str, name| {
        let limits = RateLimits::per_client(quota.parse().unwrap()).redis_prefix(name);
        let limits = limits.in_redis(&redis.url(), SECRET).unwrap().redis_deadline(PATIENT);
        Limiter::new(limits).unwrap()
    };
    let client = Some(ClientIp::from(CLIENT.parse::<IpAddr>().unwrap()));
    let key = EmailKey::parse("a@x.co", EmailProfile::Strict).unwrap();
    assert!(limiter("1/d", "signup").check_signup(client, &key).await.is_ok());
    assert!(limiter("1/d", "signup").check_signup(client, &key).await.is_err());
    assert!(limiter("1/d", "login").check_signup(client, &key).await.is_ok());
    // The stored time is a day ahead; nobody waits longer than one of twenty takes.
    let refused = limiter("20/min", "signup").check_signup(client, &key).await.unwrap_err();
    assert!(refused.retry_after < Duration::from_secs(4), "{refused}");
}

/// A certificate for localhost, and the authority that has signed it, in `folder`.
fn certificates(folder: &std::path::Path) {
    let script = "
        ec='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        openssl req -x509 $ec -keyout ca.key -out ca.pem -days 2 -subj /CN=authority
        openssl req $ec -keyout key.pem -out request.pem -subj /CN=localhost
        printf 'subjectAltName=DNS:localhost' >names
        openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial \\
            -days 2 -extfile names -out certificate.pem";
    let mut shell = std::process::Command::new("sh");
    let output = shell.args(["-ec", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis: scripts/test.sh installs it"]
async fn by_tls_the_systems_authorities_are_trusted_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (tls_port, certificate, key) = (port.to_string(), file("certificate.pem"), file("key.pem"));
    let settings = ["--tls-port", &tls_port, "--tls-auth-clients", "no"];
    let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key];
    let authority = file("ca.pem");
    let settings = [&settings[..], &files, &["--tls-ca-cert-file", &authority]].concat();
    let redis = Redis::start(&settings).await;
    let url = format!("rediss://localhost:{port}");
    // Where the authority is not the system's, memory decides, and Redis has no keys.
    for (trusted, keys) in [("certificate.pem", 0), ("ca.pem", 2)] {
        let trusted = file(trusted);
        let settings = [
            ("SIGNUP_RATE_LIMIT", "1/h"),
            ("REDIS_URL", &*url),
            ("SIGNUP_REDIS_DEADLINE_MS", "60000"),
            ("SSL_CERT_FILE", &*trusted),
            ("RUST_LOG", "off"),
        ];
        let server = Server::start("axum", "memory:", &settings);
        let body = signup("a@x.co").to_string();
        assert_eq!(Client::new(server.addr).post(body.as_bytes()).await.status, 201);
        assert_eq!(Client::new(server.addr).post(body.as_bytes()).await.status, 429);
        let stored: Vec<String> = redis.command(&["KEYS", "*"]).await;
        assert_eq!(stored.len(), keys, "{stored:?}");
    }
}

#[test]
fn what_can_not_work_is_told_at_once_and_without_the_password() {
    let limits = || RateLimits::per_client("1/h".parse().unwrap());
    let short = limits().in_redis("redis://localhost", b"short").unwrap_err();
    assert!(short.to_string().starts_with("short rate limit secret"), "{short}");
    for url in ["localhost", "http://localhost", "redis://u:canary@[::1"] {
        let error = limits().in_redis(url, SECRET).unwrap_err();
        assert!(error.to_string().starts_with("invalid Redis URL"), "{url}: {error}");
        assert!(!error.to_string().contains("canary"));
    }
    let shown = format!("{:?}", limits().in_redis("redis://u:canary@localhost", SECRET).unwrap());
    assert!(!shown.contains("canary") && !shown.contains("share"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis: scripts/test.sh installs it"]
async fn a_counter_that_a_clock_ahead_has_written_ends_with_its_life() {
    let redis = Redis::start(&[]).await;
    let queue = MailQueue::new(MemoryMailer::default());
    let verification = EmailCodes::new(ReplaySecret::new(&[8; 32]).unwrap(), queue);
    let verification = verification.in_redis(&redis.url(), SECRET).unwrap();
    let service = SignupService::builder(MemoryStore::default())
        .jwt_secret(&[7; 32])
        .mails(verification.redis_deadline(PATIENT))
        .build()
        .unwrap();
    let codes = service.account_codes().unwrap();
    let client = Some(ClientIp::from(CLIENT.parse::<IpAddr>().unwrap()));
    let begin = async || codes.begin_password_reset("kim@x.co", client).await;
    for _ in 0..3 {
        begin().await.unwrap();
    }
    begin().await.unwrap_err();
    let names: Vec<String> = redis.command(&["KEYS", "*"]).await;
    assert!(!names.is_empty());
    for name in &names {
        let _: i64 = redis.command(&["PEXPIRE", name, "31536000000"]).await;
    }
    begin().await.unwrap_err();
    // The counter that has refused it ends in time.
    let mut shortest = i64::MAX;
    for name in &names {
        shortest = shortest.min(redis.command(&["PTTL", name]).await);
    }
    assert!((1..=3_600_000).contains(&shortest), "{shortest} ms");
}
