//! Statements with typed values.

use std::fmt;
use std::sync::Arc;

use crate::secret::Secret;

/// A statement with its values, as [`Dialect`](super::Dialect) writes it.
#[derive(Clone)]
pub struct Statement {
    pub(in crate::store) sql: Arc<str>,
    pub(in crate::store) values: Vec<Value>,
    /// Whether it may affect no row.
    pub(in crate::store) is_optional: bool,
}

/// A value of a [`Statement`], for its placeholder: bound as `text`, `bytea` or `bigint` in
/// PostgreSQL, for any type of column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SqlValue<'a> {
    /// Text, or null. One is the hash of the password.
    Text(Option<&'a str>),
    /// Bytes, or null.
    Bytes(Option<&'a [u8]>),
    /// An integer of eight bytes, or null.
    Integer(Option<i64>),
}

impl Statement {
    pub(in crate::store) fn new<const N: usize>(sql: &Arc<str>, values: [Value; N]) -> Self {
        Self::from_parts(Arc::clone(sql), values.into())
    }

    pub(in crate::store) fn from_parts(sql: impl Into<Arc<str>>, values: Vec<Value>) -> Self {
        Self { sql: sql.into(), values, is_optional: false }
    }

    /// Returns whether it inserts rows.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(in crate::store) fn is_insert(&self) -> bool {
        // A sign-up in PostgreSQL is one statement that begins with `WITH`.
        !["UPDATE", "DELETE"].iter().any(|verb| self.sql.trim_start().starts_with(verb))
    }

    /// Returns whether it deletes rows.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(in crate::store) fn is_deletion(&self) -> bool {
        self.sql.trim_start().starts_with("DELETE")
    }

    /// Returns whether its transaction must be rolled back if it affects no row.
    pub fn must_affect_row(&self) -> bool {
        !self.is_optional
    }

    /// Lets the statement affect no row.
    pub(in crate::store) fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }

    /// Returns the SQL, with the placeholders of the database: `$1` in PostgreSQL, `?` in
    /// MySQL, `?1` in SQLite.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Returns the values, in the order of the placeholders.
    pub fn values(&self) -> impl ExactSizeIterator<Item = SqlValue<'_>> {
        self.values.iter().map(|value| match value {
            Value::Text(text) => SqlValue::Text(text.as_ref().map(|text| text.as_str())),
            Value::Bytes(bytes) => SqlValue::Bytes(bytes.as_deref()),
            Value::Integer(number) => SqlValue::Integer(*number),
        })
    }
}

/// A value to write, or one that was read.
#[derive(Clone)]
pub(in crate::store) enum Value {
    /// Wiped when dropped: a password hash may be among them.
    Text(Option<Secret<String>>),
    Bytes(Option<Vec<u8>>),
    Integer(Option<i64>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::from(Some(text))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(|text| Secret::new(text.to_owned())))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::from(Some(bytes))
    }
}

impl From<Option<&[u8]>> for Value {
    fn from(bytes: Option<&[u8]>) -> Self {
        Self::Bytes(bytes.map(<[u8]>::to_owned))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Integer(number)
    }
}

/// Without the values: one may be a password hash.
impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sql)
    }
}

/// Without the value: it may be a password hash.
impl fmt::Debug for SqlValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text",
            Self::Bytes(_) => "Bytes",
            Self::Integer(_) => "Integer",
        })
    }
}
