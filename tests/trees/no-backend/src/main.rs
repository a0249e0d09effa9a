//! A host without jsonwebtoken, or with none of its back ends: tokens are signed
//! all the same.

use signup::store::MemoryStore;
use signup::{SignupRequest, SignupService};

fn main() {
    let service = SignupService::builder(MemoryStore::default())
        .jwt_secret(b"0123456789abcdef0123456789abcdef")
        .build()
        .unwrap();
    let request = SignupRequest::new("dev@example.com", "correct horse");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let signup = runtime.block_on(service.signup(request)).unwrap();
    assert_eq!(signup.token().reveal().split('.').count(), 3);
}
