//! Users of other systems and their lives afterwards, on the tables that those systems make.

use std::sync::Arc;

use async_trait::async_trait;
use signup::account::{AccountState, Plan};
use signup::credentials::CredentialError;
use signup::hash::{ForeignHashes, HashPool, WorkFactor};
use signup::idempotency::ReplaySecret;
use signup::mail::{MailQueue, MemoryMailer};
use signup::store::ListedKind::{self, Collision, InvalidEmail, InvalidTime};
use signup::store::{
    AccountFilter, AdoptionReport, FindBy, LifecycleStore, MySqlStore, PostgresStore, SqliteStore,
    TableMap, TableProblem, TimeFormat,
};
use signup::verification::EmailCodes;
use signup::{SignupError, SignupRequest, SignupService};
use sqlx::{AssertSqlSafe, Connection as _};

use super::{key_of, made, recipes};
use crate::support::{mysql, postgres};

const SINCE: i64 = 1_709_208_000_000;

/// An empty database of a kind.
#[async_trait]
pub(super) trait Engine: LifecycleStore + Clone {
    async fn open() -> Self;
    /// Runs SQL on a separate connection.
    async fn load(&self, sql: &str);
    fn mapped(&self, map: TableMap) -> Self;
    async fn check(&self) -> Vec<TableProblem>;
    async fn adopt(&self, is_dry: bool) -> AdoptionReport;
    async fn try_adopt(&self) -> Result<AdoptionReport, String>;
}

macro_rules! engine {
    ($store:ty, $open:expr, $load:expr, $schema:expr) => {
        #[async_trait]
        impl Engine for $store {
            async fn open() -> Self {
                $open
            }

            async fn load(&self, sql: &str) {
                if sql.is_empty() {
                    return;
                }
                let load: fn($store, String) -> _ = $load;
                load(self.clone(), sql.to_owned()).await;
            }

            fn mapped(&self, map: TableMap) -> Self {
                let schema: fn(&$store, TableMap) -> TableMap = $schema;
                self.clone().with_table(schema(self, map)).unwrap()
            }

            async fn check(&self) -> Vec<TableProblem> {
                self.check_table().await.unwrap()
            }

            async fn adopt(&self, is_dry: bool) -> AdoptionReport {
                let adoption = self.adoption();
                let adoption = if is_dry { adoption.dry_run() } else { adoption };
                adoption.run().await.unwrap()
            }

            async fn try_adopt(&self) -> Result<AdoptionReport, String> {
                self.adoption().run().await.map_err(|error| error.to_string())
            }
        }
    };
}

async fn load_postgres(store: PostgresStore, sql: String) {
    // The tests share a database, in which each has a schema.
    let schema = store.table("").trim_end_matches('.').to_owned();
    let sql = sql.replace("CREATE SCHEMA auth;", "").replace("auth.users", "auth_users");
    let begin = format!("CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path TO {schema}");
    let mut connection = sqlx::PgConnection::connect(&postgres::url()).await.unwrap();
    // Several tests may be about to create it.
    let citext = "CREATE EXTENSION IF NOT EXISTS citext SCHEMA public";
    while sqlx::raw_sql(citext).execute(&mut connection).await.is_err() {}
    for sql in [begin, sql] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
}

async fn load_mysql(store: MySqlStore, sql: String) {
    let url = mysql::url_of(&store);
    let mut connection = sqlx::MySqlConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("SET SESSION autocommit = 1").execute(&mut connection).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
}

async fn load_sqlite(store: SqliteStore, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(store.pool()).await.unwrap();
}

engine!(
    PostgresStore,
    postgres::unmigrated(&postgres::url()).await,
    |store, sql| Box::pin(load_postgres(store, sql)),
    |store, map| map.schema(store.table("").trim_end_matches('.'))
);
engine!(
    MySqlStore,
    mysql::unmigrated().await,
    |store, sql| Box::pin(load_mysql(store, sql)),
    |_, map| map
);
engine!(
    SqliteStore,
    SqliteStore::connect("sqlite::memory:").await.unwrap(),
    |store, sql| Box::pin(load_sqlite(store, sql)),
    |_, map| map
);

