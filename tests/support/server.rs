//! An example server as a process of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::example;

pub struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub addr: SocketAddr,
}

impl Server {
    /// Starts an example on a free port, and waits until it listens.
    pub fn start(name: &str, database_url: &str, settings: &[(&str, &str)]) -> Self {
        Self::listening(command(name, database_url, settings))
    }

    /// The same, with its logs in a file.
    pub fn logging(
        name: &str,
        database_url: &str,
        settings: &[(&str, &str)],
        logs: std::fs::File,
    ) -> Self {
        let mut command = command(name, database_url, settings);
        command.stderr(logs);
        Self::listening(command)
    }

    /// Starts what [`command`] has made, and waits until it listens.
    pub fn listening(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let addr = line.trim().strip_prefix("listening on http://");
        let addr = addr.unwrap_or_else(|| panic!("it said {line:?}")).parse().unwrap();
        Self { child, stdout, addr }
    }

    /// Reads what it says next on stdout.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// `kill -TERM`.
    pub fn terminate(&self) {
        assert!(Command::new("kill").args(["-TERM", &self.pid()]).status().unwrap().success());
    }

    /// Waits for its own end, and gives whether it was a success.
    pub fn wait(mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the stderr of an example that can't start.
pub fn complaint(name: &str, database_url: &str, settings: &[(&str, &str)]) -> String {
    let mut child = command(name, database_url, settings).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    said
}

/// Makes the command that starts an example, with none of the settings that the tests
/// themselves were started with.
pub fn command(name: &str, database_url: &str, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(example(name));
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.as_encoded_bytes().starts_with(b"SIGNUP_")) {
        command.env_remove(name);
    }
    command
        .env_remove("JWT_SECRET")
        .env_remove("REDIS_URL")
        .env("SIGNUP_ADDR", "127.0.0.1:0")
        .env("SIGNUP_JWT_SECRET", "0123456789abcdef0123456789abcdef")
        .env("SIGNUP_REPLAY_SECRET", "fedcba9876543210fedcba9876543210")
        .env("DATABASE_URL", database_url)
        .env("SIGNUP_RATE_LIMIT", "off")
        .envs(settings.iter().copied())
        .stdout(Stdio::piped());
    command
}
