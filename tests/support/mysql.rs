//! The MariaDB that `scripts/test.sh` has started, with a database for each test.

use signup::store::MySqlStore;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::proxy::Proxy;

/// The server of all tests.
pub fn url() -> String {
    let url = std::env::var("SIGNUP_TEST_MARIADB");
    url.unwrap_or_else(|_| panic!("SIGNUP_TEST_MARIADB is not set: run scripts/test.sh"))
}

/// An empty store, in a database of its own.
pub async fn store() -> MySqlStore {
    let store = unmigrated().await;
    store.migrate().await.unwrap();
    store
}

/// The URL of a store's database.
pub fn url_of(store: &MySqlStore) -> String {
    let options = store.pool().connect_options();
    on_server(&url(), options.get_database().unwrap())
}

/// A proxy for a store's server, and the URL of its database there.
pub async fn behind_proxy(store: &MySqlStore) -> (Proxy, String) {
    let url = url_of(store);
    let server = url.rsplit_once('@').unwrap().1.split('/').next().unwrap();
    let proxy = Proxy::before(server.parse().unwrap()).await;
    let url = url.replace(server, &proxy.addr.to_string());
    (proxy, url)
}

/// A store without tables.
pub async fn unmigrated() -> MySqlStore {
    let name = create_database(&url()).await;
    MySqlStore::connect(&on_server(&url(), &name)).await.unwrap()
}

/// The URL of another database on the server of a URL.
pub fn on_server(url: &str, database: &str) -> String {
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/{database}")
}

/// Creates a database on the server of a URL, and returns its name.
pub async fn create_database(url: &str) -> String {
    let mut random = [0; 8];
    signup::random::SecureRandom::fill(&signup::random::SystemRandom, &mut random).unwrap();
    let name = format!("t{:016x}", u64::from_le_bytes(random));
    have_database(url, &name).await;
    name
}

/// Creates a database unless it is there.
pub async fn have_database(url: &str, name: &str) {
    let mut connection = MySqlConnection::connect(url).await.unwrap();
    let create = format!("CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(create))).await.unwrap();
}
