//! Proof of the address before there is an account: what is answered, what is stored, and
//! who gets nothing.

use signup::store::EventStore;
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use signup::error::BoxError;
use signup::limit::ClientIp;
use signup::mail::{Mail, MailKind, MailQueue, MemoryMailer};
use signup::policy::{Attempt, InvitationOnly, MinimumLength, Occasion, SignupPolicy, Verdict};
use signup::{Signup, SignupError, SignupRequest};
use tokio::task::JoinSet;

use crate::proving::{
    Proving, Stalled, is_refused, proving_first, ticket, with_options, with_queue, wrong,
};
use crate::support::backend::{Backend, Mode, Options};
use crate::support::client::{Client, JSON, PASSWORD, signup};
use crate::support::faults::{Fault, Faulty};
use crate::support::proxy::{Proxy, Trouble};

crate::cases![
    nothing_is_stored_before_the_proof,
    a_free_and_a_taken_address_get_the_same_answer,
    a_proof_whose_answer_was_lost_is_answered_again,
    a_proof_is_answered_again_as_long_as_its_api_key_is_valid,
    a_ticket_brings_nothing_back,
    of_simultaneous_proofs_all_get_one_answer,
    a_ticket_has_ten_tries,
    strangers_use_up_no_try_of_a_ticket,
    another_code_is_mailed_for_the_same_sign_up,
    a_code_proves_its_own_ticket_until_it_expires,
    who_proves_first_has_the_address,
    a_mailbox_is_not_bombed,
    a_withheld_mail_leaves_the_code_of_the_last_one_valid,
    a_full_queue_of_mails_tells_nothing,
    the_routes_refuse_what_is_malformed,
    the_service_does_not_register_unproven_addresses,
    a_policy_that_asks_for_it_is_asked_at_the_proof,
    forged_tickets_cost_nothing,
];

async fn proving(backend: Backend) -> Proving {
    proving_first(backend).await
}

async fn nothing_is_stored_before_the_proof(backend: Backend) {
    let mut proving = proving(backend).await;
    let body = json!({"email": "Kim@x.co", "password": PASSWORD, "name": "Kim"});
    let answer = proving.post("/auth/signup", &body).await;
    let sealed = ticket(&answer);
    let data = answer.json()["data"].clone();
    let keys: Vec<_> = data.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["expires_at", "ticket"]);
    assert_eq!(data["expires_at"], "2025-06-15T16:06:40Z");
    assert!(sealed.starts_with("sut_") && sealed.is_ascii());
    for number in 0..20 {
        proving.begin(&format!("u{number}@x.co")).await;
    }
    proving.app.stores(0).await;

    let code = proving.code("Kim@x.co");
    is_refused(&proving.verify(&sealed, &wrong(&code)).await);
    proving.app.stores(0).await;
    let typed = format!(" {}-{} ", code[..4].to_lowercase(), &code[4..]);
    let created = proving.verify(&sealed, &typed).await;
    let data = created.data();
    assert_eq!(
        (&data["account"]["email"], &data["account"]["name"]),
        (&json!("Kim@x.co"), &json!("Kim"))
    );
    proving.app.stores(1).await;
    let credentials = &proving.app.credentials;
    let key = credentials.verify_api_key(data["api_key"].as_str().unwrap()).await.unwrap();
    assert_eq!(data["account"]["id"], key.account_id().as_str());
    credentials.verify_token(data["token"].as_str().unwrap()).await.unwrap();
    let owner = credentials.verify_password("kim@x.co", PASSWORD).await.unwrap();
    assert_eq!(owner, *key.account_id());
    assert_eq!(proving.kinds(), [MailKind::SignupCode; 21]);
}

