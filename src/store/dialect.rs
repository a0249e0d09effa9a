//! The SQL of an account, without a driver: names, spelling, schema, and the meaning of errors.

use crate::fields::EmailKey;
use crate::issue::{BoxError, InvalidValue};

use super::contract::{AccountChange, ChangeOutcome, CreateOutcome, NewAccount, StoreError};

mod at_once;
pub(super) mod change;
mod columns;
pub(super) mod fill;
pub(super) mod inserts;
pub(super) mod migration;
pub(super) mod mysql;
pub(super) mod names;
pub(super) mod postgres;
pub(super) mod sql;
pub(super) mod sqlite;
pub(super) mod statement;
pub(super) mod syntax;
pub(super) mod table;

pub use migration::Migration;
pub use names::{Schema, TablePrefix};
pub use statement::{SqlValue, Statement};
pub use syntax::TimeFormat;
pub use table::{AccountColumn, TableMap};

use change::Changes;
use fill::fill;
use inserts::Inserts;
use migration::{migrations, steps};
use names::TableNames;
use syntax::{Severity, Syntax, ViolatedConstraint};

/// The SQL of a database with the host's names of tables: it writes sign-ups and changes of
/// accounts as statements for any driver, and classifies the errors of the database.
///
/// ```
/// use signup::store::{Dialect, StatementError, MemoryStore, SqlValue};
/// use signup::{SignupRequest, SignupService};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let dialect = Dialect::postgres();
/// # let users = MemoryStore::default();
/// let service = SignupService::builder(users).jwt_secret(&[7; 32]).build()?;
/// let prepared = service.prepare(SignupRequest::new("dev@example.com", "correct horse")).await?;
/// for statement in prepared.statements(&dialect) {
///     for value in statement.values() {
///         match value {
///             SqlValue::Text(_text) => { /* bind it as `text` */ }
///             SqlValue::Bytes(_bytes) => { /* as `bytea` */ }
///             SqlValue::Integer(_number) => { /* as `bigint` */ }
///         }
///     }
///     assert!(statement.sql().contains("INSERT INTO accounts"));
/// }
/// assert_eq!(dialect.classify_postgres("40001", None), StatementError::Conflict);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Dialect {
    syntax: Syntax,
    names: TableNames,
    /// Whether nothing but plain statements is used.
    is_plain: bool,
    inserts: Inserts,
    changes: Changes,
    email_taken: String,
    is_stored: [String; 2],
}

impl Dialect {
    /// Creates the language of PostgreSQL.
    pub fn postgres() -> Self {
        Self::new(postgres::SYNTAX, TableNames::default(), false)
    }

    /// Creates the language of databases that speak PostgreSQL's without all of it:
    /// CockroachDB, YugabyteDB and Aurora DSQL.
    pub fn distributed_postgres() -> Self {
        let steps = postgres::DISTRIBUTED_STEPS;
        let mapped_steps = postgres::DISTRIBUTED_MAPPED_STEPS;
        let syntax = Syntax { steps, mapped_steps, ..postgres::SYNTAX };
        Self::new(syntax, TableNames::default(), true)
    }

    /// Creates the language of MySQL and MariaDB.
    pub fn mysql() -> Self {
        Self::new(mysql::SYNTAX, TableNames::default(), true)
    }

    /// Creates the language of SQLite.
    pub fn sqlite() -> Self {
        Self::new(sqlite::SYNTAX, TableNames::default(), true)
    }

    fn new(syntax: Syntax, names: TableNames, is_plain: bool) -> Self {
        let inserts = Inserts::new(&names, syntax);
        let email_taken = fill("SELECT 1 FROM {accounts} WHERE @email_key = {1}", &names, syntax);
        let changes = Changes::new(&names, syntax);
        let by_id = "SELECT 1 FROM {accounts} WHERE @id = {1}";
        let is_stored = [by_id.to_owned(), format!("{by_id} AND @replay_nonce = {{2}}")];
        let is_stored = is_stored.map(|sql| fill(&sql, &names, syntax));
        Self { syntax, names, is_plain, inserts, changes, email_taken, is_stored }
    }

    /// Sets the prefix of the tables' names.
    #[must_use]
    pub fn with_prefix(self, prefix: TablePrefix) -> Self {
        Self::new(self.syntax, TableNames { prefix, ..self.names }, self.is_plain)
    }

    /// Sets the schema of the tables, in PostgreSQL.
    #[must_use]
    pub fn with_schema(self, schema: Schema) -> Self {
        Self::new(self.syntax, TableNames { schema, ..self.names }, self.is_plain)
    }

    /// Keeps the accounts in the host's table.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] if a name can't be one.
    pub fn with_table(self, map: TableMap) -> Result<Self, InvalidValue> {
        let names = self.names.with_table(map, self.syntax)?;
        Ok(Self::new(self.syntax, names, self.is_plain))
    }

