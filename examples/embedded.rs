//! Sign-up without HTTP and without features: one account in memory, its retry, then each
//! error.
//!
//! ```text
//! cargo run -p signup-examples --example embedded --no-default-features
//! ```

use std::error::Error;
use std::sync::Arc;

use signup::hash::HashPool;
use signup::idempotency::{IdempotencyKey, ReplaySecret};
use signup::store::MemoryStore;
use signup::{SignupError, SignupRequest, SignupService};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let pool = Arc::new(HashPool::builder().workers(1).queue(1).build()?);
    let service = SignupService::builder(MemoryStore::default())
        .jwt_secret(b"0123456789abcdef0123456789abcdef")
        .retry_safe(ReplaySecret::new(b"fedcba9876543210fedcba9876543210")?)
        .hash_pool(Arc::clone(&pool))
        .build()?;

    println!("created:");
    // A new key for each sign-up, and the same one for its retries.
    let key = IdempotencyKey::new("8e03978e-40d5-43dd-bc93-6894a57f9324")?;
    let request = || {
        let request = SignupRequest::new("dev@example.com", "correct horse");
        request.name("Jane Developer").idempotency_key(key.clone())
    };
    let signup = service.signup(request()).await?;
    println!("{}\n", String::from_utf8_lossy(signup.reveal_json()));

    let again = service.signup(request()).await?;
    let is_same = again.reveal_json() == signup.reveal_json();
    println!("sent again, as after a lost answer: the same one, {is_same}\n");

    let taken = SignupRequest::new("DEV@Example.com", "correct horse");
    show("the email is taken", service.signup(taken).await.err());

    let invalid = SignupRequest::new("no address", "short").name("\u{7}");
    show("every field is wrong", service.signup(invalid).await.err());

    show("the body is no JSON", SignupRequest::from_json(b"{").err());
    show("the body is no object", SignupRequest::from_json(b"[]").err());

    // All permits of the pool are taken: the running one and the queued one.
    let _places = (pool.reserve()?, pool.reserve()?);
    let late = SignupRequest::new("late@example.com", "correct horse");
    show("hashing capacity is full", service.signup(late).await.err());
    Ok(())
}

fn show(case: &str, error: Option<SignupError>) {
    if let Some(error) = error {
        let json = error.to_json();
        println!("{case}:\n{}\n", String::from_utf8_lossy(&json));
    }
}
