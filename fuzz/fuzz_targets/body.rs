//! The body of a sign-up: what serde_json reads of it, no more and no less.
#![no_main]

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use signup::store::MemoryStore;
use signup::{Signup, SignupError, SignupRequest, SignupService};
use signup_fuzz::{POOL, run};

/// An object whose keys are unique.
struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Unique;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
                let (mut object, mut seen) = (Map::new(), BTreeSet::new());
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if !seen.insert(key.clone()) {
                        return Err(serde::de::Error::custom("a key is there twice"));
                    }
                    object.insert(key, value);
                }
                Ok(Unique(object))
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

fuzz_target!(|body: &[u8]| {
    let ours = SignupRequest::from_json(body);
    let theirs = serde_json::from_slice::<Unique>(body);
    match (&ours, &theirs) {
        (Ok(_), Ok(_)) | (Err(_), Err(_)) => {}
        // It counts the levels of the whole body.
        (Ok(_), Err(error)) if error.to_string().starts_with("recursion limit") => return,
        (Ok(_), Err(error)) => panic!("taken, and serde_json says: {error}"),
        (Err(_), Ok(_)) => panic!("refused, and serde_json takes it"),
    }
    let (Ok(request), Ok(Unique(object))) = (ours, theirs) else { return };
    // The same texts, given one by one, have the same outcome. Other types are the tests'.
    let text = |key: &str| object.get(key).map(Value::as_str);
    let (Some(Some(email)), Some(Some(password)), name) =
        (text("email"), text("password"), text("name"))
    else {
        return;
    };
    let typed = SignupRequest::new(email, password);
    let typed = match name {
        None => typed,
        Some(Some(name)) => typed.name(name),
        Some(None) => return,
    };
    assert_eq!(outcome(request), outcome(typed));
});

/// Returns what is stored, or what is answered.
fn outcome(request: SignupRequest) -> Result<(String, Option<String>), Vec<u8>> {
    let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
    let service = service.hash_pool(Arc::clone(&POOL)).build().unwrap();
    let signup: Result<Signup, SignupError> = run(service.signup(request));
    signup.map_err(|error| error.to_json()).map(|signup| {
        let account = signup.account();
        (account.email().as_str().to_owned(), account.name().map(str::to_owned))
    })
}
