//! The rules of `ARCHITECTURE.md` and `CONTRIBUTING.md` that a program can check: imports only
//! go down, and summaries are those of RFC 1574.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A row of the table of modules.
struct Row {
    module: String,
    wing: String,
    may_import: BTreeSet<String>,
}

fn page() -> String {
    std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// The rows of the table of modules, in its order.
fn table() -> Vec<Row> {
    let page = page();
    let section = page.split("## Modules").nth(1).unwrap();
    let names = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let rows = section.lines().skip_while(|line| !line.starts_with("| ---")).skip(1);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<_> = line.split('|').collect();
            Row {
                module: names(cells[1]).remove(0),
                wing: cells[2].trim().to_owned(),
                may_import: names(cells[3]).into_iter().collect(),
            }
        })
        .collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .collect()
}

/// A source file's code: without its tests, its comments and its docs.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    // In a macro it is the user's crate, not a module.
    let text = text.replace("$crate::", "");
    let code = text.split("#[cfg(test)]").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The files that ship, each with its top module.
fn modules() -> Vec<(String, PathBuf)> {
    let src = root().join("src");
    let is_test = |path: &Path| path.iter().any(|part| part == "tests.rs" || part == "tests");
    let shipped = sources(&src)
        .into_iter()
        .filter(|path| path.strip_prefix(&src).is_ok_and(|inside| !is_test(inside)));
    shipped
        .map(|path| {
            let relative = path.strip_prefix(&src).unwrap();
            let top = relative.iter().next().unwrap().to_str().unwrap();
            (top.trim_end_matches(".rs").to_owned(), path)
        })
        .filter(|(module, _)| module != "lib")
        .collect()
}

#[test]
fn imports_are_those_of_the_table() {
    let rows = table().into_iter();
    let allowed: BTreeMap<_, _> = rows.map(|row| (row.module, row.may_import)).collect();
    let mut imported: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, path) in modules() {
        for import in code(&path).split("crate::").skip(1) {
            let name: String =
                import.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if name != module {
                imported.entry(module.clone()).or_default().insert(name);
            }
        }
    }
    for (module, imports) in &imported {
        assert_eq!(Some(imports), allowed.get(module), "imports of `{module}`");
    }
}

#[test]
fn the_table_has_every_module_and_goes_down() {
    let rows = table();
    let named: BTreeSet<_> = rows.iter().map(|row| row.module.clone()).collect();
    let existing: BTreeSet<_> = modules().into_iter().map(|(module, _)| module).collect();
    assert_eq!(named, existing);
    let mut above = BTreeSet::new();
    for Row { module, may_import, .. } in rows {
        assert!(may_import.is_subset(&above), "`{module}` imports what stands below it");
        above.insert(module);
    }
}

/// The wings are a stack: each imports only from the wings below it, which is also the order in
/// the picture.
#[test]
fn wings_import_from_the_wings_below() {
    let rows = table();
    let mut wings: Vec<&str> = rows.iter().map(|row| &*row.wing).collect();
    wings.dedup();
    let page = page();
    let picture = page.split("```").nth(1).unwrap().lines().skip(1);
    let drawn: Vec<_> = picture.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(drawn.iter().rev().eq(&wings), "{drawn:?} is not {wings:?} from top to bottom");
    assert_eq!(wings.iter().collect::<BTreeSet<_>>().len(), wings.len(), "a wing is in two parts");
    let height = |wing: &str| wings.iter().position(|known| *known == wing).unwrap();
    let wing_of: BTreeMap<_, _> = rows.iter().map(|row| (&*row.module, &*row.wing)).collect();
    for Row { module, wing, may_import } in &rows {
        for import in may_import {
            let other = wing_of[&**import];
            assert!(height(other) <= height(wing), "`{module}` of {wing} imports from {other}");
        }
    }
}

/// The files that may name a framework, a database or a runtime.
const HOMES: &[(&str, &[&str])] = &[
    ("axum::", &["adapters/axum.rs"]),
    ("actix_web::", &["adapters/actix.rs"]),
    (
        "utoipa::",
        &[
            "openapi.rs",
            "openapi/event.rs",
            "openapi/verification.rs",
            "openapi/verification/after.rs",
        ],
    ),
    ("lettre::", &["mail/smtp.rs"]),
    (
        "sqlx::",
        &[
            "store/sql.rs",
            "store/sql/backend.rs",
            "store/sql/change.rs",
            "store/sql/find.rs",
            "store/sql/event_queries.rs",
            "store/sql/fault.rs",
            "store/sql/host.rs",
            "store/sql/migrate.rs",
            "store/sql/numbered.rs",
            "store/sql/open.rs",
            "store/sql/plans.rs",
            "store/sql/queries.rs",
            "store/sql/statement.rs",
            "store/sql/table/adopt.rs",
            "store/sql/table/trial.rs",
            "store/sql/transaction.rs",
            "store/mysql.rs",
            "store/sqlite.rs",
            "store/postgres.rs",
            "store/postgres/backend.rs",
            "store/postgres/backend/vocabulary.rs",
        ],
    ),
    (
        "tokio::spawn",
        &[
            "limit/link.rs",
            "store/sql/gate.rs",
            "mail/queue.rs",
            "counters.rs",
            "service/accounts/notices.rs",
            "store/conformance/",
        ],
    ),
    (
        "redis::",
        &[
            "throttle.rs",
            "limit/limiter.rs",
            "limit/link.rs",
            "limit/redis.rs",
            "counters.rs",
            "counters/redis.rs",
        ],
    ),
    ("hyper::", &["relay/webhook.rs"]),
    ("hyper_util::", &["relay/webhook.rs", "relay/webhook/address.rs"]),
    ("metrics::", &["observe.rs", "observe/metrics.rs"]),
    ("tracing::", &["observe.rs", "observe/tracing.rs"]),
    (
        "tokio::time",
        &[
            "adapters.rs",
            "mail/queue.rs",
            "policy/evaluate.rs",
            "service/turns.rs",
            "relay.rs",
            "relay/notices.rs",
            "relay/partition.rs",
            "relay/webhook.rs",
            "limit/link.rs",
            "store/mysql.rs",
            "store/postgres.rs",
            "store/postgres/backend.rs",
            "store/sqlite.rs",
            "store/sql/backend.rs",
            "store/sql/change.rs",
            "store/sql/find.rs",
            "store/sql/gate.rs",
            "store/sql/migrate.rs",
            "store/sql/settle.rs",
            "store/sql/table/adopt.rs",
            "store/sql/table/trial.rs",
        ],
    ),
    ("SystemTime::now", &["clock.rs"]),
    // The timers of tokio's are the runtime's, and may be waited for.
    ("std::time::Instant", &["clock.rs"]),
    ("time::{Duration, Instant", &["clock.rs"]),
    ("SysRng", &["random.rs"]),
];

