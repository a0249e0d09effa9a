//! A store of your own: accounts in an existing `users` table, through a driver of your own.
//! [`Dialect`] writes the statements and classifies errors; the host runs them and reads its
//! rows. The tests of this repository run the suite of `store::conformance` on it.
//!
//! ```text
//! cargo run -p signup-examples --example custom_store --features verification
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use signup::account::{Account, AccountId, Plan, TicketNonce};
use signup::api_key::ApiKeyDigest;
use signup::clock::Timestamp;
use signup::credentials::ApiKeyOptions;
use signup::error::BoxError;
use signup::fields::{Email, EmailKey, Name};
use signup::hash::PasswordHash;
use signup::idempotency::{Receipt, ReplaySecret};
use signup::mail::{MailQueue, MemoryMailer};
use signup::store::{
    AccountChange, AccountColumn, AccountFilter, AccountPage, AccountStore, ApiKeyInfo,
    ChangeOutcome, CreateOutcome, Dialect, Expired, FindBy, KeyOwner, KeyQuery, LifecycleStore,
    NewAccount, Purged, SqlValue, Statement, StatementError, StoreError, StoredAccount,
    StoredApiKey, StoredLogin, TableMap,
};
use signup::verification::EmailCodes;
use signup::{SignupRequest, SignupService};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};

const USERS: &str = "
    CREATE TABLE users (
        user_id INTEGER PRIMARY KEY, public_id TEXT NOT NULL UNIQUE, mail TEXT NOT NULL,
        mail_key TEXT NOT NULL UNIQUE, full_name TEXT, tier TEXT NOT NULL, pw TEXT NOT NULL,
        since INTEGER NOT NULL, pepper_version INTEGER, email_verified_at INTEGER,
        token_generation INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'active',
        delete_at INTEGER, event_number INTEGER NOT NULL DEFAULT 0, email_unverified INTEGER,
        ticket_nonce BLOB, replay_nonce BLOB, replay_version INTEGER, replay_tag BLOB);";

/// The wrapper, which is all that a host writes.
#[derive(Debug, Clone)]
pub struct Users {
    /// The pool, for the host's own queries.
    pub pool: SqlitePool,
    dialect: Arc<Dialect>,
}

impl Users {
    /// Opens an empty database in memory.
    ///
    /// # Errors
    /// Fails if the tables can't be created.
    pub async fn open() -> Result<Self, BoxError> {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
        let users = TableMap::new("users")
            .primary_key("user_id")
            .column(AccountColumn::Id, "public_id")
            .column(AccountColumn::Email, "mail")
            .column(AccountColumn::EmailKey, "mail_key")
            .column(AccountColumn::Name, "full_name")
            .column(AccountColumn::Plan, "tier")
            .column(AccountColumn::PasswordHash, "pw")
            .column(AccountColumn::CreatedAt, "since")
            .column(AccountColumn::State, "state")
            .column(AccountColumn::DeleteAt, "delete_at");
        let dialect = Dialect::sqlite().with_table(users)?;
        sqlx::raw_sql(USERS).execute(&pool).await?;
        for migration in dialect.migrations() {
            sqlx::raw_sql(AssertSqlSafe(migration.sql)).execute(&pool).await?;
        }
        Ok(Self { pool, dialect: Arc::new(dialect) })
    }

    /// Runs statements in one transaction. Returns false, and changes nothing, if one of them
    /// does not affect the row that it must affect.
    async fn run(&self, statements: Vec<Statement>) -> Result<bool, sqlx::Error> {
        let pool = self.pool.clone();
        // In a task of its own, which ends even if the caller leaves.
        let task = tokio::spawn(async move {
            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
            for statement in statements {
                let mut query = sqlx::query(AssertSqlSafe(statement.sql().to_owned()));
                for value in statement.values() {
                    query = match value {
                        SqlValue::Text(text) => query.bind(text.map(str::to_owned)),
                        SqlValue::Bytes(bytes) => query.bind(bytes.map(<[u8]>::to_vec)),
                        SqlValue::Integer(number) => query.bind(number),
                    };
                }
                let done = query.execute(&mut *transaction).await?;
                if done.rows_affected() == 0 && statement.must_affect_row() {
                    return Ok(false);
                }
            }
            transaction.commit().await.map(|()| true)
        });
        task.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    fn classify(&self, error: &sqlx::Error) -> StatementError {
        let Some(error) = error.as_database_error() else { return StatementError::OutcomeUnknown };
        let code = error.code().and_then(|code| code.parse().ok()).unwrap_or_default();
        self.dialect.classify_sqlite(code, error.message())
    }
}

#[async_trait]
impl AccountStore for Users {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        Ok(self.find_account(FindBy::Email(key)).await?.is_some())
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        match self.run(self.dialect.insert(&new)).await {
            Ok(true) => Ok(CreateOutcome::Stored),
            Ok(false) => Ok(CreateOutcome::EmailTaken),
            Err(error) => self.classify(&error).into_outcome(error),
        }
    }
}

