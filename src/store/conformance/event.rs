//! The promises of [`EventStore`], one function each, which panics if the promise is broken.

#![expect(clippy::missing_panics_doc, reason = "all of them panic on failure")]

use std::sync::Arc;

use tokio::sync::Barrier;

use crate::clock::Timestamp;
use crate::event::{Event, EventKind, NewEvent};
use crate::issue::Chain;
use crate::store::contract::{
    AccountChange, AccountStore, ChangeOutcome, Condition, CreateOutcome, Effect, EventQuery,
    EventStore, FindBy, LifecycleStore, NewAccount, OldEvents,
};

use super::drop_at::settles;
use super::given::{created, later, ok, signed_up};
use super::lifecycle::change;
use super::{Harness, Sample, dropped_after, sample};

/// The number of simultaneous changes.
const CROWD: u64 = 64;
/// More events than any of these accounts has.
const ALL: u32 = 1000;

/// Checks that the events of a sign-up and of changes are kept unchanged, numbered for each
/// account, and read in their order.
pub async fn events_are_numbered_with_their_changes<S: Harness<Store: EventStore>>(store: S) {
    let (one, other) = (told(1), told(2));
    created(&store, &one).await;
    created(&store, &other).await;
    let mut expected = vec![one.event().cloned().map(|event| event.numbered(1))];
    for (number, kind) in (2..).zip([EventKind::AccountVerified, EventKind::AccountUpdated]) {
        let event = event(&one, kind, 100 + number);
        expected.push(Some(event.clone().numbered(i64::try_from(number).unwrap_or(0))));
        change(&store, tells(&one, event)).await;
    }
    let expected: Vec<Event> = expected.into_iter().flatten().collect();
    assert_eq!(all(&store, &one).await, expected, "the events of an account");
    let of_other: Vec<_> = all(&store, &other).await.iter().map(Event::number).collect();
    assert_eq!(of_other, [1], "another account's events");
    for (after, limit, numbers) in [(0, 2, &[1, 2][..]), (1, ALL, &[2, 3]), (3, ALL, &[])] {
        let page = ok(store
            .under_test()
            .list_events(EventQuery::OfAccount { account: one.id(), after }, limit)
            .await);
        let found: Vec<_> = page.iter().map(|row| row.event.number()).collect();
        assert_eq!(found, numbers, "the events after {after}");
    }
    // An account that has signed up without one begins with the first change.
    let silent = signed_up(&store, 3).await;
    assert_eq!(all(&store, &silent).await, []);
    change(&store, tells(&silent, event(&silent, EventKind::AccountUpdated, 200))).await;
    assert_eq!(all(&store, &silent).await.first().map(Event::number), Some(1));
}

/// Checks that a refused change stores no event.
pub async fn what_is_refused_tells_nothing<S: Harness<Store: EventStore>>(store: S) {
    let one = told(1);
    created(&store, &one).await;
    for refused in [
        Sample::new(2).email_of(&one).event(EventKind::AccountCreated).build(),
        Sample::new(3).key_of(&one).event(EventKind::AccountCreated).build(),
    ] {
        let outcome = ok(store.under_test().create(refused.clone()).await);
        assert_ne!(outcome, CreateOutcome::Stored);
        assert_eq!(all(&store, &refused).await, [], "a sign-up that is refused");
    }
    let refused = tells(&one, event(&one, EventKind::AccountUpdated, 100));
    let refused = refused.provided(Condition::Generation(7));
    let outcome = ok(store.under_test().change(refused).await);
    assert_eq!(outcome, ChangeOutcome::NotApplicable);
    let numbers: Vec<_> = all(&store, &one).await.iter().map(Event::number).collect();
    assert_eq!(numbers, [1], "a change that is refused");
    change(&store, tells(&one, event(&one, EventKind::AccountUpdated, 101))).await;
    let numbers: Vec<_> = all(&store, &one).await.iter().map(Event::number).collect();
    assert_eq!(numbers, [1, 2], "a number was left out");
}

