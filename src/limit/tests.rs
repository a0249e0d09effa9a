//! Hazards 14, as far as they need no Redis and no request.

use std::net::IpAddr;
use std::sync::{Arc, Barrier};
use std::thread;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::fields::{EmailKey, EmailProfile};
use crate::random::SeededRandom;
use crate::store::MemoryStore;
use crate::{SignupError, SignupRequest, SignupService};

fn limiter(limits: RateLimits) -> (Arc<Limiter>, ManualClock) {
    let clock = ManualClock::at_unix(1_700_000_000);
    let limiter =
        Limiter::with_clock(limits, Arc::new(clock.clone()), &SeededRandom::new(1)).unwrap();
    (Arc::new(limiter), clock)
}

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

fn client(address: &str) -> ClientIp {
    address.parse::<IpAddr>().unwrap().into()
}

fn key(email: &str) -> EmailKey {
    EmailKey::parse(email, EmailProfile::Strict).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn attempt(limiter: &Limiter, from: &str, email: &str) -> Result<(), &'static str> {
    let email = key(email);
    let attempted = limiter.check_signup(Some(client(from)), &email);
    block_on(attempted).map_err(|limited| limited.policy)
}

#[test]
fn q04_one_network_is_one_client() {
    let (limiter, _) = limiter(RateLimits::per_client(quota("1/min")));
    for (first, same) in
        [("192.0.2.1", "::ffff:192.0.2.1"), ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff")]
    {
        assert_eq!(attempt(&limiter, first, "a@x.co"), Ok(()));
        assert_eq!(attempt(&limiter, same, "a@x.co"), Err("client"), "{same}");
    }
    for other in ["192.0.2.2", "2001:db8:1:3::1", "::1"] {
        assert_eq!(attempt(&limiter, other, "a@x.co"), Ok(()), "{other}");
    }
}

#[test]
fn q04_an_ipv4_address_is_one_client_through_whatever_translator() {
    let (limiter, _) = limiter(RateLimits::per_client(quota("1/min")));
    assert_eq!(attempt(&limiter, "192.0.2.1", "a@x.co"), Ok(()));
    for same in [
        "64:ff9b::192.0.2.1",
        "2002:c000:201::1",
        "2002:c000:201:ffff::1",
        // The server and the flags of RFC 4380's section 4 are others' to choose.
        "2001:0:4136:e378:8000:63bf:3fff:fdfe",
        "2001:0:a00:1:0:1:3fff:fdfe",
    ] {
        assert_eq!(attempt(&limiter, same, "a@x.co"), Err("client"), "{same}");
    }
    for other in [
        "64:ff9b::192.0.2.2",
        "64:ff9b::1:c000:201",
        "2002:c000:203::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdfb",
        "2001:1::3fff:fdfe",
        // Somewhere in these there is an IPv4 address.
        "64:ff9b:1:fffe::192.0.2.1",
        "64:ff9b:1:fffe::192.0.2.2",
        "64:ff9b:1:c000:2:100::",
        "64:ff9b:1:c000:2:200::",
    ] {
        assert_eq!(attempt(&limiter, other, "a@x.co"), Ok(()), "{other}");
        assert_eq!(attempt(&limiter, other, "a@x.co"), Err("client"), "{other}");
    }
    // A policy is shown the address that came.
    let translated = "64:ff9b::192.0.2.1";
    assert_eq!(client(translated).address().unwrap().to_string(), "64:ff9b::c000:201");
}

#[test]
fn q09_all_without_an_address_are_one_client() {
    let (limiter, _) = limiter(RateLimits::per_client(quota("1/min")));
    let unknown = || block_on(limiter.check_signup(Some(ClientIp::UNKNOWN), &key("a@x.co")));
    assert!(unknown().is_ok());
    assert!(unknown().is_err());
    // What no client does, a host need not limit by client.
    assert!(block_on(limiter.check_signup(None, &key("a@x.co"))).is_ok());
}

#[test]
fn q09_a_service_limits_requests_that_were_given_no_client() {
    let service = SignupService::builder(MemoryStore::default())
        .jwt_secret(&[7; 32])
        .rate_limits(RateLimits::per_client(quota("2/min")))
        .build()
        .unwrap();
    let sign_up = |email: &str, client: Option<ClientIp>| {
        let request = SignupRequest::new(email, "correct horse");
        let request = client.into_iter().fold(request, SignupRequest::client);
        block_on(service.prepare(request)).map(drop)
    };
    assert!(sign_up("a@x.co", None).is_ok());
    // It is the same as one without an address.
    assert!(sign_up("b@x.co", Some(ClientIp::UNKNOWN)).is_ok());
    for unknown in [None, Some(ClientIp::UNKNOWN)] {
        let refused = sign_up("c@x.co", unknown);
        assert!(matches!(refused, Err(SignupError::RateLimited(_))), "{refused:?}");
    }
    assert!(sign_up("c@x.co", Some(client("192.0.2.1"))).is_ok());
}

#[cfg(feature = "tracing")]
#[test]
fn q09_the_first_request_without_an_address_is_an_event() {
    let (limiter, _) = limiter(RateLimits::per_client(quota("100/min")));
    let events = Events::default();
    let log = events.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || log.clone()).finish();
    let subscriber: tracing::Dispatch = subscriber.into();
    let told = |client| {
        tracing::dispatcher::with_default(&subscriber, || {
            block_on(limiter.check_request(client)).unwrap();
            block_on(limiter.check_signup(Some(client), &key("a@x.co"))).unwrap();
        });
        let events = String::from_utf8(events.0.lock().unwrap().clone()).unwrap();
        events.matches("no client address for a per-client rate limit").count()
    };
    assert_eq!(told(client("192.0.2.1")), 0);
    assert_eq!((told(ClientIp::UNKNOWN), told(ClientIp::UNKNOWN)), (1, 1));
}

