//! An address and its key: one for each mailbox.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signup::fields::{Email, EmailKey, EmailProfile};

fuzz_target!(|text: &str| {
    for profile in [EmailProfile::Strict, EmailProfile::Rfc5321] {
        let Ok(email) = Email::parse(text, profile) else { continue };
        let key = email.key().as_str();
        assert_eq!(email.as_str(), text);
        assert!(key.is_ascii() && !key.bytes().any(|byte| byte.is_ascii_uppercase()), "{key}");
        // A key is an address, and its own key.
        assert_eq!(EmailKey::parse(key, profile).as_ref(), Ok(email.key()));
        let (local, domain) = text.rsplit_once('@').unwrap();
        let (local_key, domain_key) = key.rsplit_once('@').unwrap();
        // Nothing but the case of ASCII, and quotes that are not needed, is taken from it.
        if !local.starts_with('"') {
            assert_eq!(local_key, local.to_ascii_lowercase());
        }
        let same = |spelled: String| {
            if let Ok(other) = EmailKey::parse(&spelled, profile) {
                assert_eq!(&other, email.key(), "{spelled}");
            }
        };
        same(text.to_ascii_uppercase());
        same(format!("{local}@{domain_key}"));
        if !domain.starts_with('[') {
            let (unicode, is_whole) = idna::domain_to_unicode(domain_key);
            if is_whole.is_ok() {
                same(format!("{local}@{unicode}"));
            }
            // UTS-46 decides, and nobody else.
            assert_eq!(idna::domain_to_ascii(domain).as_deref().ok(), Some(domain_key));
        }
    }
    // The narrower profile is within the wider one.
    if let Ok(strict) = Email::parse(text, EmailProfile::Strict) {
        assert_eq!(Email::parse(text, EmailProfile::Rfc5321), Ok(strict));
    }
});