    /// Returns the steps of the schema, for the host's own migrations: each is a file of
    /// them, applied once, in their order.
    ///
    /// ```
    /// use signup::store::Dialect;
    ///
    /// let first = Dialect::mysql().migrations().remove(0);
    /// assert!(first.sql.contains("CREATE TABLE IF NOT EXISTS accounts"));
    /// ```
    pub fn migrations(&self) -> Vec<Migration> {
        let steps = steps(&self.names, &self.syntax);
        migrations(steps, &self.names, &self.syntax)
    }

    /// Returns a query that has a row if there is an account with this key.
    pub fn is_email_taken(&self, key: &EmailKey) -> Statement {
        self.finished(Statement::from_parts(self.email_taken.as_str(), vec![key.as_str().into()]))
    }

    /// Returns a query that has a row if this very account is stored: after the answer to its
    /// commit was lost, and another attempt has found its address or its id taken. If the sign-up
    /// can be retried, its id is derived, and the nonce is compared as well.
    pub fn is_stored(&self, new: &NewAccount) -> Statement {
        let [by_id, with_nonce] = &self.is_stored;
        let id = new.id().as_str().into();
        self.finished(match new.receipt() {
            None => Statement::from_parts(by_id.as_str(), vec![id]),
            Some(receipt) => {
                let nonce = receipt.nonce().as_slice().into();
                Statement::from_parts(with_nonce.as_str(), vec![id, nonce])
            }
        })
    }

    /// Returns the statements that insert an account with its API key, for one transaction, in
    /// their order. Each affects one row; one that affects none says that the address is
    /// taken, and the host rolls back. In PostgreSQL it is one statement, if the table is this
    /// crate's.
    ///
    /// The values are bound with their own types, as drivers of PostgreSQL do that don't ask
    /// the server for them.
    pub fn insert(&self, new: &NewAccount) -> Vec<Statement> {
        let statements =
            if self.is_plain { self.inserts.one_by_one(new) } else { self.inserts.all(new) };
        statements.into_iter().map(|statement| self.finished(statement)).collect()
    }

    /// Returns the statements of a change, for one transaction, in their order. If one that
    /// [must affect a row](Statement::must_affect_row) affects none, the change does not apply,
    /// and the host rolls back: [`ChangeOutcome::NotApplicable`]. A change of one statement
    /// needs no transaction.
    ///
    /// [`Effect::WipeHostRows`](super::Effect::WipeHostRows) has no statement: the host wipes
    /// its own rows in the same transaction.
    ///
    /// ```
    /// use signup::account::AccountId;
    /// use signup::store::{AccountChange, Condition, Dialect, Effect};
    ///
    /// let change = AccountChange::new(AccountId::from_store("acc_a1b2c3d4e5"))
    ///     .provided(Condition::Generation(0))
    ///     .with(Effect::RevokeTokens)
    ///     .with(Effect::ReplaceApiKeys(None));
    /// let statements = Dialect::postgres().change(&change);
    /// let must: Vec<_> = statements.iter().map(|it| it.must_affect_row()).collect();
    /// assert_eq!(must, [true, false]);
    /// ```
    pub fn change(&self, change: &AccountChange) -> Vec<Statement> {
        let statements = self.changes.statements(change, &self.inserts).into_iter();
        statements.map(|statement| self.finished(statement)).collect()
    }

    /// Puts the values in the order of placeholders that have no numbers.
    fn finished(&self, statement: Statement) -> Statement {
        if self.syntax.numbers_placeholders {
            return statement;
        }
        let (sql, order) = mysql::unnumbered(&statement.sql);
        let values = order.into_iter().filter_map(|at| statement.values.get(at).cloned());
        Statement { sql: sql.into(), values: values.collect(), ..statement }
    }

    /// Returns the meaning of an error of PostgreSQL, by its SQLSTATE and the name of the
    /// constraint, if it is about one.
    ///
    /// ```
    /// use signup::store::{Dialect, StatementError};
    ///
    /// let dialect = Dialect::postgres();
    /// let taken = dialect.classify_postgres("23505", Some("accounts_email_key_key"));
    /// assert_eq!(taken, StatementError::EmailTaken);
    /// // A constraint of the host's own.
    /// let other = dialect.classify_postgres("23505", Some("workspaces_title_key"));
    /// assert_eq!(other, StatementError::Failed);
    /// ```
    pub fn classify_postgres(&self, sqlstate: &str, constraint: Option<&str>) -> StatementError {
        let clash = constraint.and_then(|name| postgres::clash(sqlstate, name, &self.names));
        StatementError::new(clash, postgres::severity(sqlstate))
    }

    /// Returns the meaning of an error of MySQL or MariaDB, by its number and its message,
    /// which names the key.
    ///
    /// ```
    /// use signup::store::{Dialect, StatementError};
    ///
    /// let message = "Duplicate entry 'dev@example.com' for key 'accounts_email_key_key'";
    /// assert_eq!(Dialect::mysql().classify_mysql(1062, message), StatementError::EmailTaken);
    /// ```
    pub fn classify_mysql(&self, number: u16, message: &str) -> StatementError {
        let clash = mysql::clash(number, message, &self.names);
        StatementError::new(clash, mysql::severity(number))
    }

