//! Three MariaDBs that are one database: what one has committed the others know, a sign-up is
//! stored once wherever it arrives, and nothing that was answered is lost with a node.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use signup::fields::{Email, EmailProfile};
use signup::hash::{FakeEngine, HashPool};
use signup::store::conformance::{AccountRow, Harness as _, Sample};
use signup::store::{
    AccountStore as _, CreateOutcome, FindBy, LifecycleStore as _, MySqlStore, StoreError,
};
use signup::{SignupError, SignupRequest, SignupService};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tokio::task::JoinSet;

use crate::support::galera::Galera;
use crate::support::rounds;

const CROWD: usize = 1000;

/// A service on each node.
async fn services() -> ([SignupService<MySqlStore>; 3], [MySqlStore; 3]) {
    let stores = Galera::shared().stores().await;
    let stores = stores.map(|store| store.with_deadline(Duration::from_mins(1)));
    let service = |store: &MySqlStore| {
        let pool = HashPool::builder().workers(1).queue(CROWD).engine(FakeEngine::default());
        let service = SignupService::builder(store.clone()).jwt_secret(&[7; 32]);
        service.hash_pool(Arc::new(pool.build().unwrap())).build().unwrap()
    };
    (stores.each_ref().map(service), stores)
}

/// Sends a crowd of sign-ups to the nodes in turn, and returns how many were stored and how
/// many found their address taken.
async fn crowd(
    services: &[SignupService<MySqlStore>; 3],
    email: impl Fn(usize) -> String,
) -> (usize, usize) {
    let mut tasks = JoinSet::new();
    for number in 0..CROWD {
        let (service, email) = (services[number % 3].clone(), email(number));
        tasks.spawn(async move {
            match service.signup(SignupRequest::new(&*email, "correct horse")).await {
                Ok(_) => true,
                Err(SignupError::EmailTaken) => false,
                Err(other) => panic!("{other:?}"),
            }
        });
    }
    let stored = tasks.join_all().await;
    let all = stored.len();
    let stored = stored.into_iter().filter(|stored| *stored).count();
    (stored, all - stored)
}

/// Returns the accounts, which all nodes agree on, each with its key.
async fn agreed(stores: &[MySqlStore; 3]) -> Vec<AccountRow> {
    let mut all = Vec::new();
    for store in stores {
        let mut accounts = store.account_rows().await;
        accounts.sort_by(|a, b| a.id.cmp(&b.id));
        let keys = store.api_key_rows().await;
        let owners: HashSet<_> = keys.iter().map(|key| key.account_id.clone()).collect();
        assert_eq!((keys.len(), owners.len()), (accounts.len(), accounts.len()));
        assert!(accounts.iter().all(|account| owners.contains(&account.id)));
        all.push(accounts);
    }
    let first = all.swap_remove(0);
    assert!(all.iter().all(|other| *other == first), "the nodes disagree");
    first
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Galera: scripts/test.sh starts a cluster"]
async fn a_thousand_sign_ups_of_one_address_over_three_nodes_store_one() {
    let (services, stores) = services().await;
    let rounds = rounds(3, 20);
    for round in 0..rounds {
        let outcomes = crowd(&services, |_| format!("round{round}@x.co")).await;
        assert_eq!(outcomes, (1, CROWD - 1));
    }
    let distinct = crowd(&services, |number| format!("own{number}@x.co")).await;
    assert_eq!(distinct, (CROWD, 0));
    assert_eq!(agreed(&stores).await.len(), rounds + CROWD);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Galera: scripts/test.sh starts a cluster"]
async fn a_node_that_lags_behind_is_waited_for_by_what_decides() {
    let stores = Galera::shared().stores().await;
    let database = stores[1].pool().connect_options().get_database().unwrap().to_owned();
    let new = Sample::new(1).email("a@x.co").build();
    // The node takes what the others have committed, and does not apply it.
    let mut holder =
        MySqlConnection::connect_with(&stores[1].pool().connect_options()).await.unwrap();
    holder.execute("FLUSH TABLES WITH READ LOCK").await.unwrap();
    assert_eq!(stores[0].create(new.clone()).await.unwrap(), CreateOutcome::Stored);
    let behind: i64 =
        sqlx::query_scalar("SELECT count(*) FROM accounts").fetch_one(&mut holder).await.unwrap();
    assert_eq!(behind, 0, "the node does not lag");

    let store = stores[1].clone();
    let digest = *new.key_digest();
    let look = tokio::spawn(async move {
        let email = Email::parse("a@x.co", EmailProfile::default()).unwrap();
        let (password, key, taken) = tokio::join!(
            store.find_login(FindBy::Email(email.key())),
            store.find_key_owner(&digest),
            store.is_email_taken(email.key())
        );
        (password.unwrap().is_some(), key.unwrap().is_some(), taken.unwrap())
    });
    // Until all three wait there.
    let waiting = format!(
        "SELECT count(*) FROM information_schema.processlist
         WHERE db = '{database}' AND command <> 'Sleep' AND id <> connection_id()"
    );
    loop {
        let waiting: i64 = sqlx::query_scalar(AssertSqlSafe(waiting.clone()))
            .fetch_one(&mut holder)
            .await
            .unwrap();
        if waiting == 3 || look.is_finished() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    holder.execute("UNLOCK TABLES").await.unwrap();
    assert_eq!(look.await.unwrap(), (true, true, true));
}

/// The answers to the sign-ups of a load.
#[derive(Default)]
struct Answers {
    stored: Vec<String>,
    refused: Vec<String>,
    unknown: usize,
}

/// Stores accounts on the nodes in turn until it is told to stop.
async fn load(
    stores: [MySqlStore; 3],
    worker: usize,
    next: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Answers {
    let mut answers = Answers::default();
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for turn in worker.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        pace.tick().await;
        let new = Sample::new(next.fetch_add(1, Ordering::Relaxed)).build();
        let id = new.id().as_str().to_owned();
        match stores[turn % 3].create(new).await {
            Ok(CreateOutcome::Stored) => {
                answered.fetch_add(1, Ordering::Relaxed);
                answers.stored.push(id);
            }
            Err(StoreError::Unavailable(_)) => answers.refused.push(id),
            Err(StoreError::OutcomeUnknown(_)) => answers.unknown += 1,
            other => panic!("{other:?}"),
        }
    }
    answers
}

/// The trouble of a node.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Stopped,
    Killed,
    CutOff,
}

/// Looks until it holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never {what}");
}

/// Returns a status variable of a node that answers.
async fn status(galera: &Galera, node: usize, name: &str) -> Option<String> {
    let look = async {
        let mut connection = MySqlConnection::connect(&galera.url(node)).await.ok()?;
        let show = format!("SHOW STATUS LIKE '{name}'");
        let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(show))).await.ok()?;
        sqlx::Row::try_get_unchecked(&row, 1).ok()
    };
    tokio::time::timeout(Duration::from_secs(2), look).await.ok()?
}

