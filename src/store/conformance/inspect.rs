//! The stored rows of a store, and access to those of this crate's stores.

use async_trait::async_trait;

use crate::account::AccountId;

use super::{Changeable, Credentialed, Eventful, Inspect, Relayed, Replayable, Verifying};
use crate::store::{
    AccountStore, CredentialStore, EventStore, LifecycleStore, MemoryStore, NewAccount, NewApiKey,
    RelayStore, ReplayStore, VerificationStore,
};

/// A row of `accounts`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the stores' tables document the columns")]
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
#[expect(missing_docs, reason = "the stores' tables document the columns")]
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
    fn credentials(&self) -> &dyn CredentialStore {
        self
    }

    async fn delete_account(&self, id: &AccountId) {
        let accounts = self.accounts();
        for account in accounts.iter().filter(|account| account.id() == id) {
            self.delete(account.email().key().as_str());
        }
    }
}

impl Replayable for MemoryStore {
    fn replays(&self) -> &dyn ReplayStore {
        self
    }
}

impl Relayed for MemoryStore {
    fn relays(&self) -> &dyn RelayStore {
        self
    }
}

impl Eventful for MemoryStore {
    fn events(&self) -> &dyn EventStore {
        self
    }
}

impl Changeable for MemoryStore {
    fn lifecycle(&self) -> &dyn LifecycleStore {
        self
    }
}

impl Verifying for MemoryStore {
    fn tickets(&self) -> &dyn VerificationStore {
        self
    }
}

#[async_trait]
impl Inspect for MemoryStore {
    fn accounts(&self) -> &dyn AccountStore {
        self
    }

    async fn stored_accounts(&self) -> Vec<StoredAccount> {
        Self::accounts(self).iter().map(StoredAccount::from).collect()
    }

    async fn stored_keys(&self) -> Vec<StoredKey> {
        self.api_keys().iter().map(StoredKey::from).collect()
    }
}

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod sql {
    use async_trait::async_trait;

    use super::{StoredAccount, StoredKey};
    use crate::account::AccountId;
    use crate::issue::BoxError;
    use crate::store::conformance::{
        Changeable, Credentialed, Eventful, Inspect, Relayed, Replayable, Verifying,
    };
    use crate::store::dialect::fill::read_times;
    use crate::store::dialect::statement::Statement;
    use crate::store::sql::backend::Backend;
    use crate::store::sql::statement::{Kind, Row, decode};
    use crate::store::{
        AccountStore, CredentialStore, EventStore, LifecycleStore, RelayStore, ReplayStore,
        SqlStore, VerificationStore,
    };

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
    impl<B: Backend> Credentialed for SqlStore<B> {
        fn credentials(&self) -> &dyn CredentialStore {
            self
        }

        async fn delete_account(&self, id: &AccountId) {
            let delete = |table, column| {
                let (table, id_of) = (self.table(table), (B::SPELLING.placeholder)(1));
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
    }

    impl<B: Backend> Replayable for SqlStore<B> {
        fn replays(&self) -> &dyn ReplayStore {
            self
        }
    }

    impl<B: Backend> Relayed for SqlStore<B> {
        fn relays(&self) -> &dyn RelayStore {
            self
        }
    }

    impl<B: Backend> Eventful for SqlStore<B> {
        fn events(&self) -> &dyn EventStore {
            self
        }
    }

    impl<B: Backend> Changeable for SqlStore<B> {
        fn lifecycle(&self) -> &dyn LifecycleStore {
            self
        }
    }

    impl<B: Backend> Verifying for SqlStore<B> {
        fn tickets(&self) -> &dyn VerificationStore {
            self
        }
    }

    #[async_trait]
    impl<B: Backend> Inspect for SqlStore<B> {
        fn accounts(&self) -> &dyn AccountStore {
            self
        }

        async fn stored_accounts(&self) -> Vec<StoredAccount> {
            let sql = format!(
                "SELECT a.@id, a.@email, a.@email_key, a.@name, a.@plan, a.@password_hash,
                     a.@pepper_version, {{a.created_at}}
                 FROM {} a",
                self.table("accounts"),
            );
            let sql = read_times(&sql, &self.names, B::SPELLING);
            all(self, self.names.fill_columns(&sql), ACCOUNT, account).await
        }

        async fn stored_keys(&self) -> Vec<StoredKey> {
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

    fn account(mut row: Row) -> Result<StoredAccount, BoxError> {
        Ok(StoredAccount {
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

    fn key(mut row: Row) -> Result<StoredKey, BoxError> {
        Ok(StoredKey {
            digest: row.bytes()?,
            account_id: row.text()?,
            prefix: row.text()?,
            created_at: row.integer()?,
        })
    }
}
