//! Statements and rows that do not depend on the database.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::clock::Timestamp;
use crate::issue::BoxError;
use crate::secret::Secret;
use crate::store::StoreError;

/// A statement with its values.
#[derive(Clone)]
#[doc(hidden)]
pub struct Statement {
    pub(in crate::store) sql: SqlStr,
    pub(in crate::store) values: Vec<Value>,
    /// Whether it may affect no row.
    pub(in crate::store) is_optional: bool,
}

impl Statement {
    pub(in crate::store) fn new<const N: usize>(sql: &SqlStr, values: [Value; N]) -> Self {
        Self::from_parts(sql.clone(), values.into())
    }

    pub(in crate::store) fn from_parts(sql: SqlStr, values: Vec<Value>) -> Self {
        Self { sql, values, is_optional: false }
    }

    /// Lets the statement affect no row.
    pub(in crate::store) fn optional(self) -> Self {
        Self { is_optional: true, ..self }
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

/// The type of a column that is read.
#[derive(Debug, Clone, Copy)]
#[doc(hidden)]
pub enum Kind {
    Text,
    Bytes,
    Integer,
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
impl std::fmt::Debug for Statement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.sql.as_str())
    }
}

/// Without the values.
impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Row")
    }
}

/// Creates shared SQL from text of this crate and checked names.
pub(in crate::store) fn trusted(sql: String) -> SqlStr {
    AssertSqlSafe(Arc::<str>::from(sql)).into_sql_str()
}

/// A row whose columns are taken from left to right.
#[doc(hidden)]
pub struct Row(std::vec::IntoIter<Value>);

impl Row {
    pub(in crate::store) fn new(values: Vec<Value>) -> Self {
        Self(values.into_iter())
    }

    pub(in crate::store) fn optional_text(&mut self) -> Result<Option<String>, BoxError> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(text.map(|mut text| std::mem::take(&mut *text))),
            _ => Err("the column is no text".into()),
        }
    }

    pub(in crate::store) fn text(&mut self) -> Result<String, BoxError> {
        self.optional_text()?.ok_or_else(|| "the column is null".into())
    }

    pub(in crate::store) fn optional_bytes(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        match self.0.next() {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            _ => Err("the column holds no bytes".into()),
        }
    }

    pub(in crate::store) fn bytes(&mut self) -> Result<Vec<u8>, BoxError> {
        self.optional_bytes()?.ok_or_else(|| "the column is null".into())
    }

    pub(in crate::store) fn optional_integer(&mut self) -> Result<Option<i64>, BoxError> {
        match self.0.next() {
            Some(Value::Integer(number)) => Ok(number),
            _ => Err("the column is no integer".into()),
        }
    }

    pub(in crate::store) fn integer(&mut self) -> Result<i64, BoxError> {
        self.optional_integer()?.ok_or_else(|| "the column is null".into())
    }

    pub(in crate::store) fn timestamp(&mut self) -> Result<Timestamp, BoxError> {
        Ok(Timestamp::from_millis(self.integer()?)?)
    }

    pub(in crate::store) fn optional_timestamp(&mut self) -> Result<Option<Timestamp>, BoxError> {
        Ok(self.optional_integer()?.map(Timestamp::from_millis).transpose()?)
    }
}

/// Decodes each row.
pub(in crate::store) fn decode<T>(
    rows: Vec<Row>,
    decode: impl Fn(Row) -> Result<T, BoxError>,
) -> Result<Vec<T>, StoreError> {
    rows.into_iter().map(decode).collect::<Result<_, _>>().map_err(StoreError::Failed)
}
