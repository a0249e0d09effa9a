//! The jobs that a host does regularly.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::credentials::CredentialError;
use crate::observe;
use crate::store::{AccountFilter, Expired, LifecycleStore, OldEvents, Purged, StoreError};

use super::SignupService;
use super::accounts::{Erased, due_at};

/// The rows that are deleted at a time.
const BATCH: u32 = 1_000;

/// The settings of [`SignupService::housekeep`].
///
/// ```
/// use std::time::Duration;
/// use signup::{Housekeeping, SignupService};
/// use signup::store::MemoryStore;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]).build()?;
/// let week = Duration::from_hours(7 * 24);
/// let done = service.housekeep(&Housekeeping::default().keep_events(week)).await;
/// assert!(done.failures.is_empty() && !done.more);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Housekeeping {
    budget: Duration,
    keep_events: Duration,
    which_events: OldEvents,
}

/// A minute of work, and 30 days for delivered events.
impl Default for Housekeeping {
    fn default() -> Self {
        Self {
            budget: Duration::from_mins(1),
            keep_events: Duration::from_hours(30 * 24),
            which_events: OldEvents::Delivered,
        }
    }
}

impl Housekeeping {
    /// Sets the time after which no further batch starts. Each job does one at least.
    pub fn budget(self, budget: Duration) -> Self {
        Self { budget, ..self }
    }

    /// Sets the age at which delivered events are deleted.
    pub fn keep_events(self, time: Duration) -> Self {
        Self { keep_events: time, ..self }
    }

    /// Deletes old events whether or not they were delivered, where no relay runs.
    pub fn delete_undelivered(self) -> Self {
        Self { which_events: OldEvents::All, ..self }
    }
}

/// The work that [`SignupService::housekeep`] has done.
#[derive(Debug, Default)]
#[non_exhaustive]
#[must_use]
pub struct Housekept {
    /// The accounts that were erased, and those that could not be.
    pub accounts: Erased,
    /// The number of expired API keys that were deleted.
    pub api_keys: u64,
    /// The number of expired tickets that were deleted.
    pub tickets: u64,
    /// The number of old events, and old notices, that were deleted.
    pub events: u64,
    /// Whether the budget ended before the work: call it again soon.
    pub more: bool,
    /// The jobs that failed, by name. The others were done.
    pub failures: Vec<(&'static str, CredentialError)>,
}

/// A job, which is done in batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    EraseAccounts,
    DeleteApiKeys,
    DeleteTickets,
    DeleteEvents,
}

impl Job {
    const fn name(self) -> &'static str {
        match self {
            Self::EraseAccounts => "erase accounts",
            Self::DeleteApiKeys => "delete API keys",
            Self::DeleteTickets => "delete tickets",
            Self::DeleteEvents => "delete events",
        }
    }
}

impl<S: LifecycleStore> SignupService<S> {
    /// Erases the accounts whose deletion is due, and deletes expired API keys, expired tickets
    /// and old events. Call it once an hour, on any number of instances.
    ///
    /// The jobs take turns with batches of 250 accounts, each in its own transaction, or of 1,000
    /// rows, so that sign-ups go on meanwhile, until nothing is left or the
    /// [budget](Housekeeping::budget) is spent. One that fails is logged, and delays no other.
    /// Nothing is done while the clocks of process and database differ by more than an hour.
    pub async fn housekeep(&self, settings: &Housekeeping) -> Housekept {
        let now = || self.inner.core.clock.monotonic();
        let end = now().saturating_add(settings.budget);
        let mut done = Housekept::default();
        let mut due = None;
        let mut jobs = vec![Job::EraseAccounts, Job::DeleteApiKeys, Job::DeleteTickets];
        jobs.extend(self.inner.events.as_ref().map(|_| Job::DeleteEvents));
        let mut is_first = true;
        while !jobs.is_empty() && (is_first || now() < end) {
            let mut left = Vec::new();
            for job in jobs {
                if !is_first && now() >= end {
                    left.push(job);
                    continue;
                }
                let batch = match job {
                    Job::EraseAccounts => self.erase_batch(&mut due, &mut done.accounts).await,
                    other => self.delete_batch(other, settings, &mut done).await,
                };
                match batch {
                    Ok(true) => left.push(job),
                    Ok(false) => {}
                    Err(error) => {
                        observe::failed("housekeeping failed", &error);
                        done.failures.push((job.name(), error));
                    }
                }
            }
            (jobs, is_first) = (left, false);
        }
        done.more = !jobs.is_empty();
        done
    }

    /// Erases a page of accounts, the first one of which begins the list. Returns whether there
    /// are more.
    async fn erase_batch(
        &self,
        place: &mut Option<(Timestamp, AccountFilter)>,
        done: &mut Erased,
    ) -> Result<bool, CredentialError> {
        let accounts = self.accounts();
        self.account_store().check_clock().await?;
        let (now, filter) = if let Some(place) = place.take() {
            place
        } else {
            let now = self.inner.core.now()?;
            (now, due_at(now))
        };
        let next = accounts.erase_page(&filter, now, done).await?;
        *place = next.map(|next| (now, filter.after(next)));
        done.more = place.is_some();
        Ok(done.more)
    }

    /// Deletes a batch of rows. Returns whether there are more.
    async fn delete_batch(
        &self,
        job: Job,
        settings: &Housekeeping,
        done: &mut Housekept,
    ) -> Result<bool, CredentialError> {
        let (store, now) = (self.account_store(), self.inner.core.now()?);
        let (count, purged): (_, Result<Purged, StoreError>) = match (job, &self.inner.events) {
            (Job::DeleteApiKeys, _) => {
                (&mut done.api_keys, store.purge(Expired::ApiKeys, now, BATCH).await)
            }
            (Job::DeleteEvents, Some(events)) => {
                let until = now.minus(settings.keep_events);
                let purged = events.purge_events(settings.which_events, until, BATCH).await;
                (&mut done.events, purged)
            }
            _ => (&mut done.tickets, store.purge(Expired::Tickets, now, BATCH).await),
        };
        let purged = purged?;
        *count += purged.rows;
        Ok(purged.more)
    }
}
