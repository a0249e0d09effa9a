//! tokio-postgres, with a pool of deadpool's.

use std::error::Error;

use async_trait::async_trait;
use deadpool_postgres::{Pool, Transaction};
use signup::fields::EmailKey;
use signup::store::{
    AccountStore, CreateOutcome, Dialect, InsertProof, NewAccount, SqlValue, Statement,
    StatementError, StoreError,
};
use signup::{Signup, SignupError, SignupRequest, SignupService};
use tokio_postgres::types::{ToSql, Type};

/// The accounts of the host.
pub struct Users {
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

impl Users {
    /// Inserts an account within a transaction of the host's.
    pub async fn insert(
        &self,
        tx: &Transaction<'_>,
        new: &NewAccount,
    ) -> Result<(), StatementError> {
        for statement in self.dialect.insert(new) {
            let values = bind(&statement);
            match tx.execute_typed(statement.sql(), &borrowed(&values)).await {
                Ok(0) => return Err(StatementError::EmailTaken),
                Ok(_) => {}
                Err(error) => return Err(self.meaning(&error).before_commit()),
            }
        }
        Ok(())
    }

    fn meaning(&self, error: &tokio_postgres::Error) -> StatementError {
        error.as_db_error().map_or(StatementError::OutcomeUnknown, |error| {
            self.dialect.classify_postgres(error.code().code(), error.constraint())
        })
    }
}

#[async_trait]
impl AccountStore for Users {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        let client =
            self.pool.get().await.map_err(|error| StoreError::Unavailable(error.into()))?;
        let find = self.dialect.is_email_taken(key);
        let rows = client.query_typed(find.sql(), &borrowed(&bind(&find))).await;
        Ok(!rows.map_err(|error| self.meaning(&error).into_store_error(error))?.is_empty())
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        let client = self.pool.get().await.map_err(|error| StoreError::Unavailable(error.into()));
        let mut client = client?;
        let begun = client.transaction().await;
        let tx = begun.map_err(|error| StoreError::Unavailable(error.into()))?;
        if let Err(error) = self.insert(&tx, &new).await {
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
    let mut client = users.pool.get().await?;
    let tx = client.transaction().await?;
    let inserted = users.insert(&tx, prepared.new_account()).await;
    inserted.map_err(|error| SignupError::from(error.into_store_error("the insert failed")))?;
    let owner = prepared.new_account().id().as_str();
    tx.execute("INSERT INTO workspaces (owner, title) VALUES ($1, $2)", &[&owner, &workspace])
        .await?;
    tx.commit().await?;
    let proof = InsertProof::by_host(prepared.new_account());
    Ok(prepared.open(proof)?)
}
