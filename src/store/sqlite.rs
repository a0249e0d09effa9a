//! Accounts in SQLite, by sqlx.

use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqlStr};
use tokio::sync::Semaphore;

use crate::account::AccountId;
use crate::error::{BoxError, SignupError};
use crate::fields::EmailKey;

use super::sql::credentials::Credentials;
use super::sql::{self, HostRows, Location, OpenError, TablePrefix, shared, without_rows};
use super::{AccountStore, Created, Inserted, NewAccount, StoreError, joined};

mod credentials;

const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "accounts and api_keys", include_str!("sqlite/0001_accounts.sql")),
    (2, "credentials", include_str!("sqlite/0002_credentials.sql")),
];

/// How long a writer of another process is waited for, and a free connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// One connection writes at a time; the others serve the look before it.
const CONNECTIONS: u32 = 4;

/// Accounts in a SQLite database.
///
/// A write is one `BEGIN IMMEDIATE` transaction in a task that the store owns:
/// a caller that goes away neither stops it half way nor leaves it open. The
/// writers of a process take turns here, first come, first served, since
/// SQLite's own busy handler lets the unlucky ones starve.
///
/// ```
/// use signup::store::SqliteStore;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
/// store.migrate().await.unwrap();
/// # });
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    pool: SqlitePool,
    writer: Arc<Semaphore>,
    prefix: TablePrefix,
    location: Location,
    queries: Arc<Queries>,
    host: Option<Arc<dyn HostRows<SqliteConnection>>>,
}

struct Queries {
    is_taken: SqlStr,
    insert_account: SqlStr,
    insert_key: SqlStr,
    find: SqlStr,
    credentials: Credentials,
}

impl SqliteStore {
    /// A store on the host's pool. The host has set it up: for the promises of
    /// [`AccountStore`] it wants `journal_mode=WAL`, `synchronous=FULL`,
    /// `foreign_keys=ON` and a busy timeout, as [`connect`](Self::connect) sets them.
    pub fn new(pool: SqlitePool) -> Self {
        let location = Location::of_url("sqlite:(the host's pool)");
        Self::on(pool, TablePrefix::default(), location)
    }

