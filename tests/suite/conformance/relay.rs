//! For each promise of `EventStore` about deliveries a store that breaks it, which the suite has to
//! catch.

use signup::store::conformance;

use super::flawed::Flaw;

/// Returns the promises that a store with this flaw breaks.
async fn caught(flaw: Flaw) -> Vec<&'static str> {
    let promises = super::promises!(
        flaw,
        events_are_due_in_their_order,
        the_oldest_events_are_due_first,
        a_clock_that_was_ahead_holds_nothing,
        a_crowd_that_waits_hides_nothing,
        one_lease_wins,
        a_lost_lease_settles_nothing,
        dead_letters_are_kept,
        dead_letters_are_listed_in_pages,
        delivered_events_are_purged,
        a_dropped_settlement_is_whole,
    );
    super::broken(promises).await
}

#[tokio::test]
async fn a_store_without_a_flaw_is_not_caught() {
    assert_eq!(caught(Flaw::None).await, [""; 0]);
}

#[tokio::test]
async fn for_each_promise_a_store_that_breaks_it_is_caught() {
    for (flaw, promise) in [
        (Flaw::DeliversTheLastFirst, "the_oldest_events_are_due_first"),
        (Flaw::DeliversTooEarly, "events_are_due_in_their_order"),
        (Flaw::CountsNoAttempts, "events_are_due_in_their_order"),
        (Flaw::StopsNobody, "events_are_due_in_their_order"),
        (Flaw::LeasesTwice, "one_lease_wins"),
        (Flaw::TakesLeasesEarly, "one_lease_wins"),
        (Flaw::SettlesWithoutALease, "a_lost_lease_settles_nothing"),
        (Flaw::CountsTheStoppedTwice, "dead_letters_are_kept"),
        (Flaw::CountsPastTheLimit, "dead_letters_are_kept"),
        (Flaw::HidesEventsBehindACrowd, "a_crowd_that_waits_hides_nothing"),
        (Flaw::ForgetsTheSkipped, "dead_letters_are_kept"),
        (Flaw::ListsDeadLettersFromTheFirst, "dead_letters_are_listed_in_pages"),
        (Flaw::SkipsAnyEvent, "dead_letters_are_kept"),
        (Flaw::PurgesWhatIsWaiting, "delivered_events_are_purged"),
        (Flaw::SettlesOneByOne, "a_dropped_settlement_is_whole"),
    ] {
        let caught = caught(flaw).await;
        assert!(caught.contains(&promise), "{flaw:?} was caught by {caught:?}");
    }
}
