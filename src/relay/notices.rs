//! Security notices that survive the process that was to send them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use crate::account::AccountState;
use crate::clock::{Clock, ClockError, Timestamp};
use crate::event::Notice;
use crate::issue::BoxError;
use crate::mail::{Mail, MailQueue, MailRecord};
use crate::observe;
use crate::store::{EventStore, FindBy, StoreError};

use super::{EventRelay, RelayError};

/// The time from the next attempt of a process until another one takes its notice over.
const GRACE: Duration = Duration::from_mins(10);
/// The part of it within which an attempt must not begin.
const MARGIN: Duration = Duration::from_mins(1);
/// The deadline of a query, for stores that have none.
const DEADLINE: Duration = Duration::from_secs(10);
/// The number of notices that are looked up together.
const BATCH: u32 = 32;
/// The processes that take a notice over, one after the other: each tries for a day.
const TAKEOVERS: u32 = 20;

impl EventRelay {
    /// Sends the notices whose process has died before it had sent them. One that can't be
    /// taken over delays no other.
    pub(super) async fn resend_notices(&self) -> Result<(), RelayError> {
        let Some(mails) = &self.mails else { return Ok(()) };
        let due = self.store.due_notices(self.now()?, BATCH);
        for notice in within_deadline(due).await? {
            if let Err(error) = within_deadline(self.take_over(mails, notice)).await {
                observe::failed("a notice could not be sent", &error);
            }
        }
        Ok(())
    }

    async fn take_over(&self, mails: &MailQueue, mut notice: Notice) -> Result<(), StoreError> {
        let account = self.store.find_account(FindBy::Id(&notice.account_id)).await?;
        let is_in_use = account.is_some_and(|it| it.state != AccountState::Erased);
        notice.takeovers = notice.takeovers.saturating_add(1);
        if !is_in_use || notice.takeovers > TAKEOVERS {
            return self.store.settle_notice(&notice, None).await.map(drop);
        }
        let Some(permit) = mails.reserve_retried_notice(&notice.to) else { return Ok(()) };
        let mail = Mail::of_notice(&notice);
        let store: Arc<dyn EventStore> = Arc::clone(&self.store);
        let mut record = NoticeRecord { store, clock: Arc::clone(&self.clock), notice };
        // Another process may take it over at the same time.
        if record.postpone(Duration::ZERO).await? {
            permit.send_recorded(mail, Some(Box::new(record)));
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

    /// Keeps other processes from the notice until some time after the next attempt, in `wait`.
    /// Returns false if another one has taken it over, or it is gone.
    async fn postpone(&mut self, wait: Duration) -> Result<bool, StoreError> {
        let next = self.now()?.plus(wait.saturating_add(GRACE)).map_err(wrong)?;
        let is_postponed = self.store.settle_notice(&self.notice, Some(next)).await?;
        if is_postponed {
            self.notice.due_at = next;
        }
        Ok(is_postponed)
    }

    async fn try_hold(&mut self, time: Duration) -> Result<bool, StoreError> {
        let end = self.now()?.plus(time.saturating_add(MARGIN)).map_err(wrong)?;
        if self.notice.due_at >= end { Ok(true) } else { self.postpone(time).await }
    }

    fn now(&self) -> Result<Timestamp, StoreError> {
        Timestamp::read(&self.clock, Timestamp::MAX).map_err(wrong)
    }
}

#[async_trait]
impl MailRecord for NoticeRecord {
    async fn hold(&mut self, time: Duration) -> bool {
        // Without an answer, it is better sent twice than never.
        within_deadline(self.try_hold(time)).await.unwrap_or_else(|error| {
            observe::failed("a notice may be sent twice", &error);
            true
        })
    }

    async fn remove(self: Box<Self>) {
        if let Err(error) = within_deadline(self.store.settle_notice(&self.notice, None)).await {
            observe::failed("a notice may be sent twice", &error);
        }
    }
}

async fn within_deadline<T>(
    query: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = |late: tokio::time::error::Elapsed| Err(StoreError::Unavailable(late.into()));
    timeout(DEADLINE, query).await.unwrap_or_else(late)
}

fn wrong(clock: ClockError) -> StoreError {
    let reason: BoxError = clock.into();
    StoreError::Failed(reason)
}
