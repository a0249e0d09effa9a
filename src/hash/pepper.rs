//! Peppers: secrets kept apart from the database, so that a copy of it is not enough to
//! guess passwords.

use std::collections::BTreeMap;

use crate::issue::InvalidValue;
use crate::secret::Secret;

/// The minimum length of a pepper in bytes: 128 bits, as for a key of that strength.
const MIN_BYTES: usize = 16;

/// A secret that goes into every hash (RFC 9106's K), with its version, which is stored
/// beside each hash.
///
/// ```
/// use signup::hash::{HashPool, Pepper};
///
/// let old = Pepper::new(1, *b"a secret from 2025").unwrap();
/// let new = Pepper::new(2, *b"a secret from 2026").unwrap();
/// let pool = HashPool::builder().verifying_pepper(old).pepper(new).build().unwrap();
/// ```
#[derive(Debug)]
pub struct Pepper {
    version: u32,
    secret: Secret<Vec<u8>>,
}

impl Pepper {
    /// Creates a pepper of 16 bytes or more.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] if it has fewer.
    pub fn new(version: u32, secret: impl Into<Vec<u8>>) -> Result<Self, InvalidValue> {
        let secret = Secret::new(secret.into());
        if secret.len() < MIN_BYTES {
            return Err(InvalidValue::with_value(format!(
                "short pepper: {} bytes, needs at least 16",
                secret.len()
            )));
        }
        Ok(Self { version, secret })
    }
}

/// The peppers of a pool: one hashes, all verify.
#[derive(Default)]
pub(super) struct Peppers {
    current: Option<u32>,
    secrets: BTreeMap<u32, Secret<Vec<u8>>>,
    /// A duplicate version, for the builder to refuse.
    twice: Option<u32>,
}

impl Peppers {
    pub(super) fn add(&mut self, pepper: Pepper) {
        if self.secrets.insert(pepper.version, pepper.secret).is_some() {
            self.twice = Some(pepper.version);
        }
    }

    pub(super) fn add_current(&mut self, pepper: Pepper) {
        self.current = Some(pepper.version);
        self.add(pepper);
    }

    /// Returns a version that two peppers have.
    pub(super) fn duplicate(&self) -> Option<u32> {
        self.twice
    }

    /// Returns the version of new hashes.
    pub(super) fn current(&self) -> Option<u32> {
        self.current
    }

    /// Returns the secret of a version, empty for no version, or `None` for an unknown
    /// version.
    pub(super) fn secret(&self, version: Option<u32>) -> Option<&[u8]> {
        match version {
            None => Some(&[]),
            Some(version) => self.secrets.get(&version).map(|secret| secret.as_slice()),
        }
    }
}
