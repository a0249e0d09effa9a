//! The promises of [`RelayStore`], one function each, which panics if the promise is broken.

#![expect(clippy::missing_panics_doc, reason = "all of them panic on failure")]

use std::sync::Arc;

use tokio::sync::Barrier;

use crate::clock::Timestamp;
use crate::event::{EventKind, NewEvent, PARTITIONS};
use crate::issue::Chain;
use crate::random::{Entropy, SeededRandom};
use crate::store::contract::{
    DeliveryOutcome, DeliveryState, EventLease, EventQuery, EventStore, NewAccount, OldEvents,
    StoredEvent,
};

use super::drop_at::settles;
use super::event::{all, event, purge, tells, told};
use super::given::{created, later, ok};
use super::lifecycle::change;
use super::{Harness, Sample, dropped_after};

/// The number of simultaneous leases.
const CROWD: usize = 64;
/// More events than are due at a time.
const ALL: u32 = 1000;

/// Checks that of each account the first event is due that is not done with, from its time
/// on, and that an event which has stopped its account holds back the later ones.
pub async fn events_are_due_in_their_order<S: Harness<Store: EventStore>>(store: S) {
    let (one, other) = (with_events(&store, 1, 3).await, with_events(&store, 2, 1).await);
    let now = later(&one, 60);
    let lease = leased(&store, &one, now).await;
    assert_eq!(due(&store, &one, now).await, [1], "the first event");
    settled(&store, lease, &one, DeliveryState::Waiting, later(&one, 90)).await;
    assert_eq!(due(&store, &one, later(&one, 89)).await, [0; 0], "it is tried again too early");
    assert_eq!(due(&store, &one, later(&one, 90)).await, [1], "it is not tried again");
    let found = first(&store, &one, later(&one, 90)).await;
    assert_eq!((found.attempts, found.state), (1, DeliveryState::Waiting), "the attempts");
    settled(&store, lease, &one, DeliveryState::Delivered, now).await;
    assert_eq!(due(&store, &one, later(&one, 90)).await, [2], "the event after it");
    settled(&store, lease, &one, DeliveryState::Stopped, now).await;
    assert_eq!(due(&store, &one, later(&one, 900)).await, [0; 0], "its account has stopped");
    assert!(ok(store.under_test().settle_dead_letter(one.id(), 2, None).await), "it is skipped");
    assert_eq!(due(&store, &one, now).await, [3], "the event after one that was skipped");
    settled(&store, lease, &one, DeliveryState::Skipped, now).await;
    assert_eq!(due(&store, &one, later(&one, 900)).await, [0; 0], "it was skipped");
    assert_eq!(due(&store, &other, now).await, [1], "another account's event");
    let expected = all(&store, &other).await;
    assert_eq!([first(&store, &other, now).await.event], *expected, "the event");
    for limit in 0..2 {
        let limited = store.under_test().due_events(partition(&other), now, limit);
        assert_eq!(ok(limited.await).len(), usize::try_from(limit).unwrap_or(7), "the limit");
    }
}

/// Checks that the events which have been due longest come first.
pub async fn the_oldest_events_are_due_first<S: Harness<Store: EventStore>>(store: S) {
    let first = Sample::new(1).build();
    let mut others = (2..).map(|number| Sample::new(number).build());
    let second = others.find(|other| partition_of(other) == partition_of(&first));
    let Some(second) = second else { panic!("no two accounts of one partition") };
    let mut both = [first, second];
    both.sort_by(|one, other| one.id().cmp(other.id()));
    // The account whose id comes first is the later one.
    for (number, (of, seconds)) in (1..).zip(both.iter().zip([20, 10])) {
        created(&store, of).await;
        change(&store, tells(of, event_at(of, number, later(of, seconds)))).await;
    }
    let [one, other] = &both;
    let due = store.under_test().due_events(partition_of(one), later(one, 60), ALL);
    let due = ok(due.await);
    let due: Vec<_> = due.iter().map(|due| due.event.account_id()).collect();
    assert_eq!(due, [other.id(), one.id()], "the oldest event is not the first");
}

