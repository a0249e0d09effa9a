//! The adapter between the simulation and the crate: a service with every option on, in front
//! of a store, a mailer and a sink that can be made to fail.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use signup::account::AccountId;
use signup::clock::ManualClock;
use signup::credentials::{CredentialError, Credentials, Login, LoginThrottle};
use signup::hash::{FakeEngine, HashPool};
use signup::http::{Head, SignupEndpoint};
use signup::idempotency::{ReplaySecret, ReplaySecrets};
use signup::limit::{ClientIp, RateLimits};
use signup::mail::{Mail, MailError, MailKind, MailQueue, Mailer};
use signup::policy::{Attempt, EmailDomains, InvitationOnly, Occasion, SignupPolicy, Verdict};
use signup::random::SeededRandom;
use signup::relay::{Delivery, EventRelay, Sink, SinkError};
use signup::store::{Effect, EventStore, MemoryStore};
use signup::token::{SigningKey, TokenKeys};
use signup::verification::EmailCodes;
use signup::{AccountCodes, Accounts, SignupError, SignupService};
use tokio::runtime::Handle;

use crate::support::faults::{ChangeFault, Fault, Faulty};

/// The invitation code that the guard accepts.
pub const INVITATION: &str = "friends";
/// A domain that no account may have an address of.
pub const BLOCKED: &str = "blocked.example";
/// The counters of the throttle, of each kind.
pub const CAPACITY: usize = 256;
pub const TOKEN_LIFETIME: Duration = Duration::from_hours(30 * 24);
/// Turns without progress after which simulated time goes on by a second.
const PATIENCE: usize = 24;
/// No operation may take longer, however slow the host's code is.
const LONGEST: usize = 120;

type Store = Arc<Faulty<Arc<dyn EventStore>>>;
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// When addresses are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Neither,
    First,
    After,
}

/// A fault that is planted to show that the simulation finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// I1: log-ins are not throttled.
    NoThrottle,
    /// I2: trusted devices are not recognized.
    NoTrustedDevice,
    /// I3: what was verified once is verified for ever.
    StaleTokens,
    /// I4: a change of password wipes the host's rows.
    WipesOnChange,
    /// I5: the address is looked up before the policies run.
    OracleBeforeGuard,
    /// I6: deletions that are due are not carried out.
    ForgetsDeletions,
    /// I7: one account that can't be erased stops all others.
    StopsAtFailure,
    /// I8: a policy waits without a deadline.
    WaitsForever,
    /// I10: retries have another idempotency key.
    ForgetsRetries,
    /// I11: settings are not checked.
    TakesAnySetting,
    /// I12: an error has a body that is not documented.
    OddAnswer,
}

/// A failure of a part of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Fails,
    Hangs,
    Panics,
}

impl Trouble {
    /// Hangs, panics, or returns the text of an error.
    async fn strike(self) -> &'static str {
        match self {
            Self::Fails => "told to",
            Self::Hangs => std::future::pending().await,
            Self::Panics => panic!("told to"),
        }
    }
}

/// The host's side of the world: what fails at present, and what was seen.
#[derive(Debug, Default)]
pub struct Host {
    /// The accounts whose rows can't be wiped.
    pub poisoned: BTreeSet<String>,
    /// The accounts whose rows were wiped.
    pub wiped: BTreeSet<String>,
    pub sink: Option<Trouble>,
    pub mailer: Option<Trouble>,
    pub policy_hangs: bool,
    /// Account, number and kind of each event that the sink took over.
    pub delivered: Vec<(String, i64, &'static str)>,
    pub mails: Vec<Mail>,
}

pub type SharedHost = Arc<Mutex<Host>>;

/// The receiver of mails and events.
struct Receiver(SharedHost);

/// The mailer of a process, which sends nothing more once the process is dead.
struct Process(SharedHost, Arc<AtomicBool>);

#[async_trait]
impl Mailer for Process {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        if self.1.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let trouble = self.0.lock().unwrap().mailer;
        if let Some(trouble) = trouble {
            return Err(MailError::Temporary(trouble.strike().await.into()));
        }
        self.0.lock().unwrap().mails.push(mail.clone());
        Ok(())
    }
}

#[async_trait]
impl Sink for Receiver {
    async fn deliver(&self, Delivery { event, .. }: Delivery) -> Result<(), SinkError> {
        let trouble = self.0.lock().unwrap().sink;
        if let Some(trouble) = trouble {
            return Err(SinkError::Temporary(trouble.strike().await.into()));
        }
        let mut host = self.0.lock().unwrap();
        let account = event.account_id().as_str().to_owned();
        host.delivered.push((account, event.number(), event.kind().as_str()));
        Ok(())
    }
}

/// A policy that can be made to hang.
struct Slow(SharedHost, Option<Duration>);

