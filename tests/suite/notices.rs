//! Security notices that outlive the process which was to send them.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::support::events_of;
use async_trait::async_trait;
use signup::clock::{Clock, ManualClock, SystemClock, Timestamp};
use signup::event::EventKind;
use signup::hash::{FakeEngine, HashPool};
use signup::idempotency::ReplaySecret;
use signup::mail::{Mail, MailError, MailKind, MailQueue, Mailer, MemoryMailer};
use signup::relay::{Delivery, SinkError};
use signup::store::{EventStore as _, SqliteStore};
use signup::verification::EmailCodes;
use signup::{SignupRequest, SignupService};

use crate::support::client::PASSWORD;

const KIM: &str = "kim@x.co";
const ANOTHER: &str = "battery staple";
/// The environment variable that names the child's database.
const CHILD: &str = "SIGNUP_TEST_NOTICES";

/// A mail server that never answers.
struct Silent;

#[async_trait]
impl Mailer for Silent {
    async fn send(&self, _: &Mail) -> Result<(), MailError> {
        std::future::pending().await
    }
}

fn service(
    store: SqliteStore,
    clock: impl Clock,
    mailer: impl Mailer,
) -> SignupService<SqliteStore> {
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let secret = ReplaySecret::new(&[8; 32]).unwrap();
    SignupService::builder(store)
        .jwt_secret(&[7; 32])
        .issuer("https://x.co")
        .clock(clock)
        .hash_pool(Arc::new(pool))
        .with_events()
        .mails(EmailCodes::new(secret, MailQueue::new(mailer)))
        .build()
        .unwrap()
}

async fn taken(_: Delivery) -> Result<(), SinkError> {
    Ok(())
}

/// Waits until each notice is sent, and so deleted.
async fn all_sent(store: &SqliteStore) {
    let all = async || store.due_notices(Timestamp::MAX, 9).await.unwrap();
    let sent = async {
        while !all().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), sent).await.unwrap();
}

/// The process that is killed after it has changed a password.
#[tokio::test]
#[ignore = "runs until another test kills it"]
async fn child() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let store = SqliteStore::connect(&url).await.unwrap();
    let service = service(store, SystemClock, Silent);
    let signup = service.signup(SignupRequest::new(KIM, PASSWORD)).await.unwrap();
    let id = signup.account().id();
    service.accounts().change_password(id, PASSWORD, ANOTHER).await.unwrap();
    println!("changed {id}");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let store = SqliteStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "notices::child", "--ignored", "--nocapture"])
        .env(CHILD, &url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let changed = lines.map_while(Result::ok).any(|line| line.starts_with("changed "));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(changed, "the child has changed no password");

    let clock = ManualClock::new(SystemClock.wall());
    let mailer = Arc::new(MemoryMailer::default());
    let service = service(store.clone(), clock.clone(), Arc::clone(&mailer));
    let relay = service.event_relay(taken);
    // The process that has changed it may still be sending it.
    let kept = async || store.due_notices(Timestamp::MAX, 9).await.unwrap();
    let before = kept().await;
    relay.run_once().await.unwrap();
    assert_eq!((before.len(), kept().await), (1, before));
    clock.advance(Duration::from_mins(10));
    relay.run_once().await.unwrap();
    all_sent(&store).await;
    let sent: Vec<_> =
        mailer.sent().iter().map(|mail| (mail.kind(), mail.to().as_str().to_owned())).collect();
    assert_eq!(sent, [(MailKind::PasswordChanged, KIM.to_owned())]);
    relay.run_once().await.unwrap();
    assert_eq!(mailer.sent().len(), 1, "it was sent twice");
}

#[tokio::test]
async fn a_notice_that_was_sent_is_not_kept() {
    let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
    store.migrate().await.unwrap();
    let mailer = Arc::new(MemoryMailer::default());
    let service = service(store.clone(), SystemClock, Arc::clone(&mailer));
    let signup = service.signup(SignupRequest::new(KIM, PASSWORD)).await.unwrap();
    let id = signup.account().id();
    service.accounts().change_password(id, PASSWORD, ANOTHER).await.unwrap();
    all_sent(&store).await;
    assert_eq!(mailer.sent().len(), 1);
    let last = events_of(&store, id, 9).await.unwrap().pop().unwrap();
    assert_eq!(last.kind(), EventKind::AccountPasswordChanged);
    assert!(!last.to_json().to_string().contains(KIM), "an event has no personal data");
}
