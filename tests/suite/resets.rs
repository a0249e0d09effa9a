//! Resets, reclaims and the tickets for them: what an account keeps, and who can make a ticket.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::support::events_of;
use signup::account::{AccountId, EmailStatus};
use signup::clock::{ManualClock, Timestamp};
use signup::credentials::{CredentialError, LoginThrottle};
use signup::fields::Password;
use signup::hash::{FakeEngine, HashPool};
use signup::idempotency::ReplaySecret;
use signup::limit::ClientIp;
use signup::mail::{Mail, MailKind, MailQueue, MemoryMailer};
use signup::random::SystemRandom;
use signup::store::conformance::{Sample, dropped_after};
use signup::store::{
    AccountChange, AccountStore as _, ChangeOutcome, Effect, LifecycleStore as _,
    LifecycleStoreExt as _, MemoryStore,
};
use signup::verification::EmailCodes;
use signup::{AccountCodes, SignupError, SignupRequest, SignupService, SignupServiceBuilder};

use crate::support::backend::NOW;
use crate::support::client::PASSWORD;
use crate::support::faults::{Fault, Faulty};

const KIM: &str = "kim@x.co";
const ANOTHER: &str = "battery staple";
const DAY: Duration = Duration::from_hours(24);

type Store = Arc<MemoryStore>;
type Builder = SignupServiceBuilder<Store>;

/// The parts that outlive a service: a store, a clock and a mailbox.
struct World {
    store: Store,
    clock: ManualClock,
    mailer: Arc<MemoryMailer>,
}

impl World {
    fn new() -> Self {
        let (store, mailer) = (Store::default(), Arc::default());
        Self { store, clock: ManualClock::at_unix(NOW), mailer }
    }

    fn builder(&self) -> Builder {
        let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
        SignupService::builder(Arc::clone(&self.store))
            .jwt_secret(&[7; 32])
            .clock(self.clock.clone())
            .hash_pool(Arc::new(pool))
            .with_events()
    }

    fn verification(&self) -> (MailQueue, EmailCodes) {
        let mails = MailQueue::new(Arc::clone(&self.mailer));
        let secret = ReplaySecret::new(&[8; 32]).unwrap();
        (mails.clone(), EmailCodes::new(secret, mails))
    }

    /// Signs up with a name, and returns the id and the API key.
    async fn kim(&self, service: &SignupService<Store>) -> (AccountId, String) {
        let signup = service.signup(SignupRequest::new(KIM, PASSWORD).name("Kim")).await.unwrap();
        (signup.account().id().clone(), signup.api_key().reveal().to_owned())
    }

    fn mails(&self, kind: MailKind) -> usize {
        self.mailer.sent().iter().filter(|mail| mail.kind() == kind).count()
    }
}

/// Resets the password by the mailbox, and returns how many API keys have ended and stayed.
async fn reset(codes: &AccountCodes, mails: &MailQueue, mailer: &MemoryMailer) -> (usize, usize) {
    let pending = codes.begin_password_reset(KIM, None).await.unwrap();
    mails.drained().await;
    let code = mailer.last_code(KIM).unwrap();
    let reset = codes.complete_password_reset(pending.reveal_ticket(), &code, ANOTHER);
    let reset = reset.await.unwrap();
    (reset.api_keys_ended, reset.api_keys_kept)
}

#[track_caller]
fn is_no_code<T: std::fmt::Debug>(result: Result<T, CredentialError>) {
    let Err(CredentialError::Failed(SignupError::Invalid(issues))) = result else {
        panic!("{result:?}");
    };
    assert_eq!(issues[0].path, ["code"]);
}

