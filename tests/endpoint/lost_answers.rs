//! Answers that are lost: wherever the connection is cut and whichever call of the store
//! fails, a client that tries again with its key has its account and its API key at the end.

use signup::store::EventStore;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use signup::error::{BoxError, ErrorCode};
use signup::hash::{FakeEngine, HashPool};
use signup::idempotency::{IdempotencyKey, ReplaySecret};
use signup::policy::{Attempt, SignupPolicy, Verdict};
use signup::store::conformance::dropped_after;
use signup::{Signup, SignupError, SignupRequest, SignupService, SignupServiceBuilder};
use tokio::task::JoinSet;

use crate::support::backend::{App, Backend, Options, SECRET};
use crate::support::client::{Client, JSON, Response, signup};
use crate::support::faults::{Fault, Faulty};
use crate::support::proxy::{Proxy, Trouble};
use crate::support::rounds;

crate::cases![
    an_answer_that_is_cut_at_any_octet_comes_again,
    a_fault_at_any_call_of_the_store_is_survived,
    a_captcha_that_is_good_once_serves_a_crowd_with_one_key,
    of_a_crowd_with_one_key_everybody_gets_the_answer,
    at_default_settings_everybody_gets_it_who_tries_again,
    a_request_that_is_dropped_keeps_nobody_waiting,
    only_the_holder_of_the_key_is_worth_a_hash,
];

const CROWD: usize = 1000;

fn replay_secret() -> ReplaySecret {
    ReplaySecret::new(&[1; 32]).unwrap()
}

fn key(number: usize) -> IdempotencyKey {
    IdempotencyKey::new(format!("8e03978e-40d5-43dd-bc93-{number:012}")).unwrap()
}

fn header(number: usize) -> String {
    format!("Idempotency-Key: \"{}\"", key(number).reveal())
}

/// A captcha whose solutions are good once.
#[derive(Default)]
struct Captcha(Mutex<HashSet<String>>);

#[async_trait]
impl SignupPolicy for Captcha {
    fn fields(&self) -> &[&'static str] {
        &["captcha"]
    }

    async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
        let solution = attempt.field("captcha").unwrap_or_default().to_owned();
        let is_good = !solution.is_empty() && self.0.lock().unwrap().insert(solution);
        Ok(if is_good { Verdict::Allow } else { Verdict::invalid("captcha", "Not solved") })
    }
}

async fn retry_safe(backend: Backend) -> App {
    let policies: Vec<Arc<dyn SignupPolicy>> = vec![Arc::new(Captcha::default())];
    let replay_secret = Some(replay_secret());
    backend.with(Options { policies, replay_secret, ..Options::default() }).await
}

fn body(number: usize) -> String {
    let (mut body, solution) = (signup(&format!("user{number}@x.co")), format!("#{number}"));
    body["captcha"] = json!(solution);
    body.to_string()
}

/// Checks that an answer is that of the account of this address, with a key that is valid.
async fn is_good(app: &App, number: usize, answer: &Response) {
    let data = answer.data();
    answer.check_contract(false);
    assert_eq!(data["account"]["email"], format!("user{number}@x.co"));
    let key = app.credentials.verify_api_key(data["api_key"].as_str().unwrap()).await.unwrap();
    assert_eq!(data["account"]["id"], key.account_id().as_str());
    let token = app.credentials.verify_token(data["token"].as_str().unwrap()).await.unwrap();
    assert_eq!(token.account().id(), key.account_id());
}

