//! The relay of events: at least once, in the order of each account, whatever fails.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::support::events_of;
use async_trait::async_trait;
use signup::account::{AccountId, AccountState, Plan};
use signup::clock::{Clock, ManualClock, Timestamp};
use signup::credentials::ApiKeyOptions;
use signup::event::EventKind;
use signup::hash::{FakeEngine, HashPool};
use signup::relay::{
    DeadLetterPolicy, Delivery, DeliveryCounts, EventRelay, RelayError, Sink, SinkError,
};
use signup::store::conformance::dropped_after;
use signup::store::{DeliveryState, EventQuery, EventStore, OldEvents};
use signup::{Housekeeping, SignupRequest, SignupService};
use tokio::sync::Notify;

use crate::support::faults::{Fault, Faulty};
use crate::support::stores::{self, Inspect};

const DEADLINE: Duration = Duration::from_secs(10);
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// The behaviour of a sink at one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Take,
    Defer,
    Refuse,
    Panic,
    Hang,
}

type Script = Box<dyn Fn(&Delivery) -> Act + Send + Sync>;

/// A sink that does as it is told, and keeps what it was given.
struct Recorder {
    given: Mutex<Vec<(Delivery, Act)>>,
    script: Script,
}

impl Recorder {
    fn new(script: impl Fn(&Delivery) -> Act + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { given: Mutex::default(), script: Box::new(script) })
    }

    fn taking() -> Arc<Self> {
        Self::new(|_| Act::Take)
    }

    fn given(&self) -> Vec<(Delivery, Act)> {
        self.given.lock().unwrap().clone()
    }

    /// Returns the numbers of an account's events, as they were taken.
    fn taken_of(&self, id: &AccountId) -> Vec<i64> {
        let given = self.given();
        let own = given.iter().filter(|(it, act)| it.event.account_id() == id && *act == Act::Take);
        own.map(|(delivery, _)| delivery.event.number()).collect()
    }

    /// Checks that the first deliveries of each account's events are all there, in their
    /// order, and returns how many there were beside.
    fn has_all(&self, host: &Host) -> usize {
        let mut repeated = 0;
        for (id, events) in &host.events {
            let mut last = 0;
            for number in self.taken_of(id) {
                assert!(number <= last + 1, "{number} after {last}");
                repeated += usize::from(number <= last);
                last = last.max(number);
            }
            assert_eq!(last, *events, "events were lost");
        }
        repeated
    }
}

/// The sink of several relays.
struct Shared(Arc<Recorder>);

#[async_trait]
impl Sink for Shared {
    async fn deliver(&self, delivery: Delivery) -> Result<(), SinkError> {
        let act = (self.0.script)(&delivery);
        self.0.given.lock().unwrap().push((delivery, act));
        match act {
            Act::Take => Ok(()),
            Act::Defer => Err(SinkError::Temporary("told to".into())),
            Act::Refuse => Err(SinkError::Permanent("told to".into())),
            Act::Panic => panic!("the sink was told to panic"),
            Act::Hang => std::future::pending().await,
        }
    }
}

/// A service with accounts whose events are to be delivered.
struct Host {
    service: SignupService<Arc<dyn EventStore>>,
    clock: ManualClock,
    store: Arc<dyn Inspect>,
    /// By account, the number of its events.
    events: HashMap<AccountId, i64>,
    ids: Vec<AccountId>,
}

/// A wrapper of a store, for faults.
type Wrap<'a> = &'a dyn Fn(Arc<dyn EventStore>) -> Arc<dyn EventStore>;

