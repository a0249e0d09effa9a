//! [`VerificationStore`] in SQL.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::store::{StoreError, VerificationStore};

use super::SqlStore;
use super::backend::Backend;
use super::credentials::all_of;

#[async_trait]
impl<B: Backend> VerificationStore for SqlStore<B> {
    async fn is_ticket_used(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        let rows = self.find(self.queries.is_ticket_used(hash)).await?;
        Ok(!rows.is_empty())
    }

    async fn purge_tickets(&self, expired_at: Timestamp) -> Result<(), StoreError> {
        self.compare_clocks().await?;
        let change = all_of([self.queries.purge_tickets(expired_at)]);
        self.change(change, None).await.map(drop)
    }
}
