//! A run: steps are carried out in a world, and after each of them the promises are checked
//! against the model.

use std::cell::{Cell, RefCell, RefMut};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, UNIX_EPOCH};

use crate::support::events_of;
use serde_json::json;
use signup::account::{AccountId, AccountState};
use signup::clock::{Clock as _, Timestamp};
use signup::http::{
    CONFIRM_RECLAIM_PATH, PATH, RECLAIM_PATH, RESEND_EMAIL_CODE_PATH, VERIFY_EMAIL_PATH,
    VERIFY_PATH,
};
use signup::mail::MailKind;

use super::model::{Account, Issued, Model, Pending, Promise, Purpose, Standing};
use super::steps::{SETTLED, Step, What};
use super::world::{BLOCKED, BoxFuture, INVITATION, Mode, Plant, Refusal, Response};
use super::world::{Running, TOKEN_LIFETIME, Trouble, World};
use crate::support::faults::Fault;

const ADDRESSES: [&str; 3] = ["ada@example.com", "bob@example.com", "eve@example.com"];
const MODES: [Mode; 3] = [Mode::Neither, Mode::First, Mode::After];
const DAY: Duration = Duration::from_hours(24);
/// The clients of the owners. Strangers have larger numbers.
const OWNERS: u64 = 1;
const STRANGERS: u64 = 1000;
/// The guesses that I1 allows in a day: for callers who have nothing, with a token, and with a
/// retry tag.
const GUESSES: usize = 55;
const GUESSES_WITH_TOKEN: usize = 45;
const GUESSES_WITH_TAG: usize = 10;
const WRONG_CODE: &str = "00000000";

/// A world with its model, while its steps are carried out.
pub struct Run {
    world: World,
    running: RefCell<Rc<Running>>,
    model: RefCell<Model>,
    /// The failed log-ins of a flood.
    flood: u64,
    /// Whether the store fails during the current step.
    store_fails: Cell<bool>,
}

impl Run {
    pub fn new(world: World, mode: Mode, flood: u64) -> Self {
        let running = RefCell::new(Rc::new(world.start(mode)));
        Self { world, running, model: RefCell::default(), flood, store_fails: Cell::new(false) }
    }

    /// Carries the steps out, and returns the promises that were found broken.
    pub async fn carry_out(self, steps: &[Step]) -> Vec<(Promise, String)> {
        self.check_settings();
        for step in steps {
            let ended = match step.meets {
                None => self.world.drive(self.perform(step.what, step.a, step.b)).await.is_some(),
                Some(meeting) => self.race(*step, meeting).await,
            };
            if !ended {
                self.report(Promise::EveryWaitEnds, format!("{step:?}"));
            }
            self.world.drive(self.check()).await;
        }
        self.quiet_phase().await;
        self.model.into_inner().broken
    }

    /// Begins a step, carries another one out while the first one waits, and lets the first
    /// one go on, or its caller leave.
    async fn race(&self, step: Step, (other, pause, leaves): (What, u8, bool)) -> bool {
        self.model().is_racing = true;
        let ended = {
            let mut first = pin!(self.perform(step.what, step.a, step.b));
            let mut is_done = false;
            for _ in 0..pause {
                is_done = matches!(super::world::poll(first.as_mut()).await, Poll::Ready(()));
                if is_done {
                    break;
                }
                self.world.turn().await;
            }
            let second = self.world.drive(self.perform(other, step.a, step.b)).await;
            let goes_on = !is_done && !leaves;
            second.is_some() && (!goes_on || self.world.drive(first).await.is_some())
        };
        // What was begun without its caller is done by now.
        self.world.deliver_mails().await;
        self.world.drive(self.look_again(step.what)).await;
        self.model().is_racing = false;
        ended
    }