#[async_trait]
impl SignupPolicy for Slow {
    async fn evaluate(&self, _: &Attempt<'_>) -> Result<Verdict, signup::error::BoxError> {
        if self.0.lock().unwrap().policy_hangs {
            std::future::pending::<()>().await;
        }
        Ok(Verdict::Allow)
    }

    fn occasions(&self) -> &[Occasion] {
        &[Occasion::Signup]
    }

    fn deadline(&self) -> Option<Duration> {
        self.1
    }
}

/// The reason why an operation has not succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// 429.
    Busy,
    /// 401.
    Rejected,
    /// 404.
    NotFound,
    /// 409.
    Taken,
    /// 400, with the path of its first issue.
    Invalid(String),
    /// 5xx, and what else.
    Failed(String),
}

impl From<SignupError> for Refusal {
    fn from(error: SignupError) -> Self {
        match &error {
            SignupError::Busy { .. } | SignupError::RateLimited(_) => Self::Busy,
            SignupError::EmailTaken => Self::Taken,
            SignupError::Invalid(issues) => Self::Invalid(issues[0].path.concat()),
            other => Self::Failed(format!("{other:?}")),
        }
    }
}

impl From<CredentialError> for Refusal {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Rejected => Self::Rejected,
            CredentialError::NotFound => Self::NotFound,
            CredentialError::Failed(error) => error.into(),
            other => Self::Failed(format!("{other:?}")),
        }
    }
}

/// The answer to a request.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub body: Value,
}

impl Response {
    /// Returns `data`, or the reason why it is missing.
    pub fn data(self) -> Result<Value, Refusal> {
        match self.status {
            200..=299 => Ok(self.body["data"].clone()),
            429 => Err(Refusal::Busy),
            401 => Err(Refusal::Rejected),
            409 => Err(Refusal::Taken),
            400 => {
                let path = &self.body["error"]["details"]["issues"][0]["path"][0];
                Err(Refusal::Invalid(path.as_str().unwrap_or("").to_owned()))
            }
            _ => Err(Refusal::Failed(self.body.to_string())),
        }
    }
}

/// The parts that outlive a restart of the service.
pub struct World {
    pub clock: ManualClock,
    pub pool: Arc<HashPool>,
    pub engine: FakeEngine,
    pub host: SharedHost,
    pub store: Store,
    pub plant: Option<Plant>,
    /// The parts of operations that have ended: a flood has many.
    pub ended: Cell<u64>,
    random: Arc<SeededRandom>,
    mails: RefCell<MailQueue>,
    /// Whether the process is dead.
    is_dead: RefCell<Arc<AtomicBool>>,
    secrets: Secrets,
}

/// The secrets of a service, which an operator rotates.
struct Secrets {
    tokens: TokenKeys,
    retries: ReplaySecrets,
    bans: ReplaySecrets,
    tickets: ReplaySecrets,
    devices: ReplaySecrets,
    /// The number of the last secret.
    drawn: Cell<u8>,
}

impl Secrets {
    fn new() -> Self {
        let secret = |byte| ReplaySecrets::new(secret(byte));
        let tokens = TokenKeys::new(SigningKey::hs256(&[1; 32]).unwrap());
        let [retries, bans, tickets, devices] = [secret(2), secret(3), secret(4), secret(5)];
        Self { tokens, retries, bans, tickets, devices, drawn: Cell::new(5) }
    }

    /// Rotates one of the secrets, and accepts the old one.
    fn rotate(&self, number: u32) {
        let byte = self.drawn.get().checked_add(1).unwrap();
        self.drawn.set(byte);
        let all = [&self.retries, &self.bans, &self.tickets, &self.devices];
        if let Some(secrets) = all.get(number as usize % 5) {
            let (new, version) = (secret(byte), secret(byte).version());
            secrets.accept(new).unwrap();
            secrets.promote(version).unwrap();
        } else {
            let key = SigningKey::hs256(&[byte; 32]).unwrap();
            let name = key.key_id().to_owned();
            self.tokens.add(key).unwrap();
            self.tokens.promote(&name).unwrap();
        }
    }
}

/// A running service.
pub struct Running {
    pub mode: Mode,
    pub service: SignupService<Store>,
    pub accounts: Accounts,
    pub codes: AccountCodes,
    pub credentials: Credentials,
    pub endpoint: SignupEndpoint<Store>,
    pub relay: EventRelay,
}

fn secret(byte: u8) -> ReplaySecret {
    ReplaySecret::new(&[byte; 32]).unwrap()
}

