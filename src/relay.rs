//! The relay of events: it hands each one to a [`Sink`], at least once and in the order of
//! its account. See [the guide](crate::guide::events).

use std::fmt;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use crate::clock::{Clock, ClockError, SystemClock, Timestamp};
use crate::issue::InvalidValue;
#[cfg(feature = "verification")]
use crate::mail::MailQueue;
use crate::observe;
use crate::random::jittered;
use crate::store::{DeliveryState, EventBacklog, EventStore, StoreError};

#[cfg(feature = "verification")]
mod notices;
mod partition;
mod sink;
#[cfg(feature = "webhooks")]
mod webhook;

#[cfg(feature = "verification")]
pub(crate) use notices::NoticeRecord;
pub use sink::{Delivery, Sink, SinkError};
#[cfg(feature = "webhooks")]
pub use webhook::{Webhook, WebhookError, WebhookSecret};

const EVENTS_AT_A_TIME: u32 = 32;
const CALLS_AT_A_TIME: usize = 128;
const DEADLINE: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 20;
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_hours(6);
/// With it no lease is longer than any that a store [believes](EventStore).
const LONGEST_DEADLINE: Duration = Duration::from_hours(1);
const POLL: Duration = Duration::from_secs(1);
/// The waiting events that are counted.
const COUNTED: u32 = 10_001;

/// A relay that delivers stored events to a [`Sink`].
///
/// Any number of instances share the work: each leases a partition of the accounts, delivers
/// the events of it that are due, and lets it go. If it dies, its lease expires, and another
/// instance goes on with what it had not settled: a crash repeats events, and loses none.
///
/// An event that can't be delivered is tried again after 5 seconds, then after twice as long
/// each time, at most 6 hours, give or take a quarter. After 20 attempts, in some two days,
/// it is a dead letter. Until then, the later events of its account wait; those of other
/// accounts do not. An attempt that a crash cuts off is one of them. The first failure is
/// logged as a warning, and so is the end of failures.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use signup::relay::{Delivery, SinkError};
/// use signup::store::MemoryStore;
/// use signup::{SignupRequest, SignupService};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let service = SignupService::builder(MemoryStore::default())
///     .jwt_secret(&[7; 32])
///     .with_events()
///     .build()?;
/// service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
///
/// let seen = Arc::new(Mutex::new(Vec::new()));
/// let sink = {
///     let seen = Arc::clone(&seen);
///     move |delivery: Delivery| {
///         seen.lock().unwrap().push(delivery.event.kind().as_str());
///         async { Ok::<_, SinkError>(()) }
///     }
/// };
/// let relay = service.event_relay(sink);
/// // In production: `tokio::spawn(relay.run(shutdown))`.
/// assert_eq!(relay.run_once().await?.delivered, 1);
/// assert_eq!(*seen.lock().unwrap(), ["account.created"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
#[must_use]
pub struct EventRelay {
    store: Arc<dyn EventStore>,
    sink: Arc<dyn Sink>,
    clock: Arc<dyn Clock>,
    events_at_a_time: u32,
    /// A permit for each call of the sink.
    calls: Arc<Semaphore>,
    deadline: Duration,
    attempts: u32,
    first_wait: Duration,
    poll: Duration,
    dead_letters: DeadLetterPolicy,
    /// Whether the last attempt that was not the first of its event has failed.
    is_failing: Arc<AtomicBool>,
    /// The mails by which it sends notices.
    #[cfg(feature = "verification")]
    mails: Option<MailQueue>,
    /// The reason why there is nothing to deliver, if the service stores no events.
    problem: Option<InvalidValue>,
}

/// The fate of an account's later events when one of them is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeadLetterPolicy {
    /// Later events wait until the host has [settled](EventStore::settle_dead_letter) the
    /// dead letter: nothing is lost, and the order is kept.
    #[default]
    Stop,
    /// Later events go on. The dead letter is kept, and the host can have it delivered later.
    Skip,
}

/// The work of a round of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeliveryCounts {
    /// The events that the sink has taken.
    pub delivered: u64,
    /// The events that are to be tried again.
    pub failed: u64,
    /// The events that were given up.
    pub dead: u64,
}

