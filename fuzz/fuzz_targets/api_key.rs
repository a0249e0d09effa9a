//! API keys as they are presented: nothing but the form of a minted one is looked up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signup::api_key::{ApiKey, ApiKeyId, ApiKeyPrefix, ForeignApiKeys};
use signup::http::PresentedCredentials;

fuzz_target!(|text: &str| {
    if let Ok(key) = ApiKey::parse(text, &ApiKeyPrefix::default()) {
        assert_eq!(key.reveal(), text);
        assert!(text.starts_with("rag_live_") && text.len() == 45, "{text}");
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{text}");
    }
    if let Ok(id) = text.parse::<ApiKeyId>() {
        assert_eq!(id.to_string(), text);
    }
    let foreign = ForeignApiKeys::new("sk_live_").unwrap();
    assert!(foreign.digest(text).is_err() || text.starts_with("sk_live_"));
    for name in ["authorization", "x-api-key"] {
        let presented = PresentedCredentials::new([(name, text.as_bytes())]);
        for found in [presented.token(), presented.api_key()].into_iter().flatten().flatten() {
            assert!(text.contains(found));
        }
    }
});
