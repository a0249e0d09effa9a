//! Security notices that survive the process that was to send them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::{Clock, ClockError, Timestamp};
use crate::event::Notice;
use crate::issue::BoxError;
use crate::mail::{DAY, Mail, MailRecord};
use crate::observe;
use crate::store::{EventStore, StoreError};

use super::{EventRelay, RelayError};

/// The time from the next attempt of a process until another one takes its notice over.
const GRACE: Duration = Duration::from_mins(10);
/// The deadline of a query for a record, for stores that have none.
const DEADLINE: Duration = Duration::from_secs(10);
/// The number of notices that are looked up together.
const AT_A_TIME: u32 = 32;

impl EventRelay {
    /// Sends the notices whose process has died before it had sent them.
    pub(super) async fn resend_notices(&self) -> Result<(), RelayError> {
        let Some(mails) = &self.mails else { return Ok(()) };
        let now = self.now()?;
        for notice in self.store.due_notices(now, AT_A_TIME).await? {
            let Some(permit) = mails.reserve_notice() else { break };
            let store: Arc<dyn EventStore> = Arc::clone(&self.store) as _;
            let mut record = NoticeRecord { store, clock: Arc::clone(&self.clock), notice };
            // Another process may take it over at the same time.
            if record.move_to(Duration::ZERO).await? {
                let mail = Mail::of_notice(record.notice.kind, record.notice.to.clone());
                permit.send_recorded(mail, Some(Box::new(record)));
            }
        }
        Ok(())
    }
}

/// A notice in the store.
pub(crate) struct NoticeRecord {
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    notice: Notice,
}

impl NoticeRecord {
    /// Creates the record of a notice that this process is about to send.
    ///
    /// # Errors
    /// Fails if the clock is wrong.
    pub(crate) fn new(
        store: Arc<dyn EventStore>,
        clock: Arc<dyn Clock>,
        notice: Notice,
    ) -> Result<Self, ClockError> {
        let due_at = notice.created_at.plus(GRACE)?;
        Ok(Self { store, clock, notice: notice.due_at(due_at) })
    }

    /// Returns what is stored with the change.
    pub(crate) fn notice(&self) -> Notice {
        self.notice.clone()
    }

    /// Takes the notice over until some time after the next attempt, in `wait`. Returns false
    /// if another process has it.
    async fn move_to(&mut self, wait: Duration) -> Result<bool, StoreError> {
        let next = self.now().and_then(|now| now.plus(wait.saturating_add(GRACE)));
        let next = next.map_err(|error| StoreError::Failed(error.into()))?;
        let is_moved = self.store.settle_notice(&self.notice, Some(next)).await?;
        if is_moved {
            self.notice.due_at = next;
        }
        Ok(is_moved)
    }

    fn now(&self) -> Result<Timestamp, ClockError> {
        Timestamp::read(&self.clock, Timestamp::MAX)
    }
}

#[async_trait]
impl MailRecord for NoticeRecord {
    fn life(&self) -> Duration {
        let age = self.now().map_or(Duration::ZERO, |now| now.since(self.notice.created_at));
        DAY.saturating_sub(age)
    }

    async fn postpone(&mut self, wait: Duration) {
        report(tokio::time::timeout(DEADLINE, self.move_to(wait)).await);
    }

    async fn remove(self: Box<Self>) {
        let removed = self.store.settle_notice(&self.notice, None);
        report(tokio::time::timeout(DEADLINE, removed).await);
    }
}

/// Logs why a record is as it was: then another process sends the notice once more.
fn report(settled: Result<Result<bool, StoreError>, tokio::time::error::Elapsed>) {
    let error: BoxError = match settled {
        Ok(Ok(_)) => return,
        Ok(Err(failed)) => failed.into(),
        Err(late) => late.into(),
    };
    observe::failed("a notice may be sent twice", &*error);
}
