//! A mail of welcome, sent when the owner of an account has verified the address.
//!
//! ```text
//! cargo run -p signup-examples --example welcome_mail --features verification
//! ```

use std::error::Error;
use std::sync::Arc;

use signup::account::AccountState;
use signup::event::EventKind;
use signup::idempotency::ReplaySecret;
use signup::mail::{MailQueue, MemoryMailer};
use signup::relay::{Delivery, SinkError};
use signup::store::MemoryStore;
use signup::verification::EmailCodes;
use signup::{Accounts, SignupRequest, SignupService};

/// Sends the mail, if the event is the email verification. The event has no address in it:
/// the account has, unless it was erased in the meantime.
async fn welcome(accounts: &Accounts, delivery: Delivery) -> Result<(), SinkError> {
    if delivery.event.kind() != EventKind::AccountVerified {
        return Ok(());
    }
    let found = accounts.get(delivery.event.account_id()).await;
    match found.map_err(|error| SinkError::Temporary(error.into()))? {
        Some(record) if record.state == AccountState::Active => {
            // A mail provider takes a key by which it sends a repeated mail once.
            let (to, key) = (record.account.email().as_str(), delivery.event.id());
            println!("To: {to}\nIdempotency-Key: {key}\n\nWelcome!");
            Ok(())
        }
        _ => Ok(()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mailer = Arc::new(MemoryMailer::default());
    let mails = MailQueue::new(Arc::clone(&mailer));
    let verification = EmailCodes::new(ReplaySecret::new(&[8; 32])?, mails.clone());
    let service = SignupService::builder(MemoryStore::default())
        .jwt_secret(&[7; 32])
        .verify_after(verification)
        .with_events()
        .build()?;
    let accounts = service.accounts();
    let relay = service.event_relay(move |delivery| {
        let accounts = accounts.clone();
        async move { welcome(&accounts, delivery).await }
    });

    let signup = service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
    mails.drained().await;
    let sent = mailer.sent();
    let code = sent.first().and_then(|mail| mail.reveal_code()).ok_or("no code was mailed")?;
    service
        .verification()
        .after()
        .ok_or("not verified afterwards")?
        .verify(signup.account().id(), code)
        .await?;

    // A server runs it for as long as it lives: `tokio::spawn(relay.run(shutdown))`.
    while relay.run_once().await?.delivered > 0 {}
    Ok(())
}
