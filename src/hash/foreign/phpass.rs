//! The portable hash of phpass, of WordPress before 6.8: MD5, repeated.

use md5::{Digest as _, Md5};

use crate::hash::phc::PhcError;

use super::{Tag, excessive, is_equal};

/// The digits of its base64, whose first one of a group has the lowest bits.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SALT_BYTES: usize = 8;
const TAG_DIGITS: usize = 22;

pub(super) struct Phpass {
    iterations: u32,
    salt: [u8; SALT_BYTES],
    /// As it is written.
    tag: Tag,
}

impl Phpass {
    /// Parses what follows `$P$`: a digit for the iterations, as a power of two, the salt, and the
    /// tag.
    pub(super) fn parse(text: &str, max: u32) -> Result<Self, PhcError> {
        let (cost, rest) = text.as_bytes().split_first().ok_or(PhcError::Malformed)?;
        let (salt, tag) = rest.split_first_chunk().ok_or(PhcError::Malformed)?;
        let cost = DIGITS.iter().position(|digit| digit == cost).ok_or(PhcError::Malformed)?;
        let is_tag = tag.len() == TAG_DIGITS && tag.iter().all(|digit| DIGITS.contains(digit));
        if !is_tag || !(7..=30).contains(&cost) {
            return Err(PhcError::Malformed);
        }
        let iterations = 1 << cost;
        if iterations > max {
            return Err(excessive("iterations of phpass", iterations, max));
        }
        Ok(Self { iterations, salt: *salt, tag: Tag::new(tag.to_vec()) })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        // It trims a new password, and what is typed at a log-in.
        let password = password.trim_ascii();
        let mut tag = Md5::new().chain_update(self.salt).chain_update(password).finalize();
        for _ in 0..self.iterations {
            tag = Md5::new().chain_update(tag).chain_update(password).finalize();
        }
        is_equal(&encoded(&tag), &self.tag)
    }
}

fn encoded(bytes: &[u8]) -> Tag {
    let mut text = Tag::new(Vec::with_capacity(TAG_DIGITS));
    for group in bytes.chunks(3) {
        let mut bits =
            group.iter().rev().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for _ in 0..=group.len() {
            text.extend(DIGITS.get(bits & 63));
            bits >>= 6;
        }
    }
    text
}
