//! The wording of pages and doc comments: the phrases of `language.tsv` only become fewer.

use std::path::{Path, PathBuf};

use regex::Regex;

use crate::repository::{root, texts};

/// The columns of counts in `language.tsv`.
const PLACES: [&str; 3] = ["pages", "doc comments of src", "doc comments of tests"];

/// A line of `language.tsv`.
struct Phrase {
    /// A regular expression, matched without regard to case.
    pattern: String,
    ceilings: [usize; 3],
    prefer: String,
}

fn table() -> PathBuf {
    root().join("tests/suite/language.tsv")
}

fn phrases(table: &str) -> Vec<Phrase> {
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let cells: Vec<_> = line.split('\t').collect();
        let [pattern, pages, src, tests, prefer] = *cells else { panic!("{line:?}") };
        Phrase {
            pattern: pattern.to_owned(),
            ceilings: [pages, src, tests].map(|count| count.parse().unwrap()),
            prefer: prefer.to_owned(),
        }
    })
    .collect()
}

/// Returns the doc comments of a source file, joined so that a phrase may wrap.
fn doc_comments(source: &str) -> String {
    let lines = source.lines().map(str::trim_start);
    let docs = lines.map(|line| line.strip_prefix("///").or_else(|| line.strip_prefix("//!")));
    docs.map(|line| line.unwrap_or("\n")).collect()
}

/// Returns the column that a file counts in, and its text.
fn prose(path: &Path, text: &str) -> Option<(usize, String)> {
    let extension = path.extension()?.to_str()?;
    let is_foreign = path.starts_with("tests/data") || path.starts_with("examples/drivers");
    match extension {
        "md" if !is_foreign => Some((0, text.replace('\n', " "))),
        "rs" if path.starts_with("src") => Some((1, doc_comments(text))),
        "rs" if !is_foreign => Some((2, doc_comments(text))),
        _ => None,
    }
}

fn matches(pattern: &str, text: &str) -> usize {
    Regex::new(&format!("(?i){pattern}")).unwrap().find_iter(text).count()
}

#[test]
fn phrases_to_avoid_only_become_fewer() {
    let table_text = std::fs::read_to_string(table()).unwrap();
    let mut joined = [const { String::new() }; 3];
    for (path, text) in texts() {
        if let Some((place, text)) = prose(&path, &text) {
            joined[place].push_str(&text);
            joined[place].push('\n');
        }
    }
    assert!(joined.iter().all(|text| text.len() > 10_000), "the prose is no longer found");
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    let (mut lowered, mut changes) = (table_text.clone(), Vec::new());
    for Phrase { pattern, ceilings, prefer } in phrases(&table_text) {
        let counts = [0, 1, 2].map(|place| matches(&pattern, &joined[place]));
        for (place, (count, ceiling)) in counts.into_iter().zip(ceilings).enumerate() {
            let place = PLACES[place];
            if count > ceiling {
                changes.push(format!("{pattern} in {place}: {count} > {ceiling}; write {prefer}"));
            } else if count < ceiling && !update {
                changes.push(format!("{pattern} in {place}: lower {ceiling} to {count}"));
            }
        }
        let row = |counts: [usize; 3]| {
            let [pages, src, tests] = counts;
            format!("{pattern}\t{pages}\t{src}\t{tests}\t{prefer}\n")
        };
        let fewer = [0, 1, 2].map(|place| counts[place].min(ceilings[place]));
        lowered = lowered.replace(&row(ceilings), &row(fewer));
    }
    if update && lowered != table_text {
        std::fs::write(table(), lowered).unwrap();
    }
    assert!(changes.is_empty(), "UPDATE_DOCS=1 lowers ceilings:\n{}", changes.join("\n"));
}

#[test]
fn a_phrase_that_wraps_is_counted() {
    let source = "/// A key that is\n/// none.\nfn key() {}\n/// Another\n";
    let text = doc_comments(source);
    assert_eq!(matches(r"\bis none\b", &text), 1);
    assert_eq!(matches(r"\bnone\. Another\b", &text), 0);
}
