//! The life of an account after its sign-up: what each change does, what it ends, and that
//! every check sees it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::support::events_of;
use serde_json::{Value, json};
use signup::account::{AccountId, AccountState, Plan};
use signup::credentials::{CredentialError, Credentials};
use signup::error::SignupError;
use signup::event::Event;
use signup::idempotency::ReplaySecret;
use signup::mail::{Mail, MailKind, MailQueue, MemoryMailer};
use signup::policy::{InvitationOnly, MinimumLength};
use signup::store::conformance::dropped_after;
use signup::store::{AccountFilter, EventStore};
use signup::{AccountCodes, Accounts, SignupRequest};
use tokio::task::JoinSet;

use crate::proving::{Proving, proving_after, with_options};
use crate::support::backend::{Backend, Mode, Options};
use crate::support::client::{PASSWORD, signup};
use crate::support::document::check_event;
use crate::support::faults::{Fault, Faulty};

crate::cases![
    every_check_sees_the_state,
    an_owner_changes_plan_name_and_password,
    a_new_password_meets_the_rules_of_passwords,
    a_forgotten_password_is_reset_by_its_mailbox,
    an_address_is_changed_by_the_new_mailbox,
    a_deletion_can_be_taken_back_until_it_is_due,
    an_erased_account_is_nobodys,
    who_was_banned_does_not_come_back,
    each_change_tells_of_itself,
    a_sign_up_that_is_proven_first_tells_of_itself,
    accounts_are_found_and_listed,
    a_fault_at_any_call_leaves_all_or_nothing,
    a_dropped_change_is_whole,
    simultaneous_changes_end_in_a_documented_state,
];

const ANOTHER: &str = "battery staple";
/// An account that nobody has.
const NOBODY: &str = "acc_00000000000000000000";

type Lives = Accounts;

/// An account with its credentials.
pub(crate) struct Kim {
    pub(crate) id: AccountId,
    token: String,
    pub(crate) api_key: String,
}

/// The parts of an account that are accepted: its password, its token, its API key, and a sign-up with
/// its address.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is accepted or not")]
struct Accepted {
    password: bool,
    token: bool,
    api_key: bool,
    sign_up: bool,
}

impl Proving {
    pub(crate) async fn kim(&mut self, email: &str) -> Kim {
        let data = self.post("/auth/signup", &signup(email)).await.data();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Kim {
            id: AccountId::from_store(text(&data["account"]["id"])),
            token: text(&data["token"]),
            api_key: text(&data["api_key"]),
        }
    }

    fn lives(&self) -> Lives {
        self.app.service.accounts()
    }

    async fn accepted(&self, kim: &Kim, email: &str, password: &str) -> Accepted {
        let credentials = &self.app.credentials;
        let again = self.app.service.signup(SignupRequest::new(email, "somebody else"));
        Accepted {
            password: credentials.verify_password(email, password).await.is_ok(),
            token: credentials.verify_token(&kim.token).await.is_ok(),
            api_key: credentials.verify_api_key(&kim.api_key).await.is_ok(),
            sign_up: again.await.is_ok(),
        }
    }

    async fn state(&self, id: &AccountId) -> AccountState {
        self.lives().get(id).await.unwrap().unwrap().state
    }
}

fn accepted(password: bool, token: bool, api_key: bool) -> Accepted {
    Accepted { password, token, api_key, sign_up: false }
}

#[track_caller]
fn is_not_found<T: std::fmt::Debug>(result: Result<T, CredentialError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, CredentialError::NotFound), "{error:?}");
}

#[track_caller]
fn is_rejected<T: std::fmt::Debug>(result: Result<T, CredentialError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, CredentialError::Rejected), "{error:?}");
}

#[track_caller]
fn is_invalid<T: std::fmt::Debug>(result: Result<T, CredentialError>, field: &str) {
    let Err(CredentialError::Failed(SignupError::Invalid(issues))) = result else {
        panic!("{result:?}");
    };
    assert_eq!(issues[0].path, [field]);
}