/// Checks that a time which a clock wrote that was ahead holds neither an event nor a lease.
pub async fn a_clock_that_was_ahead_holds_nothing<S: Harness<Store: EventStore>>(store: S) {
    let one = with_events(&store, 1, 1).await;
    let (now, ahead) = (later(&one, 60), later(&one, 365 * 24 * 3600));
    let lease = leased(&store, &one, now).await;
    let event = first(&store, &one, now).await;
    let waits = DeliveryOutcome::new(&event, DeliveryState::Waiting, ahead);
    assert!(ok(store.under_test().settle_events(lease, ahead, vec![waits]).await));
    assert_eq!(due(&store, &one, now).await, [1], "the event waits for a year");
    let free = ok(store.under_test().due_partitions(now).await);
    assert_eq!(free, [lease], "the lease lasts for a year");
    let taken = store.under_test().lease_partition(lease, now, later(&one, 120)).await;
    assert!(ok(taken).is_some(), "the lease can't be taken for a year");
    // A usual wait holds.
    let waits = DeliveryOutcome::new(&event, DeliveryState::Waiting, later(&one, 7 * 3600));
    let held = EventLease { fence: lease.fence + 1, ..lease };
    assert!(ok(store.under_test().settle_events(held, later(&one, 0), vec![waits]).await));
    assert_eq!(due(&store, &one, now).await, [0; 0], "the event does not wait");
}

/// Checks that a partition with events due is leased once at a time, by fences that rise.
pub async fn one_lease_wins<S: Harness<Store: EventStore>>(store: S) {
    let one = with_events(&store, 1, 1).await;
    let (now, until) = (later(&one, 60), later(&one, 120));
    let free = ok(store.under_test().due_partitions(now).await);
    let [last] = *free else { panic!("the partitions with events due: {free:?}") };
    assert_eq!(last.partition, partition(&one), "the partition of the account");
    let (store, barrier) = (Arc::new(store), Arc::new(Barrier::new(CROWD)));
    let tasks: Vec<_> = (0..CROWD)
        .map(|_| {
            let (store, barrier) = (Arc::clone(&store), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                ok(store.under_test().lease_partition(last, now, until).await)
            })
        })
        .collect();
    let mut leases = Vec::new();
    for task in tasks {
        match task.await {
            Ok(lease) => leases.extend(lease),
            Err(error) => panic!("a lease panicked: {}", Chain(&error)),
        }
    }
    let [lease] = *leases else { panic!("the leases: {leases:?}") };
    assert!(lease.fence > last.fence, "the fence has not risen");
    let early = later(&one, 119);
    assert_eq!(ok(store.under_test().due_partitions(early).await), [], "it is leased");
    let taken = store.under_test().lease_partition(lease, early, until).await;
    assert_eq!(ok(taken), None, "a lease that has not expired was taken");
    assert_eq!(ok(store.under_test().due_partitions(until).await), [lease], "it has expired");
    let again = store.under_test().lease_partition(lease, until, later(&one, 180)).await;
    let Some(again) = ok(again) else { panic!("a lease that has expired was kept") };
    assert!(again.fence > lease.fence, "the fence has not risen");
    // A renewed lease is longer, and one that is let go is free.
    assert!(ok(store.under_test().settle_events(again, later(&one, 240), Vec::new()).await));
    assert_eq!(ok(store.under_test().due_partitions(later(&one, 200)).await), [], "it was renewed");
    assert!(ok(store.under_test().settle_events(again, later(&one, 0), Vec::new()).await));
    assert_eq!(ok(store.under_test().due_partitions(now).await), [again], "it was let go");
    settled(&*store, again, &one, DeliveryState::Delivered, now).await;
    assert_eq!(ok(store.under_test().due_partitions(later(&one, 900)).await), [], "nothing is due");
}

/// Checks that an instance which has lost its lease settles nothing.
pub async fn a_lost_lease_settles_nothing<S: Harness<Store: EventStore>>(store: S) {
    let one = with_events(&store, 1, 1).await;
    let now = later(&one, 60);
    let lost = leased(&store, &one, now).await;
    let expired = later(&one, 600);
    let Some(held) = ok(store.under_test().lease_partition(lost, expired, later(&one, 660)).await)
    else {
        panic!("a lease that has expired was kept")
    };
    let delivered =
        DeliveryOutcome::new(&first(&store, &one, now).await, DeliveryState::Delivered, now);
    let late = store.under_test().settle_events(lost, later(&one, 0), vec![delivered]).await;
    assert!(!ok(late), "a lease that was lost settles");
    assert_eq!(due(&store, &one, now).await, [1], "an event was settled");
    assert_eq!(ok(store.under_test().due_partitions(later(&one, 650)).await), [], "it was let go");
    settled(&store, held, &one, DeliveryState::Delivered, now).await;
    assert_eq!(due(&store, &one, now).await, [0; 0], "an event was not settled");
}

