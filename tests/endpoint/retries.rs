//! Retries by `Idempotency-Key`: the same answer for the same request, and for no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::events_of;
use async_trait::async_trait;
use signup::account::AccountId;
use signup::api_key::ApiKeyPrefix;
use signup::clock::ManualClock;
use signup::credentials::{ApiKeyOptions, CredentialError};
use signup::error::{BoxError, ErrorCode};
use signup::event::EventKind;
use signup::hash::{FakeEngine, HashPool};
use signup::http::{Head, Reply, SignupEndpoint};
use signup::idempotency::{IdempotencyKey, ReplaySecret, ReplaySecrets};
use signup::policy::{Attempt, SignupPolicy, Verdict};
use signup::token::{SigningKey, TokenKeys};
use signup::{
    Preparation, Signup, SignupError, SignupRequest, SignupService, SignupServiceBuilder,
};
use tokio::task::JoinSet;

use crate::support::backend::{Backend, NOW, SECRET};
use crate::support::stores::Inspect;

crate::cases![
    a_retry_gets_the_same_answer,
    anything_else_is_the_ordinary_conflict,
    what_is_gone_never_comes_back,
    of_simultaneous_requests_all_get_one_answer,
    a_policy_is_not_asked_again,
    a_rotated_secret_is_accepted_until_it_is_retired,
    the_header_is_checked_at_the_head,
    a_host_that_owns_the_transaction_replays,
    no_secret_is_at_rest,
    an_api_key_is_issued_once,
    an_api_key_is_issued_and_told_once,
    a_rotation_happens_once,
    a_rotation_happens_and_is_told_once,
];

type Store = Arc<dyn Inspect>;

const KEY: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::new(text).unwrap()
}

fn secret(byte: u8) -> ReplaySecret {
    ReplaySecret::new(&[byte; 32]).unwrap()
}

fn builder(store: &Store, clock: &ManualClock) -> SignupServiceBuilder<Store> {
    let pool = HashPool::builder().workers(2).queue(4096).deadline(Duration::from_mins(10));
    let pool = pool.engine(FakeEngine::default()).build().unwrap();
    SignupService::builder(Arc::clone(store))
        .token_keys(TokenKeys::new(SigningKey::hs256(SECRET).unwrap()))
        .clock(clock.clone())
        .hash_pool(Arc::new(pool))
        .retry_safe(secret(1))
}

async fn open(backend: Backend) -> (Store, ManualClock) {
    ((backend.open)().await, ManualClock::at_unix(NOW))
}

fn request() -> SignupRequest {
    let request = SignupRequest::new("Kim@x.co", "correct horse").name("Kim");
    request.idempotency_key(key(KEY))
}

fn is_conflict(answer: &Result<Signup, SignupError>) -> bool {
    matches!(answer, Err(SignupError::EmailTaken))
}

/// Checks that there are `expected` accounts, each with one key.
async fn stores(store: &Store, expected: usize) {
    let (accounts, keys) = (store.account_rows().await, store.api_key_rows().await);
    assert_eq!((accounts.len(), keys.len()), (expected, expected));
}

async fn a_retry_gets_the_same_answer(backend: Backend) {
    let (store, clock) = open(backend).await;
    let service = builder(&store, &clock).build().unwrap();
    let first = service.signup(request()).await.unwrap();
    assert!(!first.is_replayed());
    for wait in [0, 1, 86_398] {
        clock.advance(Duration::from_secs(wait));
        // Another instance, without anything in memory.
        let instance = builder(&store, &clock).build().unwrap();
        let again = instance.signup(request()).await.unwrap();
        assert!(again.is_replayed());
        assert_eq!(again.reveal_json(), first.reveal_json());
    }
    // Another spelling of the address is the same account.
    let spelled = SignupRequest::new("kim@X.co", "correct horse").name("Kim");
    let again = service.signup(spelled.idempotency_key(key(KEY))).await.unwrap();
    assert_eq!(again.reveal_json(), first.reveal_json());
    let auth = service.credentials().verify_api_key(first.api_key().reveal()).await.unwrap();
    assert_eq!(auth.account_id(), first.account().id());
    stores(&store, 1).await;
}

