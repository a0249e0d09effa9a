//! Extractors and JWK set of both adapters, and the example of a log-in: the same
//! answers from each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use signup::adapters::actix::Optional;
use signup::clock::{ManualClock, Timestamp};
use signup::credentials::{ApiKeyAuth, CredentialError, Credentials, DashboardAuth, VerifiedEmail};
use signup::hash::{FakeEngine, HashPool};
use signup::store::{AccountChange, ChangeOutcome, Effect, LifecycleStore as _, SqliteStore};
use signup::token::{SigningKey, TokenKeys, TokenVerifier};
use signup::{SignupRequest, SignupService};
use tokio::net::TcpListener;

use crate::support::backend::NOW;
use crate::support::client::{Client, JSON, PASSWORD, Response, signup};
use crate::support::server::Server;

/// A host with a route for each extractor, in both frameworks.
struct Host {
    store: SqliteStore,
    clock: ManualClock,
    credentials: Credentials,
    keys: TokenKeys,
    servers: [SocketAddr; 2],
    token: String,
    api_key: String,
    account: String,
}

impl Host {
    async fn start() -> Self {
        let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
        store.migrate().await.unwrap();
        let clock = ManualClock::at_unix(NOW);
        let keys = TokenKeys::new(SigningKey::ed25519(&[7; 32]));
        let pool = HashPool::builder().workers(1).engine(FakeEngine::default());
        let service = SignupService::builder(store.clone())
            .token_keys(keys.clone())
            .clock(clock.clone())
            .hash_pool(Arc::new(pool.build().unwrap()))
            .build()
            .unwrap();
        let credentials = service.credentials();
        let answer = service.signup(SignupRequest::new("a@x.co", PASSWORD)).await.unwrap();
        let mut servers = Vec::new();
        for serve in [serve_axum, serve_actix] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            servers.push(listener.local_addr().unwrap());
            serve(listener, credentials.clone());
        }
        Self {
            store,
            clock,
            credentials,
            keys,
            servers: servers.try_into().unwrap(),
            token: answer.token().reveal().to_owned(),
            api_key: answer.api_key().reveal().to_owned(),
            account: answer.account().id().to_string(),
        }
    }

    /// The one answer that both servers give.
    async fn get(&self, path: &str, headers: &[&str]) -> Response {
        self.request("GET", path, headers).await
    }

    async fn request(&self, method: &str, path: &str, headers: &[&str]) -> Response {
        let [axum, actix] = self.servers.map(Client::new);
        let mut answers = Vec::new();
        for mut client in [axum, actix] {
            let mut response = client.request(method, path, headers, b"").await;
            response.headers.retain(|(name, _)| !matches!(&**name, "date" | "connection"));
            response.headers.sort();
            answers.push(response);
        }
        let actix = answers.pop().unwrap();
        let axum = answers.pop().unwrap();
        assert_eq!(format!("{axum:?}"), format!("{actix:?}"));
        axum
    }
}

fn shown(account: Option<String>) -> String {
    account.unwrap_or("nobody".to_owned())
}

fn by_token(auth: &DashboardAuth) -> String {
    format!("{} {}", auth.account_id(), auth.account().plan())
}

async fn by_key(auth: &ApiKeyAuth) -> Result<String, CredentialError> {
    let account = auth.account().await?.account;
    Ok(format!("{} {} {}", auth.account_id(), auth.key_id(), account.plan()))
}

fn serve_axum(listener: TcpListener, credentials: Credentials) {
    let keys = credentials.token_keys().clone();
    let optional_key =
        async |auth: Option<ApiKeyAuth>| shown(auth.map(|auth| auth.account_id().to_string()));
    let app = Router::new()
        .route("/token", get(async |auth: DashboardAuth| by_token(&auth)))
        .route("/key", get(async |auth: ApiKeyAuth| by_key(&auth).await))
        .route("/verified/token", get(async |auth: VerifiedEmail<DashboardAuth>| by_token(&auth)))
        .route("/verified/key", get(async |auth: VerifiedEmail<ApiKeyAuth>| by_key(&auth).await))
        .route(
            "/maybe/token",
            get(async |auth: Option<DashboardAuth>| shown(auth.as_ref().map(by_token))),
        )
        .route("/maybe/key", get(optional_key))
        .with_state(credentials)
        .merge(signup::adapters::axum::jwks(keys));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
}

