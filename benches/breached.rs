//! The cost of a look-up among breached passwords, in memory and by reads of the file, SHA-1
//! included; and of building, with the memory that it takes.
//!
//! `cargo bench --features breached-passwords --bench breached`

#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]

use std::time::Duration;

use sha1::{Digest as _, Sha1};
use signup::clock::{Clock as _, SystemClock};
use signup::policy::BreachedPasswords;

const LISTED: u32 = 10_000_000;
const LOOK_UPS: u32 = 200_000;

/// The look-up, measured in blocks in turn: the median of each.
fn look_ups(lists: [&BreachedPasswords; 2]) -> [Duration; 2] {
    let passwords: Vec<_> = (0..LOOK_UPS).map(|number| format!("pass-{number}")).collect();
    let mut blocks = [Vec::new(), Vec::new()];
    for _ in 0..9 {
        for (list, blocks) in lists.iter().zip(&mut blocks) {
            let start = SystemClock.monotonic();
            let found = passwords.iter().filter(|it| list.contains(it).unwrap()).count();
            blocks.push(SystemClock.monotonic().saturating_sub(start) / LOOK_UPS);
            assert!(found < 100, "{found}");
        }
    }
    blocks.map(|mut blocks| {
        blocks.sort_unstable();
        blocks.get(4).copied().unwrap_or_default()
    })
}

/// The most memory that the process has had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("breached.bin");
    let start = SystemClock.monotonic();
    // A pass over all passwords for each 64 shards, so that no more are in memory.
    let mut shards: Vec<Vec<[u8; 20]>> = Vec::new();
    BreachedPasswords::build(&path, |first| {
        if first % 64 == 0 {
            shards = vec![Vec::new(); 64];
            for number in 0..LISTED {
                let digest: [u8; 20] = Sha1::digest(format!("listed-{number}")).into();
                let shard = digest[0].checked_sub(first).map(usize::from);
                if let Some(shard) = shard.and_then(|shard| shards.get_mut(shard)) {
                    shard.push(digest);
                }
            }
        }
        let shard = shards.get_mut(usize::from(first % 64));
        Ok(shard.map(std::mem::take).unwrap_or_default())
    })
    .unwrap();
    let took = SystemClock.monotonic().saturating_sub(start);
    let size = std::fs::metadata(&path).unwrap().len();
    println!("{LISTED} passwords: {took:.1?}, {size} octets, at most {} MiB", peak() / 1024);
    let memory = BreachedPasswords::load(&path).unwrap();
    let reads = BreachedPasswords::open(&path).unwrap();
    let [in_memory, by_reads] = look_ups([&memory, &reads]);
    println!("a look-up, with SHA-1: {in_memory:?} in memory, {by_reads:?} by reads");
}
