//! A database server of a benchmark's own, started by one of the scripts.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// A running server, which ends with the value.
pub struct Server {
    script: &'static str,
    pub folder: tempfile::TempDir,
    pub port: u16,
}

impl Server {
    pub fn start(script: &'static str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The servers run as users of theirs.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { script, folder, port };
        server.run("start", options);
        server
    }

    fn run(&self, what: &str, options: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(self.script);
        let mut command = Command::new("bash");
        command.arg(script).arg(what).arg(self.folder.path()).arg(self.port.to_string());
        assert!(command.args(options).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run("crash", &[]);
    }
}
