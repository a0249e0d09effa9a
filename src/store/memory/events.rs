//! [`EventStore`] in memory.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::event::{Notice, PARTITIONS};
use crate::store::contract::{
    DeliveryOutcome, DeliveryState, EventBacklog, EventLease, EventQuery, EventStore, OldEvents,
    Purged, StoreError, StoredEvent,
};

use super::rows::{EventRow, Lease, is_past};
use super::tables::Tables;
use super::{MemoryStore, limit, takes_one};

impl Tables {
    fn lease(&mut self, partition: u8) -> &mut Lease {
        self.leases.entry(partition).or_default()
    }

    /// Returns the first event of each account that is waiting or stopped, if it is due.
    fn due(&self, now: Timestamp) -> impl Iterator<Item = &EventRow> {
        let mut firsts: HashMap<&AccountId, &EventRow> = HashMap::new();
        for row in self.events.iter().filter(|row| !row.state.is_done()) {
            let first = firsts.entry(row.event.account_id()).or_insert(row);
            if row.event.number() < first.event.number() {
                *first = row;
            }
        }
        let is_due =
            move |row: &&EventRow| row.state == DeliveryState::Waiting && is_past(row.due_at, now);
        firsts.into_values().filter(is_due)
    }
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn list_events(
        &self,
        query: EventQuery<'_>,
        rows: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        Ok(self.with(|tables| {
            let mut found: Vec<&EventRow> = match query {
                EventQuery::OfAccount { account, after } => {
                    let is_it = |row: &&EventRow| {
                        row.event.account_id() == account && row.event.number() > after
                    };
                    tables.events.iter().filter(is_it).collect()
                }
                EventQuery::GivenUp { after } => {
                    let after = after.map(|last| (last.event.created_at(), last.event.id()));
                    let is_later = |row: &&EventRow| after.is_none_or(|last| row.place() > last);
                    let dead = tables.events.iter().filter(|row| row.is_dead());
                    dead.filter(is_later).collect()
                }
            };
            if let EventQuery::GivenUp { .. } = query {
                found.sort_by_key(|row| row.place());
            }
            found.into_iter().take(limit(rows)).map(EventRow::stored).collect()
        }))
    }

    async fn due_partitions(&self, now: Timestamp) -> Result<Vec<EventLease>, StoreError> {
        Ok(self.with(|tables| {
            let due: HashSet<u8> = tables.due(now).map(|row| row.partition).collect();
            let expired = (0..PARTITIONS).filter_map(|partition| {
                let Lease { fence, expires_at } = *tables.lease(partition);
                let is_due = due.contains(&partition) && is_past(expires_at, now);
                is_due.then_some(EventLease { partition, fence })
            });
            expired.collect()
        }))
    }

    async fn lease_partition(
        &self,
        last: EventLease,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<EventLease>, StoreError> {
        Ok(self.with(|tables| {
            let lease = tables.lease(last.partition);
            if lease.fence != last.fence || !is_past(lease.expires_at, now) {
                return None;
            }
            *lease = Lease { fence: last.fence + 1, expires_at: until };
            Some(EventLease { fence: lease.fence, ..last })
        }))
    }

    async fn due_events(
        &self,
        partition: u8,
        now: Timestamp,
        rows: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        Ok(self.with(|tables| {
            let due = tables.due(now).filter(|row| row.partition == partition);
            let mut due: Vec<_> = due.collect();
            due.sort_by_key(|row| (row.due_at, row.event.id()));
            due.into_iter().take(limit(rows)).map(EventRow::stored).collect()
        }))
    }

    async fn settle_events(
        &self,
        lease: EventLease,
        until: Timestamp,
        settled: Vec<DeliveryOutcome>,
    ) -> Result<bool, StoreError> {
        Ok(self.with(|tables| {
            let held = tables.lease(lease.partition);
            if held.fence != lease.fence {
                return false;
            }
            held.expires_at = until;
            for ended in settled {
                let is_it = |row: &&mut EventRow| {
                    let event = &row.event;
                    (event.account_id(), event.number()) == (&ended.account_id, ended.number)
                };
                if let Some(row) = tables.events.iter_mut().find(is_it) {
                    (row.state, row.attempts) = (ended.state, ended.attempts);
                    row.due_at = ended.due_at;
                }
            }
            true
        }))
    }

    async fn event_backlog(&self, rows: u32) -> Result<EventBacklog, StoreError> {
        Ok(self.with(|tables| {
            let in_state = |state| tables.events.iter().filter(move |row| row.state == state);
            let oldest = in_state(DeliveryState::Waiting).map(|row| row.event.created_at()).min();
            let count = |state| in_state(state).take(limit(rows)).map(|_| 1).sum();
            let (waiting, stopped) = (count(DeliveryState::Waiting), count(DeliveryState::Stopped));
            EventBacklog::new(waiting, oldest, stopped)
        }))
    }

    async fn settle_dead_letter(
        &self,
        account: &AccountId,
        number: i64,
        due_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        Ok(self.with(|tables| {
            let mut rows = tables.events.iter_mut();
            let is_it = |row: &&mut EventRow| {
                row.event.account_id() == account && row.event.number() == number
            };
            match (rows.find(is_it), due_at) {
                (Some(row), Some(due_at)) if row.is_dead() => {
                    (row.state, row.attempts) = (DeliveryState::Waiting, 0);
                    row.due_at = due_at;
                    true
                }
                (Some(row), None) if row.state == DeliveryState::Stopped => {
                    row.state = DeliveryState::Skipped;
                    true
                }
                _ => false,
            }
        }))
    }

    async fn purge_events(
        &self,
        which: OldEvents,
        until: Timestamp,
        limit: u32,
    ) -> Result<Purged, StoreError> {
        Ok(self.with(|tables| {
            let (mut events, mut notices) = (limit, limit);
            let is_old = |row: &EventRow| {
                let is_one = which == OldEvents::All || row.state == DeliveryState::Delivered;
                is_one && row.event.created_at() <= until
            };
            tables.events.retain(|row| !(is_old(row) && takes_one(&mut events)));
            if which == OldEvents::All {
                let is_old = |notice: &Notice| notice.created_at <= until;
                tables.notices.retain(|it| !(is_old(it) && takes_one(&mut notices)));
            }
            let rows = u64::from(limit - events) + u64::from(limit - notices);
            Purged::new(rows, limit)
        }))
    }

    async fn due_notices(&self, now: Timestamp, rows: u32) -> Result<Vec<Notice>, StoreError> {
        Ok(self.with(|tables| {
            let mut due = tables.notices.clone();
            due.retain(|notice| is_past(notice.due_at, now));
            due.sort_by_key(|notice| notice.due_at);
            due.truncate(limit(rows));
            due
        }))
    }

    async fn settle_notice(
        &self,
        notice: &Notice,
        next: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        Ok(self.with(|tables| {
            let is_it = |kept: &Notice| (&kept.id, kept.due_at) == (&notice.id, notice.due_at);
            let Some(place) = tables.notices.iter().position(is_it) else { return false };
            let kept = tables.notices.swap_remove(place);
            let takeovers = notice.takeovers;
            tables.notices.extend(next.map(|next| kept.due_at(next).takeovers(takeovers)));
            true
        }))
    }
}
