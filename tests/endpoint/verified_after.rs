//! Accounts whose address is proven after the sign-up: who can prove it, and who can take
//! an account over.

use signup::store::EventStore;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use signup::account::AccountId;
use signup::mail::{MailKind, MailQueue, MemoryMailer};
use signup::policy::{InvitationOnly, MinimumLength};
use signup::store::conformance::dropped_after;
use tokio::task::JoinSet;

use crate::proving::{
    Proving, Stalled, is_refused, proving_after, proving_first, ticket, with_options, with_queue,
    wrong,
};
use crate::support::backend::{Backend, Mode, Options};
use crate::support::client::{JSON, PASSWORD, Response, signup};
use crate::support::faults::{Fault, Faulty};

crate::cases![
    the_account_is_there_and_its_address_is_proven_later,
    a_code_needs_the_token_or_the_password_of_its_own_account,
    a_code_has_its_time_and_its_generation,
    an_account_has_ten_tries,
    wrong_passwords_are_throttled_as_at_log_in,
    another_code_is_mailed_on_request,
    a_full_queue_of_mails_stops_no_sign_up,
    a_reclaim_is_answered_alike_for_any_address,
    the_owner_of_the_mailbox_takes_the_account_over,
    a_proven_address_is_not_taken_over,
    a_reclaim_whose_answer_was_lost_is_answered_again,
    a_reclaim_is_answered_again_while_its_account_is_as_it_was,
    a_ticket_has_its_purpose_its_code_and_its_tries,
    of_simultaneous_takers_one_has_the_account,
    a_new_password_meets_the_rules_of_passwords_alone,
    a_fault_of_the_store_leaves_all_or_nothing,
    a_dropped_reclaim_is_whole,
    the_routes_refuse_what_is_malformed,
];

const VERIFY: &str = "/auth/email/verify";
const RESEND: &str = "/auth/email/resend";
const RECLAIM: &str = "/auth/email/reclaim";
const CONFIRM: &str = "/auth/email/reclaim/confirm";
/// The password of who takes an account over.
const ANOTHER: &str = "battery staple";

/// The answer to a sign-up, or to a reclaim.
struct Account {
    token: String,
    api_key: String,
    id: AccountId,
    json: Value,
}

impl Account {
    #[track_caller]
    fn of(answer: &Response) -> Self {
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        let json = answer.json()["data"].clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            token: text(&json["token"]),
            api_key: text(&json["api_key"]),
            id: AccountId::from_store(text(&json["account"]["id"])),
            json: json["account"].clone(),
        }
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}", self.token)
    }
}

impl Proving {
    async fn sign_up(&mut self, email: &str) -> Account {
        Account::of(&self.post("/auth/signup", &signup(email)).await)
    }

    async fn prove(&mut self, account: &Account, code: &str) -> Response {
        self.post_with(VERIFY, &[&account.bearer()], &json!({"code": code})).await
    }

    async fn reclaim(&mut self, email: &str) -> String {
        let answer = self.post(RECLAIM, &json!({"email": email})).await;
        ticket(&answer)
    }

    async fn confirm(&mut self, ticket: &str, code: &str) -> Response {
        self.confirm_as(ticket, code, ANOTHER).await
    }

    async fn confirm_as(&mut self, ticket: &str, code: &str, password: &str) -> Response {
        let body = json!({"ticket": ticket, "code": code, "password": password});
        self.post(CONFIRM, &body).await
    }

    /// Returns whether the address is proven, as a token, an API key and a new token's claim
    /// tell it, which agree.
    async fn is_proven(&self, account: &Account) -> bool {
        let credentials = &self.app.credentials;
        let by_token = credentials.verify_token(&account.token).await.unwrap();
        let by_key = credentials.verify_api_key(&account.api_key).await.unwrap();
        let proven = by_token.email_verified_at();
        assert_eq!(by_key.email_verified_at(), proven);
        let required = by_token.require_verified_email();
        assert_eq!(required.is_ok(), proven.is_some(), "{required:?}");
        assert_eq!(by_key.require_verified_email().is_ok(), proven.is_some());
        let issued = self.app.service.credentials().issue_token(&account.id).await.unwrap();
        let claim = self.app.service.token_verifier().verify(issued.reveal()).unwrap();
        assert_eq!(claim.email_verified(), Some(proven.is_some()));
        proven.is_some()
    }

