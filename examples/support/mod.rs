//! What the example servers share: the configuration by environment variables,
//! the document and the page.

#![allow(dead_code, reason = "each server uses its part")]

use std::env;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use signup::SignupService;
use signup::hash::HashPool;
use signup::http::{SignupEndpoint, TrustedProxies};
use signup::limit::{Quota, RateLimits};
use signup::random::{OsRandom, Randomness};
use signup::store::{AccountStore, MemoryStore, SqliteStore};
use tokio::net::TcpListener;

/// The store is chosen at run time, so its type is erased.
pub type Endpoint = SignupEndpoint<Arc<dyn AccountStore>>;

/// A line for the person at the terminal.
pub type Complaint = String;

/// A page to sign up with.
pub const PAGE: &str = include_str!("page.html");

/// How many sign-ups a minute each client has by default.
const TWENTY: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// How long a client may take for the head of a request.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(5);

pub struct Config {
    pub addr: SocketAddr,
    /// The origin whose pages may sign up, besides our own.
    pub cors_origin: Option<Origin>,
    trusted_hops: usize,
    rate_limits: Option<RateLimits>,
    database_url: String,
    jwt_secret: Vec<u8>,
    pool: HashPool,
}

impl Config {
    /// Reads the environment. What can't be used is told in one line.
    pub fn from_env() -> Result<Self, Complaint> {
        let addr = variable("SIGNUP_ADDR", "an address such as 127.0.0.1:3000")?;
        let mut pool = HashPool::builder();
        if let Some(workers) = variable("SIGNUP_HASH_WORKERS", "a number such as 2")? {
            pool = pool.workers(workers);
        }
        if let Some(millis) = variable("SIGNUP_HASH_DEADLINE_MS", "a number such as 5000")? {
            pool = pool.deadline(Duration::from_millis(millis));
        }
        if let Some(places) = variable("SIGNUP_HASH_QUEUE", "a number such as 256")? {
            pool = pool.queue(places);
        }
        let jwt_secret = jwt_secret()?;
        Ok(Self {
            addr: addr.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 3000))),
            cors_origin: variable("SIGNUP_CORS_ORIGIN", "an origin such as http://localhost:5173")?,
            trusted_hops: variable("SIGNUP_TRUSTED_HOPS", "a number such as 1")?.unwrap_or(0),
            rate_limits: rate_limits(&jwt_secret)?,
            database_url: env::var("DATABASE_URL").unwrap_or("sqlite://signup.db".to_owned()),
            jwt_secret,
            pool: pool.build().map_err(|error| error.to_string())?,
        })
    }

    pub async fn endpoint(self) -> Result<Endpoint, Complaint> {
        let service = SignupService::builder(open(&self.database_url).await?)
            .jwt_secret(&self.jwt_secret)
            .hash_pool(Arc::new(self.pool));
        let service = match self.rate_limits {
            Some(limits) => service.rate_limits(limits),
            None => service,
        };
        let service = service.build().map_err(|error| format!("SIGNUP_JWT_SECRET: {error}"))?;
        let proxies = TrustedProxies::hops(self.trusted_hops);
        Ok(SignupEndpoint::new(service).trusted_proxies(proxies))
    }
}

/// `SIGNUP_RATE_LIMIT`, and where `REDIS_URL` says.
fn rate_limits(secret: &[u8]) -> Result<Option<RateLimits>, Complaint> {
    let quota = match env::var("SIGNUP_RATE_LIMIT") {
        Ok(off) if off == "off" => return Ok(None),
        _ => variable("SIGNUP_RATE_LIMIT", "`off`, or a quota by client such as 20/min")?,
    };
    let limits = RateLimits::per_client(quota.unwrap_or(Quota::per_minute(TWENTY)));
    match env::var("REDIS_URL") {
        Err(_) => Ok(Some(limits)),
        Ok(url) => in_redis(limits, &url, secret).map(Some),
    }
}

/// Shares the limits in Redis. All instances have the secret of the tokens; what is
/// made of it is no token.
#[cfg(feature = "redis")]
fn in_redis(limits: RateLimits, url: &str, secret: &[u8]) -> Result<RateLimits, Complaint> {
    let limits = limits.in_redis(url, secret).map_err(|error| format!("REDIS_URL: {error}"))?;
    let millis = variable("SIGNUP_REDIS_DEADLINE_MS", "a number such as 50")?.unwrap_or(50);
    Ok(limits.redis_deadline(Duration::from_millis(millis)))
}

#[cfg(not(feature = "redis"))]
fn in_redis(_: RateLimits, _: &str, _: &[u8]) -> Result<RateLimits, Complaint> {
    Err("REDIS_URL: this server is built without the feature redis".to_owned())
}

/// Scheme, host and port, and nothing behind them.
#[derive(Clone)]
pub struct Origin(pub String);

