//! The promises of [`EventStore`](crate::store::EventStore) about security notices, one
//! function each, which panics if the promise is broken.

#![expect(clippy::missing_panics_doc, reason = "all of them panic on failure")]

use std::sync::Arc;

use tokio::sync::Barrier;

use crate::clock::Timestamp;
use crate::event::{EventKind, KeyCounts, Notice, NoticeKind};
use crate::issue::Chain;
use crate::store::contract::{
    AccountChange, ChangeOutcome, Condition, Effect, EventStore, LifecycleStore, NewAccount,
    OldEvents,
};

use super::Harness;
use super::event::{event, purge, tells, told};
use super::given::{created, later, ok};
use super::lifecycle::change;

/// The number of simultaneous settlements.
const CROWD: usize = 64;
/// More notices than there are.
const ALL: u32 = 1000;

/// Checks that a notice is stored unchanged with the change that it reports, and not with one
/// that is refused, and that notices are due from their time on, the earliest first.
pub async fn a_notice_is_stored_with_its_change<S: Harness<Store: EventStore>>(store: S) {
    let one = told(1);
    created(&store, &one).await;
    let mut expected = Vec::new();
    for (number, kind) in (1..).zip(NoticeKind::ALL) {
        let notice = notice(&one, kind, number, later(&one, 60 - number));
        change(&store, keeps(&one, &notice, number)).await;
        expected.insert(0, notice);
    }
    let refused = notice(&one, NoticeKind::PasswordChanged, 9, later(&one, 1));
    let refused = keeps(&one, &refused, 9).provided(Condition::Generation(7));
    let outcome = ok(store.under_test().change(refused).await);
    assert_eq!(outcome, ChangeOutcome::NotApplicable);
    assert_eq!(due(&store, later(&one, 60)).await, expected, "the notices");
    expected.truncate(1);
    assert_eq!(due(&store, later(&one, 57)).await, expected, "a notice is due too early");
    assert_eq!(due(&store, later(&one, 56)).await, [], "a notice is due too early");
    for limit in 0..2 {
        let limited = ok(store.under_test().due_notices(later(&one, 60), limit).await);
        assert_eq!(limited.len(), usize::try_from(limit).unwrap_or(7), "the limit");
    }
}

/// Checks that a notice which is settled waits for its next time, or is gone, that one of
/// several processes settles it, and that a time which a clock wrote that was ahead holds no
/// notice.
pub async fn one_process_settles_a_notice<S: Harness<Store: EventStore>>(store: S) {
    let one = told(1);
    created(&store, &one).await;
    let kept = notice(&one, NoticeKind::EmailChanged, 1, later(&one, 60));
    let other = notice(&one, NoticeKind::EmailChanged, 2, later(&one, 60));
    change(&store, keeps(&one, &kept, 1)).await;
    change(&store, keeps(&one, &other, 2)).await;
    assert!(ok(store.under_test().settle_notice(&other, None).await), "it was not deleted");
    assert!(!ok(store.under_test().settle_notice(&other, None).await), "it was deleted twice");
    let (store, barrier) = (Arc::new(store), Arc::new(Barrier::new(CROWD)));
    let next = later(&one, 120);
    let tasks: Vec<_> = (0..CROWD)
        .map(|_| {
            let (store, barrier) = (Arc::clone(&store), Arc::clone(&barrier));
            let kept = kept.clone().takeovers(1);
            tokio::spawn(async move {
                barrier.wait().await;
                ok(store.under_test().settle_notice(&kept, Some(next)).await)
            })
        })
        .collect();
    let mut settled = 0;
    for task in tasks {
        match task.await {
            Ok(is_settled) => settled += usize::from(is_settled),
            Err(error) => panic!("a settlement panicked: {}", Chain(&error)),
        }
    }
    assert_eq!(settled, 1, "the processes that have settled it");
    assert!(!ok(store.under_test().settle_notice(&kept, None).await), "a late process deleted it");
    assert_eq!(due(&*store, later(&one, 119)).await, [], "it is due too early");
    let ahead = later(&one, 365 * 24 * 3600);
    let due_then = due(&*store, next).await;
    let [postponed] = &*due_then else { panic!("it is not due") };
    assert_eq!(*postponed, kept.due_at(next).takeovers(1), "the notice");
    assert!(ok(store.under_test().settle_notice(postponed, Some(ahead)).await));
    assert_eq!(due(&*store, later(&one, 120)).await.len(), 1, "it waits for a year");
}

/// Checks that the notices of an account go with the data of its events, and old ones with
/// their events.
pub async fn a_scrubbed_account_has_no_notices<S: Harness<Store: EventStore>>(store: S) {
    let (one, other) = (told(1), told(2));
    for of in [&one, &other] {
        created(&store, of).await;
        let number = if of.id() == one.id() { 1 } else { 2 };
        let notice = notice(of, NoticeKind::PasswordChanged, number, later(of, 60));
        change(&store, keeps(of, &notice, number)).await;
    }
    change(&store, AccountChange::new(one.id().clone()).with(Effect::ScrubEvents)).await;
    let left: Vec<_> =
        due(&store, later(&one, 60)).await.into_iter().map(|notice| notice.account_id).collect();
    assert_eq!(left, [other.id().clone()], "the accounts with notices");
    purge(&store, OldEvents::All, later(&one, 0)).await;
    assert_eq!(due(&store, later(&one, 60)).await, [], "a notice was not purged with its event");
}

/// Returns a notice with the id of the event of the same number.
fn notice(of: &NewAccount, kind: NoticeKind, number: u64, due_at: Timestamp) -> Notice {
    let id = event(of, EventKind::AccountUpdated, 100 + number).id().to_owned();
    let api_keys = (kind == NoticeKind::PasswordChanged).then_some(KeyCounts { ended: 1, kept: 2 });
    let notice = Notice::new(of.id().clone(), id, kind, of.email().clone(), of.created_at());
    notice.api_keys(api_keys).due_at(due_at)
}

fn keeps(of: &NewAccount, notice: &Notice, number: u64) -> AccountChange {
    let telling = tells(of, event(of, EventKind::AccountUpdated, 100 + number));
    telling.with(Effect::AddNotice(Box::new(notice.clone())))
}

async fn due<S: Harness<Store: EventStore>>(store: &S, now: Timestamp) -> Vec<Notice> {
    ok(store.under_test().due_notices(now, ALL).await)
}
