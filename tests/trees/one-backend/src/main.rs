//! A host that uses jsonwebtoken itself: its `decode` takes our tokens, of
//! either algorithm, and refuses them under another key.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use signup::store::MemoryStore;
use signup::token::SigningKey;
use signup::{SignupRequest, SignupService};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// The public key to the seed of 32 sevens.
const PUBLIC_X: &str = "6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw";

#[derive(Deserialize)]
struct Claims {
    sub: String,
    iat: u64,
    exp: u64,
    jti: String,
}

fn main() {
    let hs256 = SigningKey::hs256(SECRET).unwrap();
    check(hs256, &DecodingKey::from_secret(SECRET), &DecodingKey::from_secret(&[1; 32]));
    let ed25519 = SigningKey::ed25519(&[7; 32]);
    let public = DecodingKey::from_ed_components(PUBLIC_X).unwrap();
    let other = DecodingKey::from_ed_components("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
    check(ed25519, &public, &other);
}

fn check(key: SigningKey, right: &DecodingKey, wrong: &DecodingKey) {
    let (algorithm, key_id) = (key.algorithm(), key.key_id().to_owned());
    let store = MemoryStore::default();
    let service = SignupService::builder(store).token_keys(key).build().unwrap();
    let request = SignupRequest::new("dev@example.com", "correct horse");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let signup = runtime.block_on(service.signup(request)).unwrap();
    let token = signup.token().reveal();

    let header = decode_header(token).unwrap();
    assert_eq!((header.alg, header.kid), (algorithm, Some(key_id)));
    assert_eq!(header.typ.as_deref(), Some("JWT"));
    let mut validation = Validation::new(algorithm);
    validation.leeway = 0;
    validation.set_issuer(&["signup"]);
    validation.set_audience(&["dashboard"]);
    validation.set_required_spec_claims(&["iss", "sub", "aud", "exp"]);
    let claims = decode::<Claims>(token, right, &validation).unwrap().claims;
    assert_eq!(claims.sub, signup.account().id().as_str());
    assert_eq!(claims.exp - claims.iat, 24 * 60 * 60);
    assert!(!claims.jti.is_empty());
    assert!(decode::<Claims>(token, wrong, &validation).is_err());
    validation.algorithms = vec![Algorithm::HS512];
    assert!(decode::<Claims>(token, right, &validation).is_err());
}
