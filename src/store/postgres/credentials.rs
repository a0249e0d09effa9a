//! [`CredentialStore`] in PostgreSQL.

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, Row as _};
use tokio::time::Instant;

use crate::account::{Account, AccountId};
use crate::api_key::{ApiKeyDigest, ApiKeyId};
use crate::clock::Timestamp;
use crate::fields::{Email, EmailKey, Name};
use crate::hash::PasswordHash;

use super::super::sql::credentials::{self, Statement, add_key, credential_store, decode};
use super::super::sql::credentials::{moment, query, settled};
use super::super::{AccountRecord, ApiKeyInfo, CredentialStore, KeyOwner, NewApiKey};
use super::super::{StoreError, joined};
use super::fault::{self, Fault};
use super::{ATTEMPTS, PostgresStore};

impl PostgresStore {
    fn credentials(&self) -> &credentials::Credentials {
        &self.queries.credentials
    }

    pub(super) async fn rows(&self, find: Statement) -> Result<Vec<PgRow>, StoreError> {
        let store = self.clone();
        let task = tokio::spawn(async move {
            let until = Instant::now() + store.deadline;
            store.find(&find, until).await
        });
        joined(task.await)
    }

    /// All of the changes or none, in a task of the store's own.
    async fn change(&self, changes: Vec<Statement>) -> Result<bool, StoreError> {
        let store = self.clone();
        joined(tokio::spawn(async move { store.apply(&changes).await }).await)
    }

    async fn apply(&self, changes: &[Statement]) -> Result<bool, StoreError> {
        let until = Instant::now() + self.deadline;
        let mut attempt = 1;
        loop {
            match self.try_to_apply(changes, until).await {
                Err(Fault::Serialization(_)) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome.map_err(Fault::into_store_error),
            }
        }
    }

    /// One attempt, on a connection that is closed if it fails. A single statement
    /// is a transaction by itself.
    async fn try_to_apply(&self, changes: &[Statement], until: Instant) -> Result<bool, Fault> {
        let mut connection = fault::acquire(&self.pool, until).await?;
        let work = async {
            if let ([change], true) = (changes, self.prepares) {
                return match query!(change).fetch_all(&mut *connection).await {
                    Ok(rows) => Ok(!rows.is_empty()),
                    Err(error) if is_orphan(&error) => Ok(false),
                    Err(error) => Err(Fault::of(error)),
                };
            }
            let mut transaction = connection.begin().await.map_err(Fault::before_commit)?;
            for change in changes {
                let query = query!(change).persistent(self.prepares);
                let found = match query.fetch_all(&mut *transaction).await {
                    Ok(rows) => !rows.is_empty(),
                    Err(error) if is_orphan(&error) => false,
                    Err(error) => return Err(Fault::before_commit(error)),
                };
                if !found {
                    transaction.rollback().await.map_err(Fault::before_commit)?;
                    return Ok(false);
                }
            }
            transaction.commit().await.map_err(Fault::of)?;
            Ok(true)
        };
        let outcome = fault::within(until, work).await;
        if outcome.is_err() {
            drop(connection.detach());
        }
        outcome
    }
}

credential_store!(PostgresStore, PgRow);

/// A key of an account that was deleted at the same moment.
fn is_orphan(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation)
}