impl Host {
    /// Signs accounts up that have three events each.
    async fn with_accounts(store: Arc<dyn Inspect>, accounts: usize, wrap: Wrap<'_>) -> Self {
        let clock = ManualClock::at_unix(1_750_000_000);
        let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
        let whole: Arc<dyn EventStore> = Arc::clone(&store) as _;
        let service = SignupService::builder(wrap(whole))
            .jwt_secret(&[7; 32])
            .clock(clock.clone())
            .hash_pool(Arc::new(pool))
            .with_events()
            .build()
            .unwrap();
        let (events, ids) = Default::default();
        let mut host = Self { service, clock, store, events, ids };
        for number in 0..accounts {
            let request = SignupRequest::new(format!("u{number}@x.co"), "correct horse");
            let id = host.service.signup(request).await.unwrap().account().id().clone();
            host.service.accounts().set_plan(&id, Plan::PRO).await.unwrap();
            host.service.accounts().set_name(&id, Some("Kim")).await.unwrap();
            host.events.insert(id.clone(), 3);
            host.ids.push(id);
        }
        host
    }

    async fn new(store: Arc<dyn Inspect>, accounts: usize) -> Self {
        Self::with_accounts(store, accounts, &|store| store).await
    }

    fn relay(&self, sink: &Arc<Recorder>) -> EventRelay {
        let relay = self.service.event_relay(Shared(Arc::clone(sink)));
        relay.deadline(DEADLINE).attempts(3, FIRST_WAIT)
    }

    fn now(&self) -> Timestamp {
        Timestamp::read(&self.clock, Timestamp::MAX).unwrap()
    }

    async fn waiting(&self) -> u64 {
        self.store.event_backlog(1_000).await.unwrap().waiting
    }

    async fn stopped(&self) -> u64 {
        self.store.event_backlog(1_000).await.unwrap().stopped
    }
}

/// Runs until nothing is left.
async fn drain(relay: &EventRelay) -> DeliveryCounts {
    let mut total = relay.run_once().await.unwrap();
    while relay.backlog().await.unwrap().waiting > 0 {
        let round = relay.run_once().await.unwrap();
        assert_ne!(round, DeliveryCounts::default(), "nothing is due, and something is left");
        total.delivered += round.delivered;
    }
    total
}

async fn each_event_is_delivered_once_in_its_order(store: Arc<dyn Inspect>) {
    let host = Host::new(store, 40).await;
    let sink = Recorder::taking();
    let relay = host.relay(&sink);
    host.clock.advance(Duration::from_secs(7));
    assert_eq!(relay.lag().await.unwrap(), Duration::from_secs(7));
    assert_eq!(drain(&relay).await.delivered, 120);
    assert_eq!((sink.has_all(&host), sink.given().len()), (0, 120));
    for (delivery, _) in sink.given() {
        assert_eq!(delivery.attempt, 1);
        assert!(delivery.fence > 0);
    }
    assert_eq!(relay.run_once().await.unwrap(), DeliveryCounts::default());
    assert_eq!(relay.lag().await.unwrap(), Duration::ZERO);
    // The history stays, until it is old.
    assert_eq!(events_of(&host.store, &host.ids[0], 9).await.unwrap().len(), 3);
    host.store.purge_events(OldEvents::Delivered, host.now(), 1_000).await.unwrap();
    assert_eq!(events_of(&host.store, &host.ids[0], 9).await.unwrap(), []);
}

