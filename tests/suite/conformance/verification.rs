//! For each promise of `LifecycleStore` about tickets a store that breaks it, which the suite has to
//! catch.

use signup::store::conformance;

use super::flawed::Flaw;

/// Returns the promises that a store with this flaw breaks.
async fn caught(flaw: Flaw) -> Vec<&'static str> {
    let promises = super::promises!(
        flaw,
        a_ticket_is_used_once,
        a_taken_email_uses_no_ticket,
        one_ticket_makes_one_account,
        a_dropped_signup_uses_its_ticket_or_not,
        expired_tickets_are_purged,
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
        (Flaw::ForgetsTickets, "a_ticket_is_used_once"),
        (Flaw::DeletesTicketsWithTheirAccounts, "a_ticket_is_used_once"),
        (Flaw::UsesTicketsForNothing, "a_taken_email_uses_no_ticket"),
        (Flaw::LooksForTheTicketFirst, "one_ticket_makes_one_account"),
        (Flaw::UsesTheTicketLater, "a_dropped_signup_uses_its_ticket_or_not"),
        (Flaw::PurgesAllTickets, "expired_tickets_are_purged"),
    ] {
        let caught = caught(flaw).await;
        assert!(caught.contains(&promise), "{flaw:?} was caught by {caught:?}");
    }
}