/// A recipe of the guide, for the tables of a system in a database.
struct Recipe {
    /// The tables, with their old users.
    tables: &'static str,
    /// The beginning of the hash of Jane's password.
    hash: &'static str,
    before: &'static str,
    map: TableMap,
    after: &'static str,
    /// The numbers of rows that are adopted, disabled, and left out.
    adopted: [u64; 3],
    listed: &'static [(ListedKind, u64)],
    /// When Jane signed up, if the system has kept it.
    since: Option<i64>,
}

async fn is_moved_in<S: Engine + 'static>(recipe: Recipe) {
    let is_jane = |hash: &str| hash.starts_with(recipe.hash);
    let jane = made().into_iter().find(|it| is_jane(&it.hash) && it.password == "correct horse");
    let jane = jane.unwrap();
    let store = S::open().await;
    store.load(&recipe.tables.replace("{hash}", &jane.hash)).await;
    store.load(recipe.before).await;
    let store = store.mapped(recipe.map);
    let planned = store.adopt(true).await;
    let done = store.adopt(false).await;
    assert_eq!(planned, done);
    assert_eq!([done.adopted, done.disabled, done.excluded], recipe.adopted, "{done}");
    let listed: Vec<_> = done.listed.iter().map(|listed| (listed.kind, listed.count)).collect();
    assert_eq!(listed, recipe.listed, "{done}");
    store.load(recipe.after).await;
    assert_eq!(store.check().await, []);

    let pool = HashPool::builder().workers(1).work_factor(WorkFactor::OWASP_7_MIB);
    let pool = pool.foreign_hashes(ForeignHashes::default()).build().unwrap();
    let mailer = Arc::new(MemoryMailer::default());
    let secret = ReplaySecret::new(&[8; 32]).unwrap();
    let mails = MailQueue::new(Arc::clone(&mailer));
    let service = SignupService::builder(store.clone())
        .jwt_secret(&[7; 32])
        .hash_pool(Arc::new(pool))
        .mails(EmailCodes::new(secret, mails.clone()))
        .build()
        .unwrap();
    let (credentials, accounts) = (service.credentials(), service.accounts());
    let codes = service.account_codes().unwrap();
    // Jane logs in, and her hash is renewed.
    let rejected = credentials.verify_password("jane@example.com", "battery staple").await;
    assert!(matches!(rejected, Err(CredentialError::Rejected)));
    for _ in 0..2 {
        let id = credentials.verify_password("jane@example.com", &jane.password).await.unwrap();
        let record = store.find_account(FindBy::Id(&id)).await.unwrap().unwrap();
        let since = recipe.since.unwrap_or(record.created_at.as_millis());
        assert_eq!(record.created_at.as_millis(), since);
        let login = store.find_login(FindBy::Email(record.account.email().key())).await;
        let hash = login.unwrap().unwrap().password_hash;
        assert!(hash.as_phc().starts_with("$argon2id$v=19$"), "{}", hash.as_phc());
    }
    for other in ["gone@example.com", "hub@example.com", "left@example.com"] {
        let refused = credentials.verify_password(other, &jane.password).await;
        assert!(matches!(refused, Err(CredentialError::Rejected)), "{other}");
    }
    let again = service.signup(SignupRequest::new("JANE@example.com", "correct horse")).await;
    assert!(matches!(again, Err(SignupError::EmailTaken)), "{again:?}");
    // New ones sign up.
    let name = "\u{c1}".repeat(256);
    for (email, name) in [("joe@example.com", None), ("Kim@example.com", Some(&*name))] {
        let request = SignupRequest::new(email, "correct horse");
        let request = name.into_iter().fold(request, SignupRequest::name);
        let new = service.signup(request).await.unwrap();
        credentials.verify_password(email, "correct horse").await.unwrap();
        credentials.verify_api_key(new.api_key().reveal()).await.unwrap();
    }
    // A forgotten password, and changes.
    let begun = codes.begin_password_reset("jane@example.com", None).await.unwrap();
    mails.drained().await;
    let code = mailer.sent().iter().find_map(|mail| mail.reveal_code().map(str::to_owned));
    let code = code.unwrap();
    let reset = codes.complete_password_reset(begun.reveal_ticket(), &code, "battery staple");
    let jane = reset.await.unwrap().login.account_id().clone();
    credentials.verify_password("jane@example.com", "battery staple").await.unwrap();
    accounts.change_password(&jane, "battery staple", "correct horse").await.unwrap();
    accounts.set_plan(&jane, Plan::PRO).await.unwrap();
    accounts.set_name(&jane, Some("Jane Doe")).await.unwrap();
    let record = accounts.get(&jane).await.unwrap().unwrap();
    assert_eq!(record.account.plan(), &Plan::PRO);
    assert_eq!(record.account.name(), Some("Jane Doe"));
    // All of them, each once, on pages of one.
    let listed = list(&service).await;
    let mut distinct = listed.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), listed.len());
    assert_eq!(u64::try_from(listed.len()).unwrap(), recipe.adopted[0] + 2);
    // The next run finds nothing to do.
    let again = store.adopt(false).await;
    assert_eq!([again.adopted, again.disabled], [0, 0], "{again}");
    assert_eq!(again.listed, done.listed);
    accounts.erase(&jane).await.unwrap();
    assert_eq!(accounts.get(&jane).await.unwrap().unwrap().state, AccountState::Erased);
    assert!(
        store.find_account(FindBy::Email(&key_of("jane@example.com"))).await.unwrap().is_none()
    );
    assert_eq!(list(&service).await.len(), listed.len());
    // Her mailbox is free: a row that had it in another spelling is an account now.
    let again = store.adopt(false).await;
    assert_eq!([again.adopted, again.disabled], [done.count(Collision), 0], "{again}");
    assert_eq!(store.check().await, []);
}