async fn a_failure_is_tried_again_and_then_given_up(store: Arc<dyn Inspect>) {
    let host = Host::new(store, 2).await;
    let [bad, good] = [0, 1].map(|at| host.ids[at].clone());
    let is_broken = Arc::new(AtomicBool::new(true));
    let sink = {
        let (bad, is_broken) = (bad.clone(), Arc::clone(&is_broken));
        Recorder::new(move |delivery| {
            let is_bad = *delivery.event.account_id() == bad && delivery.event.number() == 2;
            if is_bad && is_broken.load(Ordering::SeqCst) { Act::Defer } else { Act::Take }
        })
    };
    let relay = host.relay(&sink);
    let attempts = || {
        let given = sink.given();
        let of_bad =
            given.iter().filter(|(it, _)| *it.event.account_id() == bad && it.event.number() == 2);
        of_bad.map(|(delivery, _)| delivery.attempt).collect::<Vec<_>>()
    };
    let round = relay.run_once().await.unwrap();
    assert_eq!((round.delivered, round.failed, round.dead), (4, 1, 0));
    // Five seconds, then ten, each give or take a quarter.
    for (wait, attempt) in [(5, 2), (10, 3)] {
        host.clock.advance(Duration::from_millis(wait * 750 - 1));
        assert_eq!(relay.run_once().await.unwrap(), DeliveryCounts::default());
        host.clock.advance(Duration::from_millis(wait * 500 + 1));
        relay.run_once().await.unwrap();
        assert_eq!(attempts(), (1..=attempt).collect::<Vec<_>>());
    }
    assert_eq!((host.stopped().await, host.waiting().await), (1, 1));
    assert_eq!((sink.taken_of(&bad), sink.taken_of(&good)), (vec![1], vec![1, 2, 3]));
    host.clock.advance(Duration::from_hours(1000));
    assert_eq!(relay.run_once().await.unwrap(), DeliveryCounts::default());
    let dead = host.store.list_events(EventQuery::GivenUp { after: None }, 10).await.unwrap();
    assert_eq!((dead[0].event.number(), dead[0].attempts), (2, 3));
    assert_eq!(dead[0].event.kind(), EventKind::AccountPlanChanged);
    // The receiver is mended, and the host lets the account go on.
    is_broken.store(false, Ordering::SeqCst);
    assert!(host.store.settle_dead_letter(&bad, 2, Some(host.now())).await.unwrap());
    assert_eq!(drain(&relay).await.delivered, 2);
    assert_eq!(sink.has_all(&host), 0);
}

async fn a_dead_letter_can_be_skipped(store: Arc<dyn Inspect>) {
    let host = Host::new(store, 3).await;
    let sink = Recorder::new(
        |delivery| {
            if delivery.event.number() == 1 { Act::Refuse } else { Act::Take }
        },
    );
    let relay = host.relay(&sink).dead_letters(DeadLetterPolicy::Skip);
    // What can't be delivered is given up at once.
    let round = relay.run_once().await.unwrap();
    assert_eq!((round.delivered, round.failed, round.dead), (6, 0, 3));
    assert_eq!(host.waiting().await, 0);
    let dead = host.store.list_events(EventQuery::GivenUp { after: None }, 10).await.unwrap();
    assert!(dead.iter().all(|it| it.state == DeliveryState::Skipped && it.event.number() == 1));
    assert_eq!(dead.len(), 3);
    // Or the host skips it itself.
    let stopping = host.relay(&sink);
    let first = &host.ids[0];
    assert!(host.store.settle_dead_letter(first, 1, Some(host.now())).await.unwrap());
    assert_eq!(stopping.run_once().await.unwrap().dead, 1);
    assert_eq!(host.stopped().await, 1);
    assert!(host.store.settle_dead_letter(first, 1, None).await.unwrap());
    assert_eq!(host.stopped().await, 0);
}

async fn a_sink_that_panics_or_hangs_harms_no_other_event(store: Arc<dyn Inspect>) {
    let host = Host::new(store, 6).await;
    let [panics, hangs] = [0, 1].map(|at| host.ids[at].clone());
    let sink = {
        let (panics, hangs) = (panics.clone(), hangs.clone());
        Recorder::new(move |delivery| match (delivery.event.account_id(), delivery.attempt) {
            (id, 1) if *id == panics => Act::Panic,
            (id, 1) if *id == hangs => Act::Hang,
            _ => Act::Take,
        })
    };
    // On a busy machine the deadline may be too short for any event, which is another failure.
    let relay = host.relay(&sink).deadline(Duration::from_millis(100)).attempts(100, FIRST_WAIT);
    while host.waiting().await > 0 {
        relay.run_once().await.unwrap();
        host.clock.advance(FIRST_WAIT);
    }
    sink.has_all(&host);
    let given = sink.given();
    for act in [Act::Panic, Act::Hang] {
        assert!(given.iter().any(|(_, did)| *did == act), "{act:?}");
    }
}

