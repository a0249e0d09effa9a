//! The parts that a service and its handles share: [`Core`] without a store, [`Stored`] with one.

use std::sync::Arc;

use serde_json::Value;

use crate::account::{AccountId, TicketNonce};
use crate::api_key::{ApiKey, ApiKeyDigest, ApiKeyPrefix};
use crate::clock::{Clock, Timestamp};
use crate::error::SignupError;
use crate::event::{EventKind, NewEvent};
use crate::fields::Password;
use crate::hash::{HashPool, PasswordHash, Verification};
use crate::idempotency::ReplaySecrets;
use crate::lookup::LookupGate;
use crate::observe;
use crate::random::{Entropy, SecureRandom};
use crate::store::{FindBy, LifecycleStore, StoredAccount, StoredLogin};
use crate::throttle::{Attempt, Throttle};
use crate::token::{Subject, Token, TokenMint, TokenOptions, TokenVerifier};

/// The parts of a service that need no store.
pub(crate) struct Core {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) not_after: Timestamp,
    pub(crate) random: Arc<dyn SecureRandom>,
    pub(crate) pool: Arc<HashPool>,
    pub(crate) lookups: LookupGate,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) tokens: TokenMint,
    pub(crate) verifier: TokenVerifier,
    pub(crate) api_key_prefix: ApiKeyPrefix,
    /// The earlier prefixes of keys that are still accepted.
    pub(crate) accepted_prefixes: Vec<ApiKeyPrefix>,
    #[cfg(feature = "foreign-credentials")]
    pub(crate) foreign_keys: Vec<crate::api_key::ForeignApiKeys>,
    /// The secrets that make requests retry-safe.
    pub(crate) replay: Option<ReplaySecrets>,
    /// Whether changes emit events.
    pub(crate) emits_events: bool,
}

impl Core {
    /// Reads the clock.
    pub(crate) fn now(&self) -> Result<Timestamp, SignupError> {
        Ok(Timestamp::read(&self.clock, self.not_after)?)
    }

    /// Draws the randomness of one request.
    pub(crate) fn draw(&self) -> Result<Entropy, SignupError> {
        Ok(Entropy::draw(&*self.random)?)
    }

    /// Draws a nonce for the tickets of an account.
    pub(crate) fn draw_nonce(&self) -> Result<TicketNonce, SignupError> {
        let mut nonce = [0; 16];
        self.random.fill(&mut nonce)?;
        Ok(TicketNonce::new(nonce))
    }

    /// Creates an event, if events are emitted.
    pub(crate) fn event(
        &self,
        kind: EventKind,
        account: &AccountId,
        now: Timestamp,
        data: &Value,
    ) -> Result<Option<NewEvent>, SignupError> {
        if !self.emits_events {
            return Ok(None);
        }
        let event = NewEvent::mint(kind, account.clone(), now, data, &mut self.draw()?)?;
        Ok(Some(event))
    }

    /// Mints a token of an account as it is.
    pub(crate) fn mint_token(
        &self,
        account: &StoredAccount,
        now: Timestamp,
        draw: &mut Entropy,
        options: &TokenOptions,
    ) -> Result<Token, SignupError> {
        let subject = Subject {
            account: account.account.id(),
            generation: account.token_generation,
            is_email_verified: account.email_verified_at.is_some(),
        };
        Ok(self.tokens.mint(&subject, now, draw, options)?)
    }

    /// Hashes a new password with a new salt.
    pub(crate) async fn hash(&self, password: Password) -> Result<PasswordHash, SignupError> {
        let salt = self.draw()?.take()?;
        Ok(self.pool.reserve()?.hash_with_salt(password, salt).await?)
    }

    /// Verifies a password against a stored hash, on the pool. A hash that can't be verified
    /// takes as long and gets the same answer as a wrong password, so that a client does not
    /// learn that the account exists. It is logged, unless the account has no password.
    pub(crate) async fn verify(
        &self,
        given: Password,
        stored: &PasswordHash,
        attempt: &Attempt,
    ) -> Result<Verification, SignupError> {
        let permit = self.pool.reserve()?.reporting(attempt.begun());
        let verified = match self.pool.check_stored(stored) {
            Ok(()) => permit.verify(given, stored).await,
            Err(unusable) => {
                if !stored.is_empty() {
                    observe::failed("stored password hash can't be verified", &unusable);
                }
                let verified = permit.verify(given, &self.pool.decoy()).await;
                verified.map(|_| Verification::Wrong)
            }
        };
        Ok(verified.inspect_err(|_| attempt.has_failed())?)
    }

    /// Returns the prefixes of valid API keys, the current one first.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = &ApiKeyPrefix> {
        std::iter::once(&self.api_key_prefix).chain(&self.accepted_prefixes)
    }

    /// Derives again what an earlier request was answered with, whose answer may have been lost:
    /// under each prefix, the current one first, until `find` knows the API key.
    ///
    /// `derive` returns what is derived in front of the key, and the randomness for the key and
    /// what follows it.
    pub(crate) async fn recover<P, T, F: Future<Output = Result<Option<T>, SignupError>>>(
        &self,
        derive: impl Fn() -> Result<(P, Entropy), SignupError>,
        find: impl Fn(ApiKeyDigest) -> F,
    ) -> Result<Option<Recovered<P, T>>, SignupError> {
        for prefix in self.prefixes() {
            let (before_key, mut rest) = derive()?;
            let api_key = ApiKey::mint(prefix, &mut rest)?;
            if let Some(found) = find(api_key.digest()).await? {
                return Ok(Some(Recovered { before_key, api_key, rest, found }));
            }
        }
        Ok(None)
    }
}

/// The parts of an earlier answer, derived again.
pub(crate) struct Recovered<P, T> {
    pub(crate) before_key: P,
    pub(crate) api_key: ApiKey,
    /// The randomness after the key.
    pub(crate) rest: Entropy,
    /// The row by which the key was recognized.
    pub(crate) found: T,
}

/// The parts of a handle that reads and changes accounts.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) core: Arc<Core>,
    pub(crate) store: Arc<dyn LifecycleStore>,
}

impl Stored {
    /// Finds an account for a caller who may be anyone, within the limit on lookups.
    #[cfg(feature = "verification")]
    pub(crate) async fn look_up(
        &self,
        by: FindBy<'_>,
    ) -> Result<Option<StoredAccount>, SignupError> {
        let lookup = self.core.lookups.enter()?;
        let found = self.store.find_account(by).await?;
        lookup.answered();
        Ok(found)
    }

    /// Finds an account with its password hash, within the limit on lookups.
    pub(crate) async fn look_up_login(
        &self,
        by: FindBy<'_>,
    ) -> Result<Option<StoredLogin>, SignupError> {
        let lookup = self.core.lookups.enter()?;
        let found = self.store.find_login(by).await?;
        lookup.answered();
        Ok(found)
    }

    /// Finds the owner of an API key that was derived again.
    pub(crate) async fn owner_of(
        &self,
        key: ApiKeyDigest,
    ) -> Result<Option<StoredAccount>, SignupError> {
        Ok(self.store.find_account(FindBy::ApiKey(&key)).await?)
    }
}
