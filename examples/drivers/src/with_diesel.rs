//! diesel-async on PostgreSQL, with a pool of deadpool's.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{BigInt, Bytea, Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use signup::fields::EmailKey;
use signup::store::{
    AccountStore, CreateOutcome, Dialect, InsertProof, NewAccount, SqlValue, Statement,
    StatementError, StoreError,
};
use signup::{Signup, SignupError, SignupRequest, SignupService};

/// The accounts of the host.
pub struct Users {
    pub pool: Pool<AsyncPgConnection>,
    pub dialect: Arc<Dialect>,
}

/// An error of diesel's, or the meaning of one.
#[derive(Debug)]
pub enum Refused {
    Insert(StatementError),
    Diesel(DieselError),
}

impl From<DieselError> for Refused {
    fn from(error: DieselError) -> Self {
        Self::Diesel(error)
    }
}

type Query<'a> =
    diesel::query_builder::BoxedSqlQuery<'a, diesel::pg::Pg, diesel::query_builder::SqlQuery>;

fn bind(statement: &Statement) -> Query<'_> {
    let query = sql_query(statement.sql()).into_boxed();
    statement.values().fold(query, |query, value| match value {
        SqlValue::Text(text) => query.bind::<Nullable<Text>, _>(text),
        SqlValue::Bytes(bytes) => query.bind::<Nullable<Bytea>, _>(bytes),
        SqlValue::Integer(number) => query.bind::<Nullable<BigInt>, _>(number),
    })
}

/// Inserts an account within a transaction of the host's.
pub async fn insert(
    connection: &mut AsyncPgConnection,
    dialect: &Dialect,
    new: &NewAccount,
) -> Result<(), Refused> {
    for statement in dialect.insert(new) {
        match bind(&statement).execute(connection).await {
            Ok(0) => return Err(Refused::Insert(StatementError::EmailTaken)),
            Ok(_) => {}
            Err(error) => return Err(Refused::Insert(meaning(dialect, &error).before_commit())),
        }
    }
    Ok(())
}

/// Returns the meaning of an error. diesel keeps the SQLSTATE to itself, but for a few kinds.
fn meaning(dialect: &Dialect, error: &DieselError) -> StatementError {
    let DieselError::DatabaseError(kind, about) = error else {
        return StatementError::OutcomeUnknown;
    };
    match kind {
        DatabaseErrorKind::UniqueViolation => {
            dialect.classify_postgres("23505", about.constraint_name())
        }
        DatabaseErrorKind::SerializationFailure => StatementError::Conflict,
        DatabaseErrorKind::ClosedConnection => StatementError::OutcomeUnknown,
        // Among them are deadlocks and the ends of time limits.
        DatabaseErrorKind::ReadOnlyTransaction | DatabaseErrorKind::Unknown => {
            StatementError::Unavailable
        }
        _ => StatementError::Failed,
    }
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Integer, column_name = "?column?")]
    _one: i32,
}

#[async_trait]
impl AccountStore for Users {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        let connection = self.pool.get().await;
        let mut connection = connection.map_err(|error| StoreError::Unavailable(error.into()))?;
        let find = self.dialect.is_email_taken(key);
        let rows = bind(&find).load::<Found>(&mut connection).await;
        let failed = |error| meaning(&self.dialect, &error).into_store_error(error);
        Ok(!rows.map_err(failed)?.is_empty())
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        let connection = self.pool.get().await;
        let mut connection = connection.map_err(|error| StoreError::Unavailable(error.into()))?;
        let dialect = Arc::clone(&self.dialect);
        // In a task of its own: diesel-async leaves the transaction of a caller that goes away
        // open, until somebody takes its connection out of the pool.
        let created = tokio::spawn(async move {
            let inserted = connection
                .transaction::<_, Refused, _>(async |connection| {
                    insert(connection, &dialect, &new).await
                })
                .await;
            match inserted {
                Ok(()) => Ok(CreateOutcome::Stored),
                Err(Refused::Insert(error)) => error.into_outcome("the insert failed"),
                Err(Refused::Diesel(error)) => {
                    let meaning = match meaning(&dialect, &error) {
                        // The server may have ended after the commit.
                        StatementError::Unavailable => StatementError::OutcomeUnknown,
                        meaning => meaning,
                    };
                    meaning.into_outcome("the commit failed")
                }
            }
        });
        created.await.unwrap_or_else(|lost| Err(StoreError::OutcomeUnknown(lost.into())))
    }
}

/// Signs up with a workspace: in one transaction of the host's.
pub async fn sign_up(
    service: &SignupService<Users>,
    request: SignupRequest,
    workspace: &str,
) -> Result<Signup, Box<dyn Error + Send + Sync>> {
    let (users, prepared) = (service.account_store(), service.prepare(request).await?);
    let new = prepared.new_account();
    let mut connection = users.pool.get().await?;
    let stored = connection
        .transaction::<_, Refused, _>(async |connection| {
            insert(connection, &users.dialect, new).await?;
            sql_query("INSERT INTO workspaces (owner, title) VALUES ($1, $2)")
                .bind::<Text, _>(new.id().as_str())
                .bind::<Text, _>(workspace)
                .execute(connection)
                .await?;
            Ok(())
        })
        .await;
    stored.map_err(|error| match error {
        Refused::Insert(error) => error.into_store_error("the insert failed").into(),
        Refused::Diesel(error) => SignupError::Internal(error.into()),
    })?;
    let proof = InsertProof::by_host(new);
    Ok(prepared.open(proof)?)
}
