//! The pipeline: from a request to an account that is stored.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::account::{Account, AccountId, Plan};
use crate::api_key::{ApiKey, ApiKeyPrefix};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::context::SignupContext;
use crate::credentials::{Credentials, Parts};
use crate::error::SignupError;
use crate::fields::{Email, EmailProfile, Name};
use crate::hash::{HashPool, PasswordHash, Place, SALT_BYTES};
use crate::limit::{Client, Limiter, RateLimited};
use crate::lookup::LookupGate;
use crate::observe::{self, Stage, Timed};
use crate::policy::Policies;
use crate::random::{Draw, Randomness};
use crate::request::SignupRequest;
use crate::response::Signup;
use crate::store::{AccountStore, Created, CredentialStore, Inserted, NewAccount, NewApiKey};
use crate::token::{TokenKeys, TokenMint, TokenVerifier};
use crate::validate::{ValidSignup, validate};

mod builder;

pub use builder::{ConfigError, SignupServiceBuilder};

/// How often identifiers are minted anew where the store has them already. With
/// 103 bits of chance once is never needed, so more only hides a broken generator.
const MINT_ATTEMPTS: usize = 3;

/// Signs people up: validates, hashes, mints and stores.
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
pub struct SignupService<S, C = SystemClock> {
    inner: Arc<Inner<S, C>>,
}

struct Inner<S, C> {
    store: Arc<S>,
    policies: Policies,
    limiter: Option<Limiter>,
    clock: Arc<C>,
    horizon: Timestamp,
    random: Arc<dyn Randomness>,
    pool: Arc<HashPool>,
    lookups: Arc<LookupGate>,
    tokens: Arc<TokenMint>,
    token_leeway: Duration,
    api_key_prefix: ApiKeyPrefix,
    accepted_prefixes: Arc<[ApiKeyPrefix]>,
    initial_plan: Plan,
    plans: Vec<Plan>,
    email_profile: EmailProfile,
    traces_client_address: bool,
}

impl<S: AccountStore> SignupService<S> {
    /// A service on `store`, to be configured. A signing key is all it needs.
    pub fn builder(store: S) -> SignupServiceBuilder<S> {
        SignupServiceBuilder::new(store)
    }
}

impl<S: AccountStore, C: Clock> SignupService<S, C> {
    /// Signs somebody up.
    ///
    /// It may be dropped at any point: account and API key are then both stored
    /// or neither.
    ///
    /// # Errors
    /// Everything but an account that is stored, see [`SignupError`].
    pub async fn signup(&self, request: SignupRequest) -> Result<Signup, SignupError> {
        let address = self.traced_address(&request);
        observe::within(address, async {
            let recording = Recording::new(&self.inner.pool);
            let result = match self.run(request).await {
                Ok(prepared) => self.store(prepared).await,
                Err(error) => Err(error),
            };
            recording.finish(result.as_ref().map(|signup| ("created", signup.account().id())));
            result
        })
        .await
    }

    fn traced_address(&self, request: &SignupRequest) -> Option<IpAddr> {
        let traces = self.inner.traces_client_address;
        request.origin.client.filter(|_| traces).and_then(|client| client.address())
    }