/// Checks that events which wait for an earlier one of their account neither hide the events of
/// other accounts nor are lost, however many there are.
pub async fn a_crowd_that_waits_hides_nothing<S: Harness<Store: EventStore>>(store: S) {
    let one = with_events(&store, 1, 200).await;
    let mut others = (2..).map(told).filter(|other| partition(other) == partition(&one));
    let Some(other) = others.next() else { panic!("no two accounts of one partition") };
    created(&store, &other).await;
    let now = later(&one, 60);
    let lease = leased(&store, &one, now).await;
    // The first event of the crowd is tried again later, and then it has stopped its account.
    settled(&store, lease, &one, DeliveryState::Waiting, later(&one, 85)).await;
    for (moment, expected) in [(70, 0), (90, 1), (95, 0)] {
        let moment = later(&one, moment);
        let limited = store.under_test().due_events(partition(&other), moment, 2).await;
        let limited = ok(limited).into_iter().map(|due| due.event.account_id().clone());
        let limited: Vec<_> = limited.collect();
        assert!(limited.contains(other.id()), "the other account's event is not due");
        assert_eq!(limited.len(), 1 + expected, "the events that are due");
        if expected == 1 {
            settled(&store, lease, &one, DeliveryState::Stopped, moment).await;
        }
    }
    settled(&store, lease, &other, DeliveryState::Delivered, now).await;
    let free = ok(store.under_test().due_partitions(later(&one, 900)).await);
    assert_eq!(free, [], "a partition has nothing that is due, after a look");
    // Once it is settled, they follow one by one.
    assert!(ok(store.under_test().settle_dead_letter(one.id(), 1, None).await), "it is skipped");
    for number in 2..=200 {
        assert_eq!(due(&store, &one, now).await, [number], "the next event of the crowd");
        settled(&store, lease, &one, DeliveryState::Delivered, now).await;
    }
    assert_eq!(due(&store, &one, later(&one, 90)).await, [0; 0], "all are delivered");
}

/// Checks that the backlog is counted, and that events which were given up are listed, can
/// be delivered again, and skipped.
pub async fn dead_letters_are_kept<S: Harness<Store: EventStore>>(store: S) {
    let empty = ok(store.under_test().event_backlog(ALL).await);
    assert_eq!((empty.waiting, empty.oldest, empty.stopped), (0, None, 0));
    let (one, other) = (with_events(&store, 1, 2).await, with_events(&store, 2, 1).await);
    let now = later(&one, 60);
    let backlog = ok(store.under_test().event_backlog(ALL).await);
    assert_eq!((backlog.waiting, backlog.stopped), (3, 0), "the backlog");
    assert_eq!(backlog.oldest, Some(one.created_at()), "the oldest event");
    let counted = ok(store.under_test().event_backlog(2).await);
    assert_eq!(counted.waiting, 2, "more is counted than was asked for");
    assert_eq!(counted.oldest, backlog.oldest, "the oldest event, which is not counted");
    let lease = leased(&store, &one, now).await;
    settled(&store, lease, &one, DeliveryState::Stopped, now).await;
    let backlog = ok(store.under_test().event_backlog(ALL).await);
    assert_eq!((backlog.waiting, backlog.stopped), (2, 1), "the backlog with a dead letter");
    let free = ok(store.under_test().due_partitions(later(&one, 900)).await);
    let of_other = [partition(&other)].into_iter().filter(|it| *it != partition(&one));
    let free: Vec<_> = free.into_iter().map(|last| last.partition).collect();
    assert_eq!(free, of_other.collect::<Vec<_>>(), "nothing is due of who has stopped");
    let settle = async |account: &NewAccount, number, due_at| {
        ok(store.under_test().settle_dead_letter(account.id(), number, due_at).await)
    };
    // Other events are none.
    for (account, number) in [(&one, 2), (&one, 7), (&other, 1)] {
        assert!(!settle(account, number, None).await, "{number} was skipped");
        assert!(!settle(account, number, Some(now)).await, "{number} was brought back");
    }
    assert!(settle(&one, 1, Some(later(&one, 90))).await, "it was not brought back");
    assert_eq!(due(&store, &one, later(&one, 89)).await, [0; 0], "it is due too early");
    let found = first(&store, &one, later(&one, 90)).await;
    assert_eq!((found.event.number(), found.attempts), (1, 0), "it begins anew");
    settled(&store, lease, &one, DeliveryState::Skipped, now).await;
    assert!(!settle(&one, 1, None).await, "it was skipped twice");
    let dead = given_up(&store, ALL).await;
    let [dead] = dead.as_slice() else { panic!("the dead letters: {dead:?}") };
    let (account, number) = (dead.event.account_id(), dead.event.number());
    assert_eq!((account, number), (one.id(), 1), "the dead letter");
    assert_eq!((dead.attempts, dead.state), (1, DeliveryState::Skipped), "the dead letter");
    assert!(given_up(&store, 0).await.is_empty(), "more than asked for");
    assert!(settle(&one, 1, Some(now)).await, "one that was skipped was not brought back");
    assert_eq!(due(&store, &one, now).await, [1], "it is not the first again");
}

