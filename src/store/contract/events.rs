//! The contract of a store that keeps events, and delivers them.

use std::sync::Arc;

use async_trait::async_trait;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::event::Notice;

use super::delivery::{DeliveryOutcome, EventBacklog, EventLease, StoredEvent};
use super::error::StoreError;
use super::lifecycle::LifecycleStore;
use super::query::{EventQuery, OldEvents, Purged};

/// A store that keeps events and security notices, for an
/// [`EventRelay`](crate::relay::EventRelay).
///
/// # Contract
/// - [`create`](super::AccountStore::create) stores the [event](super::NewAccount::event) of an
///   account with its rows, and [`change`](LifecycleStore::change) that of
///   [`Effect::Emit`](super::Effect::Emit) with the other effects: all or nothing.
/// - The events of an account are numbered from one, without a gap, in the order in which
///   their changes were made. They outlive the account's row. (On MySQL, a change of API keys
///   that stores no event takes a number, too: a host that turns events on later finds a gap.)
/// - The events of an account belong to one partition, which
///   [`NewEvent::partition`](crate::event::NewEvent::partition) names. A new event is
///   [waiting](super::DeliveryState::Waiting), and due from the time at which it happened.
/// - Of several instances that [lease](Self::lease_partition) a partition, one gets it. Each
///   lease has a fence that is higher than those before it, and
///   [`settle_events`](Self::settle_events) changes nothing if the fence is no longer that of
///   the partition: the write decides, not a read before it.
/// - Of the events of an account that are waiting or stopped, only the first one can be
///   [due](Self::due_events): no event overtakes an earlier one. Those that have been due longest
///   come first.
/// - The cost of these queries depends on neither the number of delivered events nor the number
///   of waiting ones: a relay sends them every second.
/// - A [notice](super::Effect::AddNotice) is stored with the change that it reports, all or
///   nothing, until it is [settled](Self::settle_notice) or the account is
///   [scrubbed](super::Effect::ScrubEvents). Of several instances that settle the same one, one
///   does.
/// - A time that is more than 7.5 hours ahead of `now` was written by a clock that was ahead,
///   for no attempt waits so long and no lease lasts so long: the event or the notice is due, and
///   the lease has expired.
///
/// The suite of [`event_conformance_tests!`](crate::event_conformance_tests) tests all of this.
///
/// ```
/// use signup::clock::Timestamp;
/// use signup::store::{EventLease, EventStore, StoreError};
///
/// /// Takes the lease of the first partition that has events due.
/// async fn lease_any(
///     store: &impl EventStore,
///     now: Timestamp,
///     until: Timestamp,
/// ) -> Result<Option<EventLease>, StoreError> {
///     let Some(last) = store.due_partitions(now).await?.into_iter().next() else {
///         return Ok(None);
///     };
///     store.lease_partition(last, now, until).await
/// }
/// ```
#[async_trait]
pub trait EventStore: LifecycleStore {
    /// Returns up to `limit` events, in the order of the query.
    ///
    /// # Errors
    /// Fails if the store does not answer. The same holds for all that follows.
    async fn list_events(
        &self,
        query: EventQuery<'_>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError>;

    /// Returns the last leases of the partitions that have events [due](Self::due_events) at
    /// `now`, if they have expired. There may be other partitions among them, until
    /// [`due_events`](Self::due_events) has found nothing in them.
    async fn due_partitions(&self, now: Timestamp) -> Result<Vec<EventLease>, StoreError>;

    /// Leases a partition until this time, with the fence after that of `last`. Returns
    /// `None`, and changes nothing, if another lease came after it, or if it has not expired at
    /// `now`.
    async fn lease_partition(
        &self,
        last: EventLease,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<EventLease>, StoreError>;

    /// Returns events of a partition that are due at `now`, up to `limit`, those that have been
    /// due longest first: of each account the first one that is waiting or stopped, if it is
    /// waiting and its time has come.
    async fn due_events(
        &self,
        partition: u8,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError>;

    /// Stores how attempts have ended, and lets the lease expire at `until`. Returns false,
    /// and changes nothing, if the partition has another lease.
    async fn settle_events(
        &self,
        lease: EventLease,
        until: Timestamp,
        settled: Vec<DeliveryOutcome>,
    ) -> Result<bool, StoreError>;

    /// Returns how much is left to deliver, where each number is counted up to `limit`.
    async fn event_backlog(&self, limit: u32) -> Result<EventBacklog, StoreError>;

    /// Lets an event that was given up be delivered again at `due_at`, or skips one that has
    /// stopped its account. Returns false if it is no such event.
    async fn settle_dead_letter(
        &self,
        account: &AccountId,
        number: i64,
        due_at: Option<Timestamp>,
    ) -> Result<bool, StoreError>;

    /// Deletes up to `limit` events that happened at `until` or earlier.
    async fn purge_events(
        &self,
        which: OldEvents,
        until: Timestamp,
        limit: u32,
    ) -> Result<Purged, StoreError>;

    /// Returns up to `limit` notices that are due at `now`, the earliest ones first. Kinds of a
    /// newer release are left to it.
    async fn due_notices(&self, now: Timestamp, limit: u32) -> Result<Vec<Notice>, StoreError>;

    /// Postpones a notice until `next` and stores its `takeovers`, or deletes it. Returns
    /// false, and changes nothing, if it does not exist or its time is no longer
    /// `notice.due_at`.
    async fn settle_notice(
        &self,
        notice: &Notice,
        next: Option<Timestamp>,
    ) -> Result<bool, StoreError>;
}

macro_rules! forward {
    ($($wrapper:ident),+) => {$(
        #[async_trait]
        impl<S: EventStore + ?Sized> EventStore for $wrapper<S> {
            async fn list_events(
                &self,
                query: EventQuery<'_>,
                limit: u32,
            ) -> Result<Vec<StoredEvent>, StoreError> {
                (**self).list_events(query, limit).await
            }

            async fn due_partitions(&self, now: Timestamp) -> Result<Vec<EventLease>, StoreError> {
                (**self).due_partitions(now).await
            }

            async fn lease_partition(
                &self,
                last: EventLease,
                now: Timestamp,
                until: Timestamp,
            ) -> Result<Option<EventLease>, StoreError> {
                (**self).lease_partition(last, now, until).await
            }

            async fn due_events(
                &self,
                partition: u8,
                now: Timestamp,
                limit: u32,
            ) -> Result<Vec<StoredEvent>, StoreError> {
                (**self).due_events(partition, now, limit).await
            }

            async fn settle_events(
                &self,
                lease: EventLease,
                until: Timestamp,
                settled: Vec<DeliveryOutcome>,
            ) -> Result<bool, StoreError> {
                (**self).settle_events(lease, until, settled).await
            }

            async fn event_backlog(&self, limit: u32) -> Result<EventBacklog, StoreError> {
                (**self).event_backlog(limit).await
            }

            async fn settle_dead_letter(
                &self,
                account: &AccountId,
                number: i64,
                due_at: Option<Timestamp>,
            ) -> Result<bool, StoreError> {
                (**self).settle_dead_letter(account, number, due_at).await
            }

            async fn purge_events(
                &self,
                which: OldEvents,
                until: Timestamp,
                limit: u32,
            ) -> Result<Purged, StoreError> {
                (**self).purge_events(which, until, limit).await
            }

            async fn due_notices(
                &self,
                now: Timestamp,
                limit: u32,
            ) -> Result<Vec<Notice>, StoreError> {
                (**self).due_notices(now, limit).await
            }

            async fn settle_notice(
                &self,
                notice: &Notice,
                next: Option<Timestamp>,
            ) -> Result<bool, StoreError> {
                (**self).settle_notice(notice, next).await
            }
        }
    )+};
}
forward!(Arc, Box);
