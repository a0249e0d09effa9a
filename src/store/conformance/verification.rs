//! The promises of [`LifecycleStore`] for tickets, one function each, which panics if the promise is
//! broken.

#![expect(clippy::missing_panics_doc, reason = "all of them panic on failure")]

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::Barrier;

use crate::clock::Timestamp;
use crate::issue::Chain;
use crate::store::contract::{
    AccountStore as _, CreateOutcome, Expired, LifecycleStore, NewAccount, UsedTicket,
};

use super::given::{created, later, ok};
use super::{Harness, Sample, counts, dropped_after};

/// Checks that a ticket is used with its account, and for no other account afterwards,
/// even if its own is deleted.
pub async fn a_ticket_is_used_once<S: Harness<Store: LifecycleStore>>(store: S) {
    let (one, other) = (ticketed(1, 1), ticketed(2, 2));
    for new in [&one, &other] {
        assert!(!is_used(&store, new).await, "a ticket is used before its sign-up");
        created(&store, new).await;
        assert!(is_used(&store, new).await, "a ticket was not used");
    }
    is_refused(&store, &ticketed(3, 1)).await;
    store.delete_account(one.id()).await;
    assert!(is_used(&store, &one).await, "a ticket went with its account");
    is_refused(&store, &one).await;
    is_refused(&store, &ticketed(4, 1)).await;
    // Accounts without a ticket are no clash.
    for number in [5, 6] {
        created(&store, &Sample::new(number).build()).await;
    }
    counts(&store, 3).await;
}

/// Checks that a sign-up whose email is taken does not use its ticket.
pub async fn a_taken_email_uses_no_ticket<S: Harness<Store: LifecycleStore>>(store: S) {
    let first = Sample::new(1).build();
    created(&store, &first).await;
    let late = Sample::new(2).email_of(&first).ticket(ticket(2)).build();
    assert_eq!(ok(store.under_test().create(late.clone()).await), CreateOutcome::EmailTaken);
    assert!(!is_used(&store, &late).await, "a ticket was used for nothing");
    // If both are taken, it is the email that is reported.
    created(&store, &ticketed(3, 3)).await;
    let late = Sample::new(4).email_of(&first).ticket(ticket(3)).build();
    assert_eq!(ok(store.under_test().create(late).await), CreateOutcome::EmailTaken);
}

/// Checks that of many simultaneous sign-ups with one ticket one succeeds.
pub async fn one_ticket_makes_one_account<S: Harness<Store: LifecycleStore>>(store: S) {
    const CROWD: u64 = 50;
    let store = Arc::new(store);
    let gate = Arc::new(Barrier::new(usize::try_from(CROWD).unwrap_or(1)));
    let crowd = (0..CROWD).map(|number| {
        let (store, gate) = (Arc::clone(&store), Arc::clone(&gate));
        tokio::spawn(async move {
            gate.wait().await;
            ok(store.under_test().create(ticketed(number, 1)).await)
        })
    });
    let mut stored = 0;
    for task in crowd.collect::<Vec<_>>() {
        match task.await {
            Ok(CreateOutcome::Stored) => stored += 1,
            Ok(CreateOutcome::TicketUsed) => {}
            Ok(other) => panic!("one of the crowd got {other:?}"),
            Err(error) => panic!("one of the crowd: {error}"),
        }
    }
    assert_eq!(stored, 1, "of {CROWD} with one ticket");
    counts(&*store, 1).await;
}

/// Checks that a `create` dropped at any poll uses its ticket with its account or not at
/// all.
pub async fn a_dropped_signup_uses_its_ticket_or_not<S: Harness<Store: LifecycleStore>>(store: S) {
    let (mut polls, mut finished) = (0, false);
    while !finished {
        polls += 1;
        let new = ticketed(2 * polls, polls);
        finished = dropped_after(store.under_test().create(new.clone()), polls).await.is_some();
        // The same ticket for another account waits until the store has finished.
        match store.under_test().create(ticketed(2 * polls + 1, polls)).await {
            Ok(CreateOutcome::Stored) => {
                assert!(!finished, "a sign-up that was answered did not use its ticket");
            }
            Ok(CreateOutcome::TicketUsed) => {}
            Ok(other) => panic!("after a drop at poll {polls}: {other:?}"),
            Err(error) => panic!("after a drop at poll {polls}: {}", Chain(&error)),
        }
        let stored = usize::try_from(polls).unwrap_or(usize::MAX);
        counts(&store, stored).await;
        assert!(is_used(&store, &new).await);
    }
}

/// Checks that expired tickets are deleted, and no others.
pub async fn expired_tickets_are_purged<S: Harness<Store: LifecycleStore>>(store: S) {
    let first = Sample::new(1).build();
    let ends = [1, 2, 3].map(|seconds| later(&first, seconds));
    let tickets = [1, 2, 3].map(|number| *ticket(number).hash());
    for ((number, end), hash) in (1..).zip(ends).zip(tickets) {
        let new = Sample::new(number).ticket(UsedTicket::new(hash, end)).build();
        created(&store, &new).await;
    }
    for (limit, rows, more) in [(1, 1, true), (2, 1, false)] {
        let purged = store.under_test().purge(Expired::Tickets, later(&first, 2), limit).await;
        let purged = ok(purged);
        assert_eq!((purged.rows, purged.more), (rows, more), "the tickets that were purged");
    }
    let mut left = Vec::new();
    for hash in &tickets {
        left.push(ok(store.under_test().is_ticket_used(hash).await));
    }
    assert_eq!(left, [false, false, true], "the tickets that are left");
    counts(&store, 3).await;
}

async fn is_used<S: Harness<Store: LifecycleStore>>(store: &S, new: &NewAccount) -> bool {
    match new.ticket() {
        Some(ticket) => ok(store.under_test().is_ticket_used(ticket.hash()).await),
        None => panic!("a sample of the suite's has no ticket"),
    }
}

async fn is_refused<S: Harness<Store: LifecycleStore>>(store: &S, new: &NewAccount) {
    let refused = ok(store.under_test().create(new.clone()).await);
    assert_eq!(refused, CreateOutcome::TicketUsed, "a ticket was used twice");
    let taken = ok(store.under_test().is_email_taken(new.email().key()).await);
    assert!(!taken, "a used ticket has taken an email");
}

fn ticketed(number: u64, ticket_number: u64) -> NewAccount {
    Sample::new(number).ticket(ticket(ticket_number)).build()
}

fn ticket(number: u64) -> UsedTicket {
    UsedTicket::new(Sha256::digest(number.to_be_bytes()).into(), Timestamp::MAX)
}
