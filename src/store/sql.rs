//! The store in an SQL database.
//!
//! [`SqlStore`] is written once, over a small [`Backend`] per database: retries, deadlines,
//! transactions and lost commits are the same for all.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Pool;

use crate::fields::EmailKey;

use super::contract::{AccountStore, CreateOutcome, InsertProof, NewAccount, StoreError};

pub(super) mod backend;
mod change;
pub(super) mod checks;
mod event_queries;
mod events;
pub(super) mod fault;
mod find;
mod gate;
mod host;
mod lifecycle;
mod list;
mod migrate;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) mod numbered;
pub(super) mod open;
#[cfg(test)]
mod plans;
pub(super) mod queries;
mod rows;
mod settle;
pub(super) mod statement;
pub(super) mod table;
mod transaction;

use super::dialect::names::{TableNames, TablePrefix};
use super::dialect::statement::Statement;
use super::dialect::syntax::ViolatedConstraint;
use super::dialect::table::AccountColumn;

use backend::{Backend, Connection};
use change::{Applied, Change, HostWork};
use checks::Checks;
pub use host::{HostRows, HostRowsError};
use open::Location;
pub use open::OpenError;
use queries::Queries;
pub use table::adopt::{Adoption, AdoptionReport, ListedKind, ListedRow, ListedRows};
pub use table::check::TableProblem;
pub use transaction::HostTransaction;

/// The default deadline of a call: longer than anyone waits for a sign-up.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// The longest deadline; longer ones are shortened to it.
pub(super) const LONGEST_DEADLINE: Duration = Duration::from_hours(24);
/// The part of the deadline after which the server ends a statement itself.
pub(super) const SESSION_LIMIT: f64 = 0.9;
/// The deadline of the ping of an idle connection, which a firewall may have dropped.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// Accounts in an SQL database: a [`SqliteStore`](super::SqliteStore) or a
/// [`PostgresStore`](super::PostgresStore).
///
/// A write is one transaction in a task that the store owns: a caller that goes away
/// neither stops it half way nor leaves it open. Every call has one
/// [deadline](Self::with_deadline), for all of it: its turn, a connection, each
/// statement, the host's rows and the commit. A caller that gives up while it waits
/// for its turn leaves the queue, and there are never more tasks than the pool has
/// connections.
///
/// If the answer to a commit is lost, the store finds out what has become of it, by the
/// same insert again or by a look, and says so if it can't.
pub struct SqlStore<B: Backend> {
    pub(super) backend: B,
    pub(super) pool: Pool<B::Database>,
    gate: gate::Gate,
    location: Location,
    pub(super) names: TableNames,
    pub(super) queries: Arc<Queries>,
    pub(super) deadline: Duration,
    /// Whether connections are checked when they return to the pool.
    pub(super) checks_connections: Checks,
    host: Option<Arc<dyn HostRows<Connection<B>>>>,
    /// The steps of the schema, if they are not its own.
    #[cfg(test)]
    steps: Option<&'static [super::dialect::syntax::Step]>,
}

impl<B: Backend> SqlStore<B> {
    /// Creates a store with at most `writers` simultaneous writers.
    pub(super) fn with_backend(
        backend: B,
        pool: Pool<B::Database>,
        location: Location,
        writers: Option<usize>,
    ) -> Self {
        let names = TableNames::default();
        Self {
            backend,
            gate: gate::Gate::new(pool.options().get_max_connections(), writers),
            pool,
            location,
            queries: Arc::new(Queries::new(&names, B::SYNTAX)),
            names,
            deadline: DEADLINE,
            checks_connections: Checks::default(),
            host: None,
            #[cfg(test)]
            steps: None,
        }
    }

    /// Sets the prefix of the tables' names.
    #[must_use]
    pub fn with_prefix(self, prefix: TablePrefix) -> Self {
        let names = TableNames { prefix, ..self.names.clone() };
        self.with_names(names)
    }

    pub(super) fn with_names(self, names: TableNames) -> Self {
        let queries = Arc::new(Queries::new(&names, B::SYNTAX));
        Self { names, queries, ..self }
    }

    /// Sets rows of the host that are stored with each account.
    #[must_use]
    pub fn with_host_rows(self, rows: impl HostRows<Connection<B>>) -> Self {
        Self { host: Some(Arc::new(rows)), ..self }
    }

