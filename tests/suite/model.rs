//! Orders of operations that nobody thought of, on every store, against a plain model: what a
//! service answers, and what is left, is what the model says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::events_of;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use signup::account::{AccountId, AccountState};
use signup::api_key::ApiKeyId;
use signup::clock::{ManualClock, Timestamp};
use signup::credentials::CredentialError;
use signup::event::Event;
use signup::hash::{FakeEngine, HashPool};
use signup::idempotency::{IdempotencyKey, ReplaySecret};
use signup::relay::{Delivery, SinkError};
use signup::store::{AccountFilter, EventStore};
use signup::{SignupError, SignupRequest, SignupService};

use crate::support::backend::{NOW, SECRET, Service};
use crate::support::stores::{self, Inspect};

const DAY: u64 = 86_400;
const TOKEN_LIFETIME: u64 = 7 * DAY;

/// An operation. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Op {
    SignUp { email: usize, password: usize, key: usize },
    LogIn { email: usize, password: usize },
    CheckToken { owner: usize },
    CheckKey { owner: usize, key: usize },
    Issue { owner: usize, lifetime: Option<u64> },
    Rotate { owner: usize, key: usize, grace: u64 },
    Revoke { owner: usize, key: usize },
    RevokeTokens { owner: usize },
    ChangePassword { owner: usize, old: usize, new: usize },
    Disable { owner: usize },
    Enable { owner: usize },
    RequestDeletion { owner: usize, grace: u64 },
    Keep { owner: usize },
    Erase { owner: usize },
    EraseDue,
    Relay,
    Wait { seconds: u64 },
}

fn operations() -> impl Strategy<Value = Vec<Op>> {
    let (some, any) = (0..3_usize, 0..6_usize);
    let seconds = prop::sample::select(vec![1, 60, 3600, DAY - 1, DAY, 8 * DAY]);
    let (owner, key) = (any.clone(), any);
    let op = prop_oneof![
        6 => (some.clone(), 0..2_usize, 0..2_usize)
            .prop_map(|(email, password, key)| Op::SignUp { email, password, key }),
        3 => (some, 0..2_usize).prop_map(|(email, password)| Op::LogIn { email, password }),
        2 => owner.clone().prop_map(|owner| Op::CheckToken { owner }),
        3 => (owner.clone(), key.clone()).prop_map(|(owner, key)| Op::CheckKey { owner, key }),
        2 => (owner.clone(), prop::option::of(seconds.clone()))
            .prop_map(|(owner, lifetime)| Op::Issue { owner, lifetime }),
        2 => (owner.clone(), key.clone(), seconds.clone())
            .prop_map(|(owner, key, grace)| Op::Rotate { owner, key, grace }),
        2 => (owner.clone(), key).prop_map(|(owner, key)| Op::Revoke { owner, key }),
        1 => owner.clone().prop_map(|owner| Op::RevokeTokens { owner }),
        2 => (owner.clone(), 0..2_usize, 0..2_usize)
            .prop_map(|(owner, old, new)| Op::ChangePassword { owner, old, new }),
        1 => owner.clone().prop_map(|owner| Op::Disable { owner }),
        1 => owner.clone().prop_map(|owner| Op::Enable { owner }),
        1 => (owner.clone(), seconds.clone())
            .prop_map(|(owner, grace)| Op::RequestDeletion { owner, grace }),
        1 => owner.clone().prop_map(|owner| Op::Keep { owner }),
        1 => owner.prop_map(|owner| Op::Erase { owner }),
        1 => Just(Op::EraseDue),
        1 => Just(Op::Relay),
        3 => seconds.prop_map(|seconds| Op::Wait { seconds }),
    ];
    prop::collection::vec(op, 1..60)
}

/// An API key, as the model knows it.
#[derive(Debug, Clone)]
struct Key {
    text: String,
    id: ApiKeyId,
    ends: Option<u64>,
}

