//! Verification, rotation and revocation of tokens, API keys and passwords, see
//! [the guide](crate::guide::credentials).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::account::AccountId;
use crate::api_key::{ApiKey, ApiKeyId, ApiKeyPrefix};
use crate::clock::{Clock, Timestamp};
use crate::fields::{Email, EmailProfile, Password};
use crate::hash::{HashPool, PasswordHash, Verification};
use crate::lookup::LookupGate;
use crate::observe;
use crate::random::{Entropy, SecureRandom};
use crate::store::{AccountRecord, ApiKeyInfo, CredentialStore, KeyOwner, NewApiKey, StoreError};
use crate::token::{Token, TokenKeys, TokenMint, TokenVerifier};

mod auth;
mod cache;
mod error;

pub use auth::{ApiKeyAuth, DashboardAuth, IssuedApiKey};
use cache::KeyCache;
pub use error::CredentialError;
use error::internal;

/// Verifies tokens, API keys and passwords, and rotates and revokes them.
///
/// It is a [`SignupService`](crate::SignupService)'s, by
/// [`credentials`](crate::SignupService::credentials). Clones are cheap and share
/// everything.
#[derive(Clone)]
pub struct Credentials {
    context: Arc<CredentialContext>,
    cache: Option<Arc<KeyCache>>,
    max_api_keys: usize,
}

/// The most valid API keys of an account by default: more than its owner can tell apart.
const MAX_API_KEYS: usize = 100;

/// What a service hands over.
pub(crate) struct CredentialContext {
    pub(crate) store: Arc<dyn CredentialStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) not_after: Timestamp,
    pub(crate) random: Arc<dyn SecureRandom>,
    pub(crate) pool: Arc<HashPool>,
    pub(crate) tokens: Arc<TokenMint>,
    pub(crate) verifier: TokenVerifier,
    pub(crate) lookups: Arc<LookupGate>,
    pub(crate) api_key_prefix: ApiKeyPrefix,
    /// The present prefix among them.
    pub(crate) accepted_prefixes: Arc<[ApiKeyPrefix]>,
}

impl Credentials {
    pub(crate) fn new(context: CredentialContext) -> Self {
        Self { context: Arc::new(context), cache: None, max_api_keys: MAX_API_KEYS }
    }

    /// The same with a cache in front of the look-up of API keys: of up to
    /// `capacity` keys that are good and as many that are not, the least recently
    /// seen forgotten first, each for `time_to_live`.
    ///
    /// A change that is made through any clone is seen at once. A change in another
    /// process, or by SQL of the host's, is seen after `time_to_live` at the
    /// latest; [`forget_cached`](Self::forget_cached) makes it seen at once. The cache
    /// is of this value and its clones: call it once, and clone the result. Another
    /// `credentials()` of the same service counts as another process.
    ///
    /// Until then a good key costs no round trip, and a flood of unknown ones with
    /// right checksums neither; an entry takes some 200 octets.
    #[must_use]
    pub fn with_cache(self, capacity: usize, time_to_live: Duration) -> Self {
        Self { cache: Some(Arc::new(KeyCache::new(capacity, time_to_live))), ..self }
    }

    /// Sets how many valid API keys an account may have. Default: 100. Keys that are
    /// added at the same moment may exceed it by their number.
    #[must_use]
    pub fn with_max_api_keys(self, max_api_keys: usize) -> Self {
        Self { max_api_keys, ..self }
    }

    /// Empties the cache.
    pub fn forget_cached(&self) {
        if let Some(cache) = &self.cache {
            cache.clear();
        }
    }

    /// Verifies a token, and that its account is there and has not revoked it. The
    /// account is read for that, so it is at hand afterwards.
    ///
    /// Where another service verifies the tokens and asks no store, take a
    /// [`TokenVerifier`].
    ///
    /// # Errors
    /// It does not verify, or the store does not answer.
    pub async fn verify_token(&self, token: &str) -> Result<DashboardAuth, CredentialError> {
        let token = self.context.verifier.verify(token)?;
        let found = self.context.store.find_account(token.account_id()).await?;
        let record = found.ok_or(CredentialError::Rejected)?;
        if i64::try_from(token.generation()) != Ok(record.token_generation) {
            return Err(CredentialError::Rejected);
        }
        Ok(DashboardAuth { token, record })
    }

    /// Verifies an API key. A malformed one is refused without asking the store; a
    /// look writes nothing.
    ///
    /// # Errors
    /// It is none of ours, has expired or is revoked; or the store does not answer.
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

    /// Verifies a password, on the hash pool. An email that is not known costs a
    /// hash as well, and gives the same answer.
    ///
    /// A stored hash of another work factor or pepper than the pool's is renewed
    /// while the password is at hand; where that fails, the next time. Until then a
    /// wrong password takes as long as that factor does, not as an unknown email.
    /// Roll a new pepper out as a verifying one first: an instance that does not have
    /// it can't judge what another has renewed.
    ///
    /// # Errors
    /// Email or password is wrong; hashing capacity is full; the store does not
    /// answer, or gives a hash that the pool can't verify.
    pub async fn verify_password(
        &self,
        email: &str,
        password: &str,
    ) -> Result<AccountId, CredentialError> {
        let CredentialContext { store, pool, lookups, .. } = &*self.context;
        // An address that was accepted once must not be refused by stricter rules.
        let email = Email::parse(email, EmailProfile::Rfc5321);
        let email = email.map_err(|_| CredentialError::Rejected)?;
        let given = Password::parse_for_login(password).map_err(|_| CredentialError::Rejected)?;
        drop(pool.reserve()?);
        let lookup = lookups.enter()?;
        let found = store.find_password(email.key()).await?;
        lookup.answered();
        let (account, stored) = match found {
            Some(found) => (Some(found.account_id), found.hash),
            None => (None, pool.decoy()),
        };
        match (self.verify_hash(given, &stored).await?, account) {
            (Verification::Right { needs_rehash }, Some(account)) => {
                if needs_rehash {
                    // The password is right, whatever comes of this.
                    let _ = self.renew(&account, &stored, password).await;
                }
                Ok(account)
            }
            (Verification::Right { .. }, None) | (Verification::Wrong, _) => {
                Err(CredentialError::Rejected)
            }
        }
    }

