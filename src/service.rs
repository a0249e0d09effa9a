//! The sign-up pipeline: from a request to a stored account.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::account::Plan;
use crate::api_key::ApiKeyPrefix;
#[cfg(feature = "foreign-credentials")]
use crate::api_key::ForeignApiKeys;
use crate::clock::{Clock, Timestamp};
use crate::credentials::{CredentialContext, Credentials, Throttle};
use crate::error::SignupError;
use crate::fields::EmailProfile;
use crate::hash::HashPool;
use crate::idempotency::ReplaySecrets;
use crate::limit::{ClientIp, Limiter, RateLimited};
use crate::lookup::LookupGate;
use crate::observe;
use crate::policy::Policies;
use crate::random::SecureRandom;
use crate::relay::{EventRelay, Sink};
use crate::request::SignupRequest;
use crate::response::Signup;
use crate::store::{AccountStore, EventStore, LifecycleStore};
use crate::token::{TokenKeys, TokenMint, TokenVerifier};

mod accounts;
#[cfg(feature = "verification")]
mod after;
mod builder;
mod checks;
mod config;
#[cfg(feature = "foreign-credentials")]
mod foreign;
mod housekeeping;
#[cfg(feature = "verification")]
mod modes;
mod occasions;
mod pipeline;
mod prepared;
mod recording;
mod replay;
#[cfg(feature = "verification")]
mod tickets;
mod turns;
#[cfg(feature = "verification")]
mod verification;

#[cfg(feature = "verification")]
pub use accounts::PasswordReset;
pub use accounts::{Accounts, Erased};
#[cfg(feature = "verification")]
pub(crate) use after::Owner;
pub use builder::SignupServiceBuilder;
pub use config::ConfigError;
pub use housekeeping::{Housekeeping, Housekept};
pub use prepared::{Preparation, Prepared};
use recording::Recording;
use replay::Replay;

/// A service that registers accounts: it validates, hashes, mints and stores.
///
/// Clones are cheap and share everything. No runtime is needed to build one.
///
/// ```
/// use signup::hash::{FakeEngine, HashPool};
/// use signup::store::MemoryStore;
/// use signup::{SignupRequest, SignupService};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let service = SignupService::builder(MemoryStore::default())
///     .jwt_secret(b"0123456789abcdef0123456789abcdef")
///     .build()
///     .unwrap();
/// let request = SignupRequest::new("dev@example.com", "correct horse");
/// let signup = service.signup(request).await.unwrap();
/// assert!(signup.api_key().reveal().starts_with("rag_live_"));
/// # });
/// ```
pub struct SignupService<S> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    store: Arc<S>,
    policies: Policies,
    limiter: Option<Limiter>,
    clock: Arc<dyn Clock>,
    not_after: Timestamp,
    random: Arc<dyn SecureRandom>,
    pool: Arc<HashPool>,
    lookups: Arc<LookupGate>,
    throttle: Arc<Throttle>,
    #[cfg(feature = "verification")]
    reset_wipes_unverified: bool,
    tokens: Arc<TokenMint>,
    token_leeway: Duration,
    api_key_prefix: ApiKeyPrefix,
    accepted_prefixes: Arc<[ApiKeyPrefix]>,
    #[cfg(feature = "foreign-credentials")]
    foreign_keys: Arc<[ForeignApiKeys]>,
    initial_plan: Plan,
    plans: Vec<Plan>,
    email_profile: EmailProfile,
    traces_client_address: bool,
    replay: Option<Replay>,
    bans: Option<ReplaySecrets>,
    /// The store, if its changes are told.
    events: Option<Arc<dyn EventStore>>,
    #[cfg(feature = "verification")]
    verification: Option<modes::Mode>,
}

impl<S: AccountStore> SignupService<S> {
    /// Creates a builder for a service on `store`. It needs only a signing key.
    pub fn builder(store: S) -> SignupServiceBuilder<S> {
        SignupServiceBuilder::new(store)
    }

    /// Registers an account.
    ///
    /// The future may be dropped at any point: account and API key are then both stored or
    /// neither.
    ///
    /// # Errors
    /// Returns a [`SignupError`] unless the account was stored.
    pub async fn signup(&self, request: SignupRequest) -> Result<Signup, SignupError> {
        let address = self.traced_address(&request);
        observe::within(address, async {
            let recording = Recording::new(&self.inner.pool);
            let result = match self.run(request).await {
                Ok(Preparation::New(prepared)) => Box::pin(self.store(prepared)).await,
                Ok(Preparation::Replayed(signup)) => Ok(signup),
                Err(error) => Err(error),
            };
            recording.finish(result.as_ref().map(|signup| {
                let outcome = if signup.is_replayed() { "replayed" } else { "created" };
                (outcome, Some(signup.account().id()))
            }));
            result
        })
        .await
    }