    /// Checks that nothing that the first owner had is of any use.
    async fn is_over(&mut self, first: &Account) {
        let credentials = self.app.credentials.clone();
        assert!(credentials.verify_token(&first.token).await.is_err());
        assert!(credentials.verify_api_key(&first.api_key).await.is_err());
        let email = first.json["email"].as_str().unwrap();
        assert!(credentials.verify_password(email, PASSWORD).await.is_err());
        self.prove(first, "00000000").await.is(401, "AUTHENTICATION_ERROR");
    }
}

async fn the_account_is_there_and_its_address_is_proven_later(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let answer = proving.post("/auth/signup", &signup("Kim@x.co")).await;
    answer.check_contract(false);
    let kim = Account::of(&answer);
    proving.app.stores(1).await;
    assert!(!proving.is_proven(&kim).await);
    let first = proving.app.service.token_verifier().verify(&kim.token).unwrap();
    assert_eq!(first.email_verified(), Some(false));

    let code = proving.code("Kim@x.co");
    is_refused(&proving.prove(&kim, &wrong(&code)).await);
    assert!(!proving.is_proven(&kim).await);
    let typed = format!(" {}-{} ", code[..4].to_lowercase(), &code[4..]);
    assert_eq!(proving.prove(&kim, &typed).await.status, 204);
    assert!(proving.is_proven(&kim).await);
    // Its answer may have been lost.
    assert_eq!(proving.prove(&kim, &code).await.status, 204);
    let credentials = proving.app.credentials.clone();
    let first = credentials.account(&kim.id).await.unwrap().email_verified_at;
    proving.clock.advance(Duration::from_mins(1));
    assert_eq!(proving.prove(&kim, &code).await.status, 204);
    assert_eq!(credentials.account(&kim.id).await.unwrap().email_verified_at, first);
    assert_eq!(proving.kinds(), [MailKind::EmailCode]);
}

