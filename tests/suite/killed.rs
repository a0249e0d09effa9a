//! A process that changes accounts and their keys, killed in the middle: each change is
//! there with its event and with what it ends, or not at all.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::support::events_of;
use signup::account::{AccountId, AccountState, Plan};
use signup::credentials::Credentials;
use signup::hash::{FakeEngine, HashPool};
use signup::store::{
    AccountStore, EventStore, FindBy, LifecycleStoreExt as _, MemoryStore, MySqlStore,
    PostgresStore, SqliteStore,
};
use signup::{Accounts, SignupRequest, SignupService};
use tokio::task::JoinSet;

use crate::server::Database;
use crate::support::rounds;

const PASSWORD: &str = "correct horse";
const ANOTHER: &str = "battery staple";
/// The environment variable that tells the child its database.
const CHILD: &str = "SIGNUP_TEST_CHILD";
/// The accounts that a child works on at a time.
const AT_A_TIME: usize = 8;

/// The changes, by the type of the event that tells of each.
const CHANGES: [&str; 7] = [
    "account.password_changed",
    "account.disabled",
    "account.deletion_requested",
    "account.erased",
    "account.plan_changed",
    "api_key.rotated",
    "api_key.revoked",
];

fn service<S: EventStore + AccountStore>(store: S) -> SignupService<S> {
    let pool = HashPool::builder().workers(2).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(store).jwt_secret(&[7; 32]).hash_pool(Arc::new(pool));
    service.with_events().build().unwrap()
}

/// Does a change; the account is new.
async fn change(number: usize, accounts: &Accounts, credentials: &Credentials, id: &AccountId) {
    let key = credentials.api_keys(id).await.unwrap()[0].id;
    let hour = Duration::from_hours(1);
    match CHANGES[number % CHANGES.len()] {
        "account.password_changed" => {
            accounts.change_password(id, PASSWORD, ANOTHER).await.unwrap();
        }
        "account.disabled" => accounts.disable(id).await.unwrap(),
        "account.deletion_requested" => drop(accounts.request_deletion(id, hour).await.unwrap()),
        "account.erased" => accounts.erase(id).await.unwrap(),
        "account.plan_changed" => accounts.set_plan(id, Plan::PRO).await.unwrap(),
        "api_key.rotated" => drop(credentials.rotate_api_key(id, &key, hour, None).await.unwrap()),
        _ => credentials.revoke_api_key(id, &key).await.unwrap(),
    }
}

/// Signs accounts up and changes each once, and says so, until it is killed.
async fn work<S: EventStore + AccountStore>(store: S) {
    let service = service(store);
    let mut tasks = JoinSet::new();
    for task in 0..AT_A_TIME {
        let service = service.clone();
        tasks.spawn(async move {
            let (accounts, credentials) = (service.accounts(), service.credentials());
            for number in 0.. {
                let email = format!("{}.{task}.{number}@x.co", std::process::id());
                let signup = service.signup(SignupRequest::new(&*email, PASSWORD)).await.unwrap();
                let id = signup.account().id();
                println!("begun {id} {email}");
                change(number + task, &accounts, &credentials, id).await;
                println!("done {id} {email}");
            }
        });
    }
    tasks.join_all().await;
}

/// The process that is killed. Without the variable it is a test that has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(url) = std::env::var(CHILD) else { return };
    if url.starts_with("sqlite:") {
        work(SqliteStore::connect(&url).await.unwrap()).await;
    } else if url.starts_with("mysql:") {
        work(MySqlStore::connect(&url).await.unwrap()).await;
    } else {
        work(PostgresStore::connect(&url).await.unwrap()).await;
    }
}

/// The accounts that a child has named.
#[derive(Default)]
struct Said {
    begun: HashMap<String, String>,
    done: HashSet<String>,
}