fn serve_actix(listener: TcpListener, credentials: Credentials) {
    use actix_web::web::{self, Data};
    let listener = listener.into_std().unwrap();
    std::thread::spawn(move || {
        let app = move || {
            actix_web::App::new()
                .app_data(Data::new(credentials.clone()))
                .route("/token", web::get().to(async |auth: DashboardAuth| by_token(&auth)))
                .route("/key", web::get().to(async |auth: ApiKeyAuth| by_key(&auth).await))
                .route(
                    "/verified/token",
                    web::get().to(async |auth: VerifiedEmail<DashboardAuth>| by_token(&auth)),
                )
                .route(
                    "/verified/key",
                    web::get().to(async |auth: VerifiedEmail<ApiKeyAuth>| by_key(&auth).await),
                )
                .route(
                    "/maybe/token",
                    web::get().to(async |Optional(auth): Optional<DashboardAuth>| {
                        shown(auth.as_ref().map(by_token))
                    }),
                )
                .route(
                    "/maybe/key",
                    web::get().to(async |Optional(auth): Optional<ApiKeyAuth>| {
                        shown(auth.map(|auth| auth.account_id().to_string()))
                    }),
                )
                .configure(signup::adapters::actix::jwks(credentials.token_keys().clone()))
        };
        let server = actix_web::HttpServer::new(app).workers(1).disable_signals();
        let server = server.listen(listener).unwrap().run();
        actix_web::rt::System::new().block_on(server).unwrap();
    });
}

fn bearer(credential: &str) -> String {
    format!("Authorization: Bearer {credential}")
}

