//! Users of another system, with the hashes of their passwords and with their API keys.

use std::sync::Arc;
use std::time::Duration;

use signup::account::AccountState;
use signup::api_key::ForeignApiKeys;
use signup::clock::{ManualClock, Timestamp};
use signup::credentials::{CredentialError, Credentials};
use signup::fields::{Email, EmailKey, EmailProfile};
use signup::hash::{ForeignHashes, HashPool, WorkFactor};
use signup::store::{
    AccountColumn, FindBy, LifecycleStore as _, LifecycleStoreExt as _, MemoryStore, NewApiKey,
    SqliteStore, TableMap, TimeFormat,
};
use signup::{SignupError, SignupRequest, SignupService};
use sqlx::AssertSqlSafe;

use crate::support::backend::NOW;
use crate::support::postgres;

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
    assert!(report.collisions.is_empty());
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

/// A table of users of another system, with what its page of the documentation says.
struct System {
    schema: &'static str,
    /// The hash in its row of Jane, by the beginning.
    hash: &'static str,
    before: &'static str,
    map: TableMap,
    after: &'static str,
    adopted: u64,
    disabled: bool,
}

const SINCE: i64 = 1_709_208_000_000;

/// Brings Jane along: she logs in, her hash is renewed, and she and others can't sign up twice.
async fn brings_its_users(system: System) {
    let store = postgres::unmigrated(&postgres::url()).await;
    let schema = store.table("").trim_end_matches('.').to_owned();
    let jane = made()
        .into_iter()
        .find(|made| made.hash.starts_with(system.hash) && made.password == "correct horse");
    let jane = jane.unwrap();
    let pool = store.pool().clone();
    let execute = async |sql: &str| {
        let begin = format!("CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path TO {schema}");
        let sql = format!("{begin}; {sql}; RESET search_path");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    };
    execute(&system.schema.replace("{hash}", &jane.hash)).await;
    execute(system.before).await;
    let store = store.with_table(system.map.schema(&*schema)).unwrap();
    let report = store.adoption().run().await.unwrap();
    assert_eq!((report.adopted, report.collisions.len()), (system.adopted, 0));
    execute(system.after).await;
    assert_eq!(store.check_table().await.unwrap(), []);

    let pool = HashPool::builder().workers(1).foreign_hashes(ForeignHashes::default());
    let service = SignupService::builder(store.clone()).jwt_secret(&[7; 32]);
    let service = service.hash_pool(Arc::new(pool.build().unwrap())).build().unwrap();
    let credentials = service.credentials();
    for _ in 0..2 {
        let id = credentials.verify_password("jane@example.com", &jane.password).await.unwrap();
        let record = store.find_account(FindBy::Id(&id)).await.unwrap().unwrap();
        let is_kept = record.created_at.as_millis() == SINCE;
        // fastapi-users has kept no time.
        assert!(is_kept || system.schema.contains("hashed_password"), "{:?}", record.created_at);
        let key = record.account.email().key().clone();
        let stored = store.find_login(FindBy::Email(&key)).await.unwrap().unwrap();
        assert!(stored.password_hash.as_phc().starts_with("$argon2id$v=19$"));
    }
    let again = service.signup(SignupRequest::new("JANE@example.com", "correct horse")).await;
    assert!(matches!(again, Err(SignupError::EmailTaken)), "{again:?}");
    for other in ["gone@example.com", "hub@example.com"] {
        let refused = credentials.verify_password(other, &jane.password).await;
        assert!(matches!(refused, Err(CredentialError::Rejected)), "{other}");
    }
    let gone = store.find_account(FindBy::Email(&key_of("gone@example.com"))).await.unwrap();
    let disabled = gone.is_some_and(|gone| gone.state == AccountState::Disabled);
    assert_eq!(disabled, system.disabled);

    // New ones sign up, with and without a name.
    for (email, name) in [("joe@example.com", None), ("kim@example.com", Some("Kim"))] {
        let request = SignupRequest::new(email, "correct horse");
        let request = match name {
            Some(name) => request.name(name),
            None => request,
        };
        service.signup(request).await.unwrap();
        credentials.verify_password(email, "correct horse").await.unwrap();
    }
}

