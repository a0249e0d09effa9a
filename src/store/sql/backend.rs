//! The part of a store that differs between databases: connection, dialect and errors.

use std::time::Duration;

use sqlx::{Database, Pool, SqlStr};

use crate::issue::BoxError;
use crate::store::NewAccount;

use super::fault::Fault;
use super::names::Names;
use super::queries::Queries;
use super::statement::{Kind, Row, Statement};

/// The connection of a backend.
#[expect(unreachable_pub, reason = "a public trait shows it")]
pub type Connection<B> = <<B as Backend>::Database as Database>::Connection;

/// A database that [`SqlStore`](super::SqlStore) can use. It is sealed: the stores
/// of this crate implement it.
#[doc(hidden)]
pub trait Backend: sealed::Sealed + Clone + Send + Sync + 'static {
    /// The database of sqlx.
    type Database: Database;

    /// Placeholders and functions.
    const DIALECT: Dialect;
    /// True if the connection of a dropped transaction can be used again. Otherwise it is
    /// closed.
    const REUSES_DROPPED: bool;
    /// True if a read after a failed commit settles whether it happened: a server may still
    /// commit after its client has lost it.
    const READ_SETTLES_COMMIT: bool;

    /// Returns the numbered steps of the schema.
    fn steps(&self, names: &Names) -> &'static [Step];

    /// Returns whether a migration is sent as single statements that commit by themselves and
    /// can be repeated, also by several instances at once. Otherwise it is one transaction.
    fn migrates_by_statement(&self) -> bool {
        false
    }

    /// Returns whether nothing but a convention ties an API key to its account.
    fn references_by_convention(&self) -> bool {
        false
    }

    /// Returns the statement that begins a write which has this time left.
    fn begin(&self, left: Duration) -> SqlStr;

    /// Returns whether a single statement is sent without a transaction around it.
    fn commits_alone(&self) -> bool;

    /// Returns the statement that begins a read, if one is needed.
    fn begin_read(&self) -> Option<SqlStr> {
        None
    }

    /// Returns whether prepared statements outlive a transaction.
    fn persistent(&self) -> bool {
        true
    }

    /// Returns the statements that insert an account and its first API key. The first
    /// one affects no row where the email is taken.
    fn insert_account(&self, queries: &Queries, new: &NewAccount) -> Vec<Statement> {
        queries.inserts(new)
    }

    /// Runs a statement and returns the number of rows that it affected.
    fn execute(
        connection: &mut Connection<Self>,
        statement: &Statement,
        persistent: bool,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Runs a query and returns its rows.
    fn fetch(
        connection: &mut Connection<Self>,
        statement: &Statement,
        kinds: &'static [Kind],
        persistent: bool,
    ) -> impl Future<Output = Result<Vec<Row>, sqlx::Error>> + Send;

    /// Runs several statements without values.
    fn run(
        connection: &mut Connection<Self>,
        script: SqlStr,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Prepares a migration's transaction: locks out other instances and checks the
    /// database's settings.
    fn begin_migration(
        _: &mut Connection<Self>,
        _: &Names,
        _: Duration,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Rejects a pool that the store can't work with.
    ///
    /// # Errors
    /// Returns the reason.
    fn check(_: &Pool<Self::Database>) -> Result<(), BoxError> {
        Ok(())
    }

    /// Returns the statement that creates the schema of the tables, ended by a semicolon, if
    /// they have one.
    fn create_schema(_: &Names) -> String {
        String::new()
    }

    /// Returns a query that has a row if the table has the column.
    fn find_column(&self, names: &Names, table: &str, column: &str) -> Statement;

    /// Classifies the error of a statement that may have committed.
    fn fault(error: sqlx::Error) -> Fault;

    /// Returns the constraint of this crate's tables that an error is about.
    fn clash(error: &sqlx::Error, names: &Names) -> Option<Clash>;
}

/// Differences in spelling between databases.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// The placeholder of the n-th value, counted from one.
    pub placeholder: fn(usize) -> String,
    /// A query on no table of the store that the database can't answer from memory alone.
    pub ping: &'static str,
    /// The type of a column of bytes.
    pub bytes: &'static str,
    /// The beginning of a statement that creates the table of migrations.
    pub create_table: &'static str,
    /// The end of an insert of a migration that another instance may have recorded.
    pub ignore_recorded: &'static str,
    /// The literal of bytes that are given as hexadecimal digits.
    pub hex: fn(&str) -> String,
    /// The function that returns the least of its arguments.
    pub least: &'static str,
    /// The sign around a name that is written as it is.
    pub quote: char,
    /// The name of a unique constraint that was given none, of a table and a column.
    pub unique_name: fn(&str, &str) -> String,
    /// The expression that reads a column of the database's own type for times, in
    /// milliseconds.
    pub read_time: fn(&str) -> String,
    /// The expression that writes milliseconds to such a column.
    pub write_time: fn(&str) -> String,
    /// Types and catalogue, for a table of the host's.
    pub catalog: &'static Catalog,
    /// The end of an `INSERT INTO accounts` that ignores a taken email key.
    pub ignore_taken_email: &'static str,
}

/// The catalogue of a database: what it says about a table, and the types that columns of
/// accounts have there.
#[doc(hidden)]
#[derive(Debug)]
pub struct Catalog {
    /// A query of the schema (or null) and the table: each column's name, its type, whether
    /// it may be null, and whether it has a value of its own if none is given.
    pub columns: &'static str,
    /// A query of the same: each unique index of one column, and the column.
    pub uniques: &'static str,
    /// The types of an account's id.
    pub id: Types,
    /// Those of text.
    pub text: Types,
    /// Those of text that is compared by its bytes.
    pub key: Types,
    /// Those of integers of eight octets.
    pub integer: Types,
    /// Those of bytes.
    pub bytes: Types,
    /// Those of times.
    pub time: Types,
    /// The expression that reads a value of any type as text.
    pub as_text: fn(&str) -> String,
    /// The expression that turns text into a value of a type.
    pub from_text: fn(&str, &str) -> String,
}

/// Types of a database: the beginnings of those that are accepted, and the one to propose.
#[doc(hidden)]
#[derive(Debug)]
pub struct Types {
    pub accepted: &'static [&'static str],
    pub proposed: &'static str,
}

/// A step of the schema.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Its number, counted from one.
    pub version: i64,
    /// A short description.
    pub description: &'static str,
    /// The statements, with `{t}` before the name of a table and `{p}` before that of
    /// an index or a constraint.
    pub sql: &'static str,
    /// The oldest version whose code can use a schema with this step. A step that only adds
    /// leaves it unchanged.
    pub requires: i64,
}

/// The constraint that refused a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(hidden)]
pub enum Clash {
    /// An account with this email key exists.
    Email,
    /// An account with this id, or an API key with this digest, exists.
    Identifier,
    /// The account that the row belongs to does not exist.
    Orphan,
    /// The account has an API key of an earlier request with this tag.
    Retry,
    /// The ticket was used before.
    Ticket,
}

pub(in crate::store) mod sealed {
    pub trait Sealed {}
}
