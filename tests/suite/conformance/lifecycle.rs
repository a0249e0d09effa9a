//! For each promise of `LifecycleStore` about changes a store that breaks it, which the suite has to
//! catch.

use signup::store::conformance;

use super::flawed::Flaw;

/// Returns the promises that a store with this flaw breaks.
async fn caught(flaw: Flaw) -> Vec<&'static str> {
    let promises = super::promises!(
        flaw,
        an_account_is_found_by_its_email,
        a_change_has_all_its_effects,
        a_change_of_nothing_applies,
        a_condition_that_does_not_hold_changes_nothing,
        a_proof_keeps_its_first_time,
        a_taken_key_changes_nothing,
        a_change_of_a_key_is_whole,
        a_taken_email_changes_nothing,
        an_erased_account_has_nothing_left,
        accounts_are_listed_in_pages,
        one_change_wins,
        a_dropped_change_is_whole,
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
        (Flaw::FindsAnybody, "an_account_is_found_by_its_email"),
        (Flaw::KeepsThePassword, "a_change_has_all_its_effects"),
        (Flaw::KeepsTheName, "a_change_has_all_its_effects"),
        (Flaw::KeepsTheTokens, "a_change_has_all_its_effects"),
        (Flaw::KeepsTheKeys, "a_change_has_all_its_effects"),
        (Flaw::LogsInWithoutGeneration, "a_change_has_all_its_effects"),
        (Flaw::LogsInWithoutState, "a_change_has_all_its_effects"),
        (Flaw::FindsByKeyWithoutState, "a_change_has_all_its_effects"),
        (Flaw::ChangesNothingForNothing, "a_change_of_nothing_applies"),
        (Flaw::IgnoresTheEmail, "a_condition_that_does_not_hold_changes_nothing"),
        (Flaw::IgnoresTheGeneration, "a_condition_that_does_not_hold_changes_nothing"),
        (Flaw::IgnoresTheProof, "a_condition_that_does_not_hold_changes_nothing"),
        (Flaw::IgnoresTheDate, "a_condition_that_does_not_hold_changes_nothing"),
        (Flaw::IgnoresTheNonce, "a_condition_that_does_not_hold_changes_nothing"),
        (Flaw::KeepsTheNonce, "a_change_has_all_its_effects"),
        (Flaw::IgnoresThePassword, "a_condition_that_does_not_hold_changes_nothing"),
        (Flaw::IgnoresTheState, "a_condition_that_does_not_hold_changes_nothing"),
        (Flaw::KeepsThePlan, "a_change_has_all_its_effects"),
        (Flaw::KeepsTheEmail, "a_change_has_all_its_effects"),
        (Flaw::KeepsTheState, "a_change_has_all_its_effects"),
        (Flaw::ErasesNothing, "an_erased_account_has_nothing_left"),
        (Flaw::ChangesThoughTheEmailIsTaken, "a_taken_email_changes_nothing"),
        (Flaw::ListsTheLastOneAgain, "accounts_are_listed_in_pages"),
        (Flaw::ListsAnyState, "accounts_are_listed_in_pages"),
        (Flaw::ForgetsTheNextPage, "accounts_are_listed_in_pages"),
        (Flaw::ProvesAnew, "a_proof_keeps_its_first_time"),
        (Flaw::ChangesThoughTheKeyIsTaken, "a_taken_key_changes_nothing"),
        (Flaw::AddsNoKey, "a_change_of_a_key_is_whole"),
        (Flaw::RevokesNoKey, "a_change_of_a_key_is_whole"),
        (Flaw::KeepsTheOldKey, "a_change_of_a_key_is_whole"),
        (Flaw::LooksBeforeItChanges, "one_change_wins"),
        (Flaw::ChangesInTwoSteps, "a_dropped_change_is_whole"),
    ] {
        let caught = caught(flaw).await;
        assert!(caught.contains(&promise), "{flaw:?} was caught by {caught:?}");
    }
}