    /// Returns whether sign-ups prove their address first.
    #[cfg(not(feature = "verification"))]
    #[expect(clippy::unused_self, reason = "its twin needs it")]
    pub(crate) fn verifies_first(&self) -> bool {
        false
    }

    fn traced_address(&self, request: &SignupRequest) -> Option<IpAddr> {
        let traces = self.inner.traces_client_address;
        request.origin.client.filter(|_| traces).and_then(|client| client.address())
    }

    /// Does everything but the insert, for a host that owns the transaction. The answer
    /// stays sealed until the store proves that the account was inserted.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use signup::store::SqliteStore;
    /// use signup::{SignupRequest, SignupService};
    ///
    /// let store = SqliteStore::connect("sqlite::memory:").await?;
    /// store.migrate().await?;
    /// let service = SignupService::builder(store.clone()).jwt_secret(&[7; 32]).build()?;
    ///
    /// let request = SignupRequest::new("dev@example.com", "correct horse");
    /// let prepared = service.prepare(request).await?;
    /// let mut transaction = store.pool().begin().await?;
    /// let inserted = store.create_in(&mut transaction, prepared.new_account()).await?;
    /// // … the host's own rows …
    /// transaction.commit().await?;
    /// let signup = prepared.open(inserted)?;
    /// assert!(signup.api_key().reveal().starts_with("rag_live_"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// The sign-up's span ends here with the outcome `prepared`; opening the answer counts
    /// as `created`.
    ///
    /// # Errors
    /// Fails like [`signup`](SignupService::signup), except for the insert. A retry fails
    /// with [`SignupError::EmailTaken`]: [`prepare_or_replay`](Self::prepare_or_replay)
    /// answers it. A service that verifies addresses before it stores accounts returns
    /// [`SignupError::Internal`].
    pub async fn prepare(&self, request: SignupRequest) -> Result<Prepared, SignupError> {
        match self.prepare_or_replay(request).await? {
            Preparation::New(prepared) => Ok(prepared),
            Preparation::Replayed(_) => Err(SignupError::EmailTaken),
        }
    }

    /// Prepares a sign-up like [`prepare`](Self::prepare), for a service that is
    /// [retry-safe](SignupServiceBuilder::retry_safe): a retry has its answer already.
    ///
    /// The loser of a race is answered by [`replay`](Self::replay).
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # mod with_sqlite {
    /// use signup::store::{SqliteStore, StoreError};
    /// use signup::{Preparation, Signup, SignupRequest, SignupService};
    ///
    /// async fn register(
    ///     service: &SignupService<SqliteStore>,
    ///     request: SignupRequest,
    /// ) -> Result<Signup, Box<dyn std::error::Error>> {
    ///     let prepared = match service.prepare_or_replay(request).await? {
    ///         Preparation::New(prepared) => prepared,
    ///         Preparation::Replayed(signup) => return Ok(signup),
    ///     };
    ///     let store = service.account_store();
    ///     let mut transaction = store.begin().await?;
    ///     match store.create_in(&mut transaction, prepared.new_account()).await {
    ///         Ok(inserted) => {
    ///             // … the host's own rows …
    ///             transaction.commit().await?;
    ///             Ok(prepared.open(inserted)?)
    ///         }
    ///         Err(StoreError::EmailTaken) => {
    ///             transaction.rollback().await?;
    ///             Ok(service.replay(prepared).await?)
    ///         }
    ///         Err(other) => Err(other.into()),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails like [`signup`](SignupService::signup), except for the insert.
    pub async fn prepare_or_replay(
        &self,
        request: SignupRequest,
    ) -> Result<Preparation, SignupError> {
        let address = self.traced_address(&request);
        observe::within(address, async {
            let recording = Recording::new(&self.inner.pool);
            let mut result = self.run(request).await;
            if let Ok(Preparation::New(prepared)) = &mut result {
                prepared.end_turn();
            }
            recording.finish(result.as_ref().map(|preparation| match preparation {
                Preparation::New(prepared) => ("prepared", Some(prepared.new.id())),
                Preparation::Replayed(signup) => ("replayed", Some(signup.account().id())),
            }));
            result
        })
        .await
    }

