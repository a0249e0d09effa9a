//! Sealed tickets and codes: none opens but the one that was sealed.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use signup::clock::ManualClock;
use signup::idempotency::ReplaySecret;
use signup::mail::{Code, MailQueue, MemoryMailer};
use signup::random::SeededRandom;
use signup::store::MemoryStore;
use signup::verification::EmailCodes;
use signup::{SignupRequest, SignupService};
use signup_fuzz::{POOL, run};

static SERVICE: LazyLock<(SignupService<MemoryStore>, String)> = LazyLock::new(|| {
    run(async {
        let secret = ReplaySecret::new(&[8; 32]).unwrap();
        let service = SignupService::builder(MemoryStore::default())
            .jwt_secret(&[7; 32])
            .hash_pool(Arc::clone(&POOL))
            .clock(ManualClock::at_unix(1_000_000_000))
            .randomness(SeededRandom::new(7))
            .verify_first(EmailCodes::new(secret, MailQueue::new(MemoryMailer::default())))
            .build()
            .unwrap();
        let request = SignupRequest::new("dev@example.com", "correct horse");
        let pending = service.verification().first().unwrap().begin(request).await.unwrap();
        (service, pending.reveal_ticket().to_owned())
    })
});

fuzz_target!(|text: &str| {
    let (service, ticket) = &*SERVICE;
    if text != ticket {
        assert!(run(service.verification().first().unwrap().complete(text, "7HXW3K9P")).is_err());
    }
    assert!(run(service.verification().first().unwrap().complete(ticket, text)).is_err());
    if let Ok(code) = Code::parse(text) {
        assert_eq!(Code::parse(code.reveal()).as_ref(), Ok(&code));
        assert_eq!(Code::parse(&code.reveal_grouped()), Ok(code));
    }
});
