//! `mysql_async` on MySQL or MariaDB.

use std::error::Error;

use async_trait::async_trait;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Pool, Row, Transaction, TxOpts, Value};
use signup::fields::EmailKey;
use signup::store::{
    AccountStore, CreateOutcome, Dialect, InsertProof, NewAccount, SqlValue, Statement,
    StatementError, StoreError,
};
use signup::{Signup, SignupError, SignupRequest, SignupService};

/// The accounts of the host.
pub struct Users {
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

impl Users {
    /// Inserts an account within a transaction of the host's.
    pub async fn insert(
        &self,
        tx: &mut Transaction<'_>,
        new: &NewAccount,
    ) -> Result<(), StatementError> {
        for statement in self.dialect.insert(new) {
            let done = tx.exec_drop(statement.sql(), bind(&statement)).await;
            done.map_err(|error| self.meaning(&error).before_commit())?;
            if tx.affected_rows() == 0 {
                return Err(StatementError::EmailTaken);
            }
        }
        Ok(())
    }

    fn meaning(&self, error: &mysql_async::Error) -> StatementError {
        match error {
            mysql_async::Error::Server(error) => {
                self.dialect.classify_mysql(error.code, &error.message)
            }
            _ => StatementError::OutcomeUnknown,
        }
    }
}

#[async_trait]
impl AccountStore for Users {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        let connection = self.pool.get_conn().await;
        let mut connection = connection.map_err(|error| StoreError::Unavailable(error.into()))?;
        let find = self.dialect.is_email_taken(key);
        let row: Result<Option<Row>, _> = connection.exec_first(find.sql(), bind(&find)).await;
        Ok(row.map_err(|error| self.meaning(&error).into_store_error(error))?.is_some())
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        let begun = self.pool.start_transaction(TxOpts::default()).await;
        let mut tx = begun.map_err(|error| StoreError::Unavailable(error.into()))?;
        if let Err(error) = self.insert(&mut tx, &new).await {
            let rolled_back = tx.rollback().await;
            rolled_back.map_err(|error| StoreError::Unavailable(error.into()))?;
            return error.into_outcome("the insert failed");
        }
        match tx.commit().await {
            Ok(()) => Ok(CreateOutcome::Stored),
            Err(error) => self.meaning(&error).into_outcome("the commit failed"),
        }
    }
}

/// Signs up with a workspace: in one transaction of the host's.
pub async fn sign_up(
    service: &SignupService<Users>,
    request: SignupRequest,
    workspace: &str,
) -> Result<Signup, Box<dyn Error + Send + Sync>> {
    let (users, prepared) = (service.account_store(), service.prepare(request).await?);
    let mut tx = users.pool.start_transaction(TxOpts::default()).await?;
    let inserted = users.insert(&mut tx, prepared.new_account()).await;
    inserted.map_err(|error| SignupError::from(error.into_store_error("the insert failed")))?;
    let owner = prepared.new_account().id().as_str();
    let add = "INSERT INTO workspaces (owner, title) VALUES (?, ?)";
    tx.exec_drop(add, (owner, workspace)).await?;
    tx.commit().await?;
    let proof = InsertProof::by_host(prepared.new_account());
    Ok(prepared.open(proof)?)
}
