//! Events that are posted to a receiver: their form and signature, the addresses that are
//! refused, and servers that are killed on the way.

use std::collections::HashMap;
use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use signup::account::AccountId;
use signup::clock::Timestamp;
use signup::event::{Event, EventKind, PARTITIONS};
use signup::relay::{Delivery, Sink as _, SinkError, Webhook, WebhookError, WebhookSecret};
use signup::store::{EventStore as _, PostgresStore};
use sqlx::AssertSqlSafe;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::server::Database;
use crate::support::client::{Client, signup};
use crate::support::rounds;
use crate::support::server::Server;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A request that the receiver got.
struct Posted {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A receiver that answers with the status that the path names.
struct Receiver {
    addr: SocketAddr,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, posted) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Posted>>>::default());
        let kept = Arc::clone(&posted);
        let app = axum::Router::new().fallback(async move |uri: Uri, headers, body| {
            let path = uri.path().to_owned();
            let status = path.trim_start_matches('/').parse().unwrap_or(204_u16);
            kept.lock().unwrap().push(Posted { path, headers, body });
            let status = StatusCode::from_u16(status).unwrap();
            (status, [("location", "/followed")], "x".repeat(100_000))
        });
        tokio::spawn(axum::serve(listener, app).into_future());
        Self { addr, posted }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    fn paths(&self) -> Vec<String> {
        self.posted.lock().unwrap().iter().map(|posted| posted.path.clone()).collect()
    }
}

fn secret(text: &str) -> WebhookSecret {
    WebhookSecret::parse(text).unwrap()
}

