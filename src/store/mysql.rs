//! Accounts in MySQL and MariaDB, by sqlx.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::mysql::{
    MySql as Database, MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlPool,
    MySqlPoolOptions,
};
use sqlx::{Connection as _, Executor as _, Row as _, SqlSafeStr as _, SqlStr};
use tokio::time::timeout;

use crate::secret::Secret;

use super::dialect::mysql::{SPELLING, clash, severity, unnumbered};
use super::dialect::names::Names;
use super::dialect::spelling::{Clash, Spelling};
use super::dialect::statement::{Statement, Value};
use super::sql::backend::{Backend, sealed};
use super::sql::fault::{Fault, of_connection};
use super::sql::open::{Location, OpenError, readable};
use super::sql::statement::{Kind, Row, trusted};
use super::sql::{DEADLINE, SqlStore};

/// The connections of the store's own pool.
const CONNECTIONS: u32 = 8;

/// Accounts in a database of MySQL (8.0 or later) or MariaDB (10.6 or later).
///
/// A sign-up is a short transaction at `READ COMMITTED`. Keys and digests are compared by
/// their bytes, text is `utf8mb4`. The exchange of passwords by RSA is not built in
/// (RUSTSEC-2023-0071): a server that asks for `caching_sha2_password` is reached by TLS
/// (features `tls-rustls` and `tls-native`) or by its socket.
///
/// A node of a Galera cluster is one more MariaDB: what decides is a write, which the cluster
/// certifies, and reads wait until the node has what the others had committed.
///
/// ```no_run
/// use signup::store::MySqlStore;
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MySqlStore::connect("mysql://app@localhost/app").await?;
/// store.migrate().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Tables
/// With `{t}` and `{p}` for the [prefix](SqlStore::with_prefix):
///
/// ```sql
#[doc = include_str!("dialect/mysql/0001_accounts.sql")]
/// ```
pub type MySqlStore = SqlStore<MySql>;

/// The backend of [`MySqlStore`].
#[derive(Debug, Clone)]
pub struct MySql {
    /// Whether the pool is the store's own and can be opened again with other settings.
    owns_pool: bool,
}

impl SqlStore<MySql> {
    /// Creates a store on the host's pool, whose sessions have a strict `sql_mode`, the
    /// isolation `READ COMMITTED`, and time limits that the host has set.
    pub fn new(pool: MySqlPool) -> Self {
        let location = Location::from_url("mysql:(the host's pool)");
        Self::with_backend(MySql { owns_pool: false }, pool, location, None)
    }

    /// Opens a store on its own pool of up to 8 connections.
    ///
    /// # Errors
    /// Fails if the URL is not valid for MySQL, or if the database does not answer.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        let location = Location::from_url(url);
        let failed = |error| OpenError::open(location.clone(), readable(error));
        let options = MySqlConnectOptions::from_str(url).map_err(failed)?;
        // A pool would retry until its timeout, and then report only the timeout.
        match timeout(DEADLINE, MySqlConnection::connect_with(&options)).await {
            Ok(connection) => drop(connection.map_err(failed)?.close().await),
            Err(_) => return Err(failed(sqlx::Error::PoolTimedOut)),
        }
        let pool = MySqlPoolOptions::new().max_connections(CONNECTIONS).connect_lazy_with(options);
        Ok(Self::with_backend(MySql { owns_pool: true }, pool, location, None).reopened())
    }

    /// Sets the deadline of a call. Default: 5 s. Settling a commit whose connection was
    /// lost has as long again.
    ///
    /// A store that [opened](Self::connect) its pool opens it again, with matching limits
    /// of the server.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self.reopened()
    }

    /// Opens the store's own pool again, with settings that fit the deadline. It connects
    /// lazily.
    fn reopened(mut self) -> Self {
        if !self.backend.owns_pool {
            return self;
        }
        let deadline = self.deadline;
        let options = self.pool.options().clone().acquire_timeout(deadline);
        let options = options.after_connect(move |connection, _| {
            Box::pin(async move { prepare_session(connection, deadline).await })
        });
        self.pool = options.connect_lazy_with((*self.pool.connect_options()).clone());
        self
    }
}

