//! tokio-postgres, with a pool of deadpool's.

use async_trait::async_trait;
use deadpool_postgres::Pool;
use signup::store::{Dialect, NewAccount, SqlValue, Statement, StatementError};
use tokio_postgres::Error;
use tokio_postgres::types::{ToSql, Type};

use crate::Driver;

pub struct TokioPostgres {
    pub pool: Pool,
    pub dialect: Dialect,
}

type Values<'a> = Vec<(Box<dyn ToSql + Sync + Send + 'a>, Type)>;

fn bind(statement: &Statement) -> Values<'_> {
    let bind = |value| -> (Box<dyn ToSql + Sync + Send>, Type) {
        match value {
            SqlValue::Text(text) => (Box::new(text), Type::TEXT),
            SqlValue::Bytes(bytes) => (Box::new(bytes), Type::BYTEA),
            SqlValue::Integer(number) => (Box::new(number), Type::INT8),
        }
    };
    statement.values().map(bind).collect()
}

fn borrowed<'a>(values: &'a Values<'_>) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    values.iter().map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone())).collect()
}

impl TokioPostgres {
    fn meaning(&self, error: &Error) -> StatementError {
        error.as_db_error().map_or(StatementError::OutcomeUnknown, |error| {
            self.dialect.classify_postgres(error.code().code(), error.constraint())
        })
    }
}

#[async_trait]
impl Driver for TokioPostgres {
    fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    async fn transact(&self, new: &NewAccount, title: Option<&str>) -> Result<(), StatementError> {
        let failed = |error| self.meaning(&error).before_commit();
        let mut client = self.pool.get().await.map_err(|_| StatementError::Unavailable)?;
        let transaction = client.transaction().await.map_err(failed)?;
        for statement in self.dialect.insert(new) {
            let values = bind(&statement);
            let done = transaction.execute_typed(statement.sql(), &borrowed(&values)).await;
            if done.map_err(failed)? == 0 {
                return Err(StatementError::EmailTaken);
            }
        }
        // The rows of the host.
        if let Some(title) = title {
            let add = "INSERT INTO workspaces (owner, title) VALUES ($1, $2)";
            let owner = new.id().as_str();
            transaction.execute(add, &[&owner, &title]).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(|error| self.meaning(&error))
    }

    async fn has_row(&self, find: Statement) -> Result<bool, StatementError> {
        let client = self.pool.get().await.map_err(|_| StatementError::Unavailable)?;
        let rows = client.query_typed(find.sql(), &borrowed(&bind(&find))).await;
        Ok(!rows.map_err(|error| self.meaning(&error))?.is_empty())
    }
}
