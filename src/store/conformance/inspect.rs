//! The rows of a store, and harnesses of this crate's stores.

use async_trait::async_trait;

use crate::account::AccountId;

use super::Harness;
use crate::store::MemoryStore;
use crate::store::contract::{NewAccount, NewApiKey};

/// A row of `accounts`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the stores' tables document the columns")]
pub struct AccountRow {
    pub id: String,
    pub email: String,
    pub email_key: String,
    pub name: Option<String>,
    pub plan: String,
    pub password_hash: String,
    pub pepper_version: Option<u32>,
    pub created_at: i64,
}

impl From<&NewAccount> for AccountRow {
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
#[expect(missing_docs, reason = "the stores' tables document the columns")]
pub struct ApiKeyRow {
    pub digest: Vec<u8>,
    pub account_id: String,
    pub prefix: String,
    pub created_at: i64,
}

impl From<&NewApiKey> for ApiKeyRow {
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
impl Harness for MemoryStore {
    type Store = Self;

    fn under_test(&self) -> &Self {
        self
    }

    async fn account_rows(&self) -> Vec<AccountRow> {
        self.accounts().iter().map(AccountRow::from).collect()
    }

    async fn api_key_rows(&self) -> Vec<ApiKeyRow> {
        self.api_keys().iter().map(ApiKeyRow::from).collect()
    }

    async fn delete_account(&self, id: &AccountId) {
        let accounts = self.accounts();
        for account in accounts.iter().filter(|account| account.id() == id) {
            self.delete(account.email().key().as_str());
        }
    }
}

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod sql {
    use async_trait::async_trait;

    use super::{AccountRow, ApiKeyRow};
    use crate::account::AccountId;
    use crate::issue::BoxError;
    use crate::store::conformance::Harness;
    use crate::store::dialect::fill::read_times;
    use crate::store::dialect::statement::Statement;
    use crate::store::sql::SqlStore;
    use crate::store::sql::backend::Backend;
    use crate::store::sql::statement::{Kind, Row, decode};

    const ACCOUNT: &[Kind] = &[
        Kind::Text,
        Kind::Text,
        Kind::Text,
        Kind::Text,
        Kind::Text,
        Kind::Text,
        Kind::Integer,
        Kind::Integer,
    ];
    const KEY: &[Kind] = &[Kind::Bytes, Kind::Text, Kind::Text, Kind::Integer];

    #[async_trait]
    impl<B: Backend> Harness for SqlStore<B> {
        type Store = Self;

        fn under_test(&self) -> &Self {
            self
        }

        async fn delete_account(&self, id: &AccountId) {
            let delete = |table, column| {
                let (table, id_of) = (self.table(table), (B::SYNTAX.placeholder)(1));
                let sql = format!("DELETE FROM {table} WHERE {column} = {id_of}");
                Statement::from_parts(self.names.fill_columns(&sql), vec![id.as_str().into()])
            };
            // Where the reference is by convention, so is what it does.
            let keys = self.backend.references_by_convention();
            let keys = keys.then(|| delete("api_keys", "account_id"));
            for statement in keys.into_iter().chain([delete("accounts", "@id")]) {
                let deleted = async {
                    let mut connection = self.pool().acquire().await?;
                    B::execute(&mut connection, &statement, self.backend.persistent()).await
                };
                if let Err(error) = deleted.await {
                    panic!("the account can't be deleted: {error}");
                }
            }
        }

        async fn account_rows(&self) -> Vec<AccountRow> {
            let sql = format!(
                "SELECT a.@id, a.@email, a.@email_key, a.@name, a.@plan, a.@password_hash,
                     a.@pepper_version, {{a.created_at}}
                 FROM {} a",
                self.table("accounts"),
            );
            let sql = read_times(&sql, &self.names, B::SYNTAX);
            all(self, self.names.fill_columns(&sql), ACCOUNT, account).await
        }

        async fn api_key_rows(&self) -> Vec<ApiKeyRow> {
            let table = self.table("api_keys");
            let sql = format!("SELECT digest, account_id, prefix, created_at FROM {table}");
            all(self, sql, KEY, key).await
        }
    }

    async fn all<B: Backend, T>(
        store: &SqlStore<B>,
        sql: String,
        kinds: &'static [Kind],
        read: impl Fn(Row) -> Result<T, BoxError>,
    ) -> Vec<T> {
        let find = Statement::from_parts(sql, Vec::new());
        let rows = async {
            let mut connection = store.pool().acquire().await?;
            B::fetch(&mut connection, &find, kinds, store.backend.persistent()).await
        };
        let rows = rows.await.unwrap_or_else(|error| panic!("the rows can't be read: {error}"));
        decode(rows, read).unwrap_or_else(|error| panic!("the rows can't be read: {error}"))
    }

    fn account(mut row: Row) -> Result<AccountRow, BoxError> {
        Ok(AccountRow {
            id: row.text()?,
            email: row.text()?,
            email_key: row.text()?,
            name: row.optional_text()?,
            plan: row.text()?,
            password_hash: row.text()?,
            pepper_version: row.optional_integer()?.map(u32::try_from).transpose()?,
            created_at: row.integer()?,
        })
    }

    fn key(mut row: Row) -> Result<ApiKeyRow, BoxError> {
        Ok(ApiKeyRow {
            digest: row.bytes()?,
            account_id: row.text()?,
            prefix: row.text()?,
            created_at: row.integer()?,
        })
    }
}