async fn anything_else_is_the_ordinary_conflict(backend: Backend) {
    let (store, clock) = open(backend).await;
    let service = builder(&store, &clock).build().unwrap();
    service.signup(request()).await.unwrap();
    let of = |password: &str| SignupRequest::new("kim@x.co", password);
    for (case, other) in [
        ("no key", of("correct horse").name("Kim")),
        ("another key", request().idempotency_key(key("8e03978e-40d5-43dd-bc93-6894a57f9325"))),
        ("another password", of("correct house").name("Kim").idempotency_key(key(KEY))),
        ("another name", of("correct horse").name("Jim").idempotency_key(key(KEY))),
        ("no name", of("correct horse").idempotency_key(key(KEY))),
    ] {
        assert!(is_conflict(&service.signup(other).await), "{case}");
    }
    // A service that is not retry-safe ignores the key.
    let plain = SignupService::builder(Arc::clone(&store)).jwt_secret(SECRET).build().unwrap();
    assert!(is_conflict(&plain.signup(request()).await));
    // One key with another address is another sign-up.
    let other = SignupRequest::new("jim@x.co", "correct horse").idempotency_key(key(KEY));
    assert!(!service.signup(other).await.unwrap().is_replayed());
    clock.advance(Duration::from_hours(24));
    assert!(is_conflict(&service.signup(request()).await), "a day later");
    stores(&store, 2).await;
}

async fn what_is_gone_never_comes_back(backend: Backend) {
    let (store, clock) = open(backend).await;
    let service = builder(&store, &clock).build().unwrap();
    let credentials = service.credentials();
    // The account is deleted: the next one has nothing of it.
    let first = service.signup(request()).await.unwrap();
    store.delete("kim@x.co").await;
    let second = service.signup(request()).await.unwrap();
    assert!(!second.is_replayed());
    assert_ne!(second.account().id(), first.account().id());
    assert_ne!(second.api_key().reveal(), first.api_key().reveal());
    // Its tokens are revoked.
    credentials.revoke_tokens(second.account().id()).await.unwrap();
    assert!(is_conflict(&service.signup(request()).await));
    // Its key is rotated: it is replayed as long as it is valid.
    store.delete("kim@x.co").await;
    let third = service.signup(request()).await.unwrap();
    let auth = credentials.verify_api_key(third.api_key().reveal()).await.unwrap();
    let grace = Duration::from_mins(1);
    let id = third.account().id();
    credentials.rotate_api_key(id, &auth.key_id(), grace, None).await.unwrap();
    assert!(service.signup(request()).await.unwrap().is_replayed());
    clock.advance(grace);
    assert!(is_conflict(&service.signup(request()).await));
    credentials.revoke_api_key(id, &auth.key_id()).await.unwrap();
    assert!(is_conflict(&service.signup(request()).await));
}

