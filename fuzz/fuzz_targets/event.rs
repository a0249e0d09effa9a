//! Events as a store has kept them, and as they are delivered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signup::account::AccountId;
use signup::clock::Timestamp;
use signup::event::{Event, EventKind};

fuzz_target!(|text: &str| {
    if let Ok(kind) = text.parse::<EventKind>() {
        assert_eq!(kind.as_str(), text);
    }
    let account = AccountId::from_store(text);
    let (id, at) = (text.to_owned(), Timestamp::EPOCH);
    let kind = EventKind::AccountCreated;
    let event = Event::from_store(account, 1, id, kind, at, text.to_owned());
    // What is delivered is an object with an object in it, whatever was kept.
    let payload = event.to_json();
    assert!(payload.is_object() && payload["data"].is_object(), "{payload}");
    assert!(serde_json::from_str::<serde_json::Value>(&payload.to_string()).is_ok());
});
