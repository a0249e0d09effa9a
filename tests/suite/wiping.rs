//! Rows of the host's that go with an account's owner, in the transaction that ends its
//! ownership.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use signup::account::AccountId;
use signup::hash::{FakeEngine, HashPool};
use signup::idempotency::ReplaySecret;
use signup::mail::{MailQueue, MemoryMailer};
use signup::store::{
    AccountStore, HostRows, HostRowsError, LifecycleStore, NewAccount, SqliteStore, WipeReason,
};
use signup::verification::EmailCodes;
use signup::{SignupError, SignupRequest, SignupService};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;

use crate::support::postgres;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS notes (account_id text NOT NULL, reason text)";
const ADD: &str = "INSERT INTO notes (account_id) VALUES ($1)";
const WIPE: &str = "UPDATE notes SET reason = $2 WHERE account_id = $1";
const REASON: &str = "SELECT coalesce(max(reason), 'kept') FROM notes WHERE account_id = $1";

/// A note for each account, which says why it was wiped.
#[derive(Clone, Default)]
struct Notes {
    fails: Arc<AtomicBool>,
}

macro_rules! notes {
    ($connection:ty) => {
        #[async_trait]
        impl HostRows<$connection> for Notes {
            async fn insert(
                &self,
                connection: &mut $connection,
                new: &NewAccount,
            ) -> Result<(), HostRowsError> {
                sqlx::query(ADD).bind(new.id().as_str()).execute(connection).await?;
                Ok(())
            }

            async fn wipe(
                &self,
                connection: &mut $connection,
                account: &AccountId,
                because: WipeReason,
            ) -> Result<(), HostRowsError> {
                let reason = format!("{because:?}");
                let wiped = sqlx::query(WIPE).bind(account.as_str()).bind(reason);
                assert_eq!(wiped.execute(connection).await?.rows_affected(), 1);
                if self.fails.load(Ordering::SeqCst) { Err("told to fail".into()) } else { Ok(()) }
            }
        }
    };
}
notes!(SqliteConnection);
notes!(PgConnection);

/// Takes accounts over, erases them, and fails to.
async fn wipes<S: AccountStore + LifecycleStore>(
    store: S,
    notes: Notes,
    reason: impl AsyncFn(&AccountId) -> String,
) {
    let mailer = Arc::new(MemoryMailer::default());
    let mails = MailQueue::new(Arc::clone(&mailer));
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let secret = ReplaySecret::new(&[8; 32]).unwrap();
    let service = SignupService::builder(store)
        .jwt_secret(&[7; 32])
        .hash_pool(Arc::new(pool))
        .verify_after(EmailCodes::new(secret, mails.clone()))
        .build()
        .unwrap();
    let (accounts, credentials) = (service.accounts(), service.credentials());
    let sign_up = async |email: &str| {
        let signup = service.signup(SignupRequest::new(email, "correct horse")).await.unwrap();
        // Its mail goes out on its own, perhaps after a later one.
        mails.drained().await;
        signup
    };

    let kim = sign_up("kim@x.co").await;
    let id = kim.account().id().clone();
    let pending =
        service.verification().after().unwrap().begin_reclaim("kim@x.co", None).await.unwrap();
    mails.drained().await;
    let code = mailer.last_code("kim@x.co").unwrap();
    let reclaim = async || {
        service
            .verification()
            .after()
            .unwrap()
            .complete_reclaim(pending.reveal_ticket(), &code, "battery staple")
            .await
    };
    notes.fails.store(true, Ordering::SeqCst);
    assert!(matches!(reclaim().await, Err(SignupError::Internal(_))));
    assert_eq!(reason(&id).await, "kept");
    credentials.verify_api_key(kim.api_key().reveal()).await.unwrap();
    notes.fails.store(false, Ordering::SeqCst);
    reclaim().await.unwrap();
    assert_eq!(reason(&id).await, "Reclaimed");
    // The same request, once more, wipes nothing of the owner's.
    accounts.set_name(&id, Some("Kim")).await.unwrap();
    assert!(reclaim().await.unwrap().is_replayed());

    let jim = sign_up("jim@x.co").await;
    let id = jim.account().id().clone();
    notes.fails.store(true, Ordering::SeqCst);
    assert!(accounts.erase(&id).await.is_err());
    assert_eq!(reason(&id).await, "kept");
    credentials.verify_token(jim.token().reveal()).await.unwrap();
    notes.fails.store(false, Ordering::SeqCst);
    accounts.erase(&id).await.unwrap();
    assert_eq!(reason(&id).await, "Erased");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_owner_has_left_goes_with_the_ownership() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let store = SqliteStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    sqlx::query(TABLE).execute(store.pool()).await.unwrap();
    let (notes, pool) = (Notes::default(), store.pool().clone());
    let reason = async |id: &AccountId| -> String {
        sqlx::query_scalar(REASON).bind(id.as_str()).fetch_one(&pool).await.unwrap()
    };
    wipes(store.with_host_rows(notes.clone()), notes, reason).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn what_the_owner_has_left_goes_with_the_ownership_on_postgres() {
    let store = postgres::store(&postgres::url()).await;
    sqlx::query(TABLE).execute(store.pool()).await.unwrap();
    let (notes, pool) = (Notes::default(), store.pool().clone());
    let reason = async |id: &AccountId| -> String {
        sqlx::query_scalar(REASON).bind(id.as_str()).fetch_one(&pool).await.unwrap()
    };
    wipes(store.with_host_rows(notes.clone()), notes, reason).await;
}
