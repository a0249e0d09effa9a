//! Breached passwords: every one of a million is found, hardly another is, and the endpoint
//! refuses them.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use sha1::{Digest as _, Sha1};
use signup::hash::{FakeEngine, HashPool};
use signup::policy::BreachedPasswords;
use signup::store::MemoryStore;
use signup::{SignupError, SignupRequest, SignupService};

use crate::support::example;

#[path = "../../examples/breached.rs"]
#[allow(dead_code, reason = "its main is the example's")]
mod example_breached;

const LISTED: u32 = 1_000_000;

fn digest(password: &str) -> [u8; 20] {
    Sha1::digest(password).into()
}

fn listed(number: u32) -> String {
    format!("listed-{number}")
}

/// A file of a million passwords.
fn built(folder: &tempfile::TempDir) -> std::path::PathBuf {
    let path = folder.path().join("breached.bin");
    let mut shards: HashMap<u8, Vec<[u8; 20]>> = HashMap::new();
    for number in 0..LISTED {
        let digest = digest(&listed(number));
        shards.entry(digest[0]).or_default().push(digest);
    }
    BreachedPasswords::build(&path, |first| Ok(shards.remove(&first).unwrap_or_default())).unwrap();
    path
}

#[test]
fn every_listed_password_is_found_and_one_of_ten_thousand_others_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let path = built(&folder);
    let size = fs::metadata(&path).unwrap().len();
    assert!(size < 3 * u64::from(LISTED), "{size} octets");
    let breached = BreachedPasswords::load(&path).unwrap();
    assert_eq!(breached.count(), u64::from(LISTED));
    assert!((0..LISTED).all(|number| breached.contains(&listed(number)).unwrap()));
    let others =
        (0..LISTED).filter(|number| breached.contains(&format!("other-{number}")).unwrap());
    let others = others.count();
    assert!(others <= 100, "{others} of a million others");
    // The same, read from the file.
    let by_reads = BreachedPasswords::open(&path).unwrap();
    for number in 0..10_000 {
        let (one, other) = (listed(number), format!("other-{number}"));
        assert!(by_reads.contains(&one).unwrap());
        assert_eq!(by_reads.contains(&other).unwrap(), breached.contains(&other).unwrap());
    }
}

#[tokio::test]
async fn a_sign_up_with_a_breached_password_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("breached.bin");
    let password = digest("correct horse");
    BreachedPasswords::build(&path, |first| {
        Ok(if password[0] == first { vec![password] } else { Vec::new() })
    })
    .unwrap();
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
    let service = service.hash_pool(Arc::new(pool)).policy(BreachedPasswords::open(&path).unwrap());
    let service = service.build().unwrap();
    let signup =
        async |password: &str| service.signup(SignupRequest::new("a@x.co", password)).await;
    match signup("correct horse").await {
        Err(SignupError::Invalid(issues)) => {
            assert_eq!(issues[0].message, "Password is known from a data breach");
        }
        other => panic!("{other:?}"),
    }
    signup("battery staple").await.unwrap();
}

#[test]
fn a_shard_of_the_range_protocol_is_read_and_a_missing_range_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let hex = |password| -> String {
        digest(password).iter().map(|octet| format!("{octet:02X}")).collect()
    };
    let (listed, padding) = (hex("password1"), hex("password1").replace('0', "1"));
    let first = digest("password1")[0];
    for low in 0..0x1000 {
        let prefix = format!("{first:02X}{low:03X}");
        let lines = [(&listed, 7), (&padding, 0)].into_iter().filter(|(it, _)| it[..5] == prefix);
        let lines = lines.map(|(it, count)| format!("{}:{count}\r\n", &it[5..]));
        fs::write(folder.path().join(&prefix), lines.collect::<String>()).unwrap();
    }
    assert_eq!(example_breached::shard(folder.path(), first).unwrap(), [digest("password1")]);

    let out = folder.path().join("breached.bin");
    let run = Command::new(example("breached")).arg(folder.path()).arg(&out).output().unwrap();
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success() && told.contains("00000"), "{told}");
    assert!(!out.exists());
}
