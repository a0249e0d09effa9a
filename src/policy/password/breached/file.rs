//! The file: a header with the shape, the place and the digest of each shard, and their
//! fingerprints. All numbers are little-endian.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::BoxError;

use super::filter::{self, Shape};

const MAGIC: &[u8; 16] = b"breached sha1 16";
const VERSION: u32 = 1;
const SHARDS: usize = 256;
/// Magic, version, reserved, and the number of passwords.
const PREAMBLE: usize = 16 + 4 + 4 + 8;
/// Seed, two lengths, the number of fingerprints, reserved, and a SHA-256.
const ENTRY: usize = 8 + 4 + 4 + 4 + 4 + 32;
const HEADER: usize = PREAMBLE + SHARDS * ENTRY + 32;

/// The place of the fingerprints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    File,
    Memory,
}

/// The shards of a file.
#[derive(Debug)]
pub(super) struct Shards {
    count: u64,
    all: Vec<Shard>,
    file: File,
}

#[derive(Debug)]
struct Shard {
    shape: Shape,
    /// The place in the file.
    offset: u64,
    digest: [u8; 32],
    /// The fingerprints, if they are in memory.
    fingerprints: Option<Box<[u16]>>,
}

impl Shards {
    pub(super) fn open(path: &Path, storage: Storage) -> Result<Self, BoxError> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut header = vec![0; HEADER];
        file.read_exact(&mut header).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => "it is too short to be one".into(),
            _ => BoxError::from(error),
        })?;
        let (count, mut shards) = parse(&header)?;
        let end = shards.last().map_or(0, |last| last.offset + 2 * u64::from(last.shape.length));
        if length != end {
            return Err(format!("it has {length} octets, and should have {end}").into());
        }
        for (number, shard) in shards.iter_mut().enumerate() {
            let mut bytes = vec![0; usize::try_from(shard.shape.length)? * 2];
            file.read_exact(&mut bytes)?;
            if shard.digest != <[u8; 32]>::from(Sha256::digest(&bytes)) {
                return Err(format!("its shard {number:02x} was changed").into());
            }
            if storage == Storage::Memory {
                let (pairs, _) = bytes.as_chunks();
                let fingerprints = pairs.iter().map(|pair| u16::from_le_bytes(*pair));
                shard.fingerprints = Some(fingerprints.collect());
            }
        }
        Ok(Self { count, all: shards, file })
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn contains(&self, digest: &[u8; 20]) -> io::Result<bool> {
        let Some(shard) = self.all.get(usize::from(digest[0])) else { return Ok(false) };
        if shard.shape.length == 0 {
            return Ok(false);
        }
        let probe = shard.shape.probe(key(digest));
        let mut found = 0;
        for place in probe.places {
            found ^= if let Some(all) = &shard.fingerprints {
                let at = usize::try_from(place).map_err(io::Error::other)?;
                *all.get(at).ok_or_else(|| io::Error::other("a place outside of its shard"))?
            } else {
                let mut pair = [0; 2];
                read_at(&self.file, &mut pair, shard.offset + 2 * u64::from(place))?;
                u16::from_le_bytes(pair)
            };
        }
        Ok(found == probe.fingerprint)
    }
}

/// Returns the key of a digest in its shard, which the first byte names.
fn key(digest: &[u8; 20]) -> u64 {
    let (_, rest) = digest.split_at(1);
    rest.first_chunk().copied().map_or(0, u64::from_le_bytes)
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                bytes = bytes.get_mut(read..).unwrap_or_default();
                offset += u64::try_from(read).map_err(io::Error::other)?;
            }
        }
    }
    Ok(())
}

/// Takes numbers from the left.
struct Parser<'a>(&'a [u8]);

impl Parser<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BoxError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("its header is too short")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u32, BoxError> {
        self.take().map(u32::from_le_bytes)
    }
}

fn parse(header: &[u8]) -> Result<(u64, Vec<Shard>), BoxError> {
    let mut parser = Parser(header);
    if parser.take()? != *MAGIC {
        return Err("it is another kind of file".into());
    }
    let version = parser.number()?;
    if version != VERSION {
        return Err(format!("it is of version {version}, and this release reads {VERSION}").into());
    }
    let (told, digest) = header.split_at(HEADER - 32);
    if *digest != *Sha256::digest(told) {
        return Err("its header was changed".into());
    }
    parser.number()?;
    let count = u64::from_le_bytes(parser.take()?);
    let mut offset = u64::try_from(HEADER)?;
    let mut shards = Vec::with_capacity(SHARDS);
    for number in 0..SHARDS {
        let seed = u64::from_le_bytes(parser.take()?);
        let (segment_length, segments) = (parser.number()?, parser.number()?);
        let shape = Shape { seed, segment_length, segments, length: parser.number()? };
        parser.number()?;
        if shape.length > 0 && !shape.is_sound() {
            return Err(format!("its shard {number:02x} has no shape of a filter").into());
        }
        let digest = parser.take()?;
        shards.push(Shard { shape, offset, digest, fingerprints: None });
        offset += 2 * u64::from(shape.length);
    }
    Ok((count, shards))
}

