//! The queue of mails: bounded, off the path of requests, with attempts and a deadline.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::observe;
use crate::random::jittered;

use super::{Mail, MailError, Mailer};

const PLACES: usize = 256;
const AT_A_TIME: usize = 8;
const DEADLINE: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 5;
/// The wait before the second attempt. Each further one waits four times as long.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// A bounded queue of mails in front of a [`Mailer`]. Clones share it.
///
/// A mail is sent by a task of its own, on tokio: at most so many at a time, each attempt
/// within a deadline. A failure that may pass is tried again after 2, 8, 32 and 128
/// seconds, give or take a quarter. Mails in the queue are lost with the process: a client
/// asks for another one.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use signup::mail::{MailQueue, MemoryMailer};
///
/// let mailer = Arc::new(MemoryMailer::default());
/// let queue = MailQueue::new(mailer).places(1000).deadline(Duration::from_secs(10));
/// assert_eq!(queue.stats().waiting, 0);
/// ```
#[derive(Clone)]
pub struct MailQueue {
    places: Arc<Semaphore>,
    capacity: usize,
    sending: Arc<Semaphore>,
    courier: Arc<Courier>,
}

struct Courier {
    mailer: Arc<dyn Mailer>,
    deadline: Duration,
    attempts: u32,
    first_wait: Duration,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
}

/// The mails of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MailStats {
    /// Those that are waiting or being sent.
    pub waiting: usize,
    /// Those that the mailer has taken, since the start.
    pub sent: u64,
    /// Those that were given up, since the start.
    pub failed: u64,
}

impl MailQueue {
    /// Creates a queue with default limits: 256 mails, 8 at a time, 30 seconds an attempt,
    /// 5 attempts.
    pub fn new(mailer: impl Mailer) -> Self {
        let courier = Courier {
            mailer: Arc::new(mailer),
            deadline: DEADLINE,
            attempts: ATTEMPTS,
            first_wait: FIRST_WAIT,
            counts: Counts::default(),
        };
        Self {
            places: Arc::new(Semaphore::new(PLACES)),
            capacity: PLACES,
            sending: Arc::new(Semaphore::new(AT_A_TIME)),
            courier: Arc::new(courier),
        }
    }

    /// Sets the number of mails that wait or are being sent. When it is reached, a sign-up
    /// is answered 429.
    #[must_use]
    pub fn places(self, places: usize) -> Self {
        let capacity = places.min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(capacity)), capacity, ..self }
    }

    /// Sets the number of mails that are sent at a time.
    #[must_use]
    pub fn at_a_time(self, mails: usize) -> Self {
        let mails = mails.clamp(1, Semaphore::MAX_PERMITS);
        Self { sending: Arc::new(Semaphore::new(mails)), ..self }
    }

    /// Sets the deadline of an attempt.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        self.with(|courier| courier.deadline = deadline)
    }

    /// Sets the number of attempts, and the wait before the second one.
    #[must_use]
    pub fn attempts(self, attempts: u32, first_wait: Duration) -> Self {
        self.with(|courier| {
            courier.attempts = attempts.max(1);
            courier.first_wait = first_wait;
        })
    }

    fn with(self, change: impl FnOnce(&mut Courier)) -> Self {
        let Courier { mailer, deadline, attempts, first_wait, .. } = &*self.courier;
        let mut courier = Courier {
            mailer: Arc::clone(mailer),
            deadline: *deadline,
            attempts: *attempts,
            first_wait: *first_wait,
            counts: Counts::default(),
        };
        change(&mut courier);
        Self { courier: Arc::new(courier), ..self }
    }

    /// Returns how many mails wait, were sent, and were given up.
    pub fn stats(&self) -> MailStats {
        let counts = &self.courier.counts;
        MailStats {
            waiting: self.capacity.saturating_sub(self.places.available_permits()),
            sent: counts.sent.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
        }
    }

    /// Waits until no mail is left, before the process ends. Further ones may come in.
    pub async fn drained(&self) {
        let all = u32::try_from(self.capacity).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        drop(self.places.acquire_many(all).await);
    }

    /// Takes a place, if one is left.
    pub(crate) fn reserve(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { queue: self.clone(), permit })
    }
}

/// A place in the queue. It is free again when dropped, or when its mail is done with.
#[must_use]
pub(crate) struct Place {
    queue: MailQueue,
    permit: OwnedSemaphorePermit,
}

impl Place {
    /// Sends a mail in the background, if it may go.
    pub(crate) fn send_if(self, may_go: impl Future<Output = bool> + Send + 'static, mail: Mail) {
        let Self { queue: MailQueue { sending, courier, .. }, permit } = self;
        tokio::spawn(async move {
            if may_go.await {
                courier.deliver(&mail, &sending).await;
            }
            drop(permit);
        });
    }
}