/// An account, as the model knows it.
#[derive(Debug)]
struct Owner {
    id: AccountId,
    email: usize,
    password: usize,
    state: AccountState,
    due: Option<u64>,
    since: u64,
    /// The request that has made it: its idempotency key and its first API key.
    request: (usize, String),
    /// The token of its sign-up, and whether it was revoked.
    token: (String, bool),
    keys: Vec<Key>,
    events: i64,
}

impl Owner {
    fn is_valid(&self, key: &Key, now: u64) -> bool {
        key.ends.is_none_or(|ends| now < ends)
            && self.keys.iter().any(|it| it.id == key.id)
            && self.state == AccountState::Active
    }

    fn is_in_use(&self) -> bool {
        matches!(self.state, AccountState::Active | AccountState::PendingDeletion)
    }

    fn erase(&mut self) {
        self.state = AccountState::Erased;
        self.due = None;
        self.token.1 = true;
        self.keys.clear();
        self.events += 1;
    }
}

struct World {
    service: Service,
    store: Arc<dyn Inspect>,
    clock: ManualClock,
    now: u64,
    owners: Vec<Owner>,
    /// Keys that were of somebody, and are no longer.
    gone: Vec<Key>,
    delivered: Arc<Mutex<BTreeMap<String, Vec<i64>>>>,
}

fn email(number: usize) -> String {
    format!("u{number}@x.co")
}

fn password(number: usize) -> String {
    format!("password of {number}")
}

fn is_missing<T: std::fmt::Debug>(result: &Result<T, CredentialError>) -> bool {
    matches!(result, Err(CredentialError::NotFound))
}

fn is_wrong<T>(result: &Result<T, CredentialError>) -> bool {
    let Err(CredentialError::Failed(SignupError::Invalid(issues))) = result else { return false };
    issues.iter().all(|issue| issue.path == ["current_password"])
}

fn is_rejected<T: std::fmt::Debug>(result: &Result<T, CredentialError>) -> bool {
    matches!(result, Err(CredentialError::Rejected))
}

impl World {
    fn new(store: Arc<dyn Inspect>) -> Self {
        let clock = ManualClock::at_unix(NOW);
        let pool = HashPool::builder().workers(1).engine(FakeEngine::default());
        let service = SignupService::builder(Arc::clone(&store) as Arc<dyn EventStore>)
            .jwt_secret(SECRET)
            .token_lifetime(Duration::from_secs(TOKEN_LIFETIME))
            .clock(clock.clone())
            .hash_pool(Arc::new(pool.build().unwrap()))
            .retry_safe(ReplaySecret::new(&[9; 32]).unwrap())
            .with_events()
            .build()
            .unwrap();
        let (owners, gone, delivered) = Default::default();
        Self { service, store, clock, now: NOW.into(), owners, gone, delivered }
    }

    /// The account that has an address.
    fn of_email(&mut self, email: usize) -> Option<&mut Owner> {
        let has = |owner: &&mut Owner| owner.email == email && owner.state != AccountState::Erased;
        self.owners.iter_mut().find(has)
    }

    async fn run(&mut self, op: &Op) {
        let now = self.now;
        let count = self.owners.len();
        let at = |number: usize| number.checked_rem(count);
        let credentials = self.service.credentials();
        match *op {
            Op::SignUp { email, password, key } => self.sign_up(email, password, key).await,
            Op::LogIn { email: address, password: given } => {
                let result = credentials.verify_password(&email(address), &password(given)).await;
                let owner = self.of_email(address).filter(|owner| owner.is_in_use());
                match owner.filter(|owner| owner.password == given) {
                    Some(owner) => assert_eq!(result.unwrap(), owner.id),
                    None => assert!(is_rejected(&result), "{result:?}"),
                }
            }
            Op::CheckToken { owner } => {
                let Some(owner) = at(owner).map(|at| &self.owners[at]) else { return };
                let result = credentials.verify_token(&owner.token.0).await;
                let is_valid =
                    !owner.token.1 && owner.is_in_use() && now < owner.since + TOKEN_LIFETIME;
                assert_eq!(result.is_ok(), is_valid, "{result:?}");
            }
            Op::CheckKey { owner, key } => {
                let Some(owner) = at(owner).map(|at| &self.owners[at]) else { return };
                let all: Vec<_> = owner.keys.iter().chain(&self.gone).collect();
                let Some(at) = key.checked_rem(all.len()) else { return };
                let result = credentials.verify_api_key(&all[at].text).await;
                let is_valid = self.owners.iter().any(|owner| owner.is_valid(all[at], now));
                assert_eq!(result.is_ok(), is_valid, "{result:?}");
            }
            Op::Issue { .. } | Op::Rotate { .. } | Op::Revoke { .. } | Op::RevokeTokens { .. } => {
                self.change_keys(op).await;
            }
            Op::Relay => self.relay().await,
            Op::Wait { seconds } => {
                self.clock.advance(Duration::from_secs(seconds));
                self.now += seconds;
            }
            _ => self.change_account(op).await,
        }
    }