#[tokio::test]
async fn an_account_from_before_verification_keeps_what_it_has() {
    let world = World::new();
    let (id, api_key) = world.kim(&world.builder().build().unwrap()).await;
    let (mails, verification) = world.verification();
    let service = world.builder().verify_after(verification).build().unwrap();
    let accounts = service.accounts();
    let record = accounts.get(&id).await.unwrap().unwrap();
    assert_eq!(record.email_status(), EmailStatus::Unknown);
    // Whoever reads the mailbox today is not offered to take it over.
    let offered = service.verification().after().unwrap().begin_reclaim(KIM, None).await.unwrap();
    mails.drained().await;
    assert_eq!(
        (world.mails(MailKind::ReclaimCode), world.mails(MailKind::AlreadyVerified)),
        (0, 1)
    );
    assert!(
        service
            .verification()
            .after()
            .unwrap()
            .complete_reclaim(offered.reveal_ticket(), "00000000", ANOTHER)
            .await
            .is_err()
    );

    // A key that has expired is none that stays.
    service.credentials().issue_api_key(&id, Some(DAY)).await.unwrap();
    world.clock.advance(DAY);
    assert_eq!(reset(&service.account_codes().unwrap(), &mails, &world.mailer).await, (0, 1));
    let record = accounts.get(&id).await.unwrap().unwrap();
    assert_eq!(
        (record.email_status(), record.account.name()),
        (EmailStatus::Verified, Some("Kim"))
    );
    service.credentials().verify_api_key(&api_key).await.unwrap();
    let last = events_of(&world.store, &id, 9).await.unwrap().pop().unwrap();
    assert_eq!(last.to_json()["data"]["address_was"], "unknown");
}

#[tokio::test]
async fn a_reset_wipes_an_unverified_account_where_the_builder_says_so() {
    for wipes in [false, true] {
        let world = World::new();
        let (mails, verification) = world.verification();
        let builder = world.builder().verify_after(verification);
        let builder = if wipes { builder.reset_wipes_unverified() } else { builder };
        let service = builder.build().unwrap();
        let (id, api_key) = world.kim(&service).await;
        let accounts = service.accounts();
        let record = accounts.get(&id).await.unwrap().unwrap();
        assert_eq!(record.email_status(), EmailStatus::Unverified);
        mails.drained().await;
        // A deletion that its maker has planned ends with a takeover.
        accounts.request_deletion(&id, DAY).await.unwrap();

        assert_eq!(reset(&service.account_codes().unwrap(), &mails, &world.mailer).await, (1, 0));
        let record = accounts.get(&id).await.unwrap().unwrap();
        assert_eq!(record.account.name(), (!wipes).then_some("Kim"));
        assert_eq!(record.delete_at.is_none(), wipes);
        assert!(service.credentials().verify_api_key(&api_key).await.is_err());
        let last = events_of(&world.store, &id, 9).await.unwrap().pop().unwrap();
        let told = if wipes { "account.reclaimed" } else { "account.password_changed" };
        assert_eq!(last.kind().as_str(), told);
    }
}

