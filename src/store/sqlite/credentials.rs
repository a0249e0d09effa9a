//! [`CredentialStore`] in SQLite.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection as _, Row as _};

use crate::account::{Account, AccountId};
use crate::api_key::{ApiKeyDigest, ApiKeyId};
use crate::clock::Timestamp;
use crate::fields::{Email, EmailKey, Name};
use crate::hash::PasswordHash;

use super::super::sql::credentials::{self, Statement, add_key, credential_store, decode};
use super::super::sql::credentials::{moment, query, settled};
use super::super::sql::without_rows;
use super::super::{AccountRecord, ApiKeyInfo, CredentialStore, KeyOwner, NewApiKey};
use super::super::{StoreError, joined};
use super::{SqliteStore, failed};

impl SqliteStore {
    fn credentials(&self) -> &credentials::Credentials {
        &self.queries.credentials
    }

    async fn rows(&self, find: Statement) -> Result<Vec<SqliteRow>, StoreError> {
        query!(&find).fetch_all(&self.pool).await.map_err(failed)
    }

    /// All of the changes or none, in a task of the store's own.
    async fn change(&self, changes: Vec<Statement>) -> Result<bool, StoreError> {
        let store = self.clone();
        joined(tokio::spawn(async move { store.apply(&changes).await }).await)
    }

    async fn apply(&self, changes: &[Statement]) -> Result<bool, StoreError> {
        let _turn = self.writer.acquire().await.ok();
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let begun = connection.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(failed)?;
        let mut found = Ok(true);
        for change in changes {
            let rows = query!(change).fetch_all(&mut *transaction).await;
            found = rows.map(|rows| !rows.is_empty()).map_err(failed);
            if !matches!(found, Ok(true)) {
                break;
            }
        }
        let keeps = matches!(found, Ok(true));
        let ended = if keeps { transaction.commit().await } else { transaction.rollback().await };
        let Err(error) = ended else {
            return found;
        };
        drop(connection.detach());
        if keeps { Err(StoreError::OutcomeUnknown(without_rows(error))) } else { found }
    }
}

credential_store!(SqliteStore, SqliteRow);
