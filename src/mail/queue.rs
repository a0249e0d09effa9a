//! The queue of mails: bounded, off the path of requests, with attempts and a deadline.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fields::Email;
use crate::observe;
use crate::random::jittered;

use super::{Mail, MailError, Mailer};

mod places;

use places::{Lane, Places};

const PLACES: usize = 256;
const CONCURRENCY: usize = 8;
const DEADLINE: Duration = Duration::from_secs(30);
/// Enough for a day of attempts: a mail is given up when its code expires.
const ATTEMPTS: u32 = 150;
/// The wait before the second attempt. Each further one waits four times as long, up to the
/// longest.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// The time for which a mail without a code is retried.
const DAY: Duration = Duration::from_hours(24);

/// A bounded queue of mails in front of a [`Mailer`]. Clones share it, and its settings.
///
/// A task of a tokio runtime, whose timer has to be enabled, sends each mail, up to a number at
/// once and each attempt within a deadline. A
/// temporary failure is retried after 2, 8, 32, 128 and 512 seconds and
/// then every ten minutes, give or take a quarter, until the code has expired. A mail that
/// waits for its next attempt takes no place of new ones. Mails in the queue are lost with
/// the process: a client asks for another one. Security notices survive it if the service
/// [stores events](crate::SignupServiceBuilder::with_events): see
/// [`EventRelay::mails`](crate::relay::EventRelay::mails).
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use signup::mail::{MailQueue, MemoryMailer};
///
/// let mailer = Arc::new(MemoryMailer::default());
/// let queue = MailQueue::new(mailer).capacity(1000).deadline(Duration::from_secs(10));
/// assert_eq!(queue.stats().waiting, 0);
/// ```
#[derive(Clone)]
pub struct MailQueue(Arc<Dispatcher>);

struct Dispatcher {
    mailer: Arc<dyn Mailer>,
    state: Mutex<State>,
    /// Notified when no mail is left.
    idle: Notify,
    /// Whether the last attempt failed.
    is_failing: AtomicBool,
}

struct State {
    settings: Settings,
    places: Places,
    sent: u64,
    failed: u64,
}

#[derive(Clone)]
struct Settings {
    capacity: usize,
    sending: Arc<Semaphore>,
    /// Half of them, so that retries leave turns to new mails.
    resending: Arc<Semaphore>,
    deadline: Duration,
    attempts: u32,
    first_wait: Duration,
}

/// The mails of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MailStats {
    /// Mails that are waiting or being sent.
    pub waiting: usize,
    /// Mails that the mailer accepted, since the start.
    pub sent: u64,
    /// Mails that were given up, since the start.
    pub failed: u64,
}

impl MailQueue {
    /// Creates a queue with default limits: 256 mails, 8 at a time, 30 seconds an attempt.
    pub fn new(mailer: impl Mailer) -> Self {
        let settings = Settings {
            capacity: PLACES,
            sending: Arc::new(Semaphore::new(CONCURRENCY)),
            resending: Arc::new(Semaphore::new(CONCURRENCY / 2)),
            deadline: DEADLINE,
            attempts: ATTEMPTS,
            first_wait: FIRST_WAIT,
        };
        Self(Arc::new(Dispatcher {
            mailer: Arc::new(mailer),
            state: Mutex::new(State { settings, places: Places::default(), sent: 0, failed: 0 }),
            idle: Notify::new(),
            is_failing: AtomicBool::new(false),
        }))
    }

    /// Sets the number of new mails that wait or are being sent. When it is reached, a
    /// sign-up is answered 429. As many more can wait for another attempt, half of them for
    /// one domain; and as many notices, eight of them for one recipient.
    #[must_use]
    pub fn capacity(self, mails: usize) -> Self {
        self.with(|settings| settings.capacity = mails)
    }

    /// Sets the number of mails that are sent at a time, of which further attempts are half.
    #[must_use]
    pub fn at_a_time(self, mails: usize) -> Self {
        let mails = mails.clamp(1, Semaphore::MAX_PERMITS);
        self.with(|settings| {
            settings.sending = Arc::new(Semaphore::new(mails));
            settings.resending = Arc::new(Semaphore::new(mails.div_ceil(2)));
        })
    }

