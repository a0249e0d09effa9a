//! `mysql_async` on MySQL or MariaDB.

use async_trait::async_trait;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Error, IsolationLevel, Params, Pool, Row, TxOpts, Value};
use signup::store::{Dialect, NewAccount, SqlValue, Statement, StatementError};

use crate::Driver;

pub struct MysqlAsync {
    pub pool: Pool,
    pub dialect: Dialect,
}

fn bind(statement: &Statement) -> Params {
    let values = statement.values().map(|value| match value {
        SqlValue::Text(text) => Value::from(text),
        SqlValue::Bytes(bytes) => Value::from(bytes),
        SqlValue::Integer(number) => Value::from(number),
    });
    Params::Positional(values.collect())
}

impl MysqlAsync {
    fn meaning(&self, error: &Error) -> StatementError {
        match error {
            Error::Server(error) => self.dialect.classify_mysql(error.code, &error.message),
            _ => StatementError::OutcomeUnknown,
        }
    }
}

#[async_trait]
impl Driver for MysqlAsync {
    fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    async fn transact(&self, new: &NewAccount, title: Option<&str>) -> Result<(), StatementError> {
        let failed = |error| self.meaning(&error).before_commit();
        // Gaps between keys are not locked then: fewer transactions conflict.
        let mut options = TxOpts::default();
        options.with_isolation_level(IsolationLevel::ReadCommitted);
        let mut transaction = self.pool.start_transaction(options).await.map_err(failed)?;
        for statement in self.dialect.insert(new) {
            let done = transaction.exec_drop(statement.sql(), bind(&statement)).await;
            done.map_err(failed)?;
            if transaction.affected_rows() == 0 {
                return Err(StatementError::EmailTaken);
            }
        }
        // The rows of the host.
        if let Some(title) = title {
            let add = "INSERT INTO workspaces (owner, title) VALUES (?, ?)";
            let owner = new.id().as_str();
            transaction.exec_drop(add, (owner, title)).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(|error| self.meaning(&error))
    }

    async fn has_row(&self, find: Statement) -> Result<bool, StatementError> {
        let mut connection = self.pool.get_conn().await.map_err(|_| StatementError::Unavailable)?;
        let row: Result<Option<Row>, _> = connection.exec_first(find.sql(), bind(&find)).await;
        Ok(row.map_err(|error| self.meaning(&error))?.is_some())
    }
}
