//! A host with a `users` table that other tables of it refer to, by names and types of its
//! own, on each database.

use signup::store::{AccountColumn, MySqlStore, PostgresStore, SqliteStore, TableMap, TimeFormat};
use sqlx::{AssertSqlSafe, Executor as _};

use super::stores::Sqlite;
use super::{mysql, postgres};

/// All that the host writes.
pub fn map() -> TableMap {
    map_with(TimeFormat::Timestamp)
}

/// The map of a table with times of this format.
pub fn map_with(format: TimeFormat) -> TableMap {
    TableMap::new("app_users")
        .column(AccountColumn::Id, "public_id")
        .column(AccountColumn::Email, "mail")
        .column(AccountColumn::EmailKey, "mailKey")
        .column(AccountColumn::Name, "full_name")
        .column(AccountColumn::Plan, "tier")
        .column(AccountColumn::PasswordHash, "pw")
        .column(AccountColumn::CreatedAt, "since")
        .time(AccountColumn::CreatedAt, format)
        .time(AccountColumn::EmailVerifiedAt, format)
        .fill("role", "'member'")
        .fill_with("greeting", "?", |new| format!("Hello, {}", new.name().unwrap_or("you")))
}

/// The tables that refer to it.
const REFERRING: [&str; 3] = ["posts", "comments", "memberships"];

/// The host's tables in PostgreSQL, in the schema of the store.
pub async fn postgres_unadopted() -> PostgresStore {
    postgres_with(TimeFormat::Timestamp, "timestamptz").await
}

/// The host's tables in PostgreSQL, with times of a format and its type.
pub async fn postgres_with(format: TimeFormat, time: &str) -> PostgresStore {
    let schema = postgres::new_schema();
    let store = PostgresStore::connect(&postgres::url()).await.unwrap().with_schema(schema);
    let schema = store.table("").trim_end_matches('.').to_owned();
    let execute =
        async |sql: String| store.pool().execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.map(drop);
    execute(format!("CREATE SCHEMA {schema}")).await.unwrap();
    // Several tests may be about to create it.
    while execute("CREATE EXTENSION IF NOT EXISTS citext SCHEMA public".to_owned()).await.is_err() {
    }
    let users = format!(
        "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mail public.citext NOT NULL,
         full_name text, tier text NOT NULL DEFAULT 'trial', pw varchar(300),
         since {time} NOT NULL DEFAULT now(), role text NOT NULL, greeting text NOT NULL"
    );
    execute(format!("CREATE TABLE {schema}.app_users ({users})")).await.unwrap();
    for table in REFERRING {
        let refer =
            format!("CREATE TABLE {schema}.{table} (user_id bigint REFERENCES {schema}.app_users)");
        execute(refer).await.unwrap();
    }
    store.with_table(map_with(format).schema(schema)).unwrap()
}

pub async fn sqlite_unadopted() -> Sqlite {
    let sqlite = Sqlite::unmigrated().await;
    let users = "CREATE TABLE app_users (
         id INTEGER PRIMARY KEY, mail TEXT NOT NULL COLLATE NOCASE, full_name TEXT,
         tier TEXT NOT NULL DEFAULT 'trial', pw TEXT,
         since TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, role TEXT NOT NULL, greeting TEXT NOT NULL)";
    sqlite.store.pool().execute(users).await.unwrap();
    for table in REFERRING {
        let refer = format!("CREATE TABLE {table} (user_id INTEGER REFERENCES app_users)");
        sqlite.store.pool().execute(AssertSqlSafe(refer)).await.unwrap();
    }
    sqlite.map(|store: SqliteStore| store.with_table(map()).unwrap())
}

pub async fn mariadb_unadopted() -> MySqlStore {
    mariadb_with(TimeFormat::DateTime, "datetime(3)").await
}

/// The host's tables in MariaDB, with times of a format and its type.
pub async fn mariadb_with(format: TimeFormat, time: &str) -> MySqlStore {
    let store = mysql::unmigrated().await;
    let users = format!(
        "CREATE TABLE app_users (
         id bigint AUTO_INCREMENT PRIMARY KEY, mail varchar(320) NOT NULL, full_name text,
         tier varchar(64) NOT NULL DEFAULT 'trial', pw varchar(300),
         since {time} NOT NULL DEFAULT now(3), role varchar(20) NOT NULL,
         greeting text NOT NULL) CHARACTER SET utf8mb4"
    );
    store.pool().execute(AssertSqlSafe(users)).await.unwrap();
    for table in REFERRING {
        let refer = format!(
            "CREATE TABLE {table} (user_id bigint, FOREIGN KEY (user_id) REFERENCES app_users (id))"
        );
        store.pool().execute(AssertSqlSafe(refer)).await.unwrap();
    }
    store.with_table(map_with(format)).unwrap()
}

pub async fn postgres() -> PostgresStore {
    let store = postgres_unadopted().await;
    store.adoption().run().await.unwrap();
    store
}

pub async fn sqlite() -> Sqlite {
    let sqlite = sqlite_unadopted().await;
    sqlite.store.adoption().run().await.unwrap();
    sqlite
}

pub async fn mariadb() -> MySqlStore {
    let store = mariadb_unadopted().await;
    store.adoption().run().await.unwrap();
    store
}