#[tokio::test]
async fn the_secret_alone_makes_no_ticket() {
    let world = World::new();
    let (_, verification) = world.verification();
    let service = world.builder().mails(verification).build().unwrap();
    world.kim(&service).await;
    // Somebody with the secret, and a store that says what is known of the account.
    let forger = World::new();
    let victim = world.store.accounts().pop().unwrap();
    let copy = Sample::new(9).id_of(&victim).email(KIM).build();
    forger.store.create(copy).await.unwrap();
    let (mails, verification) = forger.verification();
    let other = forger.builder().mails(verification).build().unwrap();
    let pending = other.account_codes().unwrap().begin_password_reset(KIM, None).await.unwrap();
    mails.drained().await;
    let code = forger.mailer.last_code(KIM).unwrap();
    let codes = service.account_codes().unwrap();
    let reset = codes.complete_password_reset(pending.reveal_ticket(), &code, ANOTHER).await;
    is_no_code(reset);
    service.credentials().verify_password(KIM, PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_ticket_of_another_deployment_is_none_here() {
    let world = World::new();
    let (mails, verification) = world.verification();
    let staging = world.builder().audience("staging").mails(verification).build().unwrap();
    world.kim(&staging).await;
    let service = world.builder().mails(world.verification().1).build().unwrap();
    let pending = staging.account_codes().unwrap().begin_password_reset(KIM, None).await.unwrap();
    mails.drained().await;
    let code = world.mailer.last_code(KIM).unwrap();
    let ticket = pending.reveal_ticket();
    is_no_code(
        service.account_codes().unwrap().complete_password_reset(ticket, &code, ANOTHER).await,
    );
    staging.account_codes().unwrap().complete_password_reset(ticket, &code, ANOTHER).await.unwrap();
}

#[tokio::test]
async fn a_change_of_address_can_be_repeated_and_ends_other_tickets() {
    let world = World::new();
    let (mails, verification) = world.verification();
    let service = world.builder().mails(verification).build().unwrap();
    let (id, _) = world.kim(&service).await;
    let codes = service.account_codes().unwrap();
    let other = codes.begin_password_reset(KIM, None).await.unwrap();
    mails.drained().await;
    let other_code = world.mailer.last_code(KIM).unwrap();
    let pending = codes.begin_email_change(&id, "new@x.co", None).await.unwrap();
    mails.drained().await;
    let code = world.mailer.last_code("new@x.co").unwrap();
    for _ in 0..2 {
        let login = codes.complete_email_change(&id, pending.reveal_ticket(), &code).await;
        let token = service.credentials().issue_token(&login.unwrap()).await.unwrap();
        service.credentials().verify_token(token.reveal()).await.unwrap();
    }
    assert_eq!(world.mails(MailKind::EmailChanged), 1);
    let ended = codes.complete_password_reset(other.reveal_ticket(), &other_code, ANOTHER);
    is_no_code(ended.await);
}

#[tokio::test]
async fn a_trusted_device_has_mails_of_its_own() {
    let world = World::new();
    let (mails, verification) = world.verification();
    let throttle = LoginThrottle::new(ReplaySecret::new(&[9; 32]).unwrap());
    let service = world.builder().mails(verification).login_throttle(throttle).build().unwrap();
    let (id, _) = world.kim(&service).await;
    let (accounts, credentials) = (service.accounts(), service.credentials());
    let codes = service.account_codes().unwrap();
    let mark = async |password: &str| {
        let login = credentials.log_in(KIM, password, None, None).await.unwrap();
        login.trusted_device().unwrap().reveal().to_owned()
    };
    let (device, other) = (mark(PASSWORD).await, mark(PASSWORD).await);
    // Strangers use up the mails of the address.
    for number in 0..10 {
        let stranger = Some(ClientIp::from(IpAddr::from(Ipv4Addr::new(192, 0, 2, number))));
        codes.begin_password_reset(KIM, stranger).await.unwrap();
    }
    let mailed = async |device: Option<&str>| {
        mails.drained().await;
        let before = world.mails(MailKind::ResetCode);
        codes.begin_password_reset_from(KIM, None, device).await.unwrap();
        mails.drained().await;
        world.mails(MailKind::ResetCode) > before
    };
    assert!(!mailed(None).await && !mailed(Some("kc_forged")).await);
    // A mark counts for mails after its generation has ended, too.
    accounts.change_password(&id, PASSWORD, ANOTHER).await.unwrap();
    for _ in 0..3 {
        assert!(mailed(Some(&device)).await);
    }
    assert!(!mailed(Some(&device)).await, "a fourth mail in an hour");
    assert!(mailed(Some(&other)).await, "another device");
    // Not for ever, and for nobody else's account.
    service.signup(SignupRequest::new("ann@x.co", PASSWORD)).await.unwrap();
    let of_ann = credentials.log_in("ann@x.co", PASSWORD, None, None).await.unwrap();
    assert!(!mailed(Some(of_ann.trusted_device().unwrap().reveal())).await);
    world.clock.advance(Duration::from_hours(365 * 24));
    for number in 0..10 {
        let stranger = Some(ClientIp::from(IpAddr::from(Ipv4Addr::new(192, 0, 2, number))));
        codes.begin_password_reset(KIM, stranger).await.unwrap();
    }
    assert!(!mailed(Some(&device)).await, "a mark of a year ago");
}

#[tokio::test]
async fn a_notice_is_sent_also_if_the_caller_leaves() {
    let (mut polls, mut finished) = (0, false);
    while !finished {
        polls += 1;
        let world = World::new();
        let (mails, verification) = world.verification();
        let store = Faulty { yields: true, ..Faulty::new(Arc::clone(&world.store)) };
        let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
        let service = SignupService::builder(store)
            .jwt_secret(&[7; 32])
            .clock(world.clock.clone())
            .hash_pool(Arc::new(pool))
            .mails(verification)
            .build()
            .unwrap();
        let signup = service.signup(SignupRequest::new(KIM, PASSWORD)).await.unwrap();
        let (accounts, id) = (service.accounts(), signup.account().id());
        let codes = service.account_codes().unwrap();
        let pending = codes.begin_email_change(id, "new@x.co", None).await.unwrap();
        mails.drained().await;
        let code = world.mailer.last_code("new@x.co").unwrap();
        let change = codes.complete_email_change(id, pending.reveal_ticket(), &code);
        finished = dropped_after(change, polls).await.is_some();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        mails.drained().await;
        let record = accounts.get(id).await.unwrap().unwrap();
        let is_changed = record.account.email().as_str() == "new@x.co";
        assert_eq!(world.mails(MailKind::EmailChanged), usize::from(is_changed), "poll {polls}");
        assert!(is_changed || !finished);
    }
}

#[tokio::test]
async fn a_notice_is_sent_once_if_the_answer_of_the_store_is_lost() {
    let world = World::new();
    let (mails, verification) = world.verification();
    let is_lost = AtomicBool::new(false);
    let at_change = move |change: &AccountChange| {
        let moves = change.effects().iter().any(|it| matches!(it, Effect::RevokeTokens));
        (moves && !is_lost.swap(true, Ordering::SeqCst)).then_some(Fault::LoseAnswer)
    };
    let store =
        Faulty { at_change: Some(Box::new(at_change)), ..Faulty::new(Arc::clone(&world.store)) };
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(store).jwt_secret(&[7; 32]).clock(world.clock.clone());
    let service = service.hash_pool(Arc::new(pool)).mails(verification).build().unwrap();
    let signup = service.signup(SignupRequest::new(KIM, PASSWORD)).await.unwrap();
    let id = signup.account().id();
    let codes = service.account_codes().unwrap();
    let pending = codes.begin_email_change(id, "new@x.co", None).await.unwrap();
    mails.drained().await;
    let code = world.mailer.last_code("new@x.co").unwrap();
    let ticket = pending.reveal_ticket();
    assert!(codes.complete_email_change(id, ticket, &code).await.is_err());
    codes.complete_email_change(id, ticket, &code).await.unwrap();
    mails.drained().await;
    assert_eq!(world.mails(MailKind::EmailChanged), 1);
}

#[tokio::test]
async fn the_right_password_is_right_while_a_log_in_renews_its_hash() {
    let world = World::new();
    let service = world.builder().build().unwrap();
    let (id, _) = world.kim(&service).await;
    let old = world.store.accounts()[0].password_hash().clone();
    let password = Password::parse(PASSWORD).unwrap();
    let new = service.hash_pool().reserve().unwrap().hash(password, &SystemRandom).await.unwrap();
    // Just before the change a log-in stores another hash of the same password.
    let (store, is_renewed) = (Arc::clone(&world.store), AtomicBool::new(false));
    let at_change = move |change: &AccountChange| {
        if !is_renewed.swap(true, Ordering::SeqCst) {
            let renewed = pin!(store.renew_password_hash(change.account(), &old, &new));
            let renewed = renewed.poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(renewed, Poll::Ready(Ok(true))), "{renewed:?}");
        }
        None
    };
    let store =
        Faulty { at_change: Some(Box::new(at_change)), ..Faulty::new(Arc::clone(&world.store)) };
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(store).jwt_secret(&[7; 32]).clock(world.clock.clone());
    let service = service.hash_pool(Arc::new(pool)).build().unwrap();
    service.accounts().change_password(&id, PASSWORD, ANOTHER).await.unwrap();
    service.credentials().verify_password(KIM, ANOTHER).await.unwrap();
}

#[tokio::test]
async fn an_account_that_is_verified_meanwhile_is_not_wiped() {
    let world = World::new();
    let (mails, verification) = world.verification();
    // The owner enters the code just before the reset is stored.
    let (store, is_verified) = (Arc::clone(&world.store), AtomicBool::new(false));
    let at_change = move |change: &AccountChange| {
        let wipes = |effect: &Effect| matches!(effect, Effect::WipeHostRows(_));
        if change.effects().iter().any(wipes) && !is_verified.swap(true, Ordering::SeqCst) {
            let proof = Effect::VerifyEmail(Timestamp::EPOCH);
            let proof = AccountChange::new(change.account().clone()).with(proof);
            let verified = pin!(store.change(proof));
            let verified = verified.poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(verified, Poll::Ready(Ok(ChangeOutcome::Changed))), "{verified:?}");
        }
        None
    };
    let store = Arc::clone(&world.store);
    let store = Faulty { at_change: Some(Box::new(at_change)), ..Faulty::new(store) };
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(store)
        .jwt_secret(&[7; 32])
        .clock(world.clock.clone())
        .hash_pool(Arc::new(pool))
        .verify_after(verification)
        .reset_wipes_unverified()
        .build()
        .unwrap();
    let signup = SignupRequest::new(KIM, PASSWORD).name("Kim");
    let id = service.signup(signup).await.unwrap().account().id().clone();
    mails.drained().await;
    let accounts = service.accounts();
    let codes = service.account_codes().unwrap();
    let pending = codes.begin_password_reset(KIM, None).await.unwrap();
    mails.drained().await;
    let code = world.mailer.last_code(KIM).unwrap();
    let ticket = pending.reveal_ticket();
    // It is the reset of a verified account by now.
    let reset = codes.complete_password_reset(ticket, &code, ANOTHER).await.unwrap();
    assert_eq!((reset.api_keys_ended, reset.api_keys_kept), (0, 1));
    assert_eq!(accounts.get(&id).await.unwrap().unwrap().account.name(), Some("Kim"));
}

