//! A loss of power: any part of the end of SQLite's write-ahead log may be missing or
//! garbage.

use std::ops::Range;
use std::path::Path;

use signup::store::conformance::{Harness as _, Sample};
use signup::store::{AccountStore as _, CreateOutcome, SqliteStore};

const ACCOUNTS: usize = 8;
/// Lengths of the log's header, and of the header of each page in it:
/// <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.
const LOG_HEADER: usize = 32;
const PAGE_HEADER: usize = 24;
const PAGE: usize = 4096;

async fn open(file: &Path) -> SqliteStore {
    SqliteStore::connect(&format!("sqlite://{}", file.display())).await.unwrap()
}

/// Writes a database and its log, and returns how many accounts are in them.
async fn accounts_in(folder: &Path, database: &[u8], log: &[u8]) -> usize {
    let file = folder.join("after.db");
    std::fs::write(&file, database).unwrap();
    std::fs::write(folder.join("after.db-wal"), log).unwrap();
    let _ = std::fs::remove_file(folder.join("after.db-shm"));
    let store = open(&file).await;
    let check = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(store.pool());
    let check: String = check.await.unwrap();
    assert_eq!(check, "ok");
    let (accounts, keys) = (store.account_rows().await, store.api_key_rows().await);
    store.pool().close().await;
    // Those that were stored first are there, each with its key.
    assert_eq!(accounts.len(), keys.len());
    for number in 0..accounts.len() {
        let id = Sample::new(number as u64).build().id().clone();
        assert!(accounts.iter().any(|account| account.id == id.as_str()), "{id} is lost");
        assert!(keys.iter().any(|key| key.account_id == id.as_str()), "{id} has no key");
    }
    accounts.len()
}

/// Returns where each page of the log ends, within it and at its edges.
fn cuts(log: Range<usize>) -> impl Iterator<Item = usize> {
    let pages = (LOG_HEADER..=log.end).step_by(PAGE_HEADER + PAGE);
    pages
        .flat_map(|start| [start, start + 1, start + PAGE_HEADER, start + PAGE_HEADER + PAGE / 2])
        .filter(move |cut| log.contains(cut) || *cut == log.end)
}

// Hazards: F13
#[tokio::test]
async fn wherever_the_log_is_torn_the_first_accounts_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("before.db");
    let store = open(&file).await;
    store.migrate().await.unwrap();
    // The log begins anew, with what follows.
    let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(store.pool()).await;
    assert!(emptied.is_ok());
    let database = std::fs::read(&file).unwrap();
    let log = || std::fs::read(folder.path().join("before.db-wal")).unwrap();
    let mut ends = vec![LOG_HEADER];
    for number in 0..ACCOUNTS {
        let created = store.create(Sample::new(number as u64).build()).await.unwrap();
        assert_eq!(created, CreateOutcome::Stored);
        ends.push(log().len());
    }
    let log = log();
    for cut in cuts(LOG_HEADER..log.len()) {
        let durable = ends.iter().filter(|end| **end <= cut).count() - 1;
        let garbage = vec![0xa5; log.len() - cut];
        for rest in [&[][..], &garbage] {
            let log = [&log[..cut], rest].concat();
            assert_eq!(accounts_in(folder.path(), &database, &log).await, durable, "at {cut}");
        }
    }
}
