//! The header `Idempotency-Key`: one key for each of its spellings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signup::idempotency::IdempotencyKey;

fuzz_target!(|value: &[u8]| {
    let Ok(key) = IdempotencyKey::from_header(value) else { return };
    let text = key.reveal();
    assert!((16..=255).contains(&text.len()));
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(IdempotencyKey::new(text).as_ref(), Ok(&key));
    let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    assert_eq!(IdempotencyKey::from_header(quoted.as_bytes()), Ok(key));
});