/// Checks that pages list every event that was given up, once and in their order.
pub async fn dead_letters_are_listed_in_pages<S: Harness<Store: EventStore>>(store: S) {
    let mut expected = Vec::new();
    for number in 1..=5 {
        let one = with_events(&store, number, 1).await;
        let (lease, event) = (leased(&store, &one, later(&one, 60)).await, first_of(&one));
        let state = if number % 2 == 0 { DeliveryState::Skipped } else { DeliveryState::Stopped };
        let given_up = vec![DeliveryOutcome::new(&event, state, later(&one, 60))];
        assert!(ok(store.under_test().settle_events(lease, later(&one, 0), given_up).await));
        expected.push((event.event.created_at(), event.event.id().to_owned()));
    }
    expected.sort();
    let (mut found, mut last) = (Vec::new(), None);
    loop {
        let query = EventQuery::GivenUp { after: last.as_ref() };
        let page = ok(store.under_test().list_events(query, 2).await);
        found.extend(page.iter().map(|row| (row.event.created_at(), row.event.id().to_owned())));
        assert!(found.len() <= expected.len(), "pages without an end");
        match page.into_iter().next_back() {
            Some(row) => last = Some(row),
            None => break,
        }
    }
    assert_eq!(found, expected, "the events that were given up");
}

/// Returns the first event of an account, as it is stored.
fn first_of(of: &NewAccount) -> StoredEvent {
    let event = of.event().cloned().map(|event| event.numbered(1));
    let event = event.unwrap_or_else(|| panic!("the account has no event"));
    StoredEvent::new(event, 0, DeliveryState::Waiting, Timestamp::EPOCH)
}

/// Checks that the events which were delivered are deleted when they are old, and no others.
pub async fn delivered_events_are_purged<S: Harness<Store: EventStore>>(store: S) {
    let one = with_events(&store, 1, 3).await;
    let now = later(&one, 60);
    let lease = leased(&store, &one, now).await;
    settled(&store, lease, &one, DeliveryState::Delivered, now).await;
    settled(&store, lease, &one, DeliveryState::Skipped, now).await;
    let numbers = async || -> Vec<i64> {
        all(&store, &one).await.iter().map(crate::event::Event::number).collect()
    };
    let Ok(earlier) = Timestamp::from_millis(one.created_at().as_millis() - 1) else {
        panic!("a moment of the suite's")
    };
    purge(&store, OldEvents::Delivered, earlier).await;
    assert_eq!(numbers().await, [1, 2, 3], "a later event was purged");
    purge(&store, OldEvents::Delivered, now).await;
    assert_eq!(numbers().await, [2, 3], "the events that are left");
}

