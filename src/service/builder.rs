//! Configuration of a [`SignupService`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::account::Plan;
use crate::api_key::ApiKeyPrefix;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::core::{Core, Stored};
use crate::fields::EmailProfile;
use crate::hash::HashPool;
use crate::idempotency::ReplaySecrets;
use crate::limit::{Limiter, RateLimits};
use crate::lookup::LookupGate;
use crate::policy::{Policies, SignupPolicy};
use crate::random::{SecureRandom, SystemRandom};
use crate::store::{AccountStore, EventStore, LifecycleStore};
use crate::throttle::LoginThrottle;
use crate::token::TokenKeys;

use super::SignupService;
use super::config::ConfigError;
use super::inner::{Inner, Replay};
#[cfg(feature = "verification")]
use super::modes::{Mailing, Mode};
use super::tokens::TokenSettings;
use super::turns::Turns;

/// Builder for a [`SignupService`]. Only the signing key has no default.
#[must_use]
pub struct SignupServiceBuilder<S> {
    pub(super) store: Arc<S>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) not_after: Timestamp,
    pub(super) random: Arc<dyn SecureRandom>,
    pub(super) pool: Option<Arc<HashPool>>,
    pub(super) tokens: TokenSettings,
    pub(super) api_key_prefix: ApiKeyPrefix,
    pub(super) accepted_prefixes: Vec<ApiKeyPrefix>,
    #[cfg(feature = "foreign-credentials")]
    pub(super) foreign_keys: Vec<crate::api_key::ForeignApiKeys>,
    pub(super) initial_plan: Plan,
    pub(super) plans: Vec<Plan>,
    pub(super) email_profile: EmailProfile,
    pub(super) rate_limits: Option<RateLimits>,
    pub(super) policies: Policies,
    pub(super) traces_client_address: bool,
    pub(super) replay: Option<(ReplaySecrets, Arc<dyn LifecycleStore>)>,
    pub(super) requires_idempotency_key: bool,
    pub(super) bans: Option<ReplaySecrets>,
    pub(super) throttle: Option<LoginThrottle>,
    /// Settings of which only one can be chosen.
    pub(super) exclusive: Option<&'static str>,
    pub(super) events: Option<Arc<dyn EventStore>>,
    #[cfg(feature = "verification")]
    pub(super) mailing: Option<Mailing>,
    #[cfg(feature = "verification")]
    pub(super) reset_wipes_unverified: bool,
}

impl<S: AccountStore> SignupServiceBuilder<S> {
    pub(super) fn new(store: S) -> Self {
        Self {
            store: Arc::new(store),
            clock: Arc::new(SystemClock),
            not_after: Timestamp::MAX,
            random: Arc::new(SystemRandom),
            pool: None,
            tokens: TokenSettings::default(),
            api_key_prefix: ApiKeyPrefix::default(),
            accepted_prefixes: Vec::new(),
            #[cfg(feature = "foreign-credentials")]
            foreign_keys: Vec::new(),
            initial_plan: Plan::default(),
            plans: Plan::PUBLISHED.into(),
            email_profile: EmailProfile::default(),
            rate_limits: None,
            policies: Policies::default(),
            traces_client_address: false,
            replay: None,
            requires_idempotency_key: false,
            bans: None,
            throttle: None,
            exclusive: None,
            events: None,
            #[cfg(feature = "verification")]
            mailing: None,
            #[cfg(feature = "verification")]
            reset_wipes_unverified: false,
        }
    }
}

impl<S: AccountStore> SignupServiceBuilder<S> {
    /// Signs tokens with HS256 and this secret of 32 bytes or more.
    pub fn jwt_secret(mut self, secret: &[u8]) -> Self {
        self.tokens.set_secret(secret);
        self
    }

    /// Sets the key that signs tokens, or a set of keys that verify and of which one signs.
    pub fn token_keys(mut self, keys: impl Into<TokenKeys>) -> Self {
        self.tokens.set_token_keys(keys.into());
        self
    }

