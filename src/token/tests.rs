//! Minting, and hazards 11: what verifies, and all that must not.

use std::time::{Duration, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Sha256;

use super::*;
use crate::clock::ManualClock;
use crate::random::SeededRandom;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: u32 = 1_700_000_000;

fn hs256() -> SigningKey {
    SigningKey::hs256(SECRET).unwrap().with_key_id("k1").unwrap()
}

fn mint(keys: impl Into<TokenKeys>) -> Token {
    let day = Duration::from_hours(24);
    let mint = TokenMint::new(keys.into(), "signup".into(), "dashboard".into(), day).unwrap();
    let now = Timestamp::read(&ManualClock::at_unix(NOW), Timestamp::MAX).unwrap();
    let mut draw = Draw::from(&SeededRandom::new(1)).unwrap();
    mint.mint(&"acc_x".parse().unwrap(), now, &mut draw).unwrap()
}

fn verifier(keys: impl Into<TokenKeys>) -> TokenVerifier {
    TokenVerifier::new(keys.into()).clock(ManualClock::at_unix(NOW))
}

fn encode(part: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(part.as_ref())
}

fn decode(part: &str) -> Value {
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).unwrap()).unwrap()
}

/// A token of any header and claims, whose signature by `SECRET` is right.
fn signed(header: &str, claims: &str) -> String {
    let text = format!("{}.{}", encode(header), encode(claims));
    let tag = Hmac::<Sha256>::new_from_slice(SECRET).unwrap().chain_update(&text).finalize();
    format!("{text}.{}", encode(tag.into_bytes()))
}

const HEADER: &str = r#"{"typ":"JWT","alg":"HS256","kid":"k1"}"#;

fn claims() -> Value {
    json!({
        "iss": "signup", "aud": "dashboard", "sub": "acc_x",
        "iat": NOW, "exp": NOW + 60, "jti": "1",
    })
}

fn with_header(header: &str) -> Result<VerifiedToken, TokenRejected> {
    verifier(hs256()).verify(&signed(header, &claims().to_string()))
}

fn with_claim(name: &str, value: Option<Value>) -> Result<VerifiedToken, TokenRejected> {
    let mut claims = claims();
    match value {
        Some(value) => claims[name] = value,
        None => drop(claims.as_object_mut().unwrap().remove(name)),
    }
    verifier(hs256()).verify(&signed(HEADER, &claims.to_string()))
}

fn all_keys() -> Vec<SigningKey> {
    vec![
        hs256(),
        SigningKey::ed25519(&[7; 32]),
        #[cfg(feature = "es256")]
        SigningKey::es256(&[7; 32]).unwrap(),
        #[cfg(feature = "rs256")]
        rsa(),
    ]
}

#[cfg(feature = "rs256")]
fn rsa() -> SigningKey {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    SigningKey::rs256(der.as_ref()).unwrap()
}

#[test]
fn header_and_claims_are_the_documented_ones() {
    let token = mint(hs256());
    let parts: Vec<_> = token.reveal().split('.').collect();
    assert_eq!(decode(parts[0]), json!({"typ": "JWT", "alg": "HS256", "kid": "k1"}));
    let mut claims = decode(parts[1]);
    assert_eq!(claims["jti"].as_str().map(str::len), Some(22));
    claims.as_object_mut().unwrap().remove("jti");
    let expected = json!({
        "iss": "signup", "sub": "acc_x", "aud": "dashboard",
        "iat": 1_700_000_000, "exp": 1_700_086_400,
    });
    assert_eq!(claims, expected);
}

#[test]
fn w01_what_is_minted_is_verified_with_any_algorithm() {
    for key in all_keys() {
        let keys = TokenKeys::new(key);
        let token = mint(keys.clone());
        let verified = verifier(keys.clone()).verify(token.reveal()).unwrap();
        assert_eq!(verified.account_id().as_str(), "acc_x");
        assert_eq!(
            (verified.issued_at(), verified.expires_at()),
            (NOW.into(), u64::from(NOW) + 86_400)
        );
        assert_eq!(verified.id().len(), 22);
        // The public half alone does it as well.
        if keys.signing().unwrap().algorithm() != Algorithm::HS256 {
            let fetched = TokenKeys::from_jwks(&keys.jwks()).unwrap();
            assert_eq!(verifier(fetched).verify(token.reveal()).unwrap(), verified);
        }
    }
    assert!(verifier(hs256()).verify(&signed(HEADER, &claims().to_string())).is_ok());
}

