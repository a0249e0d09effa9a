//! The texts of public types: `Debug` names the type and has no secret, and what is stored or
//! logged by its name has that name.

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use signup::credentials::LoginThrottle;
use signup::error::BoxError;
use signup::event::EventKind;
use signup::fields::{Email, EmailProfile, Password};
use signup::hash::{FakeEngine, ForeignHashes, HashInput, HashPool, Limits, WorkFactor};
use signup::http::{Head, SignupEndpoint};
use signup::idempotency::{Receipt, ReplaySecret, ReplaySecrets};
use signup::limit::{Limiter, Quota, RateLimits};
use signup::mail::{Code, Mail, MailKind, MailQueue, MemoryMailer, SmtpMailer};
use signup::policy::{Attempt, InvitationOnly, InviteCode, SignupPolicy, Verdict};
use signup::relay::{Delivery, EventRelay, SinkError, Webhook, WebhookSecret};
use signup::store::{DeliveryState, Dialect, MemoryStore, SqliteStore, TableMap};
use signup::token::{SigningKey, TokenKeys, TokenVerifier, VerifyingKey};
use signup::verification::EmailCodes;
use signup::{SignupRequest, SignupService};

const SECRET: &[u8; 32] = b"a-secret-that-nobody-shall-see!!";

/// Checks that a value shows the name of its type, and no secret.
#[track_caller]
fn shows(name: &str, value: &dyn Debug) {
    let text = format!("{value:?}");
    assert!(text.starts_with(name), "{text}");
    // As text, and as the list of its bytes.
    let bytes = format!("{:?}", &SECRET[..4]);
    assert!(!text.contains("a-secret") && !text.contains(bytes.trim_matches(['[', ']'])), "{text}");
}

fn secret() -> &'static str {
    std::str::from_utf8(SECRET).unwrap()
}

/// Another secret than the one that signs tokens.
fn replay() -> ReplaySecret {
    ReplaySecret::new(&[SECRET.as_slice(), b"!"].concat()).unwrap()
}

#[tokio::test]
async fn each_part_shows_its_name_and_no_secret() {
    let secret = secret();
    shows("Password", &Password::parse(secret).unwrap());
    shows("ReplaySecret", &replay());
    shows("ReplaySecrets", &ReplaySecrets::from(replay()));
    shows("LoginThrottle", &LoginThrottle::new(replay()));
    shows("ForeignHashes", &ForeignHashes::default().devise_pepper(secret));
    shows("InviteCode", &InviteCode(secret.to_owned()));
    shows("InvitationOnly", &InvitationOnly::new(async |_| Ok(true)));
    shows("WebhookSecret", &WebhookSecret::new(SECRET).unwrap());
    let secret_of_webhook = WebhookSecret::new(SECRET).unwrap();
    shows("Webhook", &Webhook::new("https://x.co/hook", secret_of_webhook).unwrap());
    shows("RateLimits", &RateLimits::per_client(Quota::per_minute(NonZeroU32::MIN)));
    let limits = RateLimits::per_client(Quota::per_minute(NonZeroU32::MIN));
    shows("Limiter", &Limiter::new(limits).unwrap());
    let header = [("authorization", SECRET.as_slice())];
    shows("Head", &Head::new("POST", header));
    shows("TableMap", &TableMap::new("users"));
    let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
    shows("SqlStore", &store);
    shows("Adoption", &store.adoption());
    shows("can't migrate the store sqlite", &store.adoption().run().await.unwrap_err());
    shows("HashInput", &HashInput::new(SECRET, SECRET, WorkFactor::default()));
    shows("Receipt", &Receipt::from_store(&SECRET[..16], 1, SECRET).unwrap());
    let url = format!("smtps://kim:{secret}@smtp.example.com");
    shows("SmtpMailer", &SmtpMailer::from_url(&url, "kim@x.co").unwrap());
}

#[test]
fn keys_and_mails_show_their_names_and_no_secret() {
    let key = SigningKey::hs256(SECRET).unwrap();
    shows("SigningKey", &key);
    let keys = TokenKeys::from(key);
    shows("VerifyingKey", &VerifyingKey::ed25519(&[1; 32]).unwrap());
    shows("TokenVerifier", &TokenVerifier::new(keys.clone()));
    shows("TokenKeys", &keys);

    let to = Email::parse("kim@x.co", EmailProfile::default()).unwrap();
    let code = Code::parse("7HXW3K9P").unwrap();
    let mail = Mail::new(MailKind::SignupCode, to, code, Duration::from_mins(1));
    shows("Mail", &mail);
    assert!(!format!("{mail:?}").contains("7HXW"));
    let mails = MailQueue::new(MemoryMailer::default());
    shows("MailQueue", &mails);
    shows("EmailCodes", &EmailCodes::new(replay(), mails));
}

