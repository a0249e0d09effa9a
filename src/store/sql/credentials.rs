//! [`CredentialStore`] in SQL.

use async_trait::async_trait;

use crate::account::{Account, AccountId, Plan, TicketNonce};
use crate::api_key::{ApiKeyDigest, ApiKeyId};
use crate::clock::Timestamp;
use crate::fields::{Email, EmailKey, Name};
use crate::hash::PasswordHash;
use crate::issue::BoxError;
use crate::store::{
    AccountRecord, ApiKeyInfo, CredentialStore, KeyOwner, NewApiKey, StoreError, StoredPassword,
};

use crate::store::dialect::spelling::Clash;
use crate::store::dialect::statement::Statement;

use super::SqlStore;
use super::backend::Backend;
use super::change::{Applied, Change};
use super::statement::{Row, decode};

#[async_trait]
impl<B: Backend> CredentialStore for SqlStore<B> {
    async fn find_api_key(&self, digest: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError> {
        let rows = self.find(self.queries.find_api_key(digest)).await?;
        Ok(decode(rows, key_owner)?.pop())
    }

    async fn add_api_key(&self, new: NewApiKey) -> Result<bool, StoreError> {
        let confirm = self.queries.find_api_key(new.digest());
        let change = all_of([self.queries.add_api_key(&new)]);
        found(self.change(change, Some(confirm)).await?)
    }

    async fn list_api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyInfo>, StoreError> {
        decode(self.find(self.queries.list_api_keys(account)).await?, |mut row| key_info(&mut row))
    }

    async fn rotate_api_key(
        &self,
        old: &ApiKeyId,
        until: Timestamp,
        new: NewApiKey,
    ) -> Result<bool, StoreError> {
        let confirm = self.queries.find_api_key(new.digest());
        let expire = self.queries.expire_key(old, until, &new);
        let change = all_of([expire, self.queries.add_api_key(&new)]);
        found(self.change(change, Some(confirm)).await?)
    }

    async fn revoke_api_key(
        &self,
        account: &AccountId,
        key: &ApiKeyId,
    ) -> Result<bool, StoreError> {
        let change = all_of([self.queries.revoke_api_key(account, key)]);
        found(self.change(change, None).await?)
    }

    async fn purge_api_keys(&self, expired_at: Timestamp) -> Result<(), StoreError> {
        self.compare_clocks().await?;
        let change = all_of([self.queries.purge_api_keys(expired_at)]);
        self.change(change, None).await.map(drop)
    }

    async fn find_password(&self, key: &EmailKey) -> Result<Option<StoredPassword>, StoreError> {
        let rows = self.find(self.queries.find_password(key)).await?;
        Ok(decode(rows, stored_password)?.pop())
    }

    async fn renew_password_hash(
        &self,
        account: &AccountId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<bool, StoreError> {
        let change = all_of([self.queries.renew_password_hash(account, old, new)]);
        found(self.change(change, None).await?)
    }

    async fn find_account(&self, id: &AccountId) -> Result<Option<AccountRecord>, StoreError> {
        let rows = self.find(self.queries.find_account(id)).await?;
        Ok(decode(rows, |mut row| account_record(&mut row))?.pop())
    }

    async fn revoke_tokens(&self, account: &AccountId) -> Result<bool, StoreError> {
        let change = all_of([self.queries.revoke_tokens(account)]);
        found(self.change(change, None).await?)
    }
}

pub(super) fn all_of<const N: usize>(steps: [Statement; N]) -> Change {
    Change { steps: steps.into(), host: None }
}

/// Returns whether a change found its row. A key of an account that is being deleted has
/// none, and neither has one that was added by an earlier request.
fn found(applied: Applied) -> Result<bool, StoreError> {
    match applied {
        Applied::All => Ok(true),
        Applied::NotFound | Applied::Clash(Clash::Orphan | Clash::Retry) => Ok(false),
        Applied::Clash(_) => Err(StoreError::Failed("the digest of the key is taken".into())),
    }
}

fn key_owner(mut row: Row) -> Result<KeyOwner, BoxError> {
    let owner = KeyOwner::new(AccountId::from_store(row.text()?), row.optional_timestamp()?);
    let owner = owner.email_verified_at(row.optional_timestamp()?);
    Ok(owner.state(row.text()?.parse()?))
}

pub(super) fn key_info(row: &mut Row) -> Result<ApiKeyInfo, BoxError> {
    Ok(ApiKeyInfo {
        id: ApiKeyDigest::from_store(&row.bytes()?)?.key_id(),
        prefix: row.text()?,
        last_four: row.text()?,
        created_at: row.timestamp()?,
        expires_at: row.optional_timestamp()?,
    })
}

fn stored_password(mut row: Row) -> Result<StoredPassword, BoxError> {
    let account_id = AccountId::from_store(row.text()?);
    let phc = row.text()?;
    let pepper = row.optional_integer()?.map(u32::try_from).transpose()?;
    let stored = StoredPassword::new(account_id, PasswordHash::from_store(phc, pepper));
    let stored = stored.state(row.text()?.parse()?);
    Ok(stored.token_generation(row.integer()?))
}

pub(super) fn account_record(row: &mut Row) -> Result<AccountRecord, BoxError> {
    let id = AccountId::from_store(row.text()?);
    let email = Email::from_store(row.text()?, row.text()?);
    let name = row.optional_text()?.map(Name::from_store);
    let plan = Plan::from_store(row.text()?);
    let account = Account::new(id, email, name, plan);
    let record = AccountRecord::new(account, row.timestamp()?, row.integer()?);
    let record = record.email_verified_at(row.optional_timestamp()?);
    let record = record.state(row.text()?.parse()?, row.optional_timestamp()?);
    let record = record.email_unverified(row.optional_integer()? == Some(1));
    let nonce = row.optional_bytes()?.map(|nonce| nonce.try_into().map(TicketNonce::new));
    Ok(record.ticket_nonce(nonce.transpose().map_err(|_| "a nonce has 16 bytes")?))
}
