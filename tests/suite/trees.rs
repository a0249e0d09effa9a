//! Hosts whose trees turn on features of crates that we share with them, each
//! built and run for itself.

use std::path::Path;
use std::process::Command;

fn cargo(command: &str, package: &str) -> Command {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/trees/Cargo.toml");
    // In cargo's target folder, wherever that is.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("trees");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([command, "--quiet", "--locked", "--manifest-path", manifest]);
    cargo.args(["--package", package]);
    cargo.arg("--target-dir").arg(target);
    cargo
}

fn run(package: &str) {
    assert!(cargo("run", package).status().unwrap().success());
}

/// The lines of a program on which there is an error, and what it says; or on which
/// there shall be one.
type Errors = Vec<(usize, String)>;

/// Returns the compiler's errors for a program, by line.
fn errors(name: &str) -> Errors {
    let mut cargo = cargo("check", "compile-fail");
    // Errors alone: where warnings are denied, they would be among them.
    cargo.env_remove("RUSTFLAGS");
    let output = cargo.args(["--example", name, "--message-format", "short"]).output().unwrap();
    assert!(!output.status.success(), "{name} compiles");
    let said = String::from_utf8(output.stderr).unwrap();
    let mut errors: Errors = said
        .lines()
        .filter_map(|line| line.split_once(&format!("{name}.rs:")))
        .filter(|(_, rest)| rest.contains(" error"))
        .map(|(_, rest)| (rest.split(':').next().unwrap().parse().unwrap(), rest.to_owned()))
        .collect();
    errors.sort();
    errors.dedup_by_key(|(line, _)| *line);
    assert!(!errors.is_empty(), "{said}");
    errors
}

/// Returns the expected errors: the text after each `//~`.
fn expected(text: &str) -> Errors {
    let lines = text.lines().zip(1..);
    let marked = lines.filter_map(|(line, number)| Some((number, line.split_once("//~ ")?.1)));
    marked.map(|(number, what)| (number, what.to_owned())).collect()
}

#[test]
#[ignore = "builds further crates: scripts/test.sh runs it"]
fn s08_s09_what_must_not_compile() {
    let programs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/trees/compile-fail/examples");
    for program in std::fs::read_dir(programs).unwrap() {
        let path = program.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let expected = expected(&std::fs::read_to_string(&path).unwrap());
        let said = errors(name);
        let lines = |errors: &Errors| errors.iter().map(|(line, _)| *line).collect::<Vec<_>>();
        assert_eq!(lines(&said), lines(&expected), "{name}: {said:#?}");
        for ((_, said), (_, expected)) in said.iter().zip(&expected) {
            assert!(said.contains(expected), "{name}: {said} is not {expected}");
        }
    }
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

/// The code of the first block of a kind in the README.
fn readme(kind: &str) -> &'static str {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once(&format!("```{kind}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
#[ignore = "builds further crates: scripts/test.sh runs it"]
fn the_readmes_dependencies_build_its_code_in_an_empty_project() {
    let folder = tempfile::tempdir().unwrap();
    let readme_path = r#"path = "signup""#;
    assert!(readme("toml").contains(readme_path));
    let path = format!("path = {:?}", env!("CARGO_MANIFEST_DIR"));
    let dependencies = readme("toml").replace(readme_path, &path);
    let package = "[package]\nname = \"host\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n";
    std::fs::write(folder.path().join("Cargo.toml"), format!("{package}{dependencies}")).unwrap();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    std::fs::write(folder.path().join("src/main.rs"), readme("rust,no_run")).unwrap();
    // The versions that are tested, as far as the host has the same crates.
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock");
    std::fs::copy(lock, folder.path().join("Cargo.lock")).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("trees");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet"]).current_dir(folder.path());
    let output = build.arg("--target-dir").arg(target).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("warning"), "{said}");
}

/// The stores of `examples/drivers`, on the servers that `scripts/test.sh` started.
#[test]
#[ignore = "builds further crates: scripts/test.sh runs it"]
fn each_driver_keeps_the_contract() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/drivers/Cargo.toml");
    // In cargo's target folder, wherever that is, next to the trees.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("trees");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet", "--locked", "--manifest-path", manifest, "--target-dir"]);
    assert!(cargo.arg(target).status().unwrap().success());
}
