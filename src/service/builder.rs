//! A service to be: every choice has a default but the signing key.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::account::{Plan, PlanError};
use crate::api_key::ApiKeyPrefix;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::fields::EmailProfile;
use crate::hash::{HashPool, PoolError};
use crate::limit::{Limiter, RateLimits};
use crate::lookup::LookupGate;
use crate::policy::{Policies, SignupPolicy};
use crate::random::{RandomError, SecureRandom, SystemRandom};
use crate::store::AccountStore;
use crate::token::{AUDIENCE, ISSUER, KeyError, MAX_LEEWAY, SigningKey, TokenKeys, TokenMint};

use super::{Inner, SignupService};

/// A day: long enough for a first look at the dashboard, short enough for a
/// token that nobody can take back.
const TOKEN_LIFETIME: Duration = Duration::from_hours(24);

/// A [`SignupService`] to be. Each setter replaces a default.
#[must_use]
pub struct SignupServiceBuilder<S> {
    store: S,
    clock: Arc<dyn Clock>,
    not_after: Timestamp,
    random: Arc<dyn SecureRandom>,
    pool: Option<Arc<HashPool>>,
    keys: Option<Result<TokenKeys, KeyError>>,
    issuer: String,
    audience: String,
    token_lifetime: Duration,
    token_leeway: Duration,
    api_key_prefix: ApiKeyPrefix,
    accepted_prefixes: Vec<ApiKeyPrefix>,
    initial_plan: Plan,
    plans: Vec<Plan>,
    email_profile: EmailProfile,
    rate_limits: Option<RateLimits>,
    policies: Policies,
    traces_client_address: bool,
}

impl<S: AccountStore> SignupServiceBuilder<S> {
    pub(super) fn new(store: S) -> Self {
        Self {
            store,
            clock: Arc::new(SystemClock),
            not_after: Timestamp::MAX,
            random: Arc::new(SystemRandom),
            pool: None,
            keys: None,
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            token_lifetime: TOKEN_LIFETIME,
            token_leeway: Duration::ZERO,
            api_key_prefix: ApiKeyPrefix::default(),
            accepted_prefixes: Vec::new(),
            initial_plan: Plan::default(),
            plans: Plan::PUBLISHED.into(),
            email_profile: EmailProfile::default(),
            rate_limits: None,
            policies: Policies::default(),
            traces_client_address: false,
        }
    }
}

impl<S: AccountStore> SignupServiceBuilder<S> {
    /// Signs tokens with HS256 and this secret of 32 octets or more.
    pub fn jwt_secret(mut self, secret: &[u8]) -> Self {
        self.keys = Some(SigningKey::hs256(secret).map(TokenKeys::new));
        self
    }

    /// Signs tokens with this key, or with that of these keys which signs, and
    /// verifies them with all of them.
    pub fn token_keys(mut self, keys: impl Into<TokenKeys>) -> Self {
        self.keys = Some(Ok(keys.into()));
        self
    }

