//! diesel-async on PostgreSQL, with a pool of deadpool's.

use async_trait::async_trait;
use diesel::result::{DatabaseErrorKind as Kind, Error};
use diesel::sql_types::{BigInt, Bytea, Nullable, Text};
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use signup::store::{Dialect, NewAccount, SqlValue, Statement, StatementError};

use crate::Driver;

pub struct Diesel {
    pub pool: Pool<AsyncPgConnection>,
    pub dialect: Dialect,
}

type Query<'a> =
    diesel::query_builder::BoxedSqlQuery<'a, diesel::pg::Pg, diesel::query_builder::SqlQuery>;

fn bind(statement: &Statement) -> Query<'_> {
    let query = diesel::sql_query(statement.sql()).into_boxed();
    statement.values().fold(query, |query, value| match value {
        SqlValue::Text(text) => query.bind::<Nullable<Text>, _>(text),
        SqlValue::Bytes(bytes) => query.bind::<Nullable<Bytea>, _>(bytes),
        SqlValue::Integer(number) => query.bind::<Nullable<BigInt>, _>(number),
    })
}

impl Diesel {
    /// diesel keeps the SQLSTATE to itself, but for a few kinds.
    fn meaning(&self, error: &Error) -> StatementError {
        match error {
            Error::DatabaseError(Kind::UniqueViolation, about) => {
                self.dialect.classify_postgres("23505", about.constraint_name())
            }
            Error::DatabaseError(Kind::SerializationFailure, _) => StatementError::Conflict,
            Error::DatabaseError(Kind::ReadOnlyTransaction, _) => StatementError::Unavailable,
            // Among the unknown are deadlocks, time limits, and the end of the session.
            Error::DatabaseError(kind, _)
                if !matches!(kind, Kind::ClosedConnection | Kind::Unknown) =>
            {
                StatementError::Failed
            }
            _ => StatementError::OutcomeUnknown,
        }
    }

    async fn write(
        &self,
        connection: &mut AsyncPgConnection,
        (new, title): (&NewAccount, Option<&str>),
    ) -> Result<(), StatementError> {
        let failed = |error| self.meaning(&error).before_commit();
        for statement in self.dialect.insert(new) {
            if bind(&statement).execute(connection).await.map_err(failed)? == 0 {
                return Err(StatementError::EmailTaken);
            }
        }
        // The rows of the host.
        if let Some(title) = title {
            let add = diesel::sql_query("INSERT INTO workspaces (owner, title) VALUES ($1, $2)");
            let add = add.bind::<Text, _>(new.id().as_str()).bind::<Text, _>(title);
            add.execute(connection).await.map_err(failed)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Driver for Diesel {
    fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    async fn transact(&self, new: &NewAccount, title: Option<&str>) -> Result<(), StatementError> {
        let failed = |error| self.meaning(&error).before_commit();
        let mut connection = self.pool.get().await.map_err(|_| StatementError::Unavailable)?;
        connection.batch_execute("BEGIN").await.map_err(failed)?;
        let written = self.write(&mut connection, (new, title)).await;
        let end = if written.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = connection.batch_execute(end).await.map_err(|error| self.meaning(&error));
        written.and(ended)
    }

    async fn has_row(&self, find: Statement) -> Result<bool, StatementError> {
        let mut connection = self.pool.get().await.map_err(|_| StatementError::Unavailable)?;
        let rows = bind(&find).execute(&mut connection).await;
        Ok(rows.map_err(|error| self.meaning(&error))? > 0)
    }
}
