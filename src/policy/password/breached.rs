//! Passwords that are known from breaches, looked up without a network.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sha1::{Digest as _, Sha1};

use crate::error::BoxError;

use super::{CHOICES, FIELD};
use crate::policy::{Attempt, Occasion, SignupPolicy, Verdict};

mod file;
mod filter;

use file::{Shards, Storage};

/// The deadline of a lookup that reads the file.
const DISK_DEADLINE: Duration = Duration::from_secs(2);

/// Rejects passwords of a list of breached ones, such as Pwned Passwords, in a file that
/// [`build`](Self::build) makes of their SHA-1 digests: a binary fuse filter of 16 bits in
/// 256 shards, 2.3 bytes for each password. Every password of the list is found; of others
/// one in 65,536 is rejected too.
///
/// `examples/breached.rs` makes the file from a download of the range protocol.
///
/// ```
/// use sha1::{Digest as _, Sha1};
/// use signup::policy::BreachedPasswords;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("breached.bin");
/// let listed: [u8; 20] = Sha1::digest("password1").into();
/// BreachedPasswords::build(&path, |first| {
///     Ok(if listed[0] == first { vec![listed] } else { Vec::new() })
/// })?;
/// let breached = BreachedPasswords::open(&path)?;
/// assert!(breached.contains("password1")?);
/// assert!(!breached.contains("correct horse battery staple")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BreachedPasswords {
    shards: Arc<Shards>,
    is_on_disk: bool,
}

/// The reason why a file of breached passwords can't be used or made.
#[derive(thiserror::Error)]
#[error("can't {action} {path} as a file of breached passwords: {source}")]
pub struct BreachedPasswordsError {
    action: &'static str,
    path: String,
    source: BoxError,
}

crate::issue::debug_by_text!(BreachedPasswordsError);

impl BreachedPasswordsError {
    fn new(action: &'static str, path: &Path, source: BoxError) -> Self {
        Self { action, path: path.display().to_string(), source }
    }
}

impl BreachedPasswords {
    /// Opens a file. A lookup reads it at three places, which the operating system keeps in
    /// memory while there is room.
    ///
    /// The whole file is read once and compared with its digests: this takes seconds for two
    /// gigabytes. It must not be changed while it is open; put another in its place.
    ///
    /// # Errors
    /// Fails if the file can't be read, was not written by [`build`](Self::build), is of another
    /// version, is cut short, or was changed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BreachedPasswordsError> {
        Self::opened(path.as_ref(), Storage::File)
    }

    /// Reads a file into memory. A lookup takes less than a microsecond, and never waits for
    /// a disk.
    ///
    /// # Errors
    /// Fails like [`open`](Self::open).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, BreachedPasswordsError> {
        Self::opened(path.as_ref(), Storage::Memory)
    }

    fn opened(path: &Path, storage: Storage) -> Result<Self, BreachedPasswordsError> {
        let is_on_disk = storage == Storage::File;
        let shards = Shards::open(path, storage);
        let failed = |error| BreachedPasswordsError::new("open", path, error);
        Ok(Self { shards: Arc::new(shards.map_err(failed)?), is_on_disk })
    }

    /// Makes a file, shard by shard: `digests` is called with each first byte from 0 to 255
    /// and returns the SHA-1 digests that begin with it, in any order, also repeatedly. No
    /// more than one shard is in memory. The file appears when it is complete.
    ///
    /// # Errors
    /// Fails if `digests` does, if a digest begins with another byte, or if the file can't
    /// be written.
    pub fn build(
        path: impl AsRef<Path>,
        digests: impl FnMut(u8) -> std::io::Result<Vec<[u8; 20]>>,
    ) -> Result<(), BreachedPasswordsError> {
        let path = path.as_ref();
        let failed = |error| BreachedPasswordsError::new("write", path, error);
        file::write(path, digests).map_err(failed)
    }

    /// Returns whether a password is on the list, or looks like one that is.
    ///
    /// # Errors
    /// Fails if the file can't be read.
    pub fn contains(&self, password: &str) -> std::io::Result<bool> {
        let digest: [u8; 20] = Sha1::digest(password).into();
        self.shards.contains(&digest)
    }

    /// Returns the number of passwords on the list.
    pub fn count(&self) -> u64 {
        self.shards.count()
    }
}

#[async_trait]
impl SignupPolicy for BreachedPasswords {
    async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
        let digest: [u8; 20] = Sha1::digest(attempt.reveal_password()).into();
        let is_listed = if self.deadline().is_some() {
            // A disk that stalls must not stall the runtime.
            let shards = Arc::clone(&self.shards);
            tokio::task::spawn_blocking(move || shards.contains(&digest)).await??
        } else {
            self.shards.contains(&digest)?
        };
        if is_listed {
            return Ok(Verdict::invalid(FIELD, "Password is known from a data breach"));
        }
        Ok(Verdict::Allow)
    }

    fn deadline(&self) -> Option<Duration> {
        self.is_on_disk.then_some(DISK_DEADLINE)
    }

    fn occasions(&self) -> &[Occasion] {
        CHOICES
    }
}
