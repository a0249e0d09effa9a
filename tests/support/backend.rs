//! An adapter and a store, and the servers that a case starts of them.

use signup::store::EventStore;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use signup::clock::{Clock, ManualClock};
use signup::credentials::Credentials;
use signup::fields::EmailProfile;
use signup::hash::{Argon2Engine, FakeEngine, HashPool, Pepper};
use signup::http::{Reply, SignupEndpoint, TrustedProxies};
use signup::idempotency::ReplaySecret;
use signup::limit::RateLimits;
use signup::mail::{MailKind, MailQueue, MemoryMailer};
use signup::policy::SignupPolicy;
use signup::random::{SecureRandom, SystemRandom};
use signup::verification::EmailCodes;
use signup::{SignupError, SignupService, SignupServiceBuilder};
use tokio::net::TcpListener;

use super::client::{Client, JSON, Recording, Response};
use super::document;
use super::stores::Inspect;

type Future<T> = Pin<Box<dyn std::future::Future<Output = T> + Send>>;
pub type Service = SignupService<Arc<dyn EventStore>>;
pub type Endpoint = SignupEndpoint<Arc<dyn EventStore>>;

/// The tests' clock stands at this second.
pub const NOW: u32 = 1_750_000_000;
pub const SECRET: &[u8] = b"canary-jwt-secret-0123456789abcdef";

/// Serves an endpoint on a socket.
pub type Serve = fn(TcpListener, Endpoint) -> Future<()>;
/// Opens an empty store.
pub type Open = fn() -> Future<Arc<dyn Inspect>>;

/// A backend that a suite runs against: an adapter and a store.
#[derive(Clone, Copy)]
pub struct Backend {
    pub name: &'static str,
    pub adapter: &'static str,
    pub serve: Serve,
    pub open: Open,
    /// A server that has to run: plain `cargo test` leaves it out then.
    pub needs: Option<&'static str>,
    /// When addresses are proven, in cases that do not say it themselves.
    pub mode: Option<Mode>,
    /// Where the requests of its clients are noted down.
    pub recording: Option<Recording>,
}

type Wrap = Box<dyn FnOnce(Arc<dyn Inspect>) -> Arc<dyn EventStore> + Send>;

/// When addresses are proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    First,
    After,
}

/// The changes that a case makes to the service.
pub struct Options {
    pub body_limit: usize,
    pub body_deadline: Duration,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn SecureRandom>,
    pub profile: EmailProfile,
    pub queue: usize,
    pub argon2: bool,
    pub pepper: Option<Pepper>,
    pub limits: Option<RateLimits>,
    pub policies: Vec<Arc<dyn SignupPolicy>>,
    pub replay_secret: Option<ReplaySecret>,
    pub verification: Option<(Mode, EmailCodes)>,
    pub bans: Option<ReplaySecret>,
    pub events: bool,
    pub proxies: TrustedProxies,
    /// Puts something between the service and the store.
    pub wrap: Wrap,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            body_limit: signup::http::BODY_LIMIT,
            body_deadline: signup::http::BODY_DEADLINE,
            clock: Arc::new(ManualClock::at_unix(NOW)),
            random: Arc::new(SystemRandom),
            profile: EmailProfile::Strict,
            queue: 256,
            argon2: false,
            pepper: None,
            limits: None,
            policies: Vec::new(),
            replay_secret: None,
            verification: None,
            bans: None,
            events: false,
            proxies: TrustedProxies::none(),
            wrap: Box::new(|store| store),
        }
    }
}

impl Backend {
    pub async fn app(self) -> App {
        self.with(Options::default()).await
    }

