//! Accounts in the host's table.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use crate::issue::InvalidValue;
use crate::store::contract::NewAccount;

use super::statement::Value;
use super::syntax::{Syntax, TimeFormat};

const INVALID_NAME: InvalidValue = InvalidValue::new(
    "invalid name in a table map: needs 1 to 63 characters, none of them a quotation mark, a \
     backtick or a control character",
);

/// The names and types of a table of the host, in which the accounts are.
///
/// A column that is not named has the name that it has in this crate's own table. Id, name, plan,
/// state and date of deletion are `account_id`, `account_name`, `account_plan`,
/// `account_state` and `account_delete_at`, because a table of users often has columns of the
/// shorter names that mean something else. The table keeps its own primary key, which other
/// tables of the host refer to.
///
/// ```
/// use signup::store::{AccountColumn, TableMap, TimeFormat};
///
/// let users = TableMap::new("users")
///     .column(AccountColumn::Email, "mail")
///     .column(AccountColumn::Name, "full_name")
///     .column(AccountColumn::PasswordHash, "pw")
///     .time(AccountColumn::CreatedAt, TimeFormat::Timestamp)
///     .fill("role", "'member'")
///     .fill_with("tenant", "?", |new| new.plan().as_str().to_owned());
/// ```
///
/// [`Dialect::with_table`](super::Dialect::with_table) and `SqlStore::with_table` take it,
/// `SqlStore::check_table` compares it with the database, and `SqlStore::adoption` brings existing
/// rows in.
#[derive(Clone)]
pub struct TableMap {
    pub(in crate::store) schema: Option<String>,
    pub(in crate::store) table: String,
    pub(in crate::store) primary_key: String,
    columns: [MappedColumn; COLUMNS.len()],
    pub(in crate::store) filled: Vec<ExtraColumn>,
    /// The condition of rows that are no users.
    pub(in crate::store) excluded: Option<String>,
    /// The condition of users that must not log in.
    pub(in crate::store) disabled: Option<String>,
}

/// A column of an account, as the host's table has it.
#[derive(Debug, Clone)]
struct MappedColumn {
    name: String,
    time: TimeFormat,
    /// The name of its unique constraint, if it is not the usual one.
    unique: Option<String>,
}

/// A column that the host fills.
#[derive(Clone)]
pub(in crate::store) struct ExtraColumn {
    pub(in crate::store) column: String,
    expression: String,
    value: Option<FilledValue>,
}

type FilledValue = Arc<dyn Fn(&NewAccount) -> String + Send + Sync>;

/// A column of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccountColumn {
    /// The id that tokens and answers name, as text, unique.
    Id,
    /// The address as it was given.
    Email,
    /// The address as it is compared, unique, by its bytes.
    EmailKey,
    /// The name, or null.
    Name,
    /// The plan.
    Plan,
    /// The password's hash, a PHC string; null for a user without a password.
    PasswordHash,
    /// The version of the pepper, or null.
    PepperVersion,
    /// The time of the sign-up.
    CreatedAt,
    /// The generation of the account's tokens.
    TokenGeneration,
    /// The nonce of a request that can be retried.
    ReplayNonce,
    /// The version of the replay secret.
    ReplayVersion,
    /// The tag of a request that can be retried.
    ReplayTag,
    /// The time at which the address was verified, or null.
    EmailVerifiedAt,
    /// The state of the account.
    State,
    /// The time at which the account is to be deleted, or null.
    DeleteAt,
    /// The number of the account's last event.
    EventNumber,
    /// 1 for an account that signed up while addresses were verified after the sign-up, or
    /// null.
    EmailUnverified,
    /// The nonce that the account's tickets are bound to, or null before the first one.
    TicketNonce,
}

use AccountColumn::{
    CreatedAt, DeleteAt, Email, EmailKey, EmailUnverified, EmailVerifiedAt, EventNumber, Id, Name,
    PasswordHash, PepperVersion, Plan, ReplayNonce, ReplayTag, ReplayVersion, State, TicketNonce,
    TokenGeneration,
};

/// All columns, with the names in this crate's own table.
pub(in crate::store) const COLUMNS: [(AccountColumn, &str); 18] = [
    (Id, "id"),
    (Email, "email"),
    (EmailKey, "email_key"),
    (Name, "name"),
    (Plan, "plan"),
    (PasswordHash, "password_hash"),
    (PepperVersion, "pepper_version"),
    (CreatedAt, "created_at"),
    (TokenGeneration, "token_generation"),
    (ReplayNonce, "replay_nonce"),
    (ReplayVersion, "replay_version"),
    (ReplayTag, "replay_tag"),
    (EmailVerifiedAt, "email_verified_at"),
    (State, "state"),
    (DeleteAt, "delete_at"),
    (EventNumber, "event_number"),
    (EmailUnverified, "email_unverified"),
    (TicketNonce, "ticket_nonce"),
];

