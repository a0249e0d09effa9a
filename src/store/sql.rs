//! What the SQL stores share: names of tables, migrations, opening errors.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::error::BoxError;

use super::NewAccount;

pub(super) mod credentials;

/// What the names of all tables begin with. Empty by default.
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
    /// A prefix of up to 32 lower-case letters, digits and underscores, not
    /// beginning with a digit. It becomes part of the SQL, so nothing else is taken.
    ///
    /// # Errors
    /// It is longer, or has another character in it.
    pub fn new(prefix: &str) -> Result<Self, PrefixError> {
        let in_alphabet =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let digit_first = prefix.starts_with(|first: char| first.is_ascii_digit());
        if prefix.len() > 32 || digit_first || !prefix.bytes().all(in_alphabet) {
            return Err(PrefixError);
        }
        Ok(Self(prefix.to_owned()))
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SQL that was put together from our text and checked names: it is cloned for
/// each query, and so shared.
pub(super) fn shared(sql: String) -> SqlStr {
    AssertSqlSafe(Arc::<str>::from(sql)).into_sql_str()
}

/// The text is no prefix of table names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a table prefix is up to 32 lower-case letters, digits and underscores")]
pub struct PrefixError;

/// Brings the tables up to date, in order, inside of a transaction that has shut
/// out every other instance. The record of it is a table of our own, so that the
/// host's migrations stay untouched.
pub(super) async fn migrate<C: Migrate>(
    connection: &mut C,
    table: String,
    steps: impl IntoIterator<Item = (i64, &'static str, SqlStr)>,
) -> Result<(), MigrateError> {
    let migrations = steps.into_iter().map(|(version, description, sql)| {
        Migration::new(version, description.into(), MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.set_locking(false).dangerous_set_table_name(table);
    migrator.run_direct(None, connection, false).await
}

/// Rows of the host's that are stored with an account, or not at all: a
/// workspace, a membership, an entry of an outbox.
///
/// # Contract
/// [`insert`](HostRows::insert) is called after the account and its API key are
/// inserted, in the same transaction, which it neither commits nor rolls back.
/// An error rolls everything back.
#[async_trait]
pub trait HostRows<C>: Send + Sync + 'static {
    /// Inserts the host's rows for `new`.
    ///
    /// # Errors
    /// They can't be inserted: nothing is stored then. A `sqlx::Error` is judged
    /// like one of the store's own, anything else is an internal error.
    async fn insert(&self, connection: &mut C, new: &NewAccount) -> Result<(), BoxError>;
}

/// Why a store can't be opened or brought up to date. It names the URL without
/// user, password and parameters.
#[derive(Debug, thiserror::Error)]
#[error("can't {action} the store {location}: {source}")]
pub struct OpenError {
    action: &'static str,
    location: Location,
    source: BoxError,
}

impl OpenError {
    pub(super) fn open(location: Location, source: impl Into<BoxError>) -> Self {
        Self { action: "open", location, source: source.into() }
    }

    pub(super) fn migrate(location: Location, source: impl Into<BoxError>) -> Self {
        Self { action: "migrate", location, source: source.into() }
    }
}

/// Where a store is, as far as it may be told: scheme, host and path.
#[derive(Debug, Clone)]
pub(super) struct Location(String);

impl Location {
    pub(super) fn of_url(url: &str) -> Self {
        let plain = url.split(['?', '#']).next().unwrap_or_default();
        let Some((scheme, rest)) = plain.split_once(':') else {
            return Self("(its URL has no scheme)".to_owned());
        };
        let path = rest.rsplit_once('@').map_or(rest, |(_secret, rest)| rest);
        let path = path.trim_start_matches("//");
        let slashes = if rest.starts_with("//") { "//" } else { "" };
        Self(format!("{scheme}:{slashes}{path}"))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A database's error with what it says of the rows taken out: the detail of a
/// constraint may quote them, and the hash with them.
pub(super) fn without_rows(error: sqlx::Error) -> BoxError {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            format!("{} (code {code})", error.message()).into()
        }
        other => other.into(),
    }
}

/// The innermost text of an error, where the outer ones only say "error".
pub(super) fn root_cause(error: MigrateError) -> BoxError {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match error.source() {
        Some(_) => cause.to_string().into(),
        None => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_tells_no_secret() {
        let cases = [
            ("sqlite://signup.db", "sqlite://signup.db"),
            ("sqlite:///var/lib/a.db?mode=rw", "sqlite:///var/lib/a.db"),
            ("sqlite::memory:", "sqlite::memory:"),
            (
                "postgres://u:s3cret@db.local:5432/app?sslmode=require",
                "postgres://db.local:5432/app",
            ),
            ("postgres://u:s3c@ret@db/app", "postgres://db/app"),
            ("s3cret", "(its URL has no scheme)"),
        ];
        for (url, expected) in cases {
            assert_eq!(Location::of_url(url).to_string(), expected);
        }
    }

    #[test]
    fn a_prefix_is_an_identifier() {
        for bad in ["1a", "A_", "a-b", "a b", "a\"", "\u{e9}", &"a".repeat(33)] {
            assert_eq!(TablePrefix::new(bad), Err(PrefixError), "{bad}");
        }
        let prefix = TablePrefix::new("x_").unwrap();
        assert_eq!(prefix.as_str(), "x_");
    }
}