async fn instances_share_the_work(store: Arc<dyn Inspect>) {
    let host = Host::new(store, 60).await;
    let sink = Recorder::taking();
    let relays = [(); 3].map(|()| host.relay(&sink));
    while host.waiting().await > 0 {
        let [first, second, third] = &relays;
        let rounds = tokio::join!(first.run_once(), second.run_once(), third.run_once());
        for round in [rounds.0, rounds.1, rounds.2] {
            round.unwrap();
        }
    }
    assert_eq!((sink.has_all(&host), sink.given().len()), (0, 180));
}

/// The first instance is slower than its lease, the second one goes on without it.
async fn who_has_lost_its_lease_settles_nothing(store: Arc<dyn Inspect>) {
    let host = Host::new(store, 1).await;
    let (begun, goes_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (begun, goes_on) = (Arc::clone(&begun), Arc::clone(&goes_on));
        move |_: Delivery| {
            let (begun, goes_on) = (Arc::clone(&begun), Arc::clone(&goes_on));
            async move {
                begun.notify_one();
                goes_on.notified().await;
                Err(SinkError::Permanent("it would stop the account".into()))
            }
        }
    };
    let relay = host.service.event_relay(slow).deadline(Duration::from_mins(1));
    let late = tokio::spawn(async move { relay.run_once().await });
    begun.notified().await;
    let sink = Recorder::taking();
    let other = host.relay(&sink);
    assert_eq!(other.run_once().await.unwrap(), DeliveryCounts::default(), "it is leased");
    host.clock.advance(Duration::from_mins(3));
    assert_eq!(other.run_once().await.unwrap().delivered, 3);
    goes_on.notify_one();
    late.await.unwrap().unwrap();
    assert_eq!((host.waiting().await, host.stopped().await), (0, 0));
    assert_eq!(sink.has_all(&host), 0);
    let fences: HashSet<_> = sink.given().iter().map(|(delivery, _)| delivery.fence).collect();
    assert_eq!(fences, HashSet::from([2]), "the fence of the second lease");
}

async fn a_relay_that_is_dropped_repeats_and_loses_nothing(store: Arc<dyn Inspect>) {
    let host = Host::new(store, 5).await;
    let sink = Recorder::taking();
    let (mut polls, mut finished) = (0, false);
    while !finished {
        polls += 1;
        // An attempt that is cut off counts, and the next one waits, for hours at most.
        let relay = host.relay(&sink).attempts(10_000, FIRST_WAIT);
        finished =
            dropped_after(relay.run_once(), polls).await.is_some() && host.waiting().await == 0;
        assert!(polls < 5_000 || finished, "{} events wait forever", host.waiting().await);
        host.clock.advance(Duration::from_hours(7));
    }
    sink.has_all(&host);
}

async fn faults_of_the_store_repeat_and_lose_nothing(store: Arc<dyn Inspect>) {
    let next = Arc::new(Mutex::default());
    let planned = Arc::clone(&next);
    let wrap = move |store| -> Arc<dyn EventStore> {
        Arc::new(Faulty { next: Arc::clone(&planned), ..Faulty::new(store) })
    };
    let host = Host::with_accounts(store, 3, &wrap).await;
    let sink = Recorder::taking();
    // An attempt that a fault cuts off counts, and the next one waits.
    let relay = host.relay(&sink).at_a_time(1, 1).attempts(100, FIRST_WAIT);
    let faults = [Fault::Unavailable, Fault::OutcomeUnknown, Fault::Failed, Fault::LoseAnswer];
    for (at, fault) in (0..12).flat_map(|at| faults.map(|fault| (at, fault))) {
        host.service.accounts().set_plan(&host.ids[0], Plan::SCALE).await.unwrap();
        next.lock().unwrap().extend((0..at).map(|_| None).chain([Some(fault)]));
        let _ = relay.run_once().await;
        next.lock().unwrap().clear();
        host.clock.advance(Duration::from_hours(7));
    }
    drain(&relay).await;
    let first = sink.taken_of(&host.ids[0]);
    let expected = 3 + 12 * i64::try_from(faults.len()).unwrap();
    let host = Host { events: HashMap::from([(host.ids[0].clone(), expected)]), ..host };
    assert!(sink.has_all(&host) < first.len());
}