impl World {
    pub fn new(
        seed: u64,
        store: Arc<dyn EventStore>,
        elsewhere: Option<Handle>,
        plant: Option<Plant>,
    ) -> Self {
        let (clock, engine) = (ManualClock::at_unix(1_800_000_000), FakeEngine::default());
        let host = SharedHost::default();
        let pool = HashPool::builder().workers(1).queue(1000).engine(engine.clone()).manual();
        let pool = Arc::new(pool.clock(clock.clone()).build().unwrap());
        let of_store = Arc::clone(&host);
        let at_change = move |change: &signup::store::AccountChange| {
            let mut host = of_store.lock().unwrap();
            let account = change.account().as_str();
            let wipes = change.effects().iter().any(|it| matches!(it, Effect::WipeHostRows(_)));
            if wipes && host.poisoned.contains(account) {
                return Some(Fault::Failed);
            }
            if wipes {
                host.wiped.insert(account.to_owned());
            }
            None
        };
        let at_change: ChangeFault = Box::new(at_change);
        let store =
            Faulty { yields: true, at_change: Some(at_change), elsewhere, ..Faulty::new(store) };
        let is_dead = Arc::<AtomicBool>::default();
        let mails = MailQueue::new(Process(Arc::clone(&host), Arc::clone(&is_dead)));
        Self {
            clock,
            pool,
            engine,
            store: Arc::new(store),
            plant,
            ended: Cell::new(0),
            random: Arc::new(SeededRandom::new(seed)),
            mails: RefCell::new(mails),
            is_dead: RefCell::new(is_dead),
            host,
            secrets: Secrets::new(),
        }
    }

    /// Ends the process: the mails in its queue are lost.
    pub fn kill(&self) {
        let is_dead = Arc::<AtomicBool>::default();
        let mails = MailQueue::new(Process(Arc::clone(&self.host), Arc::clone(&is_dead)));
        self.is_dead.replace(is_dead).store(true, Ordering::Relaxed);
        // Tasks can't be killed: their next attempt takes for ever.
        let _ = self.mails.replace(mails).deadline(Duration::from_hours(24 * 365));
    }