#[tokio::test]
async fn a_service_and_its_parts_show_their_names_and_no_secret() {
    let builder = HashPool::builder().workers(1).engine(FakeEngine::default());
    shows("HashPoolBuilder", &builder);
    let pool = Arc::new(builder.build().unwrap());
    shows("HashPool", &pool);
    shows("HashPermit", &pool.reserve().unwrap());
    let store = MemoryStore::default();
    let sink = async |_: Delivery| Ok::<(), SinkError>(());
    shows("EventRelay", &EventRelay::new(Arc::new(MemoryStore::default()), sink));
    let builder = SignupService::builder(store).jwt_secret(SECRET).hash_pool(pool);
    shows("SignupServiceBuilder", &builder);
    let service = builder.build().unwrap();
    shows("SignupService", &service);
    shows("Credentials", &service.credentials());
    let prepared = service.prepare(SignupRequest::new("kim@x.co", secret())).await.unwrap();
    shows("Prepared", &prepared);
    let statements = prepared.statements(&Dialect::sqlite());
    assert_eq!(statements.len(), 2);
    // A statement shows its SQL, and a value its type.
    shows("INSERT", &statements[0]);
    for statement in &statements {
        for value in statement.values() {
            assert!(!format!("{value:?}").is_empty());
            shows("", &value);
        }
    }
    let endpoint = SignupEndpoint::from(service);
    shows("SignupEndpoint", &endpoint);
    let headers = [("content-type", b"application/json".as_slice()), ("x-secret", SECRET)];
    shows("AcceptedHead", &endpoint.head(&Head::new("POST", headers)).await.unwrap());
}

/// A policy sees an attempt, and a caller what is to be proven or was logged in.
#[tokio::test]
async fn what_a_request_is_meanwhile_shows_its_name_and_no_secret() {
    struct Printing;
    #[async_trait]
    impl SignupPolicy for Printing {
        async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
            shows("Attempt", attempt);
            Ok(Verdict::Allow)
        }
    }
    let mails = MailQueue::new(MemoryMailer::default());
    let service = SignupService::builder(MemoryStore::default())
        .jwt_secret(SECRET)
        .hash_pool(Arc::new(
            HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap(),
        ))
        .verify_after(EmailCodes::new(replay(), mails))
        .login_throttle(LoginThrottle::new(replay()))
        .policy(Printing)
        .build()
        .unwrap();
    service.signup(SignupRequest::new("kim@x.co", secret())).await.unwrap();
    let codes = service.account_codes().unwrap();
    shows("AccountCodes", &codes);
    shows("Accounts", &service.accounts());
    shows("VerifyAfter", &service.verification().after().unwrap());
    let pending = codes.begin_password_reset("kim@x.co", None).await.unwrap();
    shows("PendingVerification", &pending);
    assert!(!format!("{pending:?}").contains(pending.reveal_ticket()));
    let credentials = service.credentials();
    let login = credentials.log_in("kim@x.co", secret(), None, None).await.unwrap();
    let known = login.trusted_device().unwrap();
    shows("TrustedDevice", known);
    assert!(!format!("{login:?}").contains(known.reveal()));
}

#[test]
fn what_is_stored_by_its_name_has_it() {
    for kind in [EventKind::AccountCreated, EventKind::AccountErased] {
        assert_eq!(kind.to_string(), kind.as_str());
        assert!(kind.as_str().starts_with("account."));
    }
    for state in [signup::account::AccountState::Active, signup::account::AccountState::Disabled] {
        assert_eq!(state.to_string(), state.as_str());
        assert_eq!(state.to_string(), format!("{state:?}").to_lowercase());
    }
    for state in [DeliveryState::Waiting, DeliveryState::Delivered] {
        assert_eq!(state.to_string(), state.as_str());
        assert_eq!(state.to_string(), format!("{state:?}").to_lowercase());
    }
    assert_eq!(WorkFactor::OWASP_19_MIB.to_string(), "m=19456,t=2,p=1");
    assert_eq!(Limits::default().to_string(), "m=1048576,t=16,p=16");
}

/// A pool says what it was built with.
#[test]
fn a_pool_tells_its_engine_and_its_work_factor() {
    let pool = HashPool::builder().workers(1).work_factor(WorkFactor::OWASP_7_MIB);
    let pool = pool.limits(Limits::default()).engine(FakeEngine::default()).build().unwrap();
    assert_eq!((pool.engine(), pool.work_factor()), ("fake", WorkFactor::OWASP_7_MIB));
}
