//! Users of another system, with the hashes of their passwords and with their API keys.

use std::sync::Arc;
use std::time::Duration;

use signup::api_key::ForeignApiKeys;
use signup::clock::{ManualClock, Timestamp};
use signup::credentials::{CredentialError, Credentials};
use signup::fields::{Email, EmailKey, EmailProfile};
use signup::hash::{ForeignHashes, HashPool, WorkFactor};
use signup::store::{
    AccountColumn, LifecycleStoreExt as _, MemoryStore, NewApiKey, SqliteStore, TableMap,
};
use signup::{SignupRequest, SignupService};

use crate::support::backend::NOW;

mod lives;
mod odd_tables;
mod recipes;

#[derive(serde::Deserialize)]
struct Made {
    kind: String,
    password: String,
    hash: String,
}

/// Hashes that were made by other systems' own libraries.
fn made() -> Vec<Made> {
    let files = [
        include_str!("../data/foreign-hashes/python.jsonl"),
        include_str!("../data/foreign-hashes/node.jsonl"),
        include_str!("../data/foreign-hashes/ruby.jsonl"),
    ];
    let lines = files.into_iter().flat_map(str::lines);
    let made = lines.map(|line| serde_json::from_str::<Made>(line).unwrap());
    made.filter(|made| made.kind != "peppered").collect()
}

/// A `users` table with a row for each hash, adopted.
async fn users(made: &[Made]) -> SqliteStore {
    let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
    let table = "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL, pw TEXT)";
    sqlx::raw_sql(table).execute(store.pool()).await.unwrap();
    for (number, made) in made.iter().enumerate() {
        let insert = sqlx::query("INSERT INTO users (email, pw) VALUES (?, ?)");
        let insert = insert.bind(email(number)).bind(&made.hash);
        insert.execute(store.pool()).await.unwrap();
    }
    let map = TableMap::new("users").column(AccountColumn::PasswordHash, "pw");
    let store = store.with_table(map).unwrap();
    let report = store.adoption().run().await.unwrap();
    assert_eq!(report.listed, []);
    store.migrate().await.unwrap();
    store
}

fn email(number: usize) -> String {
    format!("user{number}@x.co")
}

fn credentials(store: SqliteStore, foreign: Option<ForeignHashes>) -> Credentials {
    let pool = HashPool::builder().workers(1).work_factor(WorkFactor::OWASP_7_MIB);
    let pool = match foreign {
        Some(foreign) => pool.foreign_hashes(foreign),
        None => pool,
    };
    let service = SignupService::builder(store).jwt_secret(&[7; 32]);
    let service = service.hash_pool(Arc::new(pool.build().unwrap())).build().unwrap();
    service.credentials()
}

async fn hash_of(store: &SqliteStore, number: usize) -> String {
    let hash = sqlx::query_scalar("SELECT pw FROM users WHERE email = ?").bind(email(number));
    hash.fetch_one(store.pool()).await.unwrap()
}

#[tokio::test]
async fn hashes_of_other_systems_are_renewed_at_the_next_log_in() {
    let made = made();
    let store = users(&made).await;
    let told = credentials(store.clone(), Some(ForeignHashes::default()));
    for (number, made) in made.iter().enumerate() {
        let wrong = told.verify_password(&email(number), &format!("x{}", made.password)).await;
        assert!(matches!(wrong, Err(CredentialError::Rejected)), "{}", made.hash);
        assert_eq!(hash_of(&store, number).await, made.hash);

        told.verify_password(&email(number), &made.password).await.unwrap();
        let renewed = hash_of(&store, number).await;
        if made.password.len() < 72 {
            assert!(renewed.starts_with("$argon2id$v=19$m=7168,t=5,p=1$"), "{renewed}");
            // As each hash of this crate's: in every spelling that is the same text.
            let composed = made.password.replace("a\u{308}", "\u{e4}");
            told.verify_password(&email(number), &composed).await.unwrap();
        } else {
            // bcrypt has not read all of it, and takes its beginning too.
            assert_eq!(renewed, made.hash);
            told.verify_password(&email(number), &made.password[..72]).await.unwrap();
            assert_eq!(hash_of(&store, number).await, made.hash);
        }
    }
}

#[tokio::test]
async fn a_service_that_was_not_told_refuses_them_as_a_wrong_password() {
    let made: Vec<_> = made().into_iter().filter(|made| made.hash.starts_with("$2")).collect();
    let store = users(&made).await;
    let untold = credentials(store.clone(), None);
    let refused = untold.verify_password(&email(0), &made[0].password).await;
    assert!(matches!(refused, Err(CredentialError::Rejected)));
    // A cost beyond the limits, likewise.
    let mut limits = ForeignHashes::default();
    limits.bcrypt_cost = 3;
    let refused = credentials(store, Some(limits));
    let refused = refused.verify_password(&email(0), &made[0].password).await;
    assert!(matches!(refused, Err(CredentialError::Rejected)));
}

#[tokio::test]
async fn keys_of_another_system_are_verified_expire_and_are_rotated() {
    let (clock, keys) = (ManualClock::at_unix(NOW), ForeignApiKeys::new("sk_live_").unwrap());
    let builder = || {
        let service = SignupService::builder(Arc::new(MemoryStore::default()));
        service.jwt_secret(&[7; 32]).clock(clock.clone())
    };
    let service = builder().accept_foreign_api_keys(keys.clone()).build().unwrap();
    let signup = service.signup(SignupRequest::new("kim@x.co", "correct horse")).await.unwrap();
    let owner = signup.account().id();
    let [first, second, unknown] =
        ["a", "b", "c"].map(|digit| format!("sk_live_{}", digit.repeat(24)));
    let expires_at = Timestamp::from_millis(i64::from(NOW + 60) * 1000).unwrap();
    for (key, expires_at) in [(&first, None), (&second, Some(expires_at))] {
        let digest = keys.digest(key).unwrap();
        let since = Timestamp::EPOCH;
        let moved = NewApiKey::foreign(owner.clone(), digest, "sk_live_", since, expires_at);
        assert!(service.account_store().add_api_key(moved).await.unwrap());
    }
    let credentials = service.credentials();
    let is_valid = async |key: &str| credentials.verify_api_key(key).await.is_ok();
    assert!(is_valid(&first).await && is_valid(&second).await);
    assert!(!is_valid(&unknown).await);
    assert!(is_valid(signup.api_key().reveal()).await, "the service's own");

    // Rotated, it has a key of this service beside it until its time is up.
    let old = credentials.verify_api_key(&first).await.unwrap().key_id();
    let grace = Duration::from_mins(1);
    let new = credentials.rotate_api_key(owner, &old, grace, None).await.unwrap();
    assert!(new.key().reveal().starts_with("rag_live_"));
    assert!(is_valid(&first).await && is_valid(new.key().reveal()).await);
    clock.advance(grace);
    assert!(!is_valid(&first).await && !is_valid(&second).await);
    assert!(is_valid(new.key().reveal()).await);

    // A service that was not told looks nothing up.
    let untold = builder().build().unwrap().credentials();
    assert!(matches!(untold.verify_api_key(&first).await, Err(CredentialError::Rejected)));
}

fn key_of(email: &str) -> EmailKey {
    Email::parse(email, EmailProfile::Strict).unwrap().key().clone()
}
