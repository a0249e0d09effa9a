//! [`EventStore`] in SQL.

use std::iter;

use async_trait::async_trait;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::event::Notice;
use crate::store::contract::{
    EventBacklog, EventLease, EventQuery, EventStore, OldEvents, Purged, Settled, StoreError,
    StoredEvent, believed,
};
use crate::store::dialect::statement::{Statement, Value};

use super::SqlStore;
use super::backend::Backend;
use super::change::{Applied, Change};
use super::queries::{Find, Queries};
use super::rows;
use super::statement::Kind::{self, Integer, Text};
use super::statement::decode;

const EVENT: &[Kind] = &[Text, Integer, Text, Text, Integer, Text, Integer, Text, Integer];
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
                let values = [limit, millis(last.due_at), last.event.id().into()];
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
        let values = [
            i64::from(partition).into(),
            millis(now),
            i64::from(limit).into(),
            millis(believed(now)),
        ];
        let statement = Statement::new(&self.queries.events.due, values);
        decode(self.find(Find { statement, columns: EVENT }).await?, rows::event)
    }

    async fn settle_events(
        &self,
        lease: EventLease,
        until: Timestamp,
        settled: Vec<Settled>,
    ) -> Result<bool, StoreError> {
        let renew = iter::once(self.queries.renew_lease(lease, until));
        let ended = settled.iter().map(|ended| self.queries.settle_event(ended).optional());
        self.settles(renew.chain(ended)).await
    }

    async fn event_backlog(&self) -> Result<EventBacklog, StoreError> {
        let statement = Statement::new(&self.queries.events.backlog, []);
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
        let (account, number) = (account.as_str().into(), number.into());
        let settle = match due_at {
            Some(due_at) => {
                let values = [account, number, due_at.as_millis().into()];
                Statement::new(&self.queries.events.revive_dead_letter, values)
            }
            None => Statement::new(&self.queries.events.skip_dead_letter, [account, number]),
        };
        self.settles([settle]).await
    }

    async fn purge_events(
        &self,
        which: OldEvents,
        until: Timestamp,
        limit: u32,
    ) -> Result<Purged, StoreError> {
        self.compare_clocks().await?;
        let sql = &self.queries.events;
        let delete = |sql| Statement::new(sql, [millis(until), i64::from(limit).into()]).optional();
        match which {
            OldEvents::Delivered => self.delete([delete(&sql.purge_delivered)], limit).await,
            OldEvents::All => {
                self.delete([delete(&sql.purge), delete(&sql.purge_notices)], limit).await
            }
        }
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

    fn settle_notice(&self, notice: &Notice, next: Option<Timestamp>) -> Statement {
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