fn key_of(email: &str) -> EmailKey {
    Email::parse(email, EmailProfile::Strict).unwrap().key().clone()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test.sh runs it"]
async fn django_brings_its_users() {
    let map = TableMap::new("auth_user")
        .column(AccountColumn::PasswordHash, "password")
        .column(AccountColumn::CreatedAt, "date_joined")
        .time(AccountColumn::CreatedAt, TimeFormat::Timestamp)
        .fill_with("username", "?", |new| new.id().as_str().to_owned())
        .fill("first_name", "''")
        .fill("last_name", "''")
        .fill("is_superuser", "false")
        .fill("is_staff", "false")
        .fill("is_active", "true");
    brings_its_users(System {
        schema: include_str!("../data/foreign-schemas/django.sql"),
        hash: "pbkdf2_sha256$1000000$",
        before: "",
        map,
        after: "UPDATE auth_user SET state = 'disabled' WHERE NOT is_active",
        adopted: 2,
        disabled: true,
    })
    .await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test.sh runs it"]
async fn devise_brings_its_users() {
    let map = TableMap::new("users")
        .column(AccountColumn::PasswordHash, "encrypted_password")
        .time(AccountColumn::CreatedAt, TimeFormat::DateTime)
        .column(AccountColumn::EmailVerifiedAt, "confirmed_at")
        .time(AccountColumn::EmailVerifiedAt, TimeFormat::DateTime)
        .unique(AccountColumn::Email, "index_users_on_email")
        .fill("updated_at", "now() AT TIME ZONE 'UTC'");
    brings_its_users(System {
        schema: include_str!("../data/foreign-schemas/devise.sql"),
        hash: "$2a$04$",
        before: "",
        map,
        after: "",
        adopted: 1,
        disabled: false,
    })
    .await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test.sh runs it"]
async fn fastapi_users_brings_its_users() {
    let map = TableMap::new("user")
        .column(AccountColumn::PasswordHash, "hashed_password")
        .unique(AccountColumn::Email, "ix_user_email")
        .fill("id", "gen_random_uuid()")
        .fill("is_active", "true")
        .fill("is_superuser", "false")
        .fill("is_verified", "false");
    brings_its_users(System {
        schema: include_str!("../data/foreign-schemas/fastapi_users.sql"),
        hash: "$argon2id$",
        before: "",
        map,
        after: r#"UPDATE "user" SET email_verified_at = created_at WHERE is_verified;
                  UPDATE "user" SET state = 'disabled' WHERE NOT is_active"#,
        adopted: 2,
        disabled: true,
    })
    .await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test.sh runs it"]
async fn better_auth_brings_its_users() {
    let map = TableMap::new("user")
        .column(AccountColumn::Name, "display_name")
        .column(AccountColumn::CreatedAt, "createdAt")
        .time(AccountColumn::CreatedAt, TimeFormat::Timestamp)
        .fill_with("id", "?", |new| new.id().as_str().to_owned())
        .fill_with("name", "?", |new| new.name().unwrap_or_default().to_owned())
        .fill("emailVerified", "false");
    brings_its_users(System {
        schema: include_str!("../data/foreign-schemas/better_auth.sql"),
        hash: "c6a4d7f8b7fbf3fdfc1eaa8a929cb65d:",
        before: r#"
            ALTER TABLE "user" ADD COLUMN password_hash text, ADD COLUMN email_verified_at bigint;
            UPDATE "user" u SET password_hash = a.password
                FROM account a WHERE a."userId" = u.id AND a."providerId" = 'credential';
            UPDATE "user" SET email_verified_at = extract(epoch FROM "createdAt") * 1000
                WHERE "emailVerified""#,
        map,
        after: "",
        adopted: 2,
        disabled: false,
    })
    .await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test.sh runs it"]
async fn supabase_brings_its_users() {
    let map = TableMap::new("users")
        .time(AccountColumn::CreatedAt, TimeFormat::Timestamp)
        .column(AccountColumn::EmailVerifiedAt, "email_confirmed_at")
        .time(AccountColumn::EmailVerifiedAt, TimeFormat::Timestamp);
    // The tests share a database, in which each has a schema of its own.
    let schema = include_str!("../data/foreign-schemas/supabase.sql");
    let schema = schema.replace("CREATE SCHEMA auth;", "").replace("auth.users", "auth_users");
    brings_its_users(System {
        schema: schema.leak(),
        hash: "$2a$04$",
        before: "CREATE TABLE users AS
                     SELECT id, email, nullif(encrypted_password, '') AS password_hash,
                            created_at, email_confirmed_at
                     FROM auth_users
                     WHERE email IS NOT NULL AND deleted_at IS NULL AND NOT is_anonymous;
                 ALTER TABLE users ADD PRIMARY KEY (id),
                     ALTER COLUMN id SET DEFAULT gen_random_uuid()",
        map,
        after: "",
        adopted: 2,
        disabled: false,
    })
    .await;
}
