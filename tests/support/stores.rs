//! The stores under test, each with a look inside.

use std::sync::Arc;

use async_trait::async_trait;
use signup::fields::EmailKey;
use signup::store::{AccountStore, Created, MemoryStore, NewAccount, SqliteStore, StoreError};
use sqlx::Row as _;

/// A row of `accounts`, as far as tests look at it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub id: String,
    pub email: String,
    pub email_key: String,
    pub name: Option<String>,
    pub plan: String,
    pub password_hash: String,
    pub pepper_version: Option<u32>,
    pub created_at: i64,
}

/// A store that tests can look into.
#[async_trait]
pub trait Inspect: AccountStore {
    async fn accounts(&self) -> Vec<Row>;
    /// Digest, account id and display prefix of every key.
    async fn api_keys(&self) -> Vec<(Vec<u8>, String, String)>;
    /// All bytes that the store has written, where it writes any.
    async fn bytes(&self) -> Vec<u8>;
    /// Takes an account away, with its keys.
    async fn delete(&self, email_key: &str);
}

pub fn memory() -> Arc<dyn Inspect> {
    Arc::new(MemoryStore::default())
}

pub async fn sqlite() -> Arc<dyn Inspect> {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let store = SqliteStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    Arc::new(Sqlite { store, folder })
}

#[async_trait]
impl Inspect for MemoryStore {
    async fn accounts(&self) -> Vec<Row> {
        MemoryStore::accounts(self).iter().map(row).collect()
    }

    async fn api_keys(&self) -> Vec<(Vec<u8>, String, String)> {
        let accounts = MemoryStore::accounts(self);
        let prefix =
            |id| accounts.iter().find(|new| new.id() == id).map(|new| new.key_prefix().to_owned());
        let keys = MemoryStore::api_keys(self);
        keys.iter()
            .map(|(digest, id)| {
                (digest.as_bytes().to_vec(), id.to_string(), prefix(id).unwrap_or_default())
            })
            .collect()
    }

    async fn bytes(&self) -> Vec<u8> {
        format!("{:?}", MemoryStore::accounts(self).iter().map(row).collect::<Vec<_>>())
            .into_bytes()
    }

    async fn delete(&self, email_key: &str) {
        MemoryStore::delete(self, email_key);
    }
}

fn row(new: &NewAccount) -> Row {
    Row {
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

struct Sqlite {
    store: SqliteStore,
    folder: tempfile::TempDir,
}

#[async_trait]
impl AccountStore for Sqlite {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        self.store.is_email_taken(key).await
    }

    async fn create(&self, new: NewAccount) -> Result<Created, StoreError> {
        self.store.create(new).await
    }
}

#[async_trait]
impl Inspect for Sqlite {
    async fn accounts(&self) -> Vec<Row> {
        let rows =
            sqlx::query("SELECT * FROM accounts").fetch_all(self.store.pool()).await.unwrap();
        let row = |row: &sqlx::sqlite::SqliteRow| Row {
            id: row.get("id"),
            email: row.get("email"),
            email_key: row.get("email_key"),
            name: row.get("name"),
            plan: row.get("plan"),
            password_hash: row.get("password_hash"),
            pepper_version: row.get("pepper_version"),
            created_at: row.get("created_at"),
        };
        rows.iter().map(row).collect()
    }

    async fn api_keys(&self) -> Vec<(Vec<u8>, String, String)> {
        let keys = sqlx::query_as("SELECT digest, account_id, prefix FROM api_keys");
        keys.fetch_all(self.store.pool()).await.unwrap()
    }

    async fn bytes(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    async fn delete(&self, email_key: &str) {
        let delete = sqlx::query("DELETE FROM accounts WHERE email_key = ?").bind(email_key);
        delete.execute(self.store.pool()).await.unwrap();
    }
}
