//! Log-ins that are throttled: how many guesses an address meets, and who is spared.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use signup::account::AccountId;
use signup::clock::ManualClock;
use signup::credentials::{CredentialError, Credentials, Login, LoginThrottle};
use signup::hash::{FakeEngine, HashPool};
use signup::idempotency::ReplaySecret;
use signup::limit::ClientIp;
use signup::store::MemoryStore;
use signup::{Accounts, SignupError, SignupRequest, SignupService};
use tokio::task::JoinSet;

use crate::support::backend::NOW;
use crate::support::client::PASSWORD;
use crate::support::redis::Redis;

/// The guesses that the documentation lets through at once, and in a day.
const AT_ONCE: usize = 21;
const IN_A_DAY: usize = 55;
const WRONG: &str = "wrong horse";

struct Host {
    credentials: Credentials,
    accounts: Accounts,
    clock: ManualClock,
    engine: FakeEngine,
    id: AccountId,
}

fn throttle() -> LoginThrottle {
    LoginThrottle::new(ReplaySecret::new(&[8; 32]).unwrap())
}

async fn host(store: Arc<MemoryStore>, throttle: LoginThrottle) -> Host {
    let (clock, engine) = (ManualClock::at_unix(NOW), FakeEngine::default());
    let pool = HashPool::builder().workers(1).queue(20_000).engine(engine.clone());
    let service = SignupService::builder(store)
        .jwt_secret(&[7; 32])
        .clock(clock.clone())
        .hash_pool(Arc::new(pool.deadline(Duration::from_mins(10)).build().unwrap()))
        .login_throttle(throttle)
        .build()
        .unwrap();
    let _ = service.signup(SignupRequest::new("kim@x.co", PASSWORD)).await;
    let accounts = service.accounts();
    let id = accounts.by_email("kim@x.co").await.unwrap().unwrap().account.id().clone();
    Host { credentials: service.credentials(), accounts, clock, engine, id }
}

fn client(number: usize) -> ClientIp {
    let [_, _, high, low] = u32::try_from(number).unwrap().to_be_bytes();
    ClientIp::from(IpAddr::from(Ipv4Addr::new(192, 0, high, low)))
}