async fn every_check_sees_the_state(backend: Backend) {
    const KEY: &str = "Idempotency-Key: 8e03978e-40d5-43dd-bc93-6894a57f9324";
    let mut proving = proving_after(backend).await;
    let body = signup("kim@x.co");
    let first = proving.post_with("/auth/signup", &[KEY], &body).await;
    let data = first.data();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let kim = Kim {
        id: AccountId::from_store(text(&data["account"]["id"])),
        token: text(&data["token"]),
        api_key: text(&data["api_key"]),
    };
    let (lives, credentials) = (proving.lives(), proving.app.credentials.clone());
    let seen = async |at: &Proving| at.accepted(&kim, "kim@x.co", PASSWORD).await;
    assert_eq!(seen(&proving).await, accepted(true, true, true));

    // With a time of grace the owner can come back.
    lives.request_deletion(&kim.id, Duration::from_hours(1)).await.unwrap();
    assert_eq!(seen(&proving).await, accepted(true, true, false));
    drop(credentials.issue_token(&kim.id).await.unwrap());
    proving.post_with("/auth/signup", &[KEY], &body).await.is(409, "CONFLICT");
    lives.cancel_deletion(&kim.id).await.unwrap();
    assert_eq!(seen(&proving).await, accepted(true, true, true));
    // A retry of an account that is as it was is answered again.
    assert_eq!(proving.post_with("/auth/signup", &[KEY], &body).await.data(), data);

    let sealed = proving.post("/auth/email/reclaim", &json!({"email": "kim@x.co"})).await;
    let reclaiming = proving.code("kim@x.co");
    lives.disable(&kim.id).await.unwrap();
    assert_eq!(proving.state(&kim.id).await, AccountState::Disabled);
    assert_eq!(seen(&proving).await, accepted(false, false, false));
    is_rejected(credentials.issue_token(&kim.id).await);
    proving.post_with("/auth/signup", &[KEY], &body).await.is(409, "CONFLICT");
    // Nor does the mailbox bring it back, or a code.
    let ticket = sealed.json()["data"]["ticket"].clone();
    let confirm = json!({"ticket": ticket, "code": reclaiming, "password": ANOTHER});
    proving.post("/auth/email/reclaim/confirm", &confirm).await.is_invalid(&["code"]);
    let resend = json!({"email": "kim@x.co", "password": PASSWORD});
    proving.post("/auth/email/resend", &resend).await.is(401, "AUTHENTICATION_ERROR");
    let mailed = proving.mailer.sent().len();
    proving.post("/auth/email/reclaim", &json!({"email": "kim@x.co"})).await;
    let kinds: Vec<_> = proving.mailer.sent()[mailed..].iter().map(Mail::kind).collect();
    assert!(!kinds.contains(&MailKind::ReclaimCode), "{kinds:?}");
    // The answer to a log-in is that to a wrong password, and costs as much.
    let hashes = proving.app.engine.hashes();
    for (email, password) in
        [("kim@x.co", PASSWORD), ("kim@x.co", ANOTHER), ("nobody@x.co", PASSWORD)]
    {
        is_rejected(credentials.verify_password(email, password).await);
    }
    assert_eq!(proving.app.engine.hashes() - hashes, 3);
    lives.enable(&kim.id).await.unwrap();
    // Its tokens have ended, its API keys have not.
    assert_eq!(seen(&proving).await, accepted(true, false, true));
    proving.app.stores(1).await;
}

async fn an_owner_changes_plan_name_and_password(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let (kim, lives) = (proving.kim("kim@x.co").await, proving.lives());
    lives.set_plan(&kim.id, Plan::PRO).await.unwrap();
    lives.set_name(&kim.id, Some("Kim \u{1f600}")).await.unwrap();
    let account = lives.get(&kim.id).await.unwrap().unwrap().account;
    assert_eq!((account.plan(), account.name()), (&Plan::PRO, Some("Kim \u{1f600}")));
    lives.set_name(&kim.id, None).await.unwrap();
    assert_eq!(lives.get(&kim.id).await.unwrap().unwrap().account.name(), None);
    is_invalid(lives.set_name(&kim.id, Some("a\u{7}")).await, "name");

    // The new password is judged first.
    is_invalid(lives.change_password(&kim.id, ANOTHER, "short").await, "password");
    is_invalid(lives.change_password(&kim.id, ANOTHER, "another one").await, "current_password");
    let unchanged = accepted(true, true, true);
    assert_eq!(proving.accepted(&kim, "kim@x.co", PASSWORD).await, unchanged);
    lives.change_password(&kim.id, PASSWORD, ANOTHER).await.unwrap();
    assert_eq!(proving.accepted(&kim, "kim@x.co", PASSWORD).await, accepted(false, false, true));
    assert_eq!(proving.accepted(&kim, "kim@x.co", ANOTHER).await, accepted(true, false, true));
    let token = proving.app.credentials.issue_token(&kim.id).await.unwrap();
    proving.app.credentials.verify_token(token.reveal()).await.unwrap();
    // API keys end with it where the host wants that.
    let strict = lives.clone().revoking_api_keys();
    let wrong = strict.change_password(&kim.id, PASSWORD, "another one").await;
    is_invalid(wrong, "current_password");
    assert_eq!(proving.accepted(&kim, "kim@x.co", ANOTHER).await, accepted(true, false, true));
    strict.change_password(&kim.id, ANOTHER, PASSWORD).await.unwrap();
    assert_eq!(proving.accepted(&kim, "kim@x.co", PASSWORD).await, accepted(true, false, false));

    let nobody = AccountId::from_store(NOBODY);
    is_not_found(lives.set_plan(&nobody, Plan::PRO).await);
    is_not_found(lives.set_name(&nobody, None).await);
    is_not_found(lives.change_password(&nobody, PASSWORD, ANOTHER).await);
    for result in [lives.disable(&nobody).await, lives.enable(&kim.id).await] {
        is_not_found(result);
    }
    is_not_found(lives.cancel_deletion(&kim.id).await);
    is_not_found(lives.erase(&nobody).await);
}

async fn a_new_password_meets_the_rules_of_passwords(backend: Backend) {
    let mailer = Arc::new(MemoryMailer::default());
    let mails = MailQueue::new(Arc::clone(&mailer));
    let invitation = InvitationOnly::new(async |code| Ok(code == "friends"));
    let policies: Vec<Arc<dyn signup::policy::SignupPolicy>> =
        vec![Arc::new(MinimumLength(12)), Arc::new(invitation)];
    let options = Options { policies, ..Options::default() };
    let mut proving = with_options(Mode::After, backend, mails, mailer, options).await;
    let body = json!({"email": "kim@x.co", "password": PASSWORD, "invite_code": "friends"});
    let data = proving.post("/auth/signup", &body).await.data();
    let id = AccountId::from_store(data["account"]["id"].as_str().unwrap());
    let lives = proving.lives();
    let codes = proving.app.service.account_codes().unwrap();
    is_invalid(lives.change_password(&id, PASSWORD, "12345678901").await, "password");
    let pending = codes.begin_password_reset("kim@x.co", None).await.unwrap();
    proving.mails.drained().await;
    let code = proving.code("kim@x.co");
    let reset = codes.complete_password_reset(pending.reveal_ticket(), &code, "12345678901");
    is_invalid(reset.await, "password");
    lives.change_password(&id, PASSWORD, ANOTHER).await.unwrap();
}

