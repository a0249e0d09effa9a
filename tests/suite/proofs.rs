//! Proofs of addresses at scale: sign-ups that nobody completes, servers that are killed,
//! and instances that share their counters.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use signup::clock::ManualClock;
use signup::hash::{FakeEngine, HashPool};
use signup::idempotency::ReplaySecret;
use signup::limit::ClientIp;
use signup::mail::{Mail, MailError, MailQueue, Mailer, MemoryMailer};
use signup::store::conformance::Harness as _;
use signup::store::{MemoryStore, SqliteStore};
use signup::verification::EmailCodes;
use signup::{SignupError, SignupRequest, SignupService};
use tokio::task::JoinSet;

use crate::server::{Database, SERVERS};
use crate::support::backend::NOW;
use crate::support::client::{Client, JSON, PASSWORD, signup};
use crate::support::redis::Redis;
use crate::support::rounds;
use crate::support::server::{Server, command};

/// A mailer of mails that nobody reads.
struct Unread;

#[async_trait]
impl Mailer for Unread {
    async fn send(&self, _: &Mail) -> Result<(), MailError> {
        Ok(())
    }
}

fn secret() -> ReplaySecret {
    ReplaySecret::new(&[8; 32]).unwrap()
}

fn pool() -> Arc<HashPool> {
    let pool = HashPool::builder().workers(1).queue(1000).engine(FakeEngine::default());
    Arc::new(pool.deadline(Duration::from_mins(10)).build().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_ups_that_nobody_completes_leave_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = SqliteStore::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    store.migrate().await.unwrap();
    let mails = MailQueue::new(Unread).capacity(10_000);
    let service = SignupService::builder(store.clone())
        .jwt_secret(&[7; 32])
        .hash_pool(pool())
        .verify_first(EmailCodes::new(secret(), mails.clone()))
        .build()
        .unwrap();
    let changes = || async {
        let query = sqlx::query_scalar::<_, i64>("PRAGMA data_version");
        query.fetch_one(&mut *store.pool().acquire().await.unwrap()).await.unwrap()
    };
    let before = (changes().await, std::fs::metadata(&path).unwrap().len());
    // All of them would fill any table that they were stored in.
    let sign_ups = rounds(2_000, 20_000);
    let mut crowd = JoinSet::new();
    for task in 0..10 {
        let service = service.clone();
        crowd.spawn(async move {
            for number in 0..sign_ups / 10 {
                let request = SignupRequest::new(format!("u{task}.{number}@x.co"), PASSWORD);
                service.verification().first().unwrap().begin(request).await.unwrap();
            }
        });
    }
    crowd.join_all().await;
    mails.drained().await;
    assert_eq!(mails.stats().sent, u64::try_from(sign_ups).unwrap());
    assert_eq!((changes().await, std::fs::metadata(&path).unwrap().len()), before);
    assert!(store.account_rows().await.is_empty() && store.api_key_rows().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_a_proof_that_kill_9_has_taken_comes_again() {
    kill_repeatedly(Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn the_answer_to_a_proof_that_kill_9_has_taken_comes_again_on_postgres() {
    kill_repeatedly(Database::postgres("proven").await).await;
}

/// A server that proves addresses first and prints its codes into a file.
fn proving(at: usize, database: &Database, logs: &Path) -> Server {
    let mut command =
        command(SERVERS[at % 2], &database.url(), &[("SIGNUP_VERIFICATION", "first")]);
    command.stderr(File::create(logs).unwrap());
    Server::listening(command)
}

/// Returns the code that was mailed to this address.
async fn code(logs: &Path, address: &str) -> String {
    let mail = format!("mail to {address}: Your code\n");
    loop {
        let printed = std::fs::read_to_string(logs).unwrap();
        let code = printed.split_once(&mail).and_then(|(_, text)| text.split("\n\n").nth(1));
        // Printed whole: what follows the code is there, too.
        if let Some(code) = code.filter(|code| code.len() == 9) {
            return code.to_owned();
        }
        tokio::task::yield_now().await;
    }
}

async fn verify(client: &mut Client, body: &str) -> Option<String> {
    let path = "/auth/signup/verify";
    let request = crate::support::client::request("POST", path, &[JSON], body.as_bytes());
    let answer = client.try_send(&request).await?;
    Some(answer.data()["api_key"].as_str().unwrap().to_owned())
}

/// Kills the adapters' servers in turn while they complete sign-ups, 8 times, or 50 times in a
/// full run, and repeats all requests.
async fn kill_repeatedly(database: Database) {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("stderr");
    let mut all = HashMap::new();
    for round in 0..rounds(8, 50) {
        let server = proving(round, &database, &logs);
        let mut bodies = Vec::new();
        for number in 0..8 {
            let email = format!("r{round}n{number}@x.co");
            let body = signup(&email).to_string();
            let pending = Client::new(server.addr).post(body.as_bytes()).await;
            assert_eq!(pending.status, 202, "{pending:?}");
            let ticket = pending.json()["data"]["ticket"].clone();
            let code = code(&logs, &email).await;
            bodies.push((email, json!({"ticket": ticket, "code": code}).to_string()));
        }
        let mut proofs = JoinSet::new();
        for (email, body) in bodies.clone() {
            let mut client = Client::new(server.addr);
            proofs.spawn(async move { (email, verify(&mut client, &body).await) });
        }
        // Killed before, between and after their answers.
        let mut answered = HashMap::new();
        for _ in 0..round % 9 {
            if let Some(Ok((email, Some(key)))) = proofs.join_next().await {
                answered.insert(email, key);
            }
        }
        server.kill();
        while let Some(proof) = proofs.join_next().await {
            if let (email, Some(key)) = proof.unwrap() {
                answered.insert(email, key);
            }
        }
        database.check().await;
        let server = proving(round, &database, &logs);
        for (email, body) in bodies {
            let again = verify(&mut Client::new(server.addr), &body).await.unwrap();
            assert!(answered.get(&email).is_none_or(|key| *key == again), "{email}");
            all.insert(email, again);
        }
        server.kill();
    }
    assert_eq!(database.check().await.len(), all.len());
    database.verify(all.values()).await;
}

/// An instance of a host's that shares its counters.
struct Instance {
    service: SignupService<MemoryStore>,
    mailer: Arc<MemoryMailer>,
    mails: MailQueue,
}

impl Instance {
    fn new(url: &str) -> Self {
        let mailer = Arc::new(MemoryMailer::default());
        let mails = MailQueue::new(Arc::clone(&mailer));
        let verification = EmailCodes::new(secret(), mails.clone())
            .in_redis(url, b"a secret that instances share")
            .unwrap()
            .redis_deadline(Duration::from_mins(1));
        let service = SignupService::builder(MemoryStore::default())
            .jwt_secret(&[7; 32])
            .clock(ManualClock::at_unix(NOW))
            .hash_pool(pool())
            .verify_first(verification)
            .build()
            .unwrap();
        Self { service, mailer, mails }
    }

    async fn begin(&self, email: &str) -> String {
        self.try_begin(email).await.unwrap()
    }

    async fn try_begin(&self, email: &str) -> Result<String, SignupError> {
        let client = ClientIp::from(std::net::IpAddr::from([192, 0, 2, 1]));
        let request = SignupRequest::new(email, PASSWORD).client(client);
        let pending = self.service.verification().first().unwrap().begin(request).await?;
        self.mails.drained().await;
        Ok(pending.reveal_ticket().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis: scripts/test.sh installs it"]
async fn instances_share_tries_and_mails_in_redis() {
    let mut redis = Redis::start(&[]).await;
    let instances = [Instance::new(&redis.url()), Instance::new(&redis.url())];
    let ticket = instances[0].begin("kim@x.co").await;
    let code = instances[0].mailer.last_code("kim@x.co").unwrap();
    for number in 0..5 {
        let begun = instances[number % 2].try_begin("kim@x.co").await;
        assert!(matches!((number, begun), (0 | 1, Ok(_)) | (_, Err(SignupError::Busy { .. }))));
    }
    let sent: usize = instances.iter().map(|at| at.mailer.sent().len()).sum();
    assert_eq!(sent, 3, "mails of one client to an address");
    // Right codes take no try away, wherever they are given.
    for number in 0..12 {
        let completed = instances[number % 2]
            .service
            .verification()
            .first()
            .unwrap()
            .complete(&ticket, &code)
            .await;
        assert!(completed.is_ok(), "{completed:?}");
    }
    let other = instances[0].begin("jim@x.co").await;
    for number in 0..10 {
        if number == 9 {
            // The last try counts for a whole life of a code, too.
            let names: Vec<String> = redis.command(&["KEYS", "*"]).await;
            for name in names {
                let _: i64 = redis.command(&["PEXPIRE", &name, "60000"]).await;
            }
        }
        let refused = instances[number % 2]
            .service
            .verification()
            .first()
            .unwrap()
            .complete(&other, "00000000")
            .await;
        assert!(matches!(refused, Err(SignupError::Invalid(_))), "{refused:?}");
    }
    let code = instances[0].mailer.last_code("jim@x.co").unwrap();
    for instance in &instances {
        let Err(SignupError::Busy { retry_after }) =
            instance.service.verification().first().unwrap().complete(&other, &code).await
        else {
            panic!("an eleventh try");
        };
        assert!(retry_after <= Duration::from_hours(1) && retry_after > Duration::from_mins(50));
    }
    let names: Vec<String> = redis.command(&["KEYS", "*"]).await;
    let mut all = String::new();
    for name in &names {
        let life: i64 = redis.command(&["PTTL", name]).await;
        assert!((1..=3_600_000).contains(&life), "{name} lives for {life} ms");
        writeln!(all, "{name}").unwrap();
    }
    assert!(!names.is_empty() && !all.contains("x.co"), "{all}");
    // Without it memory decides, which has counted what it has seen.
    redis.stop();
    let (ticket, instance) = (instances[1].begin("ann@x.co").await, &instances[1]);
    assert_eq!(instance.mailer.sent().last().unwrap().to().as_str(), "ann@x.co");
    for _ in 0..10 {
        let refused =
            instance.service.verification().first().unwrap().complete(&ticket, "00000000").await;
        assert!(matches!(refused, Err(SignupError::Invalid(_))), "{refused:?}");
    }
    let refused =
        instance.service.verification().first().unwrap().complete(&ticket, "00000000").await;
    assert!(matches!(refused, Err(SignupError::Busy { .. })), "{refused:?}");
}