async fn an_answer_that_is_cut_at_any_octet_comes_again(backend: Backend) {
    let app = retry_safe(backend).await;
    let proxy = Proxy::before(app.addr).await;
    let mut direct = Client::new(app.addr);
    let length = {
        // The answer has a date, of one length always, and so are the other parts of it.
        let request = |number| (header(number), body(number));
        let (header, body) = request(0);
        let answer = direct.try_post_with(&[JSON, &header], body.as_bytes()).await.unwrap();
        is_good(&app, 0, &answer).await;
        let names = answer.headers.iter().map(|(name, value)| name.len() + value.len() + 4);
        "HTTP/1.1 201 Created\r\n\r\n".len() + names.sum::<usize>() + answer.body.len()
    };
    // A full run cuts at every byte.
    let rounds = rounds(100, 1000);
    let mut whole = 0;
    for round in 1..=rounds {
        let (header, body) = (header(round), body(round));
        // Some are cut behind the end, which is no loss.
        proxy.plan(&format!("user{round}@"), Trouble::CutAnswerAt(round * (length + 5) / rounds));
        let mut cut = Client::new(proxy.addr);
        let lost = cut.try_post_with(&[JSON, &header], body.as_bytes()).await;
        assert!(proxy.struck(), "the request never arrived");
        whole += usize::from(lost.is_some());
        let again = direct.try_post_with(&[JSON, &header], body.as_bytes()).await.unwrap();
        is_good(&app, round, &again).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "round {round}");
        assert!(lost.is_none_or(|first| first.body == again.body));
    }
    assert!(whole <= rounds / 10, "{whole} answers were not cut");
    app.stores(rounds + 1).await;
}

async fn a_fault_at_any_call_of_the_store_is_survived(backend: Backend) {
    const FAULTS: [Option<Fault>; 5] = [
        None,
        Some(Fault::Unavailable),
        Some(Fault::OutcomeUnknown),
        Some(Fault::Failed),
        Some(Fault::LoseAnswer),
    ];
    // A sign-up calls its store twice, and so does a retry.
    const CALLS: u32 = 4;
    let next: Arc<Mutex<VecDeque<Option<Fault>>>> = Arc::default();
    let faults = Arc::clone(&next);
    let wrap = move |store| -> Arc<dyn EventStore> {
        Arc::new(Faulty { next: faults, ..Faulty::new(store) })
    };
    let options = Options {
        wrap: Box::new(wrap),
        replay_secret: Some(replay_secret()),
        ..Options::default()
    };
    let app = backend.with(options).await;
    let mut client = Client::new(app.addr);
    // A quick run takes every third sequence.
    let sequences = (0..FAULTS.len().pow(CALLS)).step_by(rounds(3, 1));
    for number in sequences.clone() {
        let plan = (0..CALLS).map(|call| FAULTS[number / FAULTS.len().pow(call) % FAULTS.len()]);
        *next.lock().unwrap() = plan.collect();
        let (header, body) = (header(number), signup(&format!("user{number}@x.co")).to_string());
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            assert!(tries <= CALLS + 1, "no answer in {tries} tries");
            let answer = client.try_post_with(&[JSON, &header], body.as_bytes()).await.unwrap();
            match answer.status {
                201 => break answer,
                500 | 503 => {}
                other => panic!("{other} for sequence {number}"),
            }
        };
        is_good(&app, number, &answer).await;
        next.lock().unwrap().clear();
        let again = client.try_post_with(&[JSON, &header], body.as_bytes()).await.unwrap();
        assert_eq!(again.body, answer.body);
    }
    app.stores(sequences.len()).await;
}

async fn a_captcha_that_is_good_once_serves_a_crowd_with_one_key(backend: Backend) {
    const REQUESTS: usize = 20;
    let app = retry_safe(backend).await;
    for round in 0..rounds(5, 20) {
        let mut crowd = JoinSet::new();
        for _ in 0..REQUESTS {
            let (mut client, header, body) = (Client::new(app.addr), header(round), body(round));
            crowd.spawn(async move {
                client.try_post_with(&[JSON, &header], body.as_bytes()).await.unwrap()
            });
        }
        let answers = crowd.join_all().await;
        for answer in &answers {
            is_good(&app, round, answer).await;
            assert_eq!(answer.body, answers[0].body);
        }
        let replayed = |answer: &&Response| answer.header("idempotency-replayed").is_some();
        assert_eq!(answers.iter().filter(replayed).count(), REQUESTS - 1);
    }
}

type Builder = SignupServiceBuilder<Arc<dyn EventStore>>;

async fn builder(backend: Backend) -> (Arc<dyn EventStore>, Builder) {
    let store: Arc<dyn EventStore> = (backend.open)().await;
    let builder = SignupService::builder(Arc::clone(&store)).jwt_secret(SECRET);
    (store, builder.retry_safe(replay_secret()))
}