    pub fn planted(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    /// Starts a service on the store.
    pub fn start(&self, mode: Mode) -> Running {
        let deadline = (!self.planted(Plant::WaitsForever)).then_some(Duration::from_secs(2));
        let builder = SignupService::builder(Arc::clone(&self.store))
            .clock(self.clock.clone())
            .randomness(Arc::clone(&self.random))
            .token_keys(self.secrets.tokens.clone())
            .token_lifetime(TOKEN_LIFETIME)
            .hash_pool(Arc::clone(&self.pool))
            .retry_safe(self.secrets.retries.clone())
            .remember_bans(self.secrets.bans.clone())
            .with_events()
            .rate_limits(
                RateLimits::per_client("5/h".parse().unwrap())
                    .requests("100000/min".parse().unwrap()),
            )
            .policy(InvitationOnly::new(async |code| Ok(code == INVITATION)))
            .policy(EmailDomains::block([BLOCKED]).unwrap())
            .policy(Slow(Arc::clone(&self.host), deadline));
        let verification =
            EmailCodes::new(self.secrets.tickets.clone(), self.mails.borrow().clone());
        let builder = match mode {
            Mode::Neither => builder.mails(verification),
            Mode::First => builder.verify_first(verification),
            Mode::After => builder.verify_after(verification),
        };
        let throttle = LoginThrottle::new(self.secrets.devices.clone()).capacity(CAPACITY);
        let is_throttled = !self.planted(Plant::NoThrottle);
        let builder = if is_throttled { builder.login_throttle(throttle) } else { builder };
        let service = builder.build().unwrap();
        Running {
            mode,
            accounts: service.accounts(),
            codes: service.account_codes().unwrap(),
            credentials: service.credentials(),
            endpoint: SignupEndpoint::new(service.clone()),
            relay: service.event_relay(Receiver(Arc::clone(&self.host))),
            service,
        }
    }

    /// Rotates one of the secrets of the running service.
    pub fn rotate(&self, number: u32) {
        self.secrets.rotate(number);
    }

    /// Awaits an operation: computes its hashes, lets tasks run, and lets time pass while
    /// nothing happens. Returns `None` for one that does not end.
    pub async fn drive<T>(&self, operation: impl Future<Output = T>) -> Option<T> {
        let mut operation = pin!(operation);
        let (mut idle, mut ended) = (0, self.ended.get());
        while idle < PATIENCE * LONGEST {
            if let Poll::Ready(output) = poll(operation.as_mut()).await {
                return Some(output);
            }
            if self.turn().await || ended != self.ended.get() {
                (idle, ended) = (0, self.ended.get());
                continue;
            }
            idle += 1;
            if idle.is_multiple_of(PATIENCE) {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        }
        None
    }

    /// Lets everything but the operation itself go on. Returns whether a hash was computed.
    pub async fn turn(&self) -> bool {
        let has_hashed = self.pool.run_next();
        if !has_hashed {
            tokio::task::yield_now().await;
        }
        has_hashed
    }

    /// Waits until every mail was sent or given up.
    pub async fn deliver_mails(&self) {
        for _ in 0..PATIENCE {
            tokio::task::yield_now().await;
        }
    }

    /// Returns the code of the last mail of this kind to an address, unless it is among the
    /// first `before` mails.
    pub fn code(&self, address: &str, kind: MailKind, before: usize) -> Option<String> {
        let host = self.host.lock().unwrap();
        let mut sent = host.mails.iter().skip(before).rev();
        let found = sent.find(|mail| mail.kind() == kind && mail.to().as_str() == address)?;
        found.reveal_code().map(str::to_owned)
    }

    pub fn mails_so_far(&self) -> usize {
        self.host.lock().unwrap().mails.len()
    }
}

/// Polls a future once.
pub async fn poll<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// The address of a client.
pub fn client(number: u64) -> ClientIp {
    ClientIp::from(address(number))
}

fn address(number: u64) -> IpAddr {
    let [.., a, b, c] = number.to_be_bytes();
    Ipv4Addr::new(10, a, b, c).into()
}

impl Running {
    /// Sends a request through the endpoint.
    pub async fn post(
        &self,
        path: &str,
        from: u64,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Response {
        let body = body.to_string();
        let length = body.len().to_string();
        let own = [("content-type", "application/json"), ("content-length", &*length)];
        let all = own.iter().chain(headers).map(|(name, value)| (*name, value.as_bytes()));
        let head = Head::new("POST", all).peer(Some(address(from)));
        let reply = match self.endpoint.check_head(self.endpoint.route(path).unwrap(), &head).await
        {
            Err(refused) => refused,
            Ok(head) => {
                let mut read = head.body();
                read.push(body.as_bytes()).unwrap();
                self.endpoint.answer(head, read).await
            }
        };
        let status = reply.status();
        let body = serde_json::from_slice(reply.body()).unwrap_or(Value::Null);
        Response { status, body }
    }

    pub async fn log_in(
        &self,
        email: &str,
        password: &str,
        from: u64,
        device: Option<&str>,
    ) -> Result<Login, Refusal> {
        Ok(self.credentials.log_in(email, password, Some(client(from)), device).await?)
    }

    /// Issues a token for a log-in that has succeeded.
    pub async fn issue_token(&self, login: &Login) -> Result<String, Refusal> {
        let token = self.credentials.issue_token(login).await?;
        Ok(token.reveal().to_owned())
    }

    /// Returns the mark of the device that made the change, as the next two do.
    pub async fn change_password(
        &self,
        account: &AccountId,
        old: &str,
        new: &str,
    ) -> Result<Option<String>, Refusal> {
        Ok(mark(&self.accounts.change_password(account, old, new).await?))
    }

    pub async fn begin_reset(
        &self,
        email: &str,
        from: u64,
        device: Option<&str>,
    ) -> Result<String, Refusal> {
        let from = Some(client(from));
        let pending = self.codes.begin_password_reset_from(email, from, device).await?;
        Ok(pending.reveal_ticket().to_owned())
    }

    pub async fn complete_reset(
        &self,
        ticket: &str,
        code: &str,
        password: &str,
    ) -> Result<Option<String>, Refusal> {
        Ok(mark(&self.codes.complete_password_reset(ticket, code, password).await?.login))
    }

    pub async fn begin_change(
        &self,
        account: &AccountId,
        email: &str,
        from: u64,
    ) -> Result<String, Refusal> {
        let pending = self.codes.begin_email_change(account, email, Some(client(from))).await?;
        Ok(pending.reveal_ticket().to_owned())
    }

    pub async fn complete_change(
        &self,
        account: &AccountId,
        ticket: &str,
        code: &str,
    ) -> Result<Option<String>, Refusal> {
        Ok(mark(&self.codes.complete_email_change(account, ticket, code).await?))
    }
}

fn mark(login: &Login) -> Option<String> {
    login.trusted_device().map(|device| device.reveal().to_owned())
}

/// Tries settings that can't work, and returns whether each was refused.
pub fn bad_settings() -> Vec<(&'static str, bool)> {
    let builder = || SignupService::builder(MemoryStore::default()).jwt_secret(&[1; 32]);
    let mails = || MailQueue::new(Process(SharedHost::default(), Arc::default()));
    let verification = || EmailCodes::new(secret(5), mails());
    vec![
        ("a token that never lives", builder().token_lifetime(Duration::ZERO).build().is_err()),
        (
            "addresses that are verified both first and after",
            builder().verify_first(verification()).verify_after(verification()).build().is_err(),
        ),
        (
            "a queue without room for a mail",
            builder()
                .verify_first(EmailCodes::new(secret(5), mails().capacity(0)))
                .build()
                .is_err(),
        ),
    ]
}