impl FromStr for Origin {
    type Err = ();

    fn from_str(origin: &str) -> Result<Self, ()> {
        let uri: hyper::Uri = origin.parse().map_err(|_| ())?;
        let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or(())?;
        let is_origin = format!("{scheme}://{authority}") == origin;
        is_origin.then(|| Self(origin.to_owned())).ok_or(())
    }
}

fn variable<T: FromStr>(name: &str, expected: &str) -> Result<Option<T>, Complaint> {
    match env::var(name) {
        Err(_) => Ok(None),
        Ok(text) => match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(format!("{name}: `{text}` can't be read: set it to {expected}")),
        },
    }
}

fn jwt_secret() -> Result<Vec<u8>, Complaint> {
    if let Ok(secret) = env::var("SIGNUP_JWT_SECRET") {
        return Ok(secret.into_bytes());
    }
    eprintln!("warning: SIGNUP_JWT_SECRET is not set: tokens end with this process");
    let mut secret = vec![0; 32];
    OsRandom.fill(&mut secret).map_err(|error| error.to_string())?;
    Ok(secret)
}

async fn open(url: &str) -> Result<Arc<dyn AccountStore>, Complaint> {
    match url.split_once(':') {
        Some(("memory", _)) => Ok(Arc::new(MemoryStore::default())),
        Some(("sqlite", _)) => {
            let store = SqliteStore::connect(url).await.map_err(database_url)?;
            store.migrate().await.map_err(database_url)?;
            Ok(Arc::new(store))
        }
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => {
            let store = signup::store::PostgresStore::connect(url).await.map_err(database_url)?;
            store.migrate().await.map_err(database_url)?;
            Ok(Arc::new(store))
        }
        _ => Err(database_url("it is none of sqlite://PATH, postgres://… (a feature) and memory:")),
    }
}

fn database_url(error: impl Display) -> Complaint {
    format!("DATABASE_URL: {error}")
}

/// Prints events and ended spans to stderr, a line of JSON each. `RUST_LOG` chooses
/// which; `info` by default.
pub fn print_logs() {
    #[cfg(feature = "tracing")]
    {
        use tracing_subscriber::EnvFilter;
        use tracing_subscriber::fmt::format::FmtSpan;
        let filter = EnvFilter::try_from_default_env().unwrap_or(EnvFilter::new("info"));
        let logs = tracing_subscriber::fmt().json().with_writer(io::stderr);
        logs.with_env_filter(filter).with_span_events(FmtSpan::CLOSE).init();
    }
}

/// What Prometheus scrapes, if this server is built with the feature `metrics`.
#[derive(Clone)]
pub struct Metrics {
    #[cfg(feature = "metrics")]
    handle: metrics_exporter_prometheus::PrometheusHandle,
}

impl Metrics {
    #[cfg(feature = "metrics")]
    pub fn record() -> Result<Option<Self>, Complaint> {
        use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
        // From a tenth of a millisecond, which a look takes, to the store's deadline.
        let buckets = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0];
        let stages = Matcher::Suffix("_seconds".to_owned());
        let recorder = PrometheusBuilder::new().set_buckets_for_metric(stages, &buckets);
        let handle = recorder.and_then(PrometheusBuilder::install_recorder);
        let handle = handle.map_err(|error| error.to_string())?;
        Ok(Some(Self { handle }))
    }

    #[cfg(not(feature = "metrics"))]
    pub fn record() -> Result<Option<Self>, Complaint> {
        Ok(None)
    }

    /// In the text format of Prometheus'.
    pub fn render(&self) -> String {
        #[cfg(feature = "metrics")]
        {
            self.handle.run_upkeep();
            self.handle.render()
        }
        #[cfg(not(feature = "metrics"))]
        String::new()
    }
}

/// The OpenAPI document, as JSON.
#[cfg(feature = "openapi")]
pub fn openapi() -> Result<String, Complaint> {
    signup::openapi().to_json().map_err(|error| error.to_string())
}

/// Listens, and says so.
pub async fn listen(addr: SocketAddr) -> Result<TcpListener, Complaint> {
    let listener = TcpListener::bind(addr).await.map_err(|error| cannot_listen(addr, &error))?;
    let addr = listener.local_addr().map_err(|error| error.to_string())?;
    println!("listening on http://{addr}");
    Ok(listener)
}

pub fn cannot_listen(addr: SocketAddr, error: &io::Error) -> Complaint {
    format!("SIGNUP_ADDR: can't listen on {addr}: {error}")
}

/// Resolves when the process is asked to end.
pub async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// The exit code, and the complaint on stderr.
pub fn exit(result: Result<(), Complaint>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            eprintln!("error: {complaint}");
            ExitCode::FAILURE
        }
    }
}