/// An equal request may be under way when the first one is repeated.
#[tokio::test]
async fn two_equal_changes_of_address_are_both_answered() {
    let world = World::new();
    let (mails, verification) = world.verification();
    let store = Faulty { yields: true, ..Faulty::new(Arc::clone(&world.store)) };
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(store).jwt_secret(&[7; 32]).clock(world.clock.clone());
    let service = service.hash_pool(Arc::new(pool)).mails(verification).build().unwrap();
    let signup = service.signup(SignupRequest::new(KIM, PASSWORD)).await.unwrap();
    let id = signup.account().id();
    let codes = service.account_codes().unwrap();
    let pending = codes.begin_email_change(id, "new@x.co", None).await.unwrap();
    mails.drained().await;
    let code = world.mailer.last_code("new@x.co").unwrap();
    let change = || codes.complete_email_change(id, pending.reveal_ticket(), &code);
    let (first, second) = tokio::join!(change(), change());
    first.unwrap();
    second.unwrap();
    mails.drained().await;
    assert_eq!(world.mails(MailKind::EmailChanged), 1);
}

/// A session that a reset ends meanwhile gets no API key, whether or not events are stored.
#[tokio::test]
async fn a_session_that_ends_meanwhile_leaves_no_api_key() {
    for has_events in [false, true] {
        let (mut polls, mut finished) = (0, false);
        while !finished {
            polls += 1;
            let store = Faulty { yields: true, ..Faulty::new(Store::default()) };
            let store = Arc::new(store);
            let pool = HashPool::builder().workers(1).engine(FakeEngine::default());
            let pool = Arc::new(pool.build().unwrap());
            let service = SignupService::builder(Arc::clone(&store)).jwt_secret(&[7; 32]);
            let service = service.hash_pool(pool);
            let service = if has_events { service.with_events() } else { service };
            let service = service.build().unwrap();
            let signup = service.signup(SignupRequest::new(KIM, PASSWORD)).await.unwrap();
            let id = signup.account().id();
            let credentials = service.credentials();
            let session = credentials.verify_token(signup.token().reveal()).await.unwrap();
            let mut issue = pin!(credentials.issue_api_key(&session, None));
            for _ in 0..polls {
                let polled = issue.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                finished = polled.is_ready();
                if finished {
                    break;
                }
            }
            let accounts = service.accounts().revoking_api_keys();
            accounts.change_password(id, PASSWORD, ANOTHER).await.unwrap();
            if !finished {
                let refused = issue.await.err();
                let store = &store.store;
                let left = store.api_keys().len();
                assert_eq!(left, 0, "{refused:?} after {polls} polls, events: {has_events}");
            }
        }
        assert!(polls > 3, "{polls} polls");
    }
}

#[tokio::test]
async fn a_notice_reports_the_api_keys_that_ended_and_stay() {
    let world = World::new();
    let (mails, verification) = world.verification();
    let service = world.builder().mails(verification).build().unwrap();
    let (id, _) = world.kim(&service).await;
    let accounts = service.accounts();
    accounts.change_password(&id, PASSWORD, ANOTHER).await.unwrap();
    accounts.clone().revoking_api_keys().change_password(&id, ANOTHER, PASSWORD).await.unwrap();
    accounts.change_password(&id, PASSWORD, ANOTHER).await.unwrap();
    mails.drained().await;
    let sent = world.mailer.sent();
    let notices = sent.iter().filter(|mail| mail.kind() == MailKind::PasswordChanged);
    let counts: Vec<_> = notices
        .clone()
        .map(|mail| mail.api_keys().map(|keys| (keys.ended, keys.kept)).unwrap())
        .collect();
    assert_eq!(counts, [(0, 1), (1, 0), (0, 0)]);
    let texts: Vec<_> = notices.map(Mail::text).collect();
    assert!(texts[0].contains("ended with it: 0. Still valid: 1."), "{}", texts[0]);
    assert!(texts[2].contains("has no API keys"), "{}", texts[2]);
}