    /// Sets the deadline of an attempt.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        self.with(|settings| settings.deadline = deadline)
    }

    /// Limits the number of attempts, and sets the wait before the second one.
    #[must_use]
    pub fn attempts(self, attempts: u32, first_wait: Duration) -> Self {
        self.with(|settings| {
            settings.attempts = attempts.max(1);
            settings.first_wait = first_wait;
        })
    }

    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.0.state().settings);
        self
    }

    /// Returns whether the settings leave room for a mail, time to send it, and a pause between
    /// two attempts.
    pub(crate) fn can_send(&self) -> bool {
        let settings = &self.0.state().settings;
        let is_paced = settings.attempts == 1 || !settings.first_wait.is_zero();
        settings.capacity > 0 && !settings.deadline.is_zero() && is_paced
    }

    /// Returns how many mails wait, were sent, and were given up.
    pub fn stats(&self) -> MailStats {
        let state = self.0.state();
        MailStats { waiting: state.places.taken(), sent: state.sent, failed: state.failed }
    }

    /// Waits until no mail is left, before the process ends. New ones may still come in.
    pub async fn drained(&self) {
        loop {
            let mut idle = std::pin::pin!(self.0.idle.notified());
            idle.as_mut().enable();
            if self.stats().waiting == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Takes a place for a mail that a client asks for, if one is left.
    pub(crate) fn reserve(&self) -> Option<MailPermit> {
        self.0.take(Lane::New, String::new())
    }

    /// Takes a place for a security notice, if one is left for this recipient.
    pub(crate) fn reserve_notice(&self, to: &Email) -> Option<MailPermit> {
        self.0.take(Lane::Notice, Lane::Notice.share(to))
    }

    /// Takes a place for a notice that a dead process has left, if one is left.
    pub(crate) fn reserve_retried_notice(&self, to: &Email) -> Option<MailPermit> {
        self.0.take(Lane::RetriedNotice, Lane::RetriedNotice.share(to))
    }
}

/// The record of a mail, by which another process sends it if this one dies.
#[async_trait]
pub(crate) trait MailRecord: Send + 'static {
    /// Keeps other processes from sending the mail for this long. Returns false if it is not,
    /// or no longer, this one's to send.
    async fn hold(&mut self, time: Duration) -> bool;

    /// Deletes the record of a mail that was sent or given up.
    async fn remove(self: Box<Self>);
}

/// A place in the queue. It is free again when dropped, or when its mail is done with.
#[must_use]
pub(crate) struct MailPermit {
    dispatcher: Arc<Dispatcher>,
    lane: Lane,
    share: String,
}

impl MailPermit {
    /// Sends a mail in the background, if it may go.
    pub(crate) fn send_if(self, may_go: impl Future<Output = bool> + Send + 'static, mail: Mail) {
        tokio::spawn(async move {
            if may_go.await {
                let dispatcher = Arc::clone(&self.dispatcher);
                dispatcher.deliver(&mail, self, None).await;
            }
        });
    }

    /// Sends a mail in the background that has a record.
    pub(crate) fn send_recorded(self, mail: Mail, record: Option<Box<dyn MailRecord>>) {
        tokio::spawn(async move {
            let dispatcher = Arc::clone(&self.dispatcher);
            dispatcher.deliver(&mail, self, record).await;
        });
    }

    /// Sends a mail in the background.
    pub(crate) fn send(self, mail: Mail) {
        self.send_if(std::future::ready(true), mail);
    }
}

impl Drop for MailPermit {
    fn drop(&mut self) {
        let mut state = self.dispatcher.state();
        state.places.leave(self.lane, &self.share);
        if state.places.taken() == 0 {
            self.dispatcher.idle.notify_waiters();
        }
    }
}

impl Dispatcher {
    /// Locks the state. No code under this lock can leave it half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, if one is free. Outside of a runtime nothing could send the mail.
    fn take(self: &Arc<Self>, lane: Lane, share: String) -> Option<MailPermit> {
        tokio::runtime::Handle::try_current().ok()?;
        let mut state = self.state();
        let capacity = state.settings.capacity;
        let has_entered = state.places.enter(lane, &share, capacity);
        has_entered.then(|| MailPermit { dispatcher: Arc::clone(self), lane, share })
    }