#[async_trait]
impl LifecycleStore for Users {
    async fn find_key_owner(&self, digest: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError> {
        let found = self.find_account(FindBy::ApiKey(digest)).await?;
        Ok(found.map(|found| {
            let expires_at = found.found_by.and_then(|key| key.expires_at);
            let owner = KeyOwner::new(found.account.id().clone(), found.state, expires_at);
            owner.email_verified_at(found.email_verified_at)
        }))
    }

    async fn find_account(&self, by: FindBy<'_>) -> Result<Option<StoredAccount>, StoreError> {
        Ok(self.find_login(by).await?.map(|login| login.account))
    }

    async fn find_login(&self, by: FindBy<'_>) -> Result<Option<StoredLogin>, StoreError> {
        const BY_KEY: &str = "SELECT u.*, k.digest, k.name, k.prefix, k.last_four, k.created_at,
            k.expires_at FROM api_keys k JOIN users u ON u.public_id = k.account_id
            WHERE k.digest = ?";
        let find = |column: &str, text: &str| {
            let sql = format!("SELECT * FROM users WHERE {column} = ?");
            sqlx::query(AssertSqlSafe(sql)).bind(text.to_owned())
        };
        let query = match by {
            FindBy::Id(id) => find("public_id", id.as_str()),
            FindBy::Email(key) => find("mail_key", key.as_str()),
            FindBy::ApiKey(digest) => sqlx::query(BY_KEY).bind(digest.as_bytes().to_vec()),
            _ => return Err(StoreError::Failed("an unknown way to find an account".into())),
        };
        let row = query.fetch_optional(&self.pool).await.map_err(unavailable)?;
        row.map(|row| login(&row, matches!(by, FindBy::ApiKey(_)))).transpose().map_err(failed)
    }

    async fn list_accounts(&self, filter: &AccountFilter) -> Result<AccountPage, StoreError> {
        let rows = sqlx::query("SELECT * FROM users ORDER BY since, public_id");
        let rows = rows.fetch_all(&self.pool).await.map_err(unavailable)?;
        let all = rows.iter().map(account).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        Ok(filter.page(all))
    }

    async fn list_api_keys(&self, query: KeyQuery<'_>) -> Result<Vec<StoredApiKey>, StoreError> {
        let sql = "SELECT * FROM api_keys WHERE account_id = ? ORDER BY created_at, digest";
        let rows = sqlx::query(sql).bind(query.account().as_str().to_owned());
        let rows = rows.fetch_all(&self.pool).await.map_err(unavailable)?;
        let keys = rows.iter().map(api_key).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let limit = query.max_rows().map_or(usize::MAX, |limit| limit as usize);
        Ok(keys.into_iter().filter(|key| query.admits(key)).take(limit).collect())
    }

    async fn is_ticket_used(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        let find = sqlx::query("SELECT 1 FROM used_tickets WHERE hash = ?").bind(hash.to_vec());
        Ok(find.fetch_optional(&self.pool).await.map_err(unavailable)?.is_some())
    }

    async fn change(&self, change: AccountChange) -> Result<ChangeOutcome, StoreError> {
        match self.run(self.dialect.change(&change)).await {
            Ok(true) => Ok(ChangeOutcome::Changed),
            Ok(false) => Ok(ChangeOutcome::NotApplicable),
            Err(error) => self.classify(&error).into_change_outcome(error),
        }
    }

    async fn purge(
        &self,
        expired: Expired,
        until: Timestamp,
        limit: u32,
    ) -> Result<Purged, StoreError> {
        let (table, key) = match expired {
            Expired::ApiKeys => ("api_keys", "digest"),
            Expired::Tickets => ("used_tickets", "hash"),
            _ => return Err(StoreError::Failed("unknown rows".into())),
        };
        let some = format!("SELECT {key} FROM {table} WHERE expires_at <= ? LIMIT ?");
        let delete = AssertSqlSafe(format!("DELETE FROM {table} WHERE {key} IN ({some})"));
        let delete = sqlx::query(delete).bind(until.as_millis()).bind(limit);
        let done = delete.execute(&self.pool).await.map_err(unavailable)?;
        Ok(Purged::new(done.rows_affected(), limit))
    }
}

fn account(row: &SqliteRow) -> Result<StoredAccount, BoxError> {
    let time = |column| row.try_get::<Option<i64>, _>(column);
    let time = |column| Ok::<_, BoxError>(time(column)?.map(Timestamp::from_millis).transpose()?);
    let id = AccountId::from_store(row.try_get::<String, _>("public_id")?);
    let (mail, key): (String, String) = (row.try_get("mail")?, row.try_get("mail_key")?);
    let name: Option<String> = row.try_get("full_name")?;
    let plan = Plan::from_store(row.try_get::<String, _>("tier")?);
    let nonce: Option<Vec<u8>> = row.try_get("ticket_nonce")?;
    let nonce = nonce.map(|nonce| nonce.try_into().map(TicketNonce::new)).transpose();
    let stored = StoredAccount::new(
        Account::new(id, Email::from_store(mail, key), name.map(Name::from_store), plan),
        time("since")?.ok_or("no time of the sign-up")?,
        row.try_get("token_generation")?,
        row.try_get::<String, _>("state")?.parse()?,
    );
    Ok(stored
        .delete_at(time("delete_at")?)
        .email_verified_at(time("email_verified_at")?)
        .email_unverified(row.try_get::<Option<i64>, _>("email_unverified")? == Some(1))
        .ticket_nonce(nonce.map_err(|_| "a nonce has 16 bytes")?))
}

fn login(row: &SqliteRow, by_key: bool) -> Result<StoredLogin, BoxError> {
    let hash: String = row.try_get("pw")?;
    let hash = PasswordHash::from_store(hash, row.try_get("pepper_version")?);
    let key = if by_key { Some(key_info(row)?) } else { None };
    Ok(StoredLogin::new(account(row)?.found_by(key), hash).receipt(receipt(row)?))
}

fn key_info(row: &SqliteRow) -> Result<ApiKeyInfo, BoxError> {
    let id = ApiKeyDigest::from_store(row.try_get("digest")?)?.key_id();
    let created_at = Timestamp::from_millis(row.try_get("created_at")?)?;
    let expires_at: Option<i64> = row.try_get("expires_at")?;
    let key = ApiKeyInfo::new(id, row.try_get("prefix")?, row.try_get("last_four")?, created_at);
    let expires_at = expires_at.map(Timestamp::from_millis).transpose()?;
    Ok(key.name(row.try_get("name")?).expires_at(expires_at))
}

fn api_key(row: &SqliteRow) -> Result<StoredApiKey, BoxError> {
    Ok(StoredApiKey::new(key_info(row)?).receipt(receipt(row)?))
}

fn receipt(row: &SqliteRow) -> Result<Option<Receipt>, BoxError> {
    let nonce: Option<Vec<u8>> = row.try_get("replay_nonce")?;
    let (Some(nonce), tag) = (nonce, row.try_get::<Option<Vec<u8>>, _>("replay_tag")?) else {
        return Ok(None);
    };
    let tag = tag.unwrap_or_default();
    Ok(Some(Receipt::from_store(&nonce, row.try_get("replay_version")?, &tag)?))
}

fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(error.into())
}