async fn of_simultaneous_requests_all_get_one_answer(backend: Backend) {
    const CROWD: usize = 200;
    let (store, clock) = open(backend).await;
    // Two instances, as two processes have them.
    let instances = [(); 2].map(|()| builder(&store, &clock).build().unwrap());
    let mut crowd = JoinSet::new();
    for number in 0..CROWD {
        let service = instances[number % 2].clone();
        crowd.spawn(async move { service.signup(request()).await });
    }
    let other = instances[0].clone();
    crowd.spawn(async move {
        let request = SignupRequest::new("kim@x.co", "another password").name("Kim");
        other.signup(request.idempotency_key(key(KEY))).await
    });
    let answers = crowd.join_all().await;
    let (created, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert!(refused.iter().all(is_conflict));
    let bodies: std::collections::HashSet<Vec<u8>> =
        created.iter().map(|signup| signup.as_ref().unwrap().reveal_json().to_vec()).collect();
    let first = created.iter().filter(|signup| !signup.as_ref().unwrap().is_replayed()).count();
    assert_eq!((bodies.len(), first), (1, 1));
    // Whoever was first, the other password gets nothing of it.
    assert!(matches!(created.len(), 1 | CROWD), "{}", created.len());
    stores(&store, 1).await;
}

/// A captcha that is good once.
#[derive(Clone, Default)]
struct Once(Arc<AtomicBool>);

#[async_trait]
impl SignupPolicy for Once {
    async fn evaluate(&self, _: &Attempt<'_>) -> Result<Verdict, BoxError> {
        let is_used_up = self.0.swap(true, Ordering::SeqCst);
        let refusal = Verdict::Refuse {
            code: ErrorCode::ValidationError,
            message: "The captcha is used up".into(),
        };
        Ok(if is_used_up { refusal } else { Verdict::Allow })
    }
}

/// Stores the first sign-up while the second one is judged, and refuses that.
struct Meanwhile(SignupService<Store>);

#[async_trait]
impl SignupPolicy for Meanwhile {
    async fn evaluate(&self, _: &Attempt<'_>) -> Result<Verdict, BoxError> {
        self.0.signup(request()).await?;
        let message = "The invitation is used up".into();
        Ok(Verdict::Refuse { code: ErrorCode::ValidationError, message })
    }
}

async fn a_policy_is_not_asked_again(backend: Backend) {
    let (store, clock) = open(backend).await;
    let service = builder(&store, &clock).policy(Once::default()).build().unwrap();
    let first = service.signup(request()).await.unwrap();
    let again = service.signup(request()).await.unwrap();
    assert_eq!(again.reveal_json(), first.reveal_json());
    let other = SignupRequest::new("jim@x.co", "correct horse").idempotency_key(key(KEY));
    assert!(matches!(service.signup(other).await, Err(SignupError::Refused { .. })));

    store.delete("kim@x.co").await;
    let first = builder(&store, &clock).build().unwrap();
    let judged = builder(&store, &clock).policy(Meanwhile(first.clone())).build().unwrap();
    let replayed = judged.signup(request()).await.unwrap();
    assert_eq!(replayed.reveal_json(), first.signup(request()).await.unwrap().reveal_json());
    stores(&store, 1).await;
}

async fn a_rotated_secret_is_accepted_until_it_is_retired(backend: Backend) {
    let (store, clock) = open(backend).await;
    let (old, new) = (secret(1).version(), secret(2).version());
    let secrets = ReplaySecrets::from(secret(1));
    let keys = TokenKeys::new(SigningKey::hs256(SECRET).unwrap());
    let service = builder(&store, &clock)
        .retry_safe(secrets.clone())
        .token_keys(keys.clone())
        .build()
        .unwrap();
    let first = service.signup(request()).await.unwrap();
    secrets.accept(secret(2)).unwrap();
    secrets.promote(new).unwrap();
    let again = service.signup(request()).await.unwrap();
    assert_eq!(again.reveal_json(), first.reveal_json());
    // Another signing key signs the same claims; another prefix finds the same key.
    let other = SigningKey::ed25519(&[7; 32]);
    let other_id = other.key_id().to_owned();
    keys.add(other).unwrap();
    keys.promote(&other_id).unwrap();
    let again = service.signup(request()).await.unwrap();
    assert_eq!(again.api_key().reveal(), first.api_key().reveal());
    let verify = |signup: &Signup| service.token_verifier().verify(signup.token().reveal());
    let (one, other) = (verify(&first).unwrap(), verify(&again).unwrap());
    assert_eq!((one.id(), one.issued_at()), (other.id(), other.issued_at()));
    let acme = ApiKeyPrefix::new("acme", "live").unwrap();
    let renamed = builder(&store, &clock).api_key_prefix(acme.clone());
    let renamed = renamed.accept_api_key_prefix(ApiKeyPrefix::default()).build().unwrap();
    let again = renamed.signup(request()).await.unwrap();
    assert_eq!(again.api_key().reveal(), first.api_key().reveal());
    let forgotten = builder(&store, &clock).api_key_prefix(acme).build().unwrap();
    assert!(is_conflict(&forgotten.signup(request()).await));
    secrets.retire(old).unwrap();
    assert!(is_conflict(&service.signup(request()).await));
}

async fn answer(endpoint: &SignupEndpoint<Store>, keys: &[&str], body: &str) -> Reply {
    let mut headers = vec![("content-type", b"application/json".as_slice())];
    headers.extend(keys.iter().map(|key| ("Idempotency-Key", key.as_bytes())));
    let ticket = match endpoint.head(&Head::new("POST", headers)).await {
        Ok(ticket) => ticket,
        Err(refused) => return refused,
    };
    let mut read = ticket.body();
    read.push(body.as_bytes()).unwrap();
    endpoint.answer(ticket, read).await
}

fn replayed(reply: &Reply) -> Option<&str> {
    reply.headers().find(|(name, _)| *name == "idempotency-replayed").map(|(_, value)| value)
}

async fn the_header_is_checked_at_the_head(backend: Backend) {
    let (store, clock) = open(backend).await;
    let endpoint = SignupEndpoint::new(builder(&store, &clock).build().unwrap());
    let body = r#"{"email":"kim@x.co","password":"correct horse"}"#;
    let issue = |reply: &Reply| {
        assert_eq!(reply.status(), 400);
        let json: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
        assert_eq!(json["error"]["code"], "VALIDATION_ERROR");
        assert_eq!(json["error"]["message"], "Invalid request body");
        json["error"]["details"]["issues"].clone()
    };
    let of = |message: &str| serde_json::json!([{"path": ["Idempotency-Key"], "message": message}]);
    let malformed = of("Must be 16 to 255 visible ASCII characters");
    let joined = format!("{KEY}, {KEY}");
    for refused in [&["short"][..], &[KEY, KEY], &[&joined], &["\"unterminated-0123456789"], &[""]]
    {
        assert_eq!(issue(&answer(&endpoint, refused, body).await), malformed, "{refused:?}");
    }
    let quoted = format!("\"{KEY}\"");
    let first = answer(&endpoint, &[KEY], body).await;
    assert_eq!((first.status(), replayed(&first)), (201, None));
    let again = answer(&endpoint, &[&quoted], body).await;
    assert_eq!((again.status(), replayed(&again)), (201, Some("true")));
    assert_eq!(again.body(), first.body());
    assert_eq!(answer(&endpoint, &[], body).await.status(), 409);

    let required = builder(&store, &clock).require_idempotency_key().build().unwrap();
    let without = SignupRequest::new("kim@x.co", "short");
    let refused = required.signup(without).await.unwrap_err();
    assert_eq!(refused.issues()[0].message, "Required");
    let endpoint = SignupEndpoint::new(required);
    assert_eq!(issue(&answer(&endpoint, &[], body).await), of("Required"));
    assert_eq!(answer(&endpoint, &[KEY], body).await.status(), 201);
    let plain = SignupService::builder(Arc::clone(&store)).jwt_secret(SECRET);
    let plain = SignupEndpoint::new(plain.build().unwrap());
    assert_eq!(answer(&plain, &["short", "short"], body).await.status(), 409);
    stores(&store, 1).await;
}

async fn a_host_that_owns_the_transaction_replays(backend: Backend) {
    let (store, clock) = open(backend).await;
    let service = builder(&store, &clock).build().unwrap();
    let Preparation::New(loser) = service.prepare_or_replay(request()).await.unwrap() else {
        panic!("nobody was first");
    };
    let first = service.signup(request()).await.unwrap();
    let replayed = loser.replay().await.unwrap();
    assert_eq!(replayed.reveal_json(), first.reveal_json());
    let Preparation::Replayed(again) = service.prepare_or_replay(request()).await.unwrap() else {
        panic!("it was stored");
    };
    assert_eq!(again.reveal_json(), first.reveal_json());
    assert!(matches!(service.prepare(request()).await, Err(SignupError::EmailTaken)));
}

async fn no_secret_is_at_rest(backend: Backend) {
    let (store, clock) = open(backend).await;
    let service = builder(&store, &clock).build().unwrap();
    let first = service.signup(request()).await.unwrap();
    service.signup(request()).await.unwrap();
    let bytes = store.bytes().await;
    let holds = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds(first.account().id().as_str()), "the scan finds what is stored");
    let signature = first.token().reveal().rsplit('.').next().unwrap();
    for secret in [first.api_key().reveal(), KEY, "correct horse", signature] {
        assert!(!holds(secret));
    }
}

