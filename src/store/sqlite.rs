//! Accounts in SQLite, by sqlx.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::sqlite::{
    Sqlite as Database, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Executor as _, SqlSafeStr as _, SqlStr};

use crate::issue::BoxError;

use super::sql::backend::{Backend, Catalog, Clash, Dialect, Step, Types, sealed};
use super::sql::fault::{Fault, without_rows};
use super::sql::names::Names;
use super::sql::numbered::{query, values};
use super::sql::open::{Location, OpenError};
use super::sql::statement::{Kind, Row, Statement, trusted};
use super::sql::table::AccountColumn;
use super::sql::{DEADLINE, SqlStore};

/// The connections of the store's own pool: one writes at a time, the others serve reads.
const CONNECTIONS: u32 = 4;

/// The wait before a file that is locked for a moment is opened again.
const AGAIN_AFTER: Duration = Duration::from_millis(5);

/// The wait of a transaction of the host, which has no deadline, for other processes.
const HOST_PATIENCE_MILLIS: u32 = 5000;

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
#[doc = include_str!("sqlite/0001_accounts.sql")]
#[doc = include_str!("sqlite/0002_credentials.sql")]
#[doc = include_str!("sqlite/0003_token_generation.sql")]
#[doc = include_str!("sqlite/0004_retries.sql")]
#[doc = include_str!("sqlite/0005_verification.sql")]
#[doc = include_str!("sqlite/0006_state.sql")]
#[doc = include_str!("sqlite/0007_events.sql")]
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
        let pool = open_pool(pool, options).await.map_err(|error| failed(error.into()))?;
        Ok(Self::with_backend(Sqlite { owns_pool: true }, pool, location, Some(1)))
    }

    /// Sets the deadline of a call. Default: 5 s.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// Opens the pool with its first connection, within the deadline. Of several processes that
/// find a new file, one turns it to WAL; meanwhile SQLite tells the others at once that it
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

/// The numbered steps of the schema.
const STEPS: &[Step] = &[
    Step {
        version: 1,
        description: "accounts and api_keys",
        sql: include_str!("sqlite/0001_accounts.sql"),
        requires: 1,
    },
    Step {
        version: 2,
        description: "credentials",
        sql: include_str!("sqlite/0002_credentials.sql"),
        requires: 1,
    },
    Step {
        version: 3,
        description: "token generation",
        sql: include_str!("sqlite/0003_token_generation.sql"),
        requires: 3,
    },
    Step {
        version: 4,
        description: "retries",
        sql: include_str!("sqlite/0004_retries.sql"),
        requires: 3,
    },
    Step {
        version: 5,
        description: "verification",
        sql: include_str!("sqlite/0005_verification.sql"),
        requires: 3,
    },
    Step {
        version: 6,
        description: "state",
        sql: include_str!("sqlite/0006_state.sql"),
        requires: 6,
    },
    Step {
        version: 7,
        description: "events",
        sql: include_str!("sqlite/0007_events.sql"),
        requires: 6,
    },
];

/// Those beside a table of the host's.
const MAPPED_STEPS: &[Step] = &[Step {
    version: 7,
    description: "tables beside one of the host",
    sql: include_str!("sqlite/mapped.sql"),
    requires: 7,
}];

const CATALOG: Catalog = Catalog {
    columns: "SELECT name, lower(type), \"notnull\" = 0, dflt_value IS NOT NULL OR pk > 0
              FROM pragma_table_info(?2) WHERE ?1 IS NULL",
    uniques: "SELECT l.name, (SELECT i.name FROM pragma_index_info(l.name) i)
              FROM pragma_index_list(?2) l
              WHERE ?1 IS NULL AND l.\"unique\" = 1 AND l.partial = 0
                AND (SELECT count(*) FROM pragma_index_info(l.name)) = 1",
    id: Types { accepted: &["text", "varchar", "char", "nvarchar"], proposed: "TEXT" },
    text: Types { accepted: &["text", "varchar", "char", "clob", "nvarchar"], proposed: "TEXT" },
    key: Types { accepted: &["text", "varchar", "char", "clob", "nvarchar"], proposed: "TEXT" },
    integer: Types { accepted: &["int", "bigint"], proposed: "INTEGER" },
    bytes: Types { accepted: &["blob"], proposed: "BLOB" },
    time: Types { accepted: &["text", "datetime", "timestamp"], proposed: "TEXT" },
    as_text: |value| format!("CAST({value} AS TEXT)"),
    from_text: |value, kind| {
        if kind.contains("int") { format!("CAST({value} AS INTEGER)") } else { value.to_owned() }
    },
};