async fn a_free_and_a_taken_address_get_the_same_answer(backend: Backend) {
    use MailKind::{AccountExists, SignupCode};
    let mut proving = proving(backend).await;
    proving.register("taken@x.co").await;
    let mut seen = HashSet::new();
    for email in ["free@x.co", "taken@x.co", "a-much-longer-address-that-is-free@example.com"] {
        let hashes = proving.app.engine.hashes();
        let answer = proving.post("/auth/signup", &signup(email)).await;
        assert_eq!(proving.app.engine.hashes() - hashes, 1, "{email}");
        let headers: Vec<_> = answer.headers.iter().filter(|(name, _)| name != "date").collect();
        seen.insert(format!("{} {headers:?} {}", answer.status, answer.body.len()));
        if email == "taken@x.co" {
            // Not even its own code proves anything; it is mailed to nobody.
            for guessed in ["00000000", "7HXW3K9P"] {
                is_refused(&proving.verify(&ticket(&answer), guessed).await);
            }
        }
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(proving.kinds(), [SignupCode, SignupCode, AccountExists, SignupCode]);
    proving.app.stores(1).await;
}

async fn a_proof_whose_answer_was_lost_is_answered_again(backend: Backend) {
    let mut proving = proving(backend).await;
    let proxy = Proxy::before(proving.app.addr).await;
    for (round, cut) in [0, 1, 40, 200, 500].into_iter().enumerate() {
        let email = format!("kim{round}@x.co");
        let ticket = proving.begin(&email).await;
        let code = proving.code(&email);
        let body = json!({"ticket": ticket, "code": code}).to_string();
        proxy.plan("/auth/signup/verify", Trouble::CutAnswerAt(cut));
        let request = crate::support::client::request(
            "POST",
            "/auth/signup/verify",
            &[JSON],
            body.as_bytes(),
        );
        let mut stream = tokio::net::TcpStream::connect(proxy.addr).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.unwrap();
        let lost = crate::support::client::read_response(&mut stream, false).await;
        assert!(lost.is_none() && proxy.struck());
        proving.clock.advance(Duration::from_secs(7));
        let again = proving.verify(&ticket, &code).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        let key = again.data()["api_key"].as_str().unwrap().to_owned();
        proving.app.credentials.verify_api_key(&key).await.unwrap();
        assert_eq!(proving.verify(&ticket, &code).await.body, again.body);
        proving.app.stores(round + 1).await;
    }
}

async fn a_proof_is_answered_again_as_long_as_its_api_key_is_valid(backend: Backend) {
    let mut proving = proving(backend).await;
    let ticket = proving.begin("kim@x.co").await;
    let code = proving.code("kim@x.co");
    let first = proving.verify(&ticket, &code).await;
    let credentials = proving.app.credentials.clone();
    let key = credentials.verify_api_key(first.data()["api_key"].as_str().unwrap()).await.unwrap();
    let grace = Duration::from_mins(1);
    credentials.rotate_api_key(key.account_id(), &key.key_id(), grace, None).await.unwrap();
    assert_eq!(proving.verify(&ticket, &code).await.body, first.body);
    proving.clock.advance(grace);
    is_refused(&proving.verify(&ticket, &code).await);
}

async fn a_ticket_brings_nothing_back(backend: Backend) {
    let mut proving = proving(backend).await;
    let credentials = proving.app.credentials.clone();
    for case in ["deleted", "tokens revoked", "key revoked"] {
        let ticket = proving.begin("kim@x.co").await;
        let code = proving.code("kim@x.co");
        let data = proving.verify(&ticket, &code).await.data();
        let key = credentials.verify_api_key(data["api_key"].as_str().unwrap()).await.unwrap();
        match case {
            "deleted" => proving.app.store.delete("kim@x.co").await,
            "tokens revoked" => credentials.revoke_tokens(key.account_id()).await.unwrap(),
            _ => credentials.revoke_api_key(key.account_id(), &key.key_id()).await.unwrap(),
        }
        is_refused(&proving.verify(&ticket, &code).await);
        proving.app.store.delete("kim@x.co").await;
        // Nor does it make the account a second time.
        is_refused(&proving.verify(&ticket, &code).await);
        proving.app.stores(0).await;
        proving.clock.advance(Duration::from_hours(1));
    }
}

async fn of_simultaneous_proofs_all_get_one_answer(backend: Backend) {
    let mut proving = proving(backend).await;
    let ticket = proving.begin("kim@x.co").await;
    let code = proving.code("kim@x.co");
    let mut crowd = JoinSet::new();
    // As many as there are tries, which right ones give back.
    for _ in 0..10 {
        let (service, ticket, code) = (proving.app.service.clone(), ticket.clone(), code.clone());
        crowd.spawn(async move {
            service.verification().first().unwrap().complete(&ticket, &code).await.unwrap()
        });
    }
    let answers = crowd.join_all().await;
    let bodies: HashSet<_> = answers.iter().map(Signup::reveal_json).collect();
    let first = answers.iter().filter(|answer| !answer.is_replayed()).count();
    assert_eq!((bodies.len(), first), (1, 1));
    proving.app.stores(1).await;
}

async fn a_ticket_has_ten_tries(backend: Backend) {
    let mut proving = proving(backend).await;
    let first = proving.begin("kim@x.co").await;
    let code = proving.code("kim@x.co");
    let again = ticket(&proving.resend(&first).await);
    let next = proving.code("kim@x.co");
    // Those that are sent again share them.
    for number in 0..10 {
        let (ticket, code) = if number % 2 == 0 { (&first, &code) } else { (&again, &next) };
        is_refused(&proving.verify(ticket, &wrong(code)).await);
    }
    for (ticket, code) in [(&first, &code), (&again, &next)] {
        proving.verify(ticket, code).await.is(429, "RATE_LIMIT_EXCEEDED");
    }
    proving.clock.advance(Duration::from_mins(59));
    proving.verify(&first, &code).await.is(429, "RATE_LIMIT_EXCEEDED");
    proving.app.stores(0).await;
    // Another sign-up has its own. Right ones take none away.
    let other = proving.begin("jim@x.co").await;
    let code = proving.code("jim@x.co");
    for _ in 0..9 {
        is_refused(&proving.verify(&other, &wrong(&code)).await);
    }
    for _ in 0..20 {
        assert_eq!(proving.verify(&other, &code).await.status, 201);
    }
}

async fn strangers_use_up_no_try_of_a_ticket(backend: Backend) {
    let mut proving = proving(backend).await;
    let own = proving.begin("kim@x.co").await;
    let code = proving.code("kim@x.co");
    for _ in 0..2 {
        let strangers = proving.begin("kim@x.co").await;
        for _ in 0..10 {
            is_refused(&proving.verify(&strangers, "00000000").await);
        }
        proving.verify(&strangers, "00000000").await.is(429, "RATE_LIMIT_EXCEEDED");
    }
    assert_eq!(proving.verify(&own, &code).await.status, 201);
}

async fn another_code_is_mailed_for_the_same_sign_up(backend: Backend) {
    let mut proving = proving(backend).await;
    let answer = proving.post("/auth/signup", &signup("kim@x.co")).await;
    let first = ticket(&answer);
    let code = proving.code("kim@x.co");
    proving.clock.advance(Duration::from_mins(30));
    let resent = proving.resend(&first).await;
    assert_eq!(resent.json()["data"]["expires_at"], answer.json()["data"]["expires_at"]);
    assert_eq!(resent.body.len(), answer.body.len());
    let (again, next) = (ticket(&resent), proving.code("kim@x.co"));
    assert!(again != first && next != code);
    let left: Vec<_> = proving.mailer.sent().iter().map(Mail::expires_in).collect();
    assert_eq!(left, [60, 30].map(Duration::from_mins));
    // A code belongs to its ticket.
    is_refused(&proving.verify(&first, &next).await);
    is_refused(&proving.verify(&again, &code).await);
    let created = proving.verify(&again, &next).await;
    // The first one is the same sign-up.
    assert_eq!(proving.verify(&first, &code).await.body, created.body);
    proving.app.stores(1).await;
    for spoilt in ["", "sut_", "sut_AAAA", &first[..first.len() - 1]] {
        let refused = proving.resend(spoilt).await;
        assert_eq!(refused.issues()[0].0, ["ticket"]);
    }
    proving.clock.advance(Duration::from_mins(30));
    let late = proving.resend(&first).await;
    assert_eq!(late.issues(), [(vec!["ticket".into()], "Invalid or expired ticket".into())]);
}

async fn a_code_proves_its_own_ticket_until_it_expires(backend: Backend) {
    let mut proving = proving(backend).await;
    let (kim, kims) = (proving.begin("kim@x.co").await, proving.code("kim@x.co"));
    let (jim, jims) = (proving.begin("jim@x.co").await, proving.code("jim@x.co"));
    is_refused(&proving.verify(&kim, &jims).await);
    is_refused(&proving.verify(&jim, &kims).await);
    proving.clock.advance(Duration::from_mins(59));
    assert_eq!(proving.verify(&kim, &kims).await.status, 201);
    proving.clock.advance(Duration::from_mins(1));
    is_refused(&proving.verify(&jim, &jims).await);
    is_refused(&proving.verify(&kim, &kims).await);
    proving.app.stores(1).await;
}

/// Somebody begins with the address of somebody else, before or after its owner: each
/// ticket has its own password, and only the mailbox has the codes.
async fn who_proves_first_has_the_address(backend: Backend) {
    for owner_begins in [true, false] {
        let mut proving = proving(backend).await;
        let attack = json!({"email": "kim@x.co", "password": "the attacker's"});
        let mut attackers = None;
        if !owner_begins {
            attackers = Some(ticket(&proving.post("/auth/signup", &attack).await));
        }
        let owners = proving.begin("kim@x.co").await;
        let code = proving.code("kim@x.co");
        let attackers = match attackers {
            Some(attackers) => attackers,
            None => ticket(&proving.post("/auth/signup", &attack).await),
        };
        // The owner types the code of the own sign-up; the other mail's is of no use to
        // who has not its ticket.
        is_refused(&proving.verify(&attackers, &code).await);
        assert_eq!(proving.verify(&owners, &code).await.status, 201);
        let credentials = proving.app.credentials.clone();
        assert!(credentials.verify_password("kim@x.co", PASSWORD).await.is_ok());
        assert!(credentials.verify_password("kim@x.co", "the attacker's").await.is_err());
        // Two that are proven: the second one comes too late.
        proving.app.store.delete("kim@x.co").await;
        proving.clock.advance(Duration::from_hours(1));
        let (one, ones) = (proving.begin("kim@x.co").await, proving.code("kim@x.co"));
        proving.clock.advance(Duration::from_mins(59));
        let (two, twos) = (proving.begin("kim@x.co").await, proving.code("kim@x.co"));
        assert_eq!(proving.verify(&two, &twos).await.status, 201);
        proving.verify(&one, &ones).await.is(409, "CONFLICT");
        proving.app.stores(1).await;
    }
}

async fn a_mailbox_is_not_bombed(backend: Backend) {
    let mut proving = proving(backend).await;
    let sealed = proving.begin("kim@x.co").await;
    for _ in 0..2 {
        ticket(&proving.resend(&sealed).await);
    }
    let refused = proving.resend(&sealed).await;
    refused.is(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(refused.header("retry-after"), Some("3600"), "of one client");
    proving.post("/auth/signup", &signup("kim@x.co")).await.is(429, "RATE_LIMIT_EXCEEDED");
    proving.begin("jim@x.co").await;
    proving.mails.drained().await;
    assert_eq!(proving.kinds().len(), 4, "of another address");
    // Of all clients ten: no more are sent, and nobody learns it.
    for number in 0..12 {
        let client = ClientIp::from(std::net::IpAddr::from([192, 0, 2, number]));
        let request = SignupRequest::new("kim@x.co", PASSWORD).client(client);
        let pending =
            proving.app.service.verification().first().unwrap().begin(request).await.unwrap();
        assert_eq!(pending.reveal_ticket().len(), sealed.len());
    }
    proving.mails.drained().await;
    assert_eq!(proving.kinds().len(), 11);
    proving.clock.advance(Duration::from_hours(1));
    proving.begin("kim@x.co").await;
    proving.mails.drained().await;
    assert_eq!(proving.kinds().len(), 12, "an hour later");
}

async fn a_withheld_mail_leaves_the_code_of_the_last_one_valid(backend: Backend) {
    let mut proving = proving(backend).await;
    let sealed = proving.begin("kim@x.co").await;
    let code = proving.code("kim@x.co");
    for number in 0..9 {
        let client = ClientIp::from(std::net::IpAddr::from([192, 0, 2, number]));
        let request = SignupRequest::new("kim@x.co", PASSWORD).client(client);
        proving.app.service.verification().first().unwrap().begin(request).await.unwrap();
    }
    let withheld = ticket(&proving.resend(&sealed).await);
    proving.mails.drained().await;
    assert_eq!(proving.kinds().len(), 10);
    assert_eq!(proving.verify(&withheld, &code).await.status, 201);
}

async fn a_full_queue_of_mails_tells_nothing(backend: Backend) {
    let mailer = Arc::new(MemoryMailer::default());
    let mut registered = proving(backend).await;
    registered.register("taken@x.co").await;
    let full = MailQueue::new(Stalled).capacity(1);
    let mut proving = with_queue(Mode::First, backend, full, mailer).await;
    proving.drains = false;
    proving.post("/auth/signup", &signup("first@x.co")).await;
    for email in ["free@x.co", "taken@x.co"] {
        let answer = proving.post("/auth/signup", &signup(email)).await;
        answer.is(429, "RATE_LIMIT_EXCEEDED");
    }
    assert_eq!(proving.app.engine.hashes(), 1);
    let sealed = registered.begin("kim@x.co").await;
    proving.resend(&sealed).await.is(429, "RATE_LIMIT_EXCEEDED");
}

async fn the_routes_refuse_what_is_malformed(backend: Backend) {
    let mut proving = proving(backend).await;
    for path in ["/auth/signup/verify", "/auth/signup/resend"] {
        let client = &mut proving.app.client;
        let get = client.request("GET", path, &[], b"").await;
        assert_eq!((get.status, get.header("allow")), (405, Some("POST")), "{path}");
        client.request("POST", path, &[], b"{}").await.is(415, "VALIDATION_ERROR");
        client.request("POST", path, &[JSON], b"{").await.is_malformed();
        let large = vec![b' '; 20_000];
        client.request("POST", path, &[JSON], &large).await.is(413, "VALIDATION_ERROR");
    }
    let said = |path: &str, body: Value| (path.to_owned(), body);
    for ((path, body), expected) in [
        (said("verify", json!({})), vec![("ticket", "Required"), ("code", "Required")]),
        (
            said("verify", json!({"ticket": 1, "code": null})),
            vec![
                ("ticket", "Expected string, received number"),
                ("code", "Expected string, received null"),
            ],
        ),
        (
            said("verify", json!({"ticket": "", "code": ""})),
            vec![("code", "Invalid or expired code")],
        ),
        (said("resend", json!({"code": "x"})), vec![("ticket", "Required")]),
    ] {
        let answer = proving.post(&format!("/auth/signup/{path}"), &body).await;
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(field, message)| (vec![field.to_owned()], message.to_owned()))
            .collect();
        assert_eq!(answer.issues(), expected, "{body}");
    }
    // The form of the key is checked, and it changes nothing else.
    let body = signup("kim@x.co").to_string();
    let mut with = async |key: &str| {
        let headers = [JSON, key];
        proving.app.client.request("POST", "/auth/signup", &headers, body.as_bytes()).await
    };
    assert_eq!(with("Idempotency-Key: short").await.issues()[0].0, ["Idempotency-Key"]);
    let (one, other) = (
        with("Idempotency-Key: 0123456789abcdef").await,
        with("Idempotency-Key: 0123456789abcdef").await,
    );
    assert_ne!(ticket(&one), ticket(&other));
    // Without the setting there is one path.
    let plain = backend.app().await;
    let answer =
        Client::new(plain.addr).request("POST", "/auth/signup/verify", &[JSON], b"{}").await;
    assert_eq!(answer.status, 404);
}

async fn the_service_does_not_register_unproven_addresses(backend: Backend) {
    let proving = proving(backend).await;
    let request = || SignupRequest::new("kim@x.co", PASSWORD);
    let refused = proving.app.service.signup(request()).await;
    assert!(matches!(refused, Err(SignupError::Internal(_))), "{refused:?}");
    assert!(proving.app.service.prepare(request()).await.is_err());
    let plain = backend.app().await;
    assert!(plain.service.verification().first().is_none());
    proving.app.stores(0).await;
}

/// A list of banned addresses, which is asked again when an address is proven.
#[derive(Clone, Default)]
struct Bans {
    has_everybody: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<(Occasion, bool)>>>,
}

#[async_trait]
impl SignupPolicy for Bans {
    async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
        let has_password = !attempt.reveal_password().is_empty();
        self.asked.lock().unwrap().push((attempt.occasion(), has_password));
        assert_eq!((attempt.email().as_str(), attempt.name()), ("Kim@x.co", Some("Kim")));
        if self.has_everybody.load(Ordering::SeqCst) {
            return Ok(Verdict::invalid("email", "The address is banned"));
        }
        Ok(Verdict::Allow)
    }

    fn occasions(&self) -> &[Occasion] {
        &[Occasion::Signup, Occasion::EmailVerification]
    }
}