/// Returns how long a refused log-in has to wait; `None` if it was tried, and wrong.
#[track_caller]
fn wait(result: Result<Login, CredentialError>) -> Option<Duration> {
    match result.unwrap_err() {
        CredentialError::Rejected => None,
        CredentialError::Failed(SignupError::Busy { retry_after }) => Some(retry_after),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_10_000_guesses_of_1000_clients_the_documented_number_is_hashed() {
    let host = host(Arc::default(), throttle()).await;
    let known = host.credentials.log_in("kim@x.co", PASSWORD, Some(client(0)), None).await.unwrap();
    let cookie = known.trusted_device().unwrap().reveal().to_owned();
    for email in ["kim@x.co", "nobody@x.co"] {
        let hashes = host.engine.hashes();
        let mut crowd = JoinSet::new();
        for number in 0..10_000 {
            let credentials = host.credentials.clone();
            crowd.spawn(async move {
                let from = Some(client(1 + number % 1000));
                wait(credentials.log_in(email, WRONG, from, None).await).is_none()
            });
        }
        let tried = crowd.join_all().await.into_iter().filter(|tried| *tried).count();
        assert_eq!((tried, host.engine.hashes() - hashes), (AT_ONCE, AT_ONCE), "{email}");
    }
    // The owner at a client that is not known waits, at a known one not.
    let stranger = host.credentials.log_in("kim@x.co", PASSWORD, Some(client(2000)), None).await;
    assert_eq!(wait(stranger), Some(Duration::from_secs(1)));
    let refused = host.credentials.verify_password("kim@x.co", PASSWORD).await.unwrap_err();
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
    let from = Some(client(2001));
    let login = host.credentials.log_in("kim@x.co", PASSWORD, from, Some(&cookie)).await.unwrap();
    assert_eq!(login.account_id(), &host.id);
    assert_eq!(login.trusted_device().unwrap().reveal(), cookie);
    // Nobody else is known by that.
    for forged in ["", "kc_", &cookie[..cookie.len() - 1], &cookie.replace("kc_", "kd_")] {
        let refused = host.credentials.log_in("kim@x.co", PASSWORD, from, Some(forged)).await;
        assert!(wait(refused).is_some(), "{forged}");
    }
    let other = host.credentials.log_in("nobody@x.co", PASSWORD, from, Some(&cookie)).await;
    assert!(wait(other).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_of_guessing_is_the_documented_number_of_hashes() {
    let host = host(Arc::default(), throttle()).await;
    let (hashes, mut passed, mut number) = (host.engine.hashes(), Duration::ZERO, 0);
    while passed < Duration::from_hours(24) {
        number += 1;
        let guess = host.credentials.log_in("kim@x.co", WRONG, Some(client(number)), None).await;
        if let Some(wait) = wait(guess) {
            host.clock.advance(wait);
            passed += wait;
        }
    }
    assert_eq!(host.engine.hashes() - hashes, IN_A_DAY);
    host.clock.advance(Duration::from_hours(24));
    assert!(host.credentials.verify_password("kim@x.co", PASSWORD).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_waits_sooner_and_a_success_forgets() {
    let host = host(Arc::default(), throttle()).await;
    let log_in = async |password, from| {
        host.credentials.log_in("kim@x.co", password, Some(client(from)), None).await
    };
    for _ in 0..6 {
        assert_eq!(wait(log_in(WRONG, 1).await), None);
    }
    for seconds in [1, 2, 4, 8] {
        assert_eq!(wait(log_in(WRONG, 1).await), Some(Duration::from_secs(seconds)));
        host.clock.advance(Duration::from_secs(seconds));
        assert_eq!(wait(log_in(WRONG, 1).await), None);
    }
    // Another client does not wait for it.
    assert!(log_in(PASSWORD, 2).await.is_ok());
    host.clock.advance(Duration::from_secs(16));
    assert!(log_in(PASSWORD, 1).await.is_ok());
    for _ in 0..6 {
        assert_eq!(wait(log_in(WRONG, 1).await), None);
    }
    assert!(wait(log_in(WRONG, 1).await).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_device_has_a_budget_of_its_own_and_ends_with_the_tokens() {
    let host = host(Arc::default(), throttle()).await;
    let first = host.credentials.log_in("kim@x.co", PASSWORD, None, None).await.unwrap();
    let cookie = first.trusted_device().unwrap().reveal().to_owned();
    let log_in =
        async |password| host.credentials.log_in("kim@x.co", password, None, Some(&cookie)).await;
    for _ in 0..11 {
        assert_eq!(wait(log_in(WRONG).await), None);
    }
    assert_eq!(wait(log_in(PASSWORD).await), Some(Duration::from_secs(1)));
    // Nor those of another known client.
    let other = host.credentials.log_in("kim@x.co", PASSWORD, None, None).await.unwrap();
    let other = other.trusted_device().unwrap().reveal().to_owned();
    assert!(host.credentials.log_in("kim@x.co", PASSWORD, None, Some(&other)).await.is_ok());
    // Its failures are not those of strangers.
    assert!(host.credentials.verify_password("kim@x.co", PASSWORD).await.is_ok());
    host.clock.advance(Duration::from_secs(1));
    assert!(log_in(PASSWORD).await.is_ok());
    host.credentials.revoke_tokens(&host.id).await.unwrap();
    for _ in 0..AT_ONCE {
        let _ = host.credentials.verify_password("kim@x.co", WRONG).await;
    }
    assert!(wait(log_in(PASSWORD).await).is_some(), "the mark is of an earlier generation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_account_is_throttled_like_any_other() {
    let host = host(Arc::default(), throttle()).await;
    host.accounts.disable(&host.id).await.unwrap();
    let mut answers = Vec::new();
    for (email, password) in
        [("kim@x.co", PASSWORD), ("nobody@x.co", PASSWORD), ("Kim@x.co", WRONG)]
    {
        host.clock.advance(Duration::from_hours(25));
        let hashes = host.engine.hashes();
        let mut waits = Vec::new();
        for _ in 0..30 {
            waits.push(wait(host.credentials.log_in(email, password, None, None).await));
        }
        answers.push((waits, host.engine.hashes() - hashes));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0].1, AT_ONCE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis: scripts/test.sh installs it"]
async fn instances_share_failures_in_redis() {
    let mut redis = Redis::start(&[]).await;
    let store = Arc::new(MemoryStore::default());
    let shared = || {
        let shared = throttle().in_redis(&redis.url(), b"a secret that instances share").unwrap();
        shared.redis_deadline(Duration::from_mins(1))
    };
    let hosts = [host(Arc::clone(&store), shared()).await, host(store, shared()).await];
    let mut tried = 0;
    for number in 0..200 {
        let at = &hosts[number % 2].credentials;
        let guess = at.log_in("kim@x.co", WRONG, Some(client(number)), None).await;
        match wait(guess) {
            None => tried += 1,
            Some(wait) => assert!(wait <= Duration::from_secs(8), "{wait:?}"),
        }
    }
    // Redis has a clock of its own, by which a wait or two may be over.
    assert!((AT_ONCE..AT_ONCE + 4).contains(&tried), "{tried}");
    let names: Vec<String> = redis.command(&["KEYS", "*"]).await;
    assert!(!names.is_empty());
    for name in &names {
        assert!(name.starts_with("signup:count:{") && !name.contains("x.co"), "{name}");
        let life: i64 = redis.command(&["PTTL", name]).await;
        assert!((1..=86_400_000).contains(&life), "{name} lives for {life} ms");
    }
    // Another address does not wait for it.
    let login = hosts[0].credentials.log_in("jim@x.co", WRONG, None, None).await;
    assert_eq!(wait(login), None);
    redis.stop();
    for host in &hosts {
        let guess = host.credentials.log_in("ann@x.co", WRONG, None, None).await;
        assert_eq!(wait(guess), None, "memory decides");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis: scripts/test.sh installs it"]
async fn a_success_forgets_in_redis_and_a_try_that_was_not_judged_is_taken_back() {
    let redis = Redis::start(&[]).await;
    let shared = throttle().in_redis(&redis.url(), b"a secret that instances share").unwrap();
    let host = host(Arc::default(), shared.redis_deadline(Duration::from_mins(1))).await;
    let log_in =
        async |password| host.credentials.log_in("kim@x.co", password, Some(client(1)), None).await;
    // More than one client may fail without a wait, but for the success in between.
    for _ in 0..2 {
        for _ in 0..5 {
            assert_eq!(wait(log_in(WRONG).await), None);
        }
        assert!(log_in(PASSWORD).await.is_ok());
    }
    take_back_what_was_not_judged(&host).await;
}

/// Fails more often than anybody may guess, and logs in.
async fn take_back_what_was_not_judged(host: &Host) {
    let log_in =
        async || host.credentials.log_in("kim@x.co", PASSWORD, Some(client(1)), None).await;
    host.engine.fail(true);
    for _ in 0..2 * AT_ONCE {
        let failed = log_in().await.unwrap_err();
        assert!(matches!(failed, CredentialError::Failed(SignupError::Internal(_))), "{failed:?}");
    }
    host.engine.fail(false);
    assert!(log_in().await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_was_not_judged_is_taken_back() {
    take_back_what_was_not_judged(&host(Arc::default(), throttle()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_ends_the_waits_of_an_account() {
    let host = host(Arc::default(), throttle()).await;
    let log_in =
        async |password| host.credentials.log_in("kim@x.co", password, Some(client(1)), None).await;
    for _ in 0..6 {
        assert_eq!(wait(log_in(WRONG).await), None);
    }
    assert_eq!(wait(log_in(PASSWORD).await), Some(Duration::from_secs(1)));
    host.accounts.unlock(&host.id).await.unwrap();
    assert!(log_in(PASSWORD).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_allows_ten_wrong_passwords_without_a_wait() {
    let host = host(Arc::default(), throttle()).await;
    let hashes = host.engine.hashes();
    for _ in 0..100 {
        host.accounts.change_password(&host.id, WRONG, "another password").await.unwrap_err();
    }
    assert_eq!(host.engine.hashes() - hashes, 11);
    // Nor does it make the owner wait at the log-in.
    assert!(host.credentials.verify_password("kim@x.co", PASSWORD).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_from_before_a_change_gets_no_token_and_no_api_key() {
    let host = host(Arc::default(), throttle()).await;
    let before = host.credentials.log_in("kim@x.co", PASSWORD, None, None).await.unwrap();
    let token = host.credentials.issue_token(&before).await.unwrap();
    let session = host.credentials.verify_token(token.reveal()).await.unwrap();
    let after = host.accounts.change_password(&host.id, PASSWORD, "another one").await.unwrap();
    let refused = host.credentials.issue_token(&before).await;
    assert!(matches!(refused, Err(CredentialError::Rejected)));
    let refused = host.credentials.issue_api_key(&session, None).await;
    assert!(matches!(refused, Err(CredentialError::Rejected)));
    let token = host.credentials.issue_token(&after).await.unwrap();
    assert!(host.credentials.verify_token(token.reveal()).await.is_ok());
    assert!(host.credentials.issue_api_key(&after, None).await.is_ok());
}