async fn an_api_key_is_issued_once(backend: Backend) {
    let (store, clock) = open(backend).await;
    drop(issues_once(builder(&store, &clock).build().unwrap(), clock).await);
}

async fn an_api_key_is_issued_and_told_once(backend: Backend) {
    let (store, clock) = open(backend).await;
    let id = issues_once(builder(&store, &clock).with_events().build().unwrap(), clock).await;
    let told = events_of(&store, &id, 100).await.unwrap();
    let of_keys = told.iter().filter(|event| event.kind() == EventKind::ApiKeyAdded).count();
    assert_eq!(of_keys, 2, "{told:?}");
}

async fn issues_once(service: SignupService<Store>, clock: ManualClock) -> AccountId {
    let signup = service.signup(request()).await.unwrap();
    let (credentials, id) = (service.credentials(), signup.account().id().clone());
    let hour = Duration::from_hours(1);
    let named = |name| ApiKeyOptions::new().idempotency_key(key(KEY)).lifetime(hour).name(name);
    let options = || named("deploy \u{1f680}").unwrap();
    let first = credentials.issue_api_key_with(&id, &options()).await.unwrap();
    assert_eq!(first.info().name.as_deref(), Some("deploy \u{1f680}"));
    assert_ne!(first.key().reveal(), signup.api_key().reveal());
    let mut crowd = JoinSet::new();
    for _ in 0..20 {
        let (credentials, id, options) = (credentials.clone(), id.clone(), options());
        crowd.spawn(async move { credentials.issue_api_key_with(&id, &options).await });
    }
    for again in crowd.join_all().await {
        let again = again.unwrap();
        assert_eq!(again.key().reveal(), first.key().reveal());
        assert_eq!(again.info(), first.info());
    }
    assert_eq!(credentials.api_keys(&id).await.unwrap().len(), 2);
    // Without one that was first.
    let mut crowd = JoinSet::new();
    for _ in 0..20 {
        let (credentials, id) = (credentials.clone(), id.clone());
        let options = ApiKeyOptions::new().idempotency_key(key("another-key-0123456789"));
        crowd.spawn(async move { credentials.issue_api_key_with(&id, &options).await });
    }
    let answers = crowd.join_all().await.into_iter();
    let keys: std::collections::HashSet<_> =
        answers.map(|issued| issued.unwrap().key().reveal().to_owned()).collect();
    assert_eq!(keys.len(), 1);
    let longer = options().lifetime(2 * hour);
    let refused = credentials.issue_api_key_with(&id, &longer).await.unwrap_err();
    assert!(matches!(refused, CredentialError::Conflict));
    assert_eq!(refused.code(), ErrorCode::Conflict);
    let renamed = named("another name").unwrap();
    let refused = credentials.issue_api_key_with(&id, &renamed).await.unwrap_err();
    assert!(matches!(refused, CredentialError::Conflict), "another name");
    clock.advance(hour);
    let refused = credentials.issue_api_key_with(&id, &options()).await.unwrap_err();
    assert!(matches!(refused, CredentialError::Conflict), "it has expired");
    let nobody: AccountId = "acc_nobody".parse().unwrap();
    let refused = credentials.issue_api_key_with(&nobody, &options()).await.unwrap_err();
    assert!(matches!(refused, CredentialError::NotFound));
    id
}

