//! The repository is whole: a clone that lies alone in a folder has all that its
//! builds and tests read.

use std::path::{Component, Path, PathBuf};

use regex::Regex;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files of the repository, without what builds and tests write.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let ours = entries
        .filter(|path| !["target", ".git", "node_modules"].iter().any(|name| path.ends_with(name)));
    ours.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Returns the texts of the repository, each with its path within it.
pub fn texts() -> Vec<(PathBuf, String)> {
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).ok()?;
        Some((path.strip_prefix(root()).unwrap().to_owned(), text))
    };
    files(root()).into_iter().filter_map(read).collect()
}

/// Returns whether `path`, seen from `folder`, leaves the repository.
fn leaves(folder: &Path, path: &str) -> bool {
    let mut depth = 0_usize;
    for part in folder.join(path).components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth == 0 => return true,
            Component::ParentDir => depth -= 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

#[test]
fn no_file_names_a_path_outside_of_the_repository() {
    // Relative to the file: modules, included texts, and the packages of a manifest.
    let beside = r#"(?m)(?:(?:^|#\[|[{,] *)path = |include_(?:str|bytes)!\(\s*)"([^"]+)""#;
    let beside = Regex::new(beside).unwrap();
    // Relative to the root: what follows it in the same statement.
    let below = Regex::new(r#"(?s)env!\("CARGO_MANIFEST_DIR"\)[^;]*?"/?(\.\.[^"]*)""#).unwrap();
    let shared = ["..", "/shared"].concat();
    let mut paths = 0;
    for (file, text) in texts() {
        let shown = file.display();
        assert!(!text.contains(&shared), "{shown} names a folder beside the repository");
        let folder = file.parent().unwrap();
        for found in beside.captures_iter(&text) {
            paths += 1;
            assert!(!leaves(folder, &found[1]), "{shown}: {}", &found[1]);
        }
        let found = below.captures(&text).map(|found| found[1].to_owned());
        assert_eq!(found, None, "{shown} reads above the root");
    }
    assert!(paths > 0);
}

#[test]
fn links_stay_within_the_repository() {
    for path in files(root()) {
        assert!(!path.is_symlink(), "{} is a link", path.display());
    }
}

#[test]
fn every_corpus_has_its_source_and_its_licence() {
    let folders = std::fs::read_dir(root().join("tests/data")).unwrap();
    let folders = folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let mut corpora = 0;
    for folder in folders {
        corpora += 1;
        for file in ["SOURCE.txt", "LICENSE"] {
            let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
            assert!(!text.trim().is_empty(), "{} has no {file}", folder.display());
        }
    }
    assert!(corpora > 0);
}

/// The versions of a crate that are locked, as numbers.
fn locked(name: &str) -> Vec<Vec<u64>> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let package = Regex::new(&format!("name = \"{name}\"\nversion = \"([0-9.]+)")).unwrap();
    let numbers = |text: &str| text.split('.').map(|number| number.parse().unwrap()).collect();
    package.captures_iter(&lock).map(|found| numbers(&found[1])).collect()
}

// Hazards: G05 M18
#[test]
fn no_crate_is_locked_at_a_version_that_an_advisory_names() {
    // RUSTSEC-2026-0097: unsound with a logger of one's own.
    for version in locked("rand") {
        let floor = if version < vec![0, 10] { [0, 9, 3] } else { [0, 10, 1] };
        assert!(version >= floor.to_vec(), "rand {version:?}");
    }
    // RUSTSEC-2026-0258 and three before it: floods of HTTP/2. No adapter speaks it
    // on its own, so that there may be none.
    for version in locked("h2") {
        assert!(version >= vec![0, 4, 16], "h2 {version:?}");
    }
    assert!(!locked("hyper").is_empty(), "the lock file is read");
}

/// The most bytes of a README that is read to its end.
const README_BYTES: usize = 6 * 1024;

#[test]
fn the_readme_is_short() {
    let bytes = include_str!("../../README.md").len();
    assert!(bytes <= README_BYTES, "{bytes} bytes");
}

/// The files of the package: a path below one of the folders, or one of the files.
struct Package(Vec<String>);

impl Package {
    /// Reads `include` in `Cargo.toml`.
    fn read() -> Self {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let include = manifest["package"]["include"].as_array().unwrap();
        Self(include.iter().map(|path| path.as_str().unwrap().to_owned()).collect())
    }

    fn has(&self, path: &Path) -> bool {
        let path = format!("/{}", path.display());
        self.0.iter().any(|included| match included.strip_suffix("**") {
            Some(folder) => path.starts_with(folder),
            None => path == *included,
        })
    }
}

/// Returns the path that a link leads to, seen from the root.
fn resolve(folder: &Path, target: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in folder.join(target).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            other => path.push(other),
        }
    }
    path
}