    async fn change_keys(&mut self, op: &Op) {
        let (now, credentials) = (self.now, self.service.credentials());
        let count = self.owners.len();
        let at = |number: usize| number.checked_rem(count);
        match *op {
            Op::Issue { owner, lifetime } => {
                let Some(at) = at(owner) else { return };
                let owner = &mut self.owners[at];
                let lifetime = lifetime.map(Duration::from_secs);
                let result = credentials.issue_api_key(&owner.id, lifetime).await;
                if owner.state == AccountState::Erased {
                    assert!(is_missing(&result), "{result:?}");
                    return;
                }
                let issued = result.unwrap();
                let ends = lifetime.map(|it| now + it.as_secs());
                let text = issued.key().reveal().to_owned();
                owner.keys.push(Key { text, id: issued.info().id, ends });
                owner.events += 1;
            }
            Op::Rotate { owner, key, grace } => {
                let Some(at) = at(owner) else { return };
                let owner = &mut self.owners[at];
                let Some(key) = key.checked_rem(owner.keys.len()) else { return };
                let (id, old) = (owner.id.clone(), owner.keys[key].clone());
                let wait = Duration::from_secs(grace);
                let result = credentials.rotate_api_key(&id, &old.id, wait, None).await;
                if old.ends.is_some_and(|ends| ends <= now) {
                    assert!(is_missing(&result), "{result:?}");
                    return;
                }
                let issued = result.unwrap();
                let ends = old.ends.unwrap_or(u64::MAX).min(now + grace);
                owner.keys[key].ends = Some(ends);
                let text = issued.key().reveal().to_owned();
                owner.keys.push(Key { text, id: issued.info().id, ends: None });
                owner.events += 1;
            }
            Op::Revoke { owner, key } => {
                let Some(at) = at(owner) else { return };
                let owner = &mut self.owners[at];
                let all: Vec<_> = owner.keys.iter().chain(&self.gone).cloned().collect();
                let Some(key) = key.checked_rem(all.len()).map(|at| all[at].clone()) else {
                    return;
                };
                let result = credentials.revoke_api_key(&owner.id, &key.id).await;
                let before = owner.keys.len();
                owner.keys.retain(|it| it.id != key.id);
                if owner.keys.len() == before {
                    assert!(is_missing(&result), "{result:?}");
                    return;
                }
                result.unwrap();
                owner.events += 1;
                self.gone.push(key);
            }
            Op::RevokeTokens { owner } => {
                let Some(at) = at(owner) else { return };
                credentials.revoke_tokens(&self.owners[at].id).await.unwrap();
                self.owners[at].token.1 = true;
            }
            _ => {}
        }
    }

