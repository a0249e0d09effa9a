//! Accounts in PostgreSQL, by sqlx.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, Postgres as Database};
use sqlx::{Connection as _, Executor as _, SqlSafeStr as _, SqlStr};
use tokio::time::timeout;

use crate::store::NewAccount;

use super::sql::backend::{Backend, Clash, Dialect, Step, sealed};
use super::sql::fault::{Fault, without_rows};
use super::sql::names::{Names, Schema};
use super::sql::open::{Location, OpenError, readable};
use super::sql::queries::Queries;
use super::sql::statement::{Kind, Row, Statement, query, trusted, values};
use super::sql::{DEADLINE, SqlStore};

/// The connections of the store's own pool. A sign-up holds one for a millisecond, and two
/// cores hash a hundred per second.
const CONNECTIONS: u32 = 8;

/// A connection that was idle for longer is pinged before it is used. Under load none is,
/// so a sign-up does not wait for the extra round trip.
const FRESH: Duration = Duration::from_secs(1);

/// The advisory lock of a migration, held until its transaction ends: `signup` in ASCII.
const MIGRATION_LOCK: i64 = 0x0073_6967_6e75_7000;

/// Accounts in a PostgreSQL database.
///
/// A sign-up is one statement, hence one transaction and one round trip, on a pool
/// that the store opens itself. With [rows of the host](SqlStore::with_host_rows), on a
/// pool of the host, and behind a pooler it is an explicit transaction. A connection on
/// which anything went wrong is closed, and not given back to the pool.
///
/// The server aborts a statement a little before the [deadline](SqlStore::with_deadline),
/// so that nothing is written after its caller has given up.
///
/// ```no_run
/// use signup::store::PostgresStore;
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::connect("postgres://app@localhost/app").await?;
/// store.migrate().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Tables
/// With `{t}` for the [schema](SqlStore::with_schema) and the
/// [prefix](SqlStore::with_prefix), and `{p}` for the prefix:
///
/// ```sql
#[doc = include_str!("postgres/0001_accounts.sql")]
#[doc = include_str!("postgres/0002_credentials.sql")]
#[doc = include_str!("postgres/0003_token_generation.sql")]
/// ```
pub type PostgresStore = SqlStore<Postgres>;

/// The backend of [`PostgresStore`].
#[derive(Debug, Clone)]
pub struct Postgres {
    timeouts: Timeouts,
    /// Whether the pool is the store's own and can be opened again with other settings.
    owns_pool: bool,
    /// Whether a prepared statement outlives a transaction.
    prepares: bool,
}

/// The place of the server's time limit for statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timeouts {
    /// A setting of the session, made when it begins.
    BySession,
    /// A setting of each transaction that writes.
    ByTransaction,
}

impl SqlStore<Postgres> {
    /// Creates a store on the host's pool.
    ///
    /// The host's sessions are left unchanged, so a write is a transaction of four round
    /// trips with its own statement timeout. If the host's sessions have a
    /// `statement_timeout`, call [`trust_session_timeout`](Self::trust_session_timeout),
    /// and a write takes one round trip.
    pub fn new(pool: PgPool) -> Self {
        let backend =
            Postgres { timeouts: Timeouts::ByTransaction, owns_pool: false, prepares: true };
        Self::with_backend(backend, pool, Location::from_url("postgres:(the host's pool)"), None)
    }

