//! Accounts in MySQL and MariaDB, by sqlx.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::mysql::{
    MySql as Database, MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlPool,
    MySqlPoolOptions,
};
use sqlx::{Connection as _, Executor as _, Row as _, SqlSafeStr as _, SqlStr};
use tokio::time::timeout;

use crate::issue::BoxError;
use crate::random::{SecureRandom as _, SystemRandom};
use crate::secret::Secret;

use super::dialect::mysql::{SYNTAX, clash, severity, unnumbered};
use super::dialect::names::TableNames;
use super::dialect::statement::{Statement, Value};
use super::dialect::syntax::{Syntax, ViolatedConstraint};
use super::sql::backend::{Backend, Limit, sealed};
use super::sql::fault::{Fault, of_connection};
use super::sql::open::{Location, OpenError, check_scheme, readable};
use super::sql::statement::{Kind, Row, trusted};
use super::sql::{DEADLINE, SESSION_LIMIT, SIGN_OF_LIFE, SqlStore};

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
#[doc = include_str!("dialect/mysql/accounts.sql")]
#[doc = include_str!("dialect/mysql/beside.sql")]
/// ```
pub type MySqlStore = SqlStore<MySql>;

/// The backend of [`MySqlStore`].
#[derive(Debug, Clone)]
pub struct MySql {
    /// Whether the pool is the store's own and can be opened again with other settings.
    owns_pool: bool,
    /// Whether no session can have an open transaction when the store gets it.
    trusts_sessions: bool,
}

impl SqlStore<MySql> {
    /// Creates a store on the host's pool, whose sessions have a strict `sql_mode`, the
    /// isolation `READ COMMITTED`, and time limits that the host has set.
    pub fn new(pool: MySqlPool) -> Self {
        let location = Location::from_url("mysql:(the host's pool)");
        Self::with_backend(MySql { owns_pool: false, trusts_sessions: false }, pool, location, None)
    }

