//! Spans, logs and metrics as an operator sees them, and the secrets that must not be in
//! them.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use signup::clock::ManualClock;
use signup::hash::{FakeEngine, HashPool, PasswordHash};
use signup::http::SignupEndpoint;
use signup::idempotency::ReplaySecret;
use signup::limit::RateLimits;
use signup::mail::{MailQueue, MemoryMailer};
use signup::relay::{Delivery, SinkError};
use signup::store::{AccountChange, Effect, LifecycleStore as _, MemoryStore, SqliteStore};
use signup::verification::EmailCodes;
use signup::{SignupRequest, SignupService};
use tokio::net::TcpListener;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::support::alone::{is_alone, run_alone};
use crate::support::client::{Client, JSON, signup};
use crate::support::faults::{Fault, Faulty};
use crate::support::server::Server;

const SERVERS: [&str; 2] = ["axum", "actix"];

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The events of all targets at every level, from now on. It is the process's, so
/// that one test has it.
fn overheard() -> Lines {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_writer(move || writer.clone());
    subscriber.init();
    lines
}

/// Runs a future on this thread, and returns the messages of its events with their levels.
fn messages(run: impl Future<Output = ()>) -> Vec<(String, String)> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tracing::subscriber::with_default(subscriber.finish(), || runtime.block_on(run));
    let text = lines.text();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of = |event: &Value, path: &str| event.pointer(path).unwrap().as_str().unwrap().to_owned();
    events.map(|event| (of(&event, "/level"), of(&event, "/fields/message"))).collect()
}

fn verification() -> EmailCodes {
    let mails = MailQueue::new(MemoryMailer::default());
    EmailCodes::new(ReplaySecret::new(&[8; 32]).unwrap(), mails)
}

fn pool() -> Arc<HashPool> {
    Arc::new(HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap())
}

#[test]
fn a_reclaim_that_fails_is_logged() {
    let said = messages(async {
        let store = Faulty::new(MemoryStore::default());
        store.next.lock().unwrap().push_back(Some(Fault::Failed));
        let service = SignupService::builder(store).jwt_secret(&[7; 32]).hash_pool(pool());
        let service = service.audience("test").verify_after(verification()).build().unwrap();
        assert!(
            service.verification().after().unwrap().begin_reclaim("kim@x.co", None).await.is_err()
        );
    });
    assert_eq!(said, [("ERROR".to_owned(), "reclaim failed".to_owned())]);
}

#[test]
fn an_account_without_a_password_is_no_error() {
    let said = messages(async {
        let store = Arc::new(MemoryStore::default());
        let service = SignupService::builder(Arc::clone(&store)).jwt_secret(&[7; 32]);
        let service = service.audience("test").hash_pool(pool()).build().unwrap();
        let signup = service.signup(SignupRequest::new("kim@x.co", "correct horse")).await;
        let account = signup.unwrap().account().id().clone();
        let none = PasswordHash::from_store("", None);
        let change = AccountChange::new(account.clone()).with(Effect::SetPassword(none));
        store.change(change).await.unwrap();
        for password in ["", "correct horse"] {
            assert!(service.credentials().log_in("kim@x.co", password, None, None).await.is_err());
            let accounts = service.accounts();
            assert!(accounts.change_password(&account, password, "better horse").await.is_err());
        }
    });
    assert_eq!(said, []);
}

#[test]
fn the_first_failed_delivery_is_a_warning_and_so_is_the_end() {
    let said = messages(async {
        let clock = ManualClock::at_unix(1_750_000_000);
        let service = SignupService::builder(MemoryStore::default())
            .jwt_secret(&[7; 32])
            .hash_pool(pool())
            .clock(clock.clone())
            .with_events()
            .build()
            .unwrap();
        service.signup(SignupRequest::new("kim@x.co", "correct horse")).await.unwrap();
        let is_away = Arc::new(AtomicBool::new(true));
        let sink = {
            let is_away = Arc::clone(&is_away);
            move |_: Delivery| {
                let is_away = is_away.load(Ordering::SeqCst);
                async move {
                    if is_away { Err(SinkError::Temporary("it is away".into())) } else { Ok(()) }
                }
            }
        };
        let relay = service.event_relay(sink);
        for _ in 0..3 {
            assert_eq!(relay.run_once().await.unwrap().failed, 1);
            clock.advance(Duration::from_hours(7));
        }
        is_away.store(false, Ordering::SeqCst);
        assert_eq!(relay.run_once().await.unwrap().delivered, 1);
    });
    let warned = |text: &str| ("WARN".to_owned(), text.to_owned());
    let [failing, again] =
        ["an event could not be delivered", "events are delivered again"].map(warned);
    assert_eq!(said, [failing, again]);
}