    fn perform(&self, what: What, a: u32, b: u32) -> BoxFuture<'_, ()> {
        match what {
            What::SignUp => Box::pin(self.sign_up(a, b)),
            What::Verify => Box::pin(self.verify(a)),
            What::VerifyEmail => Box::pin(self.verify_email(a)),
            What::LogIn => Box::pin(self.log_in(a, b)),
            What::IssueToken => Box::pin(self.issue_token(a)),
            What::ChangePassword => Box::pin(self.change_password(a)),
            What::SetName => Box::pin(self.set_name(a)),
            What::RevokeTokens => Box::pin(self.revoke_tokens(a)),
            What::BeginReset => Box::pin(self.begin_reset(a)),
            What::CompleteReset => Box::pin(self.complete_reset(a)),
            What::BeginChange => Box::pin(self.begin_change(a, b)),
            What::CompleteChange => Box::pin(self.complete_change(a)),
            What::BeginReclaim => Box::pin(self.begin_reclaim(a)),
            What::CompleteReclaim => Box::pin(self.complete_reclaim(a)),
            What::RequestDeletion => Box::pin(self.request_deletion(a, b)),
            What::CancelDeletion => Box::pin(self.cancel_deletion(a)),
            What::Disable => Box::pin(self.disable(a)),
            What::Enable => Box::pin(self.enable(a)),
            What::Erase => Box::pin(self.erase(a, b)),
            What::EraseDue => Box::pin(self.erase_due()),
            What::Relay => Box::pin(self.relay()),
            What::ClockAhead => Box::pin(self.clock_ahead()),
            What::ClockBeforeEpoch => Box::pin(self.clock_before_epoch(a)),
            What::Advance => Box::pin(async move { self.advance(a) }),
            What::Restart => Box::pin(async move { self.restart(a) }),
            What::PoisonToggles => Box::pin(async move { self.poison(a) }),
            What::PolicyHangs => Box::pin(self.policy_hangs(a)),
            What::GuessLogIn => Box::pin(self.guess_log_in(a)),
            What::GuessAllDay => Box::pin(self.guess_all_day(a)),
            What::GuessWithToken => Box::pin(self.guess_with_token(a)),
            What::GuessRetry => Box::pin(self.guess_retry(a)),
            What::Flood => Box::pin(self.flood()),
            What::Probe => Box::pin(self.probe(a)),
            What::WrongCodes => Box::pin(self.wrong_codes(a)),
            What::MailFlood => Box::pin(self.mail_flood(a)),
            What::Colleagues => Box::pin(self.colleagues(a)),
            What::StoreFails => Box::pin(self.store_fails(a, b)),
            What::HostFails => Box::pin(self.host_fails(a, b)),
            What::RotateSecrets => Box::pin(async move { self.world.rotate(a) }),
        }
    }

    fn model(&self) -> RefMut<'_, Model> {
        self.model.borrow_mut()
    }

    fn tick(&self) -> u64 {
        self.model().next()
    }

    fn fresh(&self) -> u64 {
        self.model().fresh()
    }

    fn service(&self) -> Rc<Running> {
        Rc::clone(&self.running.borrow())
    }

    fn report(&self, promise: Promise, what: impl Into<String>) {
        self.model().report(promise, what);
    }

    fn now(&self) -> Duration {
        self.world.clock.monotonic()
    }

    fn wall(&self) -> i64 {
        Timestamp::read(&self.world.clock, Timestamp::MAX).unwrap().as_millis()
    }

    fn stranger(&self) -> u64 {
        STRANGERS + self.fresh()
    }

    /// Returns the client of the owner of an address.
    fn owner(email: &str) -> u64 {
        let at = ADDRESSES.iter().position(|address| *address == email);
        OWNERS + u64::try_from(at.unwrap_or(ADDRESSES.len())).unwrap()
    }

    /// Checks that an answer has a documented form.
    fn check_answer(&self, response: &Response) {
        let Response { status, body } = response;
        let keys = |value: &serde_json::Value| {
            value.as_object().map(|it| it.keys().cloned().collect::<Vec<_>>()).unwrap_or_default()
        };
        let is_documented = match status {
            204 => body.is_null(),
            200..=299 => keys(body) == ["data"],
            _ => {
                let error = keys(&body["error"]);
                keys(body) == ["error"]
                    && (error == ["code", "message"] || error == ["code", "details", "message"])
            }
        };
        if !is_documented {
            self.report(Promise::AnswerIsDocumented, format!("{status} {body}"));
        }
    }

    async fn post(
        &self,
        path: &str,
        from: u64,
        headers: &[(&str, &str)],
        body: serde_json::Value,
    ) -> Response {
        let mut response = self.service().post(path, from, headers, body).await;
        if self.world.planted(Plant::OddAnswer) && response.status == 409 {
            response.body["error"]["hint"] = "log in".into();
        }
        self.check_answer(&response);
        self.world.ended.set(self.world.ended.get() + 1);
        response
    }

    async fn sign_up(&self, a: u32, b: u32) {
        let email = ADDRESSES[a as usize % ADDRESSES.len()];
        let is_owners = !b.is_multiple_of(3);
        let from = if is_owners { Self::owner(email) } else { self.stranger() };
        let (basis, number) = (self.tick(), self.fresh());
        let (password, name) = (format!("password {number}"), format!("Name {number}"));
        let has_key = b.is_multiple_of(2) || self.store_fails.get();
        let key = has_key.then(|| format!("idempotency-key-{number}"));
        let headers: Vec<_> = key.iter().map(|key| ("idempotency-key", &**key)).collect();
        let before = self.world.mails_so_far();
        let body = json!({
            "email": email, "password": password, "name": name, "invite_code": INVITATION,
        });
        let is_free = self.store_fails.get() && self.is_free(email).await;
        let answer = self.settle(async |is_retry| {
            let forgotten = [("idempotency-key", "another-key-of-a-client")];
            let is_forgotten = is_retry && self.world.planted(Plant::ForgetsRetries);
            let headers = if is_forgotten { &forgotten } else { &*headers };
            let response = self.post(PATH, from, headers, body.clone()).await;
            Ok((response.status, response.data()?))
        });
        let answer = answer.await;
        if is_free && answer.as_ref().is_err_and(|it| *it == Refusal::Taken) {
            self.report(Promise::RetrySettles, format!("the sign-up of {email}"));
        }
        let Ok((status, data)) = answer else { return };
        if status == 202 {
            self.world.deliver_mails().await;
            let Some(code) = self.world.code(email, MailKind::SignupCode, before) else { return };
            let ticket = data["ticket"].as_str().unwrap().to_owned();
            let purpose = Purpose::Signup { password, name, is_owners };
            return self.add_pending(purpose, email, ticket, code, basis);
        }
        let standing = match self.service().mode {
            Mode::After => Standing::Unverified,
            Mode::Neither | Mode::First => Standing::Unknown,
        };
        let mut account = self.account(&data, email, &password, standing, basis);
        account.name = Some(name);
        (account.is_owners, account.idempotency_key, account.since_mail) = (is_owners, key, before);
        self.model().accounts.push(account);
    }

    /// Creates the model of an account from the answer that it was created with.
    fn account(
        &self,
        data: &serde_json::Value,
        email: &str,
        password: &str,
        standing: Standing,
        basis: u64,
    ) -> Account {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let until = self.now() + TOKEN_LIFETIME;
        Account {
            id: AccountId::from_store(text(&data["account"]["id"])),
            email: email.to_owned(),
            password: password.to_owned(),
            name: data["account"]["name"].as_str().map(str::to_owned),
            standing,
            is_owners: true,
            is_disabled: false,
            is_lost: false,
            is_erased: false,
            may_be_wiped: false,
            delete_at: None,
            tokens: vec![Issued { text: text(&data["token"]), basis, until }],
            keys: vec![text(&data["api_key"])],
            logins: Vec::new(),
            device: None,
            device_mails: Vec::new(),
            since_mail: 0,
            ended: 0,
            generation: 0,
            idempotency_key: None,
            judged: Vec::new(),
            judged_elsewhere: Vec::new(),
        }
    }

    fn add_pending(&self, purpose: Purpose, email: &str, ticket: String, code: String, basis: u64) {
        let until = self.now() + Duration::from_mins(59);
        let email = email.to_owned();
        self.model().pending.push(Pending { purpose, email, ticket, code, basis, until });
    }

    /// Takes a ticket with its code whose purpose is so.
    fn take(&self, number: u32, is_so: impl Fn(&Purpose) -> bool) -> Option<Pending> {
        let now = self.now();
        let mut model = self.model();
        model.pending.retain(|pending| pending.until > now);
        let found: Vec<_> =
            (0..model.pending.len()).filter(|at| is_so(&model.pending[*at].purpose)).collect();
        let at = *found.get(number as usize % found.len().max(1))?;
        Some(model.pending.remove(at))
    }

    async fn verify(&self, a: u32) {
        if self.service().mode != Mode::First {
            return;
        }
        let is_signup =
            |purpose: &Purpose| matches!(purpose, Purpose::Signup { is_owners: true, .. });
        let Some(pending) = self.take(a, is_signup) else { return };
        let Purpose::Signup { password, .. } = &pending.purpose else { return };
        let (basis, from) = (self.tick(), Self::owner(&pending.email));
        let body = json!({"ticket": pending.ticket, "code": pending.code});
        let verified =
            self.settle(async |_| self.post(VERIFY_PATH, from, &[], body.clone()).await.data());
        match verified.await {
            Ok(data) => {
                let account =
                    self.account(&data, &pending.email, password, Standing::Verified, basis);
                self.model().accounts.push(account);
            }
            Err(Refusal::Busy) => {
                self.report(Promise::CodeHasNoQuota, "POST /auth/signup/verify with the code");
            }
            Err(_) => {}
        }
    }

    async fn verify_email(&self, a: u32) {
        if self.service().mode != Mode::After {
            return;
        }
        let is_so =
            |it: &Account| it.standing == Standing::Unverified && it.is_in_use() && it.is_owners;
        let Some(at) = self.model().choose(a, is_so) else { return };
        let (email, since, ended, token) = {
            let model = self.model();
            let account = &model.accounts[at];
            let live = account.tokens.iter().find(|token| token.basis > account.ended);
            let token = live.map(|token| token.text.clone());
            (account.email.clone(), account.since_mail, account.ended, token)
        };
        let (Some(token), 0) = (token, ended) else { return };
        let Some(code) = self.world.code(&email, MailKind::EmailCode, since) else { return };
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer)];
        let body = json!({"code": code});
        let response = self.post(VERIFY_EMAIL_PATH, Self::owner(&email), &headers, body).await;
        match response.status {
            204 => self.model().accounts[at].standing = Standing::Verified,
            429 => self.report(Promise::CodeHasNoQuota, "POST /auth/email/verify with the code"),
            _ => {}
        }
    }

    async fn log_in(&self, a: u32, b: u32) {
        let Some(at) = self.model().choose(a, Account::is_in_use) else { return };
        let basis = self.tick();
        let (email, password, device) = {
            let model = self.model();
            let account = &model.accounts[at];
            (account.email.clone(), account.password.clone(), account.device.clone())
        };
        let device = device.filter(|_| !b.is_multiple_of(4));
        let presented =
            if self.world.planted(Plant::NoTrustedDevice) { None } else { device.as_deref() };
        let result = self.service().log_in(&email, &password, Self::owner(&email), presented).await;
        let mut model = self.model();
        let is_racing = model.is_racing;
        let account = &mut model.accounts[at];
        let usual = account.password == password && account.email == email;
        match result {
            Ok(login) => {
                account.owner_was_here();
                let has_ended = account.ended > basis;
                let mark = login.trusted_device().filter(|_| !has_ended);
                account.device = mark.map(|mark| mark.reveal().to_owned());
                // It may have read the account after what ended its tokens meanwhile, unless
                // that changed the password.
                if !has_ended || account.password != password {
                    account.logins.push((login, basis));
                }
            }
            Err(Refusal::Busy) if device.is_some() && usual && !is_racing => {
                model.report(Promise::OwnerLogsIn, "log-in on a trusted device: 429");
            }
            Err(Refusal::Rejected) if usual && !is_racing => {
                model.report(Promise::LiveIsLive, "the password of an account: 401");
            }
            Err(_) => {}
        }
    }

    async fn issue_token(&self, a: u32) {
        let Some(at) = self.model().choose(a, |it| !it.logins.is_empty()) else { return };
        let Some((login, basis)) = self.model().accounts[at].logins.pop() else { return };
        if let Ok(text) = self.service().issue_token(&login).await {
            let until = self.now() + TOKEN_LIFETIME;
            self.model().accounts[at].tokens.push(Issued { text, basis, until });
        }
    }

    async fn change_password(&self, a: u32) {
        let Some(at) = self.model().choose(a, Account::is_in_use) else { return };
        let (new, before) = (format!("password {}", self.fresh()), self.world.mails_so_far());
        let (id, old, email) = {
            let account = &self.model().accounts[at];
            (account.id.clone(), account.password.clone(), account.email.clone())
        };
        let Ok(device) = self.service().change_password(&id, &old, &new).await else { return };
        if self.world.planted(Plant::WipesOnChange) {
            self.world.host.lock().unwrap().wiped.insert(id.as_str().to_owned());
        }
        let tick = self.tick();
        let mut model = self.model();
        let account = &mut model.accounts[at];
        account.password = new;
        account.device = device.or(account.device.take());
        account.owner_was_here();
        account.ended_at(tick);
        // An address that changes at the same time gets the notice or not.
        if account.email == email {
            model.notices.push((MailKind::PasswordChanged, email, at, before));
        }
    }

    async fn set_name(&self, a: u32) {
        let Some(at) = self.model().choose(a, |it| !it.is_erased) else { return };
        let name = format!("Name {}", self.fresh());
        let id = self.id(at);
        if self.service().accounts.set_name(&id, Some(&name)).await.is_ok() {
            self.model().accounts[at].name = Some(name);
        }
    }

    async fn revoke_tokens(&self, a: u32) {
        let Some(at) = self.model().choose(a, |it| !it.is_erased) else { return };
        let id = self.id(at);
        if self.service().credentials.revoke_tokens(&id).await.is_ok() {
            let tick = self.tick();
            let mut model = self.model();
            model.accounts[at].device = None;
            model.accounts[at].ended_at(tick);
        }
    }

    fn id(&self, at: usize) -> AccountId {
        self.model().accounts[at].id.clone()
    }

    fn email(&self, at: usize) -> String {
        self.model().accounts[at].email.clone()
    }

    async fn begin_reset(&self, a: u32) {
        let Some(account) = self.model().choose(a, Account::is_in_use) else { return };
        let (email, basis) = (self.email(account), self.tick());
        let before = self.world.mails_so_far();
        let device = self.model().accounts[account].device.clone();
        let begun =
            self.service().begin_reset(&email, Self::owner(&email), device.as_deref()).await;
        let Ok(ticket) = begun else { return };
        self.world.deliver_mails().await;
        let code = self.world.code(&email, MailKind::ResetCode, before);
        if device.is_some() {
            self.check_mail_of_device(account, code.is_some());
        }
        if let Some(code) = code {
            self.add_pending(Purpose::Reset { account }, &email, ticket, code, basis);
        }
    }

    /// Checks that the owner gets a mail on a trusted device, unless three were requested within
    /// the hour.
    fn check_mail_of_device(&self, at: usize, has_come: bool) {
        let now = self.now();
        let is_troubled = self.world.host.lock().unwrap().mailer.is_some();
        let mut model = self.model();
        let is_sure = !model.is_racing && !is_troubled;
        let mails = &mut model.accounts[at].device_mails;
        mails.retain(|at| now.saturating_sub(*at) < Duration::from_hours(1));
        mails.push(now);
        if mails.len() <= 3 && !has_come && is_sure {
            let what = format!("no mail to {}", model.accounts[at].email);
            model.report(Promise::OwnerGetsMail, what);
        }
    }

    async fn complete_reset(&self, a: u32) {
        let is_reset = |purpose: &Purpose| matches!(purpose, Purpose::Reset { .. });
        let Some(Pending { purpose, ticket, code, basis, .. }) = self.take(a, is_reset) else {
            return;
        };
        let Purpose::Reset { account: at } = purpose else { return };
        // Before it: an operation that it meets may come after its change.
        let ended = self.model().accounts[at].ended;
        let (new, before) = (format!("password {}", self.fresh()), self.world.mails_so_far());
        let service = self.service();
        let result =
            self.settle(async |_| service.complete_reset(&ticket, &code, &new).await).await;
        self.check_settled(&result, at, basis);
        let tick = self.tick();
        let mut model = self.model();
        match result {
            Ok(device) => {
                let account = &mut model.accounts[at];
                if basis <= ended {
                    let what = format!("a reset that began before a change of {}", account.email);
                    return model.report(Promise::EndedIsEnded, what);
                }
                if account.standing == Standing::Unverified {
                    account.keys.clear();
                }
                account.password = new;
                account.standing = Standing::Verified;
                account.is_owners = true;
                account.device = device.or(account.device.take());
                account.owner_was_here();
                account.ended_at(tick);
                let to = account.email.clone();
                model.notices.push((MailKind::PasswordChanged, to, at, before));
            }
            Err(Refusal::Busy) => {
                model.report(Promise::CodeIsAccepted, "a reset with its code: 429");
            }
            Err(_) => {}
        }
    }

    async fn begin_change(&self, a: u32, b: u32) {
        let Some(account) = self.model().choose(a, |it| it.is_in_use() && it.is_owners) else {
            return;
        };
        let (id, old, basis) = (self.id(account), self.email(account), self.tick());
        let domain = if b.is_multiple_of(4) { BLOCKED } else { "moved.example" };
        let email = format!("moved{}@{domain}", self.fresh());
        let before = self.world.mails_so_far();
        let begun = self.service().begin_change(&id, &email, Self::owner(&old)).await;
        let Ok(ticket) = begun else { return };
        self.world.deliver_mails().await;
        if let Some(code) = self.world.code(&email, MailKind::NewEmailCode, before) {
            self.add_pending(Purpose::Address { account }, &email, ticket, code, basis);
        }
    }

    async fn complete_change(&self, a: u32) {
        let is_change = |purpose: &Purpose| matches!(purpose, Purpose::Address { .. });
        let Some(Pending { purpose, email, ticket, code, basis, .. }) = self.take(a, is_change)
        else {
            return;
        };
        let Purpose::Address { account: at } = purpose else { return };
        let ended = self.model().accounts[at].ended;
        let (id, before) = (self.id(at), self.world.mails_so_far());
        let service = self.service();
        let result =
            self.settle(async |_| service.complete_change(&id, &ticket, &code).await).await;
        self.check_settled(&result, at, basis);
        let tick = self.tick();
        let mut model = self.model();
        match result {
            Ok(device) => {
                let account = &mut model.accounts[at];
                if basis <= ended {
                    let what =
                        format!("a new address that was asked for before a change of {email}");
                    return model.report(Promise::EndedIsEnded, what);
                }
                let old = std::mem::replace(&mut account.email, email);
                account.standing = Standing::Verified;
                account.device = device.or(account.device.take());
                account.owner_was_here();
                account.ended_at(tick);
                model.notices.push((MailKind::EmailChanged, old, at, before));
            }
            Err(Refusal::Busy) => {
                model.report(Promise::CodeIsAccepted, "a new address with its code: 429");
            }
            Err(_) => {}
        }
    }

    /// The owner of a mailbox asks for the account that a stranger made with its address.
    async fn begin_reclaim(&self, a: u32) {
        if self.service().mode != Mode::After {
            return;
        }
        let is_squatted =
            |it: &Account| it.standing == Standing::Unverified && it.is_in_use() && !it.is_owners;
        let Some(account) = self.model().choose(a, is_squatted) else { return };
        let (email, basis) = (self.email(account), self.tick());
        let before = self.world.mails_so_far();
        let from = Self::owner(&email);
        let response = self.post(RECLAIM_PATH, from, &[], json!({"email": email})).await;
        let Ok(data) = response.data() else { return };
        self.world.deliver_mails().await;
        if let Some(code) = self.world.code(&email, MailKind::ReclaimCode, before) {
            let ticket = data["ticket"].as_str().unwrap().to_owned();
            self.add_pending(Purpose::Reclaim { account }, &email, ticket, code, basis);
        } else if self.was_told_verified(&email, before) {
            self.report(Promise::OwnerReclaims, "an address that is not verified is called so");
        }
    }

    fn was_told_verified(&self, email: &str, before: usize) -> bool {
        let host = self.world.host.lock().unwrap();
        let mut sent = host.mails.iter().skip(before);
        sent.any(|it| it.kind() == MailKind::AlreadyVerified && it.to().as_str() == email)
    }

    async fn complete_reclaim(&self, a: u32) {
        let is_reclaim = |purpose: &Purpose| matches!(purpose, Purpose::Reclaim { .. });
        if self.service().mode != Mode::After {
            return;
        }
        let Some(Pending { purpose, email, ticket, code, basis, .. }) = self.take(a, is_reclaim)
        else {
            return;
        };
        let Purpose::Reclaim { account: at } = purpose else { return };
        let ended = self.model().accounts[at].ended;
        let (password, begun) = (format!("password {}", self.fresh()), self.tick());
        let before = self.world.mails_so_far();
        let body = json!({"ticket": ticket, "code": code, "password": password});
        let confirmed = self.settle(async |_| {
            self.post(CONFIRM_RECLAIM_PATH, Self::owner(&email), &[], body.clone()).await.data()
        });
        match confirmed.await {
            Ok(data) => {
                let until = self.now() + TOKEN_LIFETIME;
                let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
                let mut model = self.model();
                let tick = model.next();
                let account = &mut model.accounts[at];
                if basis <= ended {
                    let what = format!("a reclaim that began before a change of {email}");
                    return model.report(Promise::EndedIsEnded, what);
                }
                account.password = password;
                account.name = None;
                account.standing = Standing::Verified;
                (account.is_owners, account.may_be_wiped) = (true, true);
                account.delete_at = None;
                account.device = None;
                account.owner_was_here();
                // What it has met may have ended its token.
                if account.ended < begun {
                    let text = text(&data["token"]);
                    account.tokens.push(Issued { text, basis: tick, until });
                }
                account.ended_at(begun.max(account.ended));
                account.keys = vec![text(&data["api_key"])];
                model.notices.push((MailKind::AccountReclaimed, email, at, before));
            }
            Err(Refusal::Busy) => {
                self.report(Promise::CodeIsAccepted, "a reclaim with its code: 429");
            }
            Err(_) => {}
        }
    }

    async fn request_deletion(&self, a: u32, b: u32) {
        let Some(at) = self.model().choose(a, Account::is_in_use) else { return };
        let grace = [Duration::from_hours(1), DAY, 6 * DAY][b as usize % 3];
        let id = self.id(at);
        if let Ok(due) = self.service().accounts.request_deletion(&id, grace).await {
            self.model().accounts[at].delete_at = Some(due.as_millis());
        }
    }

    async fn cancel_deletion(&self, a: u32) {
        let is_so = |it: &Account| it.is_in_use() && it.delete_at.is_some();
        let Some(at) = self.model().choose(a, is_so) else { return };
        let id = self.id(at);
        if self.service().accounts.cancel_deletion(&id).await.is_ok() {
            self.model().accounts[at].delete_at = None;
        }
    }

    async fn disable(&self, a: u32) {
        let Some(at) = self.model().choose(a, Account::is_in_use) else { return };
        let id = self.id(at);
        if self.service().accounts.disable(&id).await.is_ok() {
            let tick = self.tick();
            let mut model = self.model();
            let account = &mut model.accounts[at];
            (account.is_disabled, account.device) = (true, None);
            account.ended_at(tick);
        }
    }

    async fn enable(&self, a: u32) {
        let Some(at) = self.model().choose(a, |it| it.is_disabled && !it.is_erased && !it.is_lost)
        else {
            return;
        };
        let id = self.id(at);
        if self.service().accounts.enable(&id).await.is_ok() {
            self.model().accounts[at].is_disabled = false;
        }
    }

    async fn erase(&self, a: u32, b: u32) {
        let Some(at) = self.model().choose(a, |it| !it.is_erased) else { return };
        let id = self.id(at);
        let erased = if b.is_multiple_of(4) {
            self.service().accounts.bans().unwrap().erase_and_ban(&id).await
        } else {
            self.service().accounts.erase(&id).await
        };
        if erased.is_ok() {
            self.erased(at);
        }
    }

    fn erased(&self, at: usize) {
        let tick = self.tick();
        let mut model = self.model();
        let account = &mut model.accounts[at];
        (account.is_erased, account.may_be_wiped) = (true, true);
        (account.name, account.delete_at) = (None, None);
        account.ended_at(tick);
    }

    async fn erase_due(&self) {
        let poisoned = self.world.host.lock().unwrap().poisoned.clone();
        let stops = self.world.planted(Plant::StopsAtFailure) && !poisoned.is_empty();
        if !stops && !self.world.planted(Plant::ForgetsDeletions) {
            let _ = self.service().accounts.erase_due().await;
        }
        let (now, count) = (self.wall(), self.model().accounts.len());
        for at in 0..count {
            let (id, due) = (self.id(at), self.model().accounts[at].delete_at);
            if due.is_none_or(|due| due > now) || self.model().accounts[at].is_erased {
                continue;
            }
            let record = self.service().accounts.get(&id).await;
            if record.is_ok_and(|found| found.is_some_and(|it| it.state == AccountState::Erased)) {
                self.erased(at);
            } else if !poisoned.contains(id.as_str()) {
                let is_first = poisoned.is_empty();
                let promise =
                    if is_first { Promise::DeletionIsDone } else { Promise::FailureStopsNoOther };
                self.report(promise, format!("{id} is due and was not erased"));
                // Otherwise it is reported after each step.
                self.model().accounts[at].delete_at = None;
            }
        }
    }

    async fn relay(&self) {
        let relay = self.service().relay.clone();
        let _ = relay.run_once().await;
    }

    /// The wall clock is a year ahead while an event is delivered, and then right again.
    async fn clock_ahead(&self) {
        let right = self.world.clock.wall();
        self.world.host.lock().unwrap().sink = Some(Trouble::Fails);
        self.world.clock.set_wall(right + 365 * DAY);
        self.relay().await;
        self.world.clock.set_wall(right);
        self.world.host.lock().unwrap().sink = None;
    }

    async fn clock_before_epoch(&self, a: u32) {
        let right = self.world.clock.wall();
        self.world.clock.set_wall(UNIX_EPOCH - DAY);
        let email = ADDRESSES[a as usize % ADDRESSES.len()];
        let body = json!({"email": email, "password": "password", "invite_code": INVITATION});
        self.post(PATH, self.stranger(), &[], body).await;
        self.world.clock.set_wall(right);
    }

    fn advance(&self, a: u32) {
        let waits = [1, 60, 600, 3600, 6 * 3600, 25 * 3600].map(Duration::from_secs);
        self.world.clock.advance(waits[a as usize % waits.len()]);
    }

    /// The host starts again, perhaps with another mode: what was in memory is gone.
    fn restart(&self, a: u32) {
        self.world.kill();
        let mode = MODES[a as usize % MODES.len()];
        *self.running.borrow_mut() = Rc::new(self.world.start(mode));
        for account in &mut self.model().accounts {
            account.judged.clear();
            account.judged_elsewhere.clear();
        }
    }

    fn poison(&self, a: u32) {
        let Some(at) = self.model().choose(a, |it| !it.is_erased) else { return };
        let id = self.id(at).as_str().to_owned();
        let mut host = self.world.host.lock().unwrap();
        if !host.poisoned.remove(&id) {
            host.poisoned.insert(id);
        }
    }

    /// The store fails during an operation, which is retried.
    async fn store_fails(&self, a: u32, b: u32) {
        let faults = [Fault::Unavailable, Fault::OutcomeUnknown, Fault::LoseAnswer];
        let what = SETTLED[a as usize % SETTLED.len()];
        let planned = (0..(b >> 8) % 4).map(|_| None).chain([Some(faults[b as usize % 3])]);
        self.world.store.next.lock().unwrap().extend(planned);
        let is_settled = what != What::ChangePassword;
        self.store_fails.set(is_settled);
        self.model().is_racing = !is_settled;
        self.perform(what, a >> 3, b / 3).await;
        self.world.store.next.lock().unwrap().clear();
        self.store_fails.set(false);
        if !is_settled {
            self.look_again(what).await;
            self.model().is_racing = false;
        }
    }

    /// Retries an operation that failed because the store did.
    async fn settle<T>(
        &self,
        operation: impl AsyncFn(bool) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let first = operation(false).await;
        let has_failed = matches!(first, Err(Refusal::Failed(_)));
        if !self.store_fails.get() || !has_failed {
            return first;
        }
        self.world.store.next.lock().unwrap().clear();
        let second = operation(true).await;
        // Rows that the host can't wipe fail again.
        let is_poisoned = !self.world.host.lock().unwrap().poisoned.is_empty();
        if let (Err(Refusal::Failed(why)), false) = (&second, is_poisoned) {
            self.report(Promise::RetrySettles, why);
        }
        second
    }

    /// Checks that a change with a live ticket succeeds although the store has failed once.
    fn check_settled<T>(&self, result: &Result<T, Refusal>, at: usize, basis: u64) {
        let is_live = {
            let model = self.model();
            basis > model.accounts[at].ended && model.accounts[at].is_in_use()
        };
        let is_refused = matches!(result, Err(Refusal::Invalid(path)) if path == "code");
        if self.store_fails.get() && is_live && is_refused {
            self.report(Promise::RetrySettles, format!("a change of {}", self.id(at)));
        }
    }

    /// Returns whether no account ever had an address: an erased one may be banned. No fault
    /// strikes meanwhile.
    async fn is_free(&self, email: &str) -> bool {
        if self.model().accounts.iter().any(|account| account.is_erased && account.email == email) {
            return false;
        }
        let planned = std::mem::take(&mut *self.world.store.next.lock().unwrap());
        let found = self.service().accounts.by_email(email).await;
        *self.world.store.next.lock().unwrap() = planned;
        found.is_ok_and(|it| it.is_none())
    }

    /// The receiver of events or the mail server fails, hangs or panics.
    async fn host_fails(&self, a: u32, b: u32) {
        let trouble = [Trouble::Fails, Trouble::Hangs, Trouble::Panics][a as usize % 3];
        if b.is_multiple_of(2) {
            self.world.host.lock().unwrap().sink = Some(trouble);
            self.relay().await;
            self.world.host.lock().unwrap().sink = None;
        } else {
            self.world.host.lock().unwrap().mailer = Some(trouble);
            self.complete_change(a).await;
            self.change_password(b).await;
            self.begin_reset(a).await;
            if a.is_multiple_of(5) {
                self.restart(b);
            }
            self.world.host.lock().unwrap().mailer = None;
            // Delayed mails arrive before the next ones, so that the last code is the newest.
            for _ in 0..3 {
                tokio::time::advance(Duration::from_mins(1)).await;
                self.world.deliver_mails().await;
            }
        }
    }

    /// A sign-up meets a policy that never answers.
    async fn policy_hangs(&self, a: u32) {
        self.world.host.lock().unwrap().policy_hangs = true;
        let host = std::sync::Arc::clone(&self.world.host);
        // Also if the sign-up does not end.
        let _answers_again = Guard(move || host.lock().unwrap().policy_hangs = false);
        let email = ADDRESSES[a as usize % ADDRESSES.len()];
        let body = json!({"email": email, "password": "password", "invite_code": INVITATION});
        self.post(PATH, self.stranger(), &[], body).await;
    }

    /// Records that a password of an account may have been judged.
    fn judged(&self, at: usize, hashes: usize, elsewhere: bool) {
        if self.world.engine.hashes() == hashes || self.model().is_racing {
            return;
        }
        let now = self.now();
        let mut model = self.model();
        let account = &mut model.accounts[at];
        let all = if elsewhere { &mut account.judged_elsewhere } else { &mut account.judged };
        all.push(now);
        for judged in [&mut account.judged, &mut account.judged_elsewhere] {
            judged.retain(|at| now.saturating_sub(*at) < DAY);
        }
        let (here, elsewhere) = (account.judged.len(), account.judged_elsewhere.len());
        if here > GUESSES {
            let what = format!("{here} guesses at {}", account.email);
            account.judged.clear();
            model.report(Promise::FewGuessesAtLogIn, what);
        } else if elsewhere > GUESSES_WITH_TOKEN {
            let what = format!("{elsewhere} guesses at {} next to log-ins", account.email);
            account.judged_elsewhere.clear();
            model.report(Promise::FewGuessesElsewhere, what);
        }
    }

    /// Strangers guess passwords, each followed by a log-in of an address that does not exist.
    async fn guess_log_in(&self, a: u32) {
        let Some(at) = self.model().choose(a, Account::is_in_use) else { return };
        let email = self.email(at);
        for _ in 0..GUESSES + 5 {
            let from = self.stranger();
            let hashes = self.world.engine.hashes();
            let _ = self.service().log_in(&email, "a guess at it", from, None).await;
            self.judged(at, hashes, false);
            self.unknown_log_in().await;
        }
    }

    async fn unknown_log_in(&self) {
        let number = self.stranger();
        let email = format!("nobody{number}@flood.example");
        let _ = self.service().log_in(&email, "a guess at it", number, None).await;
        self.world.ended.set(self.world.ended.get() + 1);
    }

    /// Strangers guess for a day, at log-in and on the other routes that take a password.
    async fn guess_all_day(&self, a: u32) {
        let Some(at) = self.model().choose(a, Account::is_in_use) else { return };
        let email = self.email(at);
        let is_after = self.service().mode == Mode::After;
        for _ in 0..24 {
            for _ in 0..8 {
                let from = self.stranger();
                let hashes = self.world.engine.hashes();
                let _ = self.service().log_in(&email, "a guess at it", from, None).await;
                self.judged(at, hashes, false);
                if is_after {
                    let from = self.stranger();
                    let hashes = self.world.engine.hashes();
                    let body = json!({"email": email, "password": "a guess at it"});
                    self.post(RESEND_EMAIL_CODE_PATH, from, &[], body).await;
                    self.judged(at, hashes, true);
                }
            }
            self.world.clock.advance(Duration::from_hours(1));
        }
    }

    /// A stolen token is to become the password.
    async fn guess_with_token(&self, a: u32) {
        let Some(at) = self.model().choose(a, Account::is_in_use) else { return };
        let id = self.id(at);
        for _ in 0..GUESSES_WITH_TOKEN + 5 {
            let hashes = self.world.engine.hashes();
            let _ = self.service().change_password(&id, "a guess at it", "password").await;
            self.judged(at, hashes, true);
        }
    }

    /// A stolen idempotency key is to become the password.
    async fn guess_retry(&self, a: u32) {
        let is_so = |it: &Account| it.is_in_use() && it.idempotency_key.is_some();
        let Some(at) = self.model().choose(a, is_so) else { return };
        let (email, key) = {
            let model = self.model();
            (model.accounts[at].email.clone(), model.accounts[at].idempotency_key.clone().unwrap())
        };
        let before = self.world.engine.hashes();
        for _ in 0..GUESSES_WITH_TAG * 3 {
            let body = json!({"email": email, "password": "a guess at it"});
            self.post(PATH, self.stranger(), &[("idempotency-key", &*key)], body).await;
        }
        let judged = self.world.engine.hashes() - before;
        if judged > GUESSES_WITH_TAG && !self.model().is_racing {
            self.report(Promise::FewGuessesElsewhere, format!("{judged} retries of one sign-up"));
        }
    }

    /// Strangers fail to log in, each for another address.
    async fn flood(&self) {
        for _ in 0..self.flood {
            self.unknown_log_in().await;
        }
    }

    /// A stranger without an invitation asks whether an address has an account.
    async fn probe(&self, a: u32) {
        let email = ADDRESSES[a as usize % ADDRESSES.len()];
        let key = format!("a-probe-with-number-{}", self.fresh());
        let body = json!({"email": email, "password": "password"});
        let headers = [("idempotency-key", &*key)];
        let mut response = self.post(PATH, self.stranger(), &headers, body).await;
        let found = self.service().accounts.by_email(email).await;
        if self.world.planted(Plant::OracleBeforeGuard) && found.is_ok_and(|it| it.is_some()) {
            response.status = 409;
        }
        let status = response.status;
        match response.data() {
            Err(Refusal::Invalid(path)) if path == "invite_code" => {}
            other => self.report(Promise::GuardComesFirst, format!("{status}: {other:?}")),
        }
    }

    /// A stranger tries wrong codes with its own tickets.
    async fn wrong_codes(&self, a: u32) {
        let email = ADDRESSES[a as usize % ADDRESSES.len()];
        for _ in 0..6 {
            let begun = self.service().begin_reset(email, self.stranger(), None).await;
            let Ok(ticket) = begun else { return };
            for _ in 0..11 {
                let tried = self.service().complete_reset(&ticket, WRONG_CODE, "password").await;
                assert!(tried.is_err(), "a wrong code was accepted");
            }
        }
    }

    /// Strangers ask for mails to an address until it gets no more.
    async fn mail_flood(&self, a: u32) {
        let Some(at) = self.model().choose(a, Account::is_in_use) else { return };
        let email = self.email(at);
        for _ in 0..12 {
            let _ = self.service().begin_reset(&email, self.stranger(), None).await;
            self.world.deliver_mails().await;
        }
    }

    /// Others sign up from the network of an owner.
    async fn colleagues(&self, a: u32) {
        let from = Self::owner(ADDRESSES[a as usize % ADDRESSES.len()]);
        for _ in 0..6 {
            let email = format!("colleague{}@office.example", self.fresh());
            let body = json!({"email": email, "password": "password", "invite_code": INVITATION});
            self.post(PATH, from, &[], body).await;
        }
    }

    /// Reads what two operations at once have left, where the order decides.
    async fn look_again(&self, abandoned: What) {
        let count = self.model().accounts.len();
        for at in 0..count {
            let id = self.id(at);
            let Ok(Some(record)) = self.service().accounts.get(&id).await else { continue };
            let tick = self.tick();
            let mut model = self.model();
            let account = &mut model.accounts[at];
            if record.token_generation != account.generation {
                // The caller left, and the change was made.
                account.ended = tick;
                account.generation = record.token_generation;
                account.device = None;
                if abandoned == What::CompleteReclaim && record.account.name().is_none() {
                    account.name = None;
                    account.standing = Standing::Verified;
                    account.delete_at = None;
                    account.may_be_wiped = true;
                }
            }
            account.is_erased = record.state == AccountState::Erased;
        }
        // The password of an account whose change was abandoned is one of two.
        let unsure: Vec<_> =
            (0..count).filter(|at| self.model().accounts[*at].is_in_use()).collect();
        for at in unsure {
            let (email, password) = {
                let model = self.model();
                (model.accounts[at].email.clone(), model.accounts[at].password.clone())
            };
            let service = self.service().service.credentials();
            let verified = service.verify_password(&email, &password).await;
            if verified.is_ok() {
                self.model().accounts[at].owner_was_here();
            }
            if verified.is_err() {
                // Nobody knows the other one any more, or nobody can say, because the account is
                // throttled: it stays disabled.
                self.model().accounts[at].is_disabled = true;
                self.model().accounts[at].is_lost = true;
                let _ = self.service().accounts.disable(&self.id(at)).await;
                let tick = self.tick();
                self.model().accounts[at].ended_at(tick);
            }
        }
    }

    /// Checks what must hold at any time.
    async fn check(&self) {
        let count = self.model().accounts.len();
        for at in 0..count {
            self.check_account(at).await;
        }
    }

    async fn check_account(&self, at: usize) {
        let id = self.id(at);
        let Ok(Some(record)) = self.service().accounts.get(&id).await else {
            return self.report(Promise::NothingWiped, format!("{id} is gone"));
        };
        let was_wiped = self.world.host.lock().unwrap().wiped.contains(id.as_str());
        let reported = self.was_takeover_reported(&id).await;
        let tokens: Vec<_> = {
            let mut model = self.model();
            let account = &mut model.accounts[at];
            let name = record.account.name().map(str::to_owned);
            let is_wiped = was_wiped && !std::mem::replace(&mut account.may_be_wiped, true);
            if name != account.name || is_wiped {
                account.may_be_wiped |= was_wiped;
                let before = std::mem::replace(&mut account.name, name);
                let what = format!("{}: name {before:?}, wiped: {is_wiped}", account.email);
                model.report(Promise::NothingWiped, what);
                if is_wiped && !reported {
                    model.report(Promise::TakeoverIsReported, format!("the rows of {id}"));
                }
            }
            model.accounts[at].may_be_wiped = was_wiped;
            if record.account.email().as_str().ends_with(BLOCKED) {
                let email = record.account.email().as_str().to_owned();
                model.report(Promise::AddressIsAllowed, email);
            }
            let tokens = model.accounts[at].tokens.iter().rev().take(4);
            tokens.map(|token| (token.text.clone(), token.basis, token.until)).collect()
        };
        for (text, basis, until) in tokens {
            let is_live = self.service().credentials.verify_token(&text).await.is_ok();
            let is_live = is_live || self.world.planted(Plant::StaleTokens);
            let now = self.now();
            let mut model = self.model();
            let account = &model.accounts[at];
            let must_end = basis < account.ended || !account.is_in_use();
            if is_live && must_end {
                let what = format!("a token for {}, before {}", account.email, account.ended);
                model.accounts[at].tokens.retain(|token| token.text != text);
                model.report(Promise::EndedIsEnded, what);
            } else if !is_live && !must_end && until > now {
                let what = format!("a token for {} is refused", account.email);
                model.accounts[at].tokens.retain(|token| token.text != text);
                model.report(Promise::LiveIsLive, what);
            }
        }
        let (keys, is_valid) = {
            let model = self.model();
            let account = &model.accounts[at];
            (account.keys.clone(), account.is_in_use() && account.delete_at.is_none())
        };
        for key in keys {
            let is_live = self.service().credentials.verify_api_key(&key).await.is_ok();
            if is_live != is_valid && !self.model().is_racing {
                let promise = if is_live { Promise::EndedIsEnded } else { Promise::KeysAreKept };
                self.model().accounts[at].keys.clear();
                self.report(promise, format!("an API key of {id}: valid {is_live}"));
            }
        }
    }

    async fn was_takeover_reported(&self, id: &AccountId) -> bool {
        let events = events_of(&self.world.store, id, 1000).await.unwrap_or_default();
        events.iter().any(|event| event.kind().as_str() == "account.reclaimed")
    }

    /// Ends all faults, lets eight days pass, and checks what must have happened by then.
    async fn quiet_phase(&self) {
        {
            let mut host = self.world.host.lock().unwrap();
            (host.sink, host.mailer, host.policy_hangs) = (None, None, false);
            host.poisoned.clear();
        }
        for _ in 0..8 * 24 {
            self.world.clock.advance(Duration::from_hours(1));
            tokio::time::advance(Duration::from_hours(1)).await;
            self.world.drive(self.erase_due()).await;
            self.world.drive(self.relay()).await;
        }
        self.world.deliver_mails().await;
        self.world.drive(self.check()).await;
        self.world.drive(self.check_promises_kept()).await;
    }

    async fn check_promises_kept(&self) {
        let backlog = self.service().relay.backlog().await.unwrap();
        if backlog.waiting > 0 || backlog.stopped > 0 {
            self.report(Promise::EventIsDelivered, format!("{backlog:?}"));
        }
        let notices = std::mem::take(&mut self.model().notices);
        for (kind, to, at, before) in notices {
            let host = self.world.host.lock().unwrap();
            let mut after = host.mails.iter().skip(before);
            let is_sent = after.any(|it| it.kind() == kind && it.to().as_str() == to);
            // The notices of an erased account go with it.
            if !is_sent && !self.model().accounts[at].is_erased {
                self.report(Promise::NoticeIsSent, format!("no {kind:?} to {to}"));
            }
        }
        let overdue: Vec<_> = {
            let model = self.model();
            let now = self.wall();
            let is_overdue =
                |it: &&Account| !it.is_erased && it.delete_at.is_some_and(|at| at < now);
            model.accounts.iter().filter(is_overdue).map(|it| it.id.to_string()).collect()
        };
        for id in overdue {
            self.report(Promise::DeletionIsDone, format!("{id} was to be erased"));
        }
    }

    /// Checks that settings that can't work are refused.
    fn check_settings(&self) {
        for (setting, is_refused) in super::world::bad_settings() {
            if !is_refused || self.world.planted(Plant::TakesAnySetting) {
                self.report(Promise::BadSettingIsRefused, setting);
            }
        }
    }
}

/// Calls a function when dropped.
struct Guard<F: Fn()>(F);

impl<F: Fn()> Drop for Guard<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