/// Checks that the events of simultaneous changes are numbered without a gap.
pub async fn simultaneous_events_have_no_gap<S: Harness<Store: EventStore>>(store: S) {
    let one = told(1);
    created(&store, &one).await;
    let crowd = usize::try_from(CROWD).unwrap_or(1);
    let (store, barrier) = (Arc::new(store), Arc::new(Barrier::new(crowd)));
    let tasks: Vec<_> = (0..CROWD)
        .map(|number| {
            let (store, barrier, one) = (Arc::clone(&store), Arc::clone(&barrier), one.clone());
            tokio::spawn(async move {
                let event = event(&one, EventKind::AccountUpdated, 100 + number);
                barrier.wait().await;
                change(&*store, tells(&one, event)).await;
            })
        })
        .collect();
    for task in tasks {
        if let Err(error) = task.await {
            panic!("a change panicked: {}", Chain(&error));
        }
    }
    let numbers: Vec<_> = all(&*store, &one).await.iter().map(Event::number).collect();
    let expected: Vec<_> = (1..=i64::try_from(CROWD).unwrap_or(0) + 1).collect();
    assert_eq!(numbers, expected, "the numbers");
}

/// Checks that a change dropped at any poll has stored its event, or has not happened.
pub async fn a_dropped_change_has_told<S: Harness<Store: EventStore>>(store: S) {
    let mut polls = 0;
    let mut finished = false;
    while !finished {
        polls += 1;
        let one = told(polls);
        created(&store, &one).await;
        let event = event(&one, EventKind::AccountUpdated, 1_000_000 + polls);
        let telling = tells(&one, event).with(Effect::RevokeTokens);
        let changing = store.under_test().change(telling);
        finished = dropped_after(changing, polls).await.is_some();
        let (store, one) = (&store, &one);
        settles(polls, || async move {
            let record = ok(store.under_test().find_account(FindBy::Id(one.id())).await);
            let generation = record.map(|record| record.token_generation);
            let told = all(store, one).await.len();
            let whole = matches!((generation, told), (Some(0), 1) if !finished)
                || matches!((generation, told), (Some(1), 2));
            if whole { Ok(()) } else { Err((generation, told)) }
        })
        .await;
    }
}

/// Checks that events outlive their account, and are deleted when they are old.
pub async fn events_outlive_their_account_until_they_are_purged<S: Harness<Store: EventStore>>(
    store: S,
) {
    let one = told(1);
    created(&store, &one).await;
    store.delete_account(one.id()).await;
    assert_eq!(all(&store, &one).await.len(), 1, "an event went with its account");
    let earlier = one.created_at().as_millis() - 1;
    let Ok(earlier) = crate::clock::Timestamp::from_millis(earlier) else {
        panic!("a moment of the suite's")
    };
    purge(&store, OldEvents::All, earlier).await;
    assert_eq!(all(&store, &one).await.len(), 1, "a later event was purged");
    purge(&store, OldEvents::All, later(&one, 0)).await;
    assert_eq!(all(&store, &one).await, [], "an old event was not purged");
}

/// Checks that the data of the events so far can be deleted with a change, whose own
/// event stays.
pub async fn earlier_events_are_scrubbed<S: Harness<Store: EventStore>>(store: S) {
    let (one, other) = (told(1), told(2));
    created(&store, &one).await;
    created(&store, &other).await;
    let untouched = all(&store, &other).await;
    let last = event(&one, EventKind::AccountErased, 100);
    let erase = AccountChange::new(one.id().clone()).with(Effect::ScrubEvents);
    change(&store, erase.with(Effect::Emit(last.clone()))).await;
    let events = all(&store, &one).await;
    let data: Vec<_> = events.iter().map(Event::data).collect();
    assert_eq!(data, ["{}", last.data()], "the data of the events");
    assert_eq!(all(&store, &other).await, untouched, "another account's events");
}

pub(super) fn told(number: u64) -> NewAccount {
    Sample::new(number).event(EventKind::AccountCreated).build()
}

pub(super) fn event(of: &NewAccount, kind: EventKind, number: u64) -> NewEvent {
    let event = sample::event(kind, of.id(), number);
    event.unwrap_or_else(|error| panic!("an event of the suite's: {error}"))
}

pub(super) fn tells(of: &NewAccount, event: NewEvent) -> AccountChange {
    AccountChange::new(of.id().clone()).with(Effect::Emit(event))
}

pub(super) async fn all<S: Harness<Store: EventStore>>(store: &S, of: &NewAccount) -> Vec<Event> {
    let query = EventQuery::OfAccount { account: of.id(), after: 0 };
    let events = ok(store.under_test().list_events(query, ALL).await);
    events.into_iter().map(|row| row.event).collect()
}

pub(super) async fn purge<S: Harness<Store: EventStore>>(
    store: &S,
    which: OldEvents,
    until: Timestamp,
) {
    let purged = ok(store.under_test().purge_events(which, until, ALL).await);
    assert!(!purged.more, "fewer events than the limit were purged");
}
