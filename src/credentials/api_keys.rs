//! Verification, rotation and revocation of API keys.

use std::future::ready;
use std::time::Duration;

use crate::account::AccountId;
use crate::api_key::{ApiKey, ApiKeyDigest, ApiKeyId};
use crate::clock::Timestamp;
use crate::idempotency::{IdempotencyKey, Scope, WINDOW_MILLIS, is_recent};
use crate::issue::InvalidValue;
use crate::store::{ApiKeyInfo, KeyOwner, KeyQuery, NewApiKey, StoredApiKey};

use super::key_change::KeyChange;
use super::{ApiKeyAuth, CredentialError, Credentials, IssuedApiKey, TokenOwner, found_or_missing};

/// The longest name of an API key, in characters.
const MAX_NAME_CHARS: usize = 100;
const INVALID_NAME: InvalidValue = InvalidValue::new(
    "invalid name of an API key: needs 1 to 100 characters, none of them a control character",
);

/// The name and the lifetime of an API key, and the idempotency key of the request for it.
///
/// ```
/// use signup::credentials::ApiKeyOptions;
/// use signup::idempotency::{IdempotencyKey, ReplaySecret};
/// use signup::store::MemoryStore;
/// use signup::{SignupRequest, SignupService};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let service = SignupService::builder(MemoryStore::default())
///     .jwt_secret(&[7; 32])
///     .retry_safe(ReplaySecret::new(&[8; 32])?)
///     .build()?;
/// let signup = service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
///
/// let key = IdempotencyKey::new("8e03978e-40d5-43dd-bc93-6894a57f9324")?;
/// let options = ApiKeyOptions::new().idempotency_key(key);
/// let credentials = service.credentials();
/// let issued = credentials.issue_api_key_with(signup.account().id(), &options).await?;
/// let again = credentials.issue_api_key_with(signup.account().id(), &options).await?;
/// assert_eq!(again.key().reveal(), issued.key().reveal());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct ApiKeyOptions {
    name: Option<String>,
    lifetime: Option<Duration>,
    idempotency_key: Option<IdempotencyKey>,
}

impl ApiKeyOptions {
    /// Creates options for a key that is valid until it is revoked, without retries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name by which its owner knows the key: 1 to 100 characters, none of them a control
    /// character. Default: none; a rotated key passes its name on.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] for any other text.
    pub fn name(mut self, name: &str) -> Result<Self, InvalidValue> {
        let is_long = !(1..=MAX_NAME_CHARS).contains(&name.chars().count());
        if is_long || name.contains(char::is_control) {
            return Err(INVALID_NAME);
        }
        self.name = Some(name.to_owned());
        Ok(self)
    }

    /// Sets how long the key is valid.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Sets the idempotency key, by which a retry gets the same API key. A service that is
    /// not [`retry_safe`](crate::SignupServiceBuilder::retry_safe) ignores it.
    pub fn idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.idempotency_key = Some(key);
        self
    }
}

impl Credentials {
    /// Verifies an API key. A malformed key is rejected without a query. Verification never
    /// writes.
    ///
    /// # Errors
    /// Returns [`CredentialError::Rejected`] for an unknown, expired or revoked key, or one
    /// of an account that is not active, and
    /// another error if the store does not answer.
    pub async fn verify_api_key(&self, key: &str) -> Result<ApiKeyAuth, CredentialError> {
        let digest = self.digest(key).ok_or(CredentialError::Rejected)?;
        let owner = match &self.cache {
            None => self.store().find_key_owner(&digest).await?,
            Some(cache) => match cache.get(&digest, self.core().clock.monotonic()) {
                Ok(known) => known,
                Err(missed) => {
                    let found = self.store().find_key_owner(&digest).await?;
                    cache.insert(missed, &digest, found.clone());
                    found
                }
            },
        };
        let owner = owner.ok_or(CredentialError::Rejected)?;
        let KeyOwner { account_id, expires_at, email_verified_at, state } = owner;
        if !state.admits_api_keys() {
            return Err(CredentialError::Rejected);
        }
        if let Some(expires_at) = expires_at
            && self.core().now()? >= expires_at
        {
            return Err(CredentialError::Rejected);
        }
        let (key_id, credentials) = (digest.key_id(), self.clone());
        Ok(ApiKeyAuth { account_id, key_id, email_verified_at, credentials })
    }