    /// Sets the deadline of a call, a day at most. Default: 5 s. Settling a commit whose
    /// connection was lost has as long again.
    ///
    /// A store of a server that has opened its own pool opens it again, with matching limits of
    /// the server.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.min(LONGEST_DEADLINE);
        B::reopened(self)
    }

    /// Returns a table's name as written in SQL, with schema and prefix: `accounts`, for a
    /// foreign key of the host.
    pub fn table(&self, name: &str) -> String {
        self.names.table(name)
    }

    /// Returns the name of an account's column as written in SQL: the name in a
    /// [table map](Self::with_table), if there is one.
    pub fn column(&self, column: AccountColumn) -> String {
        self.names.column(column)
    }

    /// Returns the pool, for the host's own queries and to close it.
    ///
    /// From the first call on, a pool that the store has opened checks each connection that
    /// returns, which takes a round trip: a dropped future of the pool's `begin` would leave a
    /// transaction open, in which the store's own writes would be lost.
    pub fn pool(&self) -> &Pool<B::Database> {
        self.checks_connections.begin();
        &self.pool
    }

    /// Pings the database within the deadline, for a health check.
    ///
    /// # Errors
    /// Fails if the database does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let ping = queries::Find {
            statement: Statement::from_parts(B::SYNTAX.ping, Vec::new()),
            columns: &[],
        };
        self.find(ping).await.map(drop)
    }

    /// Begins a transaction for [`create_in`](Self::create_in) and the host's own
    /// rows, within the deadline. In SQLite it waits for its turn among the writers of
    /// this process, and holds it until it ends.
    ///
    /// # Errors
    /// Fails if the database does not answer.
    pub async fn begin(&self) -> Result<HostTransaction<B>, StoreError> {
        self.begin_for_host().await
    }

    /// Inserts an account into a transaction that the host owns, of this store's
    /// [`begin`](Self::begin) or of the pool. The proof opens what
    /// [`prepare`](crate::SignupService::prepare) has sealed. Rows of
    /// [`with_host_rows`](Self::with_host_rows) are not inserted here.
    ///
    /// A savepoint guards the rows: after an error none of them is left, and the
    /// transaction can continue. The host must commit before it shows the answer to anyone,
    /// and may roll back instead.
    ///
    /// The [deadline](Self::with_deadline) holds here, too. The host must not commit a
    /// transaction in which it has passed, or in which this future was dropped: the account
    /// may be in it without a proof. In a MySQL pool that the host has opened, it must also
    /// close that connection, because sqlx would take the rest of the answer for the next one.
    ///
    /// # Errors
    /// Returns [`StoreError::EmailTaken`], or another error if the insert fails.
    pub async fn create_in(
        &self,
        transaction: &mut sqlx::Transaction<'_, B::Database>,
        new: &NewAccount,
    ) -> Result<InsertProof, StoreError> {
        let change = Change { steps: self.inserts(new), host: None };
        match self.apply_in_savepoint(transaction, &change).await? {
            Applied::All(_) => Ok(InsertProof::for_account(new)),
            Applied::NotFound | Applied::ViolatedConstraint(ViolatedConstraint::Email) => {
                Err(StoreError::EmailTaken)
            }
            Applied::ViolatedConstraint(_) => {
                Err(StoreError::Failed("the identifier is taken".into()))
            }
        }
    }

    fn inserts(&self, new: &NewAccount) -> Vec<Statement> {
        self.backend.insert_account(&self.queries, new)
    }
}

#[async_trait]
impl<B: Backend> AccountStore for SqlStore<B> {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        let rows = self.find(self.queries.email_taken(key)).await?;
        Ok(!rows.is_empty())
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        let confirm = self.queries.is_stored(&new);
        let steps = self.inserts(&new);
        let host = Some(HostWork::Insert(Box::new(new)));
        match self.apply(Change { steps, host }, Some(confirm)).await? {
            Applied::All(_) => Ok(CreateOutcome::Stored),
            Applied::NotFound | Applied::ViolatedConstraint(ViolatedConstraint::Email) => {
                Ok(CreateOutcome::EmailTaken)
            }
            Applied::ViolatedConstraint(ViolatedConstraint::Identifier) => {
                Ok(CreateOutcome::IdentifierTaken)
            }
            Applied::ViolatedConstraint(ViolatedConstraint::Ticket) => {
                Ok(CreateOutcome::TicketUsed)
            }
            Applied::ViolatedConstraint(ViolatedConstraint::Orphan | ViolatedConstraint::Retry) => {
                Err(StoreError::Failed("the account of a key is missing".into()))
            }
        }
    }
}

/// Not derived: `derive` would require a database that is `Clone`.
impl<B: Backend> Clone for SqlStore<B> {
    fn clone(&self) -> Self {
        Self {
            backend: self.backend.clone(),
            pool: self.pool.clone(),
            gate: self.gate.clone(),
            location: self.location.clone(),
            names: self.names.clone(),
            queries: Arc::clone(&self.queries),
            deadline: self.deadline,
            checks_connections: self.checks_connections.clone(),
            host: self.host.clone(),
            #[cfg(test)]
            steps: self.steps,
        }
    }
}

impl<B: Backend> fmt::Debug for SqlStore<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore")
            .field("location", &self.location)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