    /// Opens a store on its own pool of up to 8 connections.
    ///
    /// # Errors
    /// Fails if the URL is not valid for PostgreSQL, or if the database does not answer.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        let location = Location::from_url(url);
        let failed = |error| OpenError::open(location.clone(), readable(error));
        // Poolers reject unknown start-up parameters. The store reads no floats.
        let options = PgConnectOptions::from_str(url).map_err(failed)?.extra_float_digits(None);
        // A pool would retry until its timeout, and then report only the timeout.
        match timeout(DEADLINE, PgConnection::connect_with(&options)).await {
            Ok(connection) => drop(connection.map_err(failed)?.close().await),
            Err(_) => return Err(failed(sqlx::Error::PoolTimedOut)),
        }
        let backend = Postgres { timeouts: Timeouts::BySession, owns_pool: true, prepares: true };
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .test_before_acquire(false)
            .before_acquire(|connection, state| {
                Box::pin(async move {
                    let sign_of_life = state.idle_for < FRESH || connection.ping().await.is_ok();
                    Ok(sign_of_life)
                })
            })
            .connect_lazy_with(options);
        Ok(Self::with_backend(backend, pool, location, None).reopened())
    }

    /// Sets the schema of the tables, which [`migrate`](Self::migrate) creates if it is
    /// missing.
    #[must_use]
    pub fn with_schema(self, schema: Schema) -> Self {
        let names = Names { schema, ..self.names.clone() };
        self.with_names(names)
    }

    /// Sets the deadline of a call. Default: 5 s. Confirming a commit whose answer was lost
    /// has as long again.
    ///
    /// A store that [opened](Self::connect) its pool opens it again, with matching
    /// statement timeouts.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self.reopened()
    }

    /// Adapts the store to a pooler that gives each transaction another connection
    /// (PgBouncer in transaction mode): statements are prepared and settings made for one
    /// transaction only, so a write takes three more round trips. Migrations work through
    /// the pooler too.
    #[must_use]
    pub fn without_prepared_statements(mut self) -> Self {
        self.backend.timeouts = Timeouts::ByTransaction;
        self.backend.prepares = false;
        self.reopened()
    }

    /// Relies on the `statement_timeout` of the sessions of a host's pool, which has to be
    /// a little under the [deadline](Self::with_deadline). Without one, a write that waits
    /// for a lock goes on after its caller was told that it failed.
    #[must_use]
    pub fn trust_session_timeout(mut self) -> Self {
        self.backend.timeouts = Timeouts::BySession;
        self
    }

    /// Opens the store's own pool again, with settings that fit the deadline. It connects
    /// lazily.
    fn reopened(mut self) -> Self {
        if !self.backend.owns_pool {
            return self;
        }
        let options = self.pool.options().clone().acquire_timeout(self.deadline);
        let by_session = self.backend.timeouts == Timeouts::BySession;
        let settings = by_session
            .then(|| trusted(format!("SET statement_timeout = {}", server_millis(self.deadline))));
        let options = options.after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move {
                match settings {
                    Some(settings) => connection.execute(sqlx::raw_sql(settings)).await.map(drop),
                    None => Ok(()),
                }
            })
        });
        self.pool = options.connect_lazy_with((*self.pool.connect_options()).clone());
        self
    }
}

/// Returns the server's time limit in milliseconds: a tenth less than the client's, so that
/// the server does not continue alone.
fn server_millis(left: Duration) -> u32 {
    let millis = left.as_millis() * 9 / 10;
    // The setting's range ends at `i32::MAX`; zero would mean no limit.
    u32::try_from(millis).unwrap_or(u32::MAX).clamp(1, i32::MAX.unsigned_abs())
}

impl sealed::Sealed for Postgres {}

impl Backend for Postgres {
    type Database = Database;

