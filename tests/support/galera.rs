//! Galera clusters of three MariaDBs: the one that `scripts/test.sh` has started, and ones of
//! a test's own, whose nodes may be stopped, killed and cut off.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::process::Command;

use signup::store::MySqlStore;

use super::mysql::{create_database, have_database, on_server};

/// The folder of a cluster, by `scripts/galera.sh`.
pub struct Galera {
    folder: PathBuf,
    /// The folder of a cluster that ends with the test.
    own: Option<tempfile::TempDir>,
}

impl Galera {
    /// The cluster of all tests.
    pub fn shared() -> Self {
        let folder = std::env::var("SIGNUP_TEST_GALERA");
        let folder = folder.expect("SIGNUP_TEST_GALERA is not set: run scripts/test.sh");
        Self { folder: folder.into(), own: None }
    }

    /// Starts a cluster of a test's own.
    pub fn start() -> Self {
        let own = tempfile::tempdir().unwrap();
        // The servers run as a user of theirs.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let open = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(own.path(), open).unwrap();
        }
        let galera = Self { folder: own.path().into(), own: Some(own) };
        galera.run(&["start"]);
        galera
    }

    /// Returns the URL of a node, counted from zero.
    pub fn url(&self, node: usize) -> String {
        let ports = read_to_string(self.folder.join("ports")).unwrap();
        let port = ports.lines().nth(node).unwrap().split(' ').next().unwrap();
        format!("mysql://root@127.0.0.1:{port}/mysql")
    }

    /// Opens an empty store on each node, of the same database.
    pub async fn stores(&self) -> [MySqlStore; 3] {
        let name = create_database(&self.url(0)).await;
        let open = async |node| {
            let url = self.url(node);
            // Definitions are carried out in one order, so it is there afterwards.
            have_database(&url, &name).await;
            MySqlStore::connect(&on_server(&url, &name)).await.unwrap()
        };
        let stores = [open(0).await, open(1).await, open(2).await];
        stores[0].migrate().await.unwrap();
        stores
    }

    /// Sends a node's process a signal.
    pub fn signal(&self, node: usize, signal: &str) {
        let pid = self.folder.join((node + 1).to_string()).join("mysql.pid");
        let pid = read_to_string(pid).unwrap();
        let status = Command::new("kill").arg(signal).arg(pid.trim()).status();
        assert!(status.unwrap().success(), "{signal}");
    }

    /// Starts a node that was killed, and waits until it has caught up.
    pub fn rejoin(&self, node: usize) {
        self.run(&["rejoin", &(node + 1).to_string()]);
    }

    fn run(&self, what: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/galera.sh");
        let mut command = Command::new("bash");
        command.arg(script).arg(what[0]).arg(&self.folder).args(&what[1..]);
        assert!(command.status().unwrap().success(), "{what:?}");
    }
}

impl Drop for Galera {
    fn drop(&mut self) {
        if self.own.is_some() {
            self.run(&["crash"]);
        }
    }
}