    fn time(&self, stage: Stage) -> Timed<'_> {
        observe::time(stage, &*self.inner.clock)
    }

    /// Does everything but the insert, for a host that owns the transaction: the
    /// answer is sealed until the store proves that the account is in.
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
    /// The span of the sign-up ends with it, with the outcome `prepared`; opening the
    /// answer counts as `created`.
    ///
    /// # Errors
    /// As [`signup`](SignupService::signup), up to the insert.
    pub async fn prepare(&self, request: SignupRequest) -> Result<Prepared, SignupError> {
        let address = self.traced_address(&request);
        observe::within(address, async {
            let recording = Recording::new(&self.inner.pool);
            let result = self.run(request).await;
            recording.finish(result.as_ref().map(|prepared| ("prepared", prepared.new.id())));
            result
        })
        .await
    }

    async fn run(&self, request: SignupRequest) -> Result<Prepared, SignupError> {
        let valid = self.validate(request)?;
        let limited = self.limit(valid).await?;
        let screened = self.screen(limited).await?;
        let free = self.look(screened).await?;
        let admitted = self.admit(free)?;
        let hashed = self.hash(admitted).await?;
        self.mint(hashed)
    }

    /// The pool that hashes, for its figures and to share it.
    pub fn hash_pool(&self) -> &Arc<HashPool> {
        &self.inner.pool
    }

    /// What verifies the tokens of this service: by its keys and its clock, for its
    /// issuer and its audience.
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

    /// The keys of its tokens, to rotate them.
    pub fn token_keys(&self) -> &TokenKeys {
        self.inner.tokens.keys()
    }

    /// What verifies, rotates and revokes everything that this service hands out,
    /// on the same store, clock and hash pool.
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
        S: CredentialStore,
    {
        let inner = &*self.inner;
        Credentials::new(Parts {
            store: Arc::clone(&inner.store) as Arc<dyn CredentialStore>,
            clock: Arc::clone(&inner.clock) as Arc<dyn Clock>,
            horizon: inner.horizon,
            random: Arc::clone(&inner.random),
            pool: Arc::clone(&inner.pool),
            tokens: Arc::clone(&inner.tokens),
            verifier: self.token_verifier(),
            lookups: Arc::clone(&inner.lookups),
            api_key_prefix: inner.api_key_prefix.clone(),
            accepted_prefixes: Arc::clone(&inner.accepted_prefixes),
        })
    }

    /// The plans that accounts of this service may be on, the initial one among them.
    pub fn plans(&self) -> &[Plan] {
        &self.inner.plans
    }

    /// The store.
    pub fn account_store(&self) -> &S {
        &self.inner.store
    }

    fn validate(&self, request: SignupRequest) -> Result<ValidSignup, SignupError> {
        let _timed = self.time(Stage::Validate);
        validate(request, self.inner.email_profile)
    }

    /// The rules of the host's.
    pub(crate) fn policies(&self) -> &Policies {
        &self.inner.policies
    }

    /// At the head of a request, before there is more of it.
    pub(crate) async fn arrive(&self, client: Client) -> Result<(), RateLimited> {
        match &self.inner.limiter {
            Some(limiter) => limiter.arrive(client).await,
            None => Ok(()),
        }
    }

    async fn limit(&self, valid: ValidSignup) -> Result<Limited, SignupError> {
        let _timed = self.time(Stage::Limit);
        if let Some(limiter) = &self.inner.limiter {
            let client = valid.origin.client.unwrap_or_default();
            limiter.attempt(Some(client), valid.email.key()).await?;
        }
        Ok(Limited(valid))
    }

    /// Runs the policies: after the rate limits, because policies may be expensive;
    /// before a place in the hash queue is taken, because they may be slow.
    async fn screen(&self, Limited(valid): Limited) -> Result<Screened, SignupError> {
        let _timed = self.time(Stage::Screen);
        self.inner.policies.judge(valid, &self.inner.pool).await.map(Screened)
    }

    /// Saves a hash where the email is taken already; only the insert decides. Where
    /// hashing is busy nothing is asked.
    async fn look(&self, Screened(valid): Screened) -> Result<Free, SignupError> {
        let _timed = self.time(Stage::Look);
        drop(self.inner.pool.reserve()?);
        let lookup = self.inner.lookups.enter()?;
        let taken = self.inner.store.is_email_taken(valid.email.key()).await?;
        lookup.answered();
        if taken { Err(SignupError::EmailTaken) } else { Ok(Free(valid)) }
    }

    /// Takes a place in the hash queue.
    fn admit(&self, Free(valid): Free) -> Result<Admitted, SignupError> {
        let place = self.inner.pool.reserve()?;
        Ok(Admitted { signup: valid, place })
    }

    async fn hash(&self, admitted: Admitted) -> Result<Hashed, SignupError> {
        let _timed = self.time(Stage::Hash);
        let Admitted { signup: ValidSignup { email, password, name, context, .. }, place } =
            admitted;
        let (salt, draw) = self.draw()?;
        let password_hash = Arc::new(place.hash(password, salt).await?);
        Ok(Hashed { email, name, context: Arc::new(context), password_hash, draw })
    }

    /// All the chance of a sign-up, the salt first.
    fn draw(&self) -> Result<([u8; SALT_BYTES], Draw), SignupError> {
        let mut draw = Draw::from(&*self.inner.random).map_err(SignupError::internal)?;
        let salt = draw.take().map_err(SignupError::internal)?;
        Ok((salt, draw))
    }

    /// Makes everything that the answer consists of, and its JSON: behind this
    /// there is the store alone to fail.
    fn mint(&self, hashed: Hashed) -> Result<Prepared, SignupError> {
        let _timed = self.time(Stage::Mint);
        let Hashed { email, name, context, password_hash, mut draw } = hashed;
        let inner = &*self.inner;
        let now = Timestamp::read(&inner.clock, inner.horizon).map_err(SignupError::internal)?;
        let id = AccountId::mint(&mut draw).map_err(SignupError::internal)?;
        let api_key =
            ApiKey::mint(&inner.api_key_prefix, &mut draw).map_err(SignupError::internal)?;
        let token = inner.tokens.mint(&id, 0, now, &mut draw).map_err(SignupError::internal)?;
        let key = NewApiKey::of(&api_key, id.clone(), now, None);
        let account = Arc::new(Account::new(id, email, name, inner.initial_plan.clone()));
        let new = NewAccount { account: Arc::clone(&account), password_hash, key, context };
        let signup = Signup::new(account, token, api_key).map_err(SignupError::internal)?;
        Ok(Prepared { new, signup })
    }

    async fn store(&self, mut prepared: Prepared) -> Result<Signup, SignupError> {
        let _timed = self.time(Stage::Store);
        for _ in 0..MINT_ATTEMPTS {
            let Prepared { new, signup } = prepared;
            let password_hash = Arc::clone(&new.password_hash);
            let context = Arc::clone(&new.context);
            match self.inner.store.create(new).await? {
                Created::Stored => return Ok(signup),
                Created::EmailTaken => return Err(SignupError::EmailTaken),
                Created::IdentifierTaken => {
                    let (_, draw) = self.draw()?;
                    let (email, name) = signup.account().fields();
                    prepared = self.mint(Hashed { email, name, context, password_hash, draw })?;
                }
            }
        }
        let broken = "the store has every identifier that was minted: is the randomness broken?";
        Err(SignupError::internal(broken))
    }
}

