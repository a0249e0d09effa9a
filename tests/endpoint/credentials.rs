//! Hazards 11, 12 and 3 after the sign-up: what it handed out is verified, rotated
//! and taken back, on every store.

use std::time::Duration;

use signup::account::AccountId;
use signup::clock::Clock;
use signup::credentials::{CredentialError, Credentials};
use signup::hash::{HashPool, Pepper, WorkFactor};
use signup::{SignupRequest, SignupService};

use crate::support::backend::{App, Backend, NOW, Options, SECRET};
use crate::support::client;

crate::cases![
    [F16, K12, K14] what_a_sign_up_answers_verifies_at_once,
    [K06, K09] a_revoked_or_expired_key_is_refused_at_once,
    [K10, W25] nothing_of_a_deleted_account_verifies,
    a_rotated_key_is_good_for_its_time_of_grace,
    [W35] an_ended_token_is_refused,
    one_answer_for_every_cause_of_a_refused_log_in,
    a_hash_of_another_work_factor_or_pepper_is_renewed,
];

/// An account, its token and its key.
async fn signed_up(app: &mut App, email: &str) -> (AccountId, String, String) {
    let response = app.signup(email).await;
    assert_eq!(response.status, 201);
    let data = response.json()["data"].clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    (text(&data["account"]["id"]).parse().unwrap(), text(&data["token"]), text(&data["api_key"]))
}

fn is_rejected<T>(answer: Result<T, CredentialError>) {
    let error = answer.err().expect("it was accepted");
    assert!(matches!(error, CredentialError::Rejected), "{error:?}");
}

async fn what_a_sign_up_answers_verifies_at_once(backend: Backend) {
    let mut app = backend.app().await;
    for number in 0..10 {
        let email = format!("k{number}@x.co");
        let (account, token, key) = signed_up(&mut app, &email).await;
        let by_key = app.credentials.verify_api_key(&key).await.unwrap();
        assert_eq!(by_key.account_id(), &account);
        let stored = by_key.account().await.unwrap().account;
        assert_eq!((stored.email().as_str(), stored.plan().as_str()), (&*email, "trial"));
        let by_token = app.credentials.verify_token(&token).await.unwrap();
        assert_eq!(by_token.account().id(), &account);
        assert_eq!(by_token.account().plan().as_str(), "trial");
        let keys = app.credentials.api_keys(&account).await.unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!((keys[0].id, &*keys[0].last_four), (by_key.key_id(), &key[key.len() - 4..]));
        assert!(key.starts_with(&keys[0].prefix));
        let by_password = app.credentials.verify_password(&email, client::PASSWORD).await;
        assert_eq!(by_password.unwrap(), account);
    }
}

async fn a_revoked_or_expired_key_is_refused_at_once(backend: Backend) {
    let clock = signup::clock::ManualClock::at_unix(NOW);
    let options = Options { clock: std::sync::Arc::new(clock.clone()), ..Options::default() };
    let mut app = backend.with(options).await;
    let (account, _, key) = signed_up(&mut app, "a@x.co").await;
    for credentials in [app.credentials.clone(), app.credentials.with_cache(100, Duration::MAX)] {
        let almost = Duration::from_millis(3_599_999);
        let short =
            credentials.issue_api_key(&account, Some(Duration::from_hours(1))).await.unwrap();
        let long = credentials.issue_api_key(&account, None).await.unwrap();
        for key in [&key, short.key().reveal(), long.key().reveal()] {
            assert_eq!(credentials.verify_api_key(key).await.unwrap().account_id(), &account);
        }
        clock.advance(almost);
        assert!(credentials.verify_api_key(short.key().reveal()).await.is_ok());
        clock.advance(Duration::from_millis(1));
        is_rejected(credentials.verify_api_key(short.key().reveal()).await);

        credentials.revoke_api_key(&account, &long.info().id).await.unwrap();
        is_rejected(credentials.verify_api_key(long.key().reveal()).await);
        let again = credentials.revoke_api_key(&account, &long.info().id).await;
        assert!(matches!(again, Err(CredentialError::NotFound)));
        assert!(credentials.verify_api_key(&key).await.is_ok());
        let hex = app.store.api_key_rows().await[0]
            .digest
            .iter()
            .fold(String::new(), |hex, octet| format!("{hex}{octet:02x}"));
        is_rejected(credentials.verify_api_key(&hex).await);
    }
}