/// What was logged.
#[cfg(feature = "tracing")]
#[derive(Clone, Default)]
struct Events(Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(feature = "tracing")]
impl std::io::Write for Events {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn q10_an_email_is_limited_by_its_key_from_wherever() {
    let limits = RateLimits::per_client(quota("100/min")).per_email(quota("2/h"));
    let (limiter, clock) = limiter(limits);
    assert_eq!(attempt(&limiter, "192.0.2.1", "Kim@Example.com"), Ok(()));
    assert_eq!(attempt(&limiter, "192.0.2.2", "kim@EXAMPLE.com"), Ok(()));
    assert_eq!(attempt(&limiter, "192.0.2.3", "KIM@example.com"), Err("email"));
    assert_eq!(attempt(&limiter, "192.0.2.3", "kim+a@example.com"), Ok(()));
    clock.advance(Duration::from_mins(30));
    assert_eq!(attempt(&limiter, "192.0.2.3", "kim@example.com"), Ok(()));
    assert!(!format!("{limiter:?}").contains("kim"));
}

#[test]
fn q18_requests_are_cheaper_than_sign_ups_and_a_refusal_takes_nothing() {
    let (limiter, clock) = limiter(RateLimits::per_client(quota("2/min")));
    let arrive =
        || block_on(limiter.check_request(client("192.0.2.1"))).map_err(|limited| limited.policy);
    // Ten requests, none of them any good.
    for _ in 0..10 {
        assert_eq!(arrive(), Ok(()));
    }
    assert_eq!(arrive(), Err("requests"));
    // They have taken no sign-ups; and when those are gone, the head says so.
    clock.advance(Duration::from_mins(1));
    for _ in 0..2 {
        assert_eq!(arrive(), Ok(()));
        assert_eq!(attempt(&limiter, "192.0.2.1", "a@x.co"), Ok(()));
    }
    for _ in 0..100 {
        assert_eq!(arrive(), Err("client"));
    }
    // Had the refusals taken anything, this would have to wait longer.
    clock.advance(Duration::from_secs(30));
    assert_eq!(arrive(), Ok(()));
    assert_eq!(attempt(&limiter, "192.0.2.1", "a@x.co"), Ok(()));
}

#[test]
fn q02_q12_of_32_threads_on_one_key_exactly_the_quota_passes() {
    let (limiter, _) = limiter(RateLimits::per_client(quota("1000/h")));
    let gate = Barrier::new(32);
    let passed: usize = thread::scope(|scope| {
        let threads = (0..32).map(|number| {
            let (limiter, gate) = (&limiter, &gate);
            scope.spawn(move || {
                gate.wait();
                let email = format!("t{number}@x.co");
                (0..100).filter(|_| attempt(limiter, "192.0.2.1", &email).is_ok()).count()
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 1000);
}

#[test]
fn q11_the_least_used_make_room_and_a_heavy_user_does_not() {
    let (limiter, _) = limiter(RateLimits::per_client(quota("3/min")).capacity(100));
    for _ in 0..3 {
        assert_eq!(attempt(&limiter, "192.0.2.1", "a@x.co"), Ok(()));
    }
    for number in 0..100_000u32 {
        let address = IpAddr::from((u32::MAX - number).to_be_bytes()).into();
        let attempted = block_on(limiter.check_signup(Some(address), &key("a@x.co")));
        assert!(attempted.is_ok(), "a new client is never locked out by others");
    }
    assert_eq!(attempt(&limiter, "192.0.2.1", "a@x.co"), Err("client"));
}

#[test]
fn q13_a_jump_of_the_wall_clock_changes_nothing() {
    let (limiter, clock) = limiter(RateLimits::per_client(quota("1/h")));
    assert_eq!(attempt(&limiter, "192.0.2.1", "a@x.co"), Ok(()));
    let now = clock.wall();
    let year = Duration::from_hours(365 * 24);
    for wall in [now + year, now.checked_sub(year).unwrap()] {
        clock.set_wall(wall);
        assert_eq!(attempt(&limiter, "192.0.2.1", "a@x.co"), Err("client"));
    }
}

#[test]
fn q21_waits_are_spread_and_never_too_short() {
    let (limiter, _) = limiter(RateLimits::per_client(quota("1/h")));
    assert_eq!(attempt(&limiter, "192.0.2.1", "a@x.co"), Ok(()));
    let refused = || block_on(limiter.check_signup(Some(client("192.0.2.1")), &key("a@x.co")));
    let waits: std::collections::BTreeSet<_> =
        (0..100).map(|_| refused().unwrap_err().retry_after.as_secs()).collect();
    assert!(waits.len() > 50, "{waits:?}");
    assert!(*waits.first().unwrap() >= 3600 && *waits.last().unwrap() <= 3960, "{waits:?}");
}

/// Ten emails for each bucket that the table of emails has: every set is full of
/// buckets that take a day to refill.
#[test]
fn q11_full_tables_do_not_push_out_the_buckets_of_another_limit() {
    const CAPACITY: usize = 100;
    let limits = RateLimits::per_client(quota("20/min")).per_email(quota("1/d"));
    let (limiter, _) = limiter(limits.capacity(CAPACITY));
    for number in 0..10 * CAPACITY {
        let email = key(&format!("e{number}@x.co"));
        assert!(block_on(limiter.check_signup(None, &email)).is_ok());
    }
    let clients: Vec<_> = (0..CAPACITY / 10).map(|number| format!("192.0.2.{number}")).collect();
    let mut passed = 0;
    for round in 0..60 {
        for (number, address) in clients.iter().enumerate() {
            let email = format!("c{round}-{number}@x.co");
            passed += usize::from(attempt(&limiter, address, &email).is_ok());
        }
    }
    assert_eq!(passed, clients.len() * 20, "a limit by client leaks");
}

#[test]
fn q11_a_flood_of_networks_does_not_push_out_the_emails() {
    const CAPACITY: usize = 1000;
    let limits = RateLimits::per_client(quota("1/d")).per_email(quota("1/min"));
    let (limiter, _) = limiter(limits.capacity(CAPACITY));
    let emails: Vec<_> = (0..CAPACITY / 10).map(|number| key(&format!("e{number}@x.co"))).collect();
    for email in &emails {
        assert!(block_on(limiter.check_signup(None, email)).is_ok());
    }
    // Every /64 of a /48, at the head and with a sign-up.
    for number in 0..=u16::MAX {
        let network = client(&format!("2001:db8:1:{number:x}::1"));
        assert!(block_on(limiter.check_request(network)).is_ok());
        assert_eq!(
            block_on(limiter.check_signup(Some(network), &emails[0])).unwrap_err().policy,
            "email"
        );
    }
    for email in &emails {
        assert!(block_on(limiter.check_signup(None, email)).is_err(), "{email} is forgotten");
    }
}
