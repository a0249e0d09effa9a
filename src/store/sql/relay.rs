//! [`RelayStore`] in SQL.

use async_trait::async_trait;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::issue::BoxError;
use crate::store::dialect::statement::{Statement, Value};
use crate::store::relay::believed;
use crate::store::{
    DeliveryState, EventBacklog, EventLease, RelayStore, Settled, StoreError, UndeliveredEvent,
};

use super::SqlStore;
use super::backend::Backend;
use super::change::{Applied, Change};
use super::credentials::all_of;
use super::event::event;
use super::queries::{Find, Queries};
use super::statement::{Kind, Row, decode};

const UNDELIVERED: &[Kind] = &[
    Kind::Text,
    Kind::Integer,
    Kind::Text,
    Kind::Text,
    Kind::Integer,
    Kind::Text,
    Kind::Integer,
    Kind::Text,
];

fn millis(moment: Timestamp) -> Value {
    moment.as_millis().into()
}

#[async_trait]
impl<B: Backend> RelayStore for SqlStore<B> {
    async fn due_partitions(&self, now: Timestamp) -> Result<Vec<EventLease>, StoreError> {
        let statement =
            Statement::new(&self.queries.events.due_partitions, [now, believed(now)].map(millis));
        let columns = &[Kind::Integer, Kind::Integer];
        decode(self.find(Find { statement, columns }).await?, lease)
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
        let is_leased = self.change(all_of([lease]), None).await? == Applied::All;
        Ok(is_leased.then_some(EventLease { fence: last.fence + 1, ..last }))
    }

    async fn due_events(
        &self,
        partition: u8,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<UndeliveredEvent>, StoreError> {
        let values = [
            i64::from(partition).into(),
            millis(now),
            i64::from(limit).into(),
            millis(believed(now)),
        ];
        let statement = Statement::new(&self.queries.events.due, values);
        decode(self.find(Find { statement, columns: UNDELIVERED }).await?, undelivered)
    }

    async fn settle_events(
        &self,
        lease: EventLease,
        until: Timestamp,
        settled: Vec<Settled>,
    ) -> Result<bool, StoreError> {
        let mut steps = vec![self.queries.renew_lease(lease, until)];
        steps.extend(settled.iter().map(|ended| self.queries.settle_event(ended).optional()));
        let applied = self.change(Change { steps, host: None }, None).await?;
        Ok(applied == Applied::All)
    }

    async fn event_backlog(&self) -> Result<EventBacklog, StoreError> {
        let statement = Statement::new(&self.queries.events.backlog, []);
        let columns = &[Kind::Integer, Kind::Integer, Kind::Integer];
        let rows = decode(self.find(Find { statement, columns }).await?, backlog)?;
        Ok(rows.first().copied().unwrap_or_default())
    }

    async fn list_dead_letters(&self, limit: u32) -> Result<Vec<UndeliveredEvent>, StoreError> {
        let statement =
            Statement::new(&self.queries.events.list_dead_letters, [i64::from(limit).into()]);
        decode(self.find(Find { statement, columns: UNDELIVERED }).await?, undelivered)
    }

    async fn settle_dead_letter(
        &self,
        account: &AccountId,
        number: i64,
        due_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let (account, number) = (account.as_str().into(), number.into());
        let settle = match due_at {
            Some(due_at) => {
                let values = [account, number, due_at.as_millis().into()];
                Statement::new(&self.queries.events.revive_dead_letter, values)
            }
            None => Statement::new(&self.queries.events.skip_dead_letter, [account, number]),
        };
        Ok(self.change(all_of([settle]), None).await? == Applied::All)
    }

    async fn purge_delivered_events(&self, until: Timestamp) -> Result<(), StoreError> {
        self.compare_clocks().await?;
        let purge =
            Statement::new(&self.queries.events.purge_delivered, [until.as_millis().into()]);
        self.change(all_of([purge.optional()]), None).await.map(drop)
    }
}

impl Queries {
    fn renew_lease(&self, lease: EventLease, until: Timestamp) -> Statement {
        let partition = i64::from(lease.partition);
        let values = [partition.into(), lease.fence.into(), until.as_millis().into()];
        Statement::new(&self.events.renew_lease, values)
    }

    fn settle_event(&self, ended: &Settled) -> Statement {
        let values = [
            ended.event_id.as_str().into(),
            ended.state.as_str().into(),
            i64::from(ended.attempts).into(),
            ended.due_at.as_millis().into(),
        ];
        Statement::new(&self.events.settle, values)
    }
}

fn lease(mut row: Row) -> Result<EventLease, BoxError> {
    Ok(EventLease { partition: row.integer()?.try_into()?, fence: row.integer()? })
}

fn undelivered(mut row: Row) -> Result<UndeliveredEvent, BoxError> {
    let event = event(&mut row)?;
    let attempts = row.integer()?.try_into()?;
    let state: DeliveryState = row.text()?.parse()?;
    Ok(UndeliveredEvent::new(event, attempts, state))
}

fn backlog(mut row: Row) -> Result<EventBacklog, BoxError> {
    let waiting = row.integer()?.try_into()?;
    let oldest = row.optional_timestamp()?;
    Ok(EventBacklog::new(waiting, oldest, row.integer()?.try_into()?))
}