async fn a_forgotten_password_is_reset_by_its_mailbox(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let (kim, lives) = (proving.kim("Kim@x.co").await, proving.lives());
    let codes = proving.app.service.account_codes().unwrap();
    let code = proving.code("Kim@x.co");
    proving.app.service.verification().after().unwrap().verify(&kim.id, &code).await.unwrap();
    let mailed = proving.mailer.sent().len();
    let mut lengths = HashSet::new();
    for email in ["KIM@x.co", "nobody@x.co"] {
        let pending = codes.begin_password_reset(email, None).await.unwrap();
        lengths.insert(pending.reveal_ticket().len());
        if email == "nobody@x.co" {
            let guess = codes.complete_password_reset(pending.reveal_ticket(), "00000000", ANOTHER);
            is_invalid(guess.await, "code");
        }
    }
    assert_eq!(lengths.len(), 1);
    proving.mails.drained().await;
    let sent = proving.mailer.sent();
    let kinds: Vec<_> =
        sent[mailed..].iter().map(|mail| (mail.kind(), mail.to().as_str())).collect();
    assert_eq!(kinds, [(MailKind::ResetCode, "Kim@x.co")]);
    is_invalid(codes.begin_password_reset("no address", None).await, "email");

    // An operator begins it, and the owner ends it. A later one ends the earlier one.
    let first = codes.begin_password_reset("kim@x.co", None).await.unwrap();
    proving.mails.drained().await;
    let first_code = proving.code("Kim@x.co");
    proving.clock.advance(Duration::from_mins(59));
    let pending = codes.begin_password_reset_of(&kim.id).await.unwrap();
    proving.mails.drained().await;
    let code = proving.code("Kim@x.co");
    let complete = async |ticket: &signup::verification::PendingVerification, code: &str| {
        codes.complete_password_reset(ticket.reveal_ticket(), code, ANOTHER).await
    };
    is_invalid(complete(&pending, &first_code).await, "code");
    complete(&pending, &code).await.unwrap();
    assert_eq!(proving.accepted(&kim, "kim@x.co", PASSWORD).await, accepted(false, false, true));
    assert_eq!(proving.accepted(&kim, "kim@x.co", ANOTHER).await, accepted(true, false, true));
    // Its answer was lost. With another password it is another reset.
    complete(&pending, &code).await.unwrap();
    let token = proving.app.credentials.issue_token(&kim.id).await.unwrap();
    complete(&pending, &code).await.unwrap();
    proving.app.credentials.verify_token(token.reveal()).await.unwrap();
    let late = async |ticket: &signup::verification::PendingVerification, code: &str| {
        codes.complete_password_reset(ticket.reveal_ticket(), code, "yet another one").await
    };
    is_invalid(late(&pending, &code).await, "code");
    is_invalid(late(&first, &first_code).await, "code");
    assert_eq!(proving.accepted(&kim, "kim@x.co", ANOTHER).await, accepted(true, false, true));
    // Since then the account has ended its tokens: that is no answer to this reset.
    proving.app.credentials.revoke_tokens(&kim.id).await.unwrap();
    is_invalid(complete(&pending, &code).await, "code");

    // Who has the mailbox of an address that was never proven is not who has the API key.
    let jim = proving.kim("jim@x.co").await;
    lives.set_name(&jim.id, Some("Trojan")).await.unwrap();
    let pending = codes.begin_password_reset("jim@x.co", None).await.unwrap();
    proving.mails.drained().await;
    complete(&pending, &proving.code("jim@x.co")).await.unwrap();
    assert_eq!(proving.accepted(&jim, "jim@x.co", ANOTHER).await, accepted(true, false, false));
    let record = lives.get(&jim.id).await.unwrap().unwrap();
    assert!(record.email_verified_at.is_some());
    assert_eq!(record.account.name(), Some("Trojan"), "a reset is no takeover");

    // A ticket does not outlive the account.
    proving.clock.advance(Duration::from_hours(1));
    let pending = codes.begin_password_reset("jim@x.co", None).await.unwrap();
    proving.mails.drained().await;
    let code = proving.code("jim@x.co");
    lives.disable(&jim.id).await.unwrap();
    is_invalid(late(&pending, &code).await, "code");
    lives.enable(&jim.id).await.unwrap();
    is_invalid(late(&pending, &code).await, "code");
    is_not_found(codes.begin_password_reset_of(&AccountId::from_store(NOBODY)).await);
}

