//! What a store has stored, as rows; and the looks into the stores that are ours.

use async_trait::async_trait;

use crate::account::AccountId;

use super::super::{MemoryStore, NewAccount, NewApiKey};
use super::{Credentialed, Inspect};

/// A row of `accounts`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the columns are told at the store's tables")]
pub struct StoredAccount {
    pub id: String,
    pub email: String,
    pub email_key: String,
    pub name: Option<String>,
    pub plan: String,
    pub password_hash: String,
    pub pepper_version: Option<u32>,
    pub created_at: i64,
}

impl From<&NewAccount> for StoredAccount {
    fn from(new: &NewAccount) -> Self {
        Self {
            id: new.id().to_string(),
            email: new.email().as_str().to_owned(),
            email_key: new.email().key().to_string(),
            name: new.name().map(str::to_owned),
            plan: new.plan().to_string(),
            password_hash: new.password_hash().as_phc().to_owned(),
            pepper_version: new.password_hash().pepper_version(),
            created_at: new.created_at().as_millis(),
        }
    }
}

/// A row of `api_keys`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the columns are told at the store's tables")]
pub struct StoredKey {
    pub digest: Vec<u8>,
    pub account_id: String,
    pub prefix: String,
    pub created_at: i64,
}

impl From<&NewApiKey> for StoredKey {
    fn from(new: &NewApiKey) -> Self {
        Self {
            digest: new.digest().as_bytes().to_vec(),
            account_id: new.account_id().to_string(),
            prefix: new.prefix.clone(),
            created_at: new.created_at.as_millis(),
        }
    }
}

#[async_trait]
impl Credentialed for MemoryStore {
    async fn delete_account(&self, id: &AccountId) {
        let accounts = self.accounts();
        for account in accounts.iter().filter(|account| account.id() == id) {
            self.delete(account.email().key().as_str());
        }
    }
}

#[async_trait]
impl Inspect for MemoryStore {
    async fn stored_accounts(&self) -> Vec<StoredAccount> {
        self.accounts().iter().map(StoredAccount::from).collect()
    }

    async fn stored_keys(&self) -> Vec<StoredKey> {
        self.api_keys().iter().map(StoredKey::from).collect()
    }
}

/// The same two queries for both SQL stores.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
macro_rules! inspect_sql {
    ($store:ty, $row:ty) => {
        #[async_trait]
        impl Credentialed for $store {
            async fn delete_account(&self, id: &AccountId) {
                let sql = format!("DELETE FROM {} WHERE id = $1", self.table("accounts"));
                let delete = sqlx::query(super::super::sql::shared(sql)).bind(id.as_str());
                if let Err(error) = delete.execute(self.pool()).await {
                    panic!("the account can't be deleted: {error}");
                }
            }
        }

        #[async_trait]
        impl Inspect for $store {
            async fn stored_accounts(&self) -> Vec<StoredAccount> {
                use sqlx::Row as _;
                let sql = format!("SELECT * FROM {}", self.table("accounts"));
                let read = |row: $row| {
                    Ok::<_, sqlx::Error>(StoredAccount {
                        id: row.try_get("id")?,
                        email: row.try_get("email")?,
                        email_key: row.try_get("email_key")?,
                        name: row.try_get("name")?,
                        plan: row.try_get("plan")?,
                        password_hash: row.try_get("password_hash")?,
                        pepper_version: row
                            .try_get::<Option<i64>, _>("pepper_version")?
                            .and_then(|version| version.try_into().ok()),
                        created_at: row.try_get("created_at")?,
                    })
                };
                let rows = sqlx::query(super::super::sql::shared(sql)).fetch_all(self.pool()).await;
                let rows = rows.and_then(|rows| rows.into_iter().map(read).collect());
                rows.unwrap_or_else(|error| panic!("the accounts can't be read: {error}"))
            }

            async fn stored_keys(&self) -> Vec<StoredKey> {
                use sqlx::Row as _;
                let sql = format!("SELECT * FROM {}", self.table("api_keys"));
                let read = |row: $row| {
                    Ok::<_, sqlx::Error>(StoredKey {
                        digest: row.try_get("digest")?,
                        account_id: row.try_get("account_id")?,
                        prefix: row.try_get("prefix")?,
                        created_at: row.try_get("created_at")?,
                    })
                };
                let rows = sqlx::query(super::super::sql::shared(sql)).fetch_all(self.pool()).await;
                let rows = rows.and_then(|rows| rows.into_iter().map(read).collect());
                rows.unwrap_or_else(|error| panic!("the API keys can't be read: {error}"))
            }
        }
    };
}

#[cfg(feature = "postgres")]
inspect_sql!(super::super::PostgresStore, sqlx::postgres::PgRow);
#[cfg(feature = "sqlite")]
inspect_sql!(super::super::SqliteStore, sqlx::sqlite::SqliteRow);
