//! Names of schema, tables and constraints.

use std::sync::Arc;

use crate::account::AccountState;
use crate::clock::Timestamp;
use crate::issue::InvalidValue;

use super::syntax::Syntax;
use super::syntax::TimeFormat;
use super::table::{AccountColumn, MappedTable, TableMap};

const INVALID_PREFIX: InvalidValue = InvalidValue::new(
    "invalid table prefix: needs up to 32 lower-case letters, digits and underscores",
);

/// A prefix of all tables' names. Empty by default.
///
/// ```
/// use signup::store::TablePrefix;
///
/// assert_eq!(TablePrefix::new("auth_").unwrap().as_str(), "auth_");
/// assert!(TablePrefix::new("auth; DROP TABLE x").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TablePrefix(String);

impl TablePrefix {
    /// Creates a prefix of up to 32 lower-case letters, digits and underscores that does
    /// not begin with a digit. It becomes part of the SQL, so nothing else is allowed.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] for any other text.
    pub fn new(prefix: &str) -> Result<Self, InvalidValue> {
        let in_alphabet =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let digit_first = prefix.starts_with(|first: char| first.is_ascii_digit());
        if prefix.len() > 32 || digit_first || !prefix.bytes().all(in_alphabet) {
            return Err(INVALID_PREFIX);
        }
        Ok(Self(prefix.to_owned()))
    }

    /// Returns the prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The schema of the tables. By default the first one of the search path.
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
    /// Creates a schema's name of up to 32 lower-case letters, digits and underscores.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] for any other text.
    pub fn new(name: &str) -> Result<Self, InvalidValue> {
        if name.is_empty() {
            return Err(INVALID_PREFIX);
        }
        TablePrefix::new(name).map(Self)
    }

    pub(in crate::store) fn name(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|name| !name.is_empty())
    }
}

/// The names chosen by the host.
#[doc(hidden)]
#[derive(Debug, Clone, Default)]
pub struct TableNames {
    pub(in crate::store) schema: Schema,
    pub(in crate::store) prefix: TablePrefix,
    /// The host's table, if the accounts are in one.
    pub(in crate::store) accounts: Option<Arc<MappedTable>>,
}

impl TableNames {
    /// Puts the accounts into the host's table.
    pub(in crate::store) fn with_table(
        self,
        map: TableMap,
        syntax: Syntax,
    ) -> Result<Self, InvalidValue> {
        Ok(Self { accounts: Some(Arc::new(MappedTable::new(map, syntax)?)), ..self })
    }

    /// Returns a table's name as it stands in SQL, with schema and prefix.
    pub(in crate::store) fn table(&self, name: &str) -> String {
        if let ("accounts", Some(accounts)) = (name, &self.accounts) {
            return accounts.table();
        }
        let prefix = self.prefix.as_str();
        match self.schema.name() {
            Some(schema) => format!("{schema}.{prefix}{name}"),
            None => format!("{prefix}{name}"),
        }
    }

    /// Returns the name of an account's column as it stands in SQL.
    pub(in crate::store) fn column(&self, column: AccountColumn) -> String {
        match &self.accounts {
            Some(accounts) => accounts.column(column),
            None => column.own_name().to_owned(),
        }
    }

    /// Returns the expression that reads a time of an account, of a table `a`, in
    /// milliseconds.
    pub(in crate::store) fn read_time(&self, column: AccountColumn, syntax: Syntax) -> String {
        let name = format!("a.{}", self.column(column));
        match self.time_format(column) {
            TimeFormat::Milliseconds => name,
            format => {
                // A host may have any time, and one row must not fail a query.
                let time = (syntax.read_time)(format, &name);
                let latest = Timestamp::MAX.as_millis();
                format!("CASE WHEN {time} BETWEEN 0 AND {latest} THEN {time} END")
            }
        }
    }

    /// Returns the condition, with `AND` before it, that a row of a table `a` can be read: the
    /// rows of a host's table may not be adopted, or be changed by another system.
    pub(in crate::store) fn is_readable(&self, syntax: Syntax) -> String {
        if self.accounts.is_none() {
            return String::new();
        }
        let time = self.read_time(AccountColumn::CreatedAt, syntax);
        let latest = Timestamp::MAX.as_millis();
        let states = AccountState::ALL.map(|state| format!("'{state}'")).join(", ");
        let columns = self.fill_columns(
            " AND a.@id IS NOT NULL AND a.@email IS NOT NULL AND a.@email_key IS NOT NULL",
        );
        let state = self.column(AccountColumn::State);
        format!("{columns} AND a.{state} IN ({states}) AND {time} BETWEEN 0 AND {latest}")
    }

    /// Returns whether a time of an account is not in milliseconds.
    pub(in crate::store) fn has_finer_times(&self, column: AccountColumn) -> bool {
        self.time_format(column) != TimeFormat::Milliseconds
    }

    /// Returns the expression that writes a time of an account, given in milliseconds.
    pub(in crate::store) fn write_time(
        &self,
        column: AccountColumn,
        millis: &str,
        syntax: Syntax,
    ) -> String {
        match self.time_format(column) {
            TimeFormat::Milliseconds => millis.to_owned(),
            format => (syntax.write_time)(format, millis),
        }
    }

    fn time_format(&self, column: AccountColumn) -> TimeFormat {
        self.accounts.as_ref().map(|accounts| accounts.time(column)).unwrap_or_default()
    }

    /// Returns whether a constraint is the one of the account's id.
    pub(in crate::store) fn is_id(&self, constraint: &str, own: &str) -> bool {
        match &self.accounts {
            Some(accounts) => accounts.is_unique_by(AccountColumn::Id, constraint),
            None => constraint == self.constraint(own),
        }
    }

    /// Returns whether a constraint says that an address is taken: the one of the email key, or
    /// the host's on the address itself.
    pub(in crate::store) fn is_email(&self, constraint: &str, own: &str) -> bool {
        match &self.accounts {
            Some(accounts) => [AccountColumn::EmailKey, AccountColumn::Email]
                .into_iter()
                .any(|column| accounts.is_unique_by(column, constraint)),
            None => constraint == self.constraint(own),
        }
    }

    /// Fills the columns of accounts into SQL, where each is written with an `@` before it.
    pub(in crate::store) fn fill_columns(&self, sql: &str) -> String {
        let mut parts = sql.split('@');
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|sign: char| !(sign.is_ascii_lowercase() || sign == '_'));
            let (name, rest) = part.split_at(end.unwrap_or(part.len()));
            if let Ok(column) = name.parse() {
                filled += &self.column(column);
            } else {
                filled.push('@');
                filled += name;
            }
            filled += rest;
        }
        filled
    }

    /// Returns the name of a constraint or an index, which has no schema.
    pub(in crate::store) fn constraint(&self, name: &str) -> String {
        format!("{}{name}", self.prefix.as_str())
    }

    /// Fills the names into a template: `{t}` before a table's name, `{p}` before other
    /// names.
    pub(in crate::store) fn fill(&self, template: &str) -> String {
        let names = template.replace("{t}", &self.table("")).replace("{p}", self.prefix.as_str());
        self.fill_columns(&names.replace("{accounts}", &self.table("accounts")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_an_identifier() {
        for bad in ["1a", "A_", "a-b", "a b", "a\"", "\u{e9}", &"a".repeat(33)] {
            assert_eq!(TablePrefix::new(bad), Err(INVALID_PREFIX), "{bad}");
        }
        let prefix = TablePrefix::new("x_").unwrap();
        assert_eq!(prefix.as_str(), "x_");
    }
}
