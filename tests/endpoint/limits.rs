//! Hazards 14 at the endpoint: who is refused, when, and how it is told.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use signup::clock::ManualClock;
use signup::http::TrustedProxies;
use signup::limit::RateLimits;
use tokio::task::JoinSet;

use crate::support::backend::{App, Backend, NOW, Options};
use crate::support::client::{Client, JSON, Response, signup};

crate::cases![
    [Q01, Q22] the_one_too_many_is_told_how_long_to_wait,
    [Q02] of_many_at_once_exactly_the_quota_passes,
    [Q05] a_client_is_its_peer_whatever_it_says,
    [Q06] behind_a_proxy_it_is_the_rightmost,
    [Q10, Q18] a_conflict_takes_of_the_emails_and_a_400_of_neither,
    [Q19] a_client_that_has_nothing_left_is_not_read,
];

async fn limited(backend: Backend, limits: RateLimits) -> (App, ManualClock) {
    let clock = ManualClock::at_unix(NOW);
    let options =
        Options { clock: Arc::new(clock.clone()), limits: Some(limits), ..Options::default() };
    (backend.with(options).await, clock)
}

fn per_client(quota: &str) -> RateLimits {
    RateLimits::per_client(quota.parse().unwrap())
}

/// A 429 of this policy; gives the seconds to wait.
#[track_caller]
fn is_limited(response: &Response, policy: &str) -> u64 {
    response.is(429, "RATE_LIMIT_EXCEEDED");
    let wait = response.header("retry-after").unwrap().to_owned();
    let told = format!("\"{policy}\";r=0;t={wait}");
    assert_eq!(response.header("ratelimit"), Some(&*told));
    let quota = response.header("ratelimit-policy").unwrap();
    assert!(quota.starts_with(&format!("\"{policy}\";q=")), "{quota}");
    wait.parse().unwrap()
}

async fn the_one_too_many_is_told_how_long_to_wait(backend: Backend) {
    let (mut app, clock) = limited(backend, per_client("3/min")).await;
    for number in 0..3 {
        let created = app.signup(&format!("q{number}@x.co")).await;
        assert_eq!((created.status, created.header("ratelimit")), (201, None));
    }
    let refused = app.signup("q3@x.co").await;
    let wait = is_limited(&refused, "client");
    assert!((20..=22).contains(&wait), "{wait}");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"client\";q=3;w=60"));
    let told = format!("{refused:?}");
    assert!(!told.contains("127.0.0.1") && !told.contains("x.co"), "{told}");
    app.stores(3).await;
    clock.advance(Duration::from_secs(20));
    assert_eq!(app.signup("q3@x.co").await.status, 201);
    is_limited(&app.signup("q4@x.co").await, "client");
}

async fn of_many_at_once_exactly_the_quota_passes(backend: Backend) {
    let (app, _) = limited(backend, per_client("20/h")).await;
    let mut tasks = JoinSet::new();
    for number in 0..70 {
        let addr = app.addr;
        tasks.spawn(async move {
            let body = signup(&format!("q{number}@x.co")).to_string();
            Client::new(addr).post(body.as_bytes()).await.status
        });
    }
    let statuses = tasks.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 20);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 50);
    app.stores(20).await;
}

async fn from(app: &mut App, email: &str, forwarded_for: &str) -> u16 {
    let header = format!("X-Forwarded-For: {forwarded_for}");
    let body = signup(email).to_string();
    app.request("POST", &[JSON, &header], body).await.status
}

async fn a_client_is_its_peer_whatever_it_says(backend: Backend) {
    let (mut app, _) = limited(backend, per_client("1/h")).await;
    assert_eq!(from(&mut app, "a@x.co", "192.0.2.1").await, 201);
    assert_eq!(from(&mut app, "b@x.co", "192.0.2.2").await, 429);
    for header in ["Forwarded: for=192.0.2.3", "X-Real-IP: 192.0.2.3"] {
        let body = signup("c@x.co").to_string();
        let refused = app.request("POST", &[JSON, header], body).await;
        is_limited(&refused, "client");
    }
}

async fn behind_a_proxy_it_is_the_rightmost(backend: Backend) {
    let options = Options {
        limits: Some(per_client("1/h")),
        proxies: TrustedProxies::hops(1),
        ..Options::default()
    };
    let mut app = backend.with(options).await;
    assert_eq!(from(&mut app, "a@x.co", "192.0.2.1").await, 201);
    // The entry that a client writes itself is left of the entry of the proxy.
    assert_eq!(from(&mut app, "b@x.co", "203.0.113.9, 192.0.2.1").await, 429);
    assert_eq!(from(&mut app, "b@x.co", "192.0.2.1, 192.0.2.2").await, 201);
    let body = signup("c@x.co").to_string();
    let lines = ["X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 192.0.2.2"];
    let refused = app.request("POST", &[JSON, lines[0], lines[1]], body).await;
    is_limited(&refused, "client");
}

async fn a_conflict_takes_of_the_emails_and_a_400_of_neither(backend: Backend) {
    let limits = per_client("10/h").per_email("2/h".parse().unwrap());
    let (mut app, clock) = limited(backend, limits).await;
    // An invalid body takes a request, of which there are five per sign-up.
    for _ in 0..20 {
        assert_eq!(
            app.post_json(&json!({"email": "kim@x.co", "password": "short"})).await.status,
            400
        );
        assert_eq!(app.post(b"{").await.status, 400);
    }
    assert_eq!(app.signup("Kim@x.co").await.status, 201);
    assert_eq!(app.signup("kim@X.co").await.status, 409);
    is_limited(&app.signup("KIM@x.co").await, "email");
    // This one has taken from the client's quota, as all with valid fields have.
    for number in 0..7 {
        assert_eq!(app.signup(&format!("q{number}@x.co")).await.status, 201);
    }
    is_limited(&app.signup("q8@x.co").await, "client");
    clock.advance(Duration::from_mins(30));
    assert_eq!(app.signup("kim@x.co").await.status, 409);

    // 80 and more requests later there is no request left either.
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(app.post(b"{").await.status);
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    is_limited(&app.post(b"{").await, "requests");
}

async fn a_client_that_has_nothing_left_is_not_read(backend: Backend) {
    let (mut app, _) = limited(backend, per_client("1/h")).await;
    assert_eq!(app.signup("a@x.co").await.status, 201);
    // The body never comes, and is not waited for.
    let mut client = Client::new(app.addr);
    let head =
        format!("POST /auth/signup HTTP/1.1\r\nHost: x\r\n{JSON}\r\nContent-Length: 100\r\n\r\n");
    is_limited(&client.send(head.as_bytes(), false).await, "client");
    assert_eq!(app.engine.hashes(), 1);
}