    const DIALECT: Dialect = Dialect {
        placeholder: |number| format!("${number}"),
        ping: "SELECT 1",
        bytes: "bytea",
        least: "least",
        // By name: another constraint, of the host, is another error. No row data gets into
        // the server's log.
        ignore_taken_email: "ON CONFLICT ON CONSTRAINT {p}accounts_email_key_key DO NOTHING",
    };
    const MIGRATIONS: &'static [Step] = &[
        Step {
            version: 1,
            description: "accounts and api_keys",
            sql: include_str!("postgres/0001_accounts.sql"),
            requires: 1,
        },
        Step {
            version: 2,
            description: "credentials",
            sql: include_str!("postgres/0002_credentials.sql"),
            requires: 1,
        },
        Step {
            version: 3,
            description: "token generation",
            sql: include_str!("postgres/0003_token_generation.sql"),
            requires: 3,
        },
    ];
    // sqlx's `begin` is not cancel-safe: an open transaction would return to the pool.
    const REUSES_DROPPED: bool = false;
    const READ_SETTLES_COMMIT: bool = false;

    fn begin(&self, left: Duration) -> SqlStr {
        if self.timeouts == Timeouts::BySession || left == Duration::MAX {
            return "BEGIN".into_sql_str();
        }
        trusted(format!("BEGIN; SET LOCAL statement_timeout = {}", server_millis(left)))
    }

    fn commits_alone(&self) -> bool {
        self.prepares && self.timeouts == Timeouts::BySession
    }

    /// Begins a transaction behind a pooler, which only then keeps a statement and its
    /// execution on one server.
    fn begin_read(&self) -> Option<SqlStr> {
        (!self.prepares).then(|| "BEGIN".into_sql_str())
    }

    fn persistent(&self) -> bool {
        self.prepares
    }

    fn insert_account(queries: &Queries, new: &NewAccount) -> Vec<Statement> {
        vec![queries.insert_both(new)]
    }

    async fn execute(
        connection: &mut PgConnection,
        statement: &Statement,
        persistent: bool,
    ) -> Result<u64, sqlx::Error> {
        let done = query::<Database>(statement, persistent).execute(connection).await?;
        Ok(done.rows_affected())
    }

    async fn fetch(
        connection: &mut PgConnection,
        statement: &Statement,
        kinds: &'static [Kind],
        persistent: bool,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let rows = query::<Database>(statement, persistent).fetch_all(connection).await?;
        rows.iter().map(|row| values(row, kinds)).collect()
    }

    async fn run(connection: &mut PgConnection, script: SqlStr) -> Result<(), sqlx::Error> {
        connection.execute(sqlx::raw_sql(script)).await.map(drop)
    }

    async fn begin_migration(
        connection: &mut PgConnection,
        names: &Names,
        limit: Duration,
    ) -> Result<(), sqlx::Error> {
        // Commits of other instances are visible only after waiting for them.
        let settings = format!(
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {}; \
             SELECT pg_advisory_xact_lock({MIGRATION_LOCK})",
            server_millis(limit),
        );
        Self::run(connection, trusted(settings)).await?;
        let encoding: String =
            sqlx::query_scalar("SHOW server_encoding").fetch_one(&mut *connection).await?;
        if encoding != "UTF8" {
            let text = format!(
                "the database's encoding is {encoding}, which can't hold every name: create one \
                 with ENCODING 'UTF8'"
            );
            return Err(sqlx::Error::Protocol(text));
        }
        let Some(schema) = names.schema.name() else {
            return Ok(());
        };
        let exists: bool = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL")
            .bind(schema)
            .fetch_one(&mut *connection)
            .await?;
        if exists {
            return Ok(());
        }
        Self::run(connection, trusted(format!("CREATE SCHEMA {schema}"))).await
    }

    fn find_column(names: &Names, table: &str, column: &str) -> Statement {
        let sql = "SELECT 1 FROM pg_attribute
                   WHERE attrelid = to_regclass($1) AND attname = $2 AND NOT attisdropped";
        Statement::new(&sql.into_sql_str(), [names.table(table).as_str().into(), column.into()])
    }

    fn fault(error: sqlx::Error) -> Fault {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        let kind = match code.as_deref() {
            Some("40001" | "40P01") => Fault::Conflict,
            // The server ended the session, perhaps between commit and answer, or does not
            // know itself whether the commit happened.
            Some("57P01" | "57P02" | "57P03" | "57P05" | "40003") => Fault::Lost,
            Some(code) if is_transient(code) => Fault::Unavailable,
            Some(_) => Fault::Failed,
            None => match error {
                sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
                    Fault::Lost
                }
                sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => {
                    Fault::Unavailable
                }
                _ => Fault::Failed,
            },
        };
        kind(without_rows(error))
    }

    fn clash(error: &sqlx::Error, names: &Names) -> Option<Clash> {
        let error = error.as_database_error()?;
        let constraint = error.constraint()?;
        let is = |name: &str| constraint == names.constraint(name);
        match error.code()?.as_ref() {
            UNIQUE_VIOLATION if is("accounts_email_key_key") => Some(Clash::Email),
            UNIQUE_VIOLATION if is("accounts_pkey") || is("api_keys_pkey") => {
                Some(Clash::Identifier)
            }
            FOREIGN_KEY_VIOLATION if is("api_keys_account_id_fkey") => Some(Clash::Orphan),
            _ => None,
        }
    }
}

const UNIQUE_VIOLATION: &str = "23505";
const FOREIGN_KEY_VIOLATION: &str = "23503";

/// Returns whether an SQLSTATE is about the moment and not about the statement: classes 08
/// (connection), 53 (resources), 57 (operator, including statement timeouts), 58 (system),
/// and 25006 (read-only, as after a failover), 25P02 (a transaction that someone left
/// failed), 55P03 (lock not available).
/// be had).
fn is_transient(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    matches!(class, "08" | "53" | "57" | "58") || matches!(code, "25006" | "25P02" | "55P03")
}

#[cfg(test)]
mod tests;