    /// Tokens' `iss`. Default: `signup`.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = issuer.into();
        self
    }

    /// Tokens' `aud`. Default: `dashboard`.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = audience.into();
        self
    }

    /// How long a token is good for. Default: 24 hours.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = lifetime;
        self
    }

    /// Sets how far the clocks of instances may be apart when tokens are verified: whole
    /// seconds, ten minutes at the most. Default: not at all, which suits one machine.
    pub fn token_leeway(mut self, leeway: Duration) -> Self {
        self.token_leeway = leeway;
        self
    }

    /// Sets the prefix of new API keys. Default: `rag_live_`.
    ///
    /// Keys with an earlier prefix are valid only where it is
    /// [accepted](Self::accept_api_key_prefix).
    pub fn api_key_prefix(mut self, prefix: ApiKeyPrefix) -> Self {
        self.api_key_prefix = prefix;
        self
    }

    /// Accepts API keys with this prefix, too: one that was in use earlier. It can be
    /// called several times.
    pub fn accept_api_key_prefix(mut self, prefix: ApiKeyPrefix) -> Self {
        self.accepted_prefixes.push(prefix);
        self
    }

    /// Sets the plans that accounts may be on, for a host with plans of its own. The
    /// OpenAPI document lists them. Default: [`Plan::PUBLISHED`].
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

    /// Which addresses are accepted. Default: [`EmailProfile::Strict`].
    pub fn email_profile(mut self, profile: EmailProfile) -> Self {
        self.email_profile = profile;
        self
    }

    /// How often a client may come, and how often an email may be tried. Default:
    /// no limit.
    pub fn rate_limits(mut self, limits: RateLimits) -> Self {
        self.rate_limits = Some(limits);
        self
    }

    /// A rule of the host's, or one of [`policy`](crate::policy)'s, besides those that
    /// there are already.
    pub fn policy(mut self, policy: impl SignupPolicy) -> Self {
        self.policies.add(Arc::new(policy));
        self
    }

    /// Whether the span of a sign-up has its client's address, which is personal
    /// data in many places. Default: no. Without the feature `tracing` there is none.
    pub fn trace_client_address(mut self, traces: bool) -> Self {
        self.traces_client_address = traces;
        self
    }

    /// The pool that hashes. Default: one of the service's own, with the
    /// defaults of [`HashPool::builder`].
    pub fn hash_pool(mut self, pool: Arc<HashPool>) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Where randomness comes from. Default: the operating system.
    pub fn randomness(mut self, random: impl SecureRandom) -> Self {
        self.random = Arc::new(random);
        self
    }

    /// The latest time that the clock is believed. Default: [`Timestamp::MAX`].
    pub fn clock_not_after(mut self, not_after: Timestamp) -> Self {
        self.not_after = not_after;
        self
    }

    /// Where the time comes from. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The service, or what it could not have worked with.
    ///
    /// # Errors
    /// There is no key, the secret is short, tokens would be born expired or
    /// live for ever, issuer or audience is empty, or the pool can't be started.
    pub fn build(self) -> Result<SignupService<S>, ConfigError> {
        let keys = self.keys.ok_or(ConfigError::NoSigningKey)??;
        if !keys.can_sign() {
            return Err(ConfigError::NoSigningKey);
        }
        if self.issuer.is_empty() || self.audience.is_empty() {
            return Err(ConfigError::NoIssuerOrAudience);
        }
        if !self.plans.contains(&self.initial_plan) {
            return Err(ConfigError::InitialPlan(self.initial_plan));
        }
        if let Some(plan) = self.plans.iter().find(|plan| plan.as_str().parse::<Plan>().is_err()) {
            return Err(ConfigError::Plan(plan.clone()));
        }
        if self.token_leeway > MAX_LEEWAY {
            return Err(ConfigError::TokenLeeway(self.token_leeway));
        }
        let a_century = Duration::from_hours(100 * 365 * 24);
        if self.token_lifetime < Duration::from_secs(1) || self.token_lifetime > a_century {
            return Err(ConfigError::TokenLifetime);
        }
        if let Some(field) = self.policies.unreadable_field() {
            return Err(ConfigError::PolicyField(field));
        }
        let tokens = TokenMint::new(keys, self.issuer, self.audience, self.token_lifetime)
            .map_err(|_| ConfigError::Key(KeyError::Unusable))?;
        let pool = self.pool.map_or_else(|| HashPool::builder().build().map(Arc::new), Ok)?;
        let clock = self.clock;
        let limiter = self
            .rate_limits
            .map(|limits| Limiter::with_clock(limits, Arc::clone(&clock), &*self.random));
        let limiter = limiter.transpose()?;
        let mut accepted_prefixes = self.accepted_prefixes;
        accepted_prefixes.push(self.api_key_prefix.clone());
        let lookups = LookupGate::new(Arc::clone(&clock));
        let inner = Inner {
            store: Arc::new(self.store),
            policies: self.policies,
            limiter,
            clock,
            not_after: self.not_after,
            random: self.random,
            pool,
            lookups: Arc::new(lookups),
            tokens: Arc::new(tokens),
            token_leeway: self.token_leeway,
            api_key_prefix: self.api_key_prefix,
            accepted_prefixes: accepted_prefixes.into(),
            initial_plan: self.initial_plan,
            plans: self.plans,
            email_profile: self.email_profile,
            traces_client_address: self.traces_client_address,
        };
        Ok(SignupService { inner: Arc::new(inner) })
    }
}

impl<S> fmt::Debug for SignupServiceBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignupServiceBuilder")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

/// Why a service can't be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Neither `jwt_secret` nor `token_keys` was called, or these keys can only verify.
    #[error("a signing key is missing: call jwt_secret or token_keys")]
    NoSigningKey,
    /// The key can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Issuer or audience is empty.
    #[error("issuer and audience of the tokens must not be empty")]
    NoIssuerOrAudience,
    /// Tokens would be born expired, or live for ever.
    #[error("the lifetime of a token is one second to a hundred years")]
    TokenLifetime,
    /// Expired tokens would live on.
    #[error("a token leeway of {0:?} is too long: ten minutes are the most")]
    TokenLeeway(Duration),
    /// The initial plan is not one of the plans.
    #[error("the initial plan `{0}` is not one of the plans: name it in plans")]
    InitialPlan(Plan),
    /// A plan has a name of another form, see [`Plan`].
    #[error("`{0}` can't be a plan: {error}", error = PlanError)]
    Plan(Plan),
    /// A policy declares this field, which it could never read.
    #[error(
        "invalid policy field `{0}`: it must not be empty, nor email, password or name, which \
         every policy is given"
    )]
    PolicyField(&'static str),
    /// The hash pool can't be started.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// There is no randomness, which the rate limits are keyed with.
    #[error(transparent)]
    Random(#[from] RandomError),
}
