//! Hazards 6 and 8, as far as a store's answer or a panic goes: whatever fails,
//! nothing is left behind and the answer is in the envelope.

use signup::store::EventStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use signup::clock::{Clock, ManualClock};
use signup::random::SecureRandom;

use crate::support::backend::{App, Backend, Options};
use crate::support::faults::{Fault, Faulty, FaultyRandom};

async fn at_look(backend: Backend, fault: Fault) -> App {
    let wrap = move |store| -> Arc<dyn EventStore> {
        Arc::new(Faulty { at_look: Some(fault), ..Faulty::new(store) })
    };
    backend.with(Options { wrap: Box::new(wrap), ..Options::default() }).await
}

async fn at_create(backend: Backend, fault: Fault) -> App {
    let wrap = move |store| -> Arc<dyn EventStore> {
        Arc::new(Faulty { at_create: Some(fault), ..Faulty::new(store) })
    };
    backend.with(Options { wrap: Box::new(wrap), ..Options::default() }).await
}

/// A clock that panics on demand.
struct Panicking(Arc<AtomicBool>);

impl Clock for Panicking {
    fn wall(&self) -> SystemTime {
        assert!(!self.0.load(Ordering::SeqCst), "the clock was told to panic");
        ManualClock::at_unix(1).wall()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

crate::cases![
    [F07] after_an_answer_that_was_lost_the_retry_finds_the_account,
    [F17] a_store_that_hangs_keeps_no_place_of_a_client_that_leaves,
    [F01] a_store_that_does_not_answer_costs_no_hash,
    [F02, F07] faults_of_the_insert,
    [H05] what_is_refused_is_not_hashed,
    [H04] a_full_queue_is_refused_before_the_store_is_asked,
    [X05] a_panic_of_the_engine,
    [X06] a_panic_of_the_store,
    [X06] a_panic_of_clock_and_randomness,
];

async fn a_store_that_does_not_answer_costs_no_hash(backend: Backend) {
    let mut app = at_look(backend, Fault::Unavailable).await;
    app.signup("a@x.co").await.is(503, "EXTERNAL_SERVICE_ERROR");
    app.untouched().await;
}

async fn faults_of_the_insert(backend: Backend) {
    for (fault, status, code) in [
        (Fault::Unavailable, 503, "EXTERNAL_SERVICE_ERROR"),
        (Fault::OutcomeUnknown, 503, "EXTERNAL_SERVICE_ERROR"),
        (Fault::Failed, 500, "INTERNAL_ERROR"),
    ] {
        let mut app = at_create(backend, fault).await;
        app.signup("a@x.co").await.is(status, code);
        app.stores(0).await;
    }
}

async fn what_is_refused_is_not_hashed(backend: Backend) {
    let mut app = backend.app().await;
    app.signup("a@x.co").await.data();
    assert_eq!(app.engine.hashes(), 1);
    app.signup("A@X.co").await.is(409, "CONFLICT");
    app.signup("nobody").await.is_invalid(&["email"]);
    app.post("{").await.is_malformed();
    assert_eq!(app.engine.hashes(), 1);
}

async fn a_full_queue_is_refused_before_the_store_is_asked(backend: Backend) {
    let faulty = Arc::new(std::sync::OnceLock::new());
    let wrap = {
        let faulty = Arc::clone(&faulty);
        move |store| -> Arc<dyn EventStore> {
            Arc::clone(faulty.get_or_init(|| Arc::new(Faulty::new(store)))) as _
        }
    };
    let mut app =
        backend.with(Options { queue: 1, wrap: Box::new(wrap), ..Options::default() }).await;
    let pool = Arc::clone(app.service.hash_pool());
    let places: Vec<_> = std::iter::from_fn(|| pool.reserve().ok()).collect();
    assert_eq!(places.len(), 3);
    app.signup("a@x.co").await.is(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(faulty.get().unwrap().looks.load(Ordering::SeqCst), 0);
    app.untouched().await;
    drop(places);
    assert_eq!(app.signup("a@x.co").await.status, 201);
}

async fn a_panic_of_the_engine(backend: Backend) {
    let mut app = backend.app().await;
    app.engine.panic(true);
    app.signup("a@x.co").await.is(500, "INTERNAL_ERROR");
    app.engine.panic(false);
    app.engine.fail(true);
    app.signup("a@x.co").await.is(500, "INTERNAL_ERROR");
    app.engine.fail(false);
    app.stores(0).await;
    assert_eq!(app.signup("a@x.co").await.status, 201);
}

async fn a_panic_of_the_store(backend: Backend) {
    let mut app = at_look(backend, Fault::Panic).await;
    app.signup("a@x.co").await.is(500, "INTERNAL_ERROR");
    app.untouched().await;
    // No place is lost with the request.
    assert_eq!(app.service.hash_pool().stats().running, 0);
    let mut app = at_create(backend, Fault::Panic).await;
    for _ in 0..300 {
        app.signup("a@x.co").await.is(500, "INTERNAL_ERROR");
    }
    app.stores(0).await;
}

async fn a_panic_of_clock_and_randomness(backend: Backend) {
    let panics = Arc::new(AtomicBool::new(true));
    let random = Arc::new(FaultyRandom::default());
    let clock = Arc::new(Panicking(Arc::clone(&panics)));
    let options = Options {
        clock,
        random: Arc::clone(&random) as Arc<dyn SecureRandom>,
        ..Options::default()
    };
    let mut app = backend.with(options).await;
    app.signup("a@x.co").await.is(500, "INTERNAL_ERROR");
    panics.store(false, Ordering::SeqCst);
    random.panics.store(true, Ordering::SeqCst);
    app.signup("a@x.co").await.is(500, "INTERNAL_ERROR");
    random.panics.store(false, Ordering::SeqCst);
    app.stores(0).await;
    assert_eq!(app.signup("a@x.co").await.status, 201);
}

async fn after_an_answer_that_was_lost_the_retry_finds_the_account(backend: Backend) {
    let mut app = at_create(backend, Fault::LoseAnswer).await;
    app.signup("a@x.co").await.is(503, "EXTERNAL_SERVICE_ERROR");
    app.stores(1).await;
    app.signup("A@x.co").await.is(409, "CONFLICT");
    app.stores(1).await;
}

async fn a_store_that_hangs_keeps_no_place_of_a_client_that_leaves(backend: Backend) {
    for app in [at_look(backend, Fault::Hang).await, at_create(backend, Fault::Hang).await] {
        let pool = app.service.hash_pool();
        // Far more than there are places.
        for number in 0..600 {
            let email = format!("hang{number}@x.co");
            let request = signup::SignupRequest::new(email, "correct horse");
            let limit = Duration::from_millis(1);
            assert!(tokio::time::timeout(limit, app.service.signup(request)).await.is_err());
        }
        // The password of another service on the same pool is hashed all the same.
        let password = signup::fields::Password::parse("correct horse").unwrap();
        assert!(pool.reserve().unwrap().hash_with_salt(password, [0; 16]).await.is_ok());
        app.stores(0).await;
    }
}
