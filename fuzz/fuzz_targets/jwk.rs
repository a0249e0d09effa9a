//! JWKs: a private key that is taken signs what its public half verifies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signup::token::{SigningKey, VerifyingKey};

fuzz_target!(|json: &str| {
    if let Ok(key) = SigningKey::from_jwk(json) {
        if let Some(public) = key.verifying_key().to_jwk() {
            let again = VerifyingKey::from_jwk(&public).unwrap();
            assert_eq!(again.key_id(), key.key_id());
            assert_eq!(again.to_jwk(), Some(public));
        }
    }
});