fn delivery() -> Delivery {
    let account = AccountId::from_store("acc_a1b2c3d4e5");
    let at = Timestamp::from_millis(1_750_000_000_000).unwrap();
    let (kind, data) = (EventKind::AccountPlanChanged, r#"{"plan":"pro"}"#.to_owned());
    Delivery::new(Event::from_store(account, 3, "evt_1".to_owned(), kind, at, data), 1, 1)
}

/// Delivers, and returns the whole chain of the error.
async fn failure(webhook: &Webhook) -> String {
    match webhook.deliver(delivery()).await {
        Err(SinkError::Temporary(error)) => {
            let causes =
                std::iter::successors(Some(&*error as &(dyn Error + 'static)), |it| (*it).source());
            causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_receiver_verifies_the_signature_with_the_library_of_the_form() {
    let receiver = Receiver::start().await;
    let webhook = Webhook::internal(&receiver.url("/hook?a=b"), secret(SECRET)).unwrap();
    let webhook = webhook.also_signed_by(secret(OTHER));
    for _ in 0..2 {
        webhook.deliver(delivery()).await.unwrap();
    }
    let posted = receiver.posted.lock().unwrap();
    assert_eq!(posted.len(), 2);
    let Posted { headers, body, .. } = &posted[0];
    for text in [SECRET, OTHER] {
        let library = standardwebhooks::Webhook::new(text).unwrap();
        library.verify(body, headers).unwrap();
        let forged = [body, &b" "[..]].concat();
        assert!(library.verify(&forged, headers).is_err());
    }
    let stranger =
        standardwebhooks::Webhook::new("whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB").unwrap();
    assert!(stranger.verify(body, headers).is_err());
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["webhook-id"], "evt_1");
    let expected = serde_json::json!({
        "id": "evt_1", "type": "account.plan_changed", "version": 1, "number": 3,
        "account_id": "acc_a1b2c3d4e5", "created_at": 1_750_000_000_000_i64,
        "timestamp": "2025-06-15T15:06:40Z", "data": { "plan": "pro" },
    });
    assert_eq!(serde_json::from_slice::<serde_json::Value>(body).unwrap(), expected);
}

#[tokio::test]
async fn any_answer_but_2xx_is_tried_again_and_no_redirect_is_followed() {
    let receiver = Receiver::start().await;
    for status in ["301", "302", "307", "308", "400", "410", "429", "500", "503"] {
        let url = receiver.url(&format!("/{status}"));
        let said = failure(&Webhook::internal(&url, secret(SECRET)).unwrap()).await;
        assert!(said.contains(&format!("the answer is {status}")), "{said}");
    }
    assert!(!receiver.paths().contains(&"/followed".to_owned()));
    for status in ["200", "201", "202", "204", "299"] {
        let url = receiver.url(&format!("/{status}"));
        let webhook = Webhook::internal(&url, secret(SECRET)).unwrap();
        webhook.deliver(delivery()).await.unwrap();
    }
    // Nobody listens on a port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}/");
    failure(&Webhook::internal(&url, secret(SECRET)).unwrap()).await;
}

#[tokio::test]
async fn the_head_of_an_answer_decides() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    // A body that does not end.
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 8 * 1024];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    });
    let webhook = Webhook::internal(&url, secret(SECRET)).unwrap();
    webhook.deliver(delivery()).await.unwrap();
}

#[test]
fn a_url_is_taken_by_its_name_in_ascii() {
    let first = Webhook::new("https://m\u{fc}nchen.example:8443/hook?a=b", secret(SECRET)).unwrap();
    assert!(format!("{first:?}").contains("xn--mnchen-3ya.example"), "{first:?}");
    let second = first.to("https://hooks.example.com/other", secret(SECRET)).unwrap();
    assert!(format!("{second:?}").contains("hooks.example.com"), "{second:?}");
    // That of a receiver of the host's own does not reach what customers have named.
    let own = Webhook::internal("http://127.0.0.1:9/", secret(SECRET)).unwrap();
    for refused in ["http://hooks.example.com/", "https://127.0.0.1/", "https://x.co/\u{e9}"] {
        assert!(first.to(refused, secret(SECRET)).is_err(), "{refused}");
        assert!(own.to(refused, secret(SECRET)).is_err(), "{refused}");
    }
}

#[tokio::test]
async fn a_webhook_of_a_stranger_s_choice_reaches_public_addresses_only() {
    let refused = |url: &str| Webhook::new(url, secret(SECRET)).err().unwrap();
    for host in
        ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "[fd00::1]"]
    {
        let error = refused(&format!("https://{host}:8443/hook"));
        assert!(matches!(error, WebhookError::PrivateAddress(_)), "{host}: {error:?}");
    }
    for url in ["http://hooks.example.com", "ftp://x.co", "/hook", "hooks.example.com", ""] {
        let error = refused(url);
        assert!(matches!(error, WebhookError::Scheme | WebhookError::Url(_)), "{url}: {error:?}");
    }
    let error = refused("https://user:s3cret@hooks.example.com");
    assert!(matches!(error, WebhookError::UserName) && !error.to_string().contains("s3cret"));
    assert!(Webhook::new("https://1.1.1.1/hook", secret(SECRET)).is_ok());

    // A name, and an address in a form that only the resolver reads: neither is asked.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["localhost", "2130706433", "127.1", "0x7f.1", "0177.0.0.1"] {
        let webhook = Webhook::new(&format!("https://{host}:{port}/"), secret(SECRET)).unwrap();
        failure(&webhook).await;
        let nobody = listener.accept().unwrap_err();
        assert_eq!(nobody.kind(), ErrorKind::WouldBlock, "{host} was connected to");
    }
    let internal = Webhook::internal(&format!("http://127.1:{port}/"), secret(SECRET)).unwrap();
    let asked = tokio::spawn(async move { internal.deliver(delivery()).await });
    while listener.accept().is_err() {
        tokio::task::yield_now().await;
    }
    asked.abort();
}

#[test]
fn a_secret_has_the_form_and_the_length_of_standard_webhooks() {
    for text in ["", "whsec_", "whsec_short", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%%"] {
        assert!(WebhookSecret::parse(text).is_err(), "{text}");
    }
    for (length, is_accepted) in [(23, false), (24, true), (64, true), (65, false)] {
        assert_eq!(WebhookSecret::new(&vec![7; length]).is_ok(), is_accepted, "{length}");
    }
    let webhook = Webhook::new("https://x.co/s3cret?t=s3cret", secret(SECRET)).unwrap();
    let shown = format!("{webhook:?} {:?}", secret(SECRET));
    assert!(!shown.contains("s3cret") && !shown.contains("MfKQ"), "{shown}");
}

