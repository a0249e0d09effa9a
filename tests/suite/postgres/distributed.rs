//! The store as a distributed database has it, on PostgreSQL: migrations without a lock and
//! without a transaction, and a lost commit of several statements.

use super::*;
use signup::store::{FindBy, KeyQuery};

/// A store without tables.
async fn unmigrated() -> PostgresStore {
    let store = PostgresStore::connect(&postgres::url()).await.unwrap();
    store.distributed().with_schema(postgres::new_schema())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn instances_that_start_at_the_same_time_migrate_once() {
    for _ in 0..10 {
        let first = unmigrated().await;
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let store = first.clone();
            tasks.spawn(async move {
                store.migrate().await.unwrap();
                assert!(store.is_up_to_date().await.unwrap());
            });
        }
        tasks.join_all().await;
        let count = async |table: &str| -> i64 {
            let count = format!("SELECT count(*) FROM {}", first.table(table));
            sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(first.pool()).await.unwrap()
        };
        assert_eq!((count("_signup_migrations").await, count("event_leases").await), (1, 64));
        assert_eq!(first.create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_migration_that_was_interrupted_is_finished_by_the_next() {
    let script = |store: &PostgresStore| store.migrations().remove(0).sql;
    let statements = script(&unmigrated().await).matches(";\n").count();
    assert!(statements > 6, "{statements}");
    for done in 0..statements {
        let store = unmigrated().await;
        for statement in script(&store).split_inclusive(";\n").take(done) {
            execute(store.pool(), statement).await;
        }
        store.migrate().await.unwrap();
        assert!(store.is_up_to_date().await.unwrap());
        assert_eq!(store.create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_commit_whose_connection_is_lost_is_settled_by_the_same_insert() {
    for trouble in [Trouble::CutBefore, Trouble::CutAfter, Trouble::CutUnanswered] {
        let direct = postgres::distributed().await;
        let url = postgres::url();
        let server = url.rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
        let proxy = Proxy::before(server.parse().unwrap()).await;
        let store = PostgresStore::connect(&url.replace(&server, &proxy.addr.to_string())).await;
        let store = store.unwrap().with_schema(postgres::schema_of(&direct)).distributed();
        let store = store.with_deadline(DEADLINE);
        store.create(Sample::new(1).build()).await.unwrap();
        let new = Sample::new(2).build();
        proxy.plan("COMMIT", trouble);
        let created = store.create(new.clone()).await;
        assert!(proxy.struck(), "nothing happened");
        assert_eq!(created.unwrap(), CreateOutcome::Stored, "{trouble:?}");
        assert_eq!(direct.account_rows().await.len(), 2);
        assert_eq!(direct.api_key_rows().await.len(), 2);
        assert_eq!(store.create(new).await.unwrap(), CreateOutcome::EmailTaken);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_key_whose_account_the_host_has_deleted_is_not_found() {
    let store = postgres::distributed().await;
    let new = Sample::new(1).build();
    store.create(new.clone()).await.unwrap();
    execute(store.pool(), format!("DELETE FROM {}", store.table("accounts"))).await;
    assert_eq!(store.api_key_rows().await.len(), 1);
    assert!(store.find_key_owner(new.key_digest()).await.unwrap().is_none());
    assert!(store.find_account(FindBy::ApiKey(new.key_digest())).await.unwrap().is_none());
    assert!(store.list_api_keys(KeyQuery::of(new.id())).await.unwrap().is_empty());
}