async fn nothing_of_a_deleted_account_verifies(backend: Backend) {
    let mut app = backend.app().await;
    let (account, token, key) = signed_up(&mut app, "a@x.co").await;
    let (_, _, other_key) = signed_up(&mut app, "b@x.co").await;
    let cached = app.credentials.clone().with_cache(100, Duration::MAX);
    assert!(cached.verify_api_key(&key).await.is_ok());
    app.store.delete_account(&account).await;
    is_rejected(app.credentials.verify_api_key(&key).await);
    is_rejected(app.credentials.verify_token(&token).await);
    is_rejected(app.credentials.verify_password("a@x.co", client::PASSWORD).await);
    assert!(matches!(app.credentials.account(&account).await, Err(CredentialError::NotFound)));
    let added = app.credentials.issue_api_key(&account, None).await;
    assert!(matches!(added, Err(CredentialError::NotFound)));
    assert!(app.credentials.verify_api_key(&other_key).await.is_ok());
    // The cache learns of the host's own changes when it is emptied, or in time.
    assert!(cached.verify_api_key(&key).await.is_ok());
    cached.forget_cached();
    is_rejected(cached.verify_api_key(&key).await);
}

async fn a_rotated_key_is_good_for_its_time_of_grace(backend: Backend) {
    let clock = signup::clock::ManualClock::at_unix(NOW);
    let options = Options { clock: std::sync::Arc::new(clock.clone()), ..Options::default() };
    let mut app = backend.with(options).await;
    let (account, _, key) = signed_up(&mut app, "a@x.co").await;
    let (other, _, _) = signed_up(&mut app, "b@x.co").await;
    let credentials = app.credentials.with_cache(100, Duration::MAX);
    let old = credentials.verify_api_key(&key).await.unwrap().key_id();
    let grace = Duration::from_mins(10);
    let stranger = credentials.rotate_api_key(&other, &old, grace, None).await;
    assert!(matches!(stranger, Err(CredentialError::NotFound)));

    let new = credentials.rotate_api_key(&account, &old, grace, None).await.unwrap();
    clock.advance(Duration::from_millis(599_999));
    for key in [&key, new.key().reveal()] {
        assert_eq!(credentials.verify_api_key(key).await.unwrap().account_id(), &account);
    }
    clock.advance(Duration::from_millis(1));
    is_rejected(credentials.verify_api_key(&key).await);
    assert!(credentials.verify_api_key(new.key().reveal()).await.is_ok());
    let late = credentials.rotate_api_key(&account, &old, grace, None).await;
    assert!(matches!(late, Err(CredentialError::NotFound)), "an expired key is not rotated");
    assert_eq!(credentials.api_keys(&account).await.unwrap().len(), 2);
    // Without a grace period the old key is invalid at once.
    let newest =
        credentials.rotate_api_key(&account, &new.info().id, Duration::ZERO, None).await.unwrap();
    is_rejected(credentials.verify_api_key(new.key().reveal()).await);
    assert!(credentials.verify_api_key(newest.key().reveal()).await.is_ok());
}

async fn an_ended_token_is_refused(backend: Backend) {
    let clock = signup::clock::ManualClock::at_unix(NOW);
    let options = Options { clock: std::sync::Arc::new(clock.clone()), ..Options::default() };
    let mut app = backend.with(options).await;
    let (account, token, _) = signed_up(&mut app, "a@x.co").await;
    let (_, other_token, _) = signed_up(&mut app, "b@x.co").await;
    assert!(app.credentials.verify_token(&token).await.is_ok());
    app.credentials.revoke_tokens(&account).await.unwrap();
    is_rejected(app.credentials.verify_token(&token).await);
    assert!(app.credentials.verify_token(&other_token).await.is_ok());
    // One that is issued in the same second is valid, then and later.
    let new = app.credentials.issue_token(&account).await.unwrap();
    assert!(app.credentials.verify_token(new.reveal()).await.is_ok());
    clock.advance(Duration::from_hours(1));
    assert!(app.credentials.verify_token(new.reveal()).await.is_ok());
    is_rejected(app.credentials.verify_token(&token).await);
    // A clock that was a year ahead when tokens were revoked locks nobody out.
    let year = Duration::from_hours(365 * 24);
    let right = clock.wall();
    clock.set_wall(right + year);
    app.credentials.revoke_tokens(&account).await.unwrap();
    clock.set_wall(right);
    is_rejected(app.credentials.verify_token(new.reveal()).await);
    let newest = app.credentials.issue_token(&account).await.unwrap();
    assert!(app.credentials.verify_token(newest.reveal()).await.is_ok());
    let nobody = "acc_nobody".parse().unwrap();
    let revoked = app.credentials.revoke_tokens(&nobody).await;
    assert!(matches!(revoked, Err(CredentialError::NotFound)));
    let issued = app.credentials.issue_token(&nobody).await;
    assert!(matches!(issued, Err(CredentialError::NotFound)));
}

