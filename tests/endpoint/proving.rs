//! An app that proves addresses, and a mailbox for all of them.

use std::sync::Arc;

use serde_json::{Value, json};
use signup::clock::ManualClock;
use signup::idempotency::ReplaySecret;
use signup::mail::{Mail, MailKind, MailQueue, MemoryMailer};
use signup::verification::EmailCodes;

use crate::support::backend::{App, Backend, Mode, NOW, Options};
use crate::support::client::{JSON, Response, signup};
use crate::support::document;

/// An app that proves addresses, and what it mails.
pub struct Proving {
    pub mode: Mode,
    pub app: App,
    pub mailer: Arc<MemoryMailer>,
    pub mails: MailQueue,
    pub clock: ManualClock,
    /// Whether each request waits for its mail.
    pub drains: bool,
}

pub async fn proving_first(backend: Backend) -> Proving {
    with_mailer(Mode::First, backend).await
}

pub async fn proving_after(backend: Backend) -> Proving {
    with_mailer(Mode::After, backend).await
}

async fn with_mailer(mode: Mode, backend: Backend) -> Proving {
    let mailer = Arc::new(MemoryMailer::default());
    with_queue(mode, backend, MailQueue::new(Arc::clone(&mailer)), mailer).await
}

pub async fn with_queue(
    mode: Mode,
    backend: Backend,
    mails: MailQueue,
    mailer: Arc<MemoryMailer>,
) -> Proving {
    with_options(mode, backend, mails, mailer, Options::default()).await
}

/// With other settings; the clock and the secrets are those of all tests of proofs.
pub async fn with_options(
    mode: Mode,
    backend: Backend,
    mails: MailQueue,
    mailer: Arc<MemoryMailer>,
    options: Options,
) -> Proving {
    let clock = ManualClock::at_unix(NOW);
    let secret = ReplaySecret::new(&[1; 32]).unwrap();
    let options = Options {
        clock: Arc::new(clock.clone()),
        replay_secret: (mode == Mode::After).then(|| ReplaySecret::new(&[2; 32]).unwrap()),
        verification: Some((mode, EmailCodes::new(secret, mails.clone()))),
        ..options
    };
    Proving { mode, app: backend.with(options).await, mailer, mails, clock, drains: true }
}

/// A mailer that never answers: its mails keep their places.
pub struct Stalled;

#[async_trait::async_trait]
impl signup::mail::Mailer for Stalled {
    async fn send(&self, _: &signup::mail::Mail) -> Result<(), signup::mail::MailError> {
        std::future::pending().await
    }
}

pub fn ticket(response: &Response) -> String {
    assert_eq!(response.status, 202, "{response:?}");
    response.json()["data"]["ticket"].as_str().unwrap().to_owned()
}

#[track_caller]
pub fn is_refused(answer: &Response) {
    assert_eq!(answer.issues(), [(vec!["code".to_owned()], "Invalid or expired code".to_owned())]);
}

/// A code that is another one.
pub fn wrong(code: &str) -> String {
    let (first, rest) = code.split_at(1);
    format!("{}{rest}", if first == "0" { "2" } else { "0" })
}

impl Proving {
    pub async fn post(&mut self, path: &str, body: &Value) -> Response {
        self.post_with(path, &[], body).await
    }

    pub async fn post_with(&mut self, path: &str, headers: &[&str], body: &Value) -> Response {
        let (body, headers) = (body.to_string(), [&[JSON], headers].concat());
        let response = self.app.client.request("POST", path, &headers, body.as_bytes()).await;
        document::check_verifying(self.mode, path, &response);
        // One mail after the other, so that the last one is the newest.
        if self.drains {
            self.mails.drained().await;
        }
        let content_type = (response.status != 204).then_some("application/json");
        assert_eq!(response.header("content-type"), content_type, "{response:?}");
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert_eq!(response.header("retry-after").is_some(), matches!(response.status, 429 | 503));
        response
    }

    pub async fn begin(&mut self, email: &str) -> String {
        let answer = self.post("/auth/signup", &signup(email)).await;
        ticket(&answer)
    }

    pub async fn verify(&mut self, ticket: &str, code: &str) -> Response {
        let answer =
            self.post("/auth/signup/verify", &json!({"ticket": ticket, "code": code})).await;
        if answer.status == 201 {
            answer.check_contract(false);
        }
        answer
    }

    pub async fn resend(&mut self, ticket: &str) -> Response {
        self.post("/auth/signup/resend", &json!({"ticket": ticket})).await
    }

    /// Returns the last code that was mailed to this address.
    pub fn code(&self, address: &str) -> String {
        self.mailer.last_code(address).unwrap_or_else(|| panic!("no code for {address}"))
    }

    pub fn kinds(&self) -> Vec<MailKind> {
        self.mailer.sent().iter().map(Mail::kind).collect()
    }

    /// Signs up and proves the address.
    pub async fn register(&mut self, email: &str) -> Response {
        let ticket = self.begin(email).await;
        let code = self.code(email);
        let answer = self.verify(&ticket, &code).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer
    }
}
