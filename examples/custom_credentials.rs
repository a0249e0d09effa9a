//! A store of your own on PostgreSQL, with credentials: a `users` table with integer ids as
//! an `AccountStore` and a `CredentialStore`. The suite of `store::conformance` proves it.
//!
//! ```text
//! DATABASE_URL=postgres://localhost/app \
//!     cargo run -p signup-examples --example custom_credentials --features conformance,postgres
//! ```

use std::time::Duration;

use async_trait::async_trait;
use signup::account::{Account, AccountId, Plan};
use signup::api_key::{ApiKeyDigest, ApiKeyId};
use signup::clock::Timestamp;
use signup::error::BoxError;
use signup::fields::{Email, EmailKey, Name};
use signup::hash::PasswordHash;
use signup::store::{
    AccountRecord, AccountStore, ApiKeyInfo, CreateOutcome, CredentialStore, KeyOwner, NewAccount,
    NewApiKey, StoreError, StoredPassword,
};
use sqlx::Row as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};

/// Email keys and ids are compared by bytes, whatever the collation of the database.
const TABLES: &str = r#"
    CREATE TABLE IF NOT EXISTS users (
        user_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        public_id  text COLLATE "C" NOT NULL CONSTRAINT users_public_id UNIQUE,
        mail       text NOT NULL,
        mail_key   text COLLATE "C" NOT NULL CONSTRAINT users_mail_key UNIQUE,
        full_name  text,
        tier       text NOT NULL,
        pw         text NOT NULL,
        pw_pepper  bigint,
        since      bigint NOT NULL,
        generation bigint NOT NULL DEFAULT 0);
    CREATE TABLE IF NOT EXISTS user_keys (
        sha256    bytea PRIMARY KEY,
        user_id   bigint NOT NULL REFERENCES users ON DELETE CASCADE,
        hint      text NOT NULL,
        last_four text NOT NULL,
        since     bigint NOT NULL,
        ends      bigint);
    CREATE INDEX IF NOT EXISTS user_keys_user_id ON user_keys (user_id);"#;

/// The deadline of a call.
const DEADLINE: Duration = Duration::from_secs(5);

/// The wrapper, which is all that a host writes.
#[derive(Debug, Clone)]
pub struct Users {
    pool: PgPool,
}

impl Users {
    /// Connects, and creates the tables where they are missing.
    ///
    /// # Errors
    /// Fails if the database does not answer.
    pub async fn connect(options: PgConnectOptions) -> Result<Self, sqlx::Error> {
        // A statement that waits for a lock ends at the deadline.
        let options = options.options([("statement_timeout", DEADLINE.as_millis().to_string())]);
        let pool = PgPoolOptions::new().max_connections(8).acquire_timeout(DEADLINE);
        let pool = pool.connect_with(options).await?;
        sqlx::raw_sql(TABLES).execute(&pool).await?;
        Ok(Self { pool })
    }

    /// Runs one statement, and returns whether it changed a row. A statement is its own
    /// transaction: a caller that leaves can't stop it half way.
    async fn change(&self, statement: Statement<'_>) -> Result<bool, StoreError> {
        let done = statement.execute(&self.pool).await.map_err(lost)?;
        Ok(done.rows_affected() > 0)
    }

    async fn find(&self, statement: Statement<'_>) -> Result<Option<PgRow>, StoreError> {
        statement.fetch_optional(&self.pool).await.map_err(unavailable)
    }
}

type Statement<'a> = sqlx::query::Query<'a, sqlx::Postgres, sqlx::postgres::PgArguments>;

#[async_trait]
impl AccountStore for Users {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        let look = sqlx::query("SELECT 1 FROM users WHERE mail_key = $1").bind(key.as_str());
        Ok(self.find(look).await?.is_some())
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        let key = new.key().info();
        let insert = sqlx::query(
            "WITH account AS (
                 INSERT INTO users (public_id, mail, mail_key, full_name, tier, pw, pw_pepper, since)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                 ON CONFLICT ON CONSTRAINT users_mail_key DO NOTHING RETURNING user_id)
             INSERT INTO user_keys (sha256, user_id, hint, last_four, since)
             SELECT $9, user_id, $10, $11, $8 FROM account",
        )
        .bind(new.id().as_str())
        .bind(new.email().as_str())
        .bind(new.email().key().as_str())
        .bind(new.name())
        .bind(new.plan().as_str())
        .bind(new.password_hash().as_phc())
        .bind(new.password_hash().pepper_version().map(i64::from))
        .bind(new.created_at().as_millis())
        .bind(new.key_digest().as_bytes().as_slice())
        .bind(key.prefix)
        .bind(key.last_four);
        match insert.execute(&self.pool).await {
            Ok(done) if done.rows_affected() > 0 => Ok(CreateOutcome::Stored),
            Ok(_) => Ok(CreateOutcome::EmailTaken),
            Err(error) => match error.as_database_error().and_then(|error| error.constraint()) {
                Some("users_public_id" | "user_keys_pkey") => Ok(CreateOutcome::IdentifierTaken),
                _ => Err(lost(error)),
            },
        }
    }
}