    /// Returns the hash pool, for its stats and to share it.
    pub fn hash_pool(&self) -> &Arc<HashPool> {
        &self.inner.pool
    }

    /// Returns a verifier of this service's tokens, with its keys, clock, issuer and
    /// audience.
    ///
    /// ```
    /// use signup::store::MemoryStore;
    /// use signup::{SignupRequest, SignupService};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let store = MemoryStore::default();
    /// let service = SignupService::builder(store).jwt_secret(&[7; 32]).build()?;
    /// let signup = service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
    ///
    /// let verified = service.token_verifier().verify(signup.token().reveal())?;
    /// assert_eq!(verified.account_id(), signup.account().id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn token_verifier(&self) -> TokenVerifier {
        let verifier = self.inner.tokens.verifier().clock(Arc::clone(&self.inner.clock));
        verifier.leeway(self.inner.token_leeway)
    }

    /// Returns the token keys, to rotate them.
    pub fn token_keys(&self) -> &TokenKeys {
        self.inner.tokens.keys()
    }

    /// Returns the service that verifies, rotates and revokes what this one hands out, on
    /// the same store, clock and hash pool.
    ///
    /// ```
    /// use signup::store::MemoryStore;
    /// use signup::{SignupRequest, SignupService};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let store = MemoryStore::default();
    /// let service = SignupService::builder(store).jwt_secret(&[7; 32]).build()?;
    /// let signup = service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
    ///
    /// let credentials = service.credentials();
    /// let auth = credentials.verify_api_key(signup.api_key().reveal()).await?;
    /// assert_eq!(auth.account_id(), signup.account().id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn credentials(&self) -> Credentials
    where
        S: LifecycleStore,
    {
        self.credentials_on(Arc::clone(&self.inner.store) as Arc<dyn LifecycleStore>)
    }

    fn credentials_on(&self, store: Arc<dyn LifecycleStore>) -> Credentials {
        let inner = &*self.inner;
        Credentials::new(CredentialContext {
            store,
            clock: Arc::clone(&inner.clock),
            not_after: inner.not_after,
            random: Arc::clone(&inner.random),
            pool: Arc::clone(&inner.pool),
            tokens: Arc::clone(&inner.tokens),
            verifier: self.token_verifier(),
            lookups: Arc::clone(&inner.lookups),
            throttle: Arc::clone(&inner.throttle),
            api_key_prefix: inner.api_key_prefix.clone(),
            accepted_prefixes: Arc::clone(&inner.accepted_prefixes),
            #[cfg(feature = "foreign-credentials")]
            foreign_keys: Arc::clone(&inner.foreign_keys),
            replay: inner.replay.as_ref().map(|replay| replay.secrets.clone()),
            events: inner.events.is_some(),
        })
    }

    /// Returns a relay that delivers the [events](SignupServiceBuilder::with_events) of the
    /// store to a [`Sink`].
    pub fn event_relay(&self, sink: impl Sink) -> EventRelay
    where
        S: EventStore,
    {
        let store: Arc<dyn EventStore> = Arc::clone(&self.inner.store) as _;
        let relay = EventRelay::new(store, sink).clock(Arc::clone(&self.inner.clock));
        #[cfg(feature = "verification")]
        let relay = match self.verifier() {
            Ok(verifier) => relay.mails(verifier.mails.clone()),
            Err(_) => relay,
        };
        if self.inner.events.is_some() { relay } else { relay.without_events() }
    }

    /// Returns the plans that accounts may be on, including the initial one.
    pub fn plans(&self) -> &[Plan] {
        &self.inner.plans
    }

    /// Returns the store.
    pub fn account_store(&self) -> &S {
        &self.inner.store
    }

    /// Returns the policies of the host.
    pub(crate) fn policies(&self) -> &Policies {
        &self.inner.policies
    }

    /// Checks the client's rate limit before the body is read, including the limit of sign-ups
    /// for a sign-up.
    pub(crate) async fn check_request(
        &self,
        client: ClientIp,
        is_signup: bool,
    ) -> Result<(), RateLimited> {
        match &self.inner.limiter {
            Some(limiter) if is_signup => limiter.check_request(client).await,
            Some(limiter) => limiter.check_other_request(client).await,
            None => Ok(()),
        }
    }
}

impl<S> Clone for SignupService<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S> fmt::Debug for SignupService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignupService").field("pool", &self.inner.pool).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
