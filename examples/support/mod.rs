//! The shared part of the example servers: settings, start, shutdown, and everything served
//! beside the endpoint.

#![allow(dead_code, reason = "each server uses its part")]

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hkdf::Hkdf;
use sha2::Sha256;
use signup::hash::HashPool;
use signup::http::{SignupEndpoint, TrustedProxies};
#[cfg(all(feature = "openapi", feature = "verification"))]
use signup::http::{VERIFY_EMAIL_PATH, VERIFY_PATH};
use signup::idempotency::{ReplaySecret, ReplaySecrets};
use signup::limit::RateLimits;
use signup::random::{SecureRandom as _, SystemRandom};
use signup::store::EventStore;
use signup::{ConfigError, SignupService};
use tokio::time::timeout;

mod backend;
pub mod health;
mod mails;
pub mod process;
pub mod settings;
pub mod telemetry;
mod webhooks;

use backend::Backend;
use health::Health;
use mails::Mails;
use process::{Complaint, End, asked_to_end, chain, exit};
#[cfg(feature = "verification")]
use settings::When;
use settings::values::Origin;
use settings::{Features, Settings, known};
use telemetry::Metrics;
use webhooks::Relay;

/// The endpoint on a store whose type is chosen at run time.
pub type Endpoint = SignupEndpoint<Arc<dyn EventStore>>;

/// A page to sign up with.
pub const PAGE: &str = include_str!("page.html");

/// The time that a client may take for the head of a request.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(5);

/// The time that a stopping server waits for running requests: a body's 10 s, a hash's 5 s
/// and a store's 5 s. Kubernetes kills after 30 s.
pub const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// The parts that a framework serves.
pub struct Server {
    pub addr: SocketAddr,
    pub endpoint: Endpoint,
    pub health: Health,
    /// The other origin whose pages may sign up.
    pub cors_origin: Option<Origin>,
    pub metrics: Option<Metrics>,
    pub end: End,
    workers: usize,
    warnings: Vec<Complaint>,
}

/// Runs a server from its settings to its end. `serve` returns after the last answer; then
/// the store and the hash pool are closed.
pub async fn run(serve: impl AsyncFnOnce(Server) -> Result<(), Complaint>) -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--help" | "-h") => {
            print!("{}", known::help());
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            return exit(Err(format!("`{other}` is no option: --help lists the settings")));
        }
    }
    exit(start_and_end(serve).await)
}

async fn start_and_end(
    serve: impl AsyncFnOnce(Server) -> Result<(), Complaint>,
) -> Result<(), Complaint> {
    let mut settings = Settings::read(std::env::vars_os(), Features::HERE)?;
    let addr = resolve(&settings.addr.0).await?;
    let workers = workers(&settings);
    let pool = Arc::new(hash_pool(&settings, workers)?);
    telemetry::print_logs();
    let metrics = Metrics::record()?;
    let mails = mails::open(&settings)?;
    let backend = Backend::open(&settings.database).await?;
    let started = endpoint(&mut settings, &backend, &pool, &mails);
    let mut relay = Relay::default();
    let served = match started {
        Ok((endpoint, started)) => {
            relay = started;
            let health = Health { backend: backend.clone(), pool: Arc::clone(&pool) };
            let Settings { cors_origin, warnings, .. } = settings;
            // Before anyone learns that the server listens, and may ask it to end.
            let end = asked_to_end();
            let parts =
                Server { addr, endpoint, health, cors_origin, metrics, end, workers, warnings };
            serve(parts).await
        }
        Err(complaint) => Err(complaint),
    };
    let _ = timeout(STOP_DEADLINE, relay.end()).await;
    backend.close().await;
    let _ = timeout(STOP_DEADLINE, mails::drained(mails)).await;
    // Blocks until the last hash is done, so not on a thread of the runtime.
    let _ = timeout(STOP_DEADLINE, tokio::task::spawn_blocking(move || pool.shutdown())).await;
    served
}

/// Resolves the address; of several, takes the one that `127.0.0.1` reaches.
async fn resolve(addr: &str) -> Result<SocketAddr, Complaint> {
    let found = tokio::net::lookup_host(addr).await;
    let found: Vec<_> =
        found.map_err(|error| format!("SIGNUP_ADDR: can't find {addr}: {error}"))?.collect();
    let first = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| format!("SIGNUP_ADDR: {addr} has no address"))
}

