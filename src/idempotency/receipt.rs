//! The part of a retry that a store keeps.

use std::fmt;

use crate::issue::InvalidValue;

/// A random number that no two rows share, so that nothing is derived twice.
pub(crate) type Nonce = [u8; 16];

/// A record that an account or an API key was made for a request with an idempotency key:
/// enough to recognize a retry of it, and useless without the replay secret.
///
/// A store keeps it beside the row, in three columns. An API key, an idempotency key or a
/// token can't be computed from it.
///
/// ```
/// use signup::idempotency::Receipt;
///
/// let receipt = Receipt::from_store(&[1; 16], 7, &[2; 32]).unwrap();
/// assert_eq!((receipt.nonce(), receipt.secret_version()), (&[1; 16], 7));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    nonce: Nonce,
    secret_version: u32,
    tag: [u8; 32],
}

impl Receipt {
    pub(super) const fn new(nonce: Nonce, secret_version: u32, tag: [u8; 32]) -> Self {
        Self { nonce, secret_version, tag }
    }

    /// Creates a receipt from what a store has kept.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] unless the nonce has 16 bytes, the tag 32, and the version
    /// is one of a [`ReplaySecret`](super::ReplaySecret).
    pub fn from_store(nonce: &[u8], secret_version: i64, tag: &[u8]) -> Result<Self, InvalidValue> {
        let parts = (nonce.try_into(), u32::try_from(secret_version), tag.try_into());
        let (Ok(nonce), Ok(secret_version), Ok(tag)) = parts else {
            return Err(InvalidValue::new("malformed receipt of a retry"));
        };
        Ok(Self { nonce, secret_version, tag })
    }

    /// Returns `replay_nonce`.
    pub const fn nonce(&self) -> &[u8; 16] {
        &self.nonce
    }

    /// Returns `replay_version`: the version of the secret.
    pub const fn secret_version(&self) -> u32 {
        self.secret_version
    }

    /// Returns `replay_tag`.
    pub const fn tag(&self) -> &[u8; 32] {
        &self.tag
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("secret_version", &self.secret_version)
            .finish_non_exhaustive()
    }
}
