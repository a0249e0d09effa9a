//! For each promise of `LifecycleStore` about API keys and log-ins a store that breaks it, which the suite has to
//! catch.

use signup::store::conformance;

use super::flawed::Flaw;

/// Returns the promises that a store with this flaw breaks.
async fn caught(flaw: Flaw) -> Vec<&'static str> {
    let promises = super::promises!(
        flaw,
        keys_are_found_by_their_digest,
        added_keys_are_listed,
        a_revoked_key_is_gone,
        a_rotated_key_expires,
        one_revokes,
        a_dropped_rotation_is_whole,
        a_password_is_found_and_renewed,
        an_account_is_found_and_its_tokens_are_revoked,
        expired_keys_are_purged,
        nothing_of_a_deleted_account_is_found,
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
        (Flaw::FindsAnyKey, "keys_are_found_by_their_digest"),
        (Flaw::ForgetsTheExpiry, "added_keys_are_listed"),
        (Flaw::ListsTheNewestFirst, "added_keys_are_listed"),
        (Flaw::RevokesForAnybody, "a_revoked_key_is_gone"),
        (Flaw::RevokesTwice, "one_revokes"),
        (Flaw::RotatesWithoutExpiry, "a_rotated_key_expires"),
        (Flaw::RotatesForAnybody, "a_rotated_key_expires"),
        (Flaw::RotatesInTwoSteps, "a_dropped_rotation_is_whole"),
        (Flaw::RenewsWhateverIsThere, "a_password_is_found_and_renewed"),
        (Flaw::BringsTokensBack, "an_account_is_found_and_its_tokens_are_revoked"),
        (Flaw::PurgesNothing, "expired_keys_are_purged"),
        (Flaw::ForgetsTheName, "added_keys_are_listed"),
        (Flaw::ListsExpiredKeys, "added_keys_are_listed"),
        (Flaw::ListsTooManyKeys, "added_keys_are_listed"),
        (Flaw::PurgesTooMany, "expired_keys_are_purged"),
        (Flaw::KeepsKeysOfTheDeleted, "nothing_of_a_deleted_account_is_found"),
    ] {
        let caught = caught(flaw).await;
        assert!(caught.contains(&promise), "{flaw:?} was caught by {caught:?}");
    }
}