async fn list<S: LifecycleStore>(service: &SignupService<S>) -> Vec<String> {
    let (mut ids, mut filter) = (Vec::new(), AccountFilter::new(1));
    loop {
        let page = service.accounts().list(&filter).await.unwrap();
        ids.extend(page.accounts.iter().map(|record| record.account.id().as_str().to_owned()));
        match page.next {
            Some(next) => filter = filter.after(next),
            None => return ids,
        }
    }
}

macro_rules! schema {
    ($name:literal) => {
        include_str!(concat!("../../data/foreign-schemas/", $name, ".sql"))
    };
}

macro_rules! moves_in {
    ($($test:ident: $store:ty, $recipe:expr;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            is_moved_in::<$store>($recipe).await;
        }
    )+};
    (ignored, $($test:ident: $store:ty, $recipe:expr;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[ignore = "needs PostgreSQL and MariaDB: scripts/test.sh starts them"]
        async fn $test() {
            is_moved_in::<$store>($recipe).await;
        }
    )+};
}

fn laravel(tables: &'static str, before: &'static str, time: TimeFormat) -> Recipe {
    Recipe {
        tables,
        hash: "$2b$04$",
        before,
        map: recipes::laravel::users(time),
        after: recipes::laravel::AFTER,
        adopted: [1, 0, 1],
        listed: &[(InvalidEmail, 1)],
        since: Some(SINCE),
    }
}

fn devise(tables: &'static str, listed: &'static [(ListedKind, u64)]) -> Recipe {
    Recipe {
        tables,
        hash: "$2a$04$",
        before: "",
        map: recipes::devise::users(),
        after: "",
        adopted: [3, 1, 0],
        listed,
        since: Some(SINCE + 123),
    }
}

fn django(tables: &'static str, before: &'static str, time: TimeFormat, since: i64) -> Recipe {
    Recipe {
        tables,
        hash: "pbkdf2_sha256$1000000$",
        before,
        map: recipes::django::users(time),
        after: "",
        adopted: [2, 1, 0],
        listed: &[(Collision, 1), (InvalidEmail, 1)],
        since: Some(since),
    }
}

fn prisma(tables: &'static str, before: &'static str, map: TableMap, twins: bool) -> Recipe {
    Recipe {
        tables,
        hash: "$2b$04$",
        before,
        map,
        after: "",
        adopted: [2, 0, 0],
        listed: if twins { &[(Collision, 1)] } else { &[] },
        since: Some(SINCE),
    }
}

fn better_auth(
    tables: &'static str,
    before: &'static str,
    after: &'static str,
    twins: bool,
) -> Recipe {
    Recipe {
        tables,
        hash: "c6a4d7f8b7fbf3fdfc1eaa8a929cb65d:",
        before,
        map: recipes::better_auth::users(),
        after,
        adopted: [2, 0, 0],
        listed: if twins { &[(Collision, 1)] } else { &[] },
        since: Some(SINCE),
    }
}