    /// Sets the `iss` of tokens. Default: `signup`.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.tokens.issuer = issuer.into();
        self
    }

    /// Sets the `aud` of tokens. Default: `dashboard`.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.tokens.audience = audience.into();
        self
    }

    /// Sets the lifetime of tokens. Default: 24 hours.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.tokens.lifetime = lifetime;
        self
    }

    /// Sets how far the clocks of instances may differ when tokens are verified: whole
    /// seconds, at most ten minutes. Default: zero, which suits one machine.
    pub fn token_leeway(mut self, leeway: Duration) -> Self {
        self.tokens.leeway = leeway;
        self
    }

    /// Sets the prefix of new API keys. Default: `rag_live_`.
    ///
    /// Keys with an earlier prefix stay valid only if it is
    /// [accepted](Self::accept_api_key_prefix).
    pub fn api_key_prefix(mut self, prefix: ApiKeyPrefix) -> Self {
        self.api_key_prefix = prefix;
        self
    }

    /// Accepts API keys with this earlier prefix, too. Can be called several times.
    pub fn accept_api_key_prefix(mut self, prefix: ApiKeyPrefix) -> Self {
        self.accepted_prefixes.push(prefix);
        self
    }

    /// Accepts API keys of another system, too. Can be called several times.
    #[cfg(feature = "foreign-credentials")]
    pub fn accept_foreign_api_keys(mut self, keys: crate::api_key::ForeignApiKeys) -> Self {
        self.foreign_keys.push(keys);
        self
    }

    /// Sets the plans that accounts may be on, for a host with its own plans. The OpenAPI
    /// document lists them. Default: [`Plan::PUBLISHED`].
    pub fn plans(mut self, plans: impl IntoIterator<Item = Plan>) -> Self {
        self.plans = plans.into_iter().collect();
        self
    }

    /// Sets the plan of a new account, one of the [plans](Self::plans). Default:
    /// [`Plan::TRIAL`].
    pub fn initial_plan(mut self, plan: Plan) -> Self {
        self.initial_plan = plan;
        self
    }

    /// Sets the accepted addresses. Default: [`EmailProfile::Strict`].
    pub fn email_profile(mut self, profile: EmailProfile) -> Self {
        self.email_profile = profile;
        self
    }

    /// Sets rate limits by client and by email. Default: no limit.
    pub fn rate_limits(mut self, limits: RateLimits) -> Self {
        self.rate_limits = Some(limits);
        self
    }

    /// Adds a policy: one of [`policy`](crate::policy), or one of the host.
    pub fn policy(mut self, policy: impl SignupPolicy) -> Self {
        self.policies.add(Arc::new(policy));
        self
    }

    /// Lets clients retry a sign-up whose answer they have lost, with the header
    /// `Idempotency-Key`: within 24 hours, and with the same password, they get the same
    /// answer. Default: no.
    ///
    /// The secret is the same for all instances, and for nothing else.
    ///
    /// ```
    /// use signup::idempotency::{IdempotencyKey, ReplaySecret};
    /// use signup::store::MemoryStore;
    /// use signup::{SignupRequest, SignupService};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let service = SignupService::builder(MemoryStore::default())
    ///     .jwt_secret(&[7; 32])
    ///     .retry_safe(ReplaySecret::new(&[8; 32])?)
    ///     .build()?;
    /// let key = IdempotencyKey::new("8e03978e-40d5-43dd-bc93-6894a57f9324")?;
    /// let request = || {
    ///     SignupRequest::new("dev@example.com", "correct horse").idempotency_key(key.clone())
    /// };
    /// let first = service.signup(request()).await?;
    /// let again = service.signup(request()).await?;
    /// assert!(again.is_replayed());
    /// assert_eq!(again.reveal_json(), first.reveal_json());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn retry_safe(mut self, secrets: impl Into<ReplaySecrets>) -> Self
    where
        S: LifecycleStore,
    {
        self.replay = Some((secrets.into(), Arc::clone(&self.store) as _));
        self
    }

    /// Refuses a sign-up without an idempotency key. It needs
    /// [`retry_safe`](Self::retry_safe).
    pub fn require_idempotency_key(mut self) -> Self {
        self.requires_idempotency_key = true;
        self
    }

    /// Keeps addresses out whose accounts were
    /// [erased and banned](crate::Bans::erase_and_ban): to a sign-up they are taken.
    /// Only a tag of the address is stored, which these secrets make: the same for all
    /// instances, and none that signs tokens. From now on, none of them can be
    /// [retired](ReplaySecrets::retire). Costs another query of the store for each secret.
    /// Default: no.
    pub fn remember_bans(mut self, secrets: impl Into<ReplaySecrets>) -> Self {
        self.bans = Some(secrets.into());
        self
    }

    /// Throttles the guessing of passwords, at log-ins and wherever else the password of an
    /// account is verified. Default: no.
    pub fn login_throttle(mut self, throttle: LoginThrottle) -> Self {
        self.throttle = Some(throttle);
        self
    }

    /// Stores an [event](crate::event) with each change of an account, in its transaction.
    /// Default: no.
    ///
    /// ```
    /// use signup::event::EventKind;
    /// use signup::store::{EventQuery, EventStore as _, MemoryStore};
    /// use signup::{SignupRequest, SignupService};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let service = SignupService::builder(MemoryStore::default())
    ///     .jwt_secret(&[7; 32])
    ///     .with_events()
    ///     .build()?;
    /// let signup = service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
    /// let query = EventQuery::OfAccount { account: signup.account().id(), after: 0 };
    /// let events = service.account_store().list_events(query, 10).await?;
    /// assert_eq!(events[0].event.kind(), EventKind::AccountCreated);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn with_events(mut self) -> Self
    where
        S: EventStore,
    {
        self.events = Some(Arc::clone(&self.store) as _);
        self
    }

    /// Sets whether spans carry the client's address, which is personal data in many
    /// places. Default: no.
    pub fn trace_client_address(mut self, traces: bool) -> Self {
        self.traces_client_address = traces;
        self
    }

    /// Sets the hash pool. Default: a pool of the service's own, with the defaults of
    /// [`HashPool::builder`].
    pub fn hash_pool(mut self, pool: Arc<HashPool>) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Sets the source of randomness. Default: the operating system.
    pub fn randomness(mut self, random: impl SecureRandom) -> Self {
        self.random = Arc::new(random);
        self
    }

    /// Sets the latest accepted time of the wall clock. Default: [`Timestamp::MAX`].
    pub fn clock_not_after(mut self, not_after: Timestamp) -> Self {
        self.not_after = not_after;
        self
    }

    /// Sets the clock. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the service.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] for settings that could not work, or if the pool can't be
    /// started.
    pub fn build(mut self) -> Result<SignupService<S>, ConfigError> {
        self.check()?;
        let core = Arc::new(self.build_core()?);
        let limits = self.rate_limits.take();
        let limiter = limits
            .map(|limits| Limiter::with_clock(limits, Arc::clone(&core.clock), &*core.random))
            .transpose()?;
        if let Some(bans) = &self.bans {
            bans.hold_bans();
        }
        let replay = self.replay.map(|(secrets, store)| Replay {
            secrets,
            stored: Stored { core: Arc::clone(&core), store },
            requires_key: self.requires_idempotency_key,
            turns: Turns::default(),
        });
        let inner = Inner {
            #[cfg(feature = "verification")]
            codes: self.mailing.map(|mailing| mailing.start(&core)),
            #[cfg(feature = "verification")]
            reset_wipes_unverified: self.reset_wipes_unverified,
            core,
            store: Arc::clone(&self.store) as _,
            policies: self.policies,
            limiter,
            initial_plan: self.initial_plan,
            plans: self.plans,
            email_profile: self.email_profile,
            traces_client_address: self.traces_client_address,
            replay,
            bans: self.bans,
            events: self.events,
        };
        Ok(SignupService { store: self.store, inner: Arc::new(inner) })
    }

    fn build_core(&mut self) -> Result<Core, ConfigError> {
        let clock = Arc::clone(&self.clock);
        let (tokens, verifier) = std::mem::take(&mut self.tokens).build(Arc::clone(&clock))?;
        #[cfg(feature = "verification")]
        let tokens = tokens.tell_email_verified(
            self.mailing.as_ref().is_some_and(|mailing| mailing.mode == Mode::After),
        );
        let pool = self.pool.take();
        let pool = pool.map_or_else(|| HashPool::builder().build().map(Arc::new), Ok)?;
        Ok(Core {
            not_after: self.not_after,
            random: Arc::clone(&self.random),
            pool,
            lookups: LookupGate::new(Arc::clone(&clock)),
            throttle: LoginThrottle::start(self.throttle.take(), Arc::clone(&clock)),
            tokens,
            verifier,
            api_key_prefix: self.api_key_prefix.clone(),
            accepted_prefixes: std::mem::take(&mut self.accepted_prefixes),
            #[cfg(feature = "foreign-credentials")]
            foreign_keys: std::mem::take(&mut self.foreign_keys),
            replay: self.replay.as_ref().map(|(secrets, _)| secrets.clone()),
            emits_events: self.events.is_some(),
            clock,
        })
    }
}

impl<S> fmt::Debug for SignupServiceBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignupServiceBuilder")
            .field("issuer", &self.tokens.issuer)
            .field("audience", &self.tokens.audience)
            .finish_non_exhaustive()
    }
}
