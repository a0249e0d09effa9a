//! Accounts in PostgreSQL, by sqlx.

use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow};
use tokio::time::{Instant, timeout};

use crate::account::AccountId;
use crate::error::{BoxError, SignupError};
use crate::fields::EmailKey;

use super::sql::credentials::Statement;
use super::sql::{self, HostRows, Location, OpenError, PrefixError, TablePrefix};
use super::{AccountStore, Created, Inserted, NewAccount, StoreError, joined};

mod credentials;
mod fault;
mod queries;

use fault::Fault;
use queries::Queries;

/// How long a call to the store may take. Whoever signs up waits no longer.
const DEADLINE: Duration = Duration::from_secs(5);
/// When the server gives a statement up, in milliseconds: before the deadline, so
/// that it does not go on alone.
const STATEMENT_TIMEOUT: &str = "4500";
/// The connections of a pool of our own. A sign-up holds one for a millisecond,
/// and two cores make a hundred sign-ups a second.
const CONNECTIONS: u32 = 8;
/// A connection that was idle so long is asked for a sign of life before it is
/// used; under load none is, and a sign-up waits for the one round trip that it takes.
const FRESH: Duration = Duration::from_secs(1);
/// How often a transaction begins anew that lost to another one.
const ATTEMPTS: usize = 5;

/// Accounts in a PostgreSQL database.
///
/// [`create`](AccountStore::create) is one statement, hence one transaction and
/// one round trip; with [rows of the host's](Self::with_host_rows) it is an
/// explicit transaction. Either runs in a task that the store owns: a caller that
/// goes away neither stops it half way nor leaves it open. A connection on which
/// anything went wrong is closed, and not given back to the pool.
///
/// When the answer to a commit is lost, the store looks for the account by its
/// id, and answers what it finds.
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
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
    location: Location,
    prefix: TablePrefix,
    schema: Schema,
    queries: Arc<Queries>,
    deadline: Duration,
    /// Whether a server's prepared statements outlive a transaction.
    prepares: bool,
    host: Option<Arc<dyn HostRows<PgConnection>>>,
}

/// The schema that the tables are in. By default the first one of the search path.
///
/// ```
/// use signup::store::Schema;
///
/// assert!(Schema::new("auth").is_ok());
/// assert!(Schema::new("auth; DROP TABLE x").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schema(TablePrefix);

impl Schema {
    /// A schema's name: up to 32 lower-case letters, digits and underscores.
    ///
    /// # Errors
    /// It is empty, longer, or has another character in it.
    pub fn new(name: &str) -> Result<Self, PrefixError> {
        if name.is_empty() {
            return Err(PrefixError);
        }
        TablePrefix::new(name).map(Self)
    }

    fn name(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|name| !name.is_empty())
    }
}

impl PostgresStore {
    /// A store on the host's pool. A `statement_timeout` on its connections, a
    /// little under the [deadline](Self::with_deadline), makes the server give up
    /// when the store does.
    pub fn new(pool: PgPool) -> Self {
        Self::on(pool, Location::of_url("postgres:(the host's pool)"))
    }

