//! bcrypt, which reads 72 bytes of a password.

use std::str::FromStr as _;

use ::bcrypt::HashParts;
use base64ct::{Base64, Encoding as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256, Sha384};

use crate::hash::phc::PhcError;
use crate::secret::Secret;

use super::{excessive, is_equal};

/// The bytes that bcrypt reads. A shorter password ends with a zero.
const READ_BYTES: usize = 72;
const MIN_COST: u32 = 4;

/// A digest of the password that bcrypt reads instead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Digest {
    /// The hexadecimal SHA-256.
    Django,
    /// The base64 of an HMAC-SHA-384.
    WordPress,
}

pub(super) struct Bcrypt {
    parts: HashParts,
    digest: Option<Digest>,
    pepper: Option<Secret<String>>,
}

impl Bcrypt {
    /// Parses `$2b$10$…`. `$2x$` marks hashes of a broken implementation.
    pub(super) fn parse(
        text: &str,
        digest: Option<Digest>,
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
        Ok(Self { parts, digest, pepper: pepper.filter(|_| digest.is_none()) })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let Some(read) = self.read(password) else { return false };
        let (cost, salt) = (self.parts.get_cost(), self.parts.get_salt_raw());
        let made = ::bcrypt::hash_with_salt(&*read, cost, salt);
        made.is_ok_and(|made| {
            let (made, stored) = (Secret::new(made.to_string()), &self.parts);
            let stored = Secret::new(stored.to_string());
            is_equal(made.as_bytes(), stored.as_bytes())
        })
    }

    /// Returns the bytes that bcrypt is given.
    fn read(&self, password: &[u8]) -> Option<Secret<Vec<u8>>> {
        let pepper = self.pepper.as_ref().map_or("", |pepper| pepper.as_str());
        let mut read = Secret::new(Vec::with_capacity(password.len() + pepper.len() + 64));
        match self.digest {
            Some(Digest::Django) => {
                let digest = Sha256::digest(password);
                read.extend(digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit));
            }
            Some(Digest::WordPress) => {
                let mut mac = Hmac::<Sha384>::new_from_slice(b"wp-sha384").ok()?;
                // It trims a new password, and what is typed at a log-in.
                mac.update(password.trim_ascii());
                let tag = mac.finalize().into_bytes();
                read.extend(Secret::new(Base64::encode_string(&tag)).bytes());
            }
            None => {
                read.extend_from_slice(password);
                read.extend_from_slice(pepper.as_bytes());
            }
        }
        Some(read)
    }

    /// Returns whether bcrypt has read all of the password, and where it ends.
    pub(super) fn covers(&self, password: &[u8]) -> bool {
        self.digest.is_some() || password.len() < READ_BYTES
    }
}

fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}
