//! PostgreSQL servers: the one that `scripts/test.sh` has started, with a schema
//! for each test, and ones of a test's own.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use signup::store::{PostgresStore, Schema};

use super::proxy::Proxy;

/// Of the server of all tests.
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
    empty(PostgresStore::connect(url).await.unwrap()).await
}

/// A proxy for a URL's server, and the URL through it.
pub async fn behind_proxy(url: &str) -> (Proxy, String) {
    let server = url.rsplit_once('@').unwrap().1.split('/').next().unwrap();
    let proxy = Proxy::before(server.parse().unwrap()).await;
    let url = url.replace(server, &proxy.addr.to_string());
    (proxy, url)
}

/// A store without tables, for a schema of its own.
pub async fn unmigrated(url: &str) -> PostgresStore {
    PostgresStore::connect(url).await.unwrap().with_schema(new_schema())
}

async fn empty(store: PostgresStore) -> PostgresStore {
    let store = store.with_schema(new_schema());
    store.migrate().await.unwrap();
    store
}

/// A name that nobody has.
pub fn new_schema() -> Schema {
    let mut random = [0; 8];
    signup::random::SecureRandom::fill(&signup::random::SystemRandom, &mut random).unwrap();
    Schema::new(&format!("t{:016x}", u64::from_le_bytes(random))).unwrap()
}

/// An empty store whose sessions have another isolation level by default. It has time for
/// attempts.
pub async fn isolated(level: &str) -> PostgresStore {
    let store = store(&isolated_url(level)).await.with_deadline(Duration::from_secs(30));
    let shown = sqlx::query_scalar("SHOW transaction_isolation").fetch_one(store.pool());
    let shown: String = shown.await.unwrap();
    assert_eq!(shown, level);
    store
}

/// An empty store as a distributed database has it, whose isolation is serializable.
pub async fn distributed() -> PostgresStore {
    let store = PostgresStore::connect(&isolated_url("serializable")).await.unwrap();
    empty(store.distributed()).await.with_deadline(Duration::from_secs(30))
}

fn isolated_url(level: &str) -> String {
    let escaped = level.replace(' ', "%5C%20");
    format!("{}?options=-c%20default_transaction_isolation%3D{escaped}", url())
}

pub fn schema_of(store: &PostgresStore) -> Schema {
    Schema::new(store.table("").trim_end_matches('.')).unwrap()
}

/// A PgBouncer in session mode that ends with its test.
pub struct PgBouncer {
    folder: tempfile::TempDir,
    port: u16,
}

impl PgBouncer {
    pub fn before(server: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let bouncer = Self { folder, port };
        let path = |name: &str| bouncer.folder.path().join(name).display().to_string();
        let settings = format!(
            "[databases]\npostgres = host=127.0.0.1 port={}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\npool_mode = session\n\
             logfile = {}\npidfile = {}\n",
            server.port(),
            path("users.txt"),
            path("log"),
            path("pid"),
        );
        std::fs::write(path("users.txt"), "\"postgres\" \"\"\n").unwrap();
        std::fs::write(path("settings.ini"), settings).unwrap();
        let run = "chmod -R a+rwX \"$0\"; start=(pgbouncer --quiet --daemon \"$0/settings.ini\"); \
                   if [ \"$(id -u)\" = 0 ]; then runuser -u postgres -- \"${start[@]}\"; \
                   else \"${start[@]}\"; fi";
        let started = Command::new("bash").args(["-c", run]).arg(bouncer.folder.path()).status();
        assert!(started.unwrap().success());
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        bouncer
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let stop = "kill -9 \"$(cat \"$0/pid\")\"";
        let _ = Command::new("bash").args(["-c", stop]).arg(self.folder.path()).status();
    }
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

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Starts a copy that confirms each commit of this server.
    pub fn standby(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let standby = Self { folder, port };
        let primary = self.folder.path().to_str().unwrap();
        standby.run_with("standby", &[&self.port.to_string(), primary]);
        standby
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        self.run("promote");
    }

    fn run(&self, what: &str) {
        self.run_with(what, &[]);
    }

    fn run_with(&self, what: &str, more: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres.sh");
        let folder: PathBuf = self.folder.path().into();
        let status = Command::new("bash")
            .arg(script)
            .arg(what)
            .arg(folder)
            .arg(self.port.to_string())
            .args(more)
            .status();
        assert!(status.unwrap().success(), "{what}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.run("crash");
    }
}