    /// A store on a pool of its own, of up to 8 connections.
    ///
    /// # Errors
    /// The URL is none of PostgreSQL's, or the database does not answer.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        let location = Location::of_url(url);
        let failed = |error| OpenError::open(location.clone(), fault::readable(error));
        let options = PgConnectOptions::from_str(url)
            .map_err(failed)?
            .options([("statement_timeout", STATEMENT_TIMEOUT)]);
        // A pool would try again until its time is up, and then say only that.
        match timeout(DEADLINE, PgConnection::connect_with(&options)).await {
            Ok(connection) => drop(connection.map_err(failed)?.close().await),
            Err(_) => return Err(failed(sqlx::Error::PoolTimedOut)),
        }
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(DEADLINE)
            .test_before_acquire(false)
            .before_acquire(|connection, state| {
                Box::pin(async move {
                    let sign_of_life = state.idle_for < FRESH || connection.ping().await.is_ok();
                    Ok(sign_of_life)
                })
            })
            .connect_lazy_with(options);
        Ok(Self::on(pool, location))
    }

    fn on(pool: PgPool, location: Location) -> Self {
        let (prefix, schema) = (TablePrefix::default(), Schema::default());
        let queries = Arc::new(Queries::new(&schema, &prefix));
        Self {
            pool,
            location,
            prefix,
            schema,
            queries,
            deadline: DEADLINE,
            prepares: true,
            host: None,
        }
    }

    /// The same store with other names of its tables.
    #[must_use]
    pub fn with_prefix(self, prefix: TablePrefix) -> Self {
        let queries = Arc::new(Queries::new(&self.schema, &prefix));
        Self { prefix, queries, ..self }
    }

    /// The same store with its tables in a schema of its own, which
    /// [`migrate`](Self::migrate) creates where there is none.
    #[must_use]
    pub fn with_schema(self, schema: Schema) -> Self {
        let queries = Arc::new(Queries::new(&schema, &self.prefix));
        Self { schema, queries, ..self }
    }

    /// How long a call may take, the wait for a connection included. Default:
    /// 5 s. A look for an account whose commit was not answered has as long again.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The same store behind a pooler that gives each transaction another
    /// connection (PgBouncer in transaction mode): no statement is prepared for
    /// longer than a transaction, which costs three more round trips. Migrate on
    /// a connection of the database's own.
    #[must_use]
    pub fn without_prepared_statements(self) -> Self {
        Self { prepares: false, ..self }
    }

    /// The same store, which stores rows of the host's with each account.
    #[must_use]
    pub fn with_host_rows(self, rows: impl HostRows<PgConnection>) -> Self {
        Self { host: Some(Arc::new(rows)), ..self }
    }

    /// Creates the tables, or brings them up to date. Every instance of a host
    /// may call it at its start, at the same time too.
    ///
    /// # Errors
    /// The database does not answer, may not be changed by this user, or is of a
    /// newer version than this crate.
    pub async fn migrate(&self) -> Result<(), OpenError> {
        let failed = |error: BoxError| OpenError::migrate(self.location.clone(), error);
        let mut transaction =
            self.pool.begin().await.map_err(|error| failed(fault::readable(error)))?;
        queries::shut_others_out(&mut transaction, &self.schema)
            .await
            .map_err(|error| failed(fault::readable(error)))?;
        let table = self.queries.table("_signup_migrations");
        sql::migrate(&mut *transaction, table, self.queries.migrations())
            .await
            .map_err(|error| failed(sql::root_cause(error)))?;
        transaction.commit().await.map_err(|error| failed(fault::readable(error)))
    }

    /// A table's name as it stands in SQL, with schema and prefix: `accounts` for
    /// a foreign key of the host's, say.
    pub fn table(&self, name: &str) -> String {
        self.queries.table(name)
    }

    /// The pool, for the host's own queries and to close it.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Inserts an account into a transaction that the host owns. The proof opens
    /// what [`prepare`](crate::SignupService::prepare) has sealed; rows of
    /// [`with_host_rows`](Self::with_host_rows) are not inserted here.
    ///
    /// The host commits before it shows the answer to anybody, and may roll back
    /// instead. A taken email leaves the transaction usable.
    ///
    /// # Errors
    /// The email is taken, or the insert fails.
    pub async fn create_in(
        &self,
        connection: &mut PgConnection,
        new: &NewAccount,
    ) -> Result<Inserted, SignupError> {
        let inserted = self.queries.insert(connection, new, self.prepares).await;
        let created = inserted.map_err(|error| Fault::of(error).into_store_error())?;
        Inserted::of(created, new)
    }

    async fn write(&self, new: &NewAccount) -> Result<Created, StoreError> {
        let until = Instant::now() + self.deadline;
        let mut attempt = 1;
        loop {
            match self.attempt(new, until).await {
                Ok(created) => return Ok(created),
                Err(Fault::Serialization(_)) if attempt < ATTEMPTS => attempt += 1,
                Err(Fault::Lost(source)) => return self.reread(new.id(), source).await,
                Err(other) => return Err(other.into_store_error()),
            }
        }
    }

    /// One attempt, on a connection that is closed if it fails.
    async fn attempt(&self, new: &NewAccount, until: Instant) -> Result<Created, Fault> {
        let mut connection = fault::acquire(&self.pool, until).await?;
        let insert = async {
            if self.prepares && self.host.is_none() {
                return self.queries.insert(&mut connection, new, true).await.map_err(Fault::of);
            }
            self.transaction(&mut connection, new).await
        };
        let outcome = fault::within(until, insert).await;
        if outcome.is_err() {
            drop(connection.detach());
        }
        outcome
    }

    async fn transaction(
        &self,
        connection: &mut PgConnection,
        new: &NewAccount,
    ) -> Result<Created, Fault> {
        let mut transaction = connection.begin().await.map_err(Fault::before_commit)?;
        let inserted = self.queries.insert(&mut transaction, new, self.prepares).await;
        let created = inserted.map_err(Fault::before_commit)?;
        if let (Some(host), Created::Stored) = (&self.host, created) {
            host.insert(&mut transaction, new).await.map_err(Fault::of_host)?;
        }
        match transaction.commit().await {
            Ok(()) => Ok(created),
            // A deferred constraint, which a host may have made of ours, is
            // judged only now.
            Err(error) => self.queries.conflict(&error).ok_or_else(|| Fault::of(error)),
        }
    }

    /// After a commit that was not answered: whether the account is there.
    async fn reread(&self, id: &AccountId, lost: BoxError) -> Result<Created, StoreError> {
        let until = Instant::now() + self.deadline;
        match self.find(&self.queries.find_id(id), until).await {
            Ok(rows) if !rows.is_empty() => Ok(Created::Stored),
            // It may yet be committed, where the server has not noticed either.
            Ok(_) | Err(_) => Err(StoreError::OutcomeUnknown(lost)),
        }
    }

    /// A read, which may be tried again when its connection turns out to be dead.
    async fn find(&self, what: &Statement, until: Instant) -> Result<Vec<PgRow>, StoreError> {
        let mut attempt = 1;
        loop {
            let mut connection = match fault::acquire(&self.pool, until).await {
                Ok(connection) => connection,
                Err(fault) => return Err(fault.into_store_error()),
            };
            let find = queries::rows(&mut connection, what, self.prepares);
            match fault::within(until, async { find.await.map_err(Fault::of) }).await {
                Ok(rows) => return Ok(rows),
                Err(fault) => {
                    drop(connection.detach());
                    if attempt == ATTEMPTS || !fault.is_passing() {
                        return Err(fault.into_unstored());
                    }
                    attempt += 1;
                }
            }
        }
    }
}

#[async_trait]
impl AccountStore for PostgresStore {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        let rows = self.rows(self.queries.find_email_key(key)).await?;
        Ok(!rows.is_empty())
    }

    async fn create(&self, new: NewAccount) -> Result<Created, StoreError> {
        let store = self.clone();
        let task = tokio::spawn(async move { store.write(&new).await });
        joined(task.await)
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("schema", &self.schema)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
