//! A host in whose tree both back ends of jsonwebtoken are compiled in, where its
//! own `encode` panics: tokens are signed
//! all the same.

use jsonwebtoken::{EncodingKey, Header, encode};
use signup::store::MemoryStore;
use signup::{SignupRequest, SignupService};

fn main() {
    let theirs = std::panic::catch_unwind(|| {
        encode(&Header::default(), &"claims", &EncodingKey::from_secret(b"secret"))
    });
    assert!(theirs.is_err(), "the tree is not the one that this test is about");

    let service = SignupService::builder(MemoryStore::default())
        .jwt_secret(b"0123456789abcdef0123456789abcdef")
        .build()
        .unwrap();
    let request = SignupRequest::new("dev@example.com", "correct horse");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let signup = runtime.block_on(service.signup(request)).unwrap();
    assert_eq!(signup.token().reveal().split('.').count(), 3);
}
