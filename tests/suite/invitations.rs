//! An invitation that is valid once, used up in the account's own transaction.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use signup::error::Issue;
use signup::hash::{FakeEngine, HashPool};
use signup::idempotency::{IdempotencyKey, ReplaySecret};
use signup::mail::{MailQueue, MemoryMailer};
use signup::policy::{InvitationOnly, InviteCode};
use signup::store::conformance::Harness;
use signup::store::{
    AccountStore, HostRows, HostRowsError, MemoryStore, NewAccount, PostgresStore, SqliteStore,
};
use signup::verification::EmailCodes;
use signup::{SignupError, SignupRequest, SignupService};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;

use crate::support::faults::Faulty;
use crate::support::{postgres, rounds};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS invitations (code text PRIMARY KEY, used_by text)";
const USE: &str = "UPDATE invitations SET used_by = $1 WHERE code = $2 AND used_by IS NULL";
const IS_FREE: &str = "SELECT 1 FROM invitations WHERE code = $1 AND used_by IS NULL";
const ADD: &str = "INSERT INTO invitations (code) VALUES ($1)";
const USED_BY: &str = "SELECT used_by FROM invitations WHERE code = $1";

struct Invitations;

/// The host's rows and its policy, whose statements are the same for every database.
macro_rules! invitations {
    ($connection:ty, $store:ty, $service:ident) => {
        #[async_trait]
        impl HostRows<$connection> for Invitations {
            async fn insert(
                &self,
                connection: &mut $connection,
                new: &NewAccount,
            ) -> Result<(), HostRowsError> {
                let code = new.context().get::<InviteCode>()?.expect("the policy attaches it");
                assert_eq!(new.context().field("invite_code"), Some(&*code.0));
                let used = sqlx::query(USE).bind(new.id().as_str()).bind(code.0);
                match used.execute(connection).await?.rows_affected() {
                    0 => Err(HostRowsError::refuse("invite_code", "Invitation code is not valid")),
                    _ => Ok(()),
                }
            }
        }

        fn $service(store: $store) -> SignupService<$store> {
            let pool = store.pool().clone();
            let invited = InvitationOnly::new(move |code| {
                let pool = pool.clone();
                async move {
                    let free = sqlx::query(IS_FREE).bind(code).fetch_optional(&pool);
                    Ok(free.await?.is_some())
                }
            });
            let pool =
                HashPool::builder().workers(2).engine(FakeEngine::default()).build().unwrap();
            SignupService::builder(store.with_host_rows(Invitations))
                .jwt_secret(&[7; 32])
                .hash_pool(Arc::new(pool))
                .policy(invited)
                .retry_safe(ReplaySecret::new(&[8; 32]).unwrap())
                .build()
                .unwrap()
        }
    };
}

invitations!(SqliteConnection, SqliteStore, on_sqlite);
invitations!(PgConnection, PostgresStore, on_postgres);

/// Signs up twice at a time with one code, 100 times, or 1,000 times in a full run.
async fn race<S: AccountStore>(
    service: SignupService<S>,
    store: &impl Harness,
    add: impl AsyncFn(&str),
    used_by: impl AsyncFn(&str) -> String,
) {
    let rounds = rounds(100, 1000);
    for round in 0..rounds {
        let code = format!("code{round}");
        add(&code).await;
        let sign_up = |email: String| {
            let request = SignupRequest::new(email, "correct horse");
            service.signup(request.field("invite_code", code.clone()))
        };
        let (one, other) =
            tokio::join!(sign_up(format!("a{round}@x.co")), sign_up(format!("b{round}@x.co")));
        let (won, lost) = if one.is_ok() { (one, other) } else { (other, one) };
        let Err(SignupError::Invalid(issues)) = lost else { panic!("round {round}: {lost:?}") };
        assert_eq!(issues[0].path, ["invite_code"]);
        assert_eq!(won.unwrap().account().id().as_str(), used_by(&code).await);
    }
    assert_eq!(store.account_rows().await.len(), rounds);
    assert_eq!(store.api_key_rows().await.len(), rounds);
}

