//! Hazards 13: where a secret must not be seen.

use signup::store::EventStore;
use std::sync::{Arc, Mutex};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use signup::SignupRequest;

use crate::support::backend::{Backend, Options, SECRET};
use crate::support::faults::{Fault, Faulty};

const PASSWORD: &str = "canary-password-\u{1f425}-0123456789";

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Records the messages of panics from now on.
fn overheard() -> Arc<Mutex<String>> {
    let heard = Arc::new(Mutex::new(String::new()));
    let ear = Arc::clone(&heard);
    std::panic::set_hook(Box::new(move |panic| {
        let backtrace = std::backtrace::Backtrace::force_capture();
        *ear.lock().unwrap() += &format!("{panic} {backtrace}");
    }));
    heard
}

async fn a_panic_says_nothing_of_the_input(backend: Backend) {
    let wrap = |store| -> Arc<dyn EventStore> {
        Arc::new(Faulty { at_create: Some(Fault::Panic), ..Faulty::new(store) })
    };
    let mut app = backend.with(Options { wrap: Box::new(wrap), ..Options::default() }).await;
    let heard = overheard();
    let body = json!({"email": "canary@x.co", "password": PASSWORD, "name": "canary"});
    app.post_json(&body).await.is(500, "INTERNAL_ERROR");
    app.engine.panic(true);
    app.post_json(&body).await.is(500, "INTERNAL_ERROR");
    let _ = std::panic::take_hook();
    let heard = heard.lock().unwrap();
    assert!(
        heard.contains("the store was told to") && heard.contains("the fake engine was told to")
    );
    assert!(
        !heard.contains("canary") && !heard.contains("$argon2id") && !heard.contains("rag_live_")
    );
}

crate::cases![
    [X07, S04] a_panic_says_nothing_of_the_input,
    [S01] debug_shows_no_secret,
    [S03, S05] errors_tell_the_client_nothing_of_the_input,
    [S12, K11] the_store_has_digests_and_nothing_else,
    [K11] the_key_is_shown_once,
];

async fn debug_shows_no_secret(backend: Backend) {
    let app = backend.app().await;
    let request = SignupRequest::new("a@x.co", PASSWORD);
    let mut shown = format!(
        "{request:?} {request:#?} {:?} {:#?} {:?}",
        app.service,
        app.service,
        app.service.hash_pool()
    );
    let signup = app.service.signup(request).await.unwrap();
    shown += &format!("{signup:?} {signup:#?} {:?} {:?}", signup.token(), signup.api_key());
    shown += &format!("{:?}", signup.api_key().digest());
    let phc = app.store.account_rows().await[0].password_hash.clone();
    let taken = app.service.signup(SignupRequest::new("a@x.co", PASSWORD)).await.unwrap_err();
    let invalid = app.service.signup(SignupRequest::new(PASSWORD, "short")).await.unwrap_err();
    shown += &format!("{taken:?} {taken} {invalid:?} {invalid}");
    for secret in [
        PASSWORD,
        signup.token().reveal(),
        signup.api_key().reveal(),
        &phc,
        std::str::from_utf8(SECRET).unwrap(),
    ] {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
}

async fn errors_tell_the_client_nothing_of_the_input(backend: Backend) {
    let mut app = backend.app().await;
    let (short, long) = ("canary", "canary".repeat(50));
    for body in [
        json!({"email": PASSWORD, "password": short, "name": long}),
        json!({"email": {"canary": 1}, "password": ["canary"], "name": 1}),
        json!("canary"),
    ] {
        let response = app.post_json(&body).await;
        assert_eq!(response.status, 400);
        assert!(!contains(&response.body, b"canary"));
    }
    let response = app.post("{\"canary").await;
    assert!(!contains(&response.body, b"canary"));
}

async fn the_store_has_digests_and_nothing_else(backend: Backend) {
    let mut app = backend.app().await;
    let body = json!({"email": "a@x.co", "password": PASSWORD, "name": "marker-name"});
    let data = app.post_json(&body).await.data();
    let (token, key) = (data["token"].as_str().unwrap(), data["api_key"].as_str().unwrap());
    let bytes = app.store.bytes().await;
    assert!(contains(&bytes, b"marker-name"), "the scan looks at the wrong bytes");
    for secret in
        [PASSWORD, token, key, &key["rag_live_".len()..], token.rsplit('.').next().unwrap()]
    {
        assert!(!contains(&bytes, secret.as_bytes()), "{secret}");
    }
    let stored = app.store.api_key_rows().await.remove(0);
    assert_eq!(stored.digest, Sha256::digest(key).as_slice());
    assert_eq!(stored.account_id, data["account"]["id"].as_str().unwrap());
    assert_eq!(stored.prefix, key[..13]);
    assert!(
        app.store.account_rows().await[0]
            .password_hash
            .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
    );
}

async fn the_key_is_shown_once(backend: Backend) {
    let mut app = backend.app().await;
    let data = app.signup("a@x.co").await.data();
    let key = data["api_key"].as_str().unwrap();
    for response in [app.signup("a@x.co").await, app.request("GET", &[], "").await] {
        assert!(!contains(&response.body, key.as_bytes()));
    }
}
