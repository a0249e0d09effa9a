//! Verification, rotation and revocation of tokens, API keys and passwords, see
//! [the guide](crate::guide::credentials).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::account::AccountId;
use crate::core::{Core, Stored};
use crate::store::{FindBy, LifecycleStore, LifecycleStoreExt as _, StoredAccount};
pub use crate::throttle::{LoginThrottle, TrustedDevice};
use crate::token::{Token, TokenKeys, TokenOptions};

mod api_keys;
mod auth;
mod cache;
mod error;
mod key_change;
mod login;
mod owner;

pub use api_keys::ApiKeyOptions;
#[cfg(feature = "verification")]
pub use auth::VerifiedEmail;
pub use auth::{ApiKeyAuth, DashboardAuth, IssuedApiKey};
use cache::KeyCache;
pub use error::CredentialError;
pub use login::Login;
pub use owner::TokenOwner;

/// A service that verifies, rotates and revokes tokens, API keys and passwords.
///
/// [`SignupService::credentials`](crate::SignupService::credentials) creates it. Clones are
/// cheap and share everything.
#[derive(Clone)]
pub struct Credentials {
    stored: Stored,
    cache: Option<Arc<KeyCache>>,
    max_api_keys: usize,
}

/// The default maximum of valid API keys per account: more than an owner needs.
const MAX_API_KEYS: usize = 100;

impl Credentials {
    pub(crate) fn new(stored: Stored) -> Self {
        Self { stored, cache: None, max_api_keys: MAX_API_KEYS }
    }

    /// Adds a cache in front of API key queries: up to `capacity` valid keys and as many
    /// unknown ones, each for `time_to_live`, the least recently used evicted first.
    ///
    /// A change made through any clone takes effect at once. A change in another process,
    /// or by the host's own SQL, takes effect after `time_to_live` at the latest;
    /// [`forget_cached`](Self::forget_cached) makes it immediate. The cache belongs to this
    /// value and its clones: call this once, and clone the result. Another `credentials()`
    /// of the same service counts as another process.
    ///
    /// A cached key costs no round trip, and neither does a flood of unknown ones with
    /// valid checksums. An entry takes some 200 bytes.
    #[must_use]
    pub fn with_cache(self, capacity: usize, time_to_live: Duration) -> Self {
        Self { cache: Some(Arc::new(KeyCache::new(capacity, time_to_live))), ..self }
    }

    /// Sets the maximum of valid API keys per account. Default: 100. Keys issued
    /// simultaneously may exceed it by their number.
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

    /// Verifies a token, and that its account exists, is in use and has not revoked it. The account is
    /// read for that and returned.
    ///
    /// A service that verifies tokens without a store uses a [`TokenVerifier`](crate::token::TokenVerifier).
    ///
    /// # Errors
    /// Returns [`CredentialError::Rejected`] for an invalid token, and another error if the
    /// store does not answer.
    pub async fn verify_token(&self, token: &str) -> Result<DashboardAuth, CredentialError> {
        let token = self.core().verifier.verify(token)?;
        let found = self.store().find_account(FindBy::Id(token.account_id())).await?;
        let record = found.ok_or(CredentialError::Rejected)?;
        if !record.state.admits_owner() {
            return Err(CredentialError::Rejected);
        }
        if i64::try_from(token.generation()) != Ok(record.token_generation) {
            return Err(CredentialError::Rejected);
        }
        Ok(DashboardAuth { token, record })
    }

    /// Issues a token for the owner of an account: for a [`Login`], for the presenter of
    /// another token, or for an account by its id, if the host has verified the owner in
    /// another way.
    ///
    /// The token belongs to the generation of tokens in which the owner was verified. An id
    /// alone stands for the current generation.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if the account does not exist,
    /// [`CredentialError::Rejected`] if it is disabled or erased or its tokens were revoked
    /// since the owner was verified, and another error if the store, clock, randomness or
    /// signing key fails.
    pub async fn issue_token<'a>(
        &self,
        owner: impl Into<TokenOwner<'a>>,
    ) -> Result<Token, CredentialError> {
        self.issue_token_with(owner, &TokenOptions::new()).await
    }

    /// Issues a token like [`issue_token`](Self::issue_token), with its own lifetime and
    /// additional claims.
    ///
    /// # Errors
    /// Fails like [`issue_token`](Self::issue_token), and if the token would be longer than
    /// the 4,096 bytes that a verifier accepts.
    pub async fn issue_token_with<'a>(
        &self,
        owner: impl Into<TokenOwner<'a>>,
        options: &TokenOptions,
    ) -> Result<Token, CredentialError> {
        let owner = owner.into();
        let record = self.account(owner.account).await?;
        let is_current = owner.generation.is_none_or(|it| it == record.token_generation);
        if !record.state.admits_owner() || !is_current {
            return Err(CredentialError::Rejected);
        }
        let core = self.core();
        Ok(core.mint_token(&record, core.now()?, &mut core.draw()?, options)?)
    }

    /// Revokes all tokens of an account issued until now. A token
    /// [issued](Self::issue_token) after this returns is valid, even within the same
    /// second: *log out everywhere else* is this call and a new token.
    ///
    /// Each token names its generation, and this begins the next one. No clock is involved,
    /// so a wrong one can neither lock an account out nor keep a token alive.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no such account, and another error
    /// if the store does not answer.
    pub async fn revoke_tokens(&self, account: &AccountId) -> Result<(), CredentialError> {
        found_or_missing(self.store().revoke_tokens(account).await?)
    }

    /// Returns an account as the store has it now.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if it does not exist, and another error if the
    /// store does not answer.
    pub async fn account(&self, id: &AccountId) -> Result<StoredAccount, CredentialError> {
        let found = self.store().find_account(FindBy::Id(id)).await?;
        found.ok_or(CredentialError::NotFound)
    }

    /// Returns the token keys, to rotate them.
    pub fn token_keys(&self) -> &TokenKeys {
        self.core().tokens.keys()
    }

    fn core(&self) -> &Core {
        &self.stored.core
    }

    fn store(&self) -> &dyn LifecycleStore {
        &*self.stored.store
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// Maps a change that found nothing to [`CredentialError::NotFound`].
fn found_or_missing(found: bool) -> Result<(), CredentialError> {
    if found { Ok(()) } else { Err(CredentialError::NotFound) }
}