/// Sends each request four times, with one key and one code: to two instances at a time,
/// and to both when the code is used up.
async fn retry<S: AccountStore>(
    instances: [SignupService<S>; 2],
    store: &impl Harness,
    add: impl AsyncFn(&str),
) {
    let rounds = rounds(100, 1000);
    for round in 0..rounds {
        let code = format!("spent{round}");
        add(&code).await;
        let sign_up = |service: &SignupService<S>| {
            let request = SignupRequest::new(format!("kim{round}@x.co"), "correct horse");
            let key = IdempotencyKey::new(format!("the sign-up {round:04}").replace(' ', "-"));
            let request = request.field("invite_code", code.clone());
            let (service, request) = (service.clone(), request.idempotency_key(key.unwrap()));
            async move { service.signup(request).await.unwrap() }
        };
        let (one, other) = tokio::join!(sign_up(&instances[0]), sign_up(&instances[1]));
        assert_eq!(one.reveal_json(), other.reveal_json());
        assert!(one.is_replayed() != other.is_replayed());
        for instance in &instances {
            assert_eq!(sign_up(instance).await.reveal_json(), one.reveal_json());
        }
    }
    assert_eq!(store.account_rows().await.len(), rounds);
    assert_eq!(store.api_key_rows().await.len(), rounds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_is_used_up_refuses_no_retry_on_sqlite() {
    let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
    store.migrate().await.unwrap();
    let pool = store.pool();
    sqlx::raw_sql(TABLE).execute(pool).await.unwrap();
    let add = async |code: &str| {
        sqlx::query(ADD).bind(code).execute(pool).await.unwrap();
    };
    retry([(); 2].map(|()| on_sqlite(store.clone())), &store, add).await;
}

/// The code was good when the sign-up began, and is used up when its address is proven.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_is_used_up_before_the_proof_refuses_the_account() {
    let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
    store.migrate().await.unwrap();
    let pool = store.pool().clone();
    sqlx::raw_sql(TABLE).execute(&pool).await.unwrap();
    sqlx::query(ADD).bind("spent").execute(&pool).await.unwrap();
    let mailer = Arc::new(MemoryMailer::default());
    let mails = MailQueue::new(Arc::clone(&mailer));
    let verification = EmailCodes::new(ReplaySecret::new(&[8; 32]).unwrap(), mails.clone());
    let hashes = HashPool::builder().workers(2).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(store.clone().with_host_rows(Attached))
        .jwt_secret(&[7; 32])
        .hash_pool(Arc::new(hashes))
        .policy(InvitationOnly::new(async |_| Ok(true)))
        .verify_first(verification)
        .build()
        .unwrap();
    let mut tickets = Vec::new();
    for email in ["kim@x.co", "jim@x.co"] {
        let request = SignupRequest::new(email, "correct horse").field("invite_code", "spent");
        tickets
            .push((service.verification().first().unwrap().begin(request).await.unwrap(), email));
    }
    mails.drained().await;
    let mut outcomes = Vec::new();
    for (pending, email) in tickets {
        let code = mailer.last_code(email).unwrap();
        outcomes.push(
            service.verification().first().unwrap().complete(pending.reveal_ticket(), &code).await,
        );
    }
    let [Ok(_), Err(SignupError::Invalid(issues))] = outcomes.as_slice() else {
        panic!("{outcomes:?}");
    };
    assert_eq!(issues.as_slice(), [Issue::body("Invitation code is not valid")]);
    assert_eq!(store.account_rows().await.len(), 1);
}

/// Uses up what the policy has attached, which is all that a ticket keeps.
struct Attached;

#[async_trait]
impl HostRows<SqliteConnection> for Attached {
    async fn insert(
        &self,
        connection: &mut SqliteConnection,
        new: &NewAccount,
    ) -> Result<(), HostRowsError> {
        let InviteCode(code) = new.context().get()?.expect("the policy attaches it");
        let used = sqlx::query(USE).bind(new.id().as_str()).bind(code);
        match used.execute(connection).await?.rows_affected() {
            0 => Err(HostRowsError::refuse("invite_code", "Invitation code is not valid")),
            _ => Ok(()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_code_makes_one_account_in_each_round_on_sqlite() {
    let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
    store.migrate().await.unwrap();
    let pool = store.pool();
    sqlx::raw_sql(TABLE).execute(pool).await.unwrap();
    let add = async |code: &str| {
        sqlx::query(ADD).bind(code).execute(pool).await.unwrap();
    };
    let used_by =
        async |code: &str| sqlx::query_scalar(USED_BY).bind(code).fetch_one(pool).await.unwrap();
    race(on_sqlite(store.clone()), &store, add, used_by).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn one_code_makes_one_account_and_refuses_no_retry_on_postgres() {
    let store = postgres::store(&postgres::url()).await;
    let pool = store.pool();
    // The policy's query and the host's rows find the table by the search path.
    sqlx::raw_sql(TABLE).execute(pool).await.unwrap();
    let add = async |code: &str| {
        sqlx::query(ADD).bind(code).execute(pool).await.unwrap();
    };
    let used_by =
        async |code: &str| sqlx::query_scalar(USED_BY).bind(code).fetch_one(pool).await.unwrap();
    race(on_postgres(store.clone()), &store, add, used_by).await;
    // Another schema, and the same table: two tests at once could not both create it.
    let store = postgres::store(&postgres::url()).await;
    retry([(); 2].map(|()| on_postgres(store.clone())), &store, add).await;
}

/// A refusal costs the same queries whether or not the address has an account.
#[tokio::test]
async fn a_refused_sign_up_with_a_key_looks_as_often_for_any_address() {
    let store = Arc::new(Faulty::new(MemoryStore::default()));
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(Arc::clone(&store))
        .jwt_secret(&[7; 32])
        .hash_pool(Arc::new(pool))
        .retry_safe(ReplaySecret::new(&[9; 32]).unwrap())
        .policy(InvitationOnly::new(async |code| Ok(code == "right")))
        .build()
        .unwrap();
    let request = |email: &str| SignupRequest::new(email, "correct horse");
    service.signup(request("kim@x.co").field("invite_code", "right")).await.unwrap();
    let looks = async |email| {
        let before = store.looks.load(Ordering::SeqCst);
        let key = IdempotencyKey::new("0123456789-another-key").unwrap();
        let wrong = request(email).field("invite_code", "wrong").idempotency_key(key);
        service.signup(wrong).await.unwrap_err();
        store.looks.load(Ordering::SeqCst) - before
    };
    assert_eq!(looks("kim@x.co").await, looks("jim@x.co").await);
}
