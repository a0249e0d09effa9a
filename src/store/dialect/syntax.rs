//! Differences between databases: spelling, types, schema, and the meaning of errors.

use std::fmt;

/// Differences in spelling between databases.
#[derive(Clone, Copy)]
pub struct Syntax {
    /// The placeholder of the n-th value, counted from one.
    pub placeholder: fn(usize) -> String,
    /// A query on no table of the store that the database can't answer from memory alone.
    pub ping: &'static str,
    /// A query of the database's clock, in milliseconds; `None` for a database in the process.
    pub now: Option<&'static str>,
    /// The assignment of a change that has no other for the row, so that it holds the row against
    /// other changes.
    pub touch: &'static str,
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
    /// The expression that reads a column with a time of this format, in milliseconds. It
    /// returns the same in every time zone of the session.
    pub read_time: fn(TimeFormat, &str) -> String,
    /// The expression that writes milliseconds to such a column.
    pub write_time: fn(TimeFormat, &str) -> String,
    /// Types and catalog, for the host's table.
    pub catalog: &'static Catalog,
    /// The end of an `INSERT INTO accounts` that ignores a taken email key.
    pub ignore_taken_email: &'static str,
    /// Whether placeholders have numbers when they are sent.
    pub numbers_placeholders: bool,
    /// Whether one statement can insert into several tables.
    pub inserts_at_once: bool,
    /// Statements about large tables.
    pub large: &'static Large,
    /// Whether a schema is created with the tables.
    pub creates_schema: bool,
    /// The numbered steps of the schema.
    pub steps: &'static [Step],
    /// Those next to a table of the host.
    pub mapped_steps: &'static [Step],
}

/// The spelling of statements that read large tables by an index.
#[derive(Debug)]
pub struct Large {
    /// The template of a statement that deletes up to `LIMIT_ROWS` rows: of a table, which has this key,
    /// where a condition holds, in the order of a column.
    pub delete_some: fn(&str, &str, &str, &str) -> String,
    /// The condition that two columns of an index come after two values.
    pub is_after: fn([&str; 2], [&str; 2]) -> String,
    /// The statement that adds an index of this name to a table in use, on some columns.
    pub add_index: fn(&str, &str, &str) -> String,
    /// The hint to use an index, for a database that may take another.
    pub by_index: fn(&str) -> String,
    /// The template of a statement that lets the first event of an account that waits be due at
    /// its own time, if it was postponed behind earlier ones.
    pub advance_next: &'static str,
}

/// Without its parts, which are not sent.
impl fmt::Debug for Syntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Syntax")
    }
}

/// Deletes some rows where a `DELETE` can't have a limit.
pub(super) fn delete_by_key(table: &str, key: &str, condition: &str, order: &str) -> String {
    format!(
        "DELETE FROM {{{table}}} WHERE ({key}) IN (
             SELECT {key} FROM {{{table}}} WHERE {condition} ORDER BY {order} LIMIT LIMIT_ROWS)"
    )
}

/// Deletes some rows where a `DELETE` can have a limit, and can't read its own table.
pub(super) fn delete_by_limit(table: &str, _key: &str, condition: &str, order: &str) -> String {
    format!("DELETE FROM {{{table}}} WHERE {condition} ORDER BY {order} LIMIT LIMIT_ROWS")
}

/// Advances an event that a subquery finds.
pub(super) const ADVANCE_NEXT: &str = "UPDATE {events} SET due_at = created_at
    WHERE account_id = {1} AND delivery = 'waiting' AND attempts = 0 AND due_at > created_at
      AND number = (SELECT f.number FROM {events} f WHERE f.account_id = {1}
          AND f.delivery = 'waiting' ORDER BY f.number LIMIT 1)";

/// Updates a table by rows of values where an `UPDATE` has a `FROM`.
pub(super) fn update_from(table: &str, set: &str, rows: &[[String; 4]], condition: &str) -> String {
    let rows: Vec<_> = rows.iter().map(|row| format!("({})", row.join(", "))).collect();
    let rows = rows.join(", ");
    format!("UPDATE {table} AS t SET {set} FROM (VALUES {rows}) AS v WHERE {condition}")
}

/// Compares two columns with two values as rows.
pub(super) fn is_row_after(columns: [&str; 2], values: [&str; 2]) -> String {
    format!("({}) > ({})", columns.join(", "), values.join(", "))
}

/// Compares two columns with two values where an index can't compare rows.
pub(super) fn is_after(columns: [&str; 2], values: [&str; 2]) -> String {
    let ([first, second], [one, other]) = (columns, values);
    format!("({first} > {one} OR ({first} = {one} AND {second} > {other}))")
}