async fn an_address_is_changed_by_the_new_mailbox(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let (kim, jim) = (proving.kim("kim@x.co").await, proving.kim("jim@x.co").await);
    let lives = proving.lives();
    let codes = proving.app.service.account_codes().unwrap();
    let pending = codes.begin_email_change(&kim.id, "Moved@x.co", None).await.unwrap();
    let taken = codes.begin_email_change(&kim.id, "JIM@x.co", None).await.unwrap();
    assert_eq!(pending.reveal_ticket().len(), taken.reveal_ticket().len());
    proving.mails.drained().await;
    let kinds: Vec<_> = proving.kinds()[2..].to_vec();
    assert_eq!(kinds.iter().collect::<HashSet<_>>().len(), 2, "{kinds:?}");
    let code = proving.code("Moved@x.co");
    let complete = async |id: &AccountId, ticket: &signup::verification::PendingVerification| {
        codes.complete_email_change(id, ticket.reveal_ticket(), &code).await
    };
    is_invalid(complete(&jim.id, &pending).await, "code");
    is_invalid(complete(&kim.id, &taken).await, "code");
    assert_eq!(proving.accepted(&kim, "kim@x.co", PASSWORD).await, accepted(true, true, true));
    complete(&kim.id, &pending).await.unwrap();
    proving.mails.drained().await;
    let last = proving.mailer.sent().pop().unwrap();
    assert_eq!((last.kind(), last.to().as_str()), (MailKind::EmailChanged, "kim@x.co"));
    assert_eq!(proving.accepted(&kim, "moved@x.co", PASSWORD).await, accepted(true, false, true));
    let record = lives.get(&kim.id).await.unwrap().unwrap();
    assert_eq!(record.account.email().as_str(), "Moved@x.co");
    assert!(record.email_verified_at.is_some());
    // Its answer may have been lost.
    complete(&kim.id, &pending).await.unwrap();
    // The old address is free, and somebody takes it; back to it leads no way.
    let other = proving.kim("kim@x.co").await;
    assert_ne!(other.id, kim.id);

    // Somebody else is faster.
    let pending = codes.begin_email_change(&kim.id, "ann@x.co", None).await.unwrap();
    proving.mails.drained().await;
    let code = proving.code("ann@x.co");
    proving.kim("Ann@X.co").await;
    let late = codes.complete_email_change(&kim.id, pending.reveal_ticket(), &code).await;
    assert!(matches!(late, Err(CredentialError::Failed(SignupError::EmailTaken))), "{late:?}");
    // Whoever has changed the password meanwhile has ended it.
    let pending = codes.begin_email_change(&kim.id, "joe@x.co", None).await.unwrap();
    proving.mails.drained().await;
    let code = proving.code("joe@x.co");
    lives.change_password(&kim.id, PASSWORD, ANOTHER).await.unwrap();
    let late = codes.complete_email_change(&kim.id, pending.reveal_ticket(), &code).await;
    is_invalid(late, "code");
    is_invalid(codes.begin_email_change(&kim.id, "no address", None).await, "email");
    proving.app.stores(4).await;
}

async fn a_deletion_can_be_taken_back_until_it_is_due(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let (kim, jim) = (proving.kim("kim@x.co").await, proving.kim("jim@x.co").await);
    let (lives, day) = (proving.lives(), Duration::from_hours(24));
    let due = lives.request_deletion(&kim.id, day).await.unwrap();
    assert_eq!(lives.get(&kim.id).await.unwrap().unwrap().delete_at, Some(due));
    lives.request_deletion(&jim.id, day).await.unwrap();
    assert_eq!(lives.erase_due().await.unwrap().erased, 0);
    proving.clock.advance(Duration::from_hours(24).saturating_sub(Duration::from_millis(1)));
    assert_eq!(lives.erase_due().await.unwrap().erased, 0);
    lives.cancel_deletion(&jim.id).await.unwrap();
    proving.clock.advance(Duration::from_millis(1));
    assert_eq!(lives.erase_due().await.unwrap().erased, 1);
    assert_eq!(lives.erase_due().await.unwrap().erased, 0);
    assert_eq!(proving.state(&kim.id).await, AccountState::Erased);
    assert_eq!(proving.state(&jim.id).await, AccountState::Active);
    is_not_found(lives.cancel_deletion(&kim.id).await);
    is_not_found(lives.request_deletion(&kim.id, day).await);
}

async fn an_erased_account_is_nobodys(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let body = json!({"email": "Kim.Secret@x.co", "password": PASSWORD, "name": "Kim Secret"});
    let data = proving.post("/auth/signup", &body).await.data();
    let id = AccountId::from_store(data["account"]["id"].as_str().unwrap());
    let kim = Kim {
        id: id.clone(),
        token: data["token"].as_str().unwrap().to_owned(),
        api_key: data["api_key"].as_str().unwrap().to_owned(),
    };
    let lives = proving.lives();
    for _ in 0..2 {
        lives.erase(&id).await.unwrap();
    }
    let record = lives.get(&id).await.unwrap().unwrap();
    assert_eq!(record.state, AccountState::Erased);
    assert_eq!(record.account.email().as_str(), format!("{id}@erased.invalid"));
    assert!(lives.by_email("kim.secret@x.co").await.unwrap().is_none());
    assert!(lives.by_email(&format!("{id}@erased.invalid")).await.unwrap().is_none());
    is_not_found(lives.set_plan(&id, Plan::PRO).await);
    is_not_found(lives.disable(&id).await);
    is_not_found(lives.enable(&id).await);
    is_rejected(proving.app.credentials.issue_token(&id).await);
    let email = "kim.secret@x.co";
    let left = proving.accepted(&kim, email, PASSWORD).await;
    assert_eq!(left, Accepted { sign_up: true, ..accepted(false, false, false) });
    // Somebody else has the address now, and nothing of the first one's.
    assert!(proving.app.credentials.verify_password(email, PASSWORD).await.is_err());
    assert_ne!(lives.by_email(email).await.unwrap().unwrap().account.id(), &id);
}

