//! The part of a store that differs between databases: connection, dialect and errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{Database, Pool, SqlStr};
use tokio::time::Instant;

use crate::issue::BoxError;
use crate::store::contract::NewAccount;

use crate::store::dialect::migration::steps;
use crate::store::dialect::names::TableNames;
use crate::store::dialect::statement::Statement;
use crate::store::dialect::syntax::{Step, Syntax, ViolatedConstraint};

use super::SqlStore;
use super::fault::Fault;
use super::queries::Queries;
use super::statement::{Kind, Row};

/// The connection of a backend.
#[expect(unreachable_pub, reason = "a public trait shows it")]
pub type Connection<B> = <<B as Backend>::Database as Database>::Connection;

/// The time limit of a write on the server.
#[derive(Debug, Clone, Copy)]
#[doc(hidden)]
pub struct Limit {
    pub left: Duration,
    /// Whether it is shorter than the session's limit.
    pub is_late: bool,
}

/// A database that [`SqlStore`](super::SqlStore) can use. It is sealed: the stores
/// of this crate implement it.
#[doc(hidden)]
pub trait Backend: sealed::Sealed + Clone + Send + Sync + 'static {
    /// The database of sqlx.
    type Database: Database;

    /// Placeholders, functions, types and the schema.
    const SYNTAX: Syntax;
    /// True if the connection of a dropped transaction can be used again. Otherwise it is
    /// closed.
    const REUSES_DROPPED: bool;
    /// True if a query after a failed commit settles whether it happened: a server may still
    /// commit after its client has lost it.
    const LOOK_SETTLES_COMMIT: bool;
    /// True if a [limit](Self::limit) stays when its savepoint is rolled back.
    const LIMITS_OUTLIVE_SAVEPOINTS: bool = false;

    /// Returns the numbered steps of the schema.
    fn steps(&self, names: &TableNames) -> &'static [Step] {
        steps(names, &Self::SYNTAX)
    }

    /// Returns whether a migration is sent as single statements that commit by themselves and
    /// can be repeated, also by several instances at once. Otherwise it is one transaction.
    fn migrates_by_statement(&self) -> bool {
        false
    }

    /// Returns whether nothing but a convention ties an API key to its account.
    fn references_by_convention(&self) -> bool {
        false
    }

    /// Returns the statement that begins a write, or the host's transaction, which has no
    /// limit.
    fn begin(&self, limit: Option<Limit>) -> SqlStr;

    /// Interrupts the statement that runs on a connection at this moment, where no server does.
    fn interrupt_at(
        &self,
        _: &mut Connection<Self>,
        _until: Instant,
    ) -> impl Future<Output = Result<Interrupt, sqlx::Error>> + Send {
        std::future::ready(Ok(Interrupt::default()))
    }

    /// Restores the session's limit after a late write.
    fn restore(
        &self,
        _: &mut Connection<Self>,
        _deadline: Duration,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Limits the statements in a savepoint of the host's transaction, if its session does
    /// not. Returns the statement that restores the previous limit.
    fn limit(
        &self,
        _savepoint: &mut Connection<Self>,
        _deadline: Duration,
    ) -> impl Future<Output = Result<Option<SqlStr>, sqlx::Error>> + Send {
        std::future::ready(Ok(None))
    }

    /// Returns a query that also locks its rows.
    fn locking(&self, statement: &Statement) -> Statement {
        let sql = format!("{} FOR UPDATE", statement.sql);
        Statement::from_parts(sql, statement.values.clone())
    }

    /// Returns whether a connection can be used again: it has no open transaction, or has
    /// ended it.
    fn is_idle(connection: &mut Connection<Self>) -> impl Future<Output = bool> + Send;

    /// Returns the statements that give a session the limits of a migration, if it has the
    /// limits of a call.
    fn migration_limits(&self, _: Duration) -> Option<SqlStr> {
        None
    }

    /// Returns whether nothing is stored after a conflict, also one that a commit reports. A
    /// node that leaves its cluster may report one although the others have committed.
    fn conflicts_are_certain(&self) -> bool {
        false
    }

    /// Returns whether a single statement is sent without a transaction around it.
    fn commits_alone(&self) -> bool;

    /// Returns the statement that begins a read, if one is needed.
    fn begin_read(&self) -> Option<SqlStr> {
        None
    }

    /// Returns whether prepared statements outlive a transaction.
    fn persistent(&self) -> bool {
        true
    }

    /// Returns the statements that insert an account and its first API key. The first
    /// one affects no row where the email is taken.
    fn insert_account(&self, queries: &Queries, new: &NewAccount) -> Vec<Statement> {
        queries.inserts.one_by_one(new)
    }

    /// Runs a statement and returns the number of rows that it affected.
    fn execute(
        connection: &mut Connection<Self>,
        statement: &Statement,
        persistent: bool,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Runs a query and returns its rows.
    fn fetch(
        connection: &mut Connection<Self>,
        statement: &Statement,
        kinds: &'static [Kind],
        persistent: bool,
    ) -> impl Future<Output = Result<Vec<Row>, sqlx::Error>> + Send;

    /// Runs several statements without values.
    fn run(
        connection: &mut Connection<Self>,
        script: SqlStr,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Prepares a migration's transaction: locks out other instances and checks the
    /// database's settings.
    fn begin_migration(
        _: &mut Connection<Self>,
        _: &TableNames,
        _: Duration,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Rejects a session on which changes would be lost.
    ///
    /// # Errors
    /// Returns the reason.
    fn check_session(
        _: &mut Connection<Self>,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Rejects a pool that the store can't work with.
    ///
    /// # Errors
    /// Returns the reason.
    fn check(_: &Pool<Self::Database>) -> Result<(), BoxError> {
        Ok(())
    }

    /// Opens the store's own pool again, with settings that fit the deadline, if they depend on
    /// it.
    fn reopened(store: SqlStore<Self>) -> SqlStore<Self> {
        store
    }

    /// Returns whether an error says that another session holds a lock of the table.
    fn is_locked(_: &sqlx::Error) -> bool {
        false
    }

    /// Returns a query that has a row if the table has the column.
    fn find_column(&self, names: &TableNames, table: &str, column: &str) -> Statement;

    /// Classifies the error of a statement that may have committed.
    fn fault(error: sqlx::Error) -> Fault;

    /// Returns whether an error says that a column or an index exists already: an interrupted
    /// migration has added it.
    fn is_there(_: &sqlx::Error) -> bool {
        false
    }

    /// Returns the constraint of this crate's tables that an error is about.
    fn clash(error: &sqlx::Error, names: &TableNames) -> Option<ViolatedConstraint>;
}

/// An interrupt that is due at the end of a deadline, once.
#[derive(Debug, Clone, Default)]
#[doc(hidden)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Creates an interrupt that is due.
    #[cfg(feature = "sqlite")]
    pub(in crate::store) fn due() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Cancels it. Returns whether it was due.
    pub(in crate::store) fn cancel(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

pub(in crate::store) mod sealed {
    pub trait Sealed {}
}