#[test]
fn links_of_the_documentation_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let page =
        Regex::new(r"^https://docs\.rs/signup/latest/signup/(\w+)/(\w+)/index\.html$").unwrap();
    let package = Package::read();
    let mut links = 0;
    for (file, text) in texts() {
        let is_page =
            file.extension().is_some_and(|end| end == "md") && !file.starts_with("tests/data");
        for found in link.captures_iter(if is_page { &text } else { "" }) {
            links += 1;
            let target = &found[1];
            let leads = if let Some(page) = page.captures(target) {
                let modules =
                    std::fs::read_to_string(root().join("src").join(format!("{}.rs", &page[1])));
                modules.unwrap().contains(&format!("page!({},", &page[2]))
            } else if target.contains("://") || target.starts_with("crate::") {
                // The first are others' to keep, the second rustdoc's to check.
                true
            } else {
                let path = resolve(file.parent().unwrap(), target);
                // A reader of the package has nothing else.
                root().join(&path).exists() && (package.has(&path) || !package.has(&file))
            };
            assert!(leads, "{}: {target}", file.display());
        }
    }
    assert!(links > 0);
}

#[test]
fn links_to_sources_on_docs_rs_name_files_of_the_package() {
    let source = Regex::new(r"docs\.rs/crate/signup/[^/\s]+/source/([\w./-]+)").unwrap();
    let package = Package::read();
    let mut links = 0;
    for (file, text) in texts() {
        for found in source.captures_iter(&text) {
            links += 1;
            let path = Path::new(&found[1]);
            let leads = package.has(path) && root().join(path).is_file();
            assert!(leads, "{}: {}", file.display(), &found[1]);
        }
    }
    assert!(links > 0);
    assert!(!package.has(Path::new("examples/axum.rs")));
}

#[test]
fn the_page_allows_its_own_script_and_style_and_no_other() {
    use base64ct::{Base64, Encoding as _};
    use sha2::{Digest as _, Sha256};
    let page = include_str!("../../examples/support/page.html");
    for (element, directive) in [("script", "script-src"), ("style", "style-src")] {
        let inline = Regex::new(&format!("(?s)<{element}>(.*?)</{element}>")).unwrap();
        let inline: Vec<_> = inline.captures_iter(page).map(|found| found[1].to_owned()).collect();
        assert_eq!(inline.len(), 1, "{element}");
        let digest = Base64::encode_string(&Sha256::digest(&inline[0]));
        assert!(page.contains(&format!("{directive} 'sha256-{digest}'")), "{directive}: {digest}");
    }
}

/// Returns the words of a list in a script.
fn words(script: &str, pattern: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(script)).unwrap();
    let lists = Regex::new(pattern).unwrap();
    let lists = lists.captures_iter(&text).map(|found| found[1].to_owned()).collect::<Vec<_>>();
    lists.iter().flat_map(|list| list.split_whitespace()).map(str::to_owned).collect()
}

#[test]
fn every_slow_test_is_part_of_a_release() {
    let slow = words("scripts/test.sh", r"(?m)^slow=\(([^)]*)\)");
    let parts = words(".ci/release", r"scripts/test\.sh (\S+)");
    let list = std::process::Command::new(std::env::current_exe().unwrap()).arg("--list").output();
    let list = String::from_utf8(list.unwrap().stdout).unwrap();
    let tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
    let has_one = |test: &str, names: &[String]| names.iter().any(|name| test.contains(&**name));
    let left_out: Vec<_> = tests.filter(|test| has_one(test, &slow)).collect();
    assert!(!left_out.is_empty());
    let missing: Vec<_> = left_out.into_iter().filter(|test| !has_one(test, &parts)).collect();
    assert!(missing.is_empty(), "neither script runs {missing:?}");
}
