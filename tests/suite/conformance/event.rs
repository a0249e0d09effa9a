//! For each promise of `EventStore` about events and notices a store that breaks it, which the suite has to
//! catch.

use signup::store::conformance;

use super::flawed::Flaw;

/// Returns the promises that a store with this flaw breaks.
async fn caught(flaw: Flaw) -> Vec<&'static str> {
    let promises = super::promises!(
        flaw,
        events_are_numbered_with_their_changes,
        what_is_refused_tells_nothing,
        simultaneous_events_have_no_gap,
        a_dropped_change_has_told,
        events_outlive_their_account_until_they_are_purged,
        earlier_events_are_scrubbed,
        a_notice_is_stored_with_its_change,
        one_process_settles_a_notice,
        a_scrubbed_account_has_no_notices,
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
        (Flaw::ListsEventsFromTheFirst, "events_are_numbered_with_their_changes"),
        (Flaw::ListsTheNewestEventFirst, "events_are_numbered_with_their_changes"),
        (Flaw::IgnoresTheGeneration, "what_is_refused_tells_nothing"),
        (Flaw::TellsTwice, "simultaneous_events_have_no_gap"),
        (Flaw::TellsLater, "a_dropped_change_has_told"),
        (Flaw::ForgetsTheEventsOfTheDeleted, "events_outlive_their_account_until_they_are_purged"),
        (Flaw::PurgesNoEvents, "events_outlive_their_account_until_they_are_purged"),
        (Flaw::KeepsTheData, "earlier_events_are_scrubbed"),
        (Flaw::KeepsTheData, "a_scrubbed_account_has_no_notices"),
        (Flaw::ForgetsNotices, "a_notice_is_stored_with_its_change"),
        (Flaw::AddsNoticesOfTheRefused, "a_notice_is_stored_with_its_change"),
        (Flaw::SendsNoticesTooEarly, "a_notice_is_stored_with_its_change"),
        (Flaw::SettlesAnyNotice, "one_process_settles_a_notice"),
        (Flaw::PurgesAllEvents, "events_outlive_their_account_until_they_are_purged"),
    ] {
        let caught = caught(flaw).await;
        assert!(caught.contains(&promise), "{flaw:?} was caught by {caught:?}");
    }
}
