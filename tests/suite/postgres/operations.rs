//! Timeouts by operation, migrations that wait and ask for nothing that they do not
//! need, and databases that can't hold what is stored.

use std::time::Duration;

use signup::store::conformance::{Sample, dropped_after};
use signup::store::{AccountStore as _, CreateOutcome, PostgresStore, Schema};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Connection as _, Row as _};

use super::{execute, with_settings};
use crate::support::postgres;

/// The advisory lock of a migration.
const LOCK: &str = "SELECT pg_advisory_lock(x'7369676e757000'::bigint)";

async fn setting(pool: &PgPool) -> String {
    sqlx::query_scalar("SHOW statement_timeout").fetch_one(pool).await.unwrap()
}

/// A name that no other test has.
fn fresh(prefix: &str) -> String {
    let mut random = [0; 8];
    signup::random::SecureRandom::fill(&signup::random::SystemRandom, &mut random).unwrap();
    format!("{prefix}{:016x}", u64::from_le_bytes(random))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn the_servers_timeout_follows_the_deadline_and_is_in_no_startup_packet() {
    let store = PostgresStore::connect(&postgres::url()).await.unwrap();
    assert_eq!(setting(store.pool()).await, "4500ms");
    let patient = store.clone().with_deadline(Duration::from_secs(20));
    assert_eq!(setting(patient.pool()).await, "18s");
    // Behind a pooler no session is changed.
    let pooled = patient.without_prepared_statements();
    assert_eq!(setting(pooled.pool()).await, "0");
    // Nor is a timeout of the host.
    let hosts = PgPool::connect(&postgres::url()).await.unwrap();
    let hosts = PostgresStore::new(hosts)
        .with_schema(postgres::schema_of(&postgres::store(&postgres::url()).await));
    assert_eq!(hosts.create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
    assert_eq!(setting(hosts.pool()).await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_write_waits_for_a_lock_as_long_as_its_deadline_is() {
    let short = postgres::store(&postgres::url()).await.with_deadline(Duration::from_millis(200));
    let long = short.clone().with_deadline(Duration::from_mins(1));
    let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", short.table("accounts"));
    let mut holder = PgConnection::connect(&postgres::url()).await.unwrap();
    let mut transaction = holder.begin().await.unwrap();
    sqlx::query(AssertSqlSafe(lock)).execute(&mut *transaction).await.unwrap();
    let waiting = tokio::spawn(async move { long.create(Sample::new(1).build()).await });
    // Meanwhile others have given up several times.
    for _ in 0..5 {
        assert!(short.create(Sample::new(2).build()).await.is_err());
    }
    transaction.rollback().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), CreateOutcome::Stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_migration_waits_for_another_longer_than_a_call_and_has_a_limit() {
    let store = PostgresStore::connect(&postgres::url()).await.unwrap();
    let store = store.with_schema(Schema::new(&fresh("m")).unwrap());
    let store = store.with_deadline(Duration::from_millis(100));
    let mut holder = PgConnection::connect(&postgres::url()).await.unwrap();
    sqlx::query(LOCK).execute(&mut holder).await.unwrap();
    // The limit is for the lock: a busy server may take as long to open a connection.
    drop(store.pool().acquire().await.unwrap());
    let refused = store.migrate_within(Duration::from_secs(1)).await.unwrap_err();
    assert!(
        refused.to_string().contains("1s") || refused.to_string().contains("57014"),
        "{refused}"
    );
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.migrate().await }
    });
    // Several deadlines of a call, while it waits.
    for _ in 0..5 {
        let _ = store.create(Sample::new(1).build()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut holder).await.unwrap();
    waiting.await.unwrap().unwrap();
    assert!(store.is_up_to_date().await.unwrap());
}

/// A pooler gives each transaction another session: nothing may be prepared in one for the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and PgBouncer: scripts/test.sh starts them"]
async fn instances_behind_a_pooler_migrate_at_the_same_time() {
    let schema = fresh("t");
    let mut instances = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let store = PostgresStore::connect(&postgres::pgbouncer_url()).await.unwrap();
        let store = store.with_schema(Schema::new(&schema).unwrap());
        let store = store.without_prepared_statements();
        instances.spawn(async move {
            store.migrate().await.unwrap();
            for _ in 0..20 {
                assert!(store.is_up_to_date().await.unwrap());
            }
        });
    }
    while let Some(ended) = instances.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn where_nothing_is_missing_a_migration_needs_no_rights() {
    let owner = postgres::store(&postgres::url()).await;
    let schema = owner.table("").trim_end_matches('.').to_owned();
    let role = fresh("r");
    execute(
        owner.pool(),
        format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}"
        ),
    )
    .await;
    let url = postgres::url().replace("postgres@", &format!("{role}@"));
    let app = PostgresStore::connect(&url).await.unwrap();
    let app = app.with_schema(Schema::new(&schema).unwrap());
    app.migrate().await.unwrap();
    assert!(app.is_up_to_date().await.unwrap());
    assert_eq!(app.create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
    let read_only = with_settings("SET default_transaction_read_only = on", 1).await;
    read_only.migrate().await.unwrap();
    // Where something is missing, the error says what to do, in the words of the server.
    let nothing = app.with_schema(Schema::new(&fresh("n")).unwrap());
    assert!(!nothing.is_up_to_date().await.unwrap());
    let refused = nothing.migrate().await.unwrap_err().to_string();
    assert!(refused.contains("migrate as its owner") && !refused.contains("at line"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_schema_that_somebody_else_has_made_needs_no_right_to_make_one() {
    let admin = PgPool::connect(&postgres::url()).await.unwrap();
    let (role, schema) = (fresh("r"), fresh("s"));
    let create = format!("CREATE ROLE {role} LOGIN; CREATE SCHEMA {schema} AUTHORIZATION {role}");
    execute(&admin, create).await;
    let url = postgres::url().replace("postgres@", &format!("{role}@"));
    let store = PostgresStore::connect(&url).await.unwrap();
    let store = store.with_schema(Schema::new(&schema).unwrap());
    store.migrate().await.unwrap();
    assert_eq!(store.create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn tables_are_the_same_whichever_way_they_are_named() {
    let schema = fresh("p");
    let admin = PgPool::connect(&postgres::url()).await.unwrap();
    execute(&admin, format!("CREATE SCHEMA {schema}")).await;
    let url = format!("{}?options[search_path]={schema}", postgres::url());
    PostgresStore::connect(&url).await.unwrap().migrate().await.unwrap();
    let named = PostgresStore::connect(&postgres::url()).await.unwrap();
    let named = named.with_schema(Schema::new(&schema).unwrap());
    assert!(named.is_up_to_date().await.unwrap());
    named.migrate().await.unwrap();
    assert_eq!(named.create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_database_of_another_encoding_is_refused_in_one_line() {
    let admin = PgPool::connect(&postgres::url()).await.unwrap();
    let name = fresh("latin");
    let create = format!("CREATE DATABASE {name} ENCODING LATIN1 LOCALE 'C' TEMPLATE template0");
    execute(&admin, create).await;
    let url = postgres::url();
    let url = format!("{}/{name}", url.rsplit_once('/').unwrap().0);
    let store = PostgresStore::connect(&url).await.unwrap();
    let refused = store.migrate().await.unwrap_err().to_string();
    assert!(refused.contains("LATIN1") && refused.contains("UTF8"), "{refused}");
    assert_eq!(refused.lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn of_callers_that_leave_no_more_tasks_are_left_than_the_pool_has_connections() {
    let store = postgres::store(&postgres::url()).await.with_deadline(Duration::from_secs(2));
    let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", store.table("accounts"));
    let mut holder = PgConnection::connect(&postgres::url()).await.unwrap();
    let mut transaction = holder.begin().await.unwrap();
    sqlx::query(AssertSqlSafe(lock)).execute(&mut *transaction).await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for number in 0..200 {
        let new = Sample::new(number).build();
        let looked = dropped_after(store.is_email_taken(new.email().key()), 1).await;
        assert!(looked.is_none(), "it did not wait");
    }
    let limit = usize::try_from(store.pool().options().get_max_connections()).unwrap();
    // sqlx has a few of its own, for connections that it opens or closes.
    assert!(tasks() - before <= 3 * limit, "{} tasks for {limit} connections", tasks() - before);
    transaction.rollback().await.unwrap();
    let waiting: i64 =
        sqlx::query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            .fetch_one(&mut holder)
            .await
            .unwrap()
            .get(0);
    assert!(waiting <= i64::try_from(limit).unwrap() * 2);
}

/// The columns, constraints and indexes of a schema.
async fn described(store: &PostgresStore) -> Vec<String> {
    let schema = store.table("").trim_end_matches('.').to_owned();
    let described = "SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable,
                column_default, collation_name)
            FROM information_schema.columns WHERE table_schema = $1
        UNION ALL SELECT concat_ws(' ', conname, pg_get_constraintdef(oid))
            FROM pg_constraint WHERE connamespace = to_regnamespace($1)
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = $1
        ORDER BY 1";
    let rows = sqlx::query_scalar::<_, String>(described).bind(schema.clone());
    let rows = rows.fetch_all(store.pool()).await.unwrap();
    rows.into_iter().map(|row| row.replace(&schema, "schema")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
async fn a_tool_of_the_hosts_applies_the_same_steps() {
    let ours = postgres::store(&postgres::url()).await;
    let name = format!("{}_files", ours.table("").trim_end_matches('.'));
    let theirs = PostgresStore::connect(&postgres::url()).await.unwrap();
    let theirs = theirs.with_schema(Schema::new(&name).unwrap());
    for migration in theirs.migrations() {
        assert!(!theirs.is_up_to_date().await.unwrap());
        sqlx::raw_sql(AssertSqlSafe(migration.sql)).execute(theirs.pool()).await.unwrap();
    }
    assert!(theirs.is_up_to_date().await.unwrap());
    let expected = described(&ours).await;
    assert!(expected.len() > 40, "{expected:?}");
    let found: Vec<_> = described(&theirs)
        .await
        .into_iter()
        .map(|row| row.replace("schema_files", "schema"))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(theirs.create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
}
