//! SeaORM 2 on PostgreSQL.

use std::error::Error;

use async_trait::async_trait;
use sea_orm::sqlx::Error as SqlxError;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, RuntimeErr, TransactionTrait as _, Value,
};
use signup::fields::EmailKey;
use signup::store::{
    AccountStore, CreateOutcome, Dialect, InsertProof, NewAccount, SqlValue, Statement,
    StatementError, StoreError,
};
use signup::{Signup, SignupError, SignupRequest, SignupService};

/// The accounts of the host.
pub struct Users {
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

impl Users {
    /// Inserts an account within a transaction of the host's.
    pub async fn insert(
        &self,
        transaction: &impl ConnectionTrait,
        new: &NewAccount,
    ) -> Result<(), StatementError> {
        for statement in self.dialect.insert(new) {
            match transaction.execute_raw(bind(&statement)).await {
                Ok(done) if done.rows_affected() == 0 => return Err(StatementError::EmailTaken),
                Ok(_) => {}
                Err(error) => return Err(self.meaning(&error).before_commit()),
            }
        }
        Ok(())
    }

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
impl AccountStore for Users {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        let row = self.database.query_one_raw(bind(&self.dialect.is_email_taken(key))).await;
        Ok(row.map_err(|error| self.meaning(&error).into_store_error(error))?.is_some())
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        let begun = self.database.begin().await;
        let transaction = begun.map_err(|error| StoreError::Unavailable(error.into()))?;
        if let Err(error) = self.insert(&transaction, &new).await {
            return error.into_outcome("the insert failed");
        }
        match transaction.commit().await {
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
    let transaction = users.database.begin().await?;
    let inserted = users.insert(&transaction, prepared.new_account()).await;
    inserted.map_err(|error| SignupError::from(error.into_store_error("the insert failed")))?;
    let owner = prepared.new_account().id().as_str();
    let add = "INSERT INTO workspaces (owner, title) VALUES ($1, $2)";
    let values = [owner.into(), workspace.into()];
    let add = sea_orm::Statement::from_sql_and_values(DbBackend::Postgres, add, values);
    transaction.execute_raw(add).await?;
    transaction.commit().await?;
    let proof = InsertProof::by_host(prepared.new_account());
    Ok(prepared.open(proof)?)
}
