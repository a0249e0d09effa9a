//! Accounts in SQLite, by sqlx.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::sqlite::{
    Sqlite as Database, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Executor as _, SqlSafeStr as _, SqlStr};
use tokio::time::Instant;

use crate::issue::BoxError;

use super::dialect::names::TableNames;
use super::dialect::sqlite::{SYNTAX, clash, severity};
use super::dialect::statement::Statement;
use super::dialect::syntax::{Severity, Syntax, ViolatedConstraint};
use super::sql::backend::{Backend, Interrupt, Limit, sealed};
use super::sql::checks::Checks;
use super::sql::fault::{Fault, without_rows};
use super::sql::numbered::{query, values};
use super::sql::open::{Location, OpenError, check_scheme};
use super::sql::statement::{Kind, Row, trusted};
use super::sql::{DEADLINE, SqlStore};

/// The connections of the store's own pool: one writes at a time, the others serve reads.
const CONNECTIONS: u32 = 4;

/// The wait before a file that is locked for a moment is opened again.
const AGAIN_AFTER: Duration = Duration::from_millis(5);

/// The instructions of SQLite's machine between two readings of the time.
const INSTRUCTIONS: i32 = 10_000;

/// A query that notices a schema which another connection has changed: an `ON CONFLICT` is
/// compared with the indexes that the connection knows.
const READ_SCHEMA: &str = "SELECT 1 FROM sqlite_master LIMIT 0";

/// The time from a deadline to an interrupt.
const CLEARLY_LATER: Duration = Duration::from_millis(50);

/// The wait of a transaction of the host, which has no deadline, for other processes.
const HOST_PATIENCE: Duration = Duration::from_secs(5);

/// Accounts in a SQLite database.
///
/// A write is one `BEGIN IMMEDIATE` transaction. The writers of a process take turns, first
/// come, first served, because SQLite's own busy handler lets some starve. Clones of a
/// store share these turns, and so do stores made by
/// [`with_prefix`](SqlStore::with_prefix).
///
/// ```
/// use signup::store::SqliteStore;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
/// store.migrate().await.unwrap();
/// # });
/// ```
///
/// # Tables
/// With `{t}` and `{p}` for the [prefix](SqlStore::with_prefix):
///
/// ```sql
#[doc = include_str!("dialect/sqlite/accounts.sql")]
#[doc = include_str!("dialect/sqlite/beside.sql")]
/// ```
pub type SqliteStore = SqlStore<Sqlite>;

/// The backend of [`SqliteStore`].
#[derive(Debug, Clone)]
pub struct Sqlite {
    /// Whether the connections are the store's own, so that it may change their settings.
    owns_pool: bool,
}

impl SqlStore<Sqlite> {
    /// Creates a store on the host's pool. To keep the promises of
    /// [`AccountStore`](super::AccountStore), set it up with `journal_mode=WAL`,
    /// `synchronous=FULL`, `foreign_keys=ON` and a busy timeout of about the
    /// [deadline](Self::with_deadline), as [`connect`](Self::connect) does.
    pub fn new(pool: SqlitePool) -> Self {
        let location = Location::from_url("sqlite:(the host's pool)");
        Self::with_backend(Sqlite { owns_pool: false }, pool, location, Some(1))
    }

    /// Opens a database, and creates it if missing: on Unix readable by its owner alone.
    ///
    /// The files beside it (`-wal`, `-shm`) belong to it: closing the [pool](Self::pool) at
    /// the end leaves one file. Deleting them under a running server loses accounts.
    ///
    /// # Errors
    /// Fails if the URL is not valid for SQLite or names no file, or if the database can't
    /// be opened.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        let location = Location::from_url(url);
        let failed = |error: BoxError| OpenError::open(location.clone(), error);
        check_scheme(url, &["sqlite"]).map_err(failed)?;
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| failed(error.into()))?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(DEADLINE);
        check_file(&options).map_err(failed)?;
        // A database in memory exists as long as its one connection.
        let in_memory = url.contains(":memory:") || url.contains("mode=memory");
        if !in_memory && !url.contains("mode=ro") {
            create_private(options.get_filename()).map_err(|error| failed(error.into()))?;
        }
        let pool = SqlitePoolOptions::new()
            .max_connections(if in_memory { 1 } else { CONNECTIONS })
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(DEADLINE);
        let checks_connections = Checks::default();
        let checks = checks_connections.clone();
        let pool = pool.after_release(move |connection, _| {
            let is_checked = checks.have_begun();
            Box::pin(async move { Ok(!is_checked || Sqlite::is_idle(connection).await) })
        });
        let pool = open_pool(pool, options).await.map_err(|error| failed(error.into()))?;
        let mut store = Self::with_backend(Sqlite { owns_pool: true }, pool, location, Some(1));
        store.checks_connections = checks_connections;
        Ok(store)
    }
}