/// The catalogue of a database: what it says about a table, and the types that columns of
/// accounts have there.
#[derive(Debug)]
pub struct Catalog {
    /// A query of the schema (or null) and the table: in one row, its kind, and how its rows are
    /// stored.
    pub table: &'static str,
    /// The kind of a table that the store can use, and the ways of storing rows that it can't.
    pub usable: (&'static str, &'static [&'static str]),
    /// A query of the same: each column's name, its type, whether it may be null, whether it has
    /// a default value, its length in characters (0 for any), and whether it is
    /// generated (1) or renewed by each update (2).
    pub columns: &'static str,
    /// A query of the same: each unique index, a column that it is about, and whether it is of
    /// this column alone, for all rows, and valid. Instead of a column, it can have the
    /// definition of the index.
    pub uniques: &'static str,
    /// The types of an account's id.
    pub id: Types,
    /// Types of text.
    pub text: Types,
    /// Types of text compared by its bytes.
    pub key: Types,
    /// Types of integers of eight bytes.
    pub integer: Types,
    /// Types of bytes.
    pub bytes: Types,
    /// The types of points in time.
    pub time: Types,
    /// The types of dates and times without a zone.
    pub date_time: Types,
    /// The type to which a value is cast as text.
    pub cast: &'static str,
    /// The expression that reads a value of a type as text.
    pub as_text: fn(&str, &str) -> String,
    /// The expression that turns this text into a value of the type.
    pub from_text: fn(&str, &str) -> String,
    /// The statement that updates a table `t` by rows of four values: of the table, its
    /// assignments, the rows, and the condition, in which the columns of the rows are
    /// `v.column1` to `v.column4`.
    pub update_by: fn(&str, &str, &[[String; 4]], &str) -> String,
    /// The statement by which a transaction gives up the wait for a lock of a table after a
    /// second. It leaves nothing in the session of a pooler.
    pub short_locks: Option<&'static str>,
    /// The statement by which a session takes the defaults that columns of a table have already.
    pub old_defaults: Option<&'static str>,
    /// The statement that widens a column, of a table, the column and a length.
    pub widen: Option<fn(&str, &str, u32) -> String>,
}

/// Types of a database: the beginnings of those that are accepted, and the one to propose.
#[derive(Debug)]
pub struct Types {
    pub accepted: &'static [&'static str],
    pub proposed: &'static str,
}

/// A step of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Its number, counted from one.
    pub version: i64,
    /// A short description.
    pub description: &'static str,
    /// The statements, with `{t}` before the name of a table and `{p}` before the name of
    /// an index or a constraint.
    pub sql: &'static [&'static str],
    /// The spelling of what its forms differ in.
    pub form: Form,
    /// The oldest version whose code can use a schema with this step. A step that only adds
    /// leaves it unchanged.
    pub requires: i64,
}

/// The differences between the forms of one schema.
#[derive(Debug, Clone, Copy, Default)]
pub struct Form {
    /// The clause that lets the definition of a table be repeated.
    pub if_not_exists: &'static str,
    /// The collation in which text is compared by its bytes.
    pub bytewise: &'static str,
    /// The reference of an API key to its account.
    pub reference: &'static str,
    /// The constraints that are the indexes of a database without others, by the table in whose
    /// definition they are.
    pub indexes: &'static [(&'static str, &'static str)],
}

impl Step {
    /// Returns the statements, without the names of the host.
    pub(in crate::store) fn template(&self) -> String {
        let Form { if_not_exists, bytewise, reference, indexes } = self.form;
        let template = self
            .sql
            .join("\n")
            .replace("{if_not_exists}", if_not_exists)
            .replace("{bytewise}", bytewise)
            .replace("{reference}", reference);
        indexes.iter().fold(template, |template, (table, constraints)| {
            template.replace(&format!("{{{table}_indexes}}"), constraints)
        })
    }
}

/// The constraint that refused a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViolatedConstraint {
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

/// The severity of an error that is about none of our constraints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Severity {
    /// Another transaction conflicts. Nothing is stored; try again.
    Conflict,
    /// The answer to a possible commit was lost.
    Lost,
    /// The database does not do it at the moment. Nothing is stored.
    Unavailable,
    /// The database fails, and will fail again. Nothing is stored.
    Failed,
}

/// The form in which a column holds a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TimeFormat {
    /// Milliseconds since 1970, in an integer of eight bytes.
    #[default]
    Milliseconds,
    /// A point in time: `timestamptz` in PostgreSQL, `timestamp(3)` in MySQL, which ends in
    /// 2038, text in SQLite.
    Timestamp,
    /// Date and time in UTC, without a time zone: `timestamp` in PostgreSQL, `datetime(3)` in
    /// MySQL, text in SQLite.
    DateTime,
}