async fn who_was_banned_does_not_come_back(backend: Backend) {
    const KEY: &str = "Idempotency-Key: 8e03978e-40d5-43dd-bc93-6894a57f9324";
    for mode in [Mode::After, Mode::First] {
        let mailer = Arc::new(MemoryMailer::default());
        let mails = MailQueue::new(Arc::clone(&mailer));
        let bans = Some(ReplaySecret::new(&[5; 32]).unwrap());
        let options = Options { bans, ..Options::default() };
        let mut proving = with_options(mode, backend, mails, mailer, options).await;
        let lives = proving.lives();
        let codes = proving.app.service.account_codes().unwrap();
        let mut ids = Vec::new();
        for email in ["kim@x.co", "jim@x.co"] {
            let id = if mode == Mode::After {
                proving.kim(email).await.id
            } else {
                let data = proving.register(email).await.data();
                AccountId::from_store(data["account"]["id"].as_str().unwrap())
            };
            ids.push(id);
        }
        // A sign-up that is on its way when the ban comes.
        let pending = if mode == Mode::First {
            proving.app.store.delete("jim@x.co").await;
            let ticket = proving.begin("jim@x.co").await;
            let code = proving.code("jim@x.co");
            let again = proving.begin("Jim@x.co").await;
            let done = proving.verify(&again, &proving.code("Jim@x.co")).await.data();
            ids[1] = AccountId::from_store(done["account"]["id"].as_str().unwrap());
            Some((ticket, code))
        } else {
            None
        };
        for id in &ids {
            lives.bans().unwrap().erase_and_ban(id).await.unwrap();
            is_not_found(lives.bans().unwrap().erase_and_ban(id).await);
            assert_eq!(proving.state(id).await, AccountState::Erased);
        }
        if let Some((ticket, code)) = pending {
            proving.verify(&ticket, &code).await.is(409, "CONFLICT");
        }
        let rows = format!("{:?}", proving.app.store.account_rows().await).to_lowercase();
        assert!(rows.contains("banned:") && !rows.contains("@x.co"), "{rows}");
        proving.clock.advance(Duration::from_hours(1));
        for email in ["KIM@x.co", "jim@x.co"] {
            if mode == Mode::After {
                let body = signup(email);
                proving.post("/auth/signup", &body).await.is(409, "CONFLICT");
                proving.post_with("/auth/signup", &[KEY], &body).await.is(409, "CONFLICT");
            } else {
                let earlier = proving.kinds().len();
                proving.begin(email).await;
                assert_eq!(proving.kinds()[earlier..], [MailKind::AccountExists]);
            }
        }
        assert!(lives.bans().unwrap().unban("Kim@X.co").await.unwrap());
        assert!(!lives.bans().unwrap().unban("kim@x.co").await.unwrap());
        is_invalid(lives.bans().unwrap().unban("no address").await, "email");
        if mode == Mode::After {
            let again = proving.kim("kim@x.co").await;
            // Banned twice, under one tag.
            lives.bans().unwrap().erase_and_ban(&again.id).await.unwrap();
            assert!(lives.bans().unwrap().unban("kim@x.co").await.unwrap());
            let again = proving.kim("kim@x.co").await;
            assert_eq!(proving.state(&again.id).await, AccountState::Active);
            let moved = codes.begin_email_change(&again.id, "jim@x.co", None).await.unwrap();
            proving.mails.drained().await;
            assert_eq!(proving.kinds().last(), Some(&MailKind::AccountExists));
            drop(moved);
        }
    }
    let mut plain = proving_after(backend).await;
    let kim = plain.kim("kim@x.co").await;
    assert!(plain.lives().bans().is_none());
    assert_eq!(plain.state(&kim.id).await, AccountState::Active);
}

impl Proving {
    /// Returns what has happened to an account, as JSON without ids and times.
    pub(crate) async fn told(&self, id: &AccountId) -> Vec<Value> {
        let events = events_of(&self.app.store, id, 100).await.unwrap();
        let numbers: Vec<_> = events.iter().map(Event::number).collect();
        assert_eq!(numbers, (1..=events.len().try_into().unwrap()).collect::<Vec<i64>>());
        let ids: HashSet<_> = events.iter().map(Event::id).collect();
        assert_eq!(ids.len(), events.len());
        let told = |event: &Event| {
            let json = event.to_json();
            assert!(!json.to_string().contains("x.co") && !json.to_string().contains("Kim"));
            check_event(&json);
            assert_eq!((&json["account_id"], &json["version"]), (&json!(id.as_str()), &json!(1)));
            json!([json["type"], json["data"]])
        };
        events.iter().map(told).collect()
    }
}

pub(crate) async fn with_events(mode: Mode, backend: Backend) -> Proving {
    let mailer = Arc::new(MemoryMailer::default());
    let mails = MailQueue::new(Arc::clone(&mailer));
    let options = Options { events: true, ..Options::default() };
    with_options(mode, backend, mails, mailer, options).await
}

