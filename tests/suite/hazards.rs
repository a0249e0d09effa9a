//! The rows of `HAZARDS.md` against the tests: each has one, or a written reason.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the numbers that open a row of a table in `text`.
fn rows(text: &str) -> BTreeSet<String> {
    let row = Regex::new(r"(?m)^\| ([A-Z]\d\d) \|").unwrap();
    row.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// Returns the hazards, those covered by cases of this crate, and those without a test.
fn hazards() -> [BTreeSet<String>; 3] {
    let text = std::fs::read_to_string(root().join("tests/HAZARDS.md")).unwrap();
    let (text, untested) = text.split_once("\n## Rows without a test\n").unwrap();
    let (text, own_cases) = text.split_once("\n## Own cases in place of a public set\n").unwrap();
    [rows(text), rows(own_cases), rows(untested)]
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .collect()
}

/// Returns the text of every source file that may hold a test.
fn texts() -> Vec<(PathBuf, String)> {
    let folders = ["src", "tests"].map(|folder| sources(&root().join(folder)));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text)
    };
    folders.into_iter().flatten().map(read).collect()
}

/// Returns the numbers that stand beside a test: before the name of a case, in a line
/// above `#[test]`, or at the beginning of the name.
fn numbers(text: &str) -> BTreeSet<String> {
    let beside = [
        r"(?m)^    \[((?:[A-Z]\d\d(?:, )?)+)\] \w+,$",
        r"(?m)^ *// Hazards: ([A-Z0-9 ]+)\n *#\[(?:tokio::)?test",
        r"(?m)^ *(?:async )?fn ((?:[a-z]\d\d_)+)",
    ];
    let number = Regex::new(r"[A-Za-z]\d\d").unwrap();
    let mut found = BTreeSet::new();
    for pattern in beside {
        for list in Regex::new(pattern).unwrap().captures_iter(text) {
            found.extend(number.find_iter(&list[1]).map(|found| found.as_str().to_uppercase()));
        }
    }
    found
}

#[test]
fn every_hazard_has_a_test_or_a_reason() {
    let [hazards, own_cases, untested] = hazards();
    let mut tested = BTreeSet::new();
    for (path, text) in texts() {
        let found = numbers(&text);
        let unknown: Vec<_> = found.difference(&hazards).collect();
        assert!(unknown.is_empty(), "{}: no rows {unknown:?}", path.display());
        tested.extend(found);
    }
    let both: Vec<_> = tested.intersection(&untested).collect();
    assert!(both.is_empty(), "a test and a reason: {both:?}");
    let accounted: BTreeSet<_> = tested.union(&untested).cloned().collect();
    let missing: Vec<_> = hazards.difference(&accounted).collect();
    assert!(missing.is_empty(), "neither a test nor a reason: {missing:?}");
    assert!(untested.is_subset(&hazards) && own_cases.is_subset(&tested));
}

#[test]
fn a_search_for_one_number_finds_its_tests() {
    let range = Regex::new(r"fn \w*[a-z]\d\d_to_[a-z]\d\d|\[[A-Z]\d\d *(?:-|\.\.)").unwrap();
    let line = Regex::new(r"// Hazards: ").unwrap();
    let above_a_test = Regex::new(r"// Hazards: [A-Z0-9 ]+\n *#\[(?:tokio::)?test").unwrap();
    for (path, text) in texts() {
        let path = path.strip_prefix(root()).unwrap().display();
        if path.to_string() == file!() {
            continue;
        }
        assert!(range.find(&text).is_none(), "{path}: {:?} is a range", range.find(&text));
        let (lines, used) = (line.find_iter(&text).count(), above_a_test.find_iter(&text).count());
        assert_eq!(lines, used, "{path}: a list of hazards without a test");
    }
}
