//! The PHC string: the only form in which a password is stored.

use std::fmt;

use argon2::ARGON2ID_IDENT;
use argon2::password_hash::phc;
use base64ct::{Base64Unpadded, Encoding as _};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::issue::InvalidValue;

use super::params::{Limits, WorkFactor};

/// Argon2 version 1.3 (RFC 9106).
const VERSION: u32 = 0x13;
/// Bytes of a new salt (RFC 9106, section 3.1).
pub(crate) const SALT_BYTES: usize = 16;
/// Bytes of a new tag (RFC 9106, section 4).
pub(super) const TAG_BYTES: usize = 32;

/// A hashed password: a [PHC string], `$argon2id$v=19$m=…,t=…,p=…$salt$tag`, and the
/// version of its pepper.
///
/// This is what a store keeps. It allows offline guessing, so it is revealed only by a
/// named method, wiped when dropped, and redacted in `Debug`.
///
/// [PHC string]: https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    phc: String,
    pepper_version: Option<u32>,
}

impl PasswordHash {
    /// Creates a hash from what a store has kept. It is parsed when it is verified.
    pub fn from_store(phc: impl Into<String>, pepper_version: Option<u32>) -> Self {
        Self { phc: phc.into(), pepper_version }
    }

    pub(super) fn assemble(
        factor: WorkFactor,
        salt: &[u8],
        tag: &[u8],
        pepper_version: Option<u32>,
    ) -> Self {
        let (salt, tag) = (Base64Unpadded::encode_string(salt), Base64Unpadded::encode_string(tag));
        let phc = format!("${ARGON2ID_IDENT}$v={VERSION}${factor}${salt}${tag}");
        Self { phc, pepper_version }
    }

    /// Returns whether the account has no password.
    pub(crate) fn is_empty(&self) -> bool {
        self.as_phc().is_empty()
    }

    /// Returns the PHC string, for the store.
    pub fn as_phc(&self) -> &str {
        &self.phc
    }

    /// Returns whether it is of another system.
    #[cfg(feature = "foreign-credentials")]
    pub(super) fn is_foreign(&self) -> bool {
        !self.own_form().starts_with("$argon2")
    }

    /// Returns the string without what Django puts before one.
    fn own_form(&self) -> &str {
        #[cfg(feature = "foreign-credentials")]
        if let Some(own) = self.phc.strip_prefix("argon2") {
            return own;
        }
        &self.phc
    }

    /// Returns the version of the pepper, for its own column, or `None` without a pepper.
    pub fn pepper_version(&self) -> Option<u32> {
        self.pepper_version
    }

    /// Parses the string, within `limits`.
    pub(super) fn parse(&self, limits: &Limits) -> Result<Parsed, PhcError> {
        let read = phc::PasswordHash::new(self.own_form()).map_err(|_| PhcError::Malformed)?;
        if read.algorithm != ARGON2ID_IDENT {
            return Err(PhcError::Algorithm);
        }
        if read.version != Some(VERSION) {
            return Err(PhcError::Version);
        }
        let (Some(salt), Some(tag)) = (read.salt, read.hash) else {
            return Err(PhcError::Malformed);
        };
        let factor = work_factor(&read.params)?;
        factor.check(limits)?;
        Ok(Parsed { factor, salt, tag })
    }
}

/// Parses `m`, `t` and `p`: each once, in any order, and nothing else.
fn work_factor(params: &phc::ParamsString) -> Result<WorkFactor, PhcError> {
    let (mut m, mut t, mut p) = (None, None, None);
    for (name, value) in params.iter() {
        let place = match name.as_str() {
            "m" => &mut m,
            "t" => &mut t,
            "p" => &mut p,
            _ => return Err(PhcError::Malformed),
        };
        let value = value.decimal().map_err(|_| PhcError::Malformed)?;
        if place.replace(value).is_some() {
            return Err(PhcError::Malformed);
        }
    }
    match (m, t, p) {
        (Some(m), Some(t), Some(p)) => Ok(WorkFactor::stored(m, t, p)?),
        _ => Err(PhcError::Malformed),
    }
}

