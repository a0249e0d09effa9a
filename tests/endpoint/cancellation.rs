//! Hazards 8: a sign-up that is dropped at any point.

use signup::store::EventStore;
use std::pin::pin;
use std::sync::Arc;

use signup::store::conformance::dropped_after;
use signup::{Signup, SignupError, SignupRequest};

use crate::support::backend::{App, Backend, Options, Service};
use crate::support::faults::Faulty;

async fn signup(service: Service, email: String) -> Result<Signup, SignupError> {
    service.signup(SignupRequest::new(email, "correct horse")).await
}

/// Drops the sign-up of `email` at its k-th poll, then signs up in full: every
/// account has its key, and the answer agrees with what is stored.
async fn dropped_at(app: &App, email: &str, polls: u64) -> bool {
    let future = signup(app.service.clone(), email.to_owned());
    let finished = dropped_after(future, polls).await.is_some();
    let before = app.store.account_rows().await.iter().any(|row| row.email == email);
    match signup(app.service.clone(), email.to_owned()).await {
        Ok(signup) => {
            assert!(!before && !finished, "a second account at poll {polls}");
            let rows = app.store.account_rows().await;
            assert!(rows.iter().any(|row| row.id == signup.account().id().as_str()));
        }
        Err(SignupError::EmailTaken) => {}
        Err(other) => panic!("{other} at poll {polls}"),
    }
    finished
}

crate::cases![
    [X01] dropped_at_every_poll,
    [X01] dropped_at_every_poll_of_the_insert,
    [X04] a_timeout_around_the_sign_up,
    [X08] a_runtime_that_ends_with_sign_ups_in_flight,
    [X09] futures_and_clones_may_go_anywhere,
];

async fn dropped_at_every_poll(backend: Backend) {
    let app = backend.app().await;
    // A worker can be so fast that there is nothing to wait for, and to be dropped at;
    // it is not a hundred times.
    let (mut accounts, mut dropped) = (0, false);
    for round in 0..100 {
        let mut polls = 0;
        loop {
            polls += 1;
            accounts += 1;
            if dropped_at(&app, &format!("drop{round}-{polls}@x.co"), polls).await {
                break;
            }
        }
        dropped = polls > 1;
        if dropped {
            break;
        }
    }
    // The future was dropped at least at its hash, and in the last round not at all.
    assert!(dropped, "nothing was ever dropped");
    app.stores(accounts).await;
}

async fn dropped_at_every_poll_of_the_insert(backend: Backend) {
    // The gate puts a wait of its own between look, hash and insert.
    let wrap = |store| -> Arc<dyn EventStore> {
        Arc::new(Faulty {
            gate: Some(Arc::new(tokio::sync::Barrier::new(1))),
            ..Faulty::new(store)
        })
    };
    let app = backend.with(Options { wrap: Box::new(wrap), ..Options::default() }).await;
    for round in 0..20 {
        for polls in 1..8 {
            dropped_at(&app, &format!("drop{round}-{polls}@x.co"), polls).await;
        }
    }
    app.stores(20 * 7).await;
}

async fn a_timeout_around_the_sign_up(backend: Backend) {
    let app = backend.app().await;
    for micros in (0..2000).step_by(50) {
        let email = format!("t{micros}@x.co");
        let limit = std::time::Duration::from_micros(micros);
        let _ = tokio::time::timeout(limit, signup(app.service.clone(), email.clone())).await;
        let again = signup(app.service.clone(), email).await;
        assert!(matches!(again, Ok(_) | Err(SignupError::EmailTaken)));
    }
    app.stores(40).await;
}

async fn a_runtime_that_ends_with_sign_ups_in_flight(backend: Backend) {
    let app = backend.app().await;
    let service = app.service.clone();
    let ended = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        for number in 0..50 {
            runtime.spawn(signup(service.clone(), format!("end{number}@x.co")));
        }
        runtime.shutdown_timeout(std::time::Duration::from_secs(10));
    });
    ended.join().unwrap();
    let accounts = app.store.account_rows().await;
    app.stores(accounts.len()).await;
    for number in 0..50 {
        let email = format!("end{number}@x.co");
        let stored = accounts.iter().any(|row| row.email == email);
        assert_eq!(signup(app.service.clone(), email).await.is_err(), stored);
    }
    app.stores(50).await;
}

async fn futures_and_clones_may_go_anywhere(backend: Backend) {
    fn assert_send<T: Send + 'static>(value: T) -> T {
        value
    }
    fn assert_shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    let app = backend.app().await;
    assert_shared(&app.service);
    let future = assert_send(signup(app.service.clone(), "a@x.co".to_owned()));
    assert!(pin!(future).await.is_ok());
    let clone = app.service.clone();
    assert!(matches!(signup(clone, "a@x.co".to_owned()).await, Err(SignupError::EmailTaken)));
}