    /// A store on a database of its own, which is created where there is none.
    ///
    /// # Errors
    /// The URL is none of SQLite's, or the database can't be opened.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        let location = Location::of_url(url);
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| OpenError::open(location.clone(), error))?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE);
        // A database in memory lives and dies with its one connection.
        let in_memory = url.contains(":memory:") || url.contains("mode=memory");
        let pool = SqlitePoolOptions::new()
            .max_connections(if in_memory { 1 } else { CONNECTIONS })
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(PATIENCE)
            .connect_with(options)
            .await
            .map_err(|error| OpenError::open(location.clone(), error))?;
        Ok(Self::on(pool, TablePrefix::default(), location))
    }

    /// The same store with other names of its tables.
    #[must_use]
    pub fn with_prefix(self, prefix: TablePrefix) -> Self {
        Self { host: self.host, ..Self::on(self.pool, prefix, self.location) }
    }

    /// The same store, which stores rows of the host's with each account.
    #[must_use]
    pub fn with_host_rows(self, rows: impl HostRows<SqliteConnection>) -> Self {
        Self { host: Some(Arc::new(rows)), ..self }
    }

    fn on(pool: SqlitePool, prefix: TablePrefix, location: Location) -> Self {
        let named = |sql| named(sql, &prefix);
        let queries = Queries {
            is_taken: named("SELECT 1 FROM {p}accounts WHERE email_key = ?1"),
            insert_account: named(
                "INSERT INTO {p}accounts
                     (id, email, email_key, name, plan, password_hash, pepper_version, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (email_key) DO NOTHING",
            ),
            insert_key: named(
                "INSERT INTO {p}api_keys (digest, account_id, prefix, last_four, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            ),
            find: named("SELECT 1 FROM {p}accounts WHERE id = ?1"),
            credentials: Credentials::new(prefix.as_str(), "min", "max"),
        };
        let queries = Arc::new(queries);
        Self { pool, writer: Arc::new(Semaphore::new(1)), prefix, location, queries, host: None }
    }

    /// Creates the tables, or brings them up to date. Every instance of a host
    /// may call it at its start, at the same time too.
    ///
    /// # Errors
    /// The database does not answer, or is of a newer version than this crate.
    pub async fn migrate(&self) -> Result<(), OpenError> {
        let failed = |error: BoxError| OpenError::migrate(self.location.clone(), error);
        // One at a time, of however many processes: the steps' own transactions
        // become savepoints of this one.
        let begun = self.pool.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(|error| failed(error.into()))?;
        let table = format!("{}_signup_migrations", self.prefix.as_str());
        let steps =
            MIGRATIONS.map(|(version, name, sql)| (version, name, named(sql, &self.prefix)));
        sql::migrate(&mut *transaction, table, steps)
            .await
            .map_err(|error| failed(sql::root_cause(error)))?;
        transaction.commit().await.map_err(|error| failed(error.into()))
    }

    /// A table's name as it stands in SQL, with its prefix: `accounts` for a
    /// foreign key of the host's, say.
    pub fn table(&self, name: &str) -> String {
        format!("{}{name}", self.prefix.as_str())
    }

    /// The pool, for the host's own queries and to close it.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Inserts an account into a transaction that the host owns. The proof opens
    /// what [`prepare`](crate::SignupService::prepare) has sealed; rows of
    /// [`with_host_rows`](Self::with_host_rows) are not inserted here.
    ///
    /// The host commits before it shows the answer to anybody, and may roll back
    /// instead.
    ///
    /// # Errors
    /// The email is taken, or the insert fails.
    pub async fn create_in(
        &self,
        connection: &mut SqliteConnection,
        new: &NewAccount,
    ) -> Result<Inserted, SignupError> {
        let created = match self.insert(connection, new).await {
            Err(error) if is_unique_violation(&error) => Created::IdentifierTaken,
            other => other.map_err(failed)?,
        };
        Inserted::of(created, new)
    }

    /// The write, start to end. It is never dropped half way: see `create`.
    async fn write(&self, new: NewAccount) -> Result<Created, StoreError> {
        // The semaphore is never closed; without a permit SQLite still
        // serialises the writers, only less fairly.
        let _turn = self.writer.acquire().await.ok();
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let begun = connection.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(failed)?;
        let written = self.both_rows(&mut transaction, &new).await;
        let stored = matches!(written, Ok(Created::Stored));
        let ended = if stored { transaction.commit().await } else { transaction.rollback().await };
        let Err(error) = ended else {
            return written;
        };
        // Where the disk is full SQLite ends a transaction by itself. sqlx still
        // waits for its end, and would begin none on this connection again.
        drop(connection.detach());
        if stored { self.reread(new.id(), error).await } else { written }
    }

    /// The account's rows, and the host's.
    async fn both_rows(
        &self,
        connection: &mut SqliteConnection,
        new: &NewAccount,
    ) -> Result<Created, StoreError> {
        let created = match self.insert(connection, new).await {
            Err(error) if is_unique_violation(&error) => return Ok(Created::IdentifierTaken),
            other => other.map_err(failed)?,
        };
        if let (Some(host), Created::Stored) = (&self.host, created) {
            host.insert(connection, new).await.map_err(host_failed)?;
        }
        Ok(created)
    }

    async fn insert(
        &self,
        connection: &mut SqliteConnection,
        new: &NewAccount,
    ) -> Result<Created, sqlx::Error> {
        let inserted = sqlx::query(self.queries.insert_account.clone())
            .bind(new.id().as_str())
            .bind(new.email().as_str())
            .bind(new.email().key().as_str())
            .bind(new.name())
            .bind(new.plan().as_str())
            .bind(new.password_hash().as_phc())
            .bind(new.password_hash().pepper_version())
            .bind(new.created_at().as_millis())
            .execute(&mut *connection)
            .await?;
        if inserted.rows_affected() == 0 {
            return Ok(Created::EmailTaken);
        }
        sqlx::query(self.queries.insert_key.clone())
            .bind(new.key_digest().as_bytes().as_slice())
            .bind(new.id().as_str())
            .bind(new.key_prefix())
            .bind(new.key_last_four())
            .bind(new.created_at().as_millis())
            .execute(&mut *connection)
            .await?;
        Ok(Created::Stored)
    }

    /// After a commit that failed: whether the account is there all the same.
    async fn reread(&self, id: &AccountId, lost: sqlx::Error) -> Result<Created, StoreError> {
        let find = sqlx::query(self.queries.find.clone()).bind(id.as_str());
        match find.fetch_optional(&self.pool).await {
            Ok(Some(_)) => Ok(Created::Stored),
            Ok(None) => Err(failed(lost)),
            Err(_) => Err(StoreError::OutcomeUnknown(without_rows(lost))),
        }
    }
}

#[async_trait]
impl AccountStore for SqliteStore {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        let look = sqlx::query(self.queries.is_taken.clone()).bind(key.as_str());
        let found = look.fetch_optional(&self.pool).await.map_err(failed)?;
        Ok(found.is_some())
    }

    async fn create(&self, new: NewAccount) -> Result<Created, StoreError> {
        let store = self.clone();
        let task = tokio::spawn(async move { store.write(new).await });
        joined(task.await)
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// `sql` with the prefix at each `{p}`.
fn named(sql: &str, prefix: &TablePrefix) -> SqlStr {
    shared(sql.replace("{p}", prefix.as_str()))
}

/// The account's email key has its own clause in the insert, so that what
/// clashes here is an id or a digest.
fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// The transaction did not take place; the question is whether a later one may.
fn failed(error: sqlx::Error) -> StoreError {
    let may_recover = match &error {
        sqlx::Error::Database(error) => is_passing(error.code().as_deref()),
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    };
    let source = without_rows(error);
    if may_recover { StoreError::Unavailable(source) } else { StoreError::Failed(source) }
}

/// The host's rows could not be inserted.
fn host_failed(error: BoxError) -> StoreError {
    match error.downcast::<sqlx::Error>() {
        Ok(error) => failed(*error),
        Err(other) => StoreError::Failed(other),
    }
}

/// Whether a result code (its primary one is the low octet, see SQLite's
/// "Result and Error Codes") is about the moment and not about the request:
/// PERM, BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL.
fn is_passing(code: Option<&str>) -> bool {
    let code = code.and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 3 | 5 | 6 | 7 | 8 | 10 | 13 | 14 | 15))
}