#[async_trait]
impl CredentialStore for Users {
    async fn find_api_key(&self, digest: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError> {
        let look = sqlx::query(
            "SELECT public_id, ends FROM user_keys JOIN users USING (user_id) WHERE sha256 = $1",
        );
        let row = self.find(look.bind(digest.as_bytes().as_slice())).await?;
        row.map(|row| key_owner(&row)).transpose().map_err(StoreError::Failed)
    }

    async fn add_api_key(&self, new: NewApiKey) -> Result<bool, StoreError> {
        let info = new.info();
        let insert = sqlx::query(
            "INSERT INTO user_keys (sha256, user_id, hint, last_four, since, ends)
             SELECT $1, user_id, $3, $4, $5, $6 FROM users WHERE public_id = $2 FOR KEY SHARE",
        )
        .bind(new.digest().as_bytes().as_slice())
        .bind(new.account_id().as_str())
        .bind(info.prefix)
        .bind(info.last_four)
        .bind(info.created_at.as_millis())
        .bind(info.expires_at.map(Timestamp::as_millis));
        self.change(insert).await
    }

    async fn list_api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyInfo>, StoreError> {
        let list = sqlx::query(
            "SELECT k.* FROM user_keys k JOIN users USING (user_id)
             WHERE public_id = $1 ORDER BY k.since, sha256",
        );
        let rows = list.bind(account.as_str()).fetch_all(&self.pool).await.map_err(unavailable)?;
        rows.iter().map(key_info).collect::<Result<_, _>>().map_err(StoreError::Failed)
    }

    async fn rotate_api_key(
        &self,
        old: &ApiKeyId,
        until: Timestamp,
        new: NewApiKey,
    ) -> Result<bool, StoreError> {
        let info = new.info();
        let rotate = sqlx::query(
            "WITH old AS (
                 UPDATE user_keys k SET ends = least(coalesce(ends, $3), $3)
                 FROM users u WHERE u.user_id = k.user_id AND public_id = $1
                     AND substr(sha256, 1, 10) = $2 AND (ends IS NULL OR ends > $7)
                 RETURNING k.user_id)
             INSERT INTO user_keys (sha256, user_id, hint, last_four, since, ends)
             SELECT $4, user_id, $5, $6, $7, $8 FROM old",
        )
        .bind(new.account_id().as_str())
        .bind(old.as_bytes().as_slice())
        .bind(until.as_millis())
        .bind(new.digest().as_bytes().as_slice())
        .bind(info.prefix)
        .bind(info.last_four)
        .bind(info.created_at.as_millis())
        .bind(info.expires_at.map(Timestamp::as_millis));
        self.change(rotate).await
    }

    async fn revoke_api_key(
        &self,
        account: &AccountId,
        key: &ApiKeyId,
    ) -> Result<bool, StoreError> {
        let delete = sqlx::query(
            "DELETE FROM user_keys k USING users u
             WHERE u.user_id = k.user_id AND public_id = $1 AND substr(sha256, 1, 10) = $2",
        );
        self.change(delete.bind(account.as_str()).bind(key.as_bytes().as_slice())).await
    }

    async fn purge_api_keys(&self, expired_at: Timestamp) -> Result<(), StoreError> {
        let delete = sqlx::query("DELETE FROM user_keys WHERE ends <= $1");
        self.change(delete.bind(expired_at.as_millis())).await.map(drop)
    }

    async fn find_password(&self, key: &EmailKey) -> Result<Option<StoredPassword>, StoreError> {
        let look = sqlx::query("SELECT public_id, pw, pw_pepper FROM users WHERE mail_key = $1");
        let row = self.find(look.bind(key.as_str())).await?;
        row.map(|row| stored_password(&row)).transpose().map_err(StoreError::Failed)
    }

