//! The stores of `examples/drivers`, which are a package of their own, on real servers.

use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "builds further crates: scripts/test.sh runs it"]
fn each_driver_keeps_the_contract() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/drivers/Cargo.toml");
    // In cargo's target folder, wherever that is, beside the trees.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("trees");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet", "--locked", "--manifest-path", manifest, "--target-dir"]);
    assert!(cargo.arg(target).status().unwrap().success());
}
