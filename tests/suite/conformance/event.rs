//! For each promise of `EventStore` a store that breaks it, which the suite has to catch.

use async_trait::async_trait;
use signup::account::AccountId;
use signup::clock::Timestamp;
use signup::event::{Event, Notice};
use signup::store::conformance::{self, Eventful};
use signup::store::{EventStore, StoreError};

use super::flawed_credentials::{Flaw, Flawed};

#[async_trait]
impl EventStore for Flawed {
    async fn list_events(
        &self,
        account: &AccountId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        let after = if self.flaw == Flaw::ListsEventsFromTheFirst { 0 } else { after };
        let mut events = self.store.list_events(account, after, limit).await?;
        if self.flaw == Flaw::ListsTheNewestEventFirst {
            events.reverse();
        }
        if self.flaw == Flaw::ForgetsTheEventsOfTheDeleted {
            let accounts = self.store.accounts();
            events.retain(|event| accounts.iter().any(|new| new.id() == event.account_id()));
        }
        Ok(events)
    }

    async fn purge_events(&self, until: Timestamp) -> Result<(), StoreError> {
        match self.flaw {
            Flaw::PurgesNoEvents => Ok(()),
            Flaw::PurgesAllEvents => self.store.purge_events(Timestamp::MAX).await,
            _ => self.store.purge_events(until).await,
        }
    }

    async fn due_notices(&self, now: Timestamp, limit: u32) -> Result<Vec<Notice>, StoreError> {
        let now = if self.flaw == Flaw::SendsNoticesTooEarly { Timestamp::MAX } else { now };
        self.store.due_notices(now, limit).await
    }

    async fn settle_notice(
        &self,
        notice: &Notice,
        next: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        match self.flaw {
            Flaw::SettlesAnyNotice => {
                let all = self.store.due_notices(Timestamp::MAX, 1000).await?;
                let kept = all.into_iter().find(|kept| kept.id == notice.id);
                self.store.settle_notice(&kept.unwrap_or_else(|| notice.clone()), next).await
            }
            _ => self.store.settle_notice(notice, next).await,
        }
    }
}

impl Eventful for Flawed {
    fn events(&self) -> &dyn EventStore {
        self
    }
}

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
