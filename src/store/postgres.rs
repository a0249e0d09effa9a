//! Accounts in PostgreSQL, by sqlx.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Executor as _};
use tokio::time::timeout;

use super::dialect::names::{Schema, TableNames};
use super::sql::backend::Backend as _;
use super::sql::open::{Location, OpenError, check_scheme, readable};
use super::sql::statement::trusted;
use super::sql::{DEADLINE, SESSION_LIMIT, SIGN_OF_LIFE, SqlStore};

mod backend;

/// The connections of the store's own pool. A sign-up holds one for a millisecond, and two
/// cores hash a hundred per second.
const CONNECTIONS: u32 = 8;

/// A connection that was idle for longer is pinged before it is used. Under load none is,
/// so a sign-up does not wait for the extra round trip.
const FRESH: Duration = Duration::from_secs(1);

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
/// [prefix](SqlStore::with_prefix), and `{p}` for the prefix. `{bytewise}` is `COLLATE "C"`, and
/// `{reference}` a foreign key with `ON DELETE CASCADE`: a [distributed](SqlStore::distributed)
/// database has neither, and an `IF NOT EXISTS` instead. It has unique constraints in place of
/// the indexes, where `{accounts_indexes}` and the like are.
///
/// ```sql
#[doc = include_str!("dialect/postgres/accounts.sql")]
#[doc = include_str!("dialect/postgres/accounts_indexes.sql")]
#[doc = include_str!("dialect/postgres/beside.sql")]
#[doc = include_str!("dialect/postgres/beside_indexes.sql")]
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
    /// Whether the database speaks PostgreSQL's language without all of it.
    distributed: bool,
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
        let backend = Postgres {
            timeouts: Timeouts::ByTransaction,
            owns_pool: false,
            prepares: true,
            distributed: false,
        };
        Self::with_backend(backend, pool, Location::from_url("postgres:(the host's pool)"), None)
    }

    /// Opens a store on its own pool of up to 8 connections.
    ///
    /// # Errors
    /// Fails if the URL is not valid for PostgreSQL, or if the database does not answer.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        let location = Location::from_url(url);
        check_scheme(url, &["postgres", "postgresql"])
            .map_err(|error| OpenError::open(location.clone(), error))?;
        let failed = |error| OpenError::open(location.clone(), readable(error));
        // Poolers reject unknown start-up parameters. The store reads no floats.
        let options = PgConnectOptions::from_str(url).map_err(failed)?.extra_float_digits(None);
        // A pool would retry until its timeout, and then report only the timeout.
        match timeout(DEADLINE, PgConnection::connect_with(&options)).await {
            Ok(connection) => drop(connection.map_err(failed)?.close().await),
            Err(_) => return Err(failed(sqlx::Error::PoolTimedOut)),
        }
        let backend = Postgres {
            timeouts: Timeouts::BySession,
            owns_pool: true,
            prepares: true,
            distributed: false,
        };
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .test_before_acquire(false)
            .before_acquire(|connection, state| {
                Box::pin(async move {
                    let ping = timeout(SIGN_OF_LIFE, connection.ping());
                    Ok(state.idle_for < FRESH || matches!(ping.await, Ok(Ok(()))))
                })
            })
            .connect_lazy_with(options);
        Ok(Self::with_backend(backend, pool, location, None).reopened())
    }

    /// Sets the schema of the tables, which [`migrate`](Self::migrate) creates if it is
    /// missing.
    #[must_use]
    pub fn with_schema(self, schema: Schema) -> Self {
        let names = TableNames { schema, ..self.names.clone() };
        self.with_names(names)
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

    /// Adapts the store to a distributed database that speaks PostgreSQL's language without
    /// all of it: CockroachDB, YugabyteDB or Aurora DSQL, for whose documents it is designed,
    /// and on none of which it was run.
    ///
    /// A sign-up is a transaction of plain statements, which is tried again where the database
    /// says that it conflicts with another. The tables have neither foreign keys nor
    /// collations, and a migration is one statement after the other, without a lock: an
    /// interrupted one is finished by the next. Where the database refuses a
    /// `statement_timeout`, it has no limit. [`create_in`](Self::create_in) needs savepoints,
    /// which Aurora DSQL lacks.
    #[must_use]
    pub fn distributed(mut self) -> Self {
        self.backend.timeouts = Timeouts::BySession;
        self.backend.distributed = true;
        self.reopened()
    }

    /// Relies on the `statement_timeout` of the sessions of a host's pool, which has to be
    /// a little under the [deadline](Self::with_deadline). Without one, a write that waits
    /// for a lock goes on after its caller got an error.
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
        let may_refuse = self.backend.distributed;
        let options = options.after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move {
                let Some(settings) = settings else { return Ok(()) };
                match connection.execute(sqlx::raw_sql(settings)).await {
                    Err(sqlx::Error::Database(_)) if may_refuse => Ok(()),
                    set => set.map(drop),
                }
            })
        });
        let checks = self.checks_connections.clone();
        let options = options.after_release(move |connection, _| {
            let is_checked = checks.have_begun();
            Box::pin(async move { Ok(!is_checked || Postgres::is_idle(connection).await) })
        });
        self.pool = options.connect_lazy_with((*self.pool.connect_options()).clone());
        self
    }
}

/// Returns the server's time limit in milliseconds: a tenth less than the client's, so that
/// the server does not continue alone.
fn server_millis(left: Duration) -> u32 {
    let millis = left.mul_f64(SESSION_LIMIT).as_millis();
    // The setting's range ends at `i32::MAX`; zero would mean no limit.
    u32::try_from(millis).unwrap_or(u32::MAX).clamp(1, i32::MAX.unsigned_abs())
}
