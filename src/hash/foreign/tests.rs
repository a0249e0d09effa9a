use std::collections::BTreeMap;

use super::*;
use crate::hash::{HashPool, PasswordHash, Verification};
use crate::random::{SecureRandom as _, SeededRandom};

/// The pepper of `make.rb`.
const PEPPER: &str = "9b1d4b8a";

#[derive(serde::Deserialize)]
struct Made {
    kind: String,
    password: String,
    hash: String,
}

/// Hashes that were made by other systems' own libraries.
fn made() -> Vec<Made> {
    let files = [
        include_str!("../../../tests/data/foreign-hashes/python.jsonl"),
        include_str!("../../../tests/data/foreign-hashes/node.jsonl"),
        include_str!("../../../tests/data/foreign-hashes/ruby.jsonl"),
    ];
    let lines = files.into_iter().flat_map(str::lines);
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn foreign() -> Vec<Made> {
    let is_foreign = |made: &Made| !matches!(&*made.kind, "own" | "argon2");
    made().into_iter().filter(is_foreign).collect()
}

fn is_better_auth(hash: &str) -> bool {
    hash.contains(':') && !hash.contains('$')
}

fn limits_of(made: &Made) -> ForeignHashes {
    let limits = ForeignHashes::default();
    if made.kind == "peppered" { limits.devise_pepper(&PEPPER.repeat(16)) } else { limits }
}

fn typed(password: &str) -> Password {
    Password::parse_for_login(password).unwrap()
}

fn is_right(hash: &str, password: &str, limits: &ForeignHashes) -> bool {
    limits.parse(hash).unwrap().verify(&typed(password))
}

#[test]
fn hashes_of_other_systems_verify() {
    let mut kinds = BTreeMap::<String, usize>::new();
    for made in foreign() {
        let limits = limits_of(&made);
        assert!(is_right(&made.hash, &made.password, &limits), "{} {}", made.kind, made.hash);
        // A letter more, at the beginning, where bcrypt reads it.
        let wrong = format!("x{}", made.password);
        assert!(!is_right(&made.hash, &wrong, &limits), "{} {}", made.kind, made.hash);
        *kinds.entry(made.kind).or_default() += 1;
    }
    assert!(kinds.values().all(|count| *count > 3), "{kinds:?}");
    let kinds: Vec<_> = kinds.keys().collect();
    assert_eq!(kinds, ["bcrypt", "pbkdf2", "peppered", "phpass", "scrypt"]);
}

#[tokio::test]
async fn a_pool_verifies_them_if_it_is_told_to() {
    let told = HashPool::builder().workers(1).foreign_hashes(ForeignHashes::default());
    let (told, untold) = (told.build().unwrap(), HashPool::builder().workers(1).build().unwrap());
    let verify = async |pool: &HashPool, made: &Made| {
        let stored = PasswordHash::from_store(&*made.hash, None);
        pool.reserve().unwrap().verify(typed(&made.password), &stored).await
    };
    let is_short = |made: &Made| made.password.len() < 72 && made.kind != "peppered";
    // Of each kind the first: the cheapest.
    let mut seen = Vec::new();
    for made in made().into_iter().filter(is_short) {
        let right = Verification::Right { needs_rehash: true };
        assert_eq!(verify(&told, &made).await.unwrap(), right, "{}", made.hash);
        if !seen.contains(&made.kind) && made.kind != "own" {
            assert!(verify(&untold, &made).await.is_err() || made.kind == "argon2");
            seen.push(made.kind.clone());
        }
    }
    let peppered = PasswordHash::from_store("$2b$04$", Some(1));
    assert!(told.check_stored(&peppered).is_err());
}

#[test]
fn bcrypt_reads_72_bytes_and_such_a_hash_is_not_renewed() {
    let long = made().into_iter().find(|made| made.kind == "bcrypt" && made.password.len() == 100);
    let Made { password, hash, .. } = long.unwrap();
    let hash = ForeignHashes::default().parse(&hash).unwrap();
    for (length, right) in [(71, false), (72, true), (73, true), (100, true)] {
        let given = typed(&password[..length]);
        assert_eq!(hash.verify(&given), right, "{length}");
        assert_eq!(hash.covers(&given), length < 72, "{length}");
    }
    // Django's digest of a password has all of it.
    let django = foreign().into_iter().find(|made| made.hash.starts_with("bcrypt_sha256$"));
    let django = ForeignHashes::default().parse(&django.unwrap().hash).unwrap();
    assert!(django.covers(&typed(&password)));
}

#[test]
fn what_was_typed_is_hashed_and_not_its_normal_form() {
    for made in foreign().iter().filter(|made| made.password.contains('\u{308}')) {
        let composed = made.password.replace("a\u{308}", "\u{e4}");
        let is_normalized = is_better_auth(&made.hash);
        assert_eq!(
            is_right(&made.hash, &composed, &limits_of(made)),
            is_normalized,
            "{}",
            made.hash
        );
    }
}

#[test]
fn a_cost_beyond_the_limits_is_refused_as_a_number() {
    let refused = |hash: &str| {
        let refused = ForeignHashes::default().parse(hash);
        refused.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let bcrypt = "$2b$15$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZabcde";
    let tag = "A".repeat(43) + "=";
    for hash in [
        bcrypt.to_owned(),
        bcrypt.replace("$15$", "$31$"),
        format!("pbkdf2_sha256$2000001$salt${tag}"),
        format!("pbkdf2_sha256$4294967295$salt${tag}"),
        format!("pbkdf2:sha256:2000001$salt${}", "0".repeat(64)),
        format!("$pbkdf2-sha256$i=2000001$c2FsdA${}", "A".repeat(43)),
        format!("$P$Jsaltsalt{}", ".".repeat(22)),
        format!("scrypt:131072:8:1$salt${}", "0".repeat(128)),
        format!("scrypt$131072$salt$8$1${tag}"),
        format!("scrypt$1024$salt$8$9${tag}"),
        format!("scrypt$2$salt$4294967295$1${tag}"),
        format!("$scrypt$ln=63,r=1,p=1$c2FsdA${}", "A".repeat(43)),
        format!("$scrypt$ln=4294967295,r=1,p=1$c2FsdA${}", "A".repeat(43)),
        // Version 3 of ASP.NET, with four thousand million iterations.
        "AQAAAAH/////AAAAEPFt8VVNHLFodTd+RSTPoMsEu8fzDNWOEz4XMuOSOb3fuXnp23tm4Z6e9FZh/lzwIg=="
            .to_owned(),
    ] {
        assert!(refused(&hash).starts_with("excessive cost"), "{hash}: {}", refused(&hash));
    }
    for hash in [
        String::new(),
        "!unusable".to_owned(),
        "A".to_owned(),
        "A".repeat(2000),
        "AQ==".to_owned(),
        ":".to_owned(),
        "$2b$".to_owned(),
        "$2x$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZabcde".to_owned(),
        "$2b$03$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZabcde".to_owned(),
        format!("pbkdf2_sha256$0$salt${tag}"),
        format!("pbkdf2_sha256$+1$salt${tag}"),
        "pbkdf2_sha256$1$$".to_owned() + &tag,
        "pbkdf2_sha256$1$salt$".to_owned(),
        format!("pbkdf2_md5$1$salt${tag}"),
        format!("pbkdf2:sha256$salt${}", "0".repeat(64)),
        format!("pbkdf2:sha256:1$salt${}", "0".repeat(63)),
        format!("pbkdf2:sha256:1$salt${}", "0".repeat(62)),
        format!("$pbkdf2-sha256$1$c2FsdA${}", "A".repeat(42)),
        format!("$pbkdf2-md5$1$c2FsdA${}", "A".repeat(43)),
        format!("$pbkdf2-sha256$i=0$c2FsdA${}", "A".repeat(43)),
        format!("$P$4saltsalt{}", ".".repeat(22)),
        format!("$P$Bsaltsalt{}", ".".repeat(21)),
        format!("$P$Bsaltsalt{}", "+".repeat(22)),
        "$wp$P$B".to_owned(),
        "{bcrypt}".to_owned(),
        format!("scrypt:1000:8:1$salt${}", "0".repeat(128)),
        format!("scrypt:1024:8:1$salt${}", "0".repeat(126)),
        format!("scrypt$1000$salt$8$1${tag}"),
        format!("scrypt$1024$salt$0$1${tag}"),
        format!("scrypt$1024$salt$8$0${tag}"),
        format!("$scrypt$ln=10,r=8$c2FsdA${}", "A".repeat(43)),
        format!("$scrypt$ln=10,r=8,p=1,x=1$c2FsdA${}", "A".repeat(43)),
        format!("{}:{}", "a".repeat(32), "0".repeat(126)),
        format!("{}:{}", "a".repeat(30), "0".repeat(128)),
        format!("{}:{}", "g".repeat(32), "0".repeat(128)),
        "$fbscrypt$v=2,n=10,r=8,p=1,ss=Bw==,sk=AAAA$AAAA$AAAA".to_owned(),
        // Without a signer key any password would be right.
        "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=$c2FsdHNhbHQ=$".to_owned(),
    ] {
        assert!(ForeignHashes::default().parse(&hash).is_err(), "{hash}");
    }
}

#[test]
fn a_cost_as_high_as_the_limits_is_accepted() {
    let tag = "A".repeat(43);
    for hash in [
        format!("$scrypt$ln=16,r=8,p=8$c2FsdA${tag}"),
        format!("pbkdf2_sha256$2000000$salt${tag}="),
        format!("{}:{}", "a".repeat(32), "0".repeat(128)),
    ] {
        assert!(ForeignHashes::default().parse(&hash).is_ok(), "{hash}");
    }
}

/// The text in the one of several spellings that mean the same.
fn canonical(hash: &str) -> String {
    let hash = if hash.starts_with("$pbkdf2") {
        hash.replace('.', "+").replace("$i=", "$").replace('=', "")
    } else {
        hash.replace('-', "+").replace('_', "/")
    };
    let hash = match hash.rsplit_once('$') {
        // Hexadecimal digits.
        Some((rest, tag)) if hash.contains(':') => format!("{rest}${}", tag.to_lowercase()),
        _ => hash,
    };
    hash.replace("$2a$", "$2b$").replace("$2y$", "$2b$")
}

#[test]
fn mutated_hashes_are_refused_within_the_limits() {
    // So little that a mutated cost is soon beyond them; better-auth's has its cost fixed, and
    // is mutated below.
    let limits = ForeignHashes {
        bcrypt_cost: 4,
        pbkdf2_iterations: 1000,
        scrypt_memory_kib: 1024,
        scrypt_parallelism: 5,
        ..ForeignHashes::default()
    };
    let cheap: Vec<_> =
        foreign().into_iter().filter(|made| limits.parse(&made.hash).is_ok()).collect();
    assert!(cheap.len() > 40, "{}", cheap.len());
    let is_full = std::env::var_os("SIGNUP_TEST_FULL").is_some();
    let rounds = if is_full { 10_000 } else { 2_000 };
    let (random, mut parsed) = (SeededRandom::new(17), 0);
    for made in cheap.iter().cycle().take(rounds) {
        let mutated = mutate(&made.hash, &random);
        let Ok(hash) = limits.parse(&mutated) else { continue };
        parsed += 1;
        let is_same = canonical(&mutated) == canonical(&made.hash);
        let right = hash.verify(&typed(&made.password));
        assert!(!right || is_same || made.kind == "peppered", "{mutated} is {}", made.hash);
    }
    // Otherwise nothing was computed.
    assert!((rounds / 10..rounds / 10 * 9).contains(&parsed), "{parsed}");
}

#[test]
fn a_mutated_hash_of_fixed_cost_is_refused() {
    let random = SeededRandom::new(18);
    let made = foreign().into_iter().find(|made| is_better_auth(&made.hash)).unwrap();
    for _ in 0..20 {
        let mutated = mutate(&made.hash, &random);
        let is_same = mutated.eq_ignore_ascii_case(&made.hash);
        let limits = ForeignHashes::default();
        let right = limits.parse(&mutated).is_ok_and(|it| it.verify(&typed(&made.password)));
        assert!(!right || is_same, "{mutated}");
    }
}

/// Replaces, removes, adds or swaps, at a random place.
fn mutate(hash: &str, random: &SeededRandom) -> String {
    let mut drawn = [0; 4];
    random.fill(&mut drawn).unwrap();
    let [at, how, with, _] = drawn.map(usize::from);
    let mut bytes = hash.as_bytes().to_vec();
    let at = at % bytes.len();
    let signs = b"0123456789abcdefABCDEF$=,:./+-_zZ";
    let with = signs[with % signs.len()];
    match how % 8 {
        0 => drop(bytes.remove(at)),
        1 => bytes.insert(at, with),
        2 => bytes.truncate(at),
        3 => {
            let next = (at + 1) % bytes.len();
            bytes.swap(at, next);
        }
        _ => bytes[at] = with,
    }
    String::from_utf8(bytes).unwrap()
}
