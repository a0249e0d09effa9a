//! Races for one email, and outages.

use std::sync::Arc;

use tokio::sync::Barrier;

use super::{Differences, Harness, Sample, counts};
use crate::store::contract::{AccountStore, CreateOutcome, StoreError};

/// The rounds of a race: a store that loses every second one passes once in a million runs.
const ROUNDS: u64 = 20;
/// The number of callers in each round after the first.
const SMALL_CROWD: usize = 50;

/// Checks that of many simultaneous calls with one email, all past their advisory check,
/// one wins and all others report it as taken, in 20 rounds.
///
/// A store that returns `IdentifierTaken` to some has a second constraint on the address: a
/// violation of that one is `EmailTaken` too.
///
/// # Panics
/// Panics if the promise is broken.
pub async fn one_winner<S: Harness>(store: S, differences: &Differences) {
    let store = Arc::new(store);
    for round in 0..ROUNDS {
        let crowd = if round == 0 { differences.crowd } else { differences.crowd.min(SMALL_CROWD) };
        race(&store, round, crowd).await;
        counts(&*store, usize::try_from(round).unwrap_or(usize::MAX) + 1).await;
    }
}

async fn race<S: Harness>(store: &Arc<S>, round: u64, crowd: usize) {
    let gate = Arc::new(Barrier::new(crowd));
    let spellings = ["kim", "KIM", "Kim"].iter().cycle();
    let mut tasks = Vec::with_capacity(crowd);
    for (number, spelling) in (0..crowd).zip(spellings) {
        let number = round * 1_000_000 + number as u64;
        let new = Sample::new(number).email(&format!("{spelling}{round}@x.co")).build();
        let (store, gate) = (Arc::clone(store), Arc::clone(&gate));
        tasks.push(tokio::spawn(async move {
            let taken = store.under_test().is_email_taken(new.email().key()).await;
            gate.wait().await;
            (taken, store.under_test().create(new).await)
        }));
    }
    let mut winners = 0;
    for task in tasks {
        match task.await {
            Ok((Ok(false), Ok(CreateOutcome::Stored))) => winners += 1,
            Ok((Ok(false), Ok(CreateOutcome::EmailTaken))) => {}
            Ok((Ok(false), Ok(CreateOutcome::IdentifierTaken))) => panic!(
                "one of the crowd got `IdentifierTaken`: a violation of any constraint on the \
                 address is `EmailTaken`"
            ),
            other => panic!("one of the crowd got {other:?}"),
        }
    }
    assert_eq!(winners, 1, "of {crowd} that create one email");
}

/// Checks that during an outage a lookup is `Unavailable`, and a create is that, or
/// `OutcomeUnknown` if it may have been written. Afterwards the same account can be
/// created, or was.
///
/// # Panics
/// Panics if the promise is broken.
pub async fn an_outage_is_not_a_failure<S: Harness>(store: S) {
    let new = Sample::new(1).build();
    let Some(outage) = store.outage().await else {
        return;
    };
    let looked = store.under_test().is_email_taken(new.email().key()).await;
    let may_look = matches!(looked, Ok(false) | Err(StoreError::Unavailable(_)));
    assert!(may_look, "a look in an outage: {looked:?}");
    let created = store.under_test().create(new.clone()).await;
    let is_known = matches!(created, Err(StoreError::Unavailable(_)));
    let is_told = is_known || matches!(created, Err(StoreError::OutcomeUnknown(_)));
    assert!(is_told, "a create in an outage: {created:?}");
    drop(outage);
    match store.under_test().create(new).await {
        Ok(CreateOutcome::Stored) => {}
        Ok(CreateOutcome::EmailTaken) if !is_known => {}
        other => panic!("after an outage: {other:?}"),
    }
    counts(&store, 1).await;
}