impl DeliveryCounts {
    fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.dead += other.dead;
    }

    fn count(&mut self, state: DeliveryState) {
        let (counter, outcome) = match state {
            DeliveryState::Delivered => (&mut self.delivered, "delivered"),
            DeliveryState::Waiting => (&mut self.failed, "retried"),
            DeliveryState::Stopped => (&mut self.dead, "stopped"),
            DeliveryState::Skipped => (&mut self.dead, "skipped"),
        };
        *counter += 1;
        observe::event(outcome);
    }
}

/// An error of a relay. What it has not settled is delivered again.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The store failed.
    #[error("the store of the events failed")]
    Store(#[from] StoreError),
    /// The clock is wrong.
    #[error("the clock is wrong")]
    Clock(#[from] ClockError),
    /// A setting of the relay can't work.
    #[error("a setting of the relay can't work")]
    Setting(#[source] InvalidValue),
}

crate::issue::debug_by_text!(RelayError);

impl EventRelay {
    /// Creates a relay with default limits: 128 calls of the sink at a time, 10 seconds an
    /// attempt, 20 attempts.
    pub fn new(store: Arc<dyn EventStore>, sink: impl Sink) -> Self {
        Self {
            store,
            sink: Arc::new(sink),
            clock: Arc::new(SystemClock),
            events_at_a_time: EVENTS_AT_A_TIME,
            calls: Arc::new(Semaphore::new(CALLS_AT_A_TIME)),
            deadline: DEADLINE,
            attempts: ATTEMPTS,
            first_wait: FIRST_WAIT,
            poll: POLL,
            dead_letters: DeadLetterPolicy::default(),
            is_failing: Arc::default(),
            #[cfg(feature = "verification")]
            mails: None,
            problem: None,
        }
    }

    /// Sets the clock.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Sets the number of calls of the sink at a time, `partitions` times `events`, and the
    /// number of events of a partition that are looked up together. The sink is never called
    /// twice at a time for one account.
    pub fn at_a_time(self, partitions: usize, events: u32) -> Self {
        let events_at_a_time = events.max(1);
        let events = usize::try_from(events_at_a_time).unwrap_or(usize::MAX);
        let calls = partitions.max(1).saturating_mul(events).min(Semaphore::MAX_PERMITS);
        Self { events_at_a_time, calls: Arc::new(Semaphore::new(calls)), ..self }
    }

    /// Sets the deadline of an attempt, up to an hour. A lease lasts three times as long: that
    /// is how long a partition waits when its instance has died.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Sets the number of attempts, and the wait before the second one.
    pub fn attempts(self, attempts: u32, first_wait: Duration) -> Self {
        Self { attempts: attempts.max(1), first_wait, ..self }
    }

    /// Sets the wait of [`run`](Self::run) when nothing is due. Default: one second.
    pub fn poll_every(self, poll: Duration) -> Self {
        Self { poll, ..self }
    }

    /// Sets what becomes of an account's later events when one is given up. Default: they
    /// wait.
    pub fn dead_letters(self, dead_letters: DeadLetterPolicy) -> Self {
        Self { dead_letters, ..self }
    }

    /// Sets the mail queue that sends the security notices which a dead process has left, ten
    /// minutes after its next attempt was due. The relay of a
    /// [service](crate::SignupService::event_relay) has the queue of the service.
    ///
    /// A process that ends after [`run_once`](Self::run_once) waits until the queue is
    /// [drained](crate::mail::MailQueue::drained).
    #[cfg(feature = "verification")]
    pub fn mails(self, mails: MailQueue) -> Self {
        Self { mails: Some(mails), ..self }
    }

    /// Delivers the events that are due now, and returns how many.
    ///
    /// # Errors
    /// Fails if the store or the clock does, after the other partitions were worked on, and
    /// with [`RelayError::Setting`] for settings that can't work.
    pub async fn run_once(&self) -> Result<DeliveryCounts, RelayError> {
        self.check()?;
        let mut partitions = JoinSet::new();
        self.begin_due(&mut partitions, &Arc::default()).await?;
        let (mut total, mut failure) = (DeliveryCounts::default(), None);
        while let Some(ended) = partitions.join_next().await {
            match flatten(ended) {
                Ok(round) => total.add(round),
                Err(error) => failure = Some(error),
            }
        }
        #[cfg(feature = "verification")]
        if let Err(error) = self.resend_notices().await {
            failure = Some(error);
        }
        failure.map_or(Ok(total), Err)
    }

    /// Delivers events until `shutdown` completes; then it ends what it has begun. Errors
    /// are logged, and do not end it, unless a [setting](RelayError::Setting) can't work.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        if let Err(error) = self.check() {
            return observe::failed("events can't be relayed", &error);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut shutdown = pin!(shutdown);
        let mut partitions = JoinSet::new();
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = self.begin_due(&mut partitions, &stop).await {
                observe::failed("events could not be relayed", &error);
            }
            #[cfg(feature = "verification")]
            if let Err(error) = self.resend_notices().await {
                observe::failed("notices could not be sent", &error);
            }
            let mut idle =
                pin!(tokio::time::timeout(jittered(self.poll), busy_end(&mut partitions)));
            let woken = poll_fn(|context| {
                if shutdown.as_mut().poll(context).is_ready() {
                    stop.store(true, Ordering::Relaxed);
                    return Poll::Ready(());
                }
                idle.as_mut().poll(context).map(drop)
            });
            woken.await;
        }
        while let Some(ended) = partitions.join_next().await {
            report(ended);
        }
    }

    /// Rejects settings by which nothing would ever be delivered, or without end.
    fn check(&self) -> Result<(), RelayError> {
        let problem = if self.deadline.is_zero() || self.deadline > LONGEST_DEADLINE {
            InvalidValue::new("the deadline of an attempt must be above zero, up to an hour")
        } else if self.first_wait.is_zero() && self.attempts > 1 {
            InvalidValue::new("the wait before the second attempt must be above zero")
        } else if self.poll.is_zero() {
            InvalidValue::new("the wait when nothing is due must be above zero")
        } else {
            return self.problem.clone().map_or(Ok(()), |it| Err(RelayError::Setting(it)));
        };
        Err(RelayError::Setting(problem))
    }

    /// Refuses to run, because the service stores no events.
    pub(crate) fn without_events(self) -> Self {
        let problem = InvalidValue::new("the service stores no events: call with_events");
        Self { problem: Some(problem), ..self }
    }

    /// Returns how much is left to deliver. A number up to 10,000 is exact; 10,001 means that
    /// there are more.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    pub async fn backlog(&self) -> Result<EventBacklog, RelayError> {
        Ok(self.store.event_backlog(COUNTED).await?)
    }

    /// Returns the age of the oldest waiting event; zero without one.
    ///
    /// # Errors
    /// Fails if the store or the clock does.
    pub async fn lag(&self) -> Result<Duration, RelayError> {
        let (oldest, now) = (self.store.event_backlog(0).await?.oldest, self.now()?);
        Ok(oldest.map_or(Duration::ZERO, |oldest| now.since(oldest)))
    }

    fn now(&self) -> Result<Timestamp, ClockError> {
        Timestamp::read(&self.clock, Timestamp::MAX)
    }
}

