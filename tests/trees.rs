//! Hosts whose trees turn on features of crates that we share with them, each
//! built and run for itself.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::process::Command;

fn cargo(command: &str, package: &str) {
    let root = env!("CARGO_MANIFEST_DIR");
    let manifest = format!("{root}/tests/trees/Cargo.toml");
    let status = Command::new(env!("CARGO"))
        .args([command, "--quiet", "--manifest-path", &manifest, "--package", package])
        .env("CARGO_TARGET_DIR", format!("{root}/target/trees"))
        .status();
    assert!(status.unwrap().success());
}

fn run(package: &str) {
    cargo("run", package);
}

#[test]
#[ignore = "builds further crates: scripts/test.sh runs it"]
fn s08_s09_what_must_not_compile() {
    cargo("test", "compile-fail");
}

#[test]
#[ignore = "builds further crates: scripts/test.sh runs it"]
fn j18_arbitrary_precision_changes_nothing() {
    run("arbitrary-precision");
}

#[test]
#[ignore = "builds further crates: scripts/test.sh runs it"]
fn w39_no_back_end_of_jsonwebtoken_is_needed() {
    run("no-backend");
}

#[test]
#[ignore = "builds further crates: scripts/test.sh runs it"]
fn w39_two_back_ends_of_jsonwebtoken_do_no_harm() {
    run("both-backends");
}

#[test]
#[ignore = "builds further crates: scripts/test.sh runs it"]
fn jsonwebtoken_decodes_our_tokens() {
    run("one-backend");
}