impl Courier {
    /// Tries until the mail is sent, can't be sent, or has had its attempts. A mail that
    /// waits for its next attempt does not keep others from theirs.
    async fn deliver(&self, mail: &Mail, sending: &Semaphore) {
        let mut wait = self.first_wait;
        for attempt in 1..=self.attempts {
            let error = {
                // The semaphore is never closed.
                let _turn = sending.acquire().await;
                match tokio::time::timeout(self.deadline, self.mailer.send(mail)).await {
                    Ok(Ok(())) => {
                        self.counts.sent.fetch_add(1, Ordering::Relaxed);
                        return observe::mail("sent");
                    }
                    Ok(Err(error)) => error,
                    Err(late) => MailError::Temporary(late.into()),
                }
            };
            if attempt == self.attempts || matches!(error, MailError::Permanent(_)) {
                observe::failed("a mail was given up", &error);
                break;
            }
            observe::mail("retried");
            tokio::time::sleep(jittered(wait)).await;
            wait = wait.saturating_mul(4);
        }
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        observe::mail("failed");
    }
}

impl fmt::Debug for MailQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailQueue").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::fields::{Email, EmailProfile};
    use crate::mail::{Code, MailKind};

    /// The behaviour of a mailer at one call.
    #[derive(Clone, Copy)]
    enum Act {
        Take,
        Defer,
        Refuse,
        Hang,
    }

    /// A mailer that does as it is told, and then takes everything.
    #[derive(Default)]
    struct Scripted {
        acts: Mutex<VecDeque<Act>>,
        calls: AtomicU64,
    }

    #[async_trait]
    impl Mailer for Scripted {
        async fn send(&self, _: &Mail) -> Result<(), MailError> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            let act = self.acts.lock().unwrap().pop_front();
            match act.unwrap_or(Act::Take) {
                Act::Take => Ok(()),
                Act::Defer => Err(MailError::Temporary("450 greylisted".into())),
                Act::Refuse => Err(MailError::Permanent("550 no such user".into())),
                Act::Hang => std::future::pending().await,
            }
        }
    }

    fn mail() -> Mail {
        let to = Email::parse("dev@example.com", EmailProfile::Strict).unwrap();
        let code = Code::parse("7HXW3K9P").unwrap();
        Mail::new(MailKind::SignupCode, to, code, Duration::from_hours(1))
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let mut runtime = runtime;
        runtime.enable_time().build().unwrap().block_on(test);
    }

    fn queue(acts: &[Act]) -> (Arc<Scripted>, MailQueue) {
        let acts = Mutex::new(acts.iter().copied().collect());
        let mailer = Arc::new(Scripted { acts, ..Scripted::default() });
        let queue = MailQueue::new(Arc::clone(&mailer)).deadline(Duration::from_millis(20));
        (mailer, queue.attempts(5, Duration::from_millis(1)))
    }

    #[test]
    fn what_may_pass_is_tried_again_and_nothing_else() {
        use Act::{Defer, Hang, Refuse, Take};
        for (acts, calls, sent) in [
            (&[Take][..], 1, 1),
            (&[Defer, Hang, Defer, Take], 4, 1),
            (&[Refuse, Take], 1, 0),
            (&[Defer, Refuse, Take], 2, 0),
            (&[Defer; 6], 5, 0),
            (&[Hang; 6], 5, 0),
        ] {
            run(async {
                let (mailer, queue) = queue(acts);
                queue.reserve().unwrap().send_if(std::future::ready(true), mail());
                queue.drained().await;
                assert_eq!(mailer.calls.load(Ordering::SeqCst), calls);
                assert_eq!(queue.stats(), MailStats { waiting: 0, sent, failed: 1 - sent });
            });
        }
    }

    #[test]
    fn a_full_queue_has_no_place_and_a_place_comes_back() {
        run(async {
            let queue = queue(&[]).1.places(2);
            let places = [queue.reserve(), queue.reserve()].map(Option::unwrap);
            assert!(queue.reserve().is_none());
            assert_eq!(queue.stats().waiting, 2);
            let [first, second] = places;
            drop(first);
            second.send_if(std::future::ready(true), mail());
            let again = queue.reserve().unwrap();
            assert!(queue.reserve().is_none());
            drop(again);
            queue.drained().await;
            assert_eq!(queue.stats(), MailStats { waiting: 0, sent: 1, failed: 0 });
        });
    }

    #[test]
    fn one_that_waits_for_its_next_attempt_holds_up_no_other() {
        run(async {
            let mailer =
                Arc::new(Scripted { acts: Mutex::new([Act::Defer].into()), ..Scripted::default() });
            let queue = MailQueue::new(Arc::clone(&mailer)).at_a_time(1);
            let queue = queue.attempts(2, Duration::from_hours(1));
            queue.reserve().unwrap().send_if(std::future::ready(true), mail());
            queue.reserve().unwrap().send_if(std::future::ready(true), mail());
            while queue.stats().sent == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!((mailer.calls.load(Ordering::SeqCst), queue.stats().waiting), (2, 1));
        });
    }

    #[test]
    fn a_wait_is_jittered_by_a_quarter() {
        for _ in 0..1000 {
            let wait = jittered(Duration::from_secs(8));
            assert!((6.0..=10.0).contains(&wait.as_secs_f64()), "{wait:?}");
        }
    }
}