    /// Tries until the mail is sent, can't be sent, or is of no more use. Then its record goes.
    async fn deliver(
        self: Arc<Self>,
        mail: &Mail,
        mut permit: MailPermit,
        mut record: Option<Box<dyn MailRecord>>,
    ) {
        match self.attempts(mail, &mut permit, &mut record).await {
            End::Sent => {
                self.state().sent += 1;
                observe::mail("sent");
            }
            End::GivenUp => {
                self.state().failed += 1;
                observe::mail("failed");
            }
            End::LeftToOthers => return,
        }
        if let Some(record) = record {
            record.remove().await;
        }
    }

    async fn attempts(
        &self,
        mail: &Mail,
        permit: &mut MailPermit,
        record: &mut Option<Box<dyn MailRecord>>,
    ) -> End {
        let Settings { attempts, mut first_wait, .. } = self.state().settings.clone();
        let life = if mail.code.is_some() { mail.expires_in } else { DAY };
        let given_up_at = Instant::now() + life;
        for attempt in 1..=attempts {
            let error = match self.attempt(mail, attempt, record).await {
                Some(Ok(())) => return End::Sent,
                Some(Err(error)) => error,
                None => return End::LeftToOthers,
            };
            let wait = jittered(first_wait);
            let is_last = attempt == attempts || Instant::now() + wait >= given_up_at;
            if is_last || matches!(error, MailError::Permanent(_)) {
                observe::failed("a mail was given up", &error);
                return End::GivenUp;
            }
            if let Some(record) = record
                && !record.hold(wait).await
            {
                return End::LeftToOthers;
            }
            if !permit.wait_for_retry(mail) {
                if record.is_some() {
                    // A relay sends it, later.
                    return End::LeftToOthers;
                }
                if permit.lane == Lane::New {
                    observe::failed("a mail was given up", &error);
                    return End::GivenUp;
                }
            }
            observe::mail("retried");
            tokio::time::sleep(wait).await;
            first_wait = first_wait.saturating_mul(4).min(LONGEST_WAIT);
        }
        End::GivenUp
    }

    /// Sends a mail once, unless it is another process's by now. The first failure is a
    /// warning, and so is the end of failures.
    async fn attempt(
        &self,
        mail: &Mail,
        number: u32,
        record: &mut Option<Box<dyn MailRecord>>,
    ) -> Option<Result<(), MailError>> {
        let Settings { sending, resending, deadline, .. } = self.state().settings.clone();
        // The semaphores are never closed.
        let _half = if number > 1 { Some(resending.acquire().await) } else { None };
        let _turn = sending.acquire().await;
        if let Some(record) = record
            && !record.hold(deadline).await
        {
            return None;
        }
        // A task of its own, because the mailer may panic.
        let (mailer, mail) = (Arc::clone(&self.mailer), mail.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { tokio::time::timeout(deadline, mailer.send(&mail)).await });
        let sent = match task.join_next().await {
            Some(Ok(Ok(sent))) => sent,
            Some(Ok(Err(late))) => Err(MailError::Temporary(late.into())),
            Some(Err(panicked)) => Err(MailError::Temporary(panicked.into())),
            None => Err(MailError::Temporary("the attempt was not started".into())),
        };
        match &sent {
            Ok(()) if self.is_failing.swap(false, Ordering::Relaxed) => {
                observe::back("mails are sent again");
            }
            Err(error @ MailError::Temporary(_))
                if !self.is_failing.swap(true, Ordering::Relaxed) =>
            {
                observe::lost("mails can't be sent for now", error);
            }
            _ => {}
        }
        Some(sent)
    }
}

/// The end of all attempts to send a mail.
enum End {
    Sent,
    GivenUp,
    /// Another process sends it, or its account is erased.
    LeftToOthers,
}

impl MailPermit {
    /// Moves to the places of retries. Returns whether one is free for the recipient.
    fn wait_for_retry(&mut self, mail: &Mail) -> bool {
        let lane = match self.lane {
            Lane::New => Lane::Retried,
            Lane::Notice => Lane::RetriedNotice,
            Lane::Retried | Lane::RetriedNotice => return true,
        };
        let share = lane.share(&mail.to);
        let mut state = self.dispatcher.state();
        let capacity = state.settings.capacity;
        let has_entered = state.places.enter(lane, &share, capacity);
        if has_entered {
            state.places.leave(self.lane, &self.share);
            (self.lane, self.share) = (lane, share);
        }
        has_entered
    }
}

impl fmt::Debug for MailQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailQueue").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