#[test]
fn w02_to_w05_no_algorithm_but_the_keys() {
    for alg in [
        r#""none""#,
        r#""None""#,
        r#""noNE""#,
        r#""""#,
        "null",
        "1",
        "[\"HS256\"]",
        r#""HS384""#,
        r#""HS512""#,
        r#""hs256""#,
        r#"" HS256""#,
        r#""HS256 ""#,
        "\"HS256\\u0000\"",
        r#""EdDSA""#,
    ] {
        let header = format!(r#"{{"typ":"JWT","alg":{alg},"kid":"k1"}}"#);
        assert!(with_header(&header).is_err(), "{alg}");
    }
    assert!(with_header(r#"{"typ":"JWT","kid":"k1"}"#).is_err());
    // The public key of a pair is no secret of an HMAC.
    let ed25519 = SigningKey::ed25519(&[7; 32]).with_key_id("k1").unwrap();
    let public = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
    let text = format!("{}.{}", encode(HEADER), encode(claims().to_string()));
    let tag = Hmac::<Sha256>::new_from_slice(public.as_bytes()).unwrap().chain_update(&text);
    let forged = format!("{text}.{}", encode(tag.finalize().into_bytes()));
    assert_eq!(verifier(ed25519).verify(&forged), Err(TokenRejected::Algorithm));
}

#[test]
fn w06_every_bit_of_the_signature_counts() {
    for key in all_keys() {
        let keys = TokenKeys::new(key);
        let verifier = verifier(keys.clone());
        let token = mint(keys);
        let (text, signature) = token.reveal().rsplit_once('.').unwrap();
        let signature = Base64UrlUnpadded::decode_vec(signature).unwrap();
        let refused = |signature: &[u8]| {
            let token = format!("{text}.{}", encode(signature));
            assert!(verifier.verify(&token).is_err(), "{signature:?}");
        };
        for bit in 0..signature.len() * 8 {
            let mut flipped = signature.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused(&flipped);
        }
        let half = signature.len() / 2;
        refused(&[&signature[half..], &signature[..half]].concat());
        refused(&vec![0; signature.len()]);
        refused(&signature[..signature.len() - 1]);
        refused(&[signature.clone(), vec![0]].concat());
        refused(&[]);
    }
}

#[test]
fn w07_to_w11_one_spelling_of_the_compact_form() {
    let token = mint(hs256());
    let verifier = verifier(hs256());
    let parts: Vec<_> = token.reveal().split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    let mut wrong = vec![
        String::new(),
        ".".into(),
        "..".into(),
        header.into(),
        format!("{header}.{claims}"),
        format!("{header}.{claims}."),
        format!("{header}..{signature}"),
        format!(".{claims}.{signature}"),
        format!("{header}.{claims}.{signature}."),
        format!("{header}.{claims}.{signature}.{signature}"),
        format!("{header}.{claims}.{signature}.{signature}.x"),
        json!({"protected": header, "payload": claims, "signature": signature}).to_string(),
    ];
    for extra in ["=", " ", "\n", "\0", "+", "/"] {
        wrong.push(format!("{}{extra}", token.reveal()));
        wrong.push(format!("{extra}{}", token.reveal()));
        wrong.push(token.reveal().replacen('.', &format!("{extra}."), 1));
    }
    // 32 octets leave two bits of the last character, which have to be zero.
    let last = signature.as_bytes()[42];
    for other in (0..=127u8).filter(|other| *other != last) {
        wrong.push(format!("{header}.{claims}.{}{}", &signature[..42], char::from(other)));
    }
    for token in wrong {
        assert!(verifier.verify(&token).is_err(), "{token:?}");
    }
}

#[test]
fn w13_to_w17_a_header_is_what_ours_are() {
    for extra in [
        r#""crit":["exp"],"exp":1"#,
        r#""crit":[]"#,
        r#""b64":false"#,
        r#""zip":"DEF""#,
        r#""enc":"A128GCM""#,
        r#""jku":"https://evil.example/k""#,
        r#""jwk":{"kty":"oct","k":"AA"}"#,
        r#""x5u":"https://evil.example""#,
        r#""x5c":[]"#,
        r#""alg":"HS256""#,
        r#""kid":"k1""#,
        r#""cty":"JWT""#,
    ] {
        let header = format!(r#"{{"typ":"JWT","alg":"HS256","kid":"k1",{extra}}}"#);
        assert_eq!(with_header(&header), Err(TokenRejected::Malformed), "{extra}");
    }
    for header in [r#"["JWT","HS256","k1"]"#, "null", "1", r#""JWT""#, "", "{", "{}", " {}"] {
        assert_eq!(with_header(header), Err(TokenRejected::Malformed), "{header}");
    }
    for kid in [r#""../../dev/null""#, r#""' OR 1=1""#, r#""""#, r#""K1""#, r#""k1\u0000""#] {
        let header = format!(r#"{{"typ":"JWT","alg":"HS256","kid":{kid}}}"#);
        assert_eq!(with_header(&header), Err(TokenRejected::UnknownKey), "{kid}");
    }
    for kid in ["[\"k1\"]", "null", "1"] {
        let header = format!(r#"{{"typ":"JWT","alg":"HS256","kid":{kid}}}"#);
        assert_eq!(with_header(&header), Err(TokenRejected::Malformed), "{kid}");
    }
}

#[test]
fn w18_a_long_token_is_not_looked_at() {
    let long = mint(hs256()).reveal().repeat(3000);
    assert_eq!(verifier(hs256()).verify(&long), Err(TokenRejected::TooLong));
}

#[test]
fn w20_t04_expiry_is_judged_by_the_injected_clock_to_the_second() {
    let token = signed(HEADER, &claims().to_string());
    let clock = ManualClock::at_unix(NOW);
    let strict = TokenVerifier::new(hs256().into()).clock(clock.clone());
    let lenient = strict.clone().leeway(Duration::from_secs(5));
    let at =
        |seconds: u32| clock.set_wall(UNIX_EPOCH + Duration::from_secs((NOW + seconds).into()));
    at(59);
    assert!(strict.verify(&token).is_ok());
    at(60);
    assert_eq!(strict.verify(&token), Err(TokenRejected::Expired));
    at(64);
    assert!(lenient.verify(&token).is_ok());
    at(65);
    assert_eq!(lenient.verify(&token), Err(TokenRejected::Expired));
    // A clock before the leeway, and one before 1970.
    clock.set_wall(UNIX_EPOCH + Duration::from_secs(1));
    assert_eq!(lenient.verify(&token), Err(TokenRejected::NotYetValid));
    clock.set_wall(UNIX_EPOCH - Duration::from_secs(1));
    assert_eq!(strict.verify(&token), Err(TokenRejected::Clock));
}

#[test]
fn w21_w22_w27_times_are_there_and_whole_numbers() {
    for name in ["exp", "iat"] {
        let missing = with_claim(name, None);
        assert_eq!(missing, Err(TokenRejected::Malformed));
        for value in
            [json!("1700000030"), json!(1_700_000_030.5), json!(-1), json!(null), json!([1])]
        {
            assert_eq!(
                with_claim(name, Some(value.clone())),
                Err(TokenRejected::Malformed),
                "{value}"
            );
        }
    }
    let huge = claims().to_string().replace(&(NOW + 60).to_string(), "1e999");
    assert!(verifier(hs256()).verify(&signed(HEADER, &huge)).is_err());
    assert!(with_claim("exp", Some(json!(u64::MAX))).is_ok());
    assert_eq!(with_claim("iat", Some(json!(NOW + 1))), Err(TokenRejected::NotYetValid));
    assert_eq!(with_claim("nbf", Some(json!(NOW + 1))), Err(TokenRejected::NotYetValid));
    assert_eq!(with_claim("nbf", Some(json!(null))), Err(TokenRejected::Malformed));
    assert!(with_claim("nbf", Some(json!(NOW))).is_ok());
}

#[test]
fn w23_to_w26_w34_every_other_claim_is_required_and_ours() {
    for name in ["iss", "sub", "aud", "jti"] {
        assert_eq!(with_claim(name, None), Err(TokenRejected::Malformed), "{name}");
        assert_eq!(with_claim(name, Some(json!(1))), Err(TokenRejected::Malformed), "{name}");
    }
    for (audience, expected) in [
        (json!("Dashboard"), Err(TokenRejected::Audience)),
        (json!(["other"]), Err(TokenRejected::Audience)),
        (json!([]), Err(TokenRejected::Audience)),
        (json!(["other", "dashboard"]), Ok(())),
    ] {
        assert_eq!(with_claim("aud", Some(audience)).map(drop), expected);
    }
    assert_eq!(with_claim("iss", Some(json!("Signup"))), Err(TokenRejected::Issuer));
    for subject in ["", "x", "../", "acc_", "ACC_x", "acc_X", "<b>", "acc_x\n"] {
        let refused = with_claim("sub", Some(json!(subject)));
        assert_eq!(refused, Err(TokenRejected::Subject), "{subject}");
    }
    for typ in ["at+jwt", "jwt", "reset", ""] {
        let header = HEADER.replace("JWT", typ);
        assert_eq!(with_header(&header), Err(TokenRejected::Type), "{typ}");
    }
    let array = r#"["signup","acc_x","dashboard","1",1700000060,1700000000]"#;
    assert!(verifier(hs256()).verify(&signed(HEADER, array)).is_err());
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
    assert_eq!(keys.retire("new"), Err(KeyError::Signing));
    keys.retire("old").unwrap();
    assert_eq!(verifier.verify(before.reveal()), Err(TokenRejected::UnknownKey));
    assert!(verifier.verify(after.reveal()).is_ok());
    assert_eq!(keys.retire("old"), Err(KeyError::UnknownKeyId));
    assert_eq!(keys.promote("old"), Err(KeyError::UnknownKeyId));
    let other = SigningKey::ed25519(&[3; 32]).verifying_key().clone();
    keys.add_verifying(other.with_key_id("other").unwrap()).unwrap();
    assert_eq!(keys.promote("other"), Err(KeyError::VerifiesOnly));
}

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
    for wrong in [pem("PUBLIC KEY", seed), pem("EC PRIVATE KEY", seed), "no".into(), String::new()]
    {
        assert_eq!(SigningKey::from_pem(&wrong).err(), Some(KeyError::Unusable));
        assert_eq!(VerifyingKey::from_pem(&wrong).err(), Some(KeyError::Unusable));
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
fn the_memory_of_a_token_never_grows() {
    for key in all_keys() {
        let token = mint(key);
        assert_eq!(token.0.capacity(), token.0.len());
    }
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

/// Whether a JWS of any header and payload would verify, by the parts of ours that
/// judge the form, the algorithm and the signature.
fn signature_verifies(key: &VerifyingKey, jws: &str) -> bool {
    let decoded = |part: &str| Base64UrlUnpadded::decode_vec(part).ok();
    let judge = || {
        let (signed, signature) = jws.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header: Value = serde_json::from_slice(&decoded(header)?).ok()?;
        decoded(payload)?;
        Some(header["alg"] == key.alg() && key.verifies(signed.as_bytes(), &decoded(signature)?))
    };
    judge().unwrap_or(false)
}

#[test]
fn w12_vectors_of_wycheproof() {
    let vectors = include_str!("../../tests/data/wycheproof/json_web_signature_test.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        let jwk = group.get("public").unwrap_or(&group["private"]);
        let key = serde_json::from_value::<Jwk>(jwk.clone()).ok();
        let key = key.and_then(|jwk| VerifyingKey::from_jwk(&jwk).ok());
        for test in group["tests"].as_array().unwrap() {
            let (name, jws) = (&test["comment"], test["jws"].as_str().unwrap());
            let Some(key) = &key else {
                // A key that is not for this, or of an algorithm that we have not.
                refused += usize::from(test["result"] == "invalid");
                continue;
            };
            assert!(verifier_of(key).verify(jws).is_err(), "{name}: it has no claims");
            // Two are called invalid for a padding that is not in them: they are the
            // octets of a valid one. Two are called valid with a `?` in their base64,
            // which RFC 7515, section 2 does not know.
            let padding = name.as_str().unwrap().starts_with("invalidBase64Padding");
            let valid = (padding || test["result"] == "valid") && !jws.contains('?');
            assert_eq!(signature_verifies(key, jws), valid, "{} {name}", group["comment"]);
            *(if valid { &mut accepted } else { &mut refused }) += 1;
        }
    }
    assert!(refused > 0 && accepted > 0, "{refused} refused and {accepted} accepted");
    println!("{refused} refused, {accepted} accepted");
}

fn verifier_of(key: &VerifyingKey) -> TokenVerifier {
    TokenVerifier::new(TokenKeys::verifying_only([key.clone()]).unwrap())
}
