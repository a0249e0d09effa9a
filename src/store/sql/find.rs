//! Reads: attempts on a connection until one succeeds or the deadline passes.

use sqlx::{Connection as _, SqlStr};
use tokio::time::{Instant, timeout_at};

use crate::store::contract::StoreError;

use super::SqlStore;
use super::backend::{Backend, Connection};
use super::change::{ATTEMPTS, wait};
use super::fault::{Fault, late};
use super::gate::{check_runtime, run_task};
use super::queries::Find;
use super::statement::Row;

impl<B: Backend> SqlStore<B> {
    /// Runs a query and returns its rows. If its connection turns out to be dead, the query
    /// is retried.
    pub(super) async fn find(&self, find: Find) -> Result<Vec<Row>, StoreError> {
        check_runtime()?;
        let until = Instant::now() + self.deadline;
        let turn = self.gate.reader(until).await?;
        let store = self.clone();
        let task = async move { store.find_until(&find, store.backend.begin_read(), until).await };
        run_task(turn, task).await
    }

    pub(super) async fn find_until(
        &self,
        find: &Find,
        begin: Option<SqlStr>,
        until: Instant,
    ) -> Result<Vec<Row>, StoreError> {
        let mut attempt = 1;
        loop {
            match self.try_find(find, begin.clone(), until).await {
                Err(fault) if fault.is_transient() && attempt < ATTEMPTS => {
                    wait(attempt, until).await;
                    attempt += 1;
                }
                outcome => {
                    return outcome.map_err(|fault| fault.before_commit().into_store_error());
                }
            }
        }
    }

    async fn try_find(
        &self,
        find: &Find,
        begin: Option<SqlStr>,
        until: Instant,
    ) -> Result<Vec<Row>, Fault> {
        let mut connection = self.acquire(until).await?;
        let found = timeout_at(until, self.fetch(&mut connection, find, begin)).await;
        let late = |_| Err(Fault::Unavailable(late("no answer before the deadline")));
        let found = found.unwrap_or_else(late);
        if found.is_err() && !B::REUSES_DROPPED {
            drop(connection.detach());
        }
        found
    }

    async fn fetch(
        &self,
        connection: &mut Connection<B>,
        find: &Find,
        begin: Option<SqlStr>,
    ) -> Result<Vec<Row>, Fault> {
        let (statement, columns) = (&find.statement, find.columns);
        let persistent = self.backend.persistent();
        let Some(begin) = begin else {
            return B::fetch(connection, statement, columns, persistent).await.map_err(B::fault);
        };
        let mut transaction = connection.begin_with(begin).await.map_err(B::fault)?;
        let rows = B::fetch(&mut transaction, statement, columns, persistent).await;
        let rows = rows.map_err(B::fault)?;
        transaction.commit().await.map_err(B::fault)?;
        Ok(rows)
    }
}
