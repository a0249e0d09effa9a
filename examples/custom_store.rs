//! A store of your own: an existing `users` table with other column names and integer ids,
//! wrapped as an `AccountStore`. The suite of `store::conformance` then proves it.
//!
//! ```text
//! cargo run -p signup-examples --example custom_store --features conformance
//! ```

use async_trait::async_trait;
use signup::fields::EmailKey;
use signup::store::conformance::{self, Differences, Inspect, StoredAccount, StoredKey};
use signup::store::{AccountStore, CreateOutcome, NewAccount, StoreError};
use sqlx::Row as _;
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};

const LEGACY: &str = "
    CREATE TABLE users (
        user_id INTEGER PRIMARY KEY, public_id TEXT NOT NULL UNIQUE, mail TEXT NOT NULL,
        mail_key TEXT NOT NULL UNIQUE, full_name TEXT, tier TEXT NOT NULL, pw TEXT NOT NULL,
        since INTEGER NOT NULL);
    CREATE TABLE user_keys (
        sha256 BLOB NOT NULL UNIQUE, user_id INTEGER NOT NULL REFERENCES users, hint TEXT NOT NULL,
        since INTEGER NOT NULL);";

/// The wrapper, which is all that a host writes.
#[derive(Debug, Clone)]
pub struct LegacyUsers {
    pool: SqlitePool,
}

#[async_trait]
impl AccountStore for LegacyUsers {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        let look = sqlx::query("SELECT 1 FROM users WHERE mail_key = ?").bind(key.as_str());
        let found = look.fetch_optional(&self.pool).await.map_err(unavailable)?;
        Ok(found.is_some())
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        // In a task of its own, so that it finishes when its caller leaves.
        let store = self.clone();
        let task = tokio::spawn(async move { store.insert(&new).await });
        task.await.unwrap_or_else(|lost| Err(StoreError::OutcomeUnknown(lost.into())))
    }
}

impl LegacyUsers {
    async fn insert(&self, new: &NewAccount) -> Result<CreateOutcome, StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)?;
        let user = sqlx::query(
            "INSERT INTO users (public_id, mail, mail_key, full_name, tier, pw, since)
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (mail_key) DO NOTHING RETURNING user_id",
        )
        .bind(new.id().as_str())
        .bind(new.email().as_str())
        .bind(new.email().key().as_str())
        .bind(new.name())
        .bind(new.plan().as_str())
        .bind(new.password_hash().as_phc())
        .bind(new.created_at().as_secs());
        let user_id: i64 = match user.fetch_optional(&mut *transaction).await {
            Ok(Some(row)) => row.try_get("user_id").map_err(failed)?,
            Ok(None) => return Ok(CreateOutcome::EmailTaken),
            Err(error) => return clash(error),
        };
        let key =
            sqlx::query("INSERT INTO user_keys (sha256, user_id, hint, since) VALUES (?, ?, ?, ?)")
                .bind(new.key_digest().as_bytes().as_slice())
                .bind(user_id)
                .bind(new.key_prefix())
                .bind(new.created_at().as_secs());
        match key.execute(&mut *transaction).await {
            Ok(_) => transaction.commit().await.map_err(unavailable)?,
            Err(error) => return clash(error),
        }
        Ok(CreateOutcome::Stored)
    }
}

/// Maps a violated constraint. The insert ignores a duplicate `mail_key`, but in a race
/// another constraint on the address, on `mail` for example, may be violated first: that is
/// a taken email, too. Only the columns of identifiers mean a taken identifier.
fn clash(error: sqlx::Error) -> Result<CreateOutcome, StoreError> {
    let message = error.as_database_error().map(sqlx::error::DatabaseError::message);
    let column = message.and_then(|message| message.split_once("UNIQUE constraint failed: "));
    match column {
        Some((_, "users.public_id" | "user_keys.sha256")) => Ok(CreateOutcome::IdentifierTaken),
        Some((_, column)) if column.starts_with("users.mail") => Ok(CreateOutcome::EmailTaken),
        _ => Err(failed(error)),
    }
}

fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(error.into())
}

fn failed(error: sqlx::Error) -> StoreError {
    StoreError::Failed(error.into())
}

/// Access to the rows, for the suite.
#[async_trait]
impl Inspect for LegacyUsers {
    fn accounts(&self) -> &dyn AccountStore {
        self
    }

    async fn stored_accounts(&self) -> Vec<StoredAccount> {
        let rows =
            sqlx::query("SELECT * FROM users").fetch_all(&self.pool).await.unwrap_or_default();
        let account = |row: sqlx::sqlite::SqliteRow| StoredAccount {
            id: row.get("public_id"),
            email: row.get("mail"),
            email_key: row.get("mail_key"),
            name: row.get("full_name"),
            plan: row.get("tier"),
            password_hash: row.get("pw"),
            pepper_version: None,
            created_at: row.get::<i64, _>("since") * 1000,
        };
        rows.into_iter().map(account).collect()
    }

    async fn stored_keys(&self) -> Vec<StoredKey> {
        let sql = "SELECT k.*, u.public_id FROM user_keys k JOIN users u USING (user_id)";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await.unwrap_or_default();
        let key = |row: sqlx::sqlite::SqliteRow| StoredKey {
            digest: row.get("sha256"),
            account_id: row.get("public_id"),
            prefix: row.get("hint"),
            created_at: row.get::<i64, _>("since") * 1000,
        };
        rows.into_iter().map(key).collect()
    }
}

/// Opens an empty store.
pub async fn open() -> LegacyUsers {
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await;
    let pool = pool.unwrap_or_else(|error| unreachable!("a database in memory: {error}"));
    let made = sqlx::raw_sql(LEGACY).execute(&pool).await;
    made.unwrap_or_else(|error| unreachable!("two tables: {error}"));
    LegacyUsers { pool }
}

/// Whole seconds, and no pepper versions.
pub fn differences() -> Differences {
    let mut differences = Differences::default();
    differences.created_at_unit = 1000;
    differences.keeps_pepper_version = false;
    differences
}

#[tokio::main]
async fn main() {
    conformance::created_and_read_back(open().await, &differences()).await;
    conformance::taken_in_every_spelling(open().await).await;
    conformance::both_rows_or_none(open().await).await;
    conformance::other_conflicts_are_told_apart(open().await).await;
    conformance::one_winner(open().await, &differences()).await;
    conformance::dropped_at_every_poll(open().await).await;
    conformance::odd_text_is_kept(open().await, &differences()).await;
    println!("the users table keeps every promise of an account store");
}
