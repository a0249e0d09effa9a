//! Lifetime and additional claims.

use super::*;

#[test]
fn own_claims_are_signed_and_read_back() {
    let own = json!({ "role": "admin", "\"quoted\\": [1, null] });
    let options = TokenOptions::new().claims(&own).unwrap().lifetime(Duration::from_mins(5));
    let token = mint_with(hs256(), &options).unwrap();
    let verified = verifier(hs256()).verify(token.reveal()).unwrap();
    let mut expected = json!({
        "iss": "signup", "aud": "dashboard", "sub": "acc_x",
        "iat": NOW, "exp": NOW + 300, "jti": verified.id(),
    });
    expected.as_object_mut().unwrap().append(&mut own.as_object().unwrap().clone());
    assert_eq!(verified.claims::<Value>(), Ok(expected));
    assert_eq!(verified.claims::<[u8; 1]>(), Err(TokenError::Claims));
}

#[test]
fn a_claim_of_the_crate_is_not_the_hosts_to_set() {
    for name in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "signup_generation"] {
        let refused = TokenOptions::new().claims(&json!({ name: 1 })).err();
        assert_eq!(refused, Some(TokenError::Claims), "{name}");
    }
    for no_object in [json!(null), json!([1]), json!("role")] {
        assert_eq!(TokenOptions::new().claims(&no_object).err(), Some(TokenError::Claims));
    }
}

#[test]
fn no_token_is_minted_that_a_verifier_would_refuse() {
    let with = |length: usize| {
        let options = TokenOptions::new().claims(&json!({ "x": "x".repeat(length) })).unwrap();
        mint_with(hs256(), &options)
    };
    let longest = (2000..3100).rev().find_map(|length| with(length).ok()).unwrap();
    assert!((4090..=4096).contains(&longest.reveal().len()), "{}", longest.reveal().len());
    assert!(verifier(hs256()).verify(longest.reveal()).is_ok());
    assert!(matches!(with(3100), Err(MintError::TooLong)));
}

#[test]
fn a_lifetime_is_never_shorter_than_a_second() {
    let options = TokenOptions::new().lifetime(Duration::ZERO);
    let token = mint_with(hs256(), &options).unwrap();
    assert!(verifier(hs256()).verify(token.reveal()).is_ok());
}