/// Accounts whose receiver never answers delay no other account.
async fn a_receiver_that_hangs_delays_its_own_account_only(store: Arc<dyn Inspect>) {
    let host = Host::new(store, 40).await;
    let good: HashSet<_> = host.ids.iter().take(20).cloned().collect();
    let (sink, end) = {
        let good = good.clone();
        let act = move |delivery: &Delivery| {
            if good.contains(delivery.event.account_id()) { Act::Take } else { Act::Hang }
        };
        (Recorder::new(act), Arc::new(Notify::new()))
    };
    // The attempts that hang would last for an hour.
    let relay = host.relay(&sink).deadline(Duration::from_hours(1));
    let running = {
        let end = Arc::clone(&end);
        let relay = relay.poll_every(Duration::from_millis(1));
        tokio::spawn(relay.run(async move { end.notified().await }))
    };
    while good.iter().any(|id| sink.taken_of(id).len() < 3) {
        tokio::task::yield_now().await;
    }
    // One that comes later is delivered, too.
    let (first, hangs) = (&host.ids[0], &host.ids[30]);
    host.service.accounts().disable(first).await.unwrap();
    while sink.taken_of(first).len() < 4 {
        tokio::task::yield_now().await;
    }
    assert_eq!(sink.taken_of(hangs), [0; 0]);
    running.abort();
    let _ = running.await;
}