    /// Returns the digest of a key that has a form of this service's.
    fn digest(&self, key: &str) -> Option<ApiKeyDigest> {
        let own = self.core().prefixes().find_map(|prefix| ApiKey::parse(key, prefix).ok());
        let digest = own.map(|key| key.digest());
        #[cfg(feature = "foreign-credentials")]
        if digest.is_none() {
            return self.core().foreign_keys.iter().find_map(|keys| keys.digest(key).ok());
        }
        digest
    }

    /// Returns all API keys of an account, the oldest first, including expired ones.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    pub async fn api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyInfo>, CredentialError> {
        let keys = self.store().list_api_keys(KeyQuery::of(account)).await?;
        Ok(keys.into_iter().map(|key| key.info).collect())
    }

    /// Issues another API key for the owner of an account, valid for `lifetime` or until it is
    /// revoked: for the presenter of a token, a [`Login`](super::Login), or an account by its
    /// id.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if the account does not exist,
    /// [`CredentialError::Rejected`] if its tokens were revoked since the owner was verified,
    /// [`CredentialError::TooManyKeys`] if it has [as many valid keys as
    /// allowed](Self::with_max_api_keys), and another error if the store, clock or
    /// randomness fails.
    pub async fn issue_api_key<'a>(
        &self,
        owner: impl Into<TokenOwner<'a>>,
        lifetime: Option<Duration>,
    ) -> Result<IssuedApiKey, CredentialError> {
        let options = ApiKeyOptions { lifetime, ..ApiKeyOptions::default() };
        self.issue_api_key_with(owner, &options).await
    }

    /// Issues another API key like [`issue_api_key`](Self::issue_api_key), so that the
    /// request can be retried.
    ///
    /// # Errors
    /// Fails like [`issue_api_key`](Self::issue_api_key), and with
    /// [`CredentialError::Conflict`] if the idempotency key was used for another name or
    /// lifetime, more than 24 hours ago, or for a key that is no longer valid.
    pub async fn issue_api_key_with<'a>(
        &self,
        owner: impl Into<TokenOwner<'a>>,
        options: &ApiKeyOptions,
    ) -> Result<IssuedApiKey, CredentialError> {
        let owner = owner.into();
        let account = owner.account;
        let scope = Scope::IssueKey(account);
        if let Some(replayed) = self.replay_key(scope, account, options).await? {
            return Ok(replayed);
        }
        match self.issue_new_key(scope, owner, options).await {
            Err(refusal @ (CredentialError::NotFound | CredentialError::TooManyKeys)) => {
                // An equal request may have been faster.
                self.replay_key(scope, account, options).await?.ok_or(refusal)
            }
            issued => issued,
        }
    }

    async fn issue_new_key(
        &self,
        scope: Scope<'_>,
        TokenOwner { account, generation }: TokenOwner<'_>,
        options: &ApiKeyOptions,
    ) -> Result<IssuedApiKey, CredentialError> {
        let now = self.core().now()?;
        // With events, the change has a condition. Without, the generation is read afterwards.
        let is_conditional = self.core().emits_events;
        if is_conditional && !self.is_in_generation(account, generation).await? {
            return Err(CredentialError::Rejected);
        }
        let enough = u32::try_from(self.max_api_keys).unwrap_or(u32::MAX);
        let query = KeyQuery::of(account).valid_at(now).limit(enough);
        if self.store().list_api_keys(query).await?.len() >= self.max_api_keys {
            return Err(CredentialError::TooManyKeys);
        }
        let (key, new) = self.mint_key(scope, account, now, options)?;
        let info = new.info();
        found_or_missing(self.change_keys(account, generation, KeyChange::Add(new)).await?)?;
        if !is_conditional && !self.is_in_generation(account, generation).await? {
            self.revoke_api_key(account, &info.id).await?;
            return Err(CredentialError::Rejected);
        }
        Ok(IssuedApiKey { key, info })
    }

    async fn is_in_generation(
        &self,
        account: &AccountId,
        generation: Option<i64>,
    ) -> Result<bool, CredentialError> {
        let Some(generation) = generation else { return Ok(true) };
        Ok(self.account(account).await?.token_generation == generation)
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
        let options = ApiKeyOptions { lifetime, ..ApiKeyOptions::default() };
        self.rotate_api_key_with(account, key, grace, &options).await
    }

    /// Rotates an API key like [`rotate_api_key`](Self::rotate_api_key), so that the
    /// request can be retried. A retry leaves the old key as the first request did.
    ///
    /// # Errors
    /// Fails like [`rotate_api_key`](Self::rotate_api_key), and with
    /// [`CredentialError::Conflict`] in the cases of
    /// [`issue_api_key_with`](Self::issue_api_key_with), or if the idempotency key was used for a
    /// longer grace period.
    pub async fn rotate_api_key_with(
        &self,
        account: &AccountId,
        key: &ApiKeyId,
        grace: Duration,
        options: &ApiKeyOptions,
    ) -> Result<IssuedApiKey, CredentialError> {
        let scope = Scope::RotateKey(account, key);
        // For the name of the old one and for an earlier request.
        let keys = match (&options.name, &options.idempotency_key) {
            (Some(_), None) => Vec::new(),
            _ => self.keys_of_a_day(account).await?,
        };
        if let Some(replayed) = self.replay_rotation(account, key, grace, options, &keys).await? {
            return Ok(replayed);
        }
        let now = self.core().now()?;
        let until = now.plus(grace)?;
        let (new_key, mut new) = self.mint_key(scope, account, now, options)?;
        if new.name.is_none() {
            let old = keys.into_iter().find(|old| old.info.id == *key);
            new.name = old.and_then(|old| old.info.name);
        }
        let info = new.info();
        let rotation = KeyChange::Rotate { old: *key, until, new };
        match self.change(*key, self.change_keys(account, None, rotation)).await {
            Ok(()) => Ok(IssuedApiKey { key: new_key, info }),
            Err(CredentialError::NotFound) => {
                // An equal request may have been faster.
                let keys = self.keys_of_a_day(account).await?;
                let replayed = self.replay_rotation(account, key, grace, options, &keys).await?;
                replayed.ok_or(CredentialError::NotFound)
            }
            Err(other) => Err(other),
        }
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
        self.change(*key, self.change_keys(account, None, KeyChange::Revoke(*key))).await
    }

    fn mint_key(
        &self,
        scope: Scope<'_>,
        account: &AccountId,
        now: Timestamp,
        options: &ApiKeyOptions,
    ) -> Result<(ApiKey, NewApiKey), CredentialError> {
        let expires_at = options.lifetime.map(|lifetime| now.plus(lifetime)).transpose();
        let expires_at = expires_at?;
        let mut draw = self.core().draw()?;
        let mut receipt = None;
        if let (Some(replay), Some(key)) = (&self.core().replay, &options.idempotency_key) {
            let nonce = draw.take()?;
            let (derived, of) = replay.derive(scope, &nonce, key)?;
            (draw, receipt) = (derived, Some(of));
        }
        let key = ApiKey::mint(&self.core().api_key_prefix, &mut draw)?;
        let new = NewApiKey::of(&key, account.clone(), now, expires_at);
        Ok((key, NewApiKey { name: options.name.clone(), receipt, ..new }))
    }

    /// Returns the answer of an earlier request with this idempotency key, if there was one.
    async fn replay_key(
        &self,
        scope: Scope<'_>,
        account: &AccountId,
        options: &ApiKeyOptions,
    ) -> Result<Option<IssuedApiKey>, CredentialError> {
        let (Some(replay), Some(key)) = (&self.core().replay, &options.idempotency_key) else {
            return Ok(None);
        };
        let tags = replay.tags(scope, key);
        let query = KeyQuery::of(account).with_tags(&tags);
        let Some(found) = self.store().list_api_keys(query).await?.pop() else {
            return Ok(None);
        };
        if found.info.name != options.name {
            return Err(CredentialError::Conflict);
        }
        self.replay_found(scope, options, &found).await
    }

    /// Returns the account's keys that are valid, or were within the last day: no earlier request
    /// is answered again.
    async fn keys_of_a_day(
        &self,
        account: &AccountId,
    ) -> Result<Vec<StoredApiKey>, CredentialError> {
        let since = self.core().now()?.as_millis().saturating_sub(WINDOW_MILLIS).max(0);
        let since = Timestamp::from_millis(since)?;
        Ok(self.store().list_api_keys(KeyQuery::of(account).valid_at(since)).await?)
    }

    /// Returns the answer of an earlier rotation of `old` with this idempotency key, if there was
    /// one, from these keys of the account.
    async fn replay_rotation(
        &self,
        account: &AccountId,
        old: &ApiKeyId,
        grace: Duration,
        options: &ApiKeyOptions,
        keys: &[StoredApiKey],
    ) -> Result<Option<IssuedApiKey>, CredentialError> {
        let (Some(replay), Some(key)) = (&self.core().replay, &options.idempotency_key) else {
            return Ok(None);
        };
        let scope = Scope::RotateKey(account, old);
        let tags = replay.tags(scope, key);
        let has_tag = |it: &&StoredApiKey| {
            it.receipt.as_ref().is_some_and(|receipt| tags.contains(receipt.tag()))
        };
        let Some(found) = keys.iter().find(has_tag) else { return Ok(None) };
        // The old key is gone if it was revoked since.
        let old = keys.iter().find(|it| it.info.id == *old).map(|old| &old.info);
        let until = found.info.created_at.plus(grace)?;
        let is_equal = match (&options.name, old) {
            (Some(name), _) => found.info.name.as_ref() == Some(name),
            (None, Some(old)) => found.info.name == old.name,
            (None, None) => true,
        };
        // It may have expired before its grace period was over.
        let is_in_grace = old.is_none_or(|old| old.expires_at.is_some_and(|end| end <= until));
        if !(is_equal && is_in_grace) {
            return Err(CredentialError::Conflict);
        }
        self.replay_found(scope, options, found).await
    }

    /// Derives the key of an earlier request again.
    async fn replay_found(
        &self,
        scope: Scope<'_>,
        options: &ApiKeyOptions,
        StoredApiKey { info, receipt }: &StoredApiKey,
    ) -> Result<Option<IssuedApiKey>, CredentialError> {
        let (Some(replay), Some(key), Some(receipt)) =
            (&self.core().replay, &options.idempotency_key, receipt)
        else {
            return Ok(None);
        };
        let derive = replay.derive_again(receipt, scope, key);
        let derive = derive.ok_or(CredentialError::Conflict)?;
        let now = self.core().now()?;
        let lifetime = options.lifetime.map(|lifetime| info.created_at.plus(lifetime));
        let is_equal = lifetime.transpose().is_ok_and(|end| end == info.expires_at);
        let is_live = info.is_valid_at(now) && is_recent(info.created_at, now);
        if !(is_equal && is_live) {
            return Err(CredentialError::Conflict);
        }
        let is_found = |key: ApiKeyDigest| ready(Ok((key.key_id() == info.id).then_some(())));
        let recovered = self.core().recover(|| Ok(((), derive()?)), is_found).await?;
        let key = recovered.ok_or(CredentialError::Conflict)?.api_key;
        Ok(Some(IssuedApiKey { key, info: info.clone() }))
    }

    /// Changes a key. The cache keeps nothing of it until the store has answered.
    async fn change(
        &self,
        key: ApiKeyId,
        change: impl Future<Output = Result<bool, CredentialError>>,
    ) -> Result<(), CredentialError> {
        if let Some(cache) = &self.cache {
            cache.changing(key, self.core().clock.monotonic());
        }
        let changed = change.await;
        if let (Some(cache), Ok(_)) = (&self.cache, &changed) {
            cache.changed(key);
        }
        found_or_missing(changed?)
    }
}

#[cfg(test)]
mod tests;