    async fn renew_password_hash(
        &self,
        account: &AccountId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<bool, StoreError> {
        let update = sqlx::query(
            "UPDATE users SET pw = $3, pw_pepper = $4 WHERE public_id = $1 AND pw = $2",
        )
        .bind(account.as_str())
        .bind(old.as_phc())
        .bind(new.as_phc())
        .bind(new.pepper_version().map(i64::from));
        self.change(update).await
    }

    async fn find_account(&self, id: &AccountId) -> Result<Option<AccountRecord>, StoreError> {
        let look = sqlx::query("SELECT * FROM users WHERE public_id = $1").bind(id.as_str());
        let row = self.find(look).await?;
        row.map(|row| account_record(&row)).transpose().map_err(StoreError::Failed)
    }

    async fn revoke_tokens(&self, account: &AccountId) -> Result<bool, StoreError> {
        let update =
            sqlx::query("UPDATE users SET generation = generation + 1 WHERE public_id = $1");
        self.change(update.bind(account.as_str())).await
    }
}

fn key_owner(row: &PgRow) -> Result<KeyOwner, BoxError> {
    Ok(KeyOwner::new(AccountId::from_store(row.try_get::<String, _>("public_id")?), ends(row)?))
}

fn key_info(row: &PgRow) -> Result<ApiKeyInfo, BoxError> {
    let id = ApiKeyDigest::from_store(row.try_get("sha256")?)?.key_id();
    let since = Timestamp::from_millis(row.try_get("since")?)?;
    let info = ApiKeyInfo::new(id, row.try_get("hint")?, row.try_get("last_four")?, since);
    Ok(info.expires_at(ends(row)?))
}

fn ends(row: &PgRow) -> Result<Option<Timestamp>, BoxError> {
    let ends: Option<i64> = row.try_get("ends")?;
    Ok(ends.map(Timestamp::from_millis).transpose()?)
}

fn stored_password(row: &PgRow) -> Result<StoredPassword, BoxError> {
    let account = AccountId::from_store(row.try_get::<String, _>("public_id")?);
    let pepper: Option<i64> = row.try_get("pw_pepper")?;
    let pepper = pepper.map(u32::try_from).transpose()?;
    let hash = PasswordHash::from_store(row.try_get::<String, _>("pw")?, pepper);
    Ok(StoredPassword::new(account, hash))
}

fn account_record(row: &PgRow) -> Result<AccountRecord, BoxError> {
    let id = AccountId::from_store(row.try_get::<String, _>("public_id")?);
    let (mail, key): (String, String) = (row.try_get("mail")?, row.try_get("mail_key")?);
    let name: Option<String> = row.try_get("full_name")?;
    let plan = Plan::from_store(row.try_get::<String, _>("tier")?);
    let account = Account::new(id, Email::from_store(mail, key), name.map(Name::from_store), plan);
    let since = Timestamp::from_millis(row.try_get("since")?)?;
    Ok(AccountRecord::new(account, since, row.try_get("generation")?))
}

fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(error.into())
}

/// Maps the error of a change. Without an answer of the database nobody knows whether it was
/// made, unless there was no connection to make it on.
fn lost(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => unavailable(error),
        // Rolled back: out of resources, stopped by an operator or a time limit, or a
        // conflict. 40003 is the one of its class whose outcome is unknown.
        sqlx::Error::Database(ref answer) => {
            let code = answer.code().unwrap_or_default().into_owned();
            if code == "40003" {
                StoreError::OutcomeUnknown(error.into())
            } else if ["40", "53", "57"].iter().any(|class| code.starts_with(class)) {
                unavailable(error)
            } else {
                StoreError::Failed(error.into())
            }
        }
        _ => StoreError::OutcomeUnknown(error.into()),
    }
}

/// The suite needs to see the rows, and to delete an account.
mod harness {
    use signup::store::conformance::{Credentialed, Inspect, StoredAccount, StoredKey};

    use super::*;

    #[async_trait]
    impl Inspect for Users {
        fn accounts(&self) -> &dyn AccountStore {
            self
        }

        async fn stored_accounts(&self) -> Vec<StoredAccount> {
            let rows = sqlx::query("SELECT * FROM users").fetch_all(&self.pool).await;
            let account = |row: PgRow| StoredAccount {
                id: row.get("public_id"),
                email: row.get("mail"),
                email_key: row.get("mail_key"),
                name: row.get("full_name"),
                plan: row.get("tier"),
                password_hash: row.get("pw"),
                pepper_version: row
                    .get::<Option<i64>, _>("pw_pepper")
                    .and_then(|pepper| u32::try_from(pepper).ok()),
                created_at: row.get("since"),
            };
            rows.unwrap_or_default().into_iter().map(account).collect()
        }

        async fn stored_keys(&self) -> Vec<StoredKey> {
            let sql = "SELECT k.*, public_id FROM user_keys k JOIN users USING (user_id)";
            let rows = sqlx::query(sql).fetch_all(&self.pool).await.unwrap_or_default();
            let key = |row: PgRow| StoredKey {
                digest: row.get("sha256"),
                account_id: row.get("public_id"),
                prefix: row.get("hint"),
                created_at: row.get("since"),
            };
            rows.into_iter().map(key).collect()
        }
    }

    #[async_trait]
    impl Credentialed for Users {
        fn credentials(&self) -> &dyn CredentialStore {
            self
        }

        async fn delete_account(&self, id: &AccountId) {
            let delete = sqlx::query("DELETE FROM users WHERE public_id = $1").bind(id.as_str());
            let deleted = self.change(delete).await;
            assert!(matches!(deleted, Ok(true)), "{deleted:?}");
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    use signup::SignupService;

    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set")?;
    let users = Users::connect(url.parse()?).await?;
    let service = SignupService::builder(users).jwt_secret(&[7; 32]).build()?;
    let address = std::env::args().nth(1).unwrap_or_else(|| "dev@example.com".to_owned());
    let signup = service.signup(signup::SignupRequest::new(address, "correct horse")).await?;
    let credentials = service.credentials();
    let auth = credentials.verify_api_key(signup.api_key().reveal()).await?;
    println!("{} signed up, and its API key is valid", auth.account_id());
    credentials.revoke_tokens(auth.account_id()).await?;
    let ended = credentials.verify_token(signup.token().reveal()).await;
    println!(
        "its token, revoked: {}",
        ended.map_or_else(|error| error.to_string(), |_| "valid".into())
    );
    Ok(())
}