    async fn change_account(&mut self, op: &Op) {
        let (now, accounts) = (self.now, self.service.accounts());
        let count = self.owners.len();
        let at = |number: usize| number.checked_rem(count);
        match *op {
            Op::ChangePassword { owner, old, new } => {
                let Some(at) = at(owner) else { return };
                let owner = &mut self.owners[at];
                let (given, chosen) = (password(old), password(new));
                let result = accounts.change_password(&owner.id, &given, &chosen).await;
                if !(owner.is_in_use() && owner.password == old) {
                    let is_refused = is_wrong(&result) || is_rejected(&result);
                    assert!(is_refused || is_missing(&result), "{result:?}");
                    return;
                }
                result.unwrap();
                (owner.password, owner.token.1) = (new, true);
                owner.events += 1;
            }
            Op::Disable { owner } => {
                let Some(at) = at(owner) else { return };
                let owner = &mut self.owners[at];
                let result = accounts.disable(&owner.id).await;
                if owner.state == AccountState::Erased {
                    assert!(is_missing(&result), "{result:?}");
                    return;
                }
                result.unwrap();
                (owner.state, owner.token.1) = (AccountState::Disabled, true);
                owner.events += 1;
            }
            Op::Enable { owner } => {
                let Some(at) = at(owner) else { return };
                let result = accounts.enable(&self.owners[at].id).await;
                let due = self.owners[at].due;
                self.becomes_active(at, AccountState::Disabled, result);
                if self.owners[at].state == AccountState::Active && due.is_some() {
                    let owner = &mut self.owners[at];
                    (owner.state, owner.due) = (AccountState::PendingDeletion, due);
                }
            }
            Op::RequestDeletion { owner, grace } => {
                let Some(at) = at(owner) else { return };
                let owner = &mut self.owners[at];
                let wait = Duration::from_secs(grace);
                let result = accounts.request_deletion(&owner.id, wait).await;
                if !owner.is_in_use() {
                    assert!(is_missing(&result), "{result:?}");
                    return;
                }
                result.unwrap();
                (owner.state, owner.due) = (AccountState::PendingDeletion, Some(now + grace));
                owner.events += 1;
            }
            Op::Keep { owner } => {
                let Some(at) = at(owner) else { return };
                let result = accounts.cancel_deletion(&self.owners[at].id).await;
                self.becomes_active(at, AccountState::PendingDeletion, result);
            }
            Op::Erase { owner } => {
                let Some(at) = at(owner) else { return };
                accounts.erase(&self.owners[at].id).await.unwrap();
                self.erase(at);
            }
            Op::EraseDue => {
                let is_due = |owner: &Owner| owner.due.is_some_and(|due| due <= now);
                let due: Vec<_> = (0..count).filter(|at| is_due(&self.owners[*at])).collect();
                assert_eq!(accounts.erase_due().await.unwrap().erased, due.len());
                for at in due {
                    self.erase(at);
                }
            }
            _ => {}
        }
    }

    async fn sign_up(&mut self, address: usize, given: usize, key: usize) {
        let header = IdempotencyKey::new(format!("idempotency-key-{key}")).unwrap();
        let request = SignupRequest::new(email(address), password(given)).idempotency_key(header);
        let result = self.service.signup(request).await;
        let now = self.now;
        let Some(owner) = self.of_email(address) else {
            let signup = result.unwrap();
            assert!(!signup.is_replayed());
            let text = signup.api_key().reveal().to_owned();
            let id = signup.account().id().clone();
            let first = self.service.credentials().verify_api_key(&text).await.unwrap().key_id();
            self.owners.push(Owner {
                id,
                email: address,
                password: given,
                state: AccountState::Active,
                due: None,
                since: now,
                request: (key, text.clone()),
                token: (signup.token().reveal().to_owned(), false),
                keys: vec![Key { text, id: first, ends: None }],
                events: 1,
            });
            return;
        };
        let first = owner.keys.iter().find(|it| it.text == owner.request.1);
        let is_retry = owner.request.0 == key
            && owner.password == given
            && now < owner.since + DAY
            && !owner.token.1
            && first.is_some_and(|first| owner.is_valid(first, now));
        if !is_retry {
            assert!(matches!(result, Err(SignupError::EmailTaken)), "{result:?}");
            return;
        }
        let signup = result.unwrap();
        assert!(signup.is_replayed());
        assert_eq!(
            (signup.account().id(), signup.api_key().reveal()),
            (&owner.id, &*owner.request.1)
        );
        assert_eq!(signup.token().reveal(), owner.token.0);
    }