impl AccountColumn {
    const fn index(self) -> usize {
        self as usize
    }

    /// Returns the name in this crate's own table.
    pub(in crate::store) fn own_name(self) -> &'static str {
        COLUMNS.get(self.index()).map_or("", |(_, name)| name)
    }
}

/// Reads the name of the column in this crate's own table.
impl FromStr for AccountColumn {
    type Err = InvalidValue;

    fn from_str(name: &str) -> Result<Self, InvalidValue> {
        let found = COLUMNS.into_iter().find(|(_, own)| *own == name).map(|(column, _)| column);
        found.ok_or(InvalidValue::new(
            "invalid column of an account: needs id, email, email_key, name, plan, \
             password_hash, pepper_version, created_at, token_generation, replay_nonce, \
             replay_version, replay_tag, email_verified_at, state, delete_at, event_number, \
             email_unverified or ticket_nonce",
        ))
    }
}

impl TableMap {
    /// Creates a map of a table.
    pub fn new(table: impl Into<String>) -> Self {
        let columns = COLUMNS.map(|(column, own)| {
            let name = match column {
                Id | Name | Plan | State | DeleteAt => format!("account_{own}"),
                _ => own.to_owned(),
            };
            MappedColumn { name, time: TimeFormat::default(), unique: None }
        });
        Self {
            schema: None,
            table: table.into(),
            primary_key: "id".to_owned(),
            columns,
            filled: Vec::new(),
            excluded: None,
            disabled: None,
        }
    }

    /// Sets the schema of the table (PostgreSQL) or its database (MySQL).
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// Sets the name of the table's own primary key, by whose order existing rows are
    /// adopted. Default: `id`.
    #[must_use]
    pub fn primary_key(mut self, column: impl Into<String>) -> Self {
        self.primary_key = column.into();
        self
    }

    /// Sets the name of a column.
    #[must_use]
    pub fn column(self, column: AccountColumn, name: impl Into<String>) -> Self {
        self.with_column(column, |it| it.name = name.into())
    }

    /// Sets the form of a time. Default: milliseconds.
    #[must_use]
    pub fn time(self, column: AccountColumn, format: TimeFormat) -> Self {
        self.with_column(column, |it| it.time = format)
    }

    /// Sets the name of a column's unique constraint. `SqlStore::migrate` and
    /// `SqlStore::check_table` read the names from the catalog, so that only a host that calls
    /// neither has to set it. Default: the name that the database gives, `users_email_key_key` in
    /// PostgreSQL and `email_key` in MySQL. SQLite names none.
    #[must_use]
    pub fn unique(self, column: AccountColumn, constraint: impl Into<String>) -> Self {
        self.with_column(column, |it| it.unique = Some(constraint.into()))
    }

    /// Fills another column of the table with an expression of SQL, which is written as it
    /// is: `'member'`, `true`, `now()`.
    #[must_use]
    pub fn fill(mut self, column: impl Into<String>, expression: impl Into<String>) -> Self {
        let (column, expression) = (column.into(), expression.into());
        self.filled.push(ExtraColumn { column, expression, value: None });
        self
    }

    /// Fills another column with a value that depends on the account, as text. In the
    /// expression it is a `?`: alone, or as in `CAST(? AS uuid)`.
    #[must_use]
    pub fn fill_with(
        mut self,
        column: impl Into<String>,
        expression: impl Into<String>,
        value: impl Fn(&NewAccount) -> String + Send + Sync + 'static,
    ) -> Self {
        let (column, expression) = (column.into(), expression.into());
        self.filled.push(ExtraColumn { column, expression, value: Some(Arc::new(value)) });
        self
    }

    /// Excludes rows that are no users, such as soft-deleted ones, from `SqlStore::adoption`, by
    /// a condition of SQL: `deleted_at IS NOT NULL`. A row that is an account already is disabled
    /// by the next run.
    #[must_use]
    pub fn exclude(mut self, condition: impl Into<String>) -> Self {
        self.excluded = Some(condition.into());
        self
    }

    /// Adopts rows as disabled whose users must not log in, by a condition of SQL:
    /// `banned_until > now()`. The next run disables the accounts that match it by then.
    #[must_use]
    pub fn disabled_if(mut self, condition: impl Into<String>) -> Self {
        self.disabled = Some(condition.into());
        self
    }