    pub async fn with(self, options: Options) -> App {
        let mailer = Arc::new(MemoryMailer::default());
        let mails = MailQueue::new(Arc::clone(&mailer)).capacity(100_000);
        let verification = options.verification.or_else(|| {
            let secret = ReplaySecret::new(&[9; 32]).unwrap();
            Some((self.mode?, EmailCodes::new(secret, mails.clone())))
        });
        let store = (self.open)().await;
        let engine = FakeEngine::default();
        // A sign-up at the gate of a test waits for all others.
        let deadline = Duration::from_mins(10);
        let pool = HashPool::builder().workers(2).queue(options.queue).deadline(deadline);
        let pool =
            if options.argon2 { pool.engine(Argon2Engine) } else { pool.engine(engine.clone()) };
        let pool = match options.pepper {
            Some(pepper) => pool.pepper(pepper),
            None => pool,
        };
        let pool = Arc::new(pool.build().unwrap());
        let credentials = SignupService::builder(Arc::clone(&store))
            .jwt_secret(SECRET)
            .clock(Arc::clone(&options.clock))
            .hash_pool(Arc::clone(&pool))
            .build()
            .unwrap()
            .credentials();
        let service = SignupService::builder((options.wrap)(Arc::clone(&store)))
            .jwt_secret(SECRET)
            .clock(options.clock)
            .randomness(options.random)
            .email_profile(options.profile)
            .hash_pool(pool);
        let service = match options.limits {
            Some(limits) => service.rate_limits(limits),
            None => service,
        };
        let service = match options.replay_secret {
            Some(secret) => service.retry_safe(secret),
            None => service,
        };
        let service = match options.bans {
            Some(secret) => service.remember_bans(secret),
            None => service,
        };
        let service = if options.events { service.with_events() } else { service };
        let service = match verification {
            Some((Mode::First, verification)) => service.verify_first(verification),
            Some((Mode::After, verification)) => service.verify_after(verification),
            None => service,
        };
        let service = options.policies.into_iter().fold(service, SignupServiceBuilder::policy);
        let service = service.build().unwrap();
        // One client may ask for three mails to an address: some cases sign up more often.
        let is_first = matches!(self.mode, Some(Mode::First));
        let proxies = if is_first { TrustedProxies::hops(1) } else { options.proxies };
        let endpoint = SignupEndpoint::new(service.clone()).trusted_proxies(proxies);
        let endpoint = endpoint.body_limit(options.body_limit).body_deadline(options.body_deadline);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn((self.serve)(listener, endpoint));
        let mut client = Client::new(addr);
        client.recording = self.recording;
        client.forwarded = is_first.then_some(0x0a00_0000);
        App { addr, store, engine, service, credentials, client, mails, mailer }
    }
}

/// A running server. It ends with the case's runtime.
pub struct App {
    pub addr: SocketAddr,
    pub store: Arc<dyn Inspect>,
    pub engine: FakeEngine,
    pub service: Service,
    /// Returns the credentials service on the same store.
    pub credentials: Credentials,
    pub client: Client,
    /// The mails of a backend that proves addresses.
    mails: MailQueue,
    mailer: Arc<MemoryMailer>,
}

impl App {
    /// Posts a body, and holds the answer against the contract. Where addresses are proven
    /// first, the answer is that to the proof.
    pub async fn post(&mut self, body: impl AsRef<[u8]>) -> Response {
        let mailed = self.mailer.sent().len();
        let mut response = self.client.post(body.as_ref()).await;
        if response.status == 202 {
            response = self.prove(&response, mailed).await;
        }
        response.check_contract(false);
        document::check_request(body.as_ref(), &response);
        response
    }

    /// Proves an address by the mail that was sent to it after so many others. One that has
    /// an account is told there that it is taken; if that was told too often, nothing is
    /// sent.
    async fn prove(&mut self, pending: &Response, mailed: usize) -> Response {
        self.mails.drained().await;
        let sent = self.mailer.sent();
        let mail = sent.get(mailed).filter(|mail| mail.kind() == MailKind::SignupCode);
        let code = match mail {
            None => {
                let refusal = Reply::from(SignupError::EmailTaken);
                let headers = refusal.headers();
                let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
                let (status, headers) = (refusal.status(), headers.collect());
                return Response { status, headers, body: refusal.into_body() };
            }
            Some(mail) => mail.reveal_code().unwrap(),
        };
        let body = json!({"ticket": pending.json()["data"]["ticket"], "code": code}).to_string();
        self.client.request("POST", "/auth/signup/verify", &[JSON], body.as_bytes()).await
    }

    pub async fn post_json(&mut self, body: &Value) -> Response {
        self.post(body.to_string()).await
    }

    /// Signs up with an email and a password that is good.
    pub async fn signup(&mut self, email: &str) -> Response {
        self.post_json(&super::client::signup(email)).await
    }

    /// Sends a request of any kind to the endpoint.
    pub async fn request(
        &mut self,
        method: &str,
        headers: &[&str],
        body: impl AsRef<[u8]>,
    ) -> Response {
        let response = self.client.request(method, "/auth/signup", headers, body.as_ref()).await;
        response.check_contract(method == "HEAD");
        response
    }

    /// Checks that there are `expected` accounts, each with one key of its own.
    pub async fn stores(&self, expected: usize) {
        let accounts = self.store.account_rows().await;
        let keys = self.store.api_key_rows().await;
        assert_eq!((accounts.len(), keys.len()), (expected, expected));
        for account in accounts {
            assert_eq!(keys.iter().filter(|key| key.account_id == account.id).count(), 1);
        }
    }

    /// Checks that nothing came of it: no account, no key, no hash.
    pub async fn untouched(&self) {
        self.stores(0).await;
        assert_eq!(self.engine.hashes(), 0);
    }
}