/// Waits until work on a partition has ended that has delivered something: perhaps more is due.
async fn busy_end(partitions: &mut JoinSet<Result<DeliveryCounts, RelayError>>) {
    while let Some(ended) = partitions.join_next().await {
        if report(ended) {
            return;
        }
    }
    pending::<()>().await;
}

/// Logs an error of the work on a partition. Returns whether it has delivered anything.
fn report(ended: Result<Result<DeliveryCounts, RelayError>, JoinError>) -> bool {
    match flatten(ended) {
        Ok(round) => round != DeliveryCounts::default(),
        Err(error) => {
            observe::failed("events could not be relayed", &error);
            false
        }
    }
}

/// Returns the outcome of the work on a partition, which is empty if it has panicked.
fn flatten(
    ended: Result<Result<DeliveryCounts, RelayError>, JoinError>,
) -> Result<DeliveryCounts, RelayError> {
    ended.unwrap_or_else(|lost| {
        // A sink that panics does so in a task of its own.
        observe::failed("a partition of events was given up", &lost);
        Ok(DeliveryCounts::default())
    })
}

impl fmt::Debug for EventRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRelay")
            .field("deadline", &self.deadline)
            .field("attempts", &self.attempts)
            .field("dead_letters", &self.dead_letters)
            .finish_non_exhaustive()
    }
}
