//! An invitation that is good once, used up in the account's own transaction.

use std::sync::Arc;

use async_trait::async_trait;
use signup::hash::{FakeEngine, HashPool};
use signup::policy::{InvitationOnly, InviteCode};
use signup::store::conformance::Inspect as _;
use signup::store::{HostRows, HostRowsError, NewAccount, SqliteStore};
use signup::{SignupError, SignupRequest, SignupService};
use sqlx::sqlite::SqliteConnection;

use super::store;

const ROUNDS: usize = 1000;

struct Invitations;

#[async_trait]
impl HostRows<SqliteConnection> for Invitations {
    async fn insert(
        &self,
        connection: &mut SqliteConnection,
        new: &NewAccount,
    ) -> Result<(), HostRowsError> {
        let code = new.context().get::<InviteCode>()?.expect("the policy attaches it");
        assert_eq!(new.context().field("invite_code"), Some(&*code.0));
        let used =
            sqlx::query("UPDATE invitations SET used_by = ? WHERE code = ? AND used_by IS NULL")
                .bind(new.id().as_str())
                .bind(code.0)
                .execute(connection)
                .await?;
        match used.rows_affected() {
            0 => Err(HostRowsError::refuse("invite_code", "Invitation code is not valid")),
            _ => Ok(()),
        }
    }
}

fn service(store: SqliteStore) -> SignupService<SqliteStore> {
    let pool = store.pool().clone();
    let invited = InvitationOnly::new(move |code| {
        let pool = pool.clone();
        async move {
            let free = "SELECT 1 FROM invitations WHERE code = ? AND used_by IS NULL";
            Ok(sqlx::query(free).bind(code).fetch_optional(&pool).await?.is_some())
        }
    });
    let pool = HashPool::builder().workers(2).engine(FakeEngine::default()).build().unwrap();
    SignupService::builder(store.with_host_rows(Invitations))
        .jwt_secret(&[7; 32])
        .hash_pool(Arc::new(pool))
        .policy(invited)
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sign_ups_with_one_code_make_one_account_in_each_of_1000_rounds() {
    let store = store().await;
    let table = "CREATE TABLE invitations (code TEXT PRIMARY KEY, used_by TEXT)";
    sqlx::raw_sql(table).execute(store.pool()).await.unwrap();
    let service = service(store.clone());
    for round in 0..ROUNDS {
        let code = format!("code{round}");
        let insert = sqlx::query("INSERT INTO invitations (code) VALUES (?)").bind(&code);
        insert.execute(store.pool()).await.unwrap();
        let sign_up = |email: String| {
            let request = SignupRequest::new(email, "correct horse");
            service.signup(request.field("invite_code", code.clone()))
        };
        let (one, other) =
            tokio::join!(sign_up(format!("a{round}@x.co")), sign_up(format!("b{round}@x.co")));
        let (won, lost) = if one.is_ok() { (one, other) } else { (other, one) };
        let Err(SignupError::Invalid(issues)) = lost else { panic!("round {round}: {lost:?}") };
        assert_eq!(issues[0].path, ["invite_code"]);
        let used_by: String = sqlx::query_scalar("SELECT used_by FROM invitations WHERE code = ?")
            .bind(&code)
            .fetch_one(store.pool())
            .await
            .unwrap();
        assert_eq!(won.unwrap().account().id().as_str(), used_by);
    }
    assert_eq!(store.stored_accounts().await.len(), ROUNDS);
    assert_eq!(store.stored_keys().await.len(), ROUNDS);
}
