//! The events of API keys, and that a change of a key is made with the one that tells of it.

use signup::store::EventStore;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use signup::account::AccountId;
use signup::api_key::ApiKeyId;
use signup::clock::Timestamp;
use signup::credentials::{ApiKeyOptions, CredentialError, Credentials};
use signup::idempotency::IdempotencyKey;
use signup::mail::{MailQueue, MemoryMailer};
use signup::store::conformance::dropped_after;
use tokio::task::JoinSet;

use crate::accounts::{Kim, with_events};
use crate::proving::{Proving, with_options};
use crate::support::backend::{Backend, Mode, Options};
use crate::support::faults::{Fault, Faulty};

crate::cases![
    each_change_of_a_key_tells_of_itself,
    a_retried_key_tells_once,
    a_fault_at_any_call_leaves_a_key_with_its_event,
    a_dropped_change_of_a_key_has_told,
    a_revoked_key_is_not_accepted_after_the_answer,
];

const GRACE: Duration = Duration::from_hours(1);
const CHANGES: usize = 3;

impl Proving {
    /// Returns what has happened to the API keys of an account.
    async fn told_of_keys(&self, id: &AccountId) -> Vec<Value> {
        let mut told = self.told(id).await;
        assert_eq!(told.remove(0)[0], "account.created");
        told
    }

    async fn first_key(&self, kim: &Kim) -> ApiKeyId {
        self.app.credentials.verify_api_key(&kim.api_key).await.unwrap().key_id()
    }
}

async fn each_change_of_a_key_tells_of_itself(backend: Backend) {
    let mut proving = with_events(Mode::After, backend).await;
    let kim = proving.kim("kim@x.co").await;
    let credentials = proving.app.service.credentials();
    let now = Timestamp::read(&proving.clock, Timestamp::MAX).unwrap();
    let first = proving.first_key(&kim).await;
    let second = credentials.issue_api_key(&kim.id, Some(GRACE)).await.unwrap();
    let third = credentials.issue_api_key(&kim.id, None).await.unwrap();
    let fourth = credentials.rotate_api_key(&kim.id, &first, GRACE, None).await.unwrap();
    credentials.revoke_api_key(&kim.id, &third.info().id).await.unwrap();
    // What is refused tells nothing.
    let nobody = AccountId::from_store("acc_00000000000000000000");
    for refused in [
        credentials.revoke_api_key(&kim.id, &third.info().id).await,
        credentials.rotate_api_key(&kim.id, &third.info().id, GRACE, None).await.map(drop),
        credentials.issue_api_key(&nobody, None).await.map(drop),
    ] {
        assert!(matches!(refused, Err(CredentialError::NotFound)), "{refused:?}");
    }
    let end = now.plus(GRACE).unwrap().as_millis();
    let id = |issued: &signup::credentials::IssuedApiKey| issued.info().id.to_string();
    let expected = json!([
        ["api_key.added", {"key_id": id(&second), "expires_at": end}],
        ["api_key.added", {"key_id": id(&third), "expires_at": null}],
        ["api_key.rotated", {
            "key_id": id(&fourth), "expires_at": null,
            "old_key_id": first.to_string(), "old_valid_until": end,
        }],
        ["api_key.revoked", {"key_id": id(&third)}],
    ]);
    assert_eq!(json!(proving.told_of_keys(&kim.id).await), expected);
    assert_eq!(proving.told(&nobody).await, [""; 0]);
    for issued in [&second, &fourth] {
        credentials.verify_api_key(issued.key().reveal()).await.unwrap();
    }
}

async fn a_retried_key_tells_once(backend: Backend) {
    let mut proving = with_events(Mode::After, backend).await;
    let kim = proving.kim("kim@x.co").await;
    let key = IdempotencyKey::new("8e03978e-40d5-43dd-bc93-6894a57f9324").unwrap();
    let options = ApiKeyOptions::new().idempotency_key(key);
    let mut crowd = JoinSet::new();
    for _ in 0..16 {
        let (credentials, id) = (proving.app.service.credentials(), kim.id.clone());
        let options = options.clone();
        crowd.spawn(async move {
            let issued = credentials.issue_api_key_with(&id, &options).await.unwrap();
            issued.key().reveal().to_owned()
        });
    }
    let mut keys = crowd.join_all().await;
    keys.dedup();
    assert_eq!(keys.len(), 1);
    assert_eq!(proving.told_of_keys(&kim.id).await.len(), 1);
}

/// Does one of the changes of an account's first key.
async fn change(
    number: usize,
    credentials: &Credentials,
    id: &AccountId,
    key: &ApiKeyId,
) -> Result<(), CredentialError> {
    match number {
        0 => credentials.issue_api_key(id, None).await.map(drop),
        1 => credentials.rotate_api_key(id, key, GRACE, None).await.map(drop),
        _ => credentials.revoke_api_key(id, key).await,
    }
}