fn fastapi_users(tables: &'static str, new_id: &str) -> Recipe {
    Recipe {
        tables,
        hash: "$argon2id$",
        before: "",
        map: recipes::fastapi_users::users(new_id),
        after: recipes::fastapi_users::AFTER,
        adopted: [2, 1, 0],
        listed: &[],
        since: None,
    }
}

moves_in! {
    laravel_on_sqlite: SqliteStore, laravel(schema!("laravel.sqlite"), "", TimeFormat::DateTime);
    devise_on_sqlite: SqliteStore,
        devise(schema!("devise.sqlite"), &[(InvalidEmail, 1), (InvalidTime, 1)]);
    django_on_sqlite: SqliteStore,
        django(schema!("django.sqlite"), "", TimeFormat::DateTime, SINCE + 123);
    prisma_on_sqlite: SqliteStore, prisma(
        schema!("prisma.sqlite"),
        recipes::prisma::SQLITE,
        recipes::prisma::users_in_sqlite(),
        true,
    );
    better_auth_on_sqlite: SqliteStore, better_auth(
        schema!("better_auth.sqlite"),
        recipes::better_auth::SQLITE,
        recipes::better_auth::AFTER,
        true,
    );
    fastapi_users_on_sqlite: SqliteStore,
        fastapi_users(schema!("fastapi_users.sqlite"), "lower(hex(randomblob(16)))");
}

moves_in! { ignored,
    laravel_on_postgres: PostgresStore, laravel(
        schema!("laravel.postgres"),
        recipes::laravel::POSTGRES,
        TimeFormat::DateTime,
    );
    laravel_on_mariadb: MySqlStore,
        laravel(schema!("laravel.mysql"), recipes::laravel::MYSQL, TimeFormat::Timestamp);
    devise_on_postgres: PostgresStore, devise(schema!("devise.postgres"), &[(InvalidEmail, 1)]);
    django_on_postgres: PostgresStore, django(
        schema!("django.postgres"),
        recipes::django::POSTGRES,
        TimeFormat::Timestamp,
        SINCE,
    );
    django_on_mariadb: MySqlStore,
        django(schema!("django.mysql"), recipes::django::MYSQL, TimeFormat::DateTime, SINCE);
    wordpress_on_mariadb: MySqlStore, Recipe {
        tables: schema!("wordpress.mysql"),
        hash: "$P$B",
        before: recipes::wordpress::MYSQL,
        map: recipes::wordpress::users(),
        after: recipes::wordpress::AFTER,
        adopted: [2, 0, 0],
        listed: &[(Collision, 1), (InvalidEmail, 1)],
        since: Some(SINCE),
    };
    phoenix_on_postgres: PostgresStore, Recipe {
        tables: schema!("phoenix.postgres"),
        hash: "$2b$04$",
        before: "",
        map: recipes::phoenix::users(),
        after: "",
        adopted: [1, 0, 0],
        listed: &[(InvalidEmail, 1)],
        since: Some(SINCE),
    };
    prisma_on_postgres: PostgresStore,
        prisma(schema!("prisma.postgres"), "", recipes::prisma::users(), true);
    prisma_on_mariadb: MySqlStore, prisma(
        schema!("prisma.mysql"),
        recipes::prisma::MYSQL,
        recipes::prisma::users(),
        false,
    );
    supabase_on_postgres: PostgresStore, Recipe {
        tables: schema!("supabase.postgres"),
        hash: "$2a$04$",
        before: recipes::supabase::POSTGRES,
        map: recipes::supabase::users(),
        after: "",
        adopted: [3, 1, 0],
        listed: &[],
        since: Some(SINCE),
    };
    better_auth_on_postgres: PostgresStore, better_auth(
        schema!("better_auth.postgres"),
        recipes::better_auth::POSTGRES,
        recipes::better_auth::AFTER,
        true,
    );
    better_auth_on_mariadb: MySqlStore, better_auth(
        schema!("better_auth.mysql"),
        recipes::better_auth::MYSQL,
        recipes::better_auth::MYSQL_AFTER,
        false,
    );
    fastapi_users_on_postgres: PostgresStore,
        fastapi_users(schema!("fastapi_users.postgres"), "gen_random_uuid()");
}
