//! Hazards 9 and 10: clocks and generators that are not what they should be.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::Value;
use signup::clock::{Clock, ManualClock};
use signup::random::{SecureRandom, SeededRandom};

use crate::support::backend::{App, Backend, NOW, Options};
use crate::support::faults::FaultyRandom;

fn claims(token: &Value) -> Value {
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(payload).unwrap()).unwrap()
}

async fn with_clock(backend: Backend) -> (App, ManualClock) {
    let clock = ManualClock::at_unix(NOW);
    let app = backend.with(Options { clock: Arc::new(clock.clone()), ..Options::default() }).await;
    (app, clock)
}

async fn with_random(backend: Backend) -> (App, Arc<FaultyRandom>) {
    let random = Arc::new(FaultyRandom::default());
    let options =
        Options { random: Arc::clone(&random) as Arc<dyn SecureRandom>, ..Options::default() };
    (backend.with(options).await, random)
}

/// A clock that is an hour earlier at each reading.
struct Backwards(std::sync::Mutex<SystemTime>);

impl Clock for Backwards {
    fn wall(&self) -> SystemTime {
        let mut now = self.0.lock().unwrap();
        *now -= Duration::from_hours(1);
        *now
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A generator that is stuck at zero.
struct Zeros;
impl SecureRandom for Zeros {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), signup::random::RandomError> {
        bytes.fill(0);
        Ok(())
    }
}

crate::cases![
    [T01] a_clock_that_goes_back,
    [T02, T03, F20] a_clock_that_can_not_be_believed,
    [T05] the_clock_is_the_injected_one_to_the_millisecond,
    [T06, T07] accounts_need_not_be_made_in_order,
    [G01] a_generator_that_fails,
    [G02] a_generator_that_is_stuck_makes_no_two_equal_keys,
    one_sign_up_is_one_draw,
    the_same_seed_and_clock_give_the_same_answer,
    [G04, K01] what_is_minted_has_its_documented_form,
];

async fn a_clock_that_goes_back(backend: Backend) {
    let start = UNIX_EPOCH + Duration::from_secs(NOW.into());
    let clock = Arc::new(Backwards(std::sync::Mutex::new(start)));
    let mut app = backend.with(Options { clock, ..Options::default() }).await;
    for email in ["a@x.co", "b@x.co"] {
        let claims = claims(&app.signup(email).await.data()["token"]);
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 86_400);
    }
}

async fn a_clock_that_can_not_be_believed(backend: Backend) {
    let (mut app, clock) = with_clock(backend).await;
    let year_9999 = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    for wall in [
        UNIX_EPOCH - Duration::from_secs(1),
        year_9999 + Duration::from_secs(1),
        UNIX_EPOCH + Duration::from_secs(i64::MAX as u64),
        // iat would be within the not_after, exp beyond it.
        year_9999 - Duration::from_mins(1),
    ] {
        clock.set_wall(wall);
        app.signup("a@x.co").await.is(500, "INTERNAL_ERROR");
    }
    app.stores(0).await;
    clock.set_wall(UNIX_EPOCH);
    assert_eq!(claims(&app.signup("a@x.co").await.data()["token"])["iat"], 0);
}

async fn the_clock_is_the_injected_one_to_the_millisecond(backend: Backend) {
    let (mut app, clock) = with_clock(backend).await;
    clock.advance(Duration::from_millis(999));
    let claims = claims(&app.signup("a@x.co").await.data()["token"]);
    assert_eq!(
        (claims["iat"].as_u64(), claims["exp"].as_u64()),
        (Some(NOW.into()), Some(u64::from(NOW) + 86_400))
    );
    assert_eq!(app.store.account_rows().await[0].created_at, i64::from(NOW) * 1000 + 999);
}

async fn accounts_need_not_be_made_in_order(backend: Backend) {
    let (mut app, clock) = with_clock(backend).await;
    for (email, years) in [("a@x.co", 1u64), ("b@x.co", 0), ("c@x.co", 2)] {
        clock.set_wall(UNIX_EPOCH + Duration::from_secs(u64::from(NOW) + years * 31_536_000));
        assert_eq!(app.signup(email).await.status, 201);
    }
    app.stores(3).await;
}

async fn a_generator_that_fails(backend: Backend) {
    let (mut app, random) = with_random(backend).await;
    random.fails.store(true, Ordering::SeqCst);
    app.signup("a@x.co").await.is(500, "INTERNAL_ERROR");
    app.untouched().await;
    random.fails.store(false, Ordering::SeqCst);
    assert_eq!(app.signup("a@x.co").await.status, 201);
}

async fn a_generator_that_is_stuck_makes_no_two_equal_keys(backend: Backend) {
    let (mut app, random) = with_random(backend).await;
    random.repeats.store(true, Ordering::SeqCst);
    assert_eq!(app.signup("a@x.co").await.status, 201);
    app.signup("b@x.co").await.is(500, "INTERNAL_ERROR");
    app.stores(1).await;
    let mut app = backend.with(Options { random: Arc::new(Zeros), ..Options::default() }).await;
    app.signup("a@x.co").await.is(500, "INTERNAL_ERROR");
    app.untouched().await;
}

async fn one_sign_up_is_one_draw(backend: Backend) {
    let (mut app, random) = with_random(backend).await;
    for number in 1..=5 {
        assert_eq!(app.signup(&format!("a{number}@x.co")).await.status, 201);
        assert_eq!(random.draws.load(Ordering::SeqCst), number);
    }
}

async fn the_same_seed_and_clock_give_the_same_answer(backend: Backend) {
    let mut bodies = HashSet::new();
    for _ in 0..2 {
        let options = Options { random: Arc::new(SeededRandom::new(5)), ..Options::default() };
        bodies.insert(backend.with(options).await.signup("a@x.co").await.body);
    }
    assert_eq!(bodies.len(), 1);
}

async fn what_is_minted_has_its_documented_form(backend: Backend) {
    let mut app = backend.app().await;
    let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
    for number in 0..200 {
        let data = app.signup(&format!("a{number}@x.co")).await.data();
        let id = data["account"]["id"].as_str().unwrap().to_owned();
        let digits = id.strip_prefix("acc_").unwrap();
        assert!(
            digits.len() >= 20
                && digits.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        );
        let key = data["api_key"].as_str().unwrap().to_owned();
        let digits = key.strip_prefix("rag_live_").unwrap();
        assert!(digits.len() >= 33 && digits.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert!(ids.insert(id) && keys.insert(key));
    }
}
