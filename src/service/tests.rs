use std::future::pending;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::api_key::ApiKeyPrefix;
use crate::error::{BoxError, ErrorCode};
use crate::fields::{EmailKey, EmailProfile};
use crate::hash::FakeEngine;
use crate::idempotency::{ReplaySecret, ReplaySecretError, ReplaySecrets};
use crate::policy::{Attempt, EmailDomains, MinimumLength, SignupPolicy, Verdict};
use crate::store::{CreateOutcome, InsertProof, MemoryStore, NewAccount, StoreError};
use crate::token::{SigningKey, TokenKeys};

const SECRET: &[u8] = &[7; 32];

fn pool(queue: usize) -> Arc<HashPool> {
    let pool = HashPool::builder().workers(1).queue(queue).engine(FakeEngine::default());
    Arc::new(pool.build().unwrap())
}

fn builder(store: Arc<MemoryStore>) -> SignupServiceBuilder<Arc<MemoryStore>> {
    SignupService::builder(store).jwt_secret(SECRET).hash_pool(pool(8))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn request(email: &str) -> SignupRequest {
    SignupRequest::new(email, "correct horse")
}

/// A store that never answers a look.
struct Stalled;

#[async_trait]
impl AccountStore for Stalled {
    async fn is_email_taken(&self, _: &EmailKey) -> Result<bool, StoreError> {
        pending().await
    }

    async fn create(&self, _: NewAccount) -> Result<CreateOutcome, StoreError> {
        pending().await
    }
}

#[test]
fn a_store_that_stalls_holds_no_place_of_the_hash_queue() {
    let pool = pool(8);
    let service = SignupService::builder(Stalled).jwt_secret(SECRET);
    let service = service.hash_pool(Arc::clone(&pool)).build().unwrap();
    let mut waiting: Vec<_> = (0..100)
        .map(|number| Box::pin(service.signup(request(&format!("u{number}@x.co")))))
        .collect();
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.iter_mut().all(|signup| signup.as_mut().poll(&mut context).is_pending()));
    // Whoever shares the pool and needs no such store goes on.
    let places: Vec<_> = (0..9).map(|_| pool.reserve().unwrap()).collect();
    // Now it is full: nobody asks the store.
    let refused = run(service.signup(request("late@x.co"))).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::RateLimitExceeded);
    drop(places);
}

#[test]
fn a_store_that_stalls_collects_no_requests_that_ask_for_bans() {
    let service = SignupService::builder(Stalled).jwt_secret(SECRET).hash_pool(pool(8));
    let service = service.remember_bans(ReplaySecret::new(&[9; 32]).unwrap()).build().unwrap();
    let email = EmailKey::parse("kim@x.co", EmailProfile::Strict).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut waiting = Vec::new();
    let refused = loop {
        let mut asking = Box::pin(service.inner.refuse_banned(&email));
        match asking.as_mut().poll(&mut context) {
            Poll::Pending => waiting.push(asking),
            Poll::Ready(refused) => break refused.unwrap_err(),
        }
        assert!(waiting.len() <= 10_000, "no bound");
    };
    assert_eq!(refused.code(), ErrorCode::RateLimitExceeded);
}

#[test]
fn plans_of_the_hosts_own_are_asked_for_and_checked() {
    let store = Arc::new(MemoryStore::default());
    let enterprise: Plan = "enterprise".parse().unwrap();
    let refused = builder(Arc::clone(&store)).initial_plan(enterprise.clone()).build();
    assert!(matches!(refused, Err(ConfigError::InitialPlan(_))), "{refused:?}");
    let odd = Plan::from_store("\",\"id\":\"");
    let refused = builder(Arc::clone(&store)).plans([odd.clone()]).initial_plan(odd).build();
    assert!(matches!(refused, Err(ConfigError::Plan { .. })), "{refused:?}");
    let service = builder(Arc::clone(&store)).plans([enterprise.clone()]);
    let service = service.initial_plan(enterprise.clone()).build().unwrap();
    let signup = run(service.signup(request("a@x.co"))).unwrap();
    assert_eq!(signup.account().plan(), &enterprise);
    assert_eq!(service.plans(), [enterprise]);
}