fn failed(error: BoxError) -> StoreError {
    StoreError::Failed(error)
}

/// Signs up, logs in, issues an API key and resets the password.
#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mailer = Arc::new(MemoryMailer::default());
    let mails = MailQueue::new(Arc::clone(&mailer));
    let service = SignupService::builder(Users::open().await?)
        .jwt_secret(&[7; 32])
        .mails(EmailCodes::new(ReplaySecret::new(&[8; 32])?, mails.clone()))
        .build()?;
    let signup = service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
    let credentials = service.credentials();
    let login = credentials.log_in("dev@example.com", "correct horse", None, None).await?;
    let key = credentials.issue_api_key_with(&login, &ApiKeyOptions::new().name("deploy")?).await?;
    println!("{} has an API key {}…", login.account_id(), key.info().prefix);
    let codes = service.account_codes().ok_or("the service mails no codes")?;
    let pending = codes.begin_password_reset("dev@example.com", None).await?;
    mails.drained().await;
    let code = mailer.last_code("dev@example.com").ok_or("no code was mailed")?;
    codes.complete_password_reset(pending.reveal_ticket(), &code, "battery staple").await?;
    let ended = credentials.verify_token(signup.token().reveal()).await.is_err();
    println!("after the reset, its token is {}", if ended { "ended" } else { "valid" });
    Ok(())
}
