//! SeaORM 2 on PostgreSQL.

use async_trait::async_trait;
use sea_orm::sqlx::Error as SqlxError;
use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, RuntimeErr, TransactionTrait as _,
    Value,
};
use signup::store::{Dialect, NewAccount, SqlValue, Statement, StatementError};

use crate::Driver;

pub struct SeaOrm {
    pub database: DatabaseConnection,
    pub dialect: Dialect,
}

fn bind(statement: &Statement) -> sea_orm::Statement {
    let values = statement.values().map(|value| match value {
        SqlValue::Text(text) => Value::from(text.map(str::to_owned)),
        SqlValue::Bytes(bytes) => Value::from(bytes.map(<[u8]>::to_vec)),
        SqlValue::Integer(number) => Value::from(number),
    });
    sea_orm::Statement::from_sql_and_values(DbBackend::Postgres, statement.sql(), values)
}

impl SeaOrm {
    fn meaning(&self, error: &DbErr) -> StatementError {
        let (DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error))) = error
        else {
            return StatementError::Unavailable;
        };
        match &**error {
            SqlxError::Database(error) => {
                let code = error.code().unwrap_or_default();
                self.dialect.classify_postgres(&code, error.constraint())
            }
            _ => StatementError::OutcomeUnknown,
        }
    }
}

#[async_trait]
impl Driver for SeaOrm {
    fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    async fn transact(&self, new: &NewAccount, title: Option<&str>) -> Result<(), StatementError> {
        let failed = |error| self.meaning(&error).before_commit();
        let transaction = self.database.begin().await.map_err(failed)?;
        for statement in self.dialect.insert(new) {
            let done = transaction.execute_raw(bind(&statement)).await.map_err(failed)?;
            if done.rows_affected() == 0 {
                return Err(StatementError::EmailTaken);
            }
        }
        // The rows of the host.
        if let Some(title) = title {
            let add = "INSERT INTO workspaces (owner, title) VALUES ($1, $2)";
            let values = [new.id().as_str().into(), title.into()];
            let add = sea_orm::Statement::from_sql_and_values(DbBackend::Postgres, add, values);
            transaction.execute_raw(add).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(|error| self.meaning(&error))
    }

    async fn has_row(&self, find: Statement) -> Result<bool, StatementError> {
        let row = self.database.query_one_raw(bind(&find)).await;
        Ok(row.map_err(|error| self.meaning(&error))?.is_some())
    }
}
