//! Policies that call out: a captcha, and a list of leaked passwords that is queried by the
//! range protocol, which sends five digits of a hash and no password. Both services are
//! stubs on a local port.
//!
//! ```text
//! cargo run -p signup-examples --example policies
//! ```

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use sha1::{Digest as _, Sha1};
use signup::error::{BoxError, ErrorCode};
use signup::policy::{Attempt, OnFailure, SignupPolicy, Verdict};
use signup::store::MemoryStore;
use signup::{SignupError, SignupRequest, SignupService};
use tokio::net::{TcpListener, TcpStream};

const DEADLINE: Duration = Duration::from_secs(2);

/// Checks the field `captcha_token` with a service. If that fails, nobody can sign up.
struct Captcha(String);

#[async_trait]
impl SignupPolicy for Captcha {
    fn fields(&self) -> &[&'static str] {
        &["captcha_token"]
    }

    fn deadline(&self) -> Option<Duration> {
        Some(DEADLINE)
    }

    async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
        let Some(token) = attempt.field("captcha_token") else {
            return Ok(Verdict::invalid("captcha_token", "Required"));
        };
        let answer = ask(&self.0, Method::POST, "/siteverify", token.to_owned()).await?;
        if answer == r#"{"success":true}"# {
            return Ok(Verdict::Allow);
        }
        let message = "The captcha was not solved".into();
        Ok(Verdict::Refuse { code: ErrorCode::AuthenticationError, message })
    }
}

/// Rejects leaked passwords. If the service fails, sign-ups continue.
struct LeakedPasswords(String);

#[async_trait]
impl SignupPolicy for LeakedPasswords {
    fn deadline(&self) -> Option<Duration> {
        Some(DEADLINE)
    }

    fn on_failure(&self) -> OnFailure {
        OnFailure::Allow
    }

    async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
        let hash = sha1_hex(attempt.reveal_password());
        let (prefix, suffix) = hash.split_at(5);
        let range = ask(&self.0, Method::GET, &format!("/range/{prefix}"), String::new()).await?;
        // Lines of suffix and count; a count of zero is padding.
        let mut leaked = range.lines().filter_map(|line| line.split_once(':'));
        if leaked.any(|(known, count)| known == suffix && count != "0") {
            return Ok(Verdict::invalid("password", "Password has appeared in a data breach"));
        }
        Ok(Verdict::Allow)
    }
}

fn sha1_hex(text: &str) -> String {
    Sha1::digest(text).iter().map(|octet| format!("{octet:02X}")).collect()
}

/// Sends one request on its own connection, which is enough for an example.
async fn ask(addr: &str, method: Method, path: &str, body: String) -> Result<String, BoxError> {
    let stream = TokioIo::new(TcpStream::connect(addr).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", addr);
    let request = request.body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(format!("it answered {}", response.status()).into());
    }
    Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?)
}

/// Starts both services. The captcha is solved by `solved`; one password has leaked.
async fn stub() -> std::io::Result<String> {
    let app = Router::new()
        .route(
            "/siteverify",
            post(async |token: String| format!(r#"{{"success":{}}}"#, token == "solved")),
        )
        .route(
            "/range/{prefix}",
            get(async |Path(prefix): Path<String>| {
                let leaked = sha1_hex("correct horse");
                let suffix = leaked.strip_prefix(&prefix).unwrap_or("0");
                format!("{}:0\r\n{suffix}:17\r\n", "F".repeat(35))
            }),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?.to_string();
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(addr)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addr = stub().await?;
    let nowhere = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string();
    for (captcha, list) in [(&addr, &addr), (&addr, &nowhere), (&nowhere, &addr)] {
        let service = SignupService::builder(MemoryStore::default())
            .jwt_secret(b"0123456789abcdef0123456789abcdef")
            .policy(Captcha(captcha.clone()))
            .policy(LeakedPasswords(list.clone()))
            .build()?;
        for (token, password) in [
            (None, "a better horse"),
            (Some("guessed"), "a better horse"),
            (Some("solved"), "correct horse"),
            (Some("solved"), "a better horse"),
        ] {
            let request = SignupRequest::new("dev@example.com", password);
            let request = match token {
                Some(token) => request.field("captcha_token", token),
                None => request,
            };
            let line = match service.signup(request).await {
                Ok(signup) => format!("201 {}", signup.account().email().as_str()),
                Err(SignupError::EmailTaken) => "409".to_owned(),
                Err(error) => {
                    let json = String::from_utf8(error.to_json())?;
                    format!("{} {json}", error.code().status())
                }
            };
            println!("{line}");
        }
        println!();
    }
    Ok(())
}