/// Returns whether a change has happened and was told; `None` if it is torn.
async fn is_whole(number: usize, proving: &Proving, kim: &Kim) -> Option<bool> {
    let told = proving.told_of_keys(&kim.id).await.len();
    let keys = proving.app.credentials.api_keys(&kim.id).await.unwrap();
    let expiring = keys.iter().filter(|key| key.expires_at.is_some()).count();
    let after = match number {
        0 => (1, 2, 0),
        1 => (1, 2, 1),
        _ => (1, 0, 0),
    };
    match (told, keys.len(), expiring) {
        (0, 1, 0) => Some(false),
        seen if seen == after => Some(true),
        _ => None,
    }
}

async fn a_fault_at_any_call_leaves_a_key_with_its_event(backend: Backend) {
    let mailer = Arc::new(MemoryMailer::default());
    let mails = MailQueue::new(Arc::clone(&mailer));
    let next = Arc::new(std::sync::Mutex::default());
    let planned = Arc::clone(&next);
    let wrap = move |store| -> Arc<dyn EventStore> {
        Arc::new(Faulty { next: planned, ..Faulty::new(store) })
    };
    let options = Options { wrap: Box::new(wrap), events: true, ..Options::default() };
    let mut proving = with_options(Mode::After, backend, mails, mailer, options).await;
    let credentials = proving.app.service.credentials();
    let faults = [Fault::Unavailable, Fault::OutcomeUnknown, Fault::Failed, Fault::LoseAnswer];
    for (at, fault) in (0..2).flat_map(|at| faults.map(|fault| (at, fault))) {
        for number in 0..CHANGES {
            let kim = proving.kim(&format!("{number}.{at}.{fault:?}@x.co")).await;
            let key = proving.first_key(&kim).await;
            next.lock().unwrap().extend((0..at).map(|_| None).chain([Some(fault)]));
            let changed = change(number, &credentials, &kim.id, &key).await;
            next.lock().unwrap().clear();
            let whole = is_whole(number, &proving, &kim).await;
            let whole = whole.unwrap_or_else(|| panic!("{number} is torn by {fault:?} at {at}"));
            assert!(changed.is_err() || whole, "{number} has got lost by {fault:?} at {at}");
        }
    }
}

async fn a_dropped_change_of_a_key_has_told(backend: Backend) {
    let mut proving = with_events(Mode::After, backend).await;
    let credentials = proving.app.service.credentials();
    for number in 0..CHANGES {
        let (mut polls, mut finished) = (0, false);
        while !finished {
            polls += 1;
            let kim = proving.kim(&format!("{number}.{polls}@x.co")).await;
            let key = proving.first_key(&kim).await;
            let changing = change(number, &credentials, &kim.id, &key);
            finished = Box::pin(dropped_after(changing, polls)).await.is_some();
            // What is still under way may end between two of the reads. What is torn stays so.
            let mut looks = 0;
            while is_whole(number, &proving, &kim).await.is_none() {
                looks += 1;
                assert!(looks < 100, "{number} is torn at poll {polls}");
            }
        }
    }
}

/// Verifies a key in a crowd while it is revoked: of the checks that begin after the answer
/// none accepts it, with a cache or without one. A cache that has not heard of it accepts it
/// no longer than for its time to live.
async fn a_revoked_key_is_not_accepted_after_the_answer(backend: Backend) {
    const TIME_TO_LIVE: Duration = Duration::from_mins(1);
    let mut proving = with_events(Mode::After, backend).await;
    let plain = proving.app.service.credentials();
    let cached = proving.app.service.credentials().with_cache(100, TIME_TO_LIVE);
    let elsewhere = proving.app.service.credentials().with_cache(100, TIME_TO_LIVE);
    for (round, credentials) in [&plain, &cached].into_iter().cycle().take(20).enumerate() {
        let kim = proving.kim(&format!("kim{round}@x.co")).await;
        let key = proving.first_key(&kim).await;
        elsewhere.verify_api_key(&kim.api_key).await.unwrap();
        let (revoked, mut crowd) = (tokio::sync::watch::channel(false), JoinSet::new());
        for _ in 0..8 {
            let (credentials, api_key) = (credentials.clone(), kim.api_key.clone());
            let revoked = revoked.1.clone();
            crowd.spawn(async move {
                loop {
                    let was_revoked = *revoked.borrow();
                    let accepted = credentials.verify_api_key(&api_key).await.is_ok();
                    assert!(!(was_revoked && accepted), "a revoked key was accepted");
                    if was_revoked {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        credentials.revoke_api_key(&kim.id, &key).await.unwrap();
        revoked.0.send_replace(true);
        crowd.join_all().await;
        proving.clock.advance(TIME_TO_LIVE);
        assert!(elsewhere.verify_api_key(&kim.api_key).await.is_err(), "past the time to live");
    }
}