async fn each_change_tells_of_itself(backend: Backend) {
    let mut proving = with_events(Mode::After, backend).await;
    let (kim, lives) = (proving.kim("kim@x.co").await, proving.lives());
    let codes = proving.app.service.account_codes().unwrap();
    let service = proving.app.service.clone();
    service
        .verification()
        .after()
        .unwrap()
        .verify(&kim.id, &proving.code("kim@x.co"))
        .await
        .unwrap();
    // What changes nothing, or is refused, tells nothing.
    service
        .verification()
        .after()
        .unwrap()
        .verify(&kim.id, &proving.code("kim@x.co"))
        .await
        .unwrap();
    is_invalid(lives.change_password(&kim.id, ANOTHER, ANOTHER).await, "current_password");
    is_not_found(lives.enable(&kim.id).await);
    lives.set_plan(&kim.id, Plan::PRO).await.unwrap();
    lives.set_name(&kim.id, Some("Kim")).await.unwrap();
    lives.change_password(&kim.id, PASSWORD, ANOTHER).await.unwrap();
    let reset = codes.begin_password_reset("kim@x.co", None).await.unwrap();
    proving.mails.drained().await;
    let code = proving.code("kim@x.co");
    codes.complete_password_reset(reset.reveal_ticket(), &code, PASSWORD).await.unwrap();
    let moving = codes.begin_email_change(&kim.id, "moved@x.co", None).await.unwrap();
    proving.mails.drained().await;
    let code = proving.code("moved@x.co");
    codes.complete_email_change(&kim.id, moving.reveal_ticket(), &code).await.unwrap();
    lives.disable(&kim.id).await.unwrap();
    lives.enable(&kim.id).await.unwrap();
    let due = lives.request_deletion(&kim.id, Duration::from_hours(1)).await.unwrap();
    lives.cancel_deletion(&kim.id).await.unwrap();
    let expected = json!([
        ["account.created", {"plan": "trial", "verified": false}],
        ["account.verified", {}],
        ["account.plan_changed", {"plan": "pro"}],
        ["account.updated", {"changed": ["name"]}],
        ["account.password_changed", {"reset": false, "api_keys_ended": 0, "api_keys_kept": 1}],
        ["account.password_changed", {"reset": true, "address_was": "verified", "api_keys_ended": 0, "api_keys_kept": 1}],
        ["account.updated", {"changed": ["email"]}],
        ["account.disabled", {}],
        ["account.enabled", {}],
        ["account.deletion_requested", {"delete_at": due.as_millis()}],
        ["account.updated", {"changed": ["state"]}],
    ]);
    assert_eq!(json!(proving.told(&kim.id).await), expected);
    for _ in 0..2 {
        lives.erase(&kim.id).await.unwrap();
    }
    // The events of an erased account stay, without what they told.
    let mut told = proving.told(&kim.id).await;
    assert_eq!(told.pop(), Some(json!(["account.erased", {"banned": false}])));
    let kinds = expected.as_array().unwrap().iter().map(|told| json!([told[0], {}]));
    assert_eq!(told, kinds.collect::<Vec<_>>());

    let jim = proving.kim("jim@x.co").await;
    let pending =
        service.verification().after().unwrap().begin_reclaim("jim@x.co", None).await.unwrap();
    proving.mails.drained().await;
    let code = proving.code("jim@x.co");
    for _ in 0..2 {
        service
            .verification()
            .after()
            .unwrap()
            .complete_reclaim(pending.reveal_ticket(), &code, ANOTHER)
            .await
            .unwrap();
    }
    let told = json!(proving.told(&jim.id).await);
    let created = json!(["account.created", {"plan": "trial", "verified": false}]);
    assert_eq!(told, json!([created, ["account.reclaimed", {}]]));
    // A sign-up that is refused, and one without the setting.
    proving.post("/auth/signup", &signup("jim@x.co")).await.is(409, "CONFLICT");
    assert_eq!(proving.told(&jim.id).await.len(), 2);
    let mut silent = proving_after(backend).await;
    let kim = silent.kim("kim@x.co").await;
    silent.lives().disable(&kim.id).await.unwrap();
    assert_eq!(silent.told(&kim.id).await, [""; 0]);
}

async fn a_sign_up_that_is_proven_first_tells_of_itself(backend: Backend) {
    let mut proving = with_events(Mode::First, backend).await;
    let data = proving.register("kim@x.co").await.data();
    let id = AccountId::from_store(data["account"]["id"].as_str().unwrap());
    let created = json!(["account.created", {"plan": "trial", "verified": true}]);
    assert_eq!(proving.told(&id).await, [created]);
}

async fn accounts_are_found_and_listed(backend: Backend) {
    let mut proving = proving_after(backend).await;
    let lives = proving.lives();
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(proving.kim(&format!("u{number}@x.co")).await.id);
        proving.clock.advance(Duration::from_secs(1));
    }
    lives.disable(&ids[1]).await.unwrap();
    lives.set_plan(&ids[2], Plan::SCALE).await.unwrap();
    let listed = async |filter: AccountFilter| -> Vec<AccountId> {
        let page = lives.list(&filter).await.unwrap();
        page.accounts.into_iter().map(|record| record.account.id().clone()).collect()
    };
    assert_eq!(listed(AccountFilter::new(10)).await, ids);
    assert_eq!(listed(AccountFilter::new(2)).await, ids[..2]);
    let second = lives.get(&ids[1]).await.unwrap().unwrap();
    let next = lives.list(&AccountFilter::new(2)).await.unwrap().next.unwrap();
    let next = next.to_string().parse().unwrap();
    assert_eq!(listed(AccountFilter::new(2).after(next)).await, ids[2..4]);
    assert_eq!(listed(AccountFilter::new(9).state(AccountState::Disabled)).await, ids[1..2]);
    assert_eq!(listed(AccountFilter::new(9).plan(Plan::SCALE)).await, ids[2..3]);
    let from = AccountFilter::new(9).created_from(second.created_at);
    assert_eq!(listed(from).await, ids[1..]);
    let found = lives.by_email("U3@X.co").await.unwrap().unwrap();
    assert_eq!(found.account.id(), &ids[3]);
    assert!(lives.by_email("nobody@x.co").await.unwrap().is_none());
    assert!(lives.by_email("no address").await.unwrap().is_none());
}