#[test]
fn an_api_key_of_an_earlier_prefix_is_valid_where_that_is_accepted() {
    let store = Arc::new(MemoryStore::default());
    let old = builder(Arc::clone(&store)).build().unwrap();
    let signup = run(old.signup(request("a@x.co"))).unwrap();
    let acme = ApiKeyPrefix::new("acme", "live").unwrap();
    let new = || builder(Arc::clone(&store)).api_key_prefix(acme.clone());
    let key = signup.api_key().reveal();
    assert!(run(new().build().unwrap().credentials().verify_api_key(key)).is_err());
    let rotated = new().accept_api_key_prefix(ApiKeyPrefix::default()).build().unwrap();
    let auth = run(rotated.credentials().verify_api_key(key)).unwrap();
    assert_eq!(auth.account_id(), signup.account().id());
    // New keys have the present prefix, and are valid too.
    let new = run(rotated.signup(request("b@x.co"))).unwrap();
    assert!(new.api_key().reveal().starts_with("acme_live_"));
    assert!(run(rotated.credentials().verify_api_key(new.api_key().reveal())).is_ok());
}

#[test]
fn an_account_has_no_more_valid_api_keys_than_it_may() {
    use crate::clock::ManualClock;
    use crate::credentials::CredentialError;
    let clock = ManualClock::at_unix(1_700_000_000);
    let service = builder(Arc::default()).clock(clock.clone()).build().unwrap();
    let signup = run(service.signup(request("a@x.co"))).unwrap();
    let account = signup.account().id();
    let credentials = service.credentials().with_max_api_keys(2);
    let hour = Duration::from_hours(1);
    run(credentials.issue_api_key(account, Some(hour))).unwrap();
    let refused = run(credentials.issue_api_key(account, None)).unwrap_err();
    assert!(matches!(refused, CredentialError::TooManyKeys));
    assert_eq!(refused.code(), ErrorCode::UsageLimitExceeded);
    // One that has expired does not count, and is listed until it is purged.
    clock.advance(hour);
    run(credentials.issue_api_key(account, None)).unwrap();
    assert_eq!(run(credentials.api_keys(account)).unwrap().len(), 3);
    assert_eq!(run(service.housekeep(&Housekeeping::default())).api_keys, 1);
    assert_eq!(run(credentials.api_keys(account)).unwrap().len(), 2);
}

#[test]
fn a_sign_up_of_any_store_is_prepared_and_opened_by_the_hosts_own_insert() {
    let service = builder(Arc::default()).build().unwrap();
    let prepared = run(service.prepare(request("a@x.co"))).unwrap();
    let other = run(service.prepare(request("b@x.co"))).unwrap();
    let proof = InsertProof::by_host(other.new_account());
    assert!(matches!(prepared.open(proof), Err(SignupError::Internal(_))));
    let proof = InsertProof::by_host(other.new_account());
    let signup = other.open(proof).unwrap();
    assert_eq!(signup.account().email().as_str(), "b@x.co");
    assert_eq!(service.account_store().accounts().len(), 0, "the host has inserted it");
}

/// Builds a service whose builder was changed.
fn built(
    change: impl FnOnce(
        SignupServiceBuilder<Arc<MemoryStore>>,
    ) -> SignupServiceBuilder<Arc<MemoryStore>>,
) -> Result<(), ConfigError> {
    change(builder(Arc::default())).build().map(drop)
}