    fn becomes_active(
        &mut self,
        at: usize,
        from: AccountState,
        result: Result<(), CredentialError>,
    ) {
        let owner = &mut self.owners[at];
        if owner.state != from {
            assert!(is_missing(&result), "{result:?}");
            return;
        }
        result.unwrap();
        (owner.state, owner.due) = (AccountState::Active, None);
        owner.events += 1;
    }

    fn erase(&mut self, at: usize) {
        if self.owners[at].state != AccountState::Erased {
            self.gone.extend(self.owners[at].keys.iter().cloned());
            self.owners[at].erase();
        }
    }

    /// Delivers all events.
    async fn relay(&self) {
        let delivered = Arc::clone(&self.delivered);
        let relay = self.service.event_relay(move |delivery: Delivery| {
            let delivered = Arc::clone(&delivered);
            async move {
                let (account, number) =
                    (delivery.event.account_id().to_string(), delivery.event.number());
                delivered.lock().unwrap().entry(account).or_default().push(number);
                Ok::<(), SinkError>(())
            }
        });
        while relay.backlog().await.unwrap().waiting > 0 {
            relay.run_once().await.unwrap();
        }
    }

    /// Compares all that is left.
    async fn settle(&mut self) {
        self.relay().await;
        let accounts = self.service.accounts();
        let listed = accounts.list(&AccountFilter::new(1000)).await.unwrap();
        assert_eq!(listed.accounts.len(), self.owners.len());
        for owner in &self.owners {
            let record = accounts.get(&owner.id).await.unwrap().unwrap();
            assert_eq!(record.state, owner.state);
            assert_eq!(
                record.delete_at.map(Timestamp::as_secs),
                owner.due.map(|it| i64::try_from(it).unwrap())
            );
            let listed = self.service.credentials().api_keys(&owner.id).await.unwrap();
            let mut kept: Vec<_> = listed
                .iter()
                .map(|key| (key.id, key.expires_at.map(|it| u64::try_from(it.as_secs()).unwrap())))
                .collect();
            let mut known: Vec<_> = owner.keys.iter().map(|key| (key.id, key.ends)).collect();
            kept.sort_unstable();
            known.sort_unstable();
            assert_eq!(kept, known);
            // Each event once, in its order, and none is missing.
            let numbers: Vec<_> = (1..=owner.events).collect();
            let events = events_of(&self.store, &owner.id, 1000).await.unwrap();
            assert_eq!(events.iter().map(Event::number).collect::<Vec<_>>(), numbers);
            assert_eq!(self.delivered.lock().unwrap().get(owner.id.as_str()), Some(&numbers));
            if owner.state == AccountState::Erased {
                assert!(
                    events
                        .iter()
                        .all(|event| event.number() == owner.events || event.data() == "{}")
                );
            }
        }
    }
}

/// Runs random orders, and shrinks one that fails.
fn hold<F: Future<Output = Arc<dyn Inspect>>>(cases: u32, open: impl Fn() -> F) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let orders = TestRunner::new(config).run(&operations(), |operations| {
        runtime.block_on(async {
            let mut world = World::new(open().await);
            for operation in &operations {
                world.run(operation).await;
            }
            world.settle().await;
        });
        Ok(())
    });
    orders.unwrap();
}

#[test]
fn every_order_has_the_outcome_of_the_model_in_memory() {
    hold(300, async || stores::memory());
}

#[test]
fn every_order_has_the_outcome_of_the_model_on_sqlite() {
    hold(30, stores::sqlite);
}

#[test]
#[ignore = "needs PostgreSQL: scripts/test.sh runs it"]
fn every_order_has_the_outcome_of_the_model_on_postgres() {
    hold(30, stores::postgres);
}

#[test]
#[ignore = "needs MariaDB: scripts/test.sh runs it"]
fn every_order_has_the_outcome_of_the_model_on_mariadb() {
    hold(30, stores::mariadb);
}

#[test]
#[ignore = "needs PostgreSQL: scripts/test.sh runs it"]
fn every_order_has_the_outcome_of_the_model_in_a_table_of_the_hosts() {
    hold(30, stores::mapped_postgres);
}