async fn one_answer_for_every_cause_of_a_refused_log_in(backend: Backend) {
    let mut app = backend.app().await;
    signed_up(&mut app, "Kim@Example.com").await;
    let hashes = || app.service.hash_pool().stats().hashes;
    let before = hashes();
    let wrong = [
        ("kim@example.com", "another one"),
        // Of a length that no sign-up takes now, but may have taken once.
        ("kim@example.com", "short"),
        ("nobody@example.com", "another one"),
    ];
    for (email, password) in wrong {
        is_rejected(app.credentials.verify_password(email, password).await);
    }
    let asked = u64::try_from(wrong.len()).unwrap();
    assert_eq!(hashes() - before, asked, "an unknown email costs a hash as well");
    // A malformed key costs no query.
    for (email, password) in [
        ("no address", client::PASSWORD),
        ("kim@example.com", &*"x".repeat(1 << 20)),
        (&*"x".repeat(1 << 20), client::PASSWORD),
        ("", ""),
    ] {
        is_rejected(app.credentials.verify_password(email, password).await);
    }
    assert_eq!(hashes() - before, asked);
    for email in ["kim@example.com", "KIM@EXAMPLE.COM", "Kim@Example.com"] {
        assert!(app.credentials.verify_password(email, client::PASSWORD).await.is_ok());
    }
}

/// The same store with a pool of another kind.
fn with_pool(app: &App, pool: impl Into<std::sync::Arc<HashPool>>) -> Credentials {
    let service = SignupService::builder(std::sync::Arc::clone(&app.store))
        .jwt_secret(SECRET)
        .hash_pool(pool.into())
        .build();
    service.unwrap().credentials()
}

async fn a_hash_of_another_work_factor_or_pepper_is_renewed(backend: Backend) {
    let app = backend.with(Options { argon2: true, ..Options::default() }).await;
    let request = SignupRequest::new("a@x.co", "correct horse");
    let account = app.service.signup(request).await.unwrap().account().id().clone();
    let stored = || async { app.store.account_rows().await.remove(0) };
    let first = stored().await;
    let pepper = |version| Pepper::new(version, *b"a pepper of 24 octets...").unwrap();
    let harder =
        || HashPool::builder().workers(1).work_factor(WorkFactor::new(20_000, 2, 1).unwrap());

    // A hash with the current work factor is not renewed, nor is one after a wrong password.
    assert_eq!(app.credentials.verify_password("a@x.co", "correct horse").await.unwrap(), account);
    let pool = std::sync::Arc::new(harder().build().unwrap());
    let renewing = with_pool(&app, std::sync::Arc::clone(&pool));
    is_rejected(renewing.verify_password("a@x.co", "correct house").await);
    assert_eq!(stored().await, first);

    let peppered = with_pool(&app, harder().pepper(pepper(2)).build().unwrap());
    for (credentials, expected) in
        [(&renewing, ("m=20000", None)), (&peppered, ("m=20000", Some(2)))]
    {
        assert_eq!(credentials.verify_password("a@x.co", "correct horse").await.unwrap(), account);
        let renewed = stored().await;
        assert!(renewed.password_hash.contains(expected.0), "{}", renewed.password_hash);
        assert_eq!(renewed.pepper_version, expected.1);
        // Once: the next time it is as new ones are.
        assert_eq!(credentials.verify_password("a@x.co", "correct horse").await.unwrap(), account);
        assert_eq!(stored().await, renewed);
    }
    // A pool without the pepper can't judge: to the client that is a wrong password, as
    // for an unknown email, and as expensive.
    let hashes = pool.stats().hashes;
    is_rejected(renewing.verify_password("a@x.co", "correct horse").await);
    assert_eq!(pool.stats().hashes, hashes + 1);
}
