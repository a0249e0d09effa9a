//! The service: the pipeline of a sign-up, and the handles on what was registered.

use std::fmt;
use std::sync::Arc;

use crate::account::Plan;
use crate::core::Stored;
use crate::credentials::Credentials;
use crate::error::SignupError;
use crate::hash::HashPool;
use crate::idempotency::IdempotencyKey;
use crate::limit::{ClientIp, RateLimited};
use crate::policy::Policies;
use crate::relay::{EventRelay, Sink};
use crate::request::SignupRequest;
use crate::response::Signup;
use crate::store::{AccountStore, EventStore, LifecycleStore};
use crate::token::{TokenKeys, TokenVerifier};

#[cfg(feature = "verification")]
mod account_codes;
mod accounts;
#[cfg(feature = "verification")]
mod after;
mod builder;
mod checks;
#[cfg(feature = "verification")]
mod codes;
mod config;
#[cfg(feature = "verification")]
mod first;
#[cfg(feature = "verification")]
mod handles;
mod housekeeping;
mod inner;
#[cfg(feature = "verification")]
mod modes;
mod occasions;
mod pipeline;
mod prepared;
mod recording;
mod replay;
mod stages;
mod tokens;
mod turns;

#[cfg(feature = "verification")]
pub use account_codes::{AccountCodes, PasswordReset};
pub use accounts::{Accounts, Bans, Erased};
#[cfg(feature = "verification")]
pub(crate) use after::Owner;
#[cfg(feature = "verification")]
pub use after::VerifyAfter;
pub use builder::SignupServiceBuilder;
pub use config::ConfigError;
#[cfg(feature = "verification")]
pub use first::VerifyFirst;
#[cfg(feature = "verification")]
pub use handles::EmailVerification;
pub use housekeeping::{Housekeeping, Housekept};
use inner::Inner;
pub use prepared::{Preparation, Prepared};

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
    store: Arc<S>,
    inner: Arc<Inner>,
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
    /// Returns a [`SignupError`] unless the account was stored. A service that verifies addresses
    /// first returns [`SignupError::Internal`]: its sign-ups begin at `VerifyFirst::begin`.
    pub async fn signup(&self, request: SignupRequest) -> Result<Signup, SignupError> {
        self.inner.signup(request).await
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
    /// answers it. A service that verifies addresses first returns
    /// [`SignupError::Internal`], whose source says what to call.
    pub async fn prepare(&self, request: SignupRequest) -> Result<Prepared, SignupError> {
        match self.prepare_or_replay(request).await? {
            Preparation::New(prepared) => Ok(prepared),
            Preparation::Replayed(_) => Err(SignupError::EmailTaken),
        }
    }

    /// Prepares a sign-up like [`prepare`](Self::prepare), for a service that is
    /// [retry-safe](SignupServiceBuilder::retry_safe): a retry has its answer already.
    ///
    /// The loser of a race is answered by [`Prepared::replay`].
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
    ///             Ok(prepared.replay().await?)
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
        self.inner.prepare(request).await
    }

    /// Returns the hash pool, for its stats and to share it.
    pub fn hash_pool(&self) -> &Arc<HashPool> {
        &self.inner.core.pool
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
        self.inner.core.verifier.clone()
    }

    /// Returns the token keys, to rotate them.
    pub fn token_keys(&self) -> &TokenKeys {
        self.inner.core.tokens.keys()
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
        Credentials::new(self.stored())
    }

    /// Returns the service that reads and changes accounts, on the same store, clock, hash
    /// pool and policies.
    pub fn accounts(&self) -> Accounts
    where
        S: LifecycleStore,
    {
        let (stored, service) = (self.stored(), Arc::clone(&self.inner));
        Accounts { stored, service, revokes_api_keys: false }
    }

    /// Returns the password resets and changes of address; `None` if the service mails no codes:
    /// see [`mails`](SignupServiceBuilder::mails).
    #[cfg(feature = "verification")]
    pub fn account_codes(&self) -> Option<AccountCodes> {
        let (_, codes) = self.inner.codes.clone()?;
        let (stored, service) = (codes.stored.clone(), Arc::clone(&self.inner));
        let accounts = Accounts { stored, service, revokes_api_keys: false };
        Some(AccountCodes { accounts, codes })
    }

    /// Returns the email verification of sign-ups.
    #[cfg(feature = "verification")]
    pub fn verification(&self) -> EmailVerification {
        let service = Arc::clone(&self.inner);
        match self.inner.codes.clone() {
            Some((modes::Mode::First, codes)) => {
                EmailVerification::First(VerifyFirst { service, codes })
            }
            Some((modes::Mode::After, codes)) => {
                EmailVerification::After(VerifyAfter { service, codes })
            }
            Some((modes::Mode::Changes, _)) | None => EmailVerification::Off,
        }
    }

    fn stored(&self) -> Stored
    where
        S: LifecycleStore,
    {
        let store: Arc<dyn LifecycleStore> = Arc::clone(&self.store) as _;
        Stored { core: Arc::clone(&self.inner.core), store }
    }

    /// Returns a relay that delivers the [events](SignupServiceBuilder::with_events) of the
    /// store to a [`Sink`].
    pub fn event_relay(&self, sink: impl Sink) -> EventRelay
    where
        S: EventStore,
    {
        let store: Arc<dyn EventStore> = Arc::clone(&self.store) as _;
        let relay = EventRelay::new(store, sink).clock(Arc::clone(&self.inner.core.clock));
        #[cfg(feature = "verification")]
        let relay = match &self.inner.codes {
            Some((_, codes)) => relay.mails(codes.verifier.mails.clone()),
            None => relay,
        };
        if self.inner.events.is_some() { relay } else { relay.without_events() }
    }

    /// Returns the plans that accounts may be on, including the initial one.
    pub fn plans(&self) -> &[Plan] {
        &self.inner.plans
    }

    /// Returns the store.
    pub fn account_store(&self) -> &S {
        &self.store
    }

    /// Parses the values of the header `Idempotency-Key`.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with the one issue of the header.
    pub(crate) fn idempotency_key<'a>(
        &self,
        values: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<IdempotencyKey>, SignupError> {
        self.inner.idempotency_key(values)
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
        Self { store: Arc::clone(&self.store), inner: Arc::clone(&self.inner) }
    }
}

impl<S> fmt::Debug for SignupService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignupService").field("pool", &self.inner.core.pool).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