/// The accounts whose events the killed servers deliver.
const ACCOUNTS: usize = 200;

/// Returns the number of events of each account.
fn events() -> i64 {
    i64::try_from(rounds(40, 200)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_delivers_and_mails_is_counted() {
    let receiver = Receiver::start().await;
    let settings = [
        ("SIGNUP_WEBHOOK_URL", &*receiver.url("/")),
        ("SIGNUP_WEBHOOK_SECRET", SECRET),
        ("SIGNUP_VERIFICATION", "after"),
    ];
    let server = Server::start("axum", "memory:", &settings);
    let mut client = Client::new(server.addr);
    client.post(signup("kim@x.co").to_string().as_bytes()).await.data();
    let samples = [
        r#"signup_events_total{outcome="delivered"} 1"#,
        r#"signup_mails_total{outcome="sent"} 1"#,
    ];
    loop {
        let metrics = client.request("GET", "/metrics", &[], b"").await;
        let metrics = String::from_utf8(metrics.body).unwrap();
        if samples.iter().all(|sample| metrics.contains(sample)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(receiver.paths(), ["/"]);
}

/// Stores the events of each account, as changes would.
async fn store_events(store: &PostgresStore) -> Vec<String> {
    let ids: Vec<String> = (0..ACCOUNTS).map(|number| format!("acc_{number:020}")).collect();
    let partition = |id: &String| i64::from(crc32fast::hash(id.as_bytes()) % u32::from(PARTITIONS));
    let insert = format!(
        "INSERT INTO {} (account_id, number, id, kind, created_at, data, partition_id, due_at)
         SELECT a.id, n, a.id || n, 'account.updated', 0, '{{}}', a.partition_id, 0
         FROM unnest($1::text[], $2::bigint[]) AS a (id, partition_id),
              generate_series(1, $3::bigint) AS n",
        store.table("events")
    );
    sqlx::query(AssertSqlSafe(insert))
        .bind(ids.clone())
        .bind(ids.iter().map(partition).collect::<Vec<_>>())
        .bind(events())
        .execute(store.pool())
        .await
        .unwrap();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn of_two_servers_one_is_killed_each_second_and_no_event_is_lost() {
    let database = Database::postgres("relay").await;
    let store = PostgresStore::connect(&database.url()).await.unwrap();
    store.migrate().await.unwrap();
    let ids = store_events(&store).await;
    let receiver = Receiver::start().await;
    let settings = [
        ("SIGNUP_WEBHOOK_URL", &*receiver.url("/")),
        ("SIGNUP_WEBHOOK_SECRET", SECRET),
        // A lease of three times as long.
        ("SIGNUP_WEBHOOK_DEADLINE_MS", "300"),
    ];
    let start = |name| Server::start(name, &database.url(), &settings);
    let mut servers = [Some(start("axum")), Some(start("actix"))];
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.tick().await;
    let mut killed = 0;
    while store.event_backlog(1_000).await.unwrap().waiting > 0 {
        seconds.tick().await;
        let at = killed % servers.len();
        if let Some(server) = servers[at].take() {
            server.kill();
        }
        servers[at] = Some(start(["axum", "actix"][at]));
        killed += 1;
    }
    drop(servers);
    let posted = receiver.posted.lock().unwrap();
    let mut last: HashMap<String, i64> = HashMap::new();
    let mut repeated = 0;
    for Posted { body, .. } in posted.iter() {
        let event: serde_json::Value = serde_json::from_slice(body).unwrap();
        let number = event["number"].as_i64().unwrap();
        let last = last.entry(event["account_id"].as_str().unwrap().to_owned()).or_default();
        assert!(number <= *last + 1, "{number} after {last}");
        repeated += usize::from(number <= *last);
        *last = number.max(*last);
    }
    let each = events();
    assert!(ids.iter().all(|id| last[id] == each), "events were lost");
    println!("{} events, {killed} kills, {repeated} repeated", posted.len() - repeated);
    assert!(killed > 0 && repeated < posted.len() / 2, "{repeated} of {}", posted.len());
}
