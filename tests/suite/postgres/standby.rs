//! A server that dies under load, and its synchronous standby that takes its place.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

const ROUNDS: usize = 3;

/// The answers of a load: what was stored, and what was said not to be.
type Answers = (Vec<String>, Vec<String>, usize);

async fn load(store: PostgresStore, next: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Answers {
    let (mut stored, mut refused, mut unknown) = (Vec::new(), Vec::new(), 0);
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let new = Sample::new(next.fetch_add(1, Ordering::Relaxed)).build();
        let id = new.id().as_str().to_owned();
        match store.create(new).await {
            Ok(CreateOutcome::Stored) => stored.push(id),
            Err(StoreError::Unavailable(_)) => refused.push(id),
            Err(StoreError::OutcomeUnknown(_)) => unknown += 1,
            other => panic!("{other:?}"),
        }
    }
    (stored, refused, unknown)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL's server"]
async fn no_stored_account_is_lost_when_a_standby_takes_over() {
    for round in 0..ROUNDS {
        let primary = Postgres::start();
        let standby = primary.standby();
        // A name that follows the primary.
        let proxy = Proxy::before(primary.address()).await;
        let url = format!("postgres://postgres@{}/postgres", proxy.addr);
        let store = PostgresStore::connect(&url).await.unwrap().with_deadline(DEADLINE);
        store.migrate().await.unwrap();
        let (next, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let mut workers = JoinSet::new();
        for _ in 0..4 {
            workers.spawn(load(store.clone(), Arc::clone(&next), Arc::clone(&stop)));
        }
        let past = async |number: u64| {
            while next.load(Ordering::Relaxed) < number {
                tokio::task::yield_now().await;
            }
        };
        past(200).await;
        primary.crash();
        standby.promote();
        proxy.redirect(standby.address());
        // As many again, and long enough that some of them are stored.
        past(next.load(Ordering::Relaxed) + 400).await;
        stop.store(true, Ordering::Relaxed);
        let answers = workers.join_all().await;

        let accounts = store.account_rows().await;
        let ids: HashSet<_> = accounts.iter().map(|account| account.id.clone()).collect();
        assert_eq!((ids.len(), store.api_key_rows().await.len()), (accounts.len(), accounts.len()));
        let (mut stored, mut unknown) = (0, 0);
        for (kept, refused, lost) in answers {
            assert!(kept.iter().all(|id| ids.contains(id)), "a stored account is lost");
            assert!(refused.iter().all(|id| !ids.contains(id)), "a refused one is stored");
            stored += kept.len();
            unknown += lost;
        }
        assert!(accounts.len() - stored <= unknown);
        println!("round {round}: {stored} stored, {unknown} unknown");
        // The standby of nobody any more works alone.
        assert_eq!(
            store.create(Sample::new(u64::MAX).build()).await.unwrap(),
            CreateOutcome::Stored
        );
    }
}