    fn with_column(
        mut self,
        column: AccountColumn,
        change: impl FnOnce(&mut MappedColumn),
    ) -> Self {
        if let Some(mapped) = self.columns.get_mut(column.index()) {
            change(mapped);
        }
        self
    }

    fn check_names(&self) -> Result<(), InvalidValue> {
        let fixed = [&self.table, &self.primary_key];
        let filled = self.filled.iter().map(|filled| &filled.column);
        let columns = self.columns.iter().map(|column| &column.name);
        let mut names = fixed.into_iter().chain(&self.schema).chain(columns).chain(filled);
        let is_bad = |sign: char| sign.is_control() || matches!(sign, '"' | '`' | '\'');
        let is_name =
            |name: &String| (1..=63).contains(&name.chars().count()) && !name.contains(is_bad);
        if names.all(is_name) { Ok(()) } else { Err(INVALID_NAME) }
    }
}

impl fmt::Debug for TableMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableMap")
            .field("schema", &self.schema)
            .field("table", &self.table)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

/// A table map, spelled for a database.
#[derive(Debug)]
pub(in crate::store) struct MappedTable {
    pub(in crate::store) map: TableMap,
    pub(in crate::store) syntax: Syntax,
    /// The constraints that make a column unique, by the catalog.
    uniques: RwLock<Vec<(AccountColumn, String)>>,
}

impl MappedTable {
    pub(super) fn new(map: TableMap, syntax: Syntax) -> Result<Self, InvalidValue> {
        map.check_names()?;
        Ok(Self { map, syntax, uniques: RwLock::default() })
    }

    pub(in crate::store) fn quoted(&self, name: &str) -> String {
        let quote = self.syntax.quote;
        format!("{quote}{name}{quote}")
    }

    /// Returns the table's name as it stands in SQL.
    pub(in crate::store) fn table(&self) -> String {
        let table = self.quoted(&self.map.table);
        match &self.map.schema {
            Some(schema) => format!("{}.{table}", self.quoted(schema)),
            None => table,
        }
    }

    /// Returns the bare name of a column.
    pub(in crate::store) fn name(&self, column: AccountColumn) -> &str {
        self.map.columns.get(column.index()).map_or("", |mapped| &mapped.name)
    }

    pub(in crate::store) fn column(&self, column: AccountColumn) -> String {
        self.quoted(self.name(column))
    }

    pub(in crate::store) fn time(&self, column: AccountColumn) -> TimeFormat {
        self.map.columns.get(column.index()).map(|mapped| mapped.time).unwrap_or_default()
    }

    /// Returns the name of the unique constraint of a column.
    pub(in crate::store) fn constraint(&self, column: AccountColumn) -> String {
        let mapped = self.map.columns.get(column.index());
        let named = mapped.and_then(|mapped| mapped.unique.clone());
        named.unwrap_or_else(|| (self.syntax.unique_name)(&self.map.table, self.name(column)))
    }

    /// Sets the constraints that make a column unique.
    pub(in crate::store) fn set_uniques(&self, uniques: Vec<(AccountColumn, String)>) {
        *self.uniques.write().unwrap_or_else(PoisonError::into_inner) = uniques;
    }

    /// Returns whether a constraint makes a column unique, by the map or by the catalog.
    pub(in crate::store) fn is_unique_by(&self, column: AccountColumn, constraint: &str) -> bool {
        let uniques = self.uniques.read().unwrap_or_else(PoisonError::into_inner);
        constraint == self.constraint(column)
            || uniques.iter().any(|(it, name)| *it == column && name == constraint)
    }

    /// Returns the name by which SQLite reports a column.
    pub(in crate::store) fn reported(&self, column: AccountColumn) -> String {
        format!("{}.{}", self.map.table, self.name(column))
    }

    /// Returns the columns and the expressions that the host adds to an insert, from the
    /// placeholder after this one on.
    pub(super) fn additions(&self, after: usize) -> (String, String) {
        let (mut columns, mut expressions, mut at) = (String::new(), String::new(), after);
        for filled in &self.map.filled {
            columns += &format!(", {}", self.quoted(&filled.column));
            let mut expression = filled.expression.clone();
            if filled.value.is_some() {
                at += 1;
                expression = expression.replace('?', &(self.syntax.placeholder)(at));
            }
            expressions += &format!(", {expression}");
        }
        (columns, expressions)
    }

    /// Returns the values that the host adds to an insert.
    pub(super) fn added_values(&self, new: &NewAccount) -> Vec<Value> {
        let values = self.map.filled.iter().filter_map(|filled| filled.value.as_ref());
        values.map(|value| value(new).as_str().into()).collect()
    }
}