/// An attempt that ends the process is counted, and its event is given up like any other.
async fn an_attempt_that_is_cut_off_is_counted(store: Arc<dyn Inspect>) {
    let host = Host::new(store, 1).await;
    let sink = Recorder::new(|_| Act::Hang);
    for attempt in 1..=3 {
        let relay = host.relay(&sink);
        let cut = tokio::spawn(async move { relay.run_once().await });
        while sink.given().len() < attempt {
            tokio::task::yield_now().await;
        }
        cut.abort();
        let _ = cut.await;
        host.clock.advance(Duration::from_hours(7));
    }
    let attempts: Vec<_> = sink.given().iter().map(|(delivery, _)| delivery.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert_eq!(host.relay(&sink).run_once().await.unwrap().dead, 1);
    assert_eq!((sink.given().len(), host.stopped().await), (3, 1));
}

async fn housekeeping_does_what_is_due(store: Arc<dyn Inspect>) {
    let host = Host::new(store, 400).await;
    let (sink, day) = (Recorder::taking(), Duration::from_hours(24));
    let (accounts, credentials) = (host.service.accounts(), host.service.credentials());
    drain(&host.relay(&sink).at_a_time(16, 128)).await;
    let hour = ApiKeyOptions::new().lifetime(Duration::from_hours(1));
    credentials.issue_api_key_with(&host.ids[0], &hour).await.unwrap();
    accounts.request_deletion(&host.ids[1], day).await.unwrap();
    accounts.request_deletion(&host.ids[2], 60 * day).await.unwrap();
    let daily = Housekeeping::default().keep_events(10 * day);
    let nothing = host.service.housekeep(&daily).await;
    assert_eq!((nothing.accounts.erased, nothing.api_keys, nothing.events), (0, 0, 0));
    host.clock.advance(11 * day);
    // 1,200 events are old: one batch of them fits into no time at all.
    let first = host.service.housekeep(&daily.clone().budget(Duration::ZERO)).await;
    assert_eq!((first.accounts.erased, first.api_keys, first.events), (1, 1, 1_000));
    assert!(first.more && !first.accounts.more && first.failures.is_empty(), "{first:?}");
    let second = host.service.housekeep(&daily).await;
    assert_eq!((second.accounts.erased, second.api_keys, second.events), (0, 0, 200));
    assert!(!second.more && second.failures.is_empty(), "{second:?}");
    let [erased, planned] = [1, 2].map(|at| accounts.get(&host.ids[at]));
    assert_eq!(erased.await.unwrap().unwrap().state, AccountState::Erased);
    assert_eq!(planned.await.unwrap().unwrap().state, AccountState::PendingDeletion);
    // What was not delivered stays, unless no relay runs.
    let waiting = host.waiting().await;
    let none_left = daily.keep_events(Duration::ZERO).delete_undelivered();
    let last = host.service.housekeep(&none_left).await;
    assert_eq!((last.events, host.waiting().await), (waiting, 0));
}

async fn housekeeping_goes_on_past_a_failure(store: Arc<dyn Inspect>) {
    let next = Arc::new(Mutex::default());
    let planned = Arc::clone(&next);
    let wrap = move |store| -> Arc<dyn EventStore> {
        Arc::new(Faulty { next: Arc::clone(&planned), ..Faulty::new(store) })
    };
    let host = Host::with_accounts(store, 3, &wrap).await;
    let (sink, day) = (Recorder::taking(), Duration::from_hours(24));
    drain(&host.relay(&sink)).await;
    host.service.accounts().request_deletion(&host.ids[0], day).await.unwrap();
    host.clock.advance(40 * day);
    // Each call fails once: the list of accounts, the change of one, and three purges, which
    // come one call earlier when the account is erased.
    let mut failed = Vec::new();
    for at in [0, 1, 2, 2, 3] {
        next.lock().unwrap().extend((0..at).map(|_| None).chain([Some(Fault::Unavailable)]));
        let done = host.service.housekeep(&Housekeeping::default()).await;
        next.lock().unwrap().clear();
        assert!(!done.more);
        failed.extend(done.failures.iter().map(|(job, _)| *job));
        failed.extend(done.accounts.failed.iter().map(|_| "an account"));
    }
    let expected = ["erase accounts", "an account", "delete API keys", "delete tickets"];
    for job in expected.into_iter().chain(["delete events"]) {
        assert!(failed.contains(&job), "{job} did not fail: {failed:?}");
    }
    let left = host.service.housekeep(&Housekeeping::default()).await;
    assert!(left.failures.is_empty() && left.accounts.failed.is_empty(), "{left:?}");
    let erased = host.service.accounts().get(&host.ids[0]).await.unwrap().unwrap();
    assert_eq!((erased.state, host.waiting().await), (AccountState::Erased, 2));
}

#[tokio::test]
async fn a_setting_that_can_t_work_is_refused() {
    let host = Host::new(stores::memory(), 1).await;
    let sink = Recorder::taking();
    let zero = Duration::ZERO;
    for relay in [
        host.relay(&sink).deadline(zero),
        host.relay(&sink).deadline(Duration::MAX),
        host.relay(&sink).attempts(20, zero),
        host.relay(&sink).poll_every(zero),
    ] {
        let refused = relay.run_once().await;
        assert!(matches!(refused, Err(RelayError::Setting(_))), "{relay:?}: {refused:?}");
        // It ends at once.
        relay.run(std::future::pending()).await;
    }
    let store: Arc<dyn EventStore> = stores::memory();
    let silent = SignupService::builder(store).jwt_secret(&[7; 32]).build().unwrap();
    let refused = silent.event_relay(Shared(Arc::clone(&sink))).run_once().await;
    assert!(matches!(refused, Err(RelayError::Setting(_))), "{refused:?}");
    assert_eq!(sink.given().len(), 0);
}

async fn an_erased_account_has_told_no_more(store: Arc<dyn Inspect>) {
    let host = Host::new(store, 1).await;
    host.service.accounts().erase(&host.ids[0]).await.unwrap();
    let sink = Recorder::taking();
    drain(&host.relay(&sink)).await;
    let told: Vec<_> = sink
        .given()
        .iter()
        .map(|(delivery, _)| (delivery.event.kind(), delivery.event.data().to_owned()))
        .collect();
    let nothing = "{}".to_owned();
    assert_eq!(
        told,
        [
            (EventKind::AccountCreated, nothing.clone()),
            (EventKind::AccountPlanChanged, nothing.clone()),
            (EventKind::AccountUpdated, nothing),
            (EventKind::AccountErased, r#"{"banned":false}"#.to_owned()),
        ]
    );
}

async fn it_runs_until_it_is_told_to_end(store: Arc<dyn Inspect>) {
    let host = Host::new(store, 20).await;
    let (sink, end) = (Recorder::taking(), Arc::new(Notify::new()));
    let relay = host.relay(&sink).poll_every(Duration::from_millis(1));
    let running = {
        let end = Arc::clone(&end);
        tokio::spawn(relay.run(async move { end.notified().await }))
    };
    while host.waiting().await > 0 {
        tokio::task::yield_now().await;
    }
    // Idle, it sees what comes later.
    host.service.accounts().disable(&host.ids[0]).await.unwrap();
    while host.waiting().await > 0 {
        tokio::task::yield_now().await;
    }
    end.notify_one();
    running.await.unwrap();
    assert_eq!(sink.given().len(), 61);
}

/// A clock that ends who looks at it without end.
struct Watch(AtomicUsize);

impl Clock for Watch {
    fn wall(&self) -> SystemTime {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) < 1000, "it looks without a wait");
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

#[tokio::test]
async fn it_waits_if_nothing_was_due_and_not_otherwise() {
    let host = Host::new(stores::memory(), 1).await;
    let end = Arc::new(Notify::new());
    let (given, mut gets) = tokio::sync::mpsc::unbounded_channel();
    let service = host.service.clone();
    let sink = move |delivery: Delivery| {
        let (service, given) = (service.clone(), given.clone());
        async move {
            // Other accounts, most of them in another partition, while this one is worked on.
            if delivery.event.number() == 3 {
                for number in 0..8 {
                    let request = SignupRequest::new(format!("v{number}@x.co"), "correct horse");
                    service.signup(request).await.unwrap();
                }
            }
            given.send(delivery.event.number()).unwrap();
            Ok::<_, SinkError>(())
        }
    };
    let relay = host.service.event_relay(sink).clock(Arc::new(Watch(AtomicUsize::new(0))));
    let relay = relay.poll_every(Duration::from_hours(1));
    let running = {
        let end = Arc::clone(&end);
        tokio::spawn(relay.run(async move { end.notified().await }))
    };
    for _ in 0..3 + 8 {
        gets.recv().await.unwrap();
    }
    // Now it is idle.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!running.is_finished(), "it ended without being told to");
    end.notify_one();
    running.await.unwrap();
}

#[tokio::test]
async fn a_shared_sink_is_the_sink_itself() {
    let host = Host::new(stores::memory(), 2).await;
    let sink = Recorder::taking();
    let shared: Arc<dyn Sink> = Arc::new(Shared(Arc::clone(&sink)));
    drain(&host.service.event_relay(shared)).await;
    assert_eq!(sink.given().len(), 6);
}

macro_rules! on_every_store {
    ($($case:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::stores::memory()).await;
            })+
        }

        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::stores::sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
            async fn $case() {
                super::$case(super::stores::postgres().await).await;
            })+
        }
    };
}
on_every_store!(
    each_event_is_delivered_once_in_its_order,
    a_failure_is_tried_again_and_then_given_up,
    a_dead_letter_can_be_skipped,
    a_sink_that_panics_or_hangs_harms_no_other_event,
    instances_share_the_work,
    who_has_lost_its_lease_settles_nothing,
    a_relay_that_is_dropped_repeats_and_loses_nothing,
    faults_of_the_store_repeat_and_lose_nothing,
    a_receiver_that_hangs_delays_its_own_account_only,
    an_attempt_that_is_cut_off_is_counted,
    an_erased_account_has_told_no_more,
    it_runs_until_it_is_told_to_end,
    housekeeping_does_what_is_due,
    housekeeping_goes_on_past_a_failure,
);
