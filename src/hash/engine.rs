//! What computes the tag: one of two implementations of Argon2id, or a fake.

use std::fmt;

use crate::error::BoxError;

use super::params::WorkFactor;

mod argon2;
mod fake;
#[cfg(feature = "simd")]
mod simd;

pub use argon2::Argon2Engine;
pub use fake::FakeEngine;
#[cfg(feature = "simd")]
pub use simd::SimdEngine;

/// An implementation of Argon2id, version 1.3 (RFC 9106).
///
/// # Contract
/// All engines give the same tag for the same input. [`hasher`](Engine::hasher)
/// is called by each worker for its first hash, and again after it has been idle
/// or has panicked.
pub trait Engine: Send + Sync + 'static {
    /// The engine's name, for figures and logs.
    fn name(&self) -> &'static str;

    /// What one worker hashes with, its memory included.
    fn hasher(&self) -> Box<dyn EngineHasher>;
}

/// One worker's share of an [`Engine`]. It owns its memory, keeps it from one
/// hash to the next, and gives it back to the system when it is dropped.
pub trait EngineHasher: Send {
    /// Fills `tag` for `input`. The tag's length is part of what is hashed.
    ///
    /// # Errors
    /// The memory can't be had, or the engine refuses the input.
    fn hash(&mut self, input: &HashInput<'_>, tag: &mut [u8]) -> Result<(), EngineError>;
}

/// What is hashed, and at what cost: the inputs of RFC 9106, section 3.1.
///
/// ```
/// use signup::hash::{Argon2Engine, Engine, HashInput, WorkFactor};
///
/// let input = HashInput::new(b"correct horse", b"somesalt", WorkFactor::default());
/// let mut tag = [0; 32];
/// Argon2Engine.hasher().hash(&input, &mut tag).unwrap();
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct HashInput<'a> {
    /// The password (P): the UTF-8 bytes of its NFC form.
    pub password: &'a [u8],
    /// The salt (S), 8 octets or more.
    pub salt: &'a [u8],
    /// The secret (K), a pepper; empty for none.
    pub secret: &'a [u8],
    /// Associated data (X), up to 32 octets; empty for none.
    pub associated_data: &'a [u8],
    /// The cost (m, t and p).
    pub factor: WorkFactor,
}

impl<'a> HashInput<'a> {
    /// An input without secret and associated data.
    pub const fn new(password: &'a [u8], salt: &'a [u8], factor: WorkFactor) -> Self {
        Self { password, salt, secret: &[], associated_data: &[], factor }
    }

    /// The same with a secret, and with associated data.
    #[must_use]
    pub const fn with(self, secret: &'a [u8], associated_data: &'a [u8]) -> Self {
        Self { secret, associated_data, ..self }
    }
}

impl fmt::Debug for HashInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashInput").field("factor", &self.factor).finish_non_exhaustive()
    }
}

/// Why there is no tag.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed")]
pub struct EngineError(#[source] BoxError);

impl EngineError {
    /// An error of an engine. `source` is logged; it must not hold the input.
    pub fn new(source: impl Into<BoxError>) -> Self {
        Self(source.into())
    }
}
