//! A host in whose tree serde_json's `arbitrary_precision` is on: what is an
//! unparsable number stays one, and the answer's JSON is the same.

use signup::store::MemoryStore;
use signup::{SignupRequest, SignupService};

fn is_malformed(field: &str) -> bool {
    let body = format!(r#"{{"email":"dev@example.com","password":"correct horse","x":{field}}}"#);
    SignupRequest::from_json(body.as_bytes()).is_err()
}

fn main() {
    let theirs = serde_json::from_str::<serde_json::Value>("1e999999");
    assert!(theirs.is_ok(), "the tree is not the one that this test is about");

    let digits = "9".repeat(100_000);
    for refused in ["1e999999", "-1e999999", &digits, "01", "1.", "[1e999999]"] {
        assert!(is_malformed(refused), "{refused}");
    }
    for taken in ["-0", "1e300", r#"{"$serde_json::private::Number":"1e999999"}"#] {
        assert!(!is_malformed(taken), "{taken}");
    }
    let wrong_type = SignupRequest::from_json(br#"{"email":{"$serde_json::private::Number":"1"}}"#);
    let service = SignupService::builder(MemoryStore::default())
        .jwt_secret(b"0123456789abcdef0123456789abcdef")
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(service.signup(wrong_type.unwrap())).unwrap_err();
    assert_eq!(error.issues()[0].message, "Expected string, received object");

    let request = SignupRequest::new("dev@example.com", "correct horse");
    let signup = runtime.block_on(service.signup(request)).unwrap();
    assert!(signup.reveal_json().starts_with(br#"{"data":{"token":"ey"#));
}