async fn a_policy_that_asks_for_it_is_asked_at_the_proof(backend: Backend) {
    let (bans, mailer) = (Bans::default(), Arc::new(MemoryMailer::default()));
    let others: [Arc<dyn SignupPolicy>; 2] =
        [Arc::new(MinimumLength(9)), Arc::new(InvitationOnly::new(async |_| Ok(true)))];
    let policies = others.into_iter().chain([Arc::new(bans.clone()) as _]).collect();
    let options = Options { policies, ..Options::default() };
    let mails = MailQueue::new(Arc::clone(&mailer));
    let mut proving = with_options(Mode::First, backend, mails, mailer, options).await;
    let body =
        json!({"email": "Kim@x.co", "password": PASSWORD, "name": "Kim", "invite_code": "x"});
    let sealed = ticket(&proving.post("/auth/signup", &body).await);
    let code = proving.code("Kim@x.co");
    bans.has_everybody.store(true, Ordering::SeqCst);
    let refused = proving.verify(&sealed, &code).await;
    assert_eq!(refused.issues(), [(vec![], "The address is banned".to_owned())]);
    proving.app.stores(0).await;
    bans.has_everybody.store(false, Ordering::SeqCst);
    assert_eq!(proving.verify(&sealed, &code).await.status, 201);
    let expected = [
        (Occasion::Signup, true),
        (Occasion::EmailVerification, false),
        (Occasion::EmailVerification, false),
    ];
    assert_eq!(*bans.asked.lock().unwrap(), expected);
}

