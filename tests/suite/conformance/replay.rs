//! For each promise of `LifecycleStore` about retries a store that breaks it, which the suite has to
//! catch.

use signup::store::conformance;

use super::flawed::Flaw;

/// Returns the promises that a store with this flaw breaks.
async fn caught(flaw: Flaw) -> Vec<&'static str> {
    let promises = super::promises!(
        flaw,
        a_signup_keeps_its_receipt,
        an_account_is_found_by_its_keys,
        a_key_is_found_by_its_tag,
        a_taken_tag_changes_nothing,
        one_tag_adds_one_key,
        a_dropped_signup_has_its_receipt,
        the_row_of_another_is_not_its_own,
        no_retry_finds_a_deleted_account,
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
        (Flaw::ForgetsTheReceipt, "a_signup_keeps_its_receipt"),
        (Flaw::KeepsReceiptsAsText, "a_signup_keeps_its_receipt"),
        (Flaw::LooksAtAReplica, "a_signup_keeps_its_receipt"),
        (Flaw::FindsRevokedKeys, "an_account_is_found_by_its_keys"),
        (Flaw::HidesExpiredKeys, "an_account_is_found_by_its_keys"),
        (Flaw::ForgetsTheGeneration, "an_account_is_found_by_its_keys"),
        (Flaw::FindsTagsOfAnybody, "a_key_is_found_by_its_tag"),
        (Flaw::HasOneTagForAll, "a_key_is_found_by_its_tag"),
        (Flaw::IssuesATagTwice, "a_taken_tag_changes_nothing"),
        (Flaw::EndsTheOldKeyAllTheSame, "a_taken_tag_changes_nothing"),
        (Flaw::LooksForTheTagFirst, "one_tag_adds_one_key"),
        (Flaw::StoresTheReceiptLater, "a_dropped_signup_has_its_receipt"),
        (Flaw::TakesTheRowOfAnother, "the_row_of_another_is_not_its_own"),
        (Flaw::RemembersTheDeleted, "no_retry_finds_a_deleted_account"),
    ] {
        let caught = caught(flaw).await;
        assert!(caught.contains(&promise), "{flaw:?} was caught by {caught:?}");
    }
}
