//! Rows that do not depend on the database.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::clock::Timestamp;
use crate::issue::BoxError;
use crate::store::contract::StoreError;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::store::dialect::statement::Statement;
use crate::store::dialect::statement::Value;

/// The type of a column that is read.
#[derive(Debug, Clone, Copy)]
#[doc(hidden)]
pub enum Kind {
    Text,
    Bytes,
    Integer,
}

/// Without the values.
impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Row")
    }
}

/// Returns the SQL of a statement, which this crate has written.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(in crate::store) fn bound(statement: &Statement) -> SqlStr {
    AssertSqlSafe(Arc::clone(&statement.sql)).into_sql_str()
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