fn body(response: &Response) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    String::from_utf8(response.body.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_verifies_is_let_through() {
    let host = Host::start().await;
    let (token, account) = (bearer(&host.token), &host.account);
    let key_id = host.credentials.verify_api_key(&host.api_key).await.unwrap().key_id();
    let by_key = format!("{account} {key_id} trial");
    assert_eq!(body(&host.get("/token", &[&token]).await), format!("{account} trial"));
    assert_eq!(body(&host.get("/maybe/token", &[&token]).await), format!("{account} trial"));
    let x_api_key = format!("x-API-key: {}", host.api_key);
    for header in [bearer(&host.api_key), x_api_key.clone()] {
        assert_eq!(body(&host.get("/key", &[&header]).await), by_key);
        assert_eq!(body(&host.get("/maybe/key", &[&header]).await), *account);
    }
    for path in ["/maybe/token", "/maybe/key"] {
        assert_eq!(body(&host.get(path, &[]).await), "nobody");
    }
    // The dashboard's token beside an API key's header is still a token.
    assert_eq!(body(&host.get("/token", &[&token, &x_api_key]).await), format!("{account} trial"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unproven_address_is_refused_where_a_proven_one_is_required() {
    let host = Host::start().await;
    let (token, key) = (bearer(&host.token), bearer(&host.api_key));
    let both = [("/verified/token", &token), ("/verified/key", &key)];
    for (path, header) in both {
        let refused = host.get(path, &[header]).await;
        refused.is(403, "AUTHENTICATION_ERROR");
        assert_eq!(refused.json()["error"]["message"], "The email address is not verified");
        assert!(refused.header("www-authenticate").is_none());
        host.get(path, &[]).await.is(401, "AUTHENTICATION_ERROR");
    }
    let proof = AccountChange::new(host.account.parse().unwrap());
    let proof = proof.with(Effect::VerifyEmail(Timestamp::EPOCH));
    assert_eq!(host.store.change(proof).await.unwrap(), ChangeOutcome::Changed);
    for (path, header) in both {
        assert!(body(&host.get(path, &[header]).await).starts_with(&host.account), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_is_the_same_401() {
    let host = Host::start().await;
    let expected = host.get("/token", &[]).await;
    expected.is(401, "AUTHENTICATION_ERROR");
    assert_eq!(expected.header("www-authenticate"), Some(r#"Bearer realm="api""#));
    assert_eq!(expected.header("cache-control"), Some("no-store"));
    assert_eq!(expected.header("content-type"), Some("application/json"));

    let foreign = TokenKeys::new(SigningKey::ed25519(&[8; 32]));
    let foreign = SignupService::builder(host.store.clone()).token_keys(foreign).build().unwrap();
    let foreign = foreign
        .credentials()
        .issue_token(&host.account.parse::<signup::account::AccountId>().unwrap())
        .await
        .unwrap();
    let (token, key) = (bearer(&host.token), bearer(&host.api_key));
    let x_api_key = format!("X-API-Key: {}", host.api_key);
    let mistyped = bearer(&host.api_key.replace("rag_live_", "rag_test_"));
    let foreign = bearer(foreign.reveal());
    let long = bearer(&"x".repeat(20_000));
    let mut refused = vec![
        ("token", vec![token.as_str(), &token]),
        ("token", vec![&foreign]),
        ("key", vec![&key, &x_api_key]),
        ("key", vec![&x_api_key, &x_api_key]),
        ("key", vec![&mistyped]),
    ];
    let forms = [
        "Authorization: Basic YTpi",
        "Authorization: Bearer",
        "Authorization:",
        &long,
        "Authorization: Bearer a b",
        "Authorization: Bearer \u{e9}",
        "Authorization: bearer: x",
    ];
    for kind in ["token", "key"] {
        refused.extend(forms.iter().map(|form| (kind, vec![*form])));
    }
    for (kind, headers) in &refused {
        for path in [format!("/{kind}"), format!("/maybe/{kind}")] {
            let response = host.get(&path, headers).await;
            assert_eq!(format!("{response:?}"), format!("{expected:?}"), "{path} {headers:?}");
        }
    }
    // An API key's own header is no token: where one must be, it is missing.
    // And a bearer of one kind is none of the other.
    for (path, headers) in [
        ("/key", vec![]),
        ("/token", vec![x_api_key.as_str()]),
        ("/token", vec![key.as_str()]),
        ("/key", vec![token.as_str()]),
    ] {
        let missing = host.get(path, &headers).await;
        assert_eq!(format!("{missing:?}"), format!("{expected:?}"), "{path}");
    }
    for (path, header) in [("/maybe/token", &key), ("/maybe/key", &token)] {
        assert_eq!(host.get(path, &[header]).await.status, 200, "{path}");
    }

    // Expired, revoked and deleted look no different.
    let account = host.account.parse().unwrap();
    let key_id = host.credentials.api_keys(&account).await.unwrap()[0].id;
    host.credentials.revoke_api_key(&account, &key_id).await.unwrap();
    host.clock.advance(Duration::from_hours(24));
    for (path, header) in [("/token", &token), ("/key", &key)] {
        let response = host.get(path, &[header]).await;
        assert_eq!(format!("{response:?}"), format!("{expected:?}"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_answer_refuses_nobody() {
    let host = Host::start().await;
    host.store.pool().close().await;
    for (path, header) in [("/token", bearer(&host.token)), ("/key", bearer(&host.api_key))] {
        let response = host.get(path, &[&header]).await;
        response.is(503, "EXTERNAL_SERVICE_ERROR");
        assert!(
            response.header("retry-after").is_some()
                && response.header("www-authenticate").is_none()
        );
        // An invalid one is rejected without a query.
        let mistyped = &header[..header.len() - 1];
        host.get(path, &[mistyped]).await.is(401, "AUTHENTICATION_ERROR");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_spares_the_store_and_its_time_is_the_staleness() {
    let host = Host::start().await;
    let cached = host.credentials.clone().with_cache(10, Duration::from_secs(30));
    let elsewhere = &host.credentials;
    let account = host.account.parse().unwrap();
    let other = elsewhere.issue_api_key(&account, None).await.unwrap();
    let unknown = elsewhere.issue_api_key(&account, None).await.unwrap();
    elsewhere.revoke_api_key(&account, &unknown.info().id).await.unwrap();
    let verify = async |key: &str| cached.verify_api_key(key).await.map(drop);
    verify(&host.api_key).await.unwrap();
    verify(other.key().reveal()).await.unwrap();
    assert!(matches!(verify(unknown.key().reveal()).await, Err(CredentialError::Rejected)));

    // Revoked in another process, it is known for as long as it is kept.
    elsewhere.revoke_api_key(&account, &other.info().id).await.unwrap();
    host.clock.advance(Duration::from_millis(29_999));
    verify(other.key().reveal()).await.unwrap();
    host.store.pool().close().await;
    verify(&host.api_key).await.unwrap();
    assert!(matches!(verify(unknown.key().reveal()).await, Err(CredentialError::Rejected)));
    host.clock.advance(Duration::from_millis(1));
    for key in [&*host.api_key, other.key().reveal(), unknown.key().reveal()] {
        assert!(matches!(verify(key).await, Err(CredentialError::Failed(_))), "it is asked again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jwk_set_is_served_and_verifies_elsewhere() {
    let host = Host::start().await;
    let path = "/.well-known/jwks.json";
    let response = host.get(path, &[]).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/jwk-set+json"));
    assert_eq!(response.header("cache-control"), Some("public, max-age=300"));
    let fetched = TokenKeys::from_jwks(&serde_json::from_value(response.json()).unwrap()).unwrap();
    let verifier = TokenVerifier::new(fetched).clock(host.clock.clone());
    assert_eq!(verifier.verify(&host.token).unwrap().account_id().as_str(), host.account);

    // A key that is added is in the next answer; a secret one never is.
    host.keys.add(SigningKey::ed25519(&[9; 32])).unwrap();
    host.keys.add(SigningKey::hs256(&[9; 32]).unwrap()).unwrap();
    assert_eq!(host.get(path, &[]).await.json()["keys"].as_array().map(Vec::len), Some(2));
    let head = host.request("HEAD", path, &[]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("cache-control"), Some("public, max-age=300"));
    for method in ["POST", "DELETE", "PUT", "OPTIONS"] {
        let refused = host.request(method, path, &[]).await;
        refused.is(405, "VALIDATION_ERROR");
        assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    }
}

#[actix_web::test]
async fn an_actix_app_without_credentials_is_an_internal_error() {
    use actix_web::{App, test, web};
    let route = web::get().to(async |_: DashboardAuth| "never");
    let app = test::init_service(App::new().route("/", route)).await;
    let response = test::call_service(&app, test::TestRequest::get().uri("/").to_request()).await;
    assert_eq!(response.status(), 500);
    let body: Value = test::read_body_json(response).await;
    assert_eq!(body["error"]["code"], "INTERNAL_ERROR");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_logs_in_and_manages_keys() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("login.db").display());
    let server = Server::start("login", &url, &[]);
    let mut client = Client::new(server.addr);
    let signed_up = client.post(signup("Dev@Example.com").to_string().as_bytes()).await.data();
    let login = json!({"email": "dev@example.com", "password": PASSWORD}).to_string();
    let response = client.request("POST", "/auth/login", &[JSON], login.as_bytes()).await;
    assert_eq!((response.status, response.header("cache-control")), (200, Some("no-store")));
    let token = bearer(response.json()["data"]["token"].as_str().unwrap());
    let wrong = json!({"email": "dev@example.com", "password": "another one"}).to_string();
    client
        .request("POST", "/auth/login", &[JSON], wrong.as_bytes())
        .await
        .is(401, "AUTHENTICATION_ERROR");
    // A client that is known goes on where others have failed too often.
    let cookie = response.header("set-cookie").unwrap().to_owned();
    let (mark, attributes) = cookie.split_once("; ").unwrap();
    assert!(mark.starts_with("trusted_device=kc_") && attributes.contains("HttpOnly; Secure"));
    let mut refused = 401;
    while refused == 401 {
        refused = client.request("POST", "/auth/login", &[JSON], wrong.as_bytes()).await.status;
    }
    let waits = client.request("POST", "/auth/login", &[JSON], login.as_bytes()).await;
    assert_eq!((refused, waits.status, waits.header("retry-after").is_some()), (429, 429, true));
    let cookie = format!("Cookie: theme=dark; {mark}");
    let known = client.request("POST", "/auth/login", &[JSON, &cookie], login.as_bytes()).await;
    assert_eq!(known.status, 200, "{known:?}");
    let malformed = client.request("POST", "/auth/login", &[JSON], b"[]").await;
    malformed.is_invalid(&[""]);

    let first = format!("X-API-Key: {}", signed_up["api_key"].as_str().unwrap());
    let whoami = client.request("GET", "/whoami", &[&first], b"").await.json();
    assert_eq!(whoami["data"]["id"], signed_up["account"]["id"]);
    let keys = client.request("GET", "/keys", &[&token], b"").await.json();
    let id = keys["data"][0]["id"].as_str().unwrap().to_owned();
    let rotated =
        client.request("POST", &format!("/keys/{id}/rotate"), &[&token], b"").await.json();
    let second = format!("X-API-Key: {}", rotated["data"]["api_key"].as_str().unwrap());
    let added = client.request("POST", "/keys", &[&token], b"").await;
    assert_eq!(added.status, 200);
    let keys = client.request("GET", "/keys", &[&token], b"").await.json();
    assert_eq!(keys["data"].as_array().unwrap().len(), 3);
    assert!(keys["data"][0]["expires_at"].is_i64() && keys["data"][1]["expires_at"].is_null());
    assert!(!keys.to_string().contains(signed_up["api_key"].as_str().unwrap()));
    for key in [&first, &second] {
        assert_eq!(client.request("GET", "/whoami", &[key], b"").await.status, 200);
    }
    let path = format!("/keys/{id}");
    let revoked = client.request("DELETE", &path, &[&token], b"").await;
    assert_eq!(revoked.status, 204);
    client.request("GET", "/whoami", &[&first], b"").await.is(401, "AUTHENTICATION_ERROR");
    for path in [path.as_str(), "/keys/key_0", "/keys/x"] {
        client.request("DELETE", path, &[&token], b"").await.is(404, "NOT_FOUND");
    }
    client.request("GET", "/keys", &[], b"").await.is(401, "AUTHENTICATION_ERROR");
}
