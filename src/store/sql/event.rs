//! [`EventStore`] in SQL.

use async_trait::async_trait;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::issue::BoxError;
use crate::store::dialect::statement::Statement;
use crate::store::{EventStore, StoreError};

use super::SqlStore;
use super::backend::Backend;
use super::credentials::all_of;
use super::queries::{Find, Queries};
use super::statement::{Kind, Row, decode};

const EVENT: &[Kind] =
    &[Kind::Text, Kind::Integer, Kind::Text, Kind::Text, Kind::Integer, Kind::Text];

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
        let purge = Statement::new(&self.queries.events.purge, [until.as_millis().into()]);
        self.change(all_of([purge.optional()]), None).await.map(drop)
    }
}

impl Queries {
    /// Deletes the data of an account's events.
    pub(in crate::store) fn scrub_events(&self, account: &AccountId) -> Statement {
        Statement::new(&self.events.scrub, [account.as_str().into()])
    }
}

pub(super) fn event(row: &mut Row) -> Result<Event, BoxError> {
    let account_id = AccountId::from_store(row.text()?);
    let (number, id) = (row.integer()?, row.text()?);
    let kind = row.text()?;
    Ok(Event::from_store(account_id, number, id, kind, row.timestamp()?, row.text()?))
}
