//! [`EventStore`] in SQL.

use std::iter;
use std::time::Duration;

use async_trait::async_trait;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::event::{Event, Notice, partition_of};
use crate::store::contract::{
    DeliveryOutcome, DeliveryState, EventBacklog, EventLease, EventQuery, EventStore, OldEvents,
    Purged, StoreError, StoredEvent, believed,
};
use crate::store::dialect::statement::{Statement, Value};

use super::SqlStore;
use super::backend::Backend;
use super::change::{Applied, Change};
use super::queries::{Find, Queries, deletion};
use super::rows;
use super::statement::Kind::{self, Integer, Text};
use super::statement::decode;

const EVENT: &[Kind] = &[Text, Integer, Text, Text, Integer, Text, Integer, Text, Integer];
/// An event, and whether it waits for an earlier one.
const DUE: &[Kind] = &[Text, Integer, Text, Text, Integer, Text, Integer, Text, Integer, Integer];
/// The fewest events that are queried together, of which some may wait for earlier ones.
const LOOKED_AT: u32 = 64;
/// The time after which an event that waits for an earlier one is due again.
const LATER: Duration = Duration::from_hours(6);
/// The most queries of due events that may find none but those that wait for earlier ones.
const LOOKS: u32 = 50;

const NOTICE: &[Kind] =
    &[Text, Text, Text, Text, Text, Integer, Integer, Integer, Integer, Integer];

fn millis(moment: Timestamp) -> Value {
    moment.as_millis().into()
}

#[async_trait]
impl<B: Backend> EventStore for SqlStore<B> {
    async fn list_events(
        &self,
        query: EventQuery<'_>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let (sql, limit) = (&self.queries.events, i64::from(limit).into());
        let statement = match query {
            EventQuery::OfAccount { account, after } => {
                Statement::new(&sql.list, [account.as_str().into(), after.into(), limit])
            }
            EventQuery::GivenUp { after: None } => Statement::new(&sql.given_up, [limit]),
            EventQuery::GivenUp { after: Some(last) } => {
                let values = [limit, millis(last.event.created_at()), last.event.id().into()];
                Statement::new(&sql.given_up_after, values)
            }
        };
        decode(self.find(Find { statement, columns: EVENT }).await?, rows::event)
    }

    async fn due_partitions(&self, now: Timestamp) -> Result<Vec<EventLease>, StoreError> {
        let statement =
            Statement::new(&self.queries.events.due_partitions, [now, believed(now)].map(millis));
        let columns = &[Kind::Integer, Kind::Integer];
        decode(self.find(Find { statement, columns }).await?, rows::lease)
    }

