//! Opening and migrating: what can't work is refused, and what is there is found.

use signup::store::conformance::Sample;
use signup::store::{AccountStore as _, SqliteStore, TablePrefix};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

#[tokio::test]
async fn a_database_that_each_connection_has_for_itself_is_refused() {
    for url in ["sqlite://", "sqlite:", "sqlite://?mode=rwc"] {
        let refused = SqliteStore::connect(url).await.unwrap_err().to_string();
        assert!(refused.contains("sqlite::memory:"), "{url}: {refused}");
    }
    let pool = SqlitePoolOptions::new().connect_with(SqliteConnectOptions::new().filename(""));
    let store = SqliteStore::new(pool.await.unwrap());
    let refused = store.migrate().await.unwrap_err().to_string();
    assert!(refused.contains("sqlite::memory:"), "{refused}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("new.db").display());
    let store = SqliteStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    let mut files = 0;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
        files += 1;
    }
    assert!(files >= 2, "the database and its log");
}

#[tokio::test]
async fn it_is_up_to_date_after_a_migration_and_not_before() {
    let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
    store.ping().await.unwrap();
    assert!(!store.is_up_to_date().await.unwrap());
    store.migrate().await.unwrap();
    assert!(store.is_up_to_date().await.unwrap());
}

/// Processes that start at one time find a new file together. While one of them turns it to
/// WAL, SQLite tells the others at once that it is locked, whatever the timeout.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_file_is_opened_by_many_at_one_time() {
    for _ in 0..100 {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("new.db").display());
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let url = url.clone();
            opening.spawn(async move {
                let store = SqliteStore::connect(&url).await?;
                store.migrate().await.map(|()| store)
            });
        }
        for opened in opening.join_all().await {
            opened.unwrap().pool().close().await;
        }
    }
}

/// The objects of a database, as they were created.
async fn objects(store: &SqliteStore) -> Vec<(String, Option<String>)> {
    let objects =
        "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name";
    sqlx::query_as(objects).fetch_all(store.pool()).await.unwrap()
}

#[tokio::test]
async fn a_tool_of_the_hosts_applies_the_same_steps() {
    let prefix = || TablePrefix::new("auth_").unwrap();
    let [ours, theirs] = [
        SqliteStore::connect("sqlite::memory:").await.unwrap().with_prefix(prefix()),
        SqliteStore::connect("sqlite::memory:").await.unwrap().with_prefix(prefix()),
    ];
    ours.migrate().await.unwrap();
    assert!(!theirs.is_up_to_date().await.unwrap());
    for migration in theirs.migrations() {
        sqlx::raw_sql(AssertSqlSafe(migration.sql)).execute(theirs.pool()).await.unwrap();
    }
    assert!(theirs.is_up_to_date().await.unwrap());
    let expected = objects(&ours).await;
    assert!(expected.len() > 5, "{expected:?}");
    assert_eq!(objects(&theirs).await, expected);
    theirs.migrate().await.unwrap();
    theirs.create(Sample::new(1).build()).await.unwrap();
}

#[tokio::test]
async fn a_pool_without_foreign_keys_is_refused() {
    let options: SqliteConnectOptions = "sqlite::memory:".parse().unwrap();
    let pool = sqlx::SqlitePool::connect_with(options.foreign_keys(false)).await.unwrap();
    let refused = SqliteStore::new(pool).migrate().await.unwrap_err().to_string();
    assert!(refused.contains("foreign_keys"), "{refused}");
}