/// A change of an account, with what has to be done before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Password,
    Disable,
    Enable,
    RequestDeletion,
    Keep,
    Erase,
    Ban,
    Plan,
    Name,
    Reset,
    Move,
}

const CHANGES: [Change; 11] = [
    Change::Password,
    Change::Disable,
    Change::Enable,
    Change::RequestDeletion,
    Change::Keep,
    Change::Erase,
    Change::Ban,
    Change::Plan,
    Change::Name,
    Change::Reset,
    Change::Move,
];

/// The ticket and the code that a change needs, if it needs any.
type Proof = Option<(String, String)>;

impl Change {
    /// Does what has to be done before.
    async fn prepare(self, proving: &Proving, id: &AccountId, email: &str) -> Proof {
        let lives = proving.lives();
        let codes = proving.app.service.account_codes().unwrap();
        let (pending, to) = match self {
            Self::Enable => {
                lives.disable(id).await.unwrap();
                return None;
            }
            Self::Keep => {
                lives.request_deletion(id, Duration::from_hours(1)).await.unwrap();
                return None;
            }
            Self::Reset => (codes.begin_password_reset(email, None).await, email.to_owned()),
            Self::Move => {
                let to = format!("new.{email}");
                (codes.begin_email_change(id, &to, None).await, to)
            }
            _ => return None,
        };
        proving.mails.drained().await;
        Some((pending.unwrap().reveal_ticket().to_owned(), proving.code(&to)))
    }

    /// Does the change.
    async fn run(
        self,
        (lives, codes): (&Lives, &AccountCodes),
        id: &AccountId,
        proof: &Proof,
    ) -> Result<(), CredentialError> {
        let (ticket, code) = proof.as_ref().map_or(("", ""), |(ticket, code)| (ticket, code));
        match self {
            Self::Password => lives.change_password(id, PASSWORD, ANOTHER).await.map(drop),
            Self::Disable => lives.disable(id).await,
            Self::Enable => lives.enable(id).await,
            Self::RequestDeletion => {
                lives.request_deletion(id, Duration::from_hours(1)).await.map(drop)
            }
            Self::Keep => lives.cancel_deletion(id).await,
            Self::Erase => lives.erase(id).await,
            Self::Ban => lives.bans().unwrap().erase_and_ban(id).await,
            Self::Plan => lives.set_plan(id, Plan::PRO).await,
            Self::Name => lives.set_name(id, Some("Kim")).await,
            Self::Reset => codes.complete_password_reset(ticket, code, ANOTHER).await.map(drop),
            Self::Move => codes.complete_email_change(id, ticket, code).await.map(drop),
        }
    }

    /// Returns what is seen before the change, and after it.
    fn states(self) -> [Seen; 2] {
        use AccountState::{Active, Disabled, Erased, PendingDeletion};
        let fresh = Seen { state: Active, accepted: [true; 3], has: [false; 3] };
        let accepting = |token, api_key, old| Seen { accepted: [token, api_key, old], ..fresh };
        let having = |plan, name, proof| Seen { has: [plan, name, proof], ..fresh };
        let gone = |state| Seen { state, ..accepting(false, false, false) };
        let pending = Seen { state: PendingDeletion, ..accepting(true, false, true) };
        match self {
            Self::Password => [fresh, accepting(false, true, false)],
            Self::Disable => [fresh, gone(Disabled)],
            Self::Enable => [gone(Disabled), accepting(false, true, true)],
            Self::RequestDeletion => [fresh, pending],
            Self::Keep => [pending, fresh],
            Self::Erase | Self::Ban => [fresh, gone(Erased)],
            Self::Plan => [fresh, having(true, false, false)],
            Self::Name => [fresh, having(false, true, false)],
            // Nobody had proven the address.
            Self::Reset => {
                [fresh, Seen { has: [false, false, true], ..accepting(false, false, false) }]
            }
            // The old address is nobody's.
            Self::Move => {
                [fresh, Seen { has: [false, false, true], ..accepting(false, true, false) }]
            }
        }
    }

    /// Returns the number of events before it.
    fn told_before(self) -> usize {
        if matches!(self, Self::Enable | Self::Keep) { 2 } else { 1 }
    }

    /// Returns whether the change has happened whole; `None` if it is torn.
    async fn is_whole(self, at: &Proving, kim: &Kim, email: &str) -> Option<bool> {
        let [before, after] = self.states();
        match Seen::of(at, kim, email).await {
            seen if seen == after => Some(true),
            seen if seen == before => Some(false),
            _ => None,
        }
    }
}

/// The parts of an account that a change may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    state: AccountState,
    /// Its first token, its API key, and its first password at its first address.
    accepted: [bool; 3],
    /// Another plan, a name, and a proven address.
    has: [bool; 3],
}