    async fn lease_partition(
        &self,
        last: EventLease,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<EventLease>, StoreError> {
        let values = [
            i64::from(last.partition).into(),
            last.fence.into(),
            now.as_millis().into(),
            until.as_millis().into(),
            millis(believed(now)),
        ];
        let lease = Statement::new(&self.queries.events.lease_partition, values);
        let is_leased = self.settles([lease]).await?;
        Ok(is_leased.then_some(EventLease { fence: last.fence + 1, ..last }))
    }

    async fn due_events(
        &self,
        partition: u8,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let looked_at = limit.saturating_mul(2).max(LOOKED_AT);
        for _ in 0..LOOKS {
            let values = [
                i64::from(partition).into(),
                millis(now),
                i64::from(looked_at).into(),
                millis(believed(now)),
            ];
            let statement = Statement::new(&self.queries.events.due, values);
            let found = self.find(Find { statement, columns: DUE }).await?;
            let is_all = found.len() < looked_at as usize;
            let (mut due, mut later) = (Vec::new(), Vec::new());
            for (event, is_later) in decode(found, rows::due_event)? {
                if is_later { &mut later } else { &mut due }.push(event);
            }
            if !later.is_empty() {
                self.postpone_later(partition, now, &later).await?;
            }
            if is_all || !due.is_empty() {
                due.truncate(limit as usize);
                return Ok(due);
            }
        }
        Ok(Vec::new())
    }

    async fn settle_events(
        &self,
        lease: EventLease,
        until: Timestamp,
        settled: Vec<DeliveryOutcome>,
    ) -> Result<bool, StoreError> {
        let renew = iter::once(self.queries.renew_lease(lease, until));
        let ended = settled.iter().map(|ended| self.queries.settle_event(ended).optional());
        let is_done = |ended: &&DeliveryOutcome| ended.state.is_done();
        let next =
            settled.iter().filter(is_done).map(|it| self.queries.advance_next(&it.account_id));
        self.settles(renew.chain(ended).chain(next)).await
    }

    async fn event_backlog(&self, limit: u32) -> Result<EventBacklog, StoreError> {
        let statement = Statement::new(&self.queries.events.backlog, [i64::from(limit).into()]);
        let columns = &[Kind::Integer, Kind::Integer, Kind::Integer];
        let rows = decode(self.find(Find { statement, columns }).await?, rows::backlog)?;
        Ok(rows.first().copied().unwrap_or_default())
    }

    async fn settle_dead_letter(
        &self,
        account: &AccountId,
        number: i64,
        due_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let partition = partition_of(account);
        let (id, number) = (account.as_str().into(), number.into());
        let hold = self.queries.hold_order(partition);
        let Some(due_at) = due_at else {
            let skip = Statement::new(&self.queries.events.skip_dead_letter, [id, number]);
            return self.settles([hold, skip, self.queries.advance_next(account)]).await;
        };
        let values = [id, number, due_at.as_millis().into()];
        let revive = Statement::new(&self.queries.events.revive_dead_letter, values);
        self.settles([hold, revive]).await
    }

    async fn purge_events(
        &self,
        which: OldEvents,
        until: Timestamp,
        limit: u32,
    ) -> Result<Purged, StoreError> {
        self.compare_clocks().await?;
        let sql = &self.queries.events;
        let states = match which {
            OldEvents::Delivered => &[DeliveryState::Delivered][..],
            OldEvents::All => &DeliveryState::ALL,
        };
        let (mut rows, mut left) = (0, limit);
        for state in states {
            let values = [millis(until), state.as_str().into()];
            rows += self.delete(deletion(&sql.purge, left, values), left).await?.rows;
            left = limit.saturating_sub(u32::try_from(rows).unwrap_or(limit));
        }
        if which == OldEvents::All {
            let delete = deletion(&sql.purge_notices, left, [millis(until)]);
            rows += self.delete(delete, left).await?.rows;
        }
        Ok(Purged::new(rows, limit))
    }

    async fn due_notices(&self, now: Timestamp, limit: u32) -> Result<Vec<Notice>, StoreError> {
        let values = [millis(now), i64::from(limit).into(), millis(believed(now))];
        let statement = Statement::new(&self.queries.events.due_notices, values);
        decode(self.find(Find { statement, columns: NOTICE }).await?, rows::notice)
    }

    async fn settle_notice(
        &self,
        notice: &Notice,
        next: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        self.settles([self.queries.settle_notice(notice, next)]).await
    }
}

impl<B: Backend> SqlStore<B> {
    /// Takes events that wait for earlier ones of their accounts out of those that are due, until
    /// the earlier ones are done: each is found once, and not every second.
    ///
    /// If that is ever missed, as after the earlier ones were purged, it is due again after
    /// [`LATER`].
    async fn postpone_later(
        &self,
        partition: u8,
        now: Timestamp,
        later: &[StoredEvent],
    ) -> Result<(), StoreError> {
        let until = now.plus(LATER).unwrap_or(Timestamp::MAX);
        let hold = iter::once(self.queries.hold_order(partition));
        let steps = later.iter().map(|it| self.queries.postpone_later(&it.event, until));
        self.settles(hold.chain(steps)).await.map(drop)
    }

    /// Applies statements, and returns whether they found what they settle.
    async fn settles(
        &self,
        steps: impl IntoIterator<Item = Statement>,
    ) -> Result<bool, StoreError> {
        let change = Change { steps: steps.into_iter().collect(), host: None };
        Ok(matches!(self.apply(change, None).await?, Applied::All(_)))
    }
}

impl Queries {
    pub(super) fn renew_lease(&self, lease: EventLease, until: Timestamp) -> Statement {
        let partition = i64::from(lease.partition);
        let values = [partition.into(), lease.fence.into(), until.as_millis().into()];
        Statement::new(&self.events.renew_lease, values)
    }

    pub(super) fn hold_order(&self, partition: u8) -> Statement {
        Statement::new(&self.events.hold_order, [i64::from(partition).into()])
    }

    pub(super) fn postpone_later(&self, event: &Event, until: Timestamp) -> Statement {
        let values = [event.account_id().as_str().into(), event.number().into(), millis(until)];
        Statement::new(&self.events.postpone_later, values).optional()
    }

    /// Lets the first event of an account that waits be due, if it was postponed behind earlier
    /// ones.
    pub(super) fn advance_next(&self, account: &AccountId) -> Statement {
        Statement::new(&self.events.advance_next, [account.as_str().into()]).optional()
    }

    pub(super) fn settle_event(&self, ended: &DeliveryOutcome) -> Statement {
        let values = [
            ended.account_id.as_str().into(),
            ended.number.into(),
            ended.state.as_str().into(),
            i64::from(ended.attempts).into(),
            ended.due_at.as_millis().into(),
        ];
        Statement::new(&self.events.settle, values)
    }

    pub(super) fn settle_notice(&self, notice: &Notice, next: Option<Timestamp>) -> Statement {
        let (account, id) = (notice.account_id.as_str().into(), notice.id.as_str().into());
        let due_at = notice.due_at.as_millis().into();
        match next {
            Some(next) => {
                let takeovers = i64::from(notice.takeovers).into();
                let values = [account, id, due_at, next.as_millis().into(), takeovers];
                Statement::new(&self.events.postpone_notice, values)
            }
            None => Statement::new(&self.events.delete_notice, [account, id, due_at]),
        }
    }
}
