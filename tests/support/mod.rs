//! Shared parts of the test binaries: backends to run a suite against, and a client that
//! sends bytes unchanged.

#![allow(dead_code, reason = "each test binary uses its part")]

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

/// Reads a file of the public corpora in `tests/data`.
pub fn corpus(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An example's binary, which cargo builds beside the tests.
pub fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples").join(name)
}

/// The resident memory of a process, in bytes: now, or at its highest.
pub fn memory(process: &str, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}
