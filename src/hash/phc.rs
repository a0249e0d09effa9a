//! The PHC string: the one form in which a password is stored.

use std::fmt;

use argon2::password_hash::phc;
use argon2::{ARGON2ID_IDENT, Params};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::engine::EngineError;
use super::params::WorkFactor;

/// Argon2's version 1.3, the one of RFC 9106.
const VERSION: u32 = 0x13;
/// Octets of the salt: RFC 9106, section 3.1 asks for 16.
pub(crate) const SALT_BYTES: usize = 16;
/// Octets of the tag: RFC 9106, section 4 recommends 32.
pub(crate) const TAG_BYTES: usize = 32;

/// A hashed password as a [PHC string]: `$argon2id$v=19$m=…,t=…,p=…$salt$tag`.
///
/// It is what a store keeps, and lets whoever has it guess off line: so it is
/// opened by name, wiped when dropped, and can't be printed.
///
/// [PHC string]: https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    pub(super) fn assemble(
        factor: WorkFactor,
        salt: &[u8; SALT_BYTES],
        tag: &[u8; TAG_BYTES],
    ) -> Result<Self, EngineError> {
        let params = argon2_params(factor)?;
        let assembled = phc::PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(VERSION),
            params: phc::ParamsString::try_from(&params).map_err(EngineError::new)?,
            salt: Some(phc::Salt::new(salt).map_err(EngineError::new)?),
            hash: Some(phc::Output::new(tag).map_err(EngineError::new)?),
        };
        Ok(Self(assembled.to_string()))
    }

    /// The PHC string, for the store.
    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

pub(super) fn argon2_params(factor: WorkFactor) -> Result<Params, EngineError> {
    let (m, t, p) = (factor.memory_kib(), factor.passes(), factor.lanes());
    Params::new(m, t, p, Some(TAG_BYTES)).map_err(EngineError::new)
}

impl Drop for PasswordHash {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for PasswordHash {}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(_)")
    }
}
