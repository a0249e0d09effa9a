//! Makes the file of `BreachedPasswords` from a download of the range protocol of Pwned
//! Passwords: a folder with a file for each of the 1,048,576 beginnings of a SHA-1 digest,
//! `00000` to `FFFFF`, whose lines are the rest of a digest and a count.
//!
//! ```text
//! cargo run --release -p signup-examples --example breached --features breached-passwords -- ranges/ breached.bin
//! ```
//!
//! One of 256 shards is in memory at a time.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;

use signup::policy::BreachedPasswords;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [ranges, out] = arguments.as_slice() else {
        return Err("usage: breached FOLDER FILE".into());
    };
    BreachedPasswords::build(out, |first| {
        let width = usize::from(first) * 40 / 255;
        eprint!("\r[{:<40}] {first:02X}", "#".repeat(width));
        let _ = io::stderr().flush();
        shard(Path::new(ranges), first)
    })?;
    eprintln!();
    println!("{} passwords", BreachedPasswords::open(out)?.count());
    Ok(())
}

/// Reads the digests that begin with an octet.
///
/// # Errors
/// Fails if a range is missing or can't be read.
pub fn shard(ranges: &Path, first: u8) -> io::Result<Vec<[u8; 20]>> {
    let mut digests = Vec::new();
    for low in 0..0x1000 {
        let prefix = format!("{first:02X}{low:03X}");
        let path = ranges.join(&prefix);
        let path = if path.exists() { path } else { ranges.join(format!("{prefix}.txt")) };
        let told =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        for line in BufReader::new(File::open(&path).map_err(told)?).lines() {
            let line = line.map_err(told)?;
            let Some((rest, count)) = line.trim().split_once(':') else { continue };
            // Padding has a count of zero.
            if count != "0" {
                let digest = decode(&format!("{prefix}{rest}"));
                digests.push(digest.ok_or_else(|| told(io::ErrorKind::InvalidData.into()))?);
            }
        }
    }
    Ok(digests)
}

/// Reads forty hexadecimal digits.
fn decode(digits: &str) -> Option<[u8; 20]> {
    let mut digest = [0; 20];
    if digits.len() != 40 || !digits.is_ascii() {
        return None;
    }
    for (octet, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *octet = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}