/// A sign-up that is within its limits.
struct Limited(ValidSignup);

/// A sign-up that passed every policy.
struct Screened(ValidSignup);

/// A sign-up whose email was not taken when checked.
struct Free(ValidSignup);

/// A sign-up with its place in the hash queue.
struct Admitted {
    signup: ValidSignup,
    place: Place,
}

/// A sign-up with a hashed password and its remaining random bytes.
struct Hashed {
    email: Email,
    name: Option<Name>,
    context: Arc<SignupContext>,
    password_hash: Arc<PasswordHash>,
    draw: Draw,
}

/// A sign-up whose outcome is recorded in the span and the metrics when it ends.
struct Recording<'a> {
    pool: &'a HashPool,
    is_done: bool,
}

impl<'a> Recording<'a> {
    fn new(pool: &'a HashPool) -> Self {
        Self { pool, is_done: false }
    }

    fn finish(mut self, result: Result<(&'static str, &AccountId), &SignupError>) {
        self.is_done = true;
        observe::hash_jobs(|| {
            let stats = self.pool.stats();
            [stats.queued, stats.running]
        });
        match result {
            Ok((outcome, id)) => observe::outcome(outcome, Some(id.as_str())),
            Err(error) => observe::outcome(error.outcome(), None),
        }
        if let Err(error @ (SignupError::Internal(_) | SignupError::Unavailable { .. })) = result {
            observe::failed("a sign-up failed", error);
        }
    }
}

/// Records a sign-up whose caller went away, or that panicked.
impl Drop for Recording<'_> {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let outcome = if std::thread::panicking() { "internal" } else { "abandoned" };
        observe::outcome(outcome, None);
    }
}

/// A sign-up that is ready to be stored: the rows for the store, and the sealed answer.
#[must_use = "the account is not stored yet"]
pub struct Prepared {
    new: NewAccount,
    signup: Signup,
}

impl Prepared {
    /// What is to be stored. Of the API key it holds the digest alone.
    pub fn new_account(&self) -> &NewAccount {
        &self.new
    }

    /// The answer, against the proof that its account is inserted.
    ///
    /// # Errors
    /// The proof is another account's.
    pub fn open(self, proof: Inserted) -> Result<Signup, WrongProof> {
        if proof.into_id() != *self.new.id() {
            return Err(WrongProof);
        }
        observe::outcome("created", None);
        Ok(self.signup)
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("new", &self.new).finish_non_exhaustive()
    }
}

impl From<WrongProof> for SignupError {
    fn from(wrong: WrongProof) -> Self {
        Self::internal(wrong)
    }
}

/// The proof is of another account than the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof is of another account")]
pub struct WrongProof;

impl<S, C> Clone for SignupService<S, C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S, C> fmt::Debug for SignupService<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignupService").field("pool", &self.inner.pool).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
