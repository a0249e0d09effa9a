use std::error::Error as _;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use async_trait::async_trait;

use super::*;
use crate::clock::Clock;
use crate::fields::EmailKey;
use crate::hash::{FakeEngine, HashPool};
use crate::limit::RateLimits;
use crate::store::{CreateOutcome, NewAccount, StoreError};

/// A store that is on fire for one address, and knows another.
struct OnFire;

#[async_trait]
impl AccountStore for OnFire {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        match key.as_str() {
            "known@x.co" => Ok(true),
            _ => Err(StoreError::Failed("disk on fire".into())),
        }
    }

    async fn create(&self, _: NewAccount) -> Result<CreateOutcome, StoreError> {
        Ok(CreateOutcome::Stored)
    }
}

#[test]
fn limits_that_refuse_every_request_panic() {
    let endpoint = || {
        let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
        let service = SignupService::builder(OnFire).jwt_secret(&[7; 32]);
        SignupEndpoint::new(service.hash_pool(Arc::new(pool)).build().unwrap())
    };
    let limit = std::panic::catch_unwind(|| endpoint().body_limit(0));
    let deadline = std::panic::catch_unwind(|| endpoint().body_deadline(Duration::ZERO));
    assert!(limit.is_err() && deadline.is_err());
}

#[test]
fn the_host_hears_of_failures_that_no_client_caused() {
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(OnFire).jwt_secret(&[7; 32]).hash_pool(Arc::new(pool));
    let reported = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&reported);
    let endpoint = SignupEndpoint::new(service.build().unwrap()).on_failure(move |error| {
        let source = error.source().map(ToString::to_string);
        listener.lock().unwrap().push((error.code().status(), source));
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for (email, status) in [("known@x.co", 409), ("not an email", 400), ("new@x.co", 500)] {
            let head = Head::new("POST", [("content-type", b"application/json".as_slice())]);
            let ticket = endpoint.head(&head).await.unwrap();
            let mut body = ticket.body();
            let json = format!(r#"{{"email":"{email}","password":"correct horse"}}"#);
            body.push(json.as_bytes()).unwrap();
            assert_eq!(endpoint.answer(ticket, body).await.status(), status);
        }
    });
    assert_eq!(*reported.lock().unwrap(), [(500, Some("disk on fire".to_owned()))]);
}

/// A clock that panics.
struct Broken;

impl Clock for Broken {
    fn wall(&self) -> SystemTime {
        panic!("no time today")
    }

    fn monotonic(&self) -> Duration {
        panic!("no time today")
    }
}

#[test]
fn a_panic_of_the_host_s_code_is_answered_in_the_envelope() {
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let limits = RateLimits::per_client("20/min".parse().unwrap());
    let service = SignupService::builder(OnFire).jwt_secret(&[7; 32]).hash_pool(Arc::new(pool));
    let service = service.clock(Broken).rate_limits(limits).build().unwrap();
    let endpoint = SignupEndpoint::new(service).on_failure(|_| panic!("no report today"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let head = Head::new("POST", [("content-type", b"application/json".as_slice())]);
        let refused = endpoint.head(&head).await.unwrap_err();
        assert_eq!(refused.status(), 500);
        assert!(std::str::from_utf8(refused.body()).unwrap().contains("INTERNAL_ERROR"));
    });
}