/// The parts of a PHC string.
pub(super) struct Parsed {
    pub(super) factor: WorkFactor,
    pub(super) salt: phc::Salt,
    pub(super) tag: phc::Output,
}

impl Drop for PasswordHash {
    fn drop(&mut self) {
        self.phc.zeroize();
    }
}

impl ZeroizeOnDrop for PasswordHash {}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(_)")
    }
}

/// The reason why a stored hash can't be verified.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PhcError {
    /// Not a PHC string, or one without salt, tag or parameters.
    #[error("malformed password hash: not a PHC string of Argon2id")]
    Malformed,
    /// Another algorithm, including Argon2i and Argon2d.
    #[error("unsupported password hash: not Argon2id")]
    Algorithm,
    /// Not version 19 (1.3); a string without a version is of version 16.
    #[error("unsupported password hash: not Argon2 version 19")]
    Version,
    /// A work factor that is invalid or beyond the limits.
    #[error(transparent)]
    WorkFactor(#[from] InvalidValue),
}

crate::issue::debug_by_text!(PhcError);

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "$argon2id$v=19$m=19456,t=2,p=1$AwMDAwMDAwMDAwMDAwMDAw$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn parse(phc: &str) -> Result<WorkFactor, PhcError> {
        PasswordHash::from_store(phc, None).parse(&Limits::default()).map(|parsed| parsed.factor)
    }

    #[test]
    fn what_is_assembled_is_read_back() {
        let hash = PasswordHash::assemble(WorkFactor::default(), &[3; 16], &[0; 32], Some(4));
        assert_eq!((hash.as_phc(), hash.pepper_version()), (GOOD, Some(4)));
        let parsed = hash.parse(&Limits::default()).unwrap();
        assert_eq!(parsed.factor, WorkFactor::default());
        assert_eq!((parsed.salt.as_ref(), parsed.tag.as_bytes()), (&[3; 16][..], &[0; 32][..]));
    }

    #[test]
    fn a_foreign_string_is_a_clear_error() {
        let swapped = |from, to| parse(&GOOD.replace(from, to));
        assert_eq!(swapped("argon2id", "argon2i"), Err(PhcError::Algorithm));
        assert_eq!(swapped("argon2id", "argon2d"), Err(PhcError::Algorithm));
        assert_eq!(swapped("argon2id", "scrypt"), Err(PhcError::Algorithm));
        assert_eq!(swapped("v=19", "v=16"), Err(PhcError::Version));
        assert_eq!(swapped("$v=19", ""), Err(PhcError::Version));
        for (from, to) in [
            ("m=19456,", ""),
            ("p=1", "p=1,m=8"),
            ("p=1", "p=1,x=1"),
            ("t=2", "t=two"),
            ("m=19456", "m=4294967296"),
            ("$AwMD", "$*wMD"),
            ("$m", "m"),
        ] {
            assert_eq!(swapped(from, to), Err(PhcError::Malformed), "{from} to {to}");
        }
        for text in ["", "$", "password", "$2b$10$abcdefghijklmnopqrstuv"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let tagless = GOOD.rsplit_once('$').unwrap().0;
        assert_eq!(parse(tagless), Err(PhcError::Malformed));
    }

    #[test]
    fn a_cost_beyond_the_limits_is_refused_as_a_number() {
        for (from, to) in [("m=19456", "m=1048577"), ("t=2", "t=17"), ("p=1", "p=17")] {
            let refused = parse(&GOOD.replace(from, to));
            let refused = refused.unwrap_err().to_string();
            assert!(refused.starts_with("excessive work factor"), "{to}: {refused}");
        }
        assert!(parse(&GOOD.replace("m=19456,t=2", "m=1048576,t=16")).is_ok());
        let none = parse(&GOOD.replace("m=19456", "m=7"));
        let none = none.unwrap_err().to_string();
        assert!(none.starts_with("invalid work factor"), "{none}");
    }
}