async fn a_rotation_happens_once(backend: Backend) {
    let (store, clock) = open(backend).await;
    drop(rotates_once(builder(&store, &clock).build().unwrap()).await);
}

async fn a_rotation_happens_and_is_told_once(backend: Backend) {
    let (store, clock) = open(backend).await;
    let id = rotates_once(builder(&store, &clock).with_events().build().unwrap()).await;
    let told = events_of(&store, &id, 100).await.unwrap();
    let of_keys = told.iter().filter(|event| event.kind() == EventKind::ApiKeyRotated).count();
    assert_eq!(of_keys, 2, "{told:?}");
}

async fn rotates_once(service: SignupService<Store>) -> AccountId {
    let signup = service.signup(request()).await.unwrap();
    let (credentials, id) = (service.credentials(), signup.account().id().clone());
    let old = credentials.verify_api_key(signup.api_key().reveal()).await.unwrap().key_id();
    let options = || ApiKeyOptions::new().idempotency_key(key(KEY));
    let mut crowd = JoinSet::new();
    for _ in 0..20 {
        let (credentials, id) = (credentials.clone(), id.clone());
        let options = options();
        let rotate = async move {
            credentials.rotate_api_key_with(&id, &old, Duration::ZERO, &options).await
        };
        crowd.spawn(rotate);
    }
    let answers = crowd.join_all().await.into_iter();
    let keys: std::collections::HashSet<_> =
        answers.map(|issued| issued.unwrap().key().reveal().to_owned()).collect();
    assert_eq!(keys.len(), 1);
    assert_eq!(credentials.api_keys(&id).await.unwrap().len(), 2);
    // The same idempotency key for another API key is another rotation.
    let new = credentials.rotate_api_key_with(&id, &old, Duration::ZERO, &options()).await.unwrap();
    let new_id = new.info().id;
    let next = credentials.rotate_api_key_with(&id, &new_id, Duration::ZERO, &options()).await;
    assert_ne!(next.unwrap().key().reveal(), new.key().reveal());
    // The key of the first rotation has ended with that.
    let late = credentials.rotate_api_key_with(&id, &old, Duration::ZERO, &options()).await;
    assert!(matches!(late, Err(CredentialError::Conflict)), "{late:?}");
    id
}
