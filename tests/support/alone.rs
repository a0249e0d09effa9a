//! Tests that run alone in a new process.

use std::ffi::OsStr;
use std::process::Command;

/// Says to an ignored test that it runs alone.
const ALONE: &str = "SIGNUP_TEST_ALONE";

/// Runs an ignored test in a new process, with these variables.
pub fn run_alone(test: &str, variables: &[(&str, &OsStr)]) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--ignored", "--nocapture"]).env(ALONE, "1");
    let output = child.envs(variables.iter().copied()).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success() && said[0].contains("1 passed"), "{test}: {}", said.concat());
}

/// Returns whether this process was started by [`run_alone`].
pub fn is_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}