fn pool(queue: usize) -> Arc<HashPool> {
    let pool = HashPool::builder().workers(2).queue(queue).deadline(Duration::from_mins(1));
    Arc::new(pool.engine(FakeEngine::default()).build().unwrap())
}

fn request() -> SignupRequest {
    SignupRequest::new("kim@x.co", "correct horse").idempotency_key(key(1))
}

/// The only body of these answers, one of which was the first.
fn one_body<'a>(answers: impl IntoIterator<Item = &'a Signup>) -> Vec<u8> {
    let answers: Vec<_> = answers.into_iter().collect();
    let bodies: HashSet<_> = answers.iter().map(|answer| answer.reveal_json()).collect();
    let first = answers.iter().filter(|answer| !answer.is_replayed()).count();
    assert_eq!((bodies.len(), first), (1, 1), "bodies, and answers that were the first");
    answers[0].reveal_json().to_vec()
}

async fn of_a_crowd_with_one_key_everybody_gets_the_answer(backend: Backend) {
    // Of two instances, as two processes have them.
    let (store, first) = builder(backend).await;
    let second = SignupService::builder(store).jwt_secret(SECRET).retry_safe(replay_secret());
    let instances = [first, second].map(|service| service.hash_pool(pool(2048)).build().unwrap());
    let mut crowd = JoinSet::new();
    for number in 0..CROWD {
        let service = instances[number % 2].clone();
        crowd.spawn(async move { service.signup(request()).await.unwrap() });
    }
    let answers = crowd.join_all().await;
    assert_eq!(answers.len(), CROWD);
    one_body(&answers);
}

async fn at_default_settings_everybody_gets_it_who_tries_again(backend: Backend) {
    let (_, service) = builder(backend).await;
    let pool = HashPool::builder().workers(2).engine(FakeEngine::default()).build().unwrap();
    let service = service.hash_pool(Arc::new(pool)).build().unwrap();
    let mut answers = Vec::new();
    while answers.len() < CROWD {
        let mut crowd = JoinSet::new();
        for _ in answers.len()..CROWD {
            let service = service.clone();
            crowd.spawn(async move { service.signup(request()).await });
        }
        for answer in crowd.join_all().await {
            match answer {
                Ok(answer) => answers.push(answer),
                Err(error) => assert_eq!(error.code(), ErrorCode::RateLimitExceeded, "{error}"),
            }
        }
    }
    one_body(&answers);
}

async fn a_request_that_is_dropped_keeps_nobody_waiting(backend: Backend) {
    let (_, service) = builder(backend).await;
    let service = service.hash_pool(pool(16)).build().unwrap();
    let (mut polls, mut finished) = (0, false);
    while !finished {
        polls += 1;
        let request = || {
            let request = SignupRequest::new(format!("drop{polls}@x.co"), "correct horse");
            request.idempotency_key(key(1))
        };
        finished = dropped_after(service.signup(request()), polls).await.is_some();
        let again = tokio::time::timeout(Duration::from_mins(1), service.signup(request())).await;
        assert!(again.unwrap().is_ok(), "after a drop at poll {polls}");
    }
}

/// A hash takes as long for any password, so that its number is what can be timed.
async fn only_the_holder_of_the_key_is_worth_a_hash(backend: Backend) {
    let app =
        backend.with(Options { replay_secret: Some(replay_secret()), ..Options::default() }).await;
    app.service.signup(request()).await.unwrap();
    let hashes = async |other: SignupRequest| {
        let before = app.engine.hashes();
        let answer = app.service.signup(other).await;
        assert!(matches!(answer, Ok(_) | Err(SignupError::EmailTaken)));
        (app.engine.hashes() - before, answer.is_ok())
    };
    let of = |password: &str| SignupRequest::new("kim@x.co", password);
    assert_eq!(hashes(request()).await, (1, true));
    assert_eq!(hashes(of("another horse").idempotency_key(key(1))).await, (1, false));
    // Without the key right and wrong passwords can't be told apart.
    for password in ["correct horse", "another horse"] {
        assert_eq!(hashes(of(password)).await, (0, false));
        assert_eq!(hashes(of(password).idempotency_key(key(2))).await, (0, false));
    }
}
