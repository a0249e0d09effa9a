//! Hazards 5: many sign-ups at one time. All are held at a gate until each has
//! looked and found the email free: it is the insert that decides.

use signup::store::EventStore;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signup::SignupRequest;
use signup::random::SecureRandom;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::backend::{App, Backend, Options};
use crate::support::client::{Client, signup};
use crate::support::faults::{Faulty, FaultyRandom};
use crate::support::rounds;

const CROWD: usize = 1000;

/// An app whose store begins inserting only when that many inserts wait.
async fn gated(backend: Backend, crowd: usize, argon2: bool) -> App {
    let wrap = move |store| -> Arc<dyn EventStore> {
        let gate = Some(Arc::new(Barrier::new(crowd)));
        Arc::new(Faulty { gate, ..Faulty::new(store) })
    };
    backend.with(Options { queue: crowd, wrap: Box::new(wrap), argon2, ..Options::default() }).await
}

/// Counts the statuses of sign-ups over the service itself.
async fn statuses(app: &App, emails: impl Iterator<Item = String>) -> HashMap<u16, usize> {
    let mut tasks = JoinSet::new();
    for email in emails {
        let service = app.service.clone();
        tasks.spawn(async move {
            let result = service.signup(SignupRequest::new(email, "correct horse")).await;
            result.map_or_else(|error| error.code().status(), |_| 201)
        });
    }
    let mut counts = HashMap::new();
    while let Some(status) = tasks.join_next().await {
        *counts.entry(status.unwrap()).or_default() += 1;
    }
    counts
}

/// One address in many spellings.
fn variants() -> impl Iterator<Item = String> {
    let spellings = [
        "kim@m\u{fc}nchen.de",
        "KIM@xn--mnchen-3ya.de",
        "Kim@Mu\u{308}nchen.de",
        "kIm@M\u{dc}NCHEN\u{3002}DE",
        "kim@XN--MNCHEN-3YA.de",
    ];
    spellings.into_iter().map(str::to_owned).cycle()
}

fn one_winner(crowd: usize) -> HashMap<u16, usize> {
    HashMap::from([(201, 1), (409, crowd - 1)])
}

crate::cases![
    [R01, R02, R07, R10, F04] one_email_has_one_winner,
    [R01] one_winner_with_the_real_engine,
    [R03] distinct_emails_all_win,
    [R08] a_winner_that_rolls_back_leaves_the_email_free,
    [R09] over_sockets_the_answers_are_201_and_409,
    [R11, R12] an_id_that_clashes_is_minted_anew_and_is_no_409,
    [R13] a_deleted_email_can_sign_up_again,
];

async fn one_email_has_one_winner(backend: Backend) {
    for _ in 0..rounds(3, 20) {
        let app = gated(backend, CROWD, false).await;
        let counts = statuses(&app, variants().take(CROWD)).await;
        assert_eq!(counts, one_winner(CROWD));
        assert_eq!(app.engine.hashes(), CROWD, "somebody lost before the gate");
        app.stores(1).await;
    }
}

async fn one_winner_with_the_real_engine(backend: Backend) {
    let crowd = rounds(CROWD / 10, CROWD);
    let app = gated(backend, crowd, true).await;
    assert_eq!(statuses(&app, variants().take(crowd)).await, one_winner(crowd));
    app.stores(1).await;
}

async fn distinct_emails_all_win(backend: Backend) {
    let app = gated(backend, CROWD, false).await;
    let counts = statuses(&app, (0..CROWD).map(|number| format!("user{number}@x.co"))).await;
    assert_eq!(counts, HashMap::from([(201, CROWD)]));
    app.stores(CROWD).await;
}

async fn a_winner_that_rolls_back_leaves_the_email_free(backend: Backend) {
    let open = Arc::new(AtomicBool::new(true));
    let wrap = {
        let contended = Arc::clone(&open);
        move |store| -> Arc<dyn EventStore> { Arc::new(Faulty { contended, ..Faulty::new(store) }) }
    };
    let mut app = backend.with(Options { wrap: Box::new(wrap), ..Options::default() }).await;
    app.signup("a@x.co").await.is(409, "CONFLICT");
    app.stores(0).await;
    open.store(false, Ordering::SeqCst);
    assert_eq!(app.signup("a@x.co").await.status, 201);
    app.stores(1).await;
}

async fn over_sockets_the_answers_are_201_and_409(backend: Backend) {
    let app = gated(backend, 100, false).await;
    let mut tasks = JoinSet::new();
    for email in variants().take(100) {
        let mut client = Client::new(app.addr);
        tasks.spawn(async move {
            let response = client.post(signup(&email).to_string().as_bytes()).await;
            response.check_contract(false);
            response.status
        });
    }
    let mut statuses = tasks.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses[0], 201);
    assert!(statuses[1..].iter().all(|status| *status == 409));
    app.stores(1).await;
}

async fn an_id_that_clashes_is_minted_anew_and_is_no_409(backend: Backend) {
    let random = Arc::new(FaultyRandom::default());
    let options =
        Options { random: Arc::clone(&random) as Arc<dyn SecureRandom>, ..Options::default() };
    let mut app = backend.with(options).await;
    random.repeats.store(true, std::sync::atomic::Ordering::SeqCst);
    let first = app.signup("a@x.co").await.data();
    // The same bytes again and again: the store has every id and digest.
    app.signup("b@x.co").await.is(500, "INTERNAL_ERROR");
    app.signup("a@x.co").await.is(409, "CONFLICT");
    app.stores(1).await;
    assert_eq!(app.store.account_rows().await[0].id, first["account"]["id"]);
    random.repeats.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(app.signup("b@x.co").await.status, 201);
    app.stores(2).await;
}

async fn a_deleted_email_can_sign_up_again(backend: Backend) {
    let mut app = backend.app().await;
    for _ in 0..10 {
        app.signup("a@x.co").await.data();
        let (deleted, mut second) = (app.store.delete("a@x.co"), Client::new(app.addr));
        let body = signup("A@x.co").to_string();
        let ((), response) = tokio::join!(deleted, second.post(body.as_bytes()));
        assert!(matches!(response.status, 201 | 409), "{}", response.status);
        app.stores(usize::from(response.status == 201)).await;
        app.store.delete("a@x.co").await;
        app.stores(0).await;
    }
}