    /// Opens a store on its own pool of up to 8 connections.
    ///
    /// # Errors
    /// Fails if the URL is not valid for MySQL, or if the database does not answer.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        let location = Location::from_url(url);
        check_scheme(url, &["mysql", "mariadb"])
            .map_err(|error| OpenError::open(location.clone(), error))?;
        let failed = |error| OpenError::open(location.clone(), readable(error));
        let options = MySqlConnectOptions::from_str(url).map_err(failed)?;
        // A pool would retry until its timeout, and then report only the timeout.
        match timeout(DEADLINE, MySqlConnection::connect_with(&options)).await {
            Ok(connection) => drop(connection.map_err(failed)?.close().await),
            Err(_) => return Err(failed(sqlx::Error::PoolTimedOut)),
        }
        let pool = MySqlPoolOptions::new()
            .max_connections(CONNECTIONS)
            .test_before_acquire(false)
            .before_acquire(|connection, _| {
                Box::pin(async move {
                    let ping = timeout(SIGN_OF_LIFE, connection.ping());
                    Ok(matches!(ping.await, Ok(Ok(()))))
                })
            })
            .connect_lazy_with(options);
        Ok(Self::with_backend(
            MySql { owns_pool: true, trusts_sessions: true },
            pool,
            location,
            None,
        )
        .reopened())
    }

    /// Relies on the sessions of a host's pool to have no open transaction, and so saves two
    /// round trips of a write that is one statement. A handler that is dropped while it begins
    /// a transaction on the pool leaves one open, unless the pool ends it in `after_release`:
    /// then the write would be lost with it.
    #[must_use]
    pub fn trust_sessions(mut self) -> Self {
        self.backend.trusts_sessions = true;
        self
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
        let checks = self.checks_connections.clone();
        let options = options.after_release(move |connection, _| {
            let is_checked = checks.have_begun();
            Box::pin(async move { Ok(!is_checked || MySql::is_idle(connection).await) })
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
    let is_clustered = "SHOW VARIABLES LIKE 'wsrep_sync_wait'";
    let is_clustered = connection.fetch_optional(sqlx::raw_sql(is_clustered.into_sql_str()));
    // The sum of reads (1), updates and deletions (2), and inserts (4).
    let waits = is_clustered.await?.map_or("", |_| ", SESSION wsrep_sync_wait = 7");
    let settings = format!(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,\
         ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', SESSION autocommit = 1, \
         SESSION completion_type = 'NO_CHAIN', SESSION lc_messages = 'en_US'{waits}; \
         SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; {}",
        limits(deadline),
    );
    connection.execute(sqlx::raw_sql(trusted(settings))).await.map(drop)
}

/// Returns the statement that limits a session's waits for locks of rows and tables, in whole
/// seconds. MariaDB limits each statement as well, MySQL only queries.
fn limits(left: Duration) -> String {
    let limit = left.mul_f64(SESSION_LIMIT);
    let seconds = limit.as_secs().max(1);
    format!(
        "{} \
         /*M! , SESSION max_statement_time = {} */ /*!50700 , SESSION max_execution_time = {} */",
        waits(seconds, seconds),
        limit.as_secs_f64(),
        limit.as_millis(),
    )
}

/// Returns the statement that limits the waits for locks of rows and of tables, in seconds.
fn waits(rows: u64, tables: u64) -> String {
    format!("SET SESSION innodb_lock_wait_timeout = {rows}, SESSION lock_wait_timeout = {tables}")
}

impl sealed::Sealed for MySql {}

impl Backend for MySql {
    type Database = Database;

    const SYNTAX: Syntax = SYNTAX;
    const REUSES_DROPPED: bool = false;
    const LOOK_SETTLES_COMMIT: bool = false;
    const LIMITS_OUTLIVE_SAVEPOINTS: bool = true;

    fn reopened(store: SqlStore<Self>) -> SqlStore<Self> {
        store.reopened()
    }

    fn is_locked(error: &sqlx::Error) -> bool {
        // `ER_LOCK_WAIT_TIMEOUT`.
        number(error) == Some(1205)
    }

    /// Returns true: a definition of a table commits by itself.
    fn migrates_by_statement(&self) -> bool {
        true
    }

    fn begin(&self, limit: Option<Limit>) -> SqlStr {
        match limit {
            Some(limit) if limit.is_late && self.owns_pool => {
                trusted(format!("{}; START TRANSACTION", limits(limit.left)))
            }
            _ => "START TRANSACTION".into_sql_str(),
        }
    }

    /// Limits the waits for locks, where the session is the host's.
    async fn limit(
        &self,
        savepoint: &mut MySqlConnection,
        deadline: Duration,
    ) -> Result<Option<SqlStr>, sqlx::Error> {
        if self.owns_pool {
            return Ok(None);
        }
        let sql = "SELECT CAST(@@innodb_lock_wait_timeout AS UNSIGNED),
                       CAST(@@lock_wait_timeout AS UNSIGNED)";
        let before = sqlx::query_as(sql).persistent(false).fetch_one(&mut *savepoint).await?;
        let (rows, tables): (u64, u64) = before;
        let seconds = deadline.mul_f64(SESSION_LIMIT).as_secs().max(1);
        Self::run(savepoint, trusted(waits(seconds, seconds))).await?;
        Ok(Some(trusted(waits(rows, tables))))
    }

    async fn restore(
        &self,
        connection: &mut MySqlConnection,
        deadline: Duration,
    ) -> Result<(), sqlx::Error> {
        if !self.owns_pool {
            return Ok(());
        }
        // The answer of the write waits for it.
        let restored = timeout(SIGN_OF_LIFE, Self::run(connection, trusted(limits(deadline))));
        restored.await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// Rolls back, and selects a random value: after a statement that was dropped, sqlx would
    /// take the rest of its answer for the next one.
    async fn is_idle(connection: &mut MySqlConnection) -> bool {
        let mut drawn = [0; 8];
        if SystemRandom.fill(&mut drawn).is_err() {
            return false;
        }
        let drawn = i64::from_be_bytes(drawn) >> 1;
        let script = trusted(format!("ROLLBACK; SELECT {drawn}"));
        let answer = timeout(SIGN_OF_LIFE, connection.fetch_one(sqlx::raw_sql(script))).await;
        let answer = answer.map(|row| row.and_then(|row| row.try_get_unchecked::<i64, _>(0)));
        matches!(answer, Ok(Ok(answered)) if answered == drawn)
    }

    fn migration_limits(&self, limit: Duration) -> Option<SqlStr> {
        Some(trusted(limits(limit)))
    }

    fn commits_alone(&self) -> bool {
        self.trusts_sessions
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

    async fn check_session(connection: &mut MySqlConnection) -> Result<(), BoxError> {
        // MariaDB before 11.1 calls the isolation `tx_isolation`.
        let settings = "SHOW SESSION VARIABLES WHERE variable_name IN
            ('autocommit', 'completion_type', 'sql_mode', 'transaction_isolation', 'tx_isolation')";
        let rows = connection.fetch_all(sqlx::raw_sql(settings.into_sql_str())).await;
        for row in rows.map_err(readable)? {
            let value = |at| row.try_get_unchecked::<String, _>(at).map_err(readable);
            let (name, value) = (value(0)?, value(1)?);
            let (is_good, needed) = match name.as_str() {
                "autocommit" => (value == "ON", "ON"),
                "completion_type" => (value == "NO_CHAIN", "NO_CHAIN"),
                "sql_mode" => (value.contains("STRICT_"), "STRICT_ALL_TABLES"),
                // A row that is not committed must not settle a commit.
                _ => (value != "READ-UNCOMMITTED", "READ-COMMITTED"),
            };
            if !is_good {
                return Err(
                    format!("{name} of its sessions is {value:?}: set it to {needed}").into()
                );
            }
        }
        Ok(())
    }

    fn find_column(&self, names: &TableNames, table: &str, column: &str) -> Statement {
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

    fn clash(error: &sqlx::Error, names: &TableNames) -> Option<ViolatedConstraint> {
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
