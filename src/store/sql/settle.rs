//! Commits without an answer: what has become of them.

use tokio::time::Instant;

use crate::issue::BoxError;
use crate::store::contract::StoreError;

use super::SqlStore;
use super::backend::{Backend, Limit};
use super::change::{ATTEMPTS, Applied, Attempt, Change, HostWork, wait};
use super::fault::Fault;
use super::queries::Find;

impl<B: Backend> SqlStore<B> {
    /// Finds out what has become of a commit without an answer.
    pub(super) async fn settle(
        &self,
        change: &Change,
        confirm: Option<&Find>,
        fault: Fault,
    ) -> Result<Applied, StoreError> {
        let is_insert = matches!(change.host, Some(HostWork::Insert(_)));
        match (fault, confirm) {
            (Fault::Lost(lost), Some(confirm)) if is_insert && !B::LOOK_SETTLES_COMMIT => {
                self.insert_again(change, confirm, lost).await
            }
            // The caller has waited for so long that it gets no second attempt. The server
            // has ended the first one at its own limit.
            (Fault::Lost(lost) | Fault::Late(lost), Some(confirm)) => {
                self.confirm_commit(confirm, lost).await
            }
            (fault, _) => Err(fault.into_store_error()),
        }
    }

    /// Settles a commit without an answer by the same insert again, within its own deadline.
    /// A look that finds nothing would prove nothing while the old session may still commit;
    /// an insert waits for it. Its rows are there already, or are stored now, or another's
    /// are.
    async fn insert_again(
        &self,
        change: &Change,
        confirm: &Find,
        lost: BoxError,
    ) -> Result<Applied, StoreError> {
        let until = Instant::now() + self.deadline;
        for attempt in 1..=ATTEMPTS {
            match self.try_apply(change, &Attempt::new(), until).await {
                Ok(Applied::All(rows)) => return Ok(Applied::All(rows)),
                Ok(refused) => return self.unless_stored(refused, confirm, lost, until).await,
                Err(Fault::Refused(_) | Fault::Failed(_)) => break,
                Err(_) => wait(attempt, until).await,
            }
        }
        Err(StoreError::OutcomeUnknown(lost))
    }

    /// Returns that a change was refused, unless it was its own earlier attempt that
    /// stands in its way: a node that leaves its cluster may call a commit a conflict which
    /// the others have carried out.
    pub(super) async fn unless_stored(
        &self,
        refused: Applied,
        confirm: &Find,
        lost: BoxError,
        until: Instant,
    ) -> Result<Applied, StoreError> {
        match self.is_committed(confirm, until).await {
            Ok(false) => Ok(refused),
            Ok(true) => Ok(Applied::All(1)),
            Err(_) => Err(StoreError::OutcomeUnknown(lost)),
        }
    }

    /// Returns whether a change was committed whose answer was lost. The query is a transaction
    /// that locks the row: it waits for a commit in progress, and its own commit waits until
    /// the row is durable, as on a synchronous standby for which the first one did not wait.
    async fn is_committed(&self, confirm: &Find, until: Instant) -> Result<bool, StoreError> {
        let statement = self.backend.locking(&confirm.statement);
        let find = Find { statement, columns: confirm.columns };
        let limit = Limit { left: self.deadline, is_late: false };
        let begin = Some(self.backend.begin(Some(limit)));
        Ok(!self.find_until(&find, begin, until).await?.is_empty())
    }

    /// Finds out whether a commit without an answer happened, within its own deadline.
    async fn confirm_commit(&self, confirm: &Find, lost: BoxError) -> Result<Applied, StoreError> {
        let until = Instant::now() + self.deadline;
        match self.is_committed(confirm, until).await {
            Ok(true) => Ok(Applied::All(1)),
            Ok(false) if B::LOOK_SETTLES_COMMIT => Err(StoreError::Unavailable(lost)),
            // The commit may still happen.
            Ok(_) | Err(_) => Err(StoreError::OutcomeUnknown(lost)),
        }
    }

    /// Returns an error, unless an earlier attempt was committed although the server reported
    /// a conflict.
    pub(super) async fn unless_failed(
        &self,
        error: StoreError,
        confirm: Option<&Find>,
        conflict: BoxError,
    ) -> Result<Applied, StoreError> {
        match confirm {
            Some(confirm) => match self.confirm_commit(confirm, conflict).await {
                Err(StoreError::Unavailable(_)) => Err(error),
                settled => settled,
            },
            None => Err(StoreError::OutcomeUnknown(conflict)),
        }
    }
}
