//! The public API against the one that was looked at last: each change of it is meant.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Runs a command of cargo's and returns what it prints.
fn run(cargo: &mut Command) -> String {
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "builds further crates: scripts/test.sh runs it"]
fn each_change_of_the_public_api_is_meant() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = |name: &str| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(name);
    let mut rustdoc = Command::new(env!("CARGO"));
    // The JSON of rustdoc is not stable yet.
    rustdoc.env("RUSTDOC", root.join("scripts/docsrs.sh")).arg("rustdoc").current_dir(root);
    rustdoc.args(["--lib", "--all-features", "--quiet", "--target-dir"]).arg(target(""));
    run(rustdoc.args(["--", "-Zunstable-options", "--output-format", "json"]));
    let mut list = Command::new(env!("CARGO"));
    list.args(["run", "--quiet", "--locked", "--manifest-path"]);
    list.arg(root.join("tests/public-api/Cargo.toml"));
    list.arg("--target-dir").arg(target("trees")).arg("--");
    let listed = run(list.arg(target("doc/signup.json")));
    assert!(listed.contains("pub struct signup::SignupService"), "{listed}");

    let baseline = root.join("tests/public-api/baseline.txt");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&baseline, &listed).unwrap();
    }
    let kept = std::fs::read_to_string(baseline).unwrap();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (listed, kept) = (lines(&listed), lines(&kept));
    let removed = kept.difference(&listed).map(|line| format!("- {line}"));
    let added = listed.difference(&kept).map(|line| format!("+ {line}"));
    let changes: Vec<_> = removed.chain(added).collect();
    assert!(
        changes.is_empty(),
        "the public API has changed. If that is meant, note it in CHANGELOG.md (what is gone \
         breaks hosts, see RELEASING.md), and run this test with UPDATE_DOCS=1:\n{}",
        changes.join("\n"),
    );
}
