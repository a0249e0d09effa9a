//! [`EventStore`] in SQL.

use async_trait::async_trait;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::event::{Event, KeyCounts, Notice};
use crate::fields::Email;
use crate::issue::BoxError;
use crate::store::dialect::statement::Statement;
use crate::store::relay::believed;
use crate::store::{EventStore, StoreError};

use super::SqlStore;
use super::backend::Backend;
use super::change::Applied;
use super::credentials::all_of;
use super::event_queries::EventQueries;
use super::queries::{Find, Queries};
use super::statement::{Kind, Row, decode};

const EVENT: &[Kind] =
    &[Kind::Text, Kind::Integer, Kind::Text, Kind::Text, Kind::Integer, Kind::Text];

const NOTICE: &[Kind] = &[
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Integer,
    Kind::Integer,
    Kind::Integer,
    Kind::Integer,
    Kind::Integer,
];

#[async_trait]
impl<B: Backend> EventStore for SqlStore<B> {
    async fn list_events(
        &self,
        account: &AccountId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        let values = [account.as_str().into(), after.into(), i64::from(limit).into()];
        let statement = Statement::new(&self.queries.events.list, values);
        decode(self.find(Find { statement, columns: EVENT }).await?, |mut row| event(&mut row))
    }

    async fn purge_events(&self, until: Timestamp) -> Result<(), StoreError> {
        self.compare_clocks().await?;
        let EventQueries { purge, purge_notices, .. } = &self.queries.events;
        let steps = [purge, purge_notices]
            .map(|sql| Statement::new(sql, [until.as_millis().into()]).optional());
        self.change(all_of(steps), None).await.map(drop)
    }

    async fn due_notices(&self, now: Timestamp, limit: u32) -> Result<Vec<Notice>, StoreError> {
        let values =
            [now.as_millis().into(), i64::from(limit).into(), believed(now).as_millis().into()];
        let statement = Statement::new(&self.queries.events.due_notices, values);
        decode(self.find(Find { statement, columns: NOTICE }).await?, notice)
    }

    async fn settle_notice(
        &self,
        notice: &Notice,
        next: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let settle = self.queries.settle_notice(notice, next);
        Ok(self.change(all_of([settle]), None).await? == Applied::All)
    }
}

impl Queries {
    /// Deletes the data of an account's events, and its notices.
    pub(in crate::store) fn scrub_events(&self, account: &AccountId) -> [Statement; 2] {
        let of_account = |sql| Statement::new(sql, [account.as_str().into()]);
        [of_account(&self.events.scrub), of_account(&self.events.delete_notices)]
    }

    pub(in crate::store) fn add_notice(&self, notice: &Notice) -> Statement {
        let values = [
            notice.account_id.as_str().into(),
            notice.id.as_str().into(),
            notice.kind.as_str().into(),
            notice.to.as_str().into(),
            notice.to.key().as_str().into(),
            notice.api_keys.map(|keys| i64::from(keys.ended)).into(),
            notice.api_keys.map(|keys| i64::from(keys.kept)).into(),
            notice.created_at.as_millis().into(),
            notice.due_at.as_millis().into(),
            i64::from(notice.takeovers).into(),
        ];
        Statement::new(&self.events.add_notice, values)
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

fn notice(mut row: Row) -> Result<Notice, BoxError> {
    let (account_id, id) = (AccountId::from_store(row.text()?), row.text()?);
    let kind = row.text()?.parse()?;
    let to = Email::from_store(row.text()?, row.text()?);
    let api_keys = match (row.optional_integer()?, row.optional_integer()?) {
        (Some(ended), Some(kept)) => {
            Some(KeyCounts { ended: ended.try_into()?, kept: kept.try_into()? })
        }
        _ => None,
    };
    let notice = Notice::new(account_id, id, kind, to, row.timestamp()?).api_keys(api_keys);
    Ok(notice.due_at(row.timestamp()?).takeovers(row.integer()?.try_into()?))
}

pub(super) fn event(row: &mut Row) -> Result<Event, BoxError> {
    let account_id = AccountId::from_store(row.text()?);
    let (number, id) = (row.integer()?, row.text()?);
    let kind = row.text()?;
    Ok(Event::from_store(account_id, number, id, kind, row.timestamp()?, row.text()?))
}