#[test]
fn a_setting_is_accepted_up_to_its_bounds() {
    let (second, nano) = (Duration::from_secs(1), Duration::from_nanos(1));
    let century = Duration::from_hours(100 * 365 * 24);
    for good in [second, century] {
        assert!(built(|service| service.token_lifetime(good)).is_ok(), "{good:?}");
    }
    for bad in [second.saturating_sub(nano), century + nano] {
        let refused = built(|service| service.token_lifetime(bad));
        assert!(matches!(refused, Err(ConfigError::TokenLifetime)), "{bad:?}");
    }
    let most = Duration::from_mins(10);
    assert!(built(|service| service.token_leeway(most)).is_ok());
    let refused = built(|service| service.token_leeway(most + nano));
    assert!(matches!(refused, Err(ConfigError::TokenLeeway(_))));
    for empty in [built(|service| service.issuer("")), built(|service| service.audience(""))] {
        assert!(matches!(empty, Err(ConfigError::NoIssuerOrAudience)));
    }
    assert!(built(|service| service.issuer("i".repeat(255)).audience("a".repeat(255))).is_ok());
    let long = built(|service| service.issuer("i".repeat(256)));
    assert!(matches!(long, Err(ConfigError::LongIssuerOrAudience)));
    // No password is so long.
    assert!(built(|service| service.policy(MinimumLength(128))).is_ok());
    let refused = built(|service| service.policy(MinimumLength(129)));
    assert!(matches!(refused, Err(ConfigError::Policy(_))));
    assert!(EmailDomains::allow([]).is_err() && EmailDomains::block([]).is_ok());
}

/// A policy that has no time to call out.
struct Hurried;

#[async_trait]
impl SignupPolicy for Hurried {
    async fn evaluate(&self, _: &Attempt<'_>) -> Result<Verdict, BoxError> {
        Ok(Verdict::Allow)
    }

