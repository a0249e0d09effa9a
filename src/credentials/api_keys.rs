//! Verification, rotation and revocation of API keys.

use std::time::Duration;

use crate::account::AccountId;
use crate::api_key::{ApiKey, ApiKeyId};
use crate::clock::Timestamp;
use crate::store::{ApiKeyInfo, KeyOwner, NewApiKey, StoreError};

use super::error::internal;
use super::{ApiKeyAuth, CredentialError, Credentials, IssuedApiKey, found_or_missing};

impl Credentials {
    /// Verifies an API key. A malformed key is rejected without a query. Verification never
    /// writes.
    ///
    /// # Errors
    /// Returns [`CredentialError::Rejected`] for an unknown, expired or revoked key, and
    /// another error if the store does not answer.
    pub async fn verify_api_key(&self, key: &str) -> Result<ApiKeyAuth, CredentialError> {
        let mut prefixes = self.context.accepted_prefixes.iter();
        let key = prefixes.find_map(|prefix| ApiKey::parse(key, prefix).ok());
        let digest = key.ok_or(CredentialError::Rejected)?.digest();
        let owner = match &self.cache {
            None => self.context.store.find_api_key(&digest).await?,
            Some(cache) => match cache.get(&digest, self.context.clock.monotonic()) {
                Ok(known) => known,
                Err(missed) => {
                    let found = self.context.store.find_api_key(&digest).await?;
                    cache.insert(missed, &digest, found.clone());
                    found
                }
            },
        };
        let KeyOwner { account_id, expires_at } = owner.ok_or(CredentialError::Rejected)?;
        if let Some(expires_at) = expires_at
            && self.now()? >= expires_at
        {
            return Err(CredentialError::Rejected);
        }
        Ok(ApiKeyAuth { account_id, key_id: digest.key_id(), credentials: self.clone() })
    }

    /// Returns all API keys of an account, the oldest first, including expired ones.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    pub async fn api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyInfo>, CredentialError> {
        Ok(self.context.store.list_api_keys(account).await?)
    }

    /// Issues another API key for an account, valid for `lifetime` or until it is revoked.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no such account,
    /// [`CredentialError::TooManyKeys`] if it has [as many valid keys as
    /// allowed](Self::with_max_api_keys), and another error if the store, clock or
    /// randomness fails.
    pub async fn issue_api_key(
        &self,
        account: &AccountId,
        lifetime: Option<Duration>,
    ) -> Result<IssuedApiKey, CredentialError> {
        let now = self.now()?;
        let keys = self.context.store.list_api_keys(account).await?;
        let is_valid = |key: &&ApiKeyInfo| key.expires_at.is_none_or(|end| end > now);
        if keys.iter().filter(is_valid).count() >= self.max_api_keys {
            return Err(CredentialError::TooManyKeys);
        }
        let (key, new) = self.mint_key(account, now, lifetime)?;
        let info = new.info();
        found_or_missing(self.context.store.add_api_key(new).await?)?;
        Ok(IssuedApiKey { key, info })
    }

    /// Issues an API key that replaces another one of the same account. The old key stays
    /// valid for the time of `grace`, so that its users can change over. The new one is
    /// valid for `lifetime` or until it is revoked.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if the account has no such valid key, and
    /// another error if the store, clock or randomness fails.
    pub async fn rotate_api_key(
        &self,
        account: &AccountId,
        key: &ApiKeyId,
        grace: Duration,
        lifetime: Option<Duration>,
    ) -> Result<IssuedApiKey, CredentialError> {
        let now = self.now()?;
        let until = now.plus(grace).map_err(internal)?;
        let (new_key, new) = self.mint_key(account, now, lifetime)?;
        let info = new.info();
        self.change(*key, self.context.store.rotate_api_key(key, until, new)).await?;
        Ok(IssuedApiKey { key: new_key, info })
    }

    /// Revokes an API key of `account`. It is rejected as soon as this returns.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if the account has no such key, and another
    /// error if the store does not answer.
    pub async fn revoke_api_key(
        &self,
        account: &AccountId,
        key: &ApiKeyId,
    ) -> Result<(), CredentialError> {
        self.change(*key, self.context.store.revoke_api_key(account, key)).await
    }

    /// Deletes the expired API keys of all accounts, so that lists stay short. Call it
    /// once a day.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    pub async fn purge_expired_api_keys(&self) -> Result<(), CredentialError> {
        Ok(self.context.store.purge_api_keys(self.now()?).await?)
    }

    fn mint_key(
        &self,
        account: &AccountId,
        now: Timestamp,
        lifetime: Option<Duration>,
    ) -> Result<(ApiKey, NewApiKey), CredentialError> {
        let expires_at = lifetime.map(|lifetime| now.plus(lifetime)).transpose();
        let expires_at = expires_at.map_err(internal)?;
        let key =
            ApiKey::mint(&self.context.api_key_prefix, &mut self.draw()?).map_err(internal)?;
        let new = NewApiKey::of(&key, account.clone(), now, expires_at);
        Ok((key, new))
    }

    /// Changes a key. The cache keeps nothing of it until the store has answered.
    async fn change(
        &self,
        key: ApiKeyId,
        change: impl Future<Output = Result<bool, StoreError>>,
    ) -> Result<(), CredentialError> {
        if let Some(cache) = &self.cache {
            cache.changing(key, self.context.clock.monotonic());
        }
        let changed = change.await;
        if let (Some(cache), Ok(_)) = (&self.cache, &changed) {
            cache.changed(key);
        }
        found_or_missing(changed?)
    }
}