/// Makes a session strict, names its isolation, and limits its waits, so that the server does
/// not continue alone. A node of a Galera cluster reads, and decides, by what the cluster had
/// committed when it was asked.
async fn prepare_session(
    connection: &mut MySqlConnection,
    deadline: Duration,
) -> Result<(), sqlx::Error> {
    let known = "SHOW VARIABLES WHERE variable_name IN ('max_statement_time', 'wsrep_sync_wait')";
    let known = connection.fetch_all(sqlx::raw_sql(known.into_sql_str())).await?;
    let known: Vec<String> =
        known.iter().map(|row| row.try_get_unchecked(0)).collect::<Result<_, _>>()?;
    let is_known = |name: &str| known.iter().any(|known| known == name);
    // InnoDB counts in seconds.
    let seconds = deadline.as_secs().max(1);
    let mut settings = format!(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,\
         ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
         SESSION innodb_lock_wait_timeout = {seconds}"
    );
    settings += &if is_known("max_statement_time") {
        format!(", SESSION max_statement_time = {}", deadline.as_secs_f64() * 0.9)
    } else {
        format!(", SESSION max_execution_time = {}", deadline.as_millis() * 9 / 10)
    };
    if is_known("wsrep_sync_wait") {
        // The sum of reads (1), updates and deletions (2), and inserts (4).
        settings += ", SESSION wsrep_sync_wait = 7";
    }
    connection.execute(sqlx::raw_sql(trusted(settings))).await?;
    let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
    connection.execute(sqlx::raw_sql(isolation.into_sql_str())).await.map(drop)
}

impl sealed::Sealed for MySql {}

impl Backend for MySql {
    type Database = Database;

    const SPELLING: Spelling = SPELLING;
    const REUSES_DROPPED: bool = false;
    const READ_SETTLES_COMMIT: bool = false;

    /// Returns true: a definition of a table commits by itself.
    fn migrates_by_statement(&self) -> bool {
        true
    }

    fn begin(&self, _: Duration) -> SqlStr {
        "START TRANSACTION".into_sql_str()
    }

    fn commits_alone(&self) -> bool {
        true
    }

    async fn execute(
        connection: &mut MySqlConnection,
        statement: &Statement,
        persistent: bool,
    ) -> Result<u64, sqlx::Error> {
        let done = query(statement, persistent).execute(connection).await?;
        Ok(done.rows_affected())
    }

    async fn fetch(
        connection: &mut MySqlConnection,
        statement: &Statement,
        kinds: &'static [Kind],
        persistent: bool,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let rows = query(statement, persistent).fetch_all(connection).await?;
        rows.iter().map(|row| values(row, kinds)).collect()
    }

    async fn run(connection: &mut MySqlConnection, script: SqlStr) -> Result<(), sqlx::Error> {
        connection.execute(sqlx::raw_sql(script)).await.map(drop)
    }

    fn find_column(&self, names: &Names, table: &str, column: &str) -> Statement {
        let sql = "SELECT 1 FROM information_schema.columns
                   WHERE table_schema = database() AND table_name = ?1 AND column_name = ?2";
        Statement::from_parts(sql, vec![names.table(table).as_str().into(), column.into()])
    }

    fn fault(error: sqlx::Error) -> Fault {
        match number(&error) {
            // The message may quote what the client has sent.
            Some(number) => Fault::new(severity(number), format!("error {number} of MySQL").into()),
            None => Fault::new(of_connection(&error), error.into()),
        }
    }

    fn is_there(error: &sqlx::Error) -> bool {
        matches!(number(error), Some(DUPLICATE_COLUMN | DUPLICATE_INDEX))
    }

    fn clash(error: &sqlx::Error, names: &Names) -> Option<Clash> {
        clash(number(error)?, error.as_database_error()?.message(), names)
    }
}

const DUPLICATE_COLUMN: u16 = 1060;
const DUPLICATE_INDEX: u16 = 1061;

fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}

/// Turns a statement into a query of MySQL, whose placeholders have no numbers: the values are
/// bound in the order in which they stand.
fn query<'q>(
    statement: &Statement,
    persistent: bool,
) -> sqlx::query::Query<'q, Database, <Database as sqlx::Database>::Arguments> {
    let (sql, order) = unnumbered(&statement.sql);
    let query = sqlx::query(trusted(sql)).persistent(persistent);
    let values = order.into_iter().filter_map(|at| statement.values.get(at));
    values.fold(query, |query, value| match value {
        Value::Text(text) => query.bind(text.as_ref().map(|text| text.as_str().to_owned())),
        Value::Bytes(bytes) => query.bind(bytes.clone()),
        Value::Integer(number) => query.bind(*number),
    })
}

/// Reads the columns of a row. Text is read from its bytes, because some of it is stored as
/// such.
fn values(row: &sqlx::mysql::MySqlRow, kinds: &[Kind]) -> Result<Row, sqlx::Error> {
    let read = |(at, kind): (usize, &Kind)| {
        Ok(match kind {
            Kind::Text => {
                let bytes: Option<Vec<u8>> = row.try_get_unchecked(at)?;
                let text = bytes.map(String::from_utf8).transpose();
                let text =
                    text.map_err(|error| sqlx::Error::Decode(Box::new(error.utf8_error())))?;
                Value::Text(text.map(Secret::new))
            }
            Kind::Bytes => Value::Bytes(row.try_get_unchecked(at)?),
            Kind::Integer => Value::Integer(row.try_get_unchecked(at)?),
        })
    };
    let values = kinds.iter().enumerate().map(read).collect::<Result<Vec<_>, sqlx::Error>>()?;
    Ok(Row::new(values))
}