/// Opens the pool with its first connection, within the deadline. Of several processes that
/// find a new file, one turns it to WAL; meanwhile SQLite reports to the others at once that it
/// is locked, without waiting for the busy timeout, so they try again.
async fn open_pool(
    pool: SqlitePoolOptions,
    options: SqliteConnectOptions,
) -> Result<sqlx::SqlitePool, sqlx::Error> {
    let begun = tokio::time::Instant::now();
    loop {
        match pool.clone().connect_with(options.clone()).await {
            Err(sqlx::Error::Database(error))
                if is_busy(error.code().as_deref()) && begun.elapsed() < DEADLINE =>
            {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            opened => return opened,
        }
    }
}

/// Rejects a database that each connection would have for itself: SQLite takes an empty
/// name for a temporary one.
fn check_file(options: &SqliteConnectOptions) -> Result<(), BoxError> {
    if options.get_filename().as_os_str().is_empty() {
        return Err("it names no file, and each connection would have an empty database of its \
                    own: name one, as in sqlite://app.db, or take sqlite::memory:"
            .into());
    }
    Ok(())
}

/// Creates a missing file for its owner alone. SQLite gives its other files the same mode.
fn create_private(path: &std::path::Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

impl sealed::Sealed for Sqlite {}

impl Backend for Sqlite {
    type Database = Database;

    const SYNTAX: Syntax = SYNTAX;
    // A connection's thread executes its commands in order, including the rollback of a
    // dropped transaction.
    const REUSES_DROPPED: bool = true;
    const LOOK_SETTLES_COMMIT: bool = true;

    fn begin(&self, limit: Option<Limit>) -> SqlStr {
        if !self.owns_pool {
            return trusted(format!("BEGIN IMMEDIATE; {READ_SCHEMA}"));
        }
        // Limits the wait for writers of other processes.
        let millis = limit.map_or(HOST_PATIENCE, |limit| limit.left).as_millis();
        trusted(format!("PRAGMA busy_timeout = {millis}; BEGIN IMMEDIATE; {READ_SCHEMA}"))
    }

    /// Returns the query itself: its transaction is a writer's.
    fn locking(&self, statement: &Statement) -> Statement {
        statement.clone()
    }

    async fn is_idle(connection: &mut SqliteConnection) -> bool {
        // It fails where there is nothing to roll back.
        let _ = Self::run(connection, "ROLLBACK".into_sql_str()).await;
        true
    }

    /// Gives the writer back when the deadline has passed, and not when the statement ends.
    async fn interrupt_at(
        &self,
        connection: &mut SqliteConnection,
        until: Instant,
    ) -> Result<Interrupt, sqlx::Error> {
        if !self.owns_pool {
            return Ok(Interrupt::default());
        }
        let interrupt = Interrupt::due();
        let due = interrupt.clone();
        // The call has ended by then, and does not see its statement fail.
        let until = until + CLEARLY_LATER;
        let goes_on = move || Instant::now() < until || !due.cancel();
        connection.lock_handle().await?.set_progress_handler(INSTRUCTIONS, goes_on);
        Ok(interrupt)
    }

    fn commits_alone(&self) -> bool {
        false
    }

    async fn execute(
        connection: &mut SqliteConnection,
        statement: &Statement,
        persistent: bool,
    ) -> Result<u64, sqlx::Error> {
        let done = query::<Database>(statement, persistent).execute(connection).await?;
        Ok(done.rows_affected())
    }

    async fn fetch(
        connection: &mut SqliteConnection,
        statement: &Statement,
        kinds: &'static [Kind],
        persistent: bool,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let rows = query::<Database>(statement, persistent).fetch_all(connection).await?;
        rows.iter().map(|row| values(row, kinds)).collect()
    }

    async fn run(connection: &mut SqliteConnection, script: SqlStr) -> Result<(), sqlx::Error> {
        connection.execute(sqlx::raw_sql(script)).await.map(drop)
    }

    fn check(pool: &SqlitePool) -> Result<(), BoxError> {
        check_file(&pool.connect_options())
    }

    async fn check_session(connection: &mut SqliteConnection) -> Result<(), BoxError> {
        let sql = "PRAGMA foreign_keys".into_sql_str();
        let enforced: bool = sqlx::query_scalar(sql).fetch_one(connection).await?;
        if enforced {
            return Ok(());
        }
        Err("foreign_keys of its connections is OFF: set it to ON".into())
    }

    fn find_column(&self, names: &TableNames, table: &str, column: &str) -> Statement {
        let sql = "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2";
        Statement::from_parts(sql, vec![names.table(table).as_str().into(), column.into()])
    }

    fn fault(error: sqlx::Error) -> Fault {
        let severity = match &error {
            sqlx::Error::Database(error) => code(error.as_ref()).map_or(Severity::Failed, severity),
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Severity::Unavailable,
            _ => Severity::Failed,
        };
        Fault::new(severity, without_rows(error))
    }

    fn clash(error: &sqlx::Error, names: &TableNames) -> Option<ViolatedConstraint> {
        let error = error.as_database_error()?;
        clash(code(error)?, error.message(), names)
    }
}

/// Returns the extended result code.
fn code(error: &dyn sqlx::error::DatabaseError) -> Option<i32> {
    error.code()?.parse().ok()
}

/// Returns whether a result code is BUSY, which it is for a moment.
fn is_busy(code: Option<&str>) -> bool {
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_store_s_own_connections_get_another_busy_timeout() {
        let limit = Limit { left: Duration::from_millis(20), is_late: true };
        let begin = |owns_pool| Sqlite { owns_pool }.begin(Some(limit)).as_str().to_owned();
        let immediate = format!("BEGIN IMMEDIATE; {READ_SCHEMA}");
        assert_eq!(begin(true), format!("PRAGMA busy_timeout = 20; {immediate}"));
        assert_eq!(begin(false), immediate);
    }
}
