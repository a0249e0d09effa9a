//! bcrypt, which reads 72 bytes of a password.

use std::str::FromStr as _;

use ::bcrypt::HashParts;
use sha2::{Digest as _, Sha256};

use crate::hash::phc::PhcError;
use crate::secret::Secret;

use super::{excessive, is_equal};

/// The bytes that bcrypt reads. A shorter password ends with a zero.
const READ_BYTES: usize = 72;
const MIN_COST: u32 = 4;

pub(super) struct Bcrypt {
    parts: HashParts,
    /// Whether bcrypt reads the hexadecimal SHA-256 of the password, as of Django's.
    digests: bool,
    pepper: Option<Secret<String>>,
}

impl Bcrypt {
    /// Parses `$2b$10$…`. `$2x$` marks hashes of a broken implementation.
    pub(super) fn parse(
        text: &str,
        digests: bool,
        pepper: Option<Secret<String>>,
        max_cost: u32,
    ) -> Result<Self, PhcError> {
        let known = ["$2a$", "$2b$", "$2y$"].iter().any(|version| text.starts_with(version));
        // The crate would take a sign.
        let costs = text.get(4..6).is_some_and(|cost| cost.bytes().all(|it| it.is_ascii_digit()));
        let (true, Ok(parts)) = (known && costs, HashParts::from_str(text)) else {
            return Err(PhcError::Malformed);
        };
        let cost = parts.get_cost();
        if cost > max_cost {
            return Err(excessive("of bcrypt", cost, max_cost));
        }
        if cost < MIN_COST {
            return Err(PhcError::Malformed);
        }
        Ok(Self { parts, digests, pepper: pepper.filter(|_| !digests) })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let read = self.read(password);
        let (cost, salt) = (self.parts.get_cost(), self.parts.get_salt_raw());
        let made = ::bcrypt::hash_with_salt(&*read, cost, salt);
        made.is_ok_and(|made| {
            let (made, stored) = (Secret::new(made.to_string()), &self.parts);
            let stored = Secret::new(stored.to_string());
            is_equal(made.as_bytes(), stored.as_bytes())
        })
    }

    /// Returns the bytes that bcrypt is given.
    fn read(&self, password: &[u8]) -> Secret<Vec<u8>> {
        let pepper = self.pepper.as_ref().map_or("", |pepper| pepper.as_str());
        let mut read = Secret::new(Vec::with_capacity(password.len() + pepper.len() + 64));
        if self.digests {
            let digest = Sha256::digest(password);
            read.extend(digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit));
        } else {
            read.extend_from_slice(password);
            read.extend_from_slice(pepper.as_bytes());
        }
        read
    }

    /// Returns whether bcrypt has read all of the password, and where it ends.
    pub(super) fn covers(&self, password: &[u8]) -> bool {
        self.digests || password.len() < READ_BYTES
    }
}

fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}
