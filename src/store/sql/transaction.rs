//! Transactions of the host.

use std::ops::{Deref, DerefMut};

use sqlx::Transaction;
use tokio::sync::OwnedSemaphorePermit;

use super::backend::{Backend, Connection};

/// A transaction of the host in the store's database, begun by
/// [`SqlStore::begin`](super::SqlStore::begin), for
/// [`create_in`](super::SqlStore::create_in) and the host's own rows.
///
/// Dropping it rolls it back.
pub struct HostTransaction<B: Backend> {
    transaction: Transaction<'static, B::Database>,
    /// The permit of this writer, in SQLite.
    _turn: Option<OwnedSemaphorePermit>,
}

impl<B: Backend> HostTransaction<B> {
    pub(in crate::store) fn new(
        transaction: Transaction<'static, B::Database>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { transaction, _turn: turn }
    }

    /// Commits. Only then does the account exist, and may the answer be shown.
    ///
    /// # Errors
    /// Fails if the database does; the outcome is unknown if the connection was lost.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await
    }

    /// Rolls everything back.
    ///
    /// # Errors
    /// Fails if the database does not answer; it rolls back by itself then.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.transaction.rollback().await
    }

    /// Returns the connection, for the host's own statements.
    pub fn connection(&mut self) -> &mut Connection<B> {
        &mut self.transaction
    }
}

impl<B: Backend> Deref for HostTransaction<B> {
    type Target = Transaction<'static, B::Database>;

    fn deref(&self) -> &Self::Target {
        &self.transaction
    }
}

impl<B: Backend> DerefMut for HostTransaction<B> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.transaction
    }
}

impl<B: Backend> std::fmt::Debug for HostTransaction<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostTransaction")
    }
}
