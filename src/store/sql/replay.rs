//! [`ReplayStore`] in SQL.

use async_trait::async_trait;

use crate::account::AccountId;
use crate::api_key::ApiKeyDigest;
use crate::fields::EmailKey;
use crate::hash::PasswordHash;
use crate::idempotency::Receipt;
use crate::issue::BoxError;
use crate::store::{ReplayStore, RetriedAccount, RetriedApiKey, StoreError, StoredSignup};

use super::SqlStore;
use super::backend::Backend;
use super::credentials::{account_record, key_info};
use super::statement::{Row, decode};

#[async_trait]
impl<B: Backend> ReplayStore for SqlStore<B> {
    async fn find_signup(&self, key: &EmailKey) -> Result<Option<StoredSignup>, StoreError> {
        let rows = self.find(self.queries.find_signup(key)).await?;
        Ok(decode(rows, stored_signup)?.pop())
    }

    async fn find_account_of_key(
        &self,
        digest: &ApiKeyDigest,
    ) -> Result<Option<RetriedAccount>, StoreError> {
        let rows = self.find(self.queries.find_account_of_key(digest)).await?;
        Ok(decode(rows, retried_account)?.pop())
    }

    async fn find_retried_key(
        &self,
        account: &AccountId,
        tag: &[u8; 32],
    ) -> Result<Option<RetriedApiKey>, StoreError> {
        let rows = self.find(self.queries.find_retried_key(account, tag)).await?;
        Ok(decode(rows, retried_api_key)?.pop())
    }
}

fn stored_signup(mut row: Row) -> Result<StoredSignup, BoxError> {
    let phc = row.text()?;
    let pepper = row.optional_integer()?.map(u32::try_from).transpose()?;
    let created_at = row.timestamp()?;
    let receipt = receipt(&mut row)?;
    Ok(StoredSignup::new(receipt, created_at, PasswordHash::from_store(phc, pepper)))
}

fn retried_account(mut row: Row) -> Result<RetriedAccount, BoxError> {
    let record = account_record(&mut row)?;
    Ok(RetriedAccount::new(record, row.optional_timestamp()?))
}

fn retried_api_key(mut row: Row) -> Result<RetriedApiKey, BoxError> {
    let info = key_info(&mut row)?;
    let receipt = receipt(&mut row)?.ok_or("the row has no receipt")?;
    Ok(RetriedApiKey::new(receipt, info))
}

fn receipt(row: &mut Row) -> Result<Option<Receipt>, BoxError> {
    let parts = (row.optional_bytes()?, row.optional_integer()?, row.optional_bytes()?);
    let (Some(nonce), Some(version), Some(tag)) = parts else {
        return Ok(None);
    };
    Ok(Some(Receipt::from_store(&nonce, version, &tag)?))
}
