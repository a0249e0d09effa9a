//! Minting, and hazards 11: what verifies, and all that must not.

use std::time::{Duration, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Sha256;

use super::mint::MintError;
use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::random::{Entropy, SeededRandom};

mod keys;
mod options;
mod wycheproof;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: u32 = 1_700_000_000;

fn hs256() -> SigningKey {
    SigningKey::hs256(SECRET).unwrap().with_key_id("k1").unwrap()
}

fn mint(keys: impl Into<TokenKeys>) -> Token {
    mint_with(keys, &TokenOptions::new()).unwrap()
}

fn mint_with(keys: impl Into<TokenKeys>, options: &TokenOptions) -> Result<Token, MintError> {
    let day = Duration::from_hours(24);
    let mint = TokenMint::new(keys.into(), "signup".into(), "dashboard".into(), day).unwrap();
    let now = Timestamp::read(&ManualClock::at_unix(NOW), Timestamp::MAX).unwrap();
    let mut draw = Entropy::draw(&SeededRandom::new(1)).unwrap();
    mint.mint(&Subject::new(&"acc_x".parse().unwrap()), now, &mut draw, options)
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

fn with_header(header: &str) -> Result<VerifiedToken, TokenError> {
    verifier(hs256()).verify(&signed(header, &claims().to_string()))
}

fn with_claim(name: &str, value: Option<Value>) -> Result<VerifiedToken, TokenError> {
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

// Hazards: W02 W03 W04 W05
#[test]
fn no_algorithm_but_the_keys() {
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
    assert_eq!(verifier(ed25519).verify(&forged), Err(TokenError::Algorithm));
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

// Hazards: W07 W08 W09 W10 W11
#[test]
fn one_spelling_of_the_compact_form() {
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

// Hazards: W13 W14 W15 W16 W17
#[test]
fn a_header_is_what_ours_are() {
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
        assert_eq!(with_header(&header), Err(TokenError::Malformed), "{extra}");
    }
    for header in [r#"["JWT","HS256","k1"]"#, "null", "1", r#""JWT""#, "", "{", "{}", " {}"] {
        assert_eq!(with_header(header), Err(TokenError::Malformed), "{header}");
    }
    for kid in [r#""../../dev/null""#, r#""' OR 1=1""#, r#""""#, r#""K1""#, r#""k1\u0000""#] {
        let header = format!(r#"{{"typ":"JWT","alg":"HS256","kid":{kid}}}"#);
        assert_eq!(with_header(&header), Err(TokenError::UnknownKey), "{kid}");
    }
    for kid in ["[\"k1\"]", "null", "1"] {
        let header = format!(r#"{{"typ":"JWT","alg":"HS256","kid":{kid}}}"#);
        assert_eq!(with_header(&header), Err(TokenError::Malformed), "{kid}");
    }
}

#[test]
fn w18_a_long_token_is_not_looked_at() {
    let long = mint(hs256()).reveal().repeat(3000);
    assert_eq!(verifier(hs256()).verify(&long), Err(TokenError::TooLong));
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
    assert_eq!(strict.verify(&token), Err(TokenError::Expired));
    at(64);
    assert!(lenient.verify(&token).is_ok());
    at(65);
    assert_eq!(lenient.verify(&token), Err(TokenError::Expired));
    // A clock that is behind by the skew of two instances, without any leeway.
    let issued = u64::from(NOW);
    for (behind, is_valid) in [(0, true), (2, true), (3, false)] {
        clock.set_wall(UNIX_EPOCH + Duration::from_secs(issued - behind));
        assert_eq!(strict.verify(&token).is_ok(), is_valid, "{behind} s behind");
    }
    // A leeway without end is none: ten minutes are the most.
    let endless = strict.clone().leeway(Duration::MAX);
    at(60 + 599);
    assert!(endless.verify(&token).is_ok());
    at(60 + 600);
    assert_eq!(endless.verify(&token), Err(TokenError::Expired));
    // A clock before the leeway, and one before 1970.
    clock.set_wall(UNIX_EPOCH + Duration::from_secs(1));
    assert_eq!(lenient.verify(&token), Err(TokenError::NotYetValid));
    clock.set_wall(UNIX_EPOCH - Duration::from_secs(1));
    assert_eq!(strict.verify(&token), Err(TokenError::Clock));
}

#[test]
fn w21_w22_w27_times_are_there_and_whole_numbers() {
    for name in ["exp", "iat"] {
        let missing = with_claim(name, None);
        assert_eq!(missing, Err(TokenError::Malformed));
        for value in
            [json!("1700000030"), json!(1_700_000_030.5), json!(-1), json!(null), json!([1])]
        {
            assert_eq!(
                with_claim(name, Some(value.clone())),
                Err(TokenError::Malformed),
                "{value}"
            );
        }
    }
    let huge = claims().to_string().replace(&(NOW + 60).to_string(), "1e999");
    assert!(verifier(hs256()).verify(&signed(HEADER, &huge)).is_err());
    assert!(with_claim("exp", Some(json!(u64::MAX))).is_ok());
    assert_eq!(with_claim("iat", Some(json!(NOW + 3))), Err(TokenError::NotYetValid));
    assert_eq!(with_claim("nbf", Some(json!(NOW + 3))), Err(TokenError::NotYetValid));
    assert_eq!(with_claim("nbf", Some(json!(null))), Err(TokenError::Malformed));
    assert!(with_claim("nbf", Some(json!(NOW))).is_ok());
}

// Hazards: W23 W24 W25 W26 W34
#[test]
fn every_other_claim_is_required_and_ours() {
    for name in ["iss", "sub", "aud", "jti"] {
        assert_eq!(with_claim(name, None), Err(TokenError::Malformed), "{name}");
        assert_eq!(with_claim(name, Some(json!(1))), Err(TokenError::Malformed), "{name}");
    }
    for (audience, expected) in [
        (json!("Dashboard"), Err(TokenError::Audience)),
        (json!(["other"]), Err(TokenError::Audience)),
        (json!([]), Err(TokenError::Audience)),
        (json!(["other", "dashboard"]), Ok(())),
    ] {
        assert_eq!(with_claim("aud", Some(audience)).map(drop), expected);
    }
    assert_eq!(with_claim("iss", Some(json!("Signup"))), Err(TokenError::Issuer));
    for subject in ["", "x", "../", "acc_", "ACC_x", "acc_X", "<b>", "acc_x\n"] {
        let refused = with_claim("sub", Some(json!(subject)));
        assert_eq!(refused, Err(TokenError::Subject), "{subject}");
    }
    for typ in ["at+jwt", "jwt", "reset", ""] {
        let header = HEADER.replace("JWT", typ);
        assert_eq!(with_header(&header), Err(TokenError::Type), "{typ}");
    }
    let array = r#"["signup","acc_x","dashboard","1",1700000060,1700000000]"#;
    assert!(verifier(hs256()).verify(&signed(HEADER, array)).is_err());
}

#[test]
fn the_memory_of_a_token_never_grows() {
    for key in all_keys() {
        let token = mint(key);
        assert_eq!(token.0.capacity(), token.0.len());
    }
}
