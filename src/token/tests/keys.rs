//! Keys: raw, from PEM and from JWK, and what is no key.

use super::*;

#[test]
fn w38_one_key_id_is_one_key() {
    let keys = TokenKeys::new(hs256());
    let other = SigningKey::hs256(&[2; 32]).unwrap().with_key_id("k1").unwrap();
    assert_eq!(keys.add(other), Err(KeyError::DuplicateKeyId));
    let key = SigningKey::ed25519(&[1; 32]).verifying_key().clone();
    let twice = TokenKeys::verifying_only([key.clone(), key]);
    assert_eq!(twice.err(), Some(KeyError::DuplicateKeyId));
}

#[test]
fn w36_w37_a_key_verifies_from_when_it_is_added_until_it_is_retired() {
    let keys = TokenKeys::new(SigningKey::ed25519(&[1; 32]).with_key_id("old").unwrap());
    let verifier = verifier(keys.clone());
    let before = mint(keys.clone());
    keys.add(SigningKey::ed25519(&[2; 32]).with_key_id("new").unwrap()).unwrap();
    assert_eq!(decode(mint(keys.clone()).reveal().split('.').next().unwrap())["kid"], "old");
    keys.promote("new").unwrap();
    let after = mint(keys.clone());
    assert_eq!(decode(after.reveal().split('.').next().unwrap())["kid"], "new");
    assert!(verifier.verify(before.reveal()).is_ok() && verifier.verify(after.reveal()).is_ok());
    assert_eq!(keys.remove("new"), Err(KeyError::Signing));
    keys.remove("old").unwrap();
    assert_eq!(verifier.verify(before.reveal()), Err(TokenError::UnknownKey));
    assert!(verifier.verify(after.reveal()).is_ok());
    assert_eq!(keys.remove("old"), Err(KeyError::UnknownKeyId));
    assert_eq!(keys.promote("old"), Err(KeyError::UnknownKeyId));
    let other = SigningKey::ed25519(&[3; 32]).verifying_key().clone();
    keys.add_verifying(other.with_key_id("other").unwrap()).unwrap();
    assert_eq!(keys.promote("other"), Err(KeyError::VerifiesOnly));
}

#[test]
fn w40_a_short_secret_and_a_bad_key_id_are_refused() {
    assert_eq!(SigningKey::hs256(&[1; 31]).err(), Some(KeyError::ShortSecret { octets: 31 }));
    for bad in ["", "a b", "a\n", "\u{e9}", &"k".repeat(65)] {
        let key = SigningKey::ed25519(&[1; 32]).with_key_id(bad);
        assert_eq!(key.err(), Some(KeyError::BadKeyId));
    }
}

#[test]
fn the_jwks_has_no_secret_in_it() {
    let keys = TokenKeys::new(hs256());
    for key in all_keys().into_iter().skip(1) {
        keys.add(key).unwrap();
    }
    let jwks = serde_json::to_value(keys.jwks()).unwrap();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), all_keys().len() - 1);
    for jwk in jwks["keys"].as_array().unwrap() {
        assert_eq!(jwk["use"], "sig");
        let known = ["kty", "use", "alg", "kid", "crv", "x", "y", "n", "e"];
        assert!(jwk.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{jwk}");
    }
    let only_a_secret = TokenKeys::new(hs256()).jwks();
    assert_eq!(TokenKeys::from_jwks(&only_a_secret).err(), Some(KeyError::Unusable));
    let symmetric = json!({"keys": [{"kty": "oct", "kid": "k", "k": encode(SECRET)}]});
    let symmetric = serde_json::from_value(symmetric).unwrap();
    assert_eq!(TokenKeys::from_jwks(&symmetric).err(), Some(KeyError::Unusable));
}