async fn a_code_needs_the_token_or_the_password_of_its_own_account(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let (kim, jim) = (proving.sign_up("kim@x.co").await, proving.sign_up("jim@x.co").await);
    let code = proving.code("kim@x.co");
    // A scanner of mails has the code, and an account of its own.
    is_refused(&proving.prove(&jim, &code).await);
    for alone in [json!({"code": code}), json!({"code": code, "email": "kim@x.co"})] {
        proving.post(VERIFY, &alone).await.is(401, "AUTHENTICATION_ERROR");
    }
    let with_password = |password: &str, code: &str| json!({"email": "KIM@x.co", "password": password, "code": code});
    let guessed = proving.post(VERIFY, &with_password("wrong horse", &code)).await;
    guessed.is(401, "AUTHENTICATION_ERROR");
    assert_eq!(guessed.header("www-authenticate"), Some(r#"Bearer realm="api""#));
    let own = json!({"email": "jim@x.co", "password": PASSWORD, "code": code});
    is_refused(&proving.post(VERIFY, &own).await);
    let forged = [format!("{}x", kim.bearer()), "Authorization: Basic a2lt".to_owned()];
    for header in forged {
        let refused = proving.post_with(VERIFY, &[&header], &with_password(PASSWORD, &code)).await;
        refused.is(401, "AUTHENTICATION_ERROR");
    }
    // An API key is handed to machines.
    let key = format!("X-API-Key: {}", kim.api_key);
    let by_key = proving.post_with(VERIFY, &[&key], &json!({"code": code})).await;
    by_key.is(401, "AUTHENTICATION_ERROR");
    assert!(!proving.is_proven(&kim).await);
    let proven = proving.post(VERIFY, &with_password(PASSWORD, &code)).await;
    assert_eq!(proven.status, 204, "{proven:?}");
    assert!(proving.is_proven(&kim).await && !proving.is_proven(&jim).await);
}

async fn a_code_has_its_time_and_its_generation(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let kim = proving.sign_up("kim@x.co").await;
    let (code, left) = (proving.code("kim@x.co"), proving.mailer.sent()[0].expires_in());
    proving.clock.advance(left);
    is_refused(&proving.prove(&kim, &code).await);
    let resent = proving.post_with(RESEND, &[&kim.bearer()], &json!({})).await;
    assert_eq!(resent.status, 202);
    let next = proving.code("kim@x.co");
    assert_ne!(next, code);
    // Whoever logs out everywhere ends it, too.
    proving.app.credentials.revoke_tokens(&kim.id).await.unwrap();
    let by_password = json!({"email": "kim@x.co", "password": PASSWORD, "code": next});
    is_refused(&proving.post(VERIFY, &by_password).await);
    let token = proving.app.service.credentials().issue_token(&kim.id).await.unwrap();
    let kim = Account { token: token.reveal().to_owned(), ..kim };
    proving.post_with(RESEND, &[&kim.bearer()], &json!({})).await;
    let code = proving.code("kim@x.co");
    assert_eq!(proving.prove(&kim, &code).await.status, 204);
}

async fn an_account_has_ten_tries(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let (kim, jim) = (proving.sign_up("kim@x.co").await, proving.sign_up("jim@x.co").await);
    for _ in 0..10 {
        is_refused(&proving.prove(&kim, "00000000").await);
    }
    let code = proving.code("kim@x.co");
    proving.prove(&kim, &code).await.is(429, "RATE_LIMIT_EXCEEDED");
    // They are its own.
    let jims = proving.code("jim@x.co");
    assert_eq!(proving.prove(&jim, &jims).await.status, 204);
    proving.clock.advance(Duration::from_hours(1));
    proving.post_with(RESEND, &[&kim.bearer()], &json!({})).await;
    let code = proving.code("kim@x.co");
    for _ in 0..20 {
        assert_eq!(proving.prove(&kim, &code).await.status, 204);
    }
}

async fn wrong_passwords_are_throttled_as_at_log_in(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let kim = proving.sign_up("kim@x.co").await;
    let code = proving.code("kim@x.co");
    let with =
        |email: &str, password: &str| json!({"email": email, "password": password, "code": code});
    for email in ["Kim@x.co", "nobody@x.co"] {
        let hashes = proving.app.engine.hashes();
        for number in 0..6 {
            let path = if number % 2 == 0 { VERIFY } else { RESEND };
            let guess = proving.post(path, &with(email, "wrong horse")).await;
            guess.is(401, "AUTHENTICATION_ERROR");
        }
        let guess = proving.post(VERIFY, &with(email, PASSWORD)).await;
        guess.is(429, "RATE_LIMIT_EXCEEDED");
        assert_eq!(proving.app.engine.hashes() - hashes, 6);
    }
    // The token is another way.
    assert_eq!(proving.prove(&kim, &code).await.status, 204);
    proving.clock.advance(Duration::from_secs(1));
    assert_eq!(proving.post(RESEND, &with("kim@x.co", PASSWORD)).await.status, 202);
}

async fn another_code_is_mailed_on_request(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let kim = proving.sign_up("kim@x.co").await;
    let by_password = json!({"email": "kim@x.co", "password": PASSWORD});
    let sent = proving.post(RESEND, &by_password).await;
    assert_eq!(sent.status, 202);
    let expires_at = sent.json()["data"]["expires_at"].as_str().unwrap().to_owned();
    assert!(expires_at.starts_with("2025-06-15T1") && expires_at.ends_with('Z'), "{expires_at}");
    let wrong = json!({"email": "kim@x.co", "password": "wrong horse"});
    proving.post(RESEND, &wrong).await.is(401, "AUTHENTICATION_ERROR");
    proving.post(RESEND, &json!({})).await.is(401, "AUTHENTICATION_ERROR");
    assert_eq!(proving.post_with(RESEND, &[&kim.bearer()], &json!({})).await.status, 202);
    // A mailbox is not bombed.
    let fourth = proving.post_with(RESEND, &[&kim.bearer()], &json!({})).await;
    fourth.is(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(proving.kinds(), [MailKind::EmailCode; 3]);
    proving.clock.advance(Duration::from_hours(1));
    proving.post_with(RESEND, &[&kim.bearer()], &json!({})).await;
    assert_eq!(proving.kinds().len(), 4);
    let code = proving.code("kim@x.co");
    assert_eq!(proving.prove(&kim, &code).await.status, 204);
    assert_eq!(proving.post_with(RESEND, &[&kim.bearer()], &json!({})).await.status, 202);
    assert_eq!(proving.kinds().len(), 4, "the address is proven");
}

async fn a_full_queue_of_mails_stops_no_sign_up(backend: Backend) {
    let mailer = Arc::new(MemoryMailer::default());
    let full = MailQueue::new(Stalled).capacity(1);
    let mut proving = with_queue(Mode::After, backend, full, mailer).await;
    proving.drains = false;
    proving.sign_up("jim@x.co").await;
    let kim = proving.sign_up("kim@x.co").await;
    let refused = proving.post_with(RESEND, &[&kim.bearer()], &json!({})).await;
    refused.is(429, "RATE_LIMIT_EXCEEDED");
    for email in ["kim@x.co", "nobody@x.co"] {
        let refused = proving.post(RECLAIM, &json!({"email": email})).await;
        refused.is(429, "RATE_LIMIT_EXCEEDED");
    }
    proving.app.stores(2).await;
}

async fn a_reclaim_is_answered_alike_for_any_address(backend: Backend) {
    let mut proving = proving_after(backend).await;
    proving.sign_up("kim@x.co").await;
    let jim = proving.sign_up("jim@x.co").await;
    let code = proving.code("jim@x.co");
    assert_eq!(proving.prove(&jim, &code).await.status, 204);
    let hashes = proving.app.engine.hashes();
    let mut seen = HashSet::new();
    let long = format!("{}@example.com", "n".repeat(64));
    for email in ["kim@x.co", "jim@x.co", "nobody@x.co", &long] {
        let answer = proving.post(RECLAIM, &json!({"email": email})).await;
        let headers: Vec<_> = answer.headers.iter().filter(|(name, _)| name != "date").collect();
        seen.insert(format!("{} {headers:?} {}", answer.status, answer.body.len()));
        if email != "kim@x.co" {
            // There is nothing to be taken over.
            is_refused(&proving.confirm(&ticket(&answer), "00000000").await);
        }
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(proving.app.engine.hashes(), hashes, "an address costs no hash");
    let kinds = &proving.kinds()[2..];
    assert_eq!(kinds, [MailKind::ReclaimCode, MailKind::AlreadyVerified]);
    proving.post(RECLAIM, &json!({"email": "no address"})).await.is_invalid(&["email"]);
    proving.post(RECLAIM, &json!({})).await.is_invalid(&["email"]);
}

/// Somebody has signed up with the address of somebody else, and waits.
async fn the_owner_of_the_mailbox_takes_the_account_over(backend: Backend) {
    const KEY: &str = "Idempotency-Key: 8e03978e-40d5-43dd-bc93-6894a57f9324";
    let mut proving = proving_after(backend).await;
    let body = json!({"email": "Kim@x.co", "password": PASSWORD, "name": "Trojan"});
    let first = Account::of(&proving.post_with("/auth/signup", &[KEY], &body).await);
    let first_code = proving.code("Kim@x.co");
    let other_ticket = proving.reclaim("kim@x.co").await;
    let other_code = proving.code("Kim@x.co");
    let credentials = proving.app.credentials.clone();
    let second_key = credentials.issue_api_key(&first.id, None).await.unwrap();
    // The first owner is about to move the account to a mailbox of his own.
    let lives = proving.app.service.accounts();
    let codes = proving.app.service.account_codes().unwrap();
    let trojan = codes.begin_email_change(&first.id, "trojan@x.co", None).await.unwrap();
    proving.mails.drained().await;
    let trojan_code = proving.code("trojan@x.co");

    let sealed = proving.reclaim("KIM@x.co").await;
    let code = proving.code("Kim@x.co");
    assert!(sealed.starts_with("sur_") && sealed != other_ticket && code != other_code);
    let answer = proving.confirm(&sealed, &code).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("idempotency-replayed"), None);
    let owner = Account::of(&answer);
    let expected =
        json!({"id": first.id.as_str(), "email": "Kim@x.co", "name": null, "plan": "trial"});
    assert_eq!(owner.json, expected);
    assert!(proving.is_proven(&owner).await);
    let claim = proving.app.service.token_verifier().verify(&owner.token).unwrap();
    assert_eq!(claim.email_verified(), Some(true));
    assert_eq!(credentials.verify_password("kim@x.co", ANOTHER).await.unwrap(), first.id);
    proving.is_over(&first).await;
    assert!(credentials.verify_api_key(second_key.key().reveal()).await.is_err());
    assert_eq!(credentials.api_keys(&first.id).await.unwrap().len(), 1);
    // Nor does anything bring it back: a retry of the sign-up, the first code, or another
    // ticket.
    proving.post_with("/auth/signup", &[KEY], &body).await.is(409, "CONFLICT");
    is_refused(&proving.prove(&owner, &first_code).await);
    is_refused(&proving.confirm(&other_ticket, &other_code).await);
    let moved = codes.complete_email_change(&first.id, trojan.reveal_ticket(), &trojan_code).await;
    assert!(moved.is_err(), "{moved:?}");
    assert!(lives.by_email("trojan@x.co").await.unwrap().is_none());
    proving.app.stores(1).await;
}

async fn a_proven_address_is_not_taken_over(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let kim = proving.sign_up("kim@x.co").await;
    let code = proving.code("kim@x.co");
    // The ticket is of before the proof.
    let sealed = proving.reclaim("kim@x.co").await;
    let reclaiming = proving.code("kim@x.co");
    // The code of one is none of the other.
    is_refused(&proving.prove(&kim, &reclaiming).await);
    is_refused(&proving.confirm(&sealed, &code).await);
    assert_eq!(proving.prove(&kim, &code).await.status, 204);
    is_refused(&proving.confirm(&sealed, &reclaiming).await);
    let late = proving.reclaim("kim@x.co").await;
    is_refused(&proving.confirm(&late, "00000000").await);
    assert!(proving.is_proven(&kim).await);
    assert!(proving.app.credentials.verify_password("kim@x.co", PASSWORD).await.is_ok());
    // An account that is gone, and another one with its address.
    let jim = proving.sign_up("jim@x.co").await;
    let sealed = proving.reclaim("jim@x.co").await;
    let code = proving.code("jim@x.co");
    proving.app.store.delete("jim@x.co").await;
    is_refused(&proving.confirm(&sealed, &code).await);
    let again = proving.sign_up("jim@x.co").await;
    assert_ne!(again.id, jim.id);
    is_refused(&proving.confirm(&sealed, &code).await);
    assert!(!proving.is_proven(&again).await);
}

async fn a_reclaim_whose_answer_was_lost_is_answered_again(backend: Backend) {
    let mut proving = proving_after(backend).await;
    proving.sign_up("kim@x.co").await;
    let sealed = proving.reclaim("kim@x.co").await;
    let code = proving.code("kim@x.co");
    let first = Account::of(&proving.confirm(&sealed, &code).await);
    proving.clock.advance(Duration::from_secs(7));
    let answer = proving.confirm(&sealed, &code).await;
    assert_eq!(answer.header("idempotency-replayed"), Some("true"));
    let again = Account::of(&answer);
    assert_eq!((&again.api_key, &again.json), (&first.api_key, &first.json));
    assert!(proving.is_proven(&again).await && proving.is_proven(&first).await);
    // Another password was not set.
    is_refused(&proving.confirm_as(&sealed, &code, "yet another one").await);
    let credentials = proving.app.credentials.clone();
    let key = credentials.verify_api_key(&first.api_key).await.unwrap();
    credentials.revoke_api_key(&first.id, &key.key_id()).await.unwrap();
    is_refused(&proving.confirm(&sealed, &code).await);
    credentials.revoke_tokens(&first.id).await.unwrap();
    is_refused(&proving.confirm(&sealed, &code).await);
}

async fn a_reclaim_is_answered_again_while_its_account_is_as_it_was(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let credentials = proving.app.credentials.clone();
    for case in ["its API key has expired", "its tokens have ended"] {
        let email = format!("{}@x.co", case.len());
        proving.sign_up(&email).await;
        let sealed = proving.reclaim(&email).await;
        let code = proving.code(&email);
        let owner = Account::of(&proving.confirm(&sealed, &code).await);
        let key = credentials.verify_api_key(&owner.api_key).await.unwrap().key_id();
        if case == "its tokens have ended" {
            credentials.revoke_tokens(&owner.id).await.unwrap();
        } else {
            let grace = Duration::from_mins(1);
            credentials.rotate_api_key(&owner.id, &key, grace, None).await.unwrap();
            let again = Account::of(&proving.confirm(&sealed, &code).await);
            assert_eq!(again.api_key, owner.api_key);
            proving.clock.advance(grace);
        }
        is_refused(&proving.confirm(&sealed, &code).await);
    }
}

async fn a_ticket_has_its_purpose_its_code_and_its_tries(backend: Backend) {
    let mut proving = proving_after(backend).await;
    proving.sign_up("kim@x.co").await;
    let one = proving.reclaim("kim@x.co").await;
    let ones = proving.code("kim@x.co");
    let other = proving.reclaim("kim@x.co").await;
    let others = proving.code("kim@x.co");
    is_refused(&proving.confirm(&one, &others).await);
    is_refused(&proving.confirm(&other, &ones).await);
    // The ticket of a sign-up takes nothing over, in its own form or renamed.
    let mut first = proving_first(backend).await;
    let of_signup = first.begin("kim@x.co").await;
    let code = first.code("kim@x.co");
    for forged in [of_signup.clone(), of_signup.replacen("sut_", "sur_", 1), String::new()] {
        is_refused(&proving.confirm(&forged, &code).await);
    }
    is_refused(&first.verify(&one.replacen("sur_", "sut_", 1), &ones).await);
    for _ in 0..9 {
        is_refused(&proving.confirm(&one, &wrong(&ones)).await);
    }
    proving.confirm(&one, &ones).await.is(429, "RATE_LIMIT_EXCEEDED");
    // Another ticket has its own.
    assert_eq!(proving.confirm(&other, &others).await.status, 200);
}

async fn of_simultaneous_takers_one_has_the_account(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let kim = proving.sign_up("kim@x.co").await;
    let code = proving.code("kim@x.co");
    let mut tickets = Vec::new();
    for _ in 0..2 {
        let sealed = proving.reclaim("kim@x.co").await;
        tickets.push((sealed, proving.code("kim@x.co")));
    }
    let mut crowd = JoinSet::new();
    for number in 0..8 {
        let service = proving.app.service.clone();
        let (sealed, code) = tickets[number % 2].clone();
        let password = format!("{ANOTHER} {}", number % 2);
        crowd.spawn(async move {
            service
                .verification()
                .after()
                .unwrap()
                .complete_reclaim(&sealed, &code, &password)
                .await
                .ok()
        });
    }
    let (service, id) = (proving.app.service.clone(), kim.id.clone());
    let proven =
        tokio::spawn(
            async move { service.verification().after().unwrap().verify(&id, &code).await },
        );
    let takers: Vec<_> = crowd.join_all().await.into_iter().flatten().collect();
    let keys: HashSet<_> = takers.iter().map(|taker| taker.api_key().reveal()).collect();
    let is_proven = proven.await.unwrap().is_ok();
    assert!(keys.len() <= 1 && is_proven == keys.is_empty(), "{is_proven} {}", keys.len());
    let record = proving.app.credentials.account(&kim.id).await.unwrap();
    assert!(record.email_verified_at.is_some());
    assert_eq!(record.token_generation, i64::from(!is_proven));
    proving.app.stores(1).await;
    let credentials = proving.app.credentials.clone();
    assert_eq!(credentials.verify_api_key(&kim.api_key).await.is_ok(), is_proven);
    if let Some(key) = keys.into_iter().next() {
        credentials.verify_api_key(key).await.unwrap();
    }
}

async fn a_new_password_meets_the_rules_of_passwords_alone(backend: Backend) {
    let mailer = Arc::new(MemoryMailer::default());
    let mails = MailQueue::new(Arc::clone(&mailer));
    let invitation = InvitationOnly::new(async |code| Ok(code == "friends"));
    let rule = MinimumLength(12);
    let options =
        Options { policies: vec![Arc::new(rule), Arc::new(invitation)], ..Options::default() };
    let mut proving = with_options(Mode::After, backend, mails, mailer, options).await;
    let body = json!({"email": "kim@x.co", "password": ANOTHER, "invite_code": "friends"});
    Account::of(&proving.post("/auth/signup", &body).await);
    let sealed = proving.reclaim("kim@x.co").await;
    let code = proving.code("kim@x.co");
    let expected = [
        ("1234567", "String must contain at least 8 character(s)"),
        ("12345678901", "String must contain at least 12 character(s)"),
    ];
    for (password, message) in expected {
        let refused = proving.confirm_as(&sealed, &code, password).await;
        assert_eq!(refused.issues(), [(vec!["password".into()], message.into())]);
    }
    // No try was taken, and no invitation is needed.
    assert_eq!(proving.confirm(&sealed, &code).await.status, 200);
}

async fn a_fault_of_the_store_leaves_all_or_nothing(backend: Backend) {
    let faults = [Fault::Unavailable, Fault::OutcomeUnknown, Fault::Failed, Fault::LoseAnswer];
    // A reclaim makes two calls, a repeated one up to three, and a proof by its token three.
    for (at, fault) in (0..3).flat_map(|at| faults.map(|fault| (at, fault))) {
        let mailer = Arc::new(MemoryMailer::default());
        let mails = MailQueue::new(Arc::clone(&mailer));
        let next = Arc::new(std::sync::Mutex::default());
        let planned = Arc::clone(&next);
        let wrap = move |store| -> Arc<dyn EventStore> {
            Arc::new(Faulty { next: planned, ..Faulty::new(store) })
        };
        let options = Options { wrap: Box::new(wrap), ..Options::default() };
        let mut proving = with_options(Mode::After, backend, mails, mailer, options).await;
        let plan = || {
            let mut next = next.lock().unwrap();
            next.clear();
            next.extend((0..at).map(|_| None));
            next.push_back(Some(fault));
        };
        let kim = proving.sign_up("kim@x.co").await;
        let sealed = proving.reclaim("kim@x.co").await;
        let code = proving.code("kim@x.co");
        plan();
        let first = proving.confirm(&sealed, &code).await;
        next.lock().unwrap().clear();
        assert!(matches!(first.status, 200 | 500 | 503), "{fault:?} at {at}: {first:?}");
        let is_over = proving.app.credentials.verify_token(&kim.token).await.is_err();
        assert_eq!(proving.app.credentials.verify_api_key(&kim.api_key).await.is_err(), is_over);
        let again = Account::of(&proving.confirm(&sealed, &code).await);
        assert!(proving.is_proven(&again).await);
        proving.is_over(&kim).await;
        proving.app.stores(1).await;

        let jim = proving.sign_up("jim@x.co").await;
        let code = proving.code("jim@x.co");
        plan();
        let first = proving.prove(&jim, &code).await;
        next.lock().unwrap().clear();
        assert!(matches!(first.status, 204 | 500 | 503), "{fault:?} at {at}: {first:?}");
        assert!(first.status != 204 || proving.is_proven(&jim).await);
        assert_eq!(proving.prove(&jim, &code).await.status, 204);
    }
}

async fn a_dropped_reclaim_is_whole(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let (mut polls, mut finished) = (0, false);
    while !finished {
        polls += 1;
        let email = format!("kim{polls}@x.co");
        let kim = proving.sign_up(&email).await;
        let sealed = proving.reclaim(&email).await;
        let code = proving.code(&email);
        let after = proving.app.service.verification().after().unwrap();
        let reclaiming = after.complete_reclaim(&sealed, &code, ANOTHER);
        let dropped = Box::pin(dropped_after(reclaiming, polls)).await;
        finished = dropped.is_some();
        // Whatever was begun and is still under way comes first, or not at all.
        let again = Account::of(&proving.confirm(&sealed, &code).await);
        assert!(proving.is_proven(&again).await);
        proving.is_over(&kim).await;
        proving.app.stores(usize::try_from(polls).unwrap()).await;
        if let Some(done) = dropped {
            assert_eq!(done.unwrap().api_key().reveal(), again.api_key);
        }
    }
}

async fn the_routes_refuse_what_is_malformed(backend: Backend) {
    let mut proving = proving_after(backend).await;
    for path in [VERIFY, RESEND, RECLAIM, CONFIRM] {
        let client = &mut proving.app.client;
        let get = client.request("GET", path, &[], b"").await;
        assert_eq!((get.status, get.header("allow")), (405, Some("POST")), "{path}");
        client.request("POST", path, &[], b"{}").await.is(415, "VALIDATION_ERROR");
        client.request("POST", path, &[JSON], b"{").await.is_malformed();
        let large = vec![b' '; 20_000];
        client.request("POST", path, &[JSON], &large).await.is(413, "VALIDATION_ERROR");
    }
    let incomplete = proving.post(CONFIRM, &json!({"code": 1})).await;
    incomplete.is_invalid(&["ticket", "code", "password"]);
    let wrong = proving.post(VERIFY, &json!({"email": 1, "password": null})).await;
    wrong.is_invalid(&["email", "password", "code"]);
    // The paths of the other mode are not there, nor are these without a mode.
    let answer = proving.app.client.request("POST", "/auth/signup/verify", &[JSON], b"{}").await;
    assert_eq!(answer.status, 404);
    let mut plain = backend.app().await;
    for path in [VERIFY, RESEND, RECLAIM, CONFIRM] {
        assert_eq!(plain.client.request("POST", path, &[JSON], b"{}").await.status, 404, "{path}");
    }
    assert!(plain.service.verification().after().is_none());
}