#[test]
fn frameworks_and_databases_are_named_where_they_belong() {
    for (name, homes) in HOMES {
        for (_, path) in modules() {
            let relative = path.strip_prefix(root().join("src")).unwrap().to_str().unwrap();
            // A module of ours may be called like the framework.
            let text = code(&path);
            let is_home = |home: &&str| {
                relative == *home || home.ends_with('/') && relative.starts_with(home)
            };
            let is_at_home = homes.iter().any(is_home);
            assert!(is_at_home || !text.contains(name), "{name} in {relative}");
        }
    }
}

/// Openings of a summary that say nothing about what the item is or does.
const OPENINGS: [&str; 12] = [
    "What",
    "Whose",
    "Which",
    "Who",
    "Whoever",
    "How",
    "So",
    "It",
    "They",
    "There",
    "Why",
    "Everything",
];

/// A doc comment's first line, and the first line of the item below it.
struct Summary {
    line: usize,
    text: String,
    item: String,
}

fn summaries(path: &Path) -> Vec<Summary> {
    let text = std::fs::read_to_string(path).unwrap();
    let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines: Vec<_> = shipped.lines().map(str::trim).collect();
    let is_doc = |line: &str| line.starts_with("///") || line.starts_with("//!");
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if !is_doc(line) || at > 0 && is_doc(lines[at - 1]) {
            continue;
        }
        let mut depth = 0;
        let item = lines[at..].iter().find(|line| {
            let is_attribute = depth > 0 || line.starts_with("#[");
            if is_attribute {
                let count = |sign| i32::try_from(line.matches(sign).count()).unwrap();
                depth += count('[') - count(']');
            }
            !is_doc(line) && !is_attribute
        });
        let text = line[3..].trim().to_owned();
        found.push(Summary { line: at + 1, text, item: item.unwrap_or(&"").to_string() });
    }
    found
}

fn is_function(item: &str) -> bool {
    let words = item.split_whitespace().filter(|word| !word.starts_with("pub"));
    let mut words =
        words.skip_while(|word| ["const", "async", "in"].contains(word) || word.ends_with(')'));
    words.next() == Some("fn")
}

#[test]
fn a_summary_is_a_verb_in_the_third_person_or_a_noun_phrase() {
    let mut checked = 0;
    for (_, path) in modules() {
        for Summary { line, text, item } in summaries(&path) {
            let at = format!("{}:{line}: {text}", path.display());
            let first = text.split(|c: char| !c.is_alphabetic()).next().unwrap();
            assert!(!OPENINGS.contains(&first), "{at}");
            let is_verb = first.ends_with('s') && first.starts_with(char::is_uppercase);
            // A field's type may be a function, too; only items begin with the word.
            if is_function(&item) {
                assert!(is_verb, "{at}");
                checked += 1;
            }
        }
    }
    assert!(checked > 300, "{checked}: functions are no longer found");
    let others = ["benches", "examples", "tests/endpoint", "tests/suite", "tests/support"];
    for path in others.into_iter().flat_map(|folder| sources(&root().join(folder))) {
        for Summary { line, text, .. } in summaries(&path) {
            let first = text.split(|c: char| !c.is_alphabetic()).next().unwrap();
            assert!(!OPENINGS.contains(&first), "{}:{line}: {text}", path.display());
        }
    }
}

/// `fn main() -> Result<…>` prints the `Debug` of its error.
#[test]
fn a_public_error_shows_its_text() {
    let mut errors = 0;
    for (_, path) in modules() {
        let text = code(&path);
        for item in text.split("#[derive(").skip(1) {
            let (derived, rest) = item.split_once(")]").unwrap();
            let declared = rest.lines().find(|line| line.trim_start().starts_with("pub "));
            let is_error = derived.contains("thiserror::Error");
            if let (true, Some(declared)) = (is_error, declared) {
                assert!(!derived.contains("Debug"), "{}: {declared}", path.display());
                errors += 1;
            }
        }
    }
    assert!(errors > 15, "{errors}: errors are no longer found");
    let refused = signup::store::StoreError::Unavailable("connection refused".into());
    let shown = format!("{:?}", signup::SignupError::from(refused));
    assert_eq!(shown, "a service does not answer: the store does not answer: connection refused");
}