async fn isolate(galera: &Galera, node: usize, isolated: u8) {
    let mut connection = MySqlConnection::connect(&galera.url(node)).await.unwrap();
    let set = format!("SET GLOBAL wsrep_provider_options = 'gmcast.isolate={isolated}'");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(set))).await.unwrap();
}

/// Takes a node from the cluster, lets the others work, and brings it back.
async fn strike(galera: &Galera, node: usize, trouble: Trouble, answered: &AtomicU64) {
    match trouble {
        Trouble::Stopped => galera.signal(node, "-STOP"),
        Trouble::Killed => galera.signal(node, "-KILL"),
        Trouble::CutOff => isolate(galera, node, 1).await,
    }
    let others = [(node + 1) % 3, (node + 2) % 3];
    for other in others {
        let two = || async { status(galera, other, "wsrep_cluster_size").await };
        until("without the node", async || two().await.as_deref() == Some("2")).await;
    }
    let before = answered.load(Ordering::Relaxed);
    until("answers without the node", async || answered.load(Ordering::Relaxed) > before + 20)
        .await;
    match trouble {
        Trouble::Stopped => galera.signal(node, "-CONT"),
        Trouble::Killed => galera.rejoin(node),
        Trouble::CutOff => isolate(galera, node, 0).await,
    }
    until("together again", async || are_together(galera).await).await;
}

/// Tells whether all nodes answer as members of the same cluster.
///
/// A node that was stopped still believes in the cluster of before until it hears of the new
/// one, so that all must know of the same number of changes.
async fn are_together(galera: &Galera) -> bool {
    let mut changes = HashSet::new();
    for node in 0..3 {
        let status = async |name| status(galera, node, name).await.unwrap_or_default();
        if status("wsrep_cluster_size").await != "3"
            || status("wsrep_local_state_comment").await != "Synced"
            || status("wsrep_ready").await != "ON"
        {
            return false;
        }
        changes.insert(status("wsrep_cluster_conf_id").await);
    }
    changes.len() == 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Galera"]
async fn no_stored_account_is_lost_with_a_node_that_stops() {
    lose_nothing_with(Trouble::Stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Galera"]
async fn no_stored_account_is_lost_with_a_node_that_is_killed() {
    lose_nothing_with(Trouble::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Galera"]
async fn no_stored_account_is_lost_with_a_node_that_is_cut_off() {
    lose_nothing_with(Trouble::CutOff).await;
}

/// Takes a node away once, or ten times in a full run, under load.
async fn lose_nothing_with(trouble: Trouble) {
    let galera = Galera::start();
    let stores = galera.stores().await.map(|store| store.with_deadline(Duration::from_secs(1)));
    let (next, answered) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = JoinSet::new();
    for worker in 0..6 {
        let (stores, next, answered) = (stores.clone(), Arc::clone(&next), Arc::clone(&answered));
        workers.spawn(load(stores, worker, next, answered, Arc::clone(&stop)));
    }
    for round in 0..rounds(1, 10) {
        strike(&galera, round % 3, trouble, &answered).await;
    }
    stop.store(true, Ordering::Relaxed);
    let answers = workers.join_all().await;

    let accounts = agreed(&stores).await;
    let ids: HashSet<_> = accounts.iter().map(|account| account.id.clone()).collect();
    let emails: HashSet<_> = accounts.iter().map(|account| account.email_key.clone()).collect();
    assert_eq!(emails.len(), accounts.len());
    let (mut kept, mut unknown) = (0, 0);
    for answers in answers {
        assert!(answers.stored.iter().all(|id| ids.contains(id)), "a stored account is lost");
        assert!(answers.refused.iter().all(|id| !ids.contains(id)), "a refused one is stored");
        kept += answers.stored.len();
        unknown += answers.unknown;
    }
    assert!(accounts.len() - kept <= unknown);
    println!("{kept} stored, {unknown} unknown, {} of them stored", accounts.len() - kept);
}