    /// Returns the meaning of an error of SQLite, by its extended result code and its message,
    /// which names the columns.
    ///
    /// ```
    /// use signup::store::{Dialect, StatementError};
    ///
    /// let message = "UNIQUE constraint failed: accounts.email_key";
    /// assert_eq!(Dialect::sqlite().classify_sqlite(2067, message), StatementError::EmailTaken);
    /// ```
    pub fn classify_sqlite(&self, code: i32, message: &str) -> StatementError {
        let clash = sqlite::clash(code, message, &self.names);
        StatementError::new(clash, sqlite::severity(code))
    }
}

/// The meaning of a database's error for a statement that a [`Dialect`] has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatementError {
    /// An account with this address exists.
    EmailTaken,
    /// An account with this id, or a key with this digest, exists.
    IdentifierTaken,
    /// The ticket of the sign-up was used before.
    TicketUsed,
    /// The account has an API key with the tag of the same request.
    AlreadyAdded,
    /// The account of an API key does not exist.
    NotApplicable,
    /// Another transaction conflicts: nothing is stored, and the whole transaction can be
    /// tried again.
    Conflict,
    /// The database does not do it at the moment: nothing is stored.
    Unavailable,
    /// The connection was lost. If a commit failed with it, the commit may have happened;
    /// otherwise nothing is stored, and [`before_commit`](Self::before_commit) says so. An
    /// error of the driver's own, without a code of the server, is this too.
    OutcomeUnknown,
    /// The database fails, and will fail again, or a constraint of the host's refuses the
    /// row: nothing is stored.
    Failed,
}

impl StatementError {
    fn new(clash: Option<ViolatedConstraint>, severity: Severity) -> Self {
        match (clash, severity) {
            (Some(ViolatedConstraint::Email), _) => Self::EmailTaken,
            (Some(ViolatedConstraint::Identifier), _) => Self::IdentifierTaken,
            (Some(ViolatedConstraint::Ticket), _) => Self::TicketUsed,
            (Some(ViolatedConstraint::Retry), _) => Self::AlreadyAdded,
            (Some(ViolatedConstraint::Orphan), _) => Self::NotApplicable,
            (None, Severity::Failed) => Self::Failed,
            (None, Severity::Conflict) => Self::Conflict,
            (None, Severity::Lost) => Self::OutcomeUnknown,
            (None, Severity::Unavailable) => Self::Unavailable,
        }
    }

    /// Reclassifies an error of a statement before the commit: in any case nothing is
    /// stored.
    #[must_use]
    pub fn before_commit(self) -> Self {
        if self == Self::OutcomeUnknown { Self::Unavailable } else { self }
    }

    /// Turns it into the answer of [`AccountStore::create`](super::AccountStore::create). The
    /// source is logged, so it holds no row.
    ///
    /// # Errors
    /// Returns a [`StoreError`] unless an account, an id or a ticket is taken.
    pub fn into_outcome(self, source: impl Into<BoxError>) -> Result<CreateOutcome, StoreError> {
        match self {
            Self::EmailTaken => Ok(CreateOutcome::EmailTaken),
            Self::IdentifierTaken => Ok(CreateOutcome::IdentifierTaken),
            Self::TicketUsed => Ok(CreateOutcome::TicketUsed),
            other => Err(other.into_store_error(source)),
        }
    }

    /// Turns it into the answer of [`LifecycleStore::change`](super::LifecycleStore::change). The
    /// source is logged, so it holds no row.
    ///
    /// # Errors
    /// Returns a [`StoreError`] unless something is taken or missing.
    pub fn into_change_outcome(
        self,
        source: impl Into<BoxError>,
    ) -> Result<ChangeOutcome, StoreError> {
        match self {
            Self::EmailTaken => Ok(ChangeOutcome::EmailTaken),
            Self::IdentifierTaken => Ok(ChangeOutcome::IdentifierTaken),
            Self::AlreadyAdded => Ok(ChangeOutcome::AlreadyAdded),
            Self::NotApplicable => Ok(ChangeOutcome::NotApplicable),
            other => Err(other.into_store_error(source)),
        }
    }

    /// Turns it into the error of a store, which becomes the answer of an endpoint by
    /// [`SignupError`](crate::SignupError)'s `From`. The source is logged, so it holds no row.
    pub fn into_store_error(self, source: impl Into<BoxError>) -> StoreError {
        match self {
            Self::EmailTaken => StoreError::EmailTaken,
            Self::Conflict | Self::Unavailable => StoreError::Unavailable(source.into()),
            Self::OutcomeUnknown => StoreError::OutcomeUnknown(source.into()),
            Self::IdentifierTaken
            | Self::TicketUsed
            | Self::AlreadyAdded
            | Self::NotApplicable
            | Self::Failed => StoreError::Failed(source.into()),
        }
    }
}

#[cfg(all(test, feature = "conformance"))]
mod tests;