/// Checks that of a settlement dropped at any poll all events are settled, or none.
pub async fn a_dropped_settlement_is_whole<S: Harness<Store: EventStore>>(store: S) {
    let (mut polls, mut finished) = (0, false);
    while !finished {
        polls += 1;
        let one = with_events(&store, polls, 2).await;
        let now = later(&one, 60);
        let lease = leased(&store, &one, now).await;
        let both = all(&store, &one).await.into_iter().map(|event| {
            let event = StoredEvent::new(event, 0, DeliveryState::Waiting, now);
            DeliveryOutcome::new(&event, DeliveryState::Skipped, now)
        });
        let settling = store.under_test().settle_events(lease, later(&one, 0), both.collect());
        finished = dropped_after(settling, polls).await.is_some();
        let (store, one) = (&store, &one);
        settles(polls, || async move {
            let dead = given_up(store, ALL).await;
            let own = dead.iter().filter(|dead| dead.event.account_id() == one.id()).count();
            if own == 2 || (own == 0 && !finished) { Ok(()) } else { Err(own) }
        })
        .await;
        // The partition is free for another account of it, whatever has happened.
        let partitions = ok(store.under_test().due_partitions(later(one, 900)).await);
        for last in partitions {
            let until = later(one, 0);
            let free = store.under_test().lease_partition(last, later(one, 900), until).await;
            assert!(ok(free).is_some(), "a lease that has expired was kept");
        }
    }
}

async fn given_up<S: Harness<Store: EventStore>>(store: &S, limit: u32) -> Vec<StoredEvent> {
    ok(store.under_test().list_events(EventQuery::GivenUp { after: None }, limit).await)
}

/// Signs an account up that has this many events.
async fn with_events<S: Harness<Store: EventStore>>(
    store: &S,
    number: u64,
    events: u64,
) -> NewAccount {
    let one = told(number);
    created(store, &one).await;
    for count in 1..events {
        let event = event(&one, EventKind::AccountUpdated, number * 1_000_000 + count);
        change(store, tells(&one, event)).await;
    }
    one
}

fn event_at(of: &NewAccount, number: u64, at: Timestamp) -> NewEvent {
    let drawn = Entropy::draw(&SeededRandom::new(number));
    let minted = drawn.and_then(|mut draw| {
        let kind = EventKind::AccountUpdated;
        NewEvent::mint(kind, of.id().clone(), at, &serde_json::json!({}), &mut draw)
    });
    minted.unwrap_or_else(|error| panic!("an event of the suite's: {error}"))
}

/// Returns the partition of the events of an account that has none yet.
fn partition_of(of: &NewAccount) -> u8 {
    event_at(of, 0, of.created_at()).partition()
}

fn partition(of: &NewAccount) -> u8 {
    let partition = of.event().map_or(PARTITIONS, crate::event::NewEvent::partition);
    assert!(partition < PARTITIONS, "a partition that there is not");
    partition
}

/// Leases the partition of an account for a minute.
async fn leased<S: Harness<Store: EventStore>>(
    store: &S,
    of: &NewAccount,
    now: Timestamp,
) -> EventLease {
    let free = ok(store.under_test().due_partitions(now).await);
    let last = free.into_iter().find(|last| last.partition == partition(of));
    let Some(last) = last else { panic!("its partition is not free") };
    let lease = ok(store.under_test().lease_partition(last, now, later(of, 120)).await);
    lease.unwrap_or_else(|| panic!("a partition that is free was not leased"))
}

/// Returns the events of an account that are due.
async fn due_of<S: Harness<Store: EventStore>>(
    store: &S,
    of: &NewAccount,
    now: Timestamp,
) -> Vec<StoredEvent> {
    let mut due = ok(store.under_test().due_events(partition(of), now, ALL).await);
    due.retain(|due| due.event.account_id() == of.id());
    due
}

/// Returns their numbers.
async fn due<S: Harness<Store: EventStore>>(
    store: &S,
    of: &NewAccount,
    now: Timestamp,
) -> Vec<i64> {
    due_of(store, of, now).await.iter().map(|due| due.event.number()).collect()
}

async fn first<S: Harness<Store: EventStore>>(
    store: &S,
    of: &NewAccount,
    now: Timestamp,
) -> StoredEvent {
    let first = due_of(store, of, now).await.into_iter().next();
    first.unwrap_or_else(|| panic!("no event is due"))
}

/// Settles the event of an account that is due, and keeps the lease.
async fn settled<S: Harness<Store: EventStore>>(
    store: &S,
    lease: EventLease,
    of: &NewAccount,
    state: DeliveryState,
    due_at: Timestamp,
) {
    let ended = DeliveryOutcome::new(&first(store, of, later(of, 90)).await, state, due_at);
    let until = later(of, 120);
    assert!(ok(store.under_test().settle_events(lease, until, vec![ended]).await), "it was lost");
}