impl sealed::Sealed for Sqlite {}

impl Backend for Sqlite {
    type Database = Database;

    const DIALECT: Dialect = Dialect {
        placeholder: |number| format!("?{number}"),
        // SQLite opens its file only to read a table.
        ping: "SELECT 1 FROM sqlite_master LIMIT 1",
        bytes: "blob",
        create_table: "CREATE TABLE",
        ignore_recorded: "",
        hex: |digits| format!("x'{digits}'"),
        least: "min",
        quote: '"',
        unique_name: |table, column| format!("{table}.{column}"),
        read_time: |column| {
            format!("CAST(round((julianday({column}) - 2440587.5) * 86400000.0) AS INTEGER)")
        },
        write_time: |millis| {
            format!("strftime('%Y-%m-%d %H:%M:%f', {millis} / 1000.0, 'unixepoch')")
        },
        catalog: &CATALOG,
        ignore_taken_email: "ON CONFLICT (@email_key) DO NOTHING",
    };
    // A connection's thread executes its commands in order, including the rollback of a
    // dropped transaction.
    const REUSES_DROPPED: bool = true;
    const READ_SETTLES_COMMIT: bool = true;

    fn steps(&self, names: &Names) -> &'static [Step] {
        if names.accounts.is_some() { MAPPED_STEPS } else { STEPS }
    }

    fn begin(&self, left: Duration) -> SqlStr {
        if !self.owns_pool {
            return "BEGIN IMMEDIATE".into_sql_str();
        }
        // Limits the wait for writers of other processes.
        let millis = u32::try_from(left.as_millis()).unwrap_or(HOST_PATIENCE_MILLIS);
        trusted(format!("PRAGMA busy_timeout = {millis}; BEGIN IMMEDIATE"))
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

    fn find_column(&self, names: &Names, table: &str, column: &str) -> Statement {
        let sql = "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2".into_sql_str();
        Statement::new(&sql, [names.table(table).as_str().into(), column.into()])
    }

    fn fault(error: sqlx::Error) -> Fault {
        let may_recover = match &error {
            sqlx::Error::Database(error) => is_transient(error.code().as_deref()),
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            _ => false,
        };
        let source = without_rows(error);
        if may_recover { Fault::Unavailable(source) } else { Fault::Failed(source) }
    }

    /// Parses the message, because SQLite reports the columns instead of a constraint's name: `UNIQUE constraint
    /// failed: accounts.id`.
    fn clash(error: &sqlx::Error, names: &Names) -> Option<Clash> {
        let error = error.as_database_error()?;
        if error.is_foreign_key_violation() {
            return Some(Clash::Orphan);
        }
        let (_, column) = error.message().split_once("UNIQUE constraint failed: ")?;
        let is = |name: &str| column == names.table(name);
        let reported = |column| match &names.accounts {
            Some(accounts) => accounts.reported(column),
            None => names.table(&format!("accounts.{}", column.own_name())),
        };
        if column == reported(AccountColumn::EmailKey) || column == reported(AccountColumn::Email) {
            Some(Clash::Email)
        } else if column == reported(AccountColumn::Id) || is("api_keys.digest") {
            Some(Clash::Identifier)
        } else if column == names.fill("{p}api_keys.account_id, {p}api_keys.replay_tag") {
            Some(Clash::Retry)
        } else if is("used_tickets.hash") {
            Some(Clash::Ticket)
        } else {
            None
        }
    }
}

/// Returns whether a result code is BUSY, which it is for a moment.
fn is_busy(code: Option<&str>) -> bool {
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}

/// Returns whether a result code (its low byte is the primary one, see SQLite's "Result and
/// Error Codes") is about the moment and not about the request: PERM, BUSY, LOCKED, NOMEM,
/// READONLY, IOERR, FULL, CANTOPEN, PROTOCOL.
fn is_transient(code: Option<&str>) -> bool {
    let code = code.and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 3 | 5 | 6 | 7 | 8 | 10 | 13 | 14 | 15))
}