    fn deadline(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

#[test]
fn a_deadline_of_zero_is_refused() {
    let refused = built(|service| service.policy(Arc::new(Hurried)));
    assert!(matches!(refused, Err(ConfigError::ZeroDeadline(_))), "{refused:?}");
}

#[test]
#[cfg(feature = "redis")]
fn a_deadline_of_zero_for_redis_is_refused() {
    use crate::credentials::LoginThrottle;
    use crate::limit::{Quota, RateLimits};

    let limits = RateLimits::per_client(Quota::per_minute(std::num::NonZero::<u32>::MIN))
        .in_redis("redis://127.0.0.1", SECRET)
        .unwrap();
    let throttle = LoginThrottle::new(ReplaySecret::new(&[9; 32]).unwrap());
    for refused in [
        built(|service| service.rate_limits(limits.redis_deadline(Duration::ZERO))),
        built(|service| service.login_throttle(throttle.redis_deadline(Duration::ZERO))),
    ] {
        assert!(matches!(refused, Err(ConfigError::ZeroDeadline(_))), "{refused:?}");
    }
}

#[test]
fn settings_that_exclude_each_other_are_refused() {
    let secret = || ReplaySecret::new(&[9; 32]).unwrap();
    let keys = || TokenKeys::new(SigningKey::ed25519(&[7; 32]));
    let both = built(|service| service.token_keys(keys()));
    assert!(matches!(both, Err(ConfigError::Exclusive(_))), "{both:?}");
    // A secret that signs tokens derives no API keys.
    let shared = built(|service| service.retry_safe(ReplaySecret::new(SECRET).unwrap()));
    assert!(matches!(shared, Err(ConfigError::SharedSecret(_))), "{shared:?}");
    let signing = || TokenKeys::new(SigningKey::hs256(SECRET).unwrap());
    let shared = SignupService::builder(MemoryStore::default()).token_keys(signing());
    let shared = shared.retry_safe(ReplaySecret::new(SECRET).unwrap()).build();
    assert!(matches!(shared, Err(ConfigError::SharedSecret(_))), "{shared:?}");
    // The rotation of one for retries would end every ban.
    let secrets = ReplaySecrets::new(secret());
    let shared =
        built(|service| service.retry_safe(secrets.clone()).remember_bans(secrets.clone()));
    assert!(matches!(shared, Err(ConfigError::SharedSecret(_))), "{shared:?}");
    assert!(built(|service| service.retry_safe(secret()).remember_bans(secret())).is_ok());
    let bans = ReplaySecrets::new(secret());
    assert!(built(|service| service.remember_bans(bans.clone())).is_ok());
    let other = ReplaySecret::new(&[10; 32]).unwrap();
    let promoted = other.version();
    bans.accept(other).unwrap();
    bans.promote(promoted).unwrap();
    assert_eq!(bans.retire(secret().version()), Err(ReplaySecretError::HoldsBans));
    // The same setting twice: the last one counts.
    assert!(built(|service| service.retry_safe(secret()).retry_safe(secrets.clone())).is_ok());
}

#[cfg(feature = "verification")]
mod of_verification {
    use super::*;
    use crate::mail::{MailQueue, MemoryMailer};
    use crate::verification::EmailCodes;

    const DAY: Duration = Duration::from_hours(24);

    fn secret(byte: u8) -> ReplaySecret {
        ReplaySecret::new(&[byte; 32]).unwrap()
    }

    fn verification(lifetime: Duration) -> EmailCodes {
        let mails = MailQueue::new(MemoryMailer::default());
        EmailCodes::new(secret(8), mails).code_lifetime(lifetime)
    }

    #[test]
    fn a_code_lives_from_a_minute_to_a_day() {
        let (minute, nano) = (Duration::from_mins(1), Duration::from_nanos(1));
        run(async {
            for good in [minute, DAY] {
                assert!(built(|service| service.verify_first(verification(good))).is_ok());
            }
            for bad in [minute.saturating_sub(nano), DAY + nano] {
                let refused = built(|service| service.verify_first(verification(bad)));
                assert!(matches!(refused, Err(ConfigError::CodeLifetime(_))), "{bad:?}");
            }
        });
    }

    #[test]
    fn the_modes_of_verification_exclude_each_other() {
        type Builder = SignupServiceBuilder<Arc<MemoryStore>>;
        let modes: [fn(Builder) -> Builder; 3] = [
            |service| service.verify_first(verification(DAY)),
            |service| service.verify_after(verification(DAY)),
            |service| service.mails(verification(DAY)),
        ];
        run(async {
            for (number, one) in modes.iter().enumerate() {
                for (other_number, other) in modes.iter().enumerate() {
                    let refused = built(|service| other(one(service)));
                    assert_eq!(refused.is_ok(), number == other_number, "{refused:?}");
                }
            }
            let mails = MailQueue::new(MemoryMailer::default()).capacity(0);
            let full = EmailCodes::new(secret(8), mails);
            let refused = built(|service| service.verify_first(full));
            assert!(matches!(refused, Err(ConfigError::MailQueue)), "{refused:?}");
        });
    }

    #[test]
    fn an_idempotency_key_is_required_or_read_or_ignored() {
        type Builder = SignupServiceBuilder<Arc<MemoryStore>>;
        let key = |change: fn(Builder) -> Builder, values: &[&[u8]]| {
            let service = change(builder(Arc::default())).build().unwrap();
            service.idempotency_key(values.iter().copied())
        };
        let required = |service: Builder| service.retry_safe(secret(9)).require_idempotency_key();
        run(async {
            let refused = built(|service| required(service).verify_first(verification(DAY)));
            assert!(matches!(refused, Err(ConfigError::KeyOfPendingSignup)));
            assert!(built(|service| required(service).verify_after(verification(DAY))).is_ok());
            assert!(key(required, &[]).is_err());
            let first = |service: Builder| service.verify_first(verification(DAY));
            assert!(matches!(key(first, &[]), Ok(None)));
            for values in [&[b"short".as_slice()][..], &[b"0123456789abcdef".as_slice(); 2]] {
                assert!(key(required, values).is_err() && key(first, values).is_err());
                assert!(matches!(key(|service| service, values), Ok(None)));
            }
            let good = [b"0123456789abcdef".as_slice()];
            assert!(
                key(required, &good).unwrap().is_some() && key(first, &good).unwrap().is_some()
            );
        });
    }
}