async fn forged_tickets_cost_nothing(backend: Backend) {
    let mailer = Arc::new(MemoryMailer::default());
    let mails = MailQueue::new(Arc::clone(&mailer));
    let fault = Arc::new(Mutex::new(VecDeque::from([None])));
    let planned = Arc::clone(&fault);
    let wrap = move |store| -> Arc<dyn EventStore> {
        Arc::new(Faulty { next: planned, ..Faulty::new(store) })
    };
    let options = Options { wrap: Box::new(wrap), ..Options::default() };
    let mut proving = with_options(Mode::First, backend, mails, mailer, options).await;
    let sealed = proving.begin("kim@x.co").await;
    let code = proving.code("kim@x.co");
    let (hashes, kinds) = (proving.app.engine.hashes(), proving.kinds().len());
    // From here on the store would fail.
    fault.lock().unwrap().extend([Some(Fault::Failed); 10]);
    for number in 0..500 {
        let mut forged = sealed.clone().into_bytes();
        let at = 4 + number * 7 % (forged.len() - 4);
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        is_refused(&proving.verify(&forged, &code).await);
        assert_eq!(proving.resend(&forged).await.issues()[0].0, ["ticket"]);
    }
    assert_eq!(fault.lock().unwrap().len(), 10, "the store was asked");
    assert_eq!((proving.app.engine.hashes(), proving.kinds().len()), (hashes, kinds));
    fault.lock().unwrap().clear();
    assert_eq!(proving.verify(&sealed, &code).await.status, 201);
}