/// Runs a child until it has said so many changes, and kills it.
fn until_killed(url: &str, changes: usize) -> Said {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child", "--nocapture"])
        .env(CHILD, url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Said::default();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut hear = |line: String| {
        let words: Vec<_> = line.split(' ').collect();
        match *words {
            ["begun", id, email] => drop(said.begun.insert(id.to_owned(), email.to_owned())),
            ["done", id, _] => drop(said.done.insert(id.to_owned())),
            _ => {}
        }
        said.done.len()
    };
    while hear(lines.next().unwrap().unwrap()) < changes {}
    child.kill().unwrap();
    child.wait().unwrap();
    // The rest of what it said before it was killed.
    for line in lines.map_while(Result::ok) {
        hear(line);
    }
    said
}

/// Returns whether the change of an account has happened, or `None` if it is torn.
async fn is_whole<S: EventStore + AccountStore>(
    service: &SignupService<S>,
    id: &AccountId,
    email: &str,
) -> Option<bool> {
    let (credentials, store) = (service.credentials(), service.account_store());
    let events = events_of(store, id, 10).await.unwrap();
    let record = store.find_account(FindBy::Id(id)).await.unwrap().unwrap();
    let keys = credentials.api_keys(id).await.unwrap();
    let expiring = keys.iter().filter(|key| key.expires_at.is_some()).count();
    let has = async |password| credentials.verify_password(email, password).await.is_ok();
    let passwords = (has(PASSWORD).await, has(ANOTHER).await);
    let is_pro = *record.account.plan() == Plan::PRO;
    let seen = (record.state, record.token_generation, keys.len(), expiring, passwords, is_pro);
    let told: Vec<_> = events.iter().map(|event| event.kind().as_str()).collect();
    let old = (true, false);
    let (active, none) = (AccountState::Active, (false, false));
    let (expected, happened) = match *told {
        ["account.created"] => ((active, 0, 1, 0, old, false), false),
        ["account.created", kind] => {
            let after = match kind {
                "account.password_changed" => (active, 1, 1, 0, (false, true), false),
                "account.disabled" => (AccountState::Disabled, 1, 1, 0, none, false),
                "account.deletion_requested" => {
                    (AccountState::PendingDeletion, 0, 1, 0, old, false)
                }
                "account.erased" => (AccountState::Erased, 1, 0, 0, none, false),
                "account.plan_changed" => (active, 0, 1, 0, old, true),
                "api_key.rotated" => (active, 0, 2, 1, old, false),
                "api_key.revoked" => (active, 0, 0, 0, old, false),
                _ => return None,
            };
            (after, true)
        }
        _ => return None,
    };
    (seen == expected).then_some(happened)
}

/// Kills the process 20 times, or 100 times in a full run.
async fn kill_repeatedly<S: EventStore + AccountStore>(store: S, url: &str) {
    let service = service(store);
    let (mut begun, mut happened_unsaid) = (0, 0);
    for round in 0..rounds(20, 100) {
        let said = until_killed(url, 1 + round % 16);
        begun += said.begun.len();
        for (id, email) in &said.begun {
            let account = AccountId::from_store(&**id);
            // What a server was at when its client was killed may be done between the
            // reads. What is torn stays so.
            let mut looks = 0;
            let happened = loop {
                match is_whole(&service, &account, email).await {
                    Some(happened) => break happened,
                    None => looks += 1,
                }
                assert!(looks < 100, "the change of {email} is torn");
            };
            let is_done = said.done.contains(id);
            assert!(happened || !is_done, "the change of {email} was lost");
            happened_unsaid += usize::from(happened && !is_done);
        }
    }
    println!("{begun} changes begun; of those not answered, {happened_unsaid} have happened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_whole_after_kill_9() {
    let database = Database::sqlite();
    let store = SqliteStore::connect(&database.url()).await.unwrap();
    store.migrate().await.unwrap();
    kill_repeatedly(store, &database.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_change_on_postgres_is_whole_after_kill_9() {
    let database = Database::postgres("changed").await;
    let store = PostgresStore::connect(&database.url()).await.unwrap();
    store.migrate().await.unwrap();
    kill_repeatedly(store, &database.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: scripts/test.sh starts one"]
async fn a_change_on_mariadb_is_whole_after_kill_9() {
    let database = Database::mariadb().await;
    let store = MySqlStore::connect(&database.url()).await.unwrap();
    store.migrate().await.unwrap();
    kill_repeatedly(store, &database.url()).await;
}

/// Tells a change that is torn from one that is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_change_is_seen() {
    let service = service(MemoryStore::default());
    let signup = service.signup(SignupRequest::new("kim@x.co", PASSWORD)).await.unwrap();
    let id = signup.account().id();
    assert_eq!(is_whole(&service, id, "kim@x.co").await, Some(false));
    service.accounts().set_plan(id, Plan::PRO).await.unwrap();
    assert_eq!(is_whole(&service, id, "kim@x.co").await, Some(true));
    // A change that has told nothing.
    service.account_store().revoke_tokens(id).await.unwrap();
    assert_eq!(is_whole(&service, id, "kim@x.co").await, None);
}