/// Writes a file beside its place, and puts it there when it is whole.
pub(super) fn write(
    path: &Path,
    mut digests: impl FnMut(u8) -> io::Result<Vec<[u8; 20]>>,
) -> Result<(), BoxError> {
    let mut name = path.file_name().ok_or("it has no name")?.to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let written =
        write_new(&beside, &mut digests).and_then(|()| Ok(std::fs::rename(&beside, path)?));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn write_new(
    path: &Path,
    digests: &mut impl FnMut(u8) -> io::Result<Vec<[u8; 20]>>,
) -> Result<(), BoxError> {
    let mut out = BufWriter::new(File::create(path)?);
    out.write_all(&[0; HEADER])?;
    let (mut entries, mut count) = (Vec::with_capacity(HEADER), 0_u64);
    for first in 0..=u8::MAX {
        let digests = digests(first)?;
        if digests.iter().any(|digest| digest[0] != first) {
            return Err(format!("a digest of shard {first:02x} begins with another octet").into());
        }
        let mut keys: Vec<_> = digests.iter().map(key).collect();
        drop(digests);
        keys.sort_unstable();
        keys.dedup();
        count += u64::try_from(keys.len())?;
        let (shape, fingerprints) =
            if keys.is_empty() { Default::default() } else { filter::build(&keys)? };
        drop(keys);
        let mut digest = Sha256::new();
        for fingerprint in &fingerprints {
            let pair = fingerprint.to_le_bytes();
            digest.update(pair);
            out.write_all(&pair)?;
        }
        entries.extend(shape.seed.to_le_bytes());
        for number in [shape.segment_length, shape.segments, shape.length, 0] {
            entries.extend(number.to_le_bytes());
        }
        entries.extend(digest.finalize());
    }
    let mut header = MAGIC.to_vec();
    header.extend(VERSION.to_le_bytes());
    header.extend(0_u32.to_le_bytes());
    header.extend(count.to_le_bytes());
    header.append(&mut entries);
    let digest = Sha256::digest(&header);
    header.extend(digest);
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&header)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One shard has none, another one.
    fn digests(first: u8) -> Vec<[u8; 20]> {
        let digest = |number: u8| {
            let mut digest = [number; 20];
            digest[0] = first;
            digest
        };
        (0..first % 5).map(digest).collect()
    }

    fn opened(bytes: &[u8]) -> Result<Shards, BoxError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("breached.bin");
        std::fs::write(&path, bytes).unwrap();
        Shards::open(&path, Storage::File)
    }

    fn built() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("breached.bin");
        write(&path, |first| Ok(digests(first))).unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn a_file_that_is_cut_short_or_changed_anywhere_is_refused() {
        let bytes = built();
        assert!(opened(&bytes).is_ok());
        for length in [0, 1, PREAMBLE, HEADER - 1, HEADER, bytes.len() - 1] {
            assert!(opened(&bytes[..length]).is_err(), "{length}");
        }
        let longer: Vec<_> = bytes.iter().copied().chain([0]).collect();
        assert!(opened(&longer).is_err());
        for at in (0..HEADER).step_by(61).chain((HEADER..bytes.len()).step_by(17)) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            assert!(opened(&changed).is_err(), "octet {at}");
        }
    }

    #[test]
    fn the_reason_of_a_refusal_is_told() {
        let bytes = built();
        let told = |bytes: &[u8]| opened(bytes).unwrap_err().to_string();
        assert_eq!(told(b"%PDF-1.7"), "it is too short to be one");
        assert_eq!(told(&[b'x'; HEADER]), "it is another kind of file");
        let mut newer = bytes.clone();
        newer[16] = 9;
        assert_eq!(told(&newer), "it is of version 9, and this release reads 1");
        assert!(told(&bytes[..bytes.len() - 1]).contains("and should have"));
    }

    #[test]
    fn a_shard_without_the_shape_of_a_filter_is_refused() {
        let mut bytes = built();
        // The segments of shard 1, the first that has passwords; the header's digest is right.
        let at = PREAMBLE + ENTRY + 8 + 4;
        bytes[at..at + 4].copy_from_slice(&[0xff; 4]);
        let digest = Sha256::digest(&bytes[..HEADER - 32]);
        bytes[HEADER - 32..HEADER].copy_from_slice(&digest);
        let told = opened(&bytes).unwrap_err().to_string();
        assert_eq!(told, "its shard 01 has no shape of a filter");
    }

    #[test]
    fn what_is_in_memory_needs_its_file_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("breached.bin");
        write(&path, |first| Ok(digests(first))).unwrap();
        let [by_reads, in_memory] =
            [Storage::File, Storage::Memory].map(|it| Shards::open(&path, it).unwrap());
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        let [digest] = digests(1)[..] else { panic!("the shard has one") };
        assert!(in_memory.contains(&digest).unwrap());
        assert!(by_reads.contains(&digest).is_err());
    }

    #[test]
    fn what_can_t_be_made_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("breached.bin");
        assert!(write(&path, |_| Ok(vec![[7; 20]])).is_err());
        assert!(write(&path, |_| Err(io::ErrorKind::NotFound.into())).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn every_digest_is_found_in_both_storages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("breached.bin");
        write(&path, |first| Ok(digests(first))).unwrap();
        let both = [Storage::File, Storage::Memory].map(|it| Shards::open(&path, it).unwrap());
        for shards in &both {
            let mut count = 0;
            for first in 0..=u8::MAX {
                for digest in digests(first) {
                    assert!(shards.contains(&digest).unwrap());
                    count += 1;
                }
            }
            assert_eq!(shards.count(), count);
            // A shard without passwords.
            assert!(!shards.contains(&[0; 20]).unwrap());
        }
    }
}
