//! An account's store over the driver of a host, and a sign-up in the host's own transaction.
//!
//! This file is the same for every driver: it runs a transaction in a task, again after a
//! conflict, and finds out what has become of a commit whose answer was lost, as the stores of the
//! crate do. Each of the others is one driver. No error of a driver is handed on as it is, because
//! it may quote a row, and would be logged.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use signup::fields::EmailKey;
use signup::store::{
    AccountStore, CreateOutcome, Dialect, InsertProof, NewAccount, Statement, StatementError,
    StoreError,
};
use signup::{Signup, SignupError, SignupRequest, SignupService};

pub mod with_diesel;
pub mod with_mysql_async;
pub mod with_sea_orm;
pub mod with_tokio_postgres;

/// The limit of a call, above the limits of the sessions, by which statements end on the server.
const DEADLINE: Duration = Duration::from_secs(5);
/// The attempts at a transaction that conflicts with others.
const ATTEMPTS: u32 = 20;

/// The part of a store that is about the driver.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    fn dialect(&self) -> &Dialect;

    /// Makes one attempt at a transaction: begins, inserts the account and the host's workspace,
    /// if there is one, and commits.
    async fn transact(&self, new: &NewAccount, title: Option<&str>) -> Result<(), StatementError>;

    /// Returns whether a query has a row.
    async fn has_row(&self, find: Statement) -> Result<bool, StatementError>;
}

/// The accounts of the host.
pub struct Users<D>(pub Arc<D>);

impl<D: Driver> Users<D> {
    /// Stores an account with a workspace. The task goes on if the caller leaves: a transaction
    /// that is dropped half-way may stay open on its connection.
    async fn store(
        &self,
        new: NewAccount,
        title: Option<String>,
    ) -> Result<CreateOutcome, StoreError> {
        let driver = Arc::clone(&self.0);
        let task = tokio::spawn(async move {
            let stored = attempt(&*driver, &new, title.as_deref());
            let late = |_| Err(StatementError::OutcomeUnknown);
            tokio::time::timeout(DEADLINE, stored).await.unwrap_or_else(late)
        });
        match task.await.unwrap_or(Err(StatementError::OutcomeUnknown)) {
            Ok(()) => Ok(CreateOutcome::Stored),
            Err(error) => error.into_outcome("the transaction failed"),
        }
    }
}

async fn attempt<D: Driver>(
    driver: &D,
    new: &NewAccount,
    title: Option<&str>,
) -> Result<(), StatementError> {
    let mut is_undecided = false;
    for number in 0..ATTEMPTS {
        match driver.transact(new, title).await {
            Ok(()) => return Ok(()),
            Err(StatementError::Conflict) => {
                tokio::time::sleep(Duration::from_millis(1 << number.min(6))).await;
            }
            // The same insert waits for a session that may still commit, and meets its row.
            Err(StatementError::OutcomeUnknown) if !is_undecided => is_undecided = true,
            Err(StatementError::EmailTaken | StatementError::IdentifierTaken)
                if is_undecided && driver.has_row(driver.dialect().is_stored(new)).await? =>
            {
                return Ok(());
            }
            Err(StatementError::Unavailable) if is_undecided => {
                return Err(StatementError::OutcomeUnknown);
            }
            Err(error) => return Err(error),
        }
    }
    Err(if is_undecided { StatementError::OutcomeUnknown } else { StatementError::Unavailable })
}

#[async_trait]
impl<D: Driver> AccountStore for Users<D> {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        let found = self.0.has_row(self.0.dialect().is_email_taken(key)).await;
        found.map_err(|error| error.before_commit().into_store_error("the query failed"))
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        self.store(new, None).await
    }
}

/// Signs up with a workspace: in one transaction of the host.
///
/// # Errors
/// Fails like [`SignupService::signup`].
pub async fn sign_up<D: Driver>(
    service: &SignupService<Users<D>>,
    request: SignupRequest,
    workspace: &str,
) -> Result<Signup, SignupError> {
    let prepared = service.prepare(request).await?;
    let (new, title) = (prepared.new_account().clone(), workspace.to_owned());
    match service.account_store().store(new, Some(title)).await? {
        CreateOutcome::Stored => {
            let proof = InsertProof::by_host(prepared.new_account());
            prepared.open(proof).map_err(|error| SignupError::Internal(error.into()))
        }
        CreateOutcome::EmailTaken => Err(SignupError::EmailTaken),
        other => Err(SignupError::Internal(format!("{other:?}").into())),
    }
}