#[test]
fn the_thumbprint_and_the_signature_of_rfc_8037_appendix_a() {
    let seed = Base64UrlUnpadded::decode_vec("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    let key = SigningKey::ed25519(&seed.unwrap().try_into().unwrap());
    assert_eq!(key.key_id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let text = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    assert_eq!(
        encode(key.sign(text).unwrap()),
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

#[test]
fn a_public_key_of_small_order_is_refused() {
    let identity = std::array::from_fn(|at| u8::from(at == 0));
    assert_eq!(VerifyingKey::ed25519(&identity).err(), Some(KeyError::Unusable));
}

#[cfg(feature = "pem")]
fn pem(label: &str, der: &str) -> String {
    let lines: Vec<_> = der.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Both halves are read, and are of one key.
#[cfg(feature = "pem")]
fn check_pem(private: &str, public: &str) -> SigningKey {
    let key = SigningKey::from_pem(&pem("PRIVATE KEY", private)).unwrap();
    let public = VerifyingKey::from_pem(&pem("PUBLIC KEY", public)).unwrap();
    assert_eq!((public.key_id(), public.algorithm()), (key.key_id(), key.algorithm()));
    assert!(public.verifies(b"text", &key.sign(b"text").unwrap()));
    key
}

#[cfg(feature = "pem")]
#[test]
fn pem_of_openssl_is_read() {
    let seed = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
    let public = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let key = check_pem(seed, public);
    assert_eq!(key.key_id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let label = |found: &str| KeyError::PemLabel(found.to_owned());
    for (wrong, signing, verifying) in [
        (pem("PUBLIC KEY", seed), label("PUBLIC KEY"), KeyError::Unusable),
        (pem("EC PRIVATE KEY", seed), label("EC PRIVATE KEY"), label("EC PRIVATE KEY")),
        ("no".into(), KeyError::Unusable, KeyError::Unusable),
        (String::new(), KeyError::Unusable, KeyError::Unusable),
    ] {
        assert_eq!(SigningKey::from_pem(&wrong).err(), Some(signing));
        assert_eq!(VerifyingKey::from_pem(&wrong).err(), Some(verifying));
    }
}

/// By `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`, for this test.
#[cfg(all(feature = "es256", feature = "pem"))]
#[test]
fn pem_of_a_p_256_key_is_read() {
    let private = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg5NmW4ijsSQ80+w2Y\
                   XWUT5NfDLpm/0paGyCHIbKchpgahRANCAAT8KU8VlVp/ExOyaRGcS4BQ9tQtvNHB\
                   AHubqfGLco8YAEelobmO/WuMPjsWdIBJKVPShmH7Pfz71LvAV4+IVZXY";
    let public = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/ClPFZVafxMTsmkRnEuAUPbULbzR\
                  wQB7m6nxi3KPGABHpaG5jv1rjD47FnSASSlT0oZh+z38+9S7wFePiFWV2A==";
    assert_eq!(check_pem(private, public).algorithm(), Algorithm::ES256);
}

#[cfg(all(feature = "rs256", feature = "pem"))]
#[test]
fn pem_of_an_rsa_key_is_read() {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::signature::KeyPair as _;
    use base64ct::Base64;
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let [private, public] = [private.as_ref(), public.as_ref()].map(Base64::encode_string);
    assert_eq!(check_pem(&private, &public).algorithm(), Algorithm::RS256);
}

#[test]
fn a_private_jwk_signs_and_what_does_not_belong_together_is_refused() {
    let d = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let ed25519 = json!({"kty": "OKP", "crv": "Ed25519", "d": d, "x": x});
    let key = SigningKey::from_jwk(&ed25519.to_string()).unwrap();
    let keys = TokenKeys::new(key);
    let token = mint(keys.clone());
    assert!(verifier(TokenKeys::from_jwks(&keys.jwks()).unwrap()).verify(token.reveal()).is_ok());
    // As RFC 8037, appendix A.3 names it.
    assert_eq!(
        keys.jwks().keys[0].common.key_id.as_deref(),
        SigningKey::ed25519(&Base64UrlUnpadded::decode_vec(d).unwrap().try_into().unwrap(),)
            .key_id()
            .into()
    );
    let oct = json!({"kty": "oct", "k": encode(SECRET), "alg": "HS256", "kid": "k1"});
    let oct = SigningKey::from_jwk(&oct.to_string()).unwrap();
    assert!(verifier(hs256()).verify(mint(oct).reveal()).is_ok());
    for (name, value) in [
        ("d", json!(encode([1; 32]))),
        ("d", json!("AA")),
        ("d", Value::Null),
        ("x", json!(encode([9; 32]))),
        ("crv", json!("X25519")),
        ("kty", json!("EC")),
        ("use", json!("enc")),
        ("alg", json!("HS256")),
        ("key_ops", json!(["verify"])),
        ("kid", json!("")),
    ] {
        let mut other = ed25519.clone();
        other[name] = value;
        assert!(SigningKey::from_jwk(&other.to_string()).is_err(), "{other}");
    }
    let mut signs = ed25519;
    signs["key_ops"] = json!(["sign"]);
    assert!(SigningKey::from_jwk(&signs.to_string()).is_ok());
    assert!(SigningKey::from_jwk("{").is_err());
}

#[cfg(feature = "es256")]
#[test]
fn a_private_jwk_of_p_256_signs() {
    let public =
        serde_json::to_value(SigningKey::es256(&[7; 32]).unwrap().verifying_key().to_jwk());
    let mut jwk = public.unwrap();
    jwk["d"] = json!(encode([7; 32]));
    let key = SigningKey::from_jwk(&jwk.to_string()).unwrap();
    assert!(verifier(SigningKey::es256(&[7; 32]).unwrap()).verify(mint(key).reveal()).is_ok());
    jwk["d"] = json!(encode([8; 32]));
    assert!(SigningKey::from_jwk(&jwk.to_string()).is_err());
}

#[test]
fn white_space_at_the_end_of_a_text_is_no_part_of_a_secret() {
    let text = "x".repeat(31);
    for end in ["", "\n", "\r\n", "    "] {
        let short = SigningKey::hs256(format!("{text}{end}").as_bytes()).err();
        assert_eq!(short, Some(KeyError::ShortSecret { octets: 31 }), "{end:?}");
        assert!(SigningKey::hs256(format!("{text}x{end}").as_bytes()).is_ok());
    }
    // Random bytes may end in one.
    let mut bytes = [0x80; 32];
    bytes[31] = b'\n';
    assert!(SigningKey::hs256(&bytes).is_ok());
}

#[test]
fn the_prepared_keys_are_wiped_when_they_are_dropped() {
    fn is_wiped<T: zeroize::ZeroizeOnDrop>() {}
    is_wiped::<Sha256>();
    is_wiped::<ed25519_dalek::SigningKey>();
    #[cfg(feature = "es256")]
    is_wiped::<p256::ecdsa::SigningKey>();
    // It is made of the states of its digest, and has no mark of its own.
    assert!(std::mem::needs_drop::<Hmac<Sha256>>());
}

#[test]
fn another_secret_has_another_key_id_and_nothing_shows_it() {
    let one = SigningKey::hs256(SECRET).unwrap();
    let other = SigningKey::hs256(&[2; 32]).unwrap();
    assert_ne!(one.key_id(), other.key_id());
    let shown = format!("{one:?} {:?} {:?}", one.verifying_key(), verifier(hs256()));
    assert!(!shown.contains("0123456789abcdef"));
}

proptest! {
    /// Any change of one character, any swap, cut or addition.
    #[test]
    fn nothing_but_a_minted_token_verifies(at in 0usize..1000, with in "[ -~]", how in 0..4) {
        let verifier = verifier(hs256());
        let minted = mint(hs256());
        let mut token: Vec<char> = minted.reveal().chars().collect();
        let at = at % token.len();
        let with = with.chars().next().unwrap();
        match how {
            0 => token[at] = with,
            1 => { let next = (at + 1) % token.len(); token.swap(at, next); }
            2 => { token.remove(at); }
            _ => token.insert(at, with),
        }
        let token: String = token.into_iter().collect();
        prop_assert_eq!(verifier.verify(&token).is_ok(), token == minted.reveal());
    }
}

#[test]
fn a_key_id_has_up_to_64_printable_characters() {
    let key = || SigningKey::ed25519(&[1; 32]);
    assert_eq!(key().with_key_id(&"~".repeat(64)).unwrap().key_id(), "~".repeat(64));
    for bad in ["", " ", "a b", "\u{e9}", "a\n", &"~".repeat(65)] {
        assert!(matches!(key().with_key_id(bad), Err(KeyError::BadKeyId)), "{bad:?}");
    }
}
