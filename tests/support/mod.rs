//! Shared parts of the test binaries: backends to run a suite against, and a client that
//! sends bytes unchanged.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod alone;
pub mod backend;
pub mod client;
pub mod document;
pub mod faults;
pub mod galera;
pub mod mapped;
pub mod mysql;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod server;
pub mod stores;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use signup::account::AccountId;
use signup::event::Event;
use signup::store::{EventQuery, EventStore, StoreError};

/// Returns the first events of an account.
pub async fn events_of<S: EventStore + ?Sized>(
    store: &S,
    account: &AccountId,
    limit: u32,
) -> Result<Vec<Event>, StoreError> {
    let rows = store.list_events(EventQuery::OfAccount { account, after: 0 }, limit).await?;
    Ok(rows.into_iter().map(|row| row.event).collect())
}

/// Reads a file of the public corpora in `tests/data`.
pub fn corpus(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the binary of an example.
///
/// The examples are a package of their own, which cargo does not build with the tests. Unless
/// `SIGNUP_TEST_EXAMPLES` says that they are up to date, they are built first, so that no test
/// runs a stale one.
pub fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(examples).join(name)
}

/// Builds the examples with the profile and into the target folder of the tests.
fn examples() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let folder = this.ancestors().nth(2).unwrap();
    if std::env::var_os("SIGNUP_TEST_EXAMPLES").is_none() {
        let profile = folder.file_name().unwrap();
        let profile = if profile == "debug" { "dev".as_ref() } else { profile };
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "signup-examples", "--examples"]);
        build.args(["--features", "full", "--profile"]).arg(profile);
        build.arg("--target-dir").arg(folder.parent().unwrap());
        let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
        assert!(status.success(), "the examples do not build");
    }
    folder.join("examples")
}

/// Returns a number of repetitions: the first in a quick run, the second where
/// `SIGNUP_TEST_FULL` asks for all of them, as `.ci/release` does.
pub fn rounds(quick: usize, full: usize) -> usize {
    if std::env::var_os("SIGNUP_TEST_FULL").is_some() { full } else { quick }
}

/// The resident memory of a process, in bytes: now, or at its highest.
pub fn memory(process: &str, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}