impl Seen {
    async fn of(at: &Proving, kim: &Kim, email: &str) -> Self {
        let record = at.lives().get(&kim.id).await.unwrap().unwrap();
        let credentials: &Credentials = &at.app.credentials;
        let token = credentials.verify_token(&kim.token).await.is_ok();
        let api_key = credentials.verify_api_key(&kim.api_key).await.is_ok();
        let old = credentials.verify_password(email, PASSWORD).await.is_ok();
        let account = &record.account;
        let (is_pro, is_named) = (account.plan() == &Plan::PRO, account.name().is_some());
        let has = [is_pro, is_named, record.email_verified_at.is_some()];
        Self { state: record.state, accepted: [token, api_key, old], has }
    }
}

/// The settings of accounts that can be banned, whose events are stored.
fn told_and_banned() -> Options {
    let bans = Some(ReplaySecret::new(&[5; 32]).unwrap());
    Options { bans, events: true, ..Options::default() }
}

async fn a_fault_at_any_call_leaves_all_or_nothing(backend: Backend) {
    let mailer = Arc::new(MemoryMailer::default());
    let mails = MailQueue::new(Arc::clone(&mailer));
    let next = Arc::new(std::sync::Mutex::default());
    let planned = Arc::clone(&next);
    let wrap = move |store| -> Arc<dyn EventStore> {
        Arc::new(Faulty { next: planned, ..Faulty::new(store) })
    };
    let options = Options { wrap: Box::new(wrap), ..told_and_banned() };
    let mut proving = with_options(Mode::After, backend, mails, mailer, options).await;
    let lives = proving.lives();
    let codes = proving.app.service.account_codes().unwrap();
    let faults = [Fault::Unavailable, Fault::OutcomeUnknown, Fault::Failed, Fault::LoseAnswer];
    for (at, fault) in (0..3).flat_map(|at| faults.map(|fault| (at, fault))) {
        for change in CHANGES {
            let what = format!("{change:?}.{at}.{fault:?}");
            let email = format!("{what}@x.co");
            let kim = proving.kim(&email).await;
            let proof = change.prepare(&proving, &kim.id, &email).await;
            next.lock().unwrap().extend((0..at).map(|_| None).chain([Some(fault)]));
            let changed = change.run((&lives, &codes), &kim.id, &proof).await;
            next.lock().unwrap().clear();
            let whole = change.is_whole(&proving, &kim, &email).await;
            let whole = whole.unwrap_or_else(|| panic!("{what} is torn"));
            assert!(changed.is_err() || whole, "{what} has got lost");
            let told = proving.told(&kim.id).await.len();
            assert_eq!(told, change.told_before() + usize::from(whole), "{what}");
            let is_known = matches!(fault, Fault::Unavailable | Fault::Failed);
            assert!(changed.is_ok() || !is_known || !whole, "{what}");
        }
    }
}

async fn a_dropped_change_is_whole(backend: Backend) {
    let mailer = Arc::new(MemoryMailer::default());
    let mails = MailQueue::new(Arc::clone(&mailer));
    let mut proving = with_options(Mode::After, backend, mails, mailer, told_and_banned()).await;
    let lives = proving.lives();
    let codes = proving.app.service.account_codes().unwrap();
    for change in CHANGES {
        let (mut polls, mut finished) = (0, false);
        while !finished {
            polls += 1;
            let email = format!("{change:?}.{polls}@x.co");
            let kim = proving.kim(&email).await;
            let proof = change.prepare(&proving, &kim.id, &email).await;
            let changing = change.run((&lives, &codes), &kim.id, &proof);
            finished = Box::pin(dropped_after(changing, polls)).await.is_some();
            // What is still under way may end between two of the reads. What is torn stays so.
            let mut looks = 0;
            loop {
                let whole = change.is_whole(&proving, &kim, &email).await;
                let told = proving.told(&kim.id).await.len() - change.told_before();
                if whole == Some(told == 1) && (told == 1 || !finished) {
                    break;
                }
                looks += 1;
                assert!(looks < 100, "{change:?} is torn at poll {polls}");
            }
        }
    }
}

async fn simultaneous_changes_end_in_a_documented_state(backend: Backend) {
    let mut proving = proving_after(backend).await;
    for (round, size) in [1000].into_iter().chain([100; 9]).enumerate() {
        let email = format!("kim{round}@x.co");
        let kim = proving.kim(&email).await;
        let mut crowd = JoinSet::new();
        for number in 0..size {
            let (lives, credentials) = (proving.lives(), proving.app.service.credentials());
            let (id, email) = (kim.id.clone(), email.clone());
            crowd.spawn(async move {
                match number % 4 {
                    0 => return lives.change_password(&id, PASSWORD, ANOTHER).await.is_ok(),
                    1 => drop(credentials.verify_password(&email, PASSWORD).await),
                    2 => drop(credentials.issue_token(&id).await),
                    _ if number == 3 => lives.erase(&id).await.unwrap(),
                    _ => drop(lives.set_name(&id, Some("Kim")).await),
                }
                false
            });
        }
        let changed = crowd.join_all().await.into_iter().filter(|changed| *changed).count();
        assert!(changed <= 1, "the old password was good {changed} times");
        let record = proving.lives().get(&kim.id).await.unwrap().unwrap();
        assert_eq!((record.state, record.account.name()), (AccountState::Erased, None));
        let left = proving.accepted(&kim, &email, ANOTHER).await;
        assert_eq!(left, Accepted { sign_up: true, ..accepted(false, false, false) });
    }
}
