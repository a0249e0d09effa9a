//! For each promise of `RelayStore` a store that breaks it, which the suite has to catch.

use async_trait::async_trait;
use signup::account::AccountId;
use signup::clock::Timestamp;
use signup::store::conformance::{self, Relayed};
use signup::store::{
    DeliveryState, EventBacklog, EventLease, EventStore as _, RelayStore, Settled, StoreError,
    UndeliveredEvent,
};

use super::flawed_credentials::{Flaw, Flawed};

#[async_trait]
impl RelayStore for Flawed {
    async fn due_partitions(&self, now: Timestamp) -> Result<Vec<EventLease>, StoreError> {
        self.store.due_partitions(now).await
    }

    async fn lease_partition(
        &self,
        last: EventLease,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<EventLease>, StoreError> {
        let now = if self.flaw == Flaw::TakesLeasesEarly { Timestamp::MAX } else { now };
        let leased = self.store.lease_partition(last, now, until).await?;
        Ok(match self.flaw {
            Flaw::LeasesTwice => Some(EventLease { fence: last.fence + 1, ..last }),
            _ => leased,
        })
    }

    async fn due_events(
        &self,
        partition: u8,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<UndeliveredEvent>, StoreError> {
        let now = if self.flaw == Flaw::DeliversTooEarly { Timestamp::MAX } else { now };
        let mut due = self.store.due_events(partition, now, limit).await?;
        if self.flaw == Flaw::DeliversTheLastFirst {
            due.reverse();
        }
        Ok(due)
    }

    async fn settle_events(
        &self,
        lease: EventLease,
        until: Timestamp,
        mut settled: Vec<Settled>,
    ) -> Result<bool, StoreError> {
        for ended in &mut settled {
            match (self.flaw, ended.state) {
                (Flaw::CountsNoAttempts, _) => ended.attempts = 0,
                (Flaw::StopsNobody, DeliveryState::Stopped) => ended.state = DeliveryState::Skipped,
                _ => {}
            }
        }
        match self.flaw {
            Flaw::SettlesWithoutALease => {
                let last = self.store.due_partitions(Timestamp::MAX).await?;
                let last = last.into_iter().find(|it| it.partition == lease.partition);
                self.store.settle_events(last.unwrap_or(lease), until, settled).await
            }
            Flaw::SettlesOneByOne => {
                let mut holds = self.store.settle_events(lease, until, Vec::new()).await?;
                for ended in settled {
                    tokio::task::yield_now().await;
                    holds = self.store.settle_events(lease, until, vec![ended]).await?;
                }
                Ok(holds)
            }
            _ => self.store.settle_events(lease, until, settled).await,
        }
    }

    async fn event_backlog(&self) -> Result<EventBacklog, StoreError> {
        let backlog = self.store.event_backlog().await?;
        Ok(match self.flaw {
            Flaw::CountsTheStoppedTwice => {
                let waiting = backlog.waiting + backlog.stopped;
                EventBacklog::new(waiting, backlog.oldest, backlog.stopped)
            }
            _ => backlog,
        })
    }

    async fn list_dead_letters(&self, limit: u32) -> Result<Vec<UndeliveredEvent>, StoreError> {
        let mut dead = self.store.list_dead_letters(limit).await?;
        if self.flaw == Flaw::ForgetsTheSkipped {
            dead.retain(|dead| dead.state == DeliveryState::Stopped);
        }
        Ok(dead)
    }

    async fn settle_dead_letter(
        &self,
        account: &AccountId,
        number: i64,
        due_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let settled = self.store.settle_dead_letter(account, number, due_at).await?;
        Ok(settled || self.flaw == Flaw::SkipsAnyEvent)
    }

    async fn purge_delivered_events(&self, until: Timestamp) -> Result<(), StoreError> {
        match self.flaw {
            Flaw::PurgesWhatIsWaiting => self.store.purge_events(until).await,
            _ => self.store.purge_delivered_events(until).await,
        }
    }
}

impl Relayed for Flawed {
    fn relays(&self) -> &dyn RelayStore {
        self
    }
}

/// Returns the promises that a store with this flaw breaks.
async fn caught(flaw: Flaw) -> Vec<&'static str> {
    let promises = super::promises!(
        flaw,
        events_are_due_in_their_order,
        the_oldest_events_are_due_first,
        a_clock_that_was_ahead_holds_nothing,
        one_lease_wins,
        a_lost_lease_settles_nothing,
        dead_letters_are_kept,
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
        (Flaw::ForgetsTheSkipped, "dead_letters_are_kept"),
        (Flaw::SkipsAnyEvent, "dead_letters_are_kept"),
        (Flaw::PurgesWhatIsWaiting, "delivered_events_are_purged"),
        (Flaw::SettlesOneByOne, "a_dropped_settlement_is_whole"),
    ] {
        let caught = caught(flaw).await;
        assert!(caught.contains(&promise), "{flaw:?} was caught by {caught:?}");
    }
}