#[test]
fn a_deployment_without_a_name_is_warned_about() {
    let built = |named: bool| {
        messages(async move {
            let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
            let service = if named { service.issuer("https://x.co") } else { service };
            service.hash_pool(pool()).mails(verification()).build().unwrap();
        })
    };
    assert_eq!(built(true), []);
    let [(level, message)] = &built(false)[..] else { panic!("one warning") };
    assert!(level == "WARN" && message.starts_with("issuer and audience"), "{message}");
}

// Hazards: S02 S11
#[test]
fn no_secret_is_in_any_event_of_ours_sqlxs_or_hypers_at_any_level() {
    run_alone("observe::in_a_process_of_its_own", &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "hears the whole process: runs in one of its own"]
async fn in_a_process_of_its_own() {
    if !is_alone() {
        return;
    }
    let lines = overheard();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let store = SqliteStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    let service = SignupService::builder(store.clone())
        .jwt_secret(b"canary-jwt-secret-0123456789abcdef")
        .rate_limits(RateLimits::per_client("4/h".parse().unwrap()))
        .trace_client_address(true)
        .build()
        .unwrap();
    let credentials = service.credentials();
    let router: axum::Router = signup::adapters::axum::router(SignupEndpoint::new(service));
    let app = router.into_make_service_with_connect_info::<std::net::SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = Client::new(listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });

    let password = "canary-password-\u{1f425}";
    let body = json!({"email": "canary@x.co", "password": password, "name": "canary name"});
    let body = body.to_string();
    let created = client.post(body.as_bytes()).await.data();
    let (token, key) = (created["token"].as_str().unwrap(), created["api_key"].as_str().unwrap());
    credentials.verify_token(token).await.unwrap();
    credentials.verify_api_key(key).await.unwrap();
    credentials.verify_password("canary@x.co", password).await.unwrap();
    assert_eq!(client.post(body.as_bytes()).await.status, 409);
    assert_eq!(client.post(br#"{"email":"canary","password":"canary"}"#).await.status, 400);
    store.pool().close().await;
    assert_eq!(client.post(body.as_bytes()).await.status, 503);
    assert_eq!(client.post(body.as_bytes()).await.status, 503);
    assert_eq!(client.post(body.as_bytes()).await.status, 429);

    let text = lines.text();
    let signature = token.rsplit('.').next().unwrap();
    for secret in ["canary", "$argon2id", signature, &key[..20]] {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
    // Everything documented is recorded.
    let spans: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["fields"]["message"] == "close" && line["span"]["name"] == "signup")
        .collect();
    let outcome = |span: &Value| span["span"]["outcome"].as_str().unwrap().to_owned();
    // A span may close a moment after its answer was sent.
    let mut outcomes: Vec<_> = spans.iter().map(outcome).collect();
    outcomes.sort();
    assert_eq!(outcomes, ["created", "email_taken", "invalid", "unavailable", "unavailable"]);
    let of = |name: &str| &spans.iter().find(|span| outcome(span) == name).unwrap()["span"];
    let first = of("created");
    assert_eq!(first["account_id"], created["account"]["id"]);
    assert_eq!(first["client_address"], "127.0.0.1");
    for stage in ["validate", "limit", "policy", "lookup", "hash", "mint", "store"] {
        assert!(first[format!("{stage}_us")].is_u64(), "{first}");
    }
    assert!(first["hash_us"].as_u64() > first["lookup_us"].as_u64(), "{first}");
    assert!(of("email_taken").get("hash_us").is_none(), "a taken email is not hashed");
    assert!(text.contains("sign-up failed"));
}

// Hazards: L01 L02 L03 L04
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_line_is_one_and_says_nothing_of_what_was_sent() {
    for name in SERVERS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let logs = std::fs::File::create(&path).unwrap();
        let settings = [("RUST_LOG", "trace,mio=off,hyper=off,hyper_util=off")];
        let server = Server::logging(name, "memory:", &settings, logs);
        let mut client = Client::new(server.addr);
        let long = format!("User-Agent: canary{}", "x".repeat(8000));
        let headers = [JSON, "X-Request-Id: canary outcome=success", &long];
        for (email, name) in [
            ("canary@x.co", "canary\n{\"outcome\":\"created\"}"),
            ("canary@x.co", "canary \u{1b}[31m"),
            ("canary@x.co\n", "canary"),
            ("canary@x.co", "canary outcome=success \"quoted\" \u{2028}"),
        ] {
            let body = json!({"email": email, "password": "canary horse", "name": name});
            let response =
                client.request("POST", "/auth/signup", &headers, body.to_string().as_bytes()).await;
            assert!(matches!(response.status, 201 | 400), "{response:?}");
            assert_eq!(response.header("x-request-id"), None);
        }
        server.terminate();
        assert!(server.wait(), "{name}");
        let logs = std::fs::read_to_string(&path).unwrap();
        let mut outcomes = Vec::new();
        for line in logs.lines() {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            assert!(!line.contains("canary") && line.len() < 4096, "{line}");
            if let Some(outcome) = event["span"]["outcome"].as_str() {
                outcomes.push(outcome.to_owned());
            }
        }
        outcomes.dedup();
        assert_eq!(outcomes, ["invalid", "created"], "{name}: {logs}");
    }
}

/// The labels of every sample, as name and values.
fn labels(metrics: &str) -> BTreeSet<(String, String)> {
    let samples = metrics.lines().filter(|line| line.starts_with("signup_"));
    let labels = samples.filter_map(|line| line.split_once('{')?.1.split_once('}'));
    labels
        .flat_map(|(labels, _)| labels.split(','))
        .filter_map(|label| label.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s06_metrics_have_few_labels_and_none_of_them_is_of_a_client() {
    for name in SERVERS {
        let settings = [("SIGNUP_RATE_LIMIT", "2/h"), ("SIGNUP_TRUSTED_HOPS", "1")];
        let server = Server::start(name, "memory:", &settings);
        let mut client = Client::new(server.addr);
        for number in 0..20 {
            let address = format!("X-Forwarded-For: 192.0.2.{}", number / 4);
            let body = signup(&format!("canary{}@x.co", number / 3)).to_string();
            client.request("POST", "/auth/signup", &[JSON, &address], body.as_bytes()).await;
        }
        client.post(b"{}").await;
        client.request("GET", "/auth/signup", &[], b"").await;
        let metrics = client.request("GET", "/metrics", &[], b"").await;
        assert_eq!(metrics.status, 200);
        let metrics = String::from_utf8(metrics.body).unwrap();
        assert!(!metrics.contains("canary") && !metrics.contains("192.0.2"), "{metrics}");
        let allowed = [
            ("outcome", &["created", "email_taken", "invalid", "rate_limited"][..]),
            ("stage", &["validate", "limit", "policy", "lookup", "hash", "mint", "store"]),
            ("state", &["queued", "running"]),
            ("status", &["201", "400", "405", "409", "429"]),
        ];
        for (label, value) in labels(&metrics) {
            let known = allowed.iter().find(|(name, _)| *name == label);
            let known = known.is_some_and(|(_, values)| values.contains(&&*value));
            assert!(known || label == "le", "{label}={value}");
        }
        let count = |sample: &str| {
            let line = metrics.lines().find(|line| line.starts_with(sample));
            line.and_then(|line| line.rsplit(' ').next())
                .and_then(|count| count.parse::<f64>().ok())
        };
        // Two pass of each client's four; of them seven had an email that was new.
        let created = count("signup_outcomes_total{outcome=\"created\"}").unwrap();
        let taken = count("signup_outcomes_total{outcome=\"email_taken\"}").unwrap();
        assert!((created + taken - 10.0).abs() < f64::EPSILON, "{metrics}");
        assert_eq!(count("signup_http_responses_total{status=\"429\"}"), Some(10.0));
        assert_eq!(count("signup_stage_duration_seconds_count{stage=\"hash\"}"), Some(created));
        assert!(count("signup_hash_jobs{state=\"queued\"}").is_some());
    }
}

/// The dashboard asks for metrics that there are.
#[test]
fn the_dashboard_knows_the_metrics() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let told = include_str!("../../docs/observing.md");
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let names = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            asked.extend(names.filter(|name| name.starts_with("signup_")).map(str::to_owned));
        }
    }
    assert!(asked.len() >= 5, "{asked:?}");
    for name in asked {
        let name = name.trim_end_matches("_bucket").trim_end_matches("_count");
        assert!(told.contains(&format!("`{name}`")), "{name} is not in docs/observing.md");
    }
}

