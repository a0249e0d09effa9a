//! PostgreSQL servers: the one that `scripts/test.sh` has started, with a schema
//! for each test, and ones of a test's own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use signup::store::{PostgresStore, Schema};

/// Of the server that is there for all tests.
pub fn url() -> String {
    variable("SIGNUP_TEST_POSTGRES")
}

/// Of the PgBouncer in front of it.
pub fn pgbouncer_url() -> String {
    variable("SIGNUP_TEST_PGBOUNCER")
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test.sh"))
}

/// An empty store, in a schema of its own.
pub async fn store(url: &str) -> PostgresStore {
    let mut random = [0; 8];
    signup::random::SecureRandom::fill(&signup::random::SystemRandom, &mut random).unwrap();
    let name = format!("t{:016x}", u64::from_le_bytes(random));
    let store = PostgresStore::connect(url).await.unwrap();
    let store = store.with_schema(Schema::new(&name).unwrap());
    store.migrate().await.unwrap();
    store
}

/// An empty store whose sessions have another isolation level by default. It has time for
/// attempts.
pub async fn isolated(level: &str) -> PostgresStore {
    let escaped = level.replace(' ', "%5C%20");
    let url = format!("{}?options=-c%20default_transaction_isolation%3D{escaped}", url());
    let store = store(&url).await.with_deadline(std::time::Duration::from_secs(30));
    let shown = sqlx::query_scalar("SHOW transaction_isolation").fetch_one(store.pool());
    let shown: String = shown.await.unwrap();
    assert_eq!(shown, level);
    store
}

pub fn schema_of(store: &PostgresStore) -> Schema {
    Schema::new(store.table("").trim_end_matches('.')).unwrap()
}

/// A server of a test's own, which may be killed. It ends with the test.
pub struct Postgres {
    folder: tempfile::TempDir,
    port: u16,
}

impl Postgres {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { folder, port };
        server.run("start");
        server
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Ends it as a crash would, without writing what is in memory.
    pub fn crash(&self) {
        self.run("crash");
    }

    /// Starts it again after a crash.
    pub fn restart(&self) {
        self.run("start");
    }

    fn run(&self, what: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres.sh");
        let folder: PathBuf = self.folder.path().into();
        let status = Command::new("bash")
            .arg(script)
            .arg(what)
            .arg(folder)
            .arg(self.port.to_string())
            .status();
        assert!(status.unwrap().success(), "{what}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.run("crash");
    }
}
