//! Statements and rows of databases whose placeholders have numbers.

use sqlx::database::HasStatementCache;
use sqlx::query::Query;
use sqlx::{ColumnIndex, Database, Decode, Encode, Type};

use crate::secret::Secret;

use crate::store::dialect::statement::{Statement, Value};

use super::statement::{Kind, Row, bound};

/// Turns a statement into a query of the database `DB`.
pub(in crate::store) fn query<'q, DB>(
    statement: &Statement,
    persistent: bool,
) -> Query<'q, DB, DB::Arguments>
where
    DB: Database + HasStatementCache,
    for<'t> Option<&'t str>: Encode<'t, DB> + Type<DB>,
    for<'t> Option<&'t [u8]>: Encode<'t, DB> + Type<DB>,
    for<'t> Option<i64>: Encode<'t, DB> + Type<DB>,
{
    let query = sqlx::query(bound(statement)).persistent(persistent);
    statement.values.iter().fold(query, |query, value| match value {
        Value::Text(text) => query.bind(text.as_ref().map(|text| text.as_str())),
        Value::Bytes(bytes) => query.bind(bytes.as_deref()),
        Value::Integer(number) => query.bind(*number),
    })
}

/// Reads the columns of a row.
pub(in crate::store) fn values<R>(row: &R, kinds: &[Kind]) -> Result<Row, sqlx::Error>
where
    R: sqlx::Row,
    usize: ColumnIndex<R>,
    for<'r> Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Option<Vec<u8>>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
{
    let read = |(at, kind): (usize, &Kind)| {
        Ok(match kind {
            Kind::Text => Value::Text(row.try_get::<Option<String>, _>(at)?.map(Secret::new)),
            Kind::Bytes => Value::Bytes(row.try_get(at)?),
            Kind::Integer => Value::Integer(row.try_get(at)?),
        })
    };
    let values = kinds.iter().enumerate().map(read).collect::<Result<Vec<_>, sqlx::Error>>()?;
    Ok(Row::new(values))
}