/// A counter shows that instances have different secrets.
#[test]
fn tokens_and_tickets_of_other_instances_are_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let [ours, theirs] = [1, 2].map(|byte| {
                let mails = MailQueue::new(Arc::new(MemoryMailer::default()));
                let verification = EmailCodes::new(ReplaySecret::new(&[byte; 32]).unwrap(), mails);
                let service = SignupService::builder(MemoryStore::default());
                service.jwt_secret(&[byte + 2; 32]).mails(verification).build().unwrap()
            });
            let request = SignupRequest::new("dev@example.com", "correct horse");
            let signup = theirs.signup(request).await.unwrap();
            assert!(ours.credentials().verify_token(signup.token().reveal()).await.is_err());
            let begun =
                theirs.account_codes().unwrap().begin_password_reset("dev@example.com", None).await;
            let ticket = begun.unwrap().reveal_ticket().to_owned();
            let reset = ours.account_codes().unwrap();
            assert!(reset.complete_password_reset(&ticket, "00000000", "password").await.is_err());
        });
    });
    let metrics = recorder.handle().render();
    for of in ["token", "ticket"] {
        let counted = format!("signup_unknown_secrets_total{{of=\"{of}\"}} 1");
        assert!(metrics.contains(&counted), "{metrics}");
    }
}