    /// Verifies a password against a stored hash. One that can't be read, or has a
    /// pepper that is gone, takes as long and gives the same answer as a wrong
    /// password: a client must not learn from it that the account exists. The operator
    /// does.
    async fn verify_hash(
        &self,
        given: Password,
        stored: &PasswordHash,
    ) -> Result<Verification, CredentialError> {
        let pool = &self.context.pool;
        if let Err(unusable) = pool.check_stored(stored) {
            observe::failed("stored password hash can't be verified", &unusable);
            pool.reserve()?.verify(given, &pool.decoy()).await.map(drop)?;
            return Ok(Verification::Wrong);
        }
        Ok(pool.reserve()?.verify(given, stored).await?)
    }

    async fn renew(
        &self,
        account: &AccountId,
        old: &PasswordHash,
        password: &str,
    ) -> Result<(), CredentialError> {
        let password =
            Password::parse_for_login(password).map_err(|_| CredentialError::Rejected)?;
        let place = self.context.pool.reserve()?;
        let salt = self.draw()?.take().map_err(internal)?;
        let new = place.hash_with_salt(password, salt).await?;
        self.context.store.renew_password_hash(account, old, &new).await?;
        Ok(())
    }

    /// Issues a token for an account whose owner has shown a password, or another proof
    /// that the host accepts. It is of the present generation of the account's tokens,
    /// which is read for that.
    ///
    /// # Errors
    /// There is no such account; or the store, clock, randomness or signing key fails.
    pub async fn issue_token(&self, account: &AccountId) -> Result<Token, CredentialError> {
        let generation = self.account(account).await?.token_generation;
        let token = self.context.tokens.mint(account, generation, self.now()?, &mut self.draw()?);
        token.map_err(internal)
    }

    /// Revokes all tokens of an account that were issued until now. One that is
    /// [issued](Self::issue_token) from the answer on is valid, in the same second too:
    /// *log out everywhere, keep me in* is this and a new token.
    ///
    /// Each token names its generation, and this begins the next one. No clock is
    /// asked, so a wrong one can neither lock an account out nor let a token live on.
    ///
    /// # Errors
    /// There is no such account, or the store does not answer.
    pub async fn revoke_tokens(&self, account: &AccountId) -> Result<(), CredentialError> {
        found_or_missing(self.context.store.revoke_tokens(account).await?)
    }

    /// An account, as the store has it now.
    ///
    /// # Errors
    /// There is none, or the store does not answer.
    pub async fn account(&self, id: &AccountId) -> Result<AccountRecord, CredentialError> {
        self.context.store.find_account(id).await?.ok_or(CredentialError::NotFound)
    }

    /// All API keys of an account, the oldest first; those that have expired too.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyInfo>, CredentialError> {
        Ok(self.context.store.list_api_keys(account).await?)
    }

    /// Another API key for an account, which is good for so long, or until it is
    /// revoked.
    ///
    /// # Errors
    /// There is no such account, or it has as many valid keys as it
    /// [may](Self::with_max_api_keys); or the store, clock or randomness fails.
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

    /// A new API key in the place of another one of the same account, which stays
    /// good for the time of `grace`, so that its users can change over. The new one is
    /// good for `lifetime`, or until it is revoked, whatever the old one was.
    ///
    /// # Errors
    /// The account has no such key, or it is no longer good; or the store, clock or
    /// randomness fails.
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

    /// Takes an API key of an account's away. From the answer on it is refused.
    ///
    /// # Errors
    /// The account has no such key, or the store does not answer.
    pub async fn revoke_api_key(
        &self,
        account: &AccountId,
        key: &ApiKeyId,
    ) -> Result<(), CredentialError> {
        self.change(*key, self.context.store.revoke_api_key(account, key)).await
    }

    /// Deletes the API keys that have expired, of all accounts, so that lists of keys
    /// stay short: call it once a day, say.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn purge_expired_api_keys(&self) -> Result<(), CredentialError> {
        Ok(self.context.store.purge_api_keys(self.now()?).await?)
    }

    /// The keys of the tokens, to rotate them.
    pub fn token_keys(&self) -> &TokenKeys {
        self.context.tokens.keys()
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

    fn now(&self) -> Result<Timestamp, CredentialError> {
        Timestamp::read(&self.context.clock, self.context.not_after).map_err(internal)
    }

    fn draw(&self) -> Result<Entropy, CredentialError> {
        Entropy::draw(&*self.context.random).map_err(internal)
    }

    /// Changes a key, of which the cache keeps nothing until the store has answered.
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

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// What a store says of a change: whether it found what to change.
fn found_or_missing(found: bool) -> Result<(), CredentialError> {
    if found { Ok(()) } else { Err(CredentialError::NotFound) }
}
