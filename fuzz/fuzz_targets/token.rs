//! Tokens: none verifies but those that were signed.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use signup::clock::ManualClock;
use signup::random::SeededRandom;
use signup::store::MemoryStore;
use signup::token::{SigningKey, TokenVerifier};
use signup::{SignupRequest, SignupService};
use signup_fuzz::{POOL, run};

/// Verifiers, each with the token that it takes. The seeds are these tokens.
static VERIFIERS: LazyLock<Vec<(TokenVerifier, String)>> = LazyLock::new(|| {
    let key = r#"{"kty":"OKP","crv":"Ed25519","kid":"2026",
        "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let builder = || {
        SignupService::builder(MemoryStore::default())
            .hash_pool(Arc::clone(&POOL))
            .clock(ManualClock::at_unix(1_000_000_000))
            .randomness(SeededRandom::new(7))
    };
    let services = [
        builder().jwt_secret(&[7; 32]).build().unwrap(),
        builder().token_keys(SigningKey::from_jwk(key).unwrap()).build().unwrap(),
    ];
    let issue = |service: &SignupService<MemoryStore>| {
        let request = SignupRequest::new("dev@example.com", "correct horse");
        let signup = run(service.signup(request)).unwrap();
        (service.token_verifier(), signup.token().reveal().to_owned())
    };
    services.iter().map(issue).collect()
});

fuzz_target!(|text: &str| {
    for (verifier, token) in &*VERIFIERS {
        assert!(verifier.verify(token).is_ok());
        assert_eq!(verifier.verify(text).is_ok(), text == token, "{text}");
    }
});
