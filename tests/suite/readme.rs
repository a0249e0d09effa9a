//! The README's first screen against the server that it starts.

use std::process::Command;

use crate::server::Database;
use crate::support::server::Server;

/// Returns the README's blocks of shell commands.
fn commands() -> Vec<&'static str> {
    let readme = include_str!("../../README.md");
    let blocks = readme.split("```sh\n").skip(1);
    blocks.map(|rest| rest.split_once("\n```").unwrap().0).collect()
}

/// Runs a command in a shell, and returns what it prints.
fn shell(command: &str) -> String {
    let output = Command::new("bash").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_first_command_serves_the_page_and_answers_curl() {
    let commands = commands();
    let [run, curl, ..] = *commands else { panic!("{commands:?}") };
    let example = run.strip_prefix("cargo run --release -p signup-examples --example ").unwrap();
    let database = Database::sqlite();
    let server = Server::start(example, &database.url(), &[]);
    let here = server.addr.to_string();
    let answer = shell(&curl.replace("127.0.0.1:3000", &here));
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(answer.contains(r#""api_key":"rag_live_"#), "{answer}");
    let page = shell(&format!("curl --silent --fail http://{here}"));
    assert!(page.contains("Create an account"), "{page}");
    // The page and the command name the address at which a server listens without settings.
    let help = shell(&format!("{} --help", crate::support::example(example).display()));
    assert!(help.contains("127.0.0.1:3000"), "{help}");
    assert!(include_str!("../../README.md").contains("<http://127.0.0.1:3000>"));
}
