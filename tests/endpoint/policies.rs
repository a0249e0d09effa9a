//! Policies at the endpoint: what they see of a request, and what is answered.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::json;
use signup::error::BoxError;
use signup::policy::{Attempt, MinimumLength, NotTheEmail, SignupPolicy, Verdict};

use crate::support::backend::{App, Backend, Options};
use crate::support::client::JSON;

crate::cases![
    [P21] what_is_wrong_with_a_password_is_told_at_its_field,
    a_policy_sees_what_it_has_declared_and_the_headers,
    a_declared_field_of_another_type_is_an_issue_behind_the_others,
];

/// Notes what it sees.
#[derive(Default)]
struct Witness(Mutex<Vec<String>>);

#[async_trait]
impl SignupPolicy for Witness {
    fn fields(&self) -> &[&'static str] {
        &["captcha_token", "invite_code"]
    }

    async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
        let agents = attempt.header("User-Agent").map(|value| String::from_utf8_lossy(value));
        let client = attempt.client().and_then(|client| client.address());
        self.0.lock().unwrap().push(format!(
            "{} {:?} {} {:?} {:?} {:?} {:?} {:?}",
            attempt.email().as_str(),
            attempt.name(),
            attempt.reveal_password().len(),
            client.map(|address| address.to_string()),
            agents.collect::<Vec<_>>(),
            attempt.field("captcha_token"),
            attempt.field("invite_code"),
            attempt.field("other"),
        ));
        Ok(Verdict::Allow)
    }
}

async fn with(backend: Backend, policies: Vec<Arc<dyn SignupPolicy>>) -> App {
    backend.with(Options { policies, ..Options::default() }).await
}

async fn what_is_wrong_with_a_password_is_told_at_its_field(backend: Backend) {
    let mut app = with(backend, vec![Arc::new(NotTheEmail), Arc::new(MinimumLength(10))]).await;
    for password in ["Kimberley", "kimberley@x.co", "123456789"] {
        let body = json!({"email": "kimberley@x.co", "password": password});
        // The document does not have the host's policies.
        app.request("POST", &[JSON], body.to_string()).await.is_invalid(&["password"]);
    }
    assert_eq!(app.engine.hashes(), 0);
    let body = json!({"email": "kimberley@x.co", "password": "correct horse"});
    assert_eq!(app.post_json(&body).await.status, 201);
}

async fn a_policy_sees_what_it_has_declared_and_the_headers(backend: Backend) {
    let witness = Arc::new(Witness::default());
    let mut app = with(backend, vec![Arc::clone(&witness) as Arc<dyn SignupPolicy>]).await;
    let body = json!({
        "email": "Kim@x.co", "password": "correct horse", "name": "Kim",
        "captcha_token": "t\u{f6}ken", "other": "unseen",
    });
    let response = app.request("POST", &[JSON, "User-Agent: x"], body.to_string()).await;
    assert_eq!(response.status, 201);
    let seen = r#"Kim@x.co Some("Kim") 13 Some("127.0.0.1") ["x"] Some("töken") None None"#;
    assert_eq!(*witness.0.lock().unwrap(), [seen]);
}

async fn a_declared_field_of_another_type_is_an_issue_behind_the_others(backend: Backend) {
    let witness = Arc::new(Witness::default());
    let mut app = with(backend, vec![Arc::clone(&witness) as Arc<dyn SignupPolicy>]).await;
    let body = json!({
        "invite_code": 1, "captcha_token": null, "name": 1, "email": "a@x.co", "password": "12345678",
    });
    let refused = app.request("POST", &[JSON], body.to_string()).await;
    refused.is_invalid(&["name", "captcha_token", "invite_code"]);
    assert_eq!(refused.issues()[2].1, "Expected string, received number");
    assert!(witness.0.lock().unwrap().is_empty(), "it was asked about fields that are wrong");
    // Twice is malformed, as of any key.
    app.post(br#"{"invite_code":"a","invite_code":"a"}"#).await.is_malformed();
}