fn workers(settings: &Settings) -> usize {
    let asked = settings.workers.and_then(|number| usize::try_from(number).ok());
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

fn hash_pool(settings: &Settings, workers: usize) -> Result<HashPool, Complaint> {
    let mut pool = HashPool::builder().workers(workers);
    #[cfg(feature = "simd")]
    {
        pool = pool.engine(signup::hash::SimdEngine);
    }
    if let Some(places) = settings.queue.and_then(|number| usize::try_from(number).ok()) {
        pool = pool.queue(places);
    }
    if let Some(deadline) = settings.hash_deadline {
        pool = pool.deadline(deadline);
    }
    pool.build().map_err(|error| format!("SIGNUP_HASH_WORKERS: {}", chain(&error)))
}

fn endpoint(
    settings: &mut Settings,
    backend: &Backend,
    pool: &Arc<HashPool>,
    mails: &Mails,
) -> Result<(Endpoint, Relay), Complaint> {
    let secret = match &settings.jwt_secret {
        Some(secret) => secret.clone(),
        None => random_secret()?,
    };
    let replay_secret = match settings.replay_secret.take() {
        Some(secret) => secret,
        None => derived(&secret)?,
    };
    let secrets = ReplaySecrets::from(replay_secret);
    let mut service = SignupService::builder(backend.store())
        .jwt_secret(&secret)
        .retry_safe(secrets.clone())
        .hash_pool(Arc::clone(pool));
    #[cfg(feature = "verification")]
    if let Some((queue, setting)) = mails.as_ref().zip(settings.mails.as_ref()) {
        let verification = signup::verification::EmailCodes::new(secrets, queue.clone());
        #[cfg(feature = "redis")]
        let verification = match &settings.redis {
            Some(redis) => verification
                .in_redis(&redis.url, &secret)
                .map_err(|error| format!("REDIS_URL: {}", chain(&error)))?
                .redis_deadline(redis.deadline),
            None => verification,
        };
        service = match setting.when {
            When::First => service.verify_first(verification),
            When::After => service.verify_after(verification),
        };
    }
    #[cfg(not(feature = "verification"))]
    let () = mails;
    if let Some(limits) = rate_limits(settings, &secret)? {
        service = service.rate_limits(limits);
    }
    if settings.webhook.is_some() {
        service = service.with_events();
    }
    let service = service.build().map_err(|error| match &error {
        ConfigError::Key(_) => format!("SIGNUP_JWT_SECRET: {}", chain(&error)),
        other => chain(other),
    })?;
    let hops = usize::try_from(settings.trusted_hops).unwrap_or(usize::MAX);
    let relay = Relay::start(settings, &service)?;
    Ok((SignupEndpoint::new(service).trusted_proxies(TrustedProxies::hops(hops)), relay))
}

fn random_secret() -> Result<Vec<u8>, Complaint> {
    let mut secret = vec![0; 32];
    SystemRandom.fill(&mut secret).map_err(|error| chain(&error))?;
    Ok(secret)
}

/// Derives the secret of retries where only that of tokens is set, under a label of its own
/// (RFC 5869), so that neither can be computed from the other's use.
fn derived(secret: &[u8]) -> Result<ReplaySecret, Complaint> {
    let mut derived = [0; 32];
    let hkdf = Hkdf::<Sha256>::new(None, secret);
    hkdf.expand(b"signup example: replay secret", &mut derived)
        .map_err(|error| error.to_string())?;
    ReplaySecret::new(&derived).map_err(|error| chain(&error))
}

/// Creates the limits by client, in Redis if the settings name one. All instances share the
/// secret of the tokens; the derived key for Redis is no token.
#[cfg_attr(not(feature = "redis"), expect(unused_variables, reason = "keys names in Redis"))]
fn rate_limits(settings: &Settings, secret: &[u8]) -> Result<Option<RateLimits>, Complaint> {
    let Some(limits) = settings.rate_limit.map(RateLimits::per_client) else {
        return Ok(None);
    };
    match &settings.redis {
        None => Ok(Some(limits)),
        #[cfg(feature = "redis")]
        Some(redis) => {
            let limits = limits.in_redis(&redis.url, secret);
            let limits = limits.map_err(|error| format!("REDIS_URL: {}", chain(&error)))?;
            Ok(Some(limits.redis_deadline(redis.deadline)))
        }
        #[cfg(not(feature = "redis"))]
        Some(_) => Err("REDIS_URL: this server is built without the feature redis".to_owned()),
    }
}

impl Server {
    /// Announces that the server has started: its address, how it hashes, and its warnings.
    pub fn announce(&self, addrs: impl IntoIterator<Item = SocketAddr>) {
        for addr in addrs {
            println!("listening on http://{addr}");
        }
        let pool = &self.health.pool;
        let (engine, factor) = (pool.engine(), pool.work_factor());
        println!("hashing by {engine} at {factor}, workers: {}", self.workers);
        for warning in &self.warnings {
            eprintln!("warning: {warning}");
        }
    }

    pub fn cannot_listen(&self, error: &io::Error) -> Complaint {
        format!("SIGNUP_ADDR: can't listen on {}: {error}", self.addr)
    }
}

/// Returns the OpenAPI document as JSON.
#[cfg(feature = "openapi")]
pub fn openapi(endpoint: &Endpoint) -> Result<String, Complaint> {
    #[cfg(feature = "verification")]
    let document = if endpoint.route(VERIFY_PATH).is_some() {
        signup::openapi::verifying_first()
    } else if endpoint.route(VERIFY_EMAIL_PATH).is_some() {
        signup::openapi::verifying_after()
    } else {
        signup::openapi()
    };
    #[cfg(not(feature = "verification"))]
    let document = {
        let _ = endpoint;
        signup::openapi()
    };
    document.to_json().map_err(|error| chain(&error))
}
