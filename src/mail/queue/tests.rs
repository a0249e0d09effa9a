use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;

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
    Panic,
}

/// A mailer with scripted answers, which accepts every mail after them.
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
            Act::Panic => panic!("told to"),
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
    use Act::{Defer, Hang, Panic, Refuse, Take};
    for (acts, calls, sent) in [
        (&[Take][..], 1, 1),
        (&[Defer, Hang, Panic, Take], 4, 1),
        (&[Refuse, Take], 1, 0),
        (&[Defer, Refuse, Take], 2, 0),
        (&[Defer; 6], 5, 0),
        (&[Hang; 6], 5, 0),
    ] {
        run(async {
            let (mailer, queue) = queue(acts);
            queue.reserve().unwrap().send(mail());
            queue.drained().await;
            assert_eq!(mailer.calls.load(Ordering::SeqCst), calls);
            assert_eq!(queue.stats(), MailStats { waiting: 0, sent, failed: 1 - sent });
        });
    }
}

#[test]
fn a_full_queue_has_no_place_and_a_place_comes_back() {
    run(async {
        let queue = queue(&[]).1.capacity(2);
        let places = [queue.reserve(), queue.reserve()].map(Option::unwrap);
        assert!(queue.reserve().is_none());
        assert_eq!(queue.stats().waiting, 2);
        let [first, second] = places;
        drop(first);
        second.send(mail());
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
        let queue = queue.attempts(2, Duration::from_mins(20));
        queue.reserve().unwrap().send(mail());
        queue.reserve().unwrap().send(mail());
        while queue.stats().sent == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!((mailer.calls.load(Ordering::SeqCst), queue.stats().waiting), (2, 1));
    });
}

#[tokio::test(start_paused = true)]
async fn greylisting_is_survived_while_the_code_lives() {
    let (mailer, queue) = queue(&[Act::Defer; 8]);
    queue.clone().attempts(ATTEMPTS, FIRST_WAIT).reserve().unwrap().send(mail());
    queue.drained().await;
    assert_eq!(mailer.calls.load(Ordering::SeqCst), 9);
    assert_eq!(queue.stats(), MailStats { waiting: 0, sent: 1, failed: 0 });
    // But no longer.
    let (_, queue) = self::queue(&[Act::Defer; 100]);
    let begun = Instant::now();
    queue.clone().attempts(ATTEMPTS, FIRST_WAIT).reserve().unwrap().send(mail());
    queue.drained().await;
    assert_eq!(queue.stats(), MailStats { waiting: 0, sent: 0, failed: 1 });
    assert!(begun.elapsed() <= Duration::from_hours(1));
}

#[tokio::test(start_paused = true)]
async fn mails_that_wait_for_an_attempt_take_no_place_of_new_ones() {
    let (_, queue) = queue(&[Act::Defer; 3]);
    let queue = queue.capacity(1).attempts(9, Duration::from_mins(5));
    for _ in 0..2 {
        queue.reserve().unwrap().send(mail());
        for _ in 0..9 {
            tokio::task::yield_now().await;
        }
    }
    // The second one was given up: one mail can wait for a retry.
    assert_eq!(queue.stats(), MailStats { waiting: 1, sent: 0, failed: 1 });
    assert!(queue.reserve().is_some());
    drop(queue.drained());
    assert!(queue.reserve().is_some(), "a wait for the end takes no place");
}

#[tokio::test]
async fn a_notice_has_a_place_of_its_own_and_a_clone_is_the_same_queue() {
    let (_, queue) = queue(&[]);
    let clone = queue.clone().capacity(1);
    let _mail = queue.reserve().unwrap();
    assert!(clone.reserve().is_none());
    let _notice = queue.reserve_notice(mail().to()).unwrap();
    assert!(queue.reserve_notice(mail().to()).is_none());
}

#[test]
fn a_wait_is_jittered_by_a_quarter() {
    for _ in 0..1000 {
        let wait = jittered(Duration::from_secs(8));
        assert!((6.0..=10.0).contains(&wait.as_secs_f64()), "{wait:?}");
    }
}

fn mail_to(address: &str) -> Mail {
    let to = Email::parse(address, EmailProfile::Strict).unwrap();
    Mail::without_code(MailKind::PasswordChanged, to)
}

async fn turns() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_refused_takes_no_place_of_other_notices() {
    let (_, queue) = queue(&[Act::Defer; 100]);
    let queue = queue.capacity(9).attempts(9, Duration::from_mins(5));
    for round in 0..2 {
        let mut places = 0;
        while let Some(place) = queue.reserve_notice(mail_to("bad@x.co").to()) {
            place.send(mail_to("bad@x.co"));
            places += 1;
        }
        assert_eq!(places, 8, "round {round}");
        assert!(queue.reserve_notice(mail_to("kim@x.co").to()).is_some());
        // Those of the first round wait for a retry: they take none of the places of new ones.
        turns().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_domain_has_half_of_the_places_of_retries() {
    let (_, queue) = queue(&[Act::Defer; 100]);
    let queue = queue.capacity(4).attempts(9, Duration::from_mins(5));
    for address in ["a@x.co", "b@x.co", "c@x.co", "kim@example.com"] {
        queue.reserve().unwrap().send(mail_to(address));
        turns().await;
    }
    assert_eq!(queue.stats(), MailStats { waiting: 3, sent: 0, failed: 1 });
}

/// A record that is another process's after so many calls.
struct Record {
    holds: Arc<Mutex<Vec<Duration>>>,
    lost_after: usize,
    removed: Arc<AtomicBool>,
}

#[async_trait]
impl MailRecord for Record {
    async fn hold(&mut self, time: Duration) -> bool {
        let mut holds = self.holds.lock().unwrap();
        holds.push(time);
        holds.len() <= self.lost_after
    }

    async fn remove(self: Box<Self>) {
        self.removed.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_mail_with_a_record_is_held_before_each_attempt_and_each_wait() {
    for (lost_after, calls, sent) in [(9, 2, 1), (2, 1, 0), (1, 1, 0), (0, 0, 0)] {
        let (mailer, queue) = queue(&[Act::Defer]);
        let queue = queue.attempts(5, Duration::from_mins(5));
        let (holds, removed) = (Arc::default(), Arc::default());
        let record =
            Record { holds: Arc::clone(&holds), lost_after, removed: Arc::clone(&removed) };
        let place = queue.reserve_notice(mail().to()).unwrap();
        place.send_recorded(mail(), Some(Box::new(record)));
        queue.drained().await;
        assert_eq!(mailer.calls.load(Ordering::SeqCst), calls, "lost after {lost_after}");
        let stats = MailStats { waiting: 0, sent, failed: 0 };
        assert_eq!(queue.stats(), stats, "lost after {lost_after}");
        assert_eq!(removed.load(Ordering::SeqCst), sent == 1, "lost after {lost_after}");
        let holds: Vec<_> = holds.lock().unwrap().clone();
        let expected = [20, 300_000, 20].map(Duration::from_millis);
        for (held, at_least) in holds.iter().zip(expected) {
            assert!(*held >= at_least.mul_f64(0.75), "{holds:?}");
        }
    }
}
