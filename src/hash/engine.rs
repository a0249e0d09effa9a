//! Engines that compute Argon2id tags: two implementations and a fake.

use std::fmt;

use crate::issue::BoxError;

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
/// All engines compute the same tag for the same input. Each worker calls
/// [`hasher`](Engine::hasher) for its first hash, and again after it was idle or has
/// panicked.
///
/// ```
/// use signup::error::BoxError;
/// use signup::hash::{Argon2Engine, Engine, EngineHasher, HashInput, HashPool};
///
/// /// Logs what each hash cost in bytes of memory.
/// struct Logged;
///
/// struct LoggedHasher(Box<dyn EngineHasher>);
///
/// impl Engine for Logged {
///     fn name(&self) -> &'static str {
///         "logged"
///     }
///
///     fn hasher(&self) -> Box<dyn EngineHasher> {
///         Box::new(LoggedHasher(Argon2Engine.hasher()))
///     }
/// }
///
/// impl EngineHasher for LoggedHasher {
///     fn hash(&mut self, input: &HashInput<'_>, tag: &mut [u8]) -> Result<(), BoxError> {
///         println!("{} KiB", input.factor.memory_kib());
///         self.0.hash(input, tag)
///     }
/// }
///
/// let pool = HashPool::builder().engine(Logged).build().unwrap();
/// # drop(pool);
/// ```
pub trait Engine: Send + Sync + 'static {
    /// Returns the engine's name, for metrics and logs.
    fn name(&self) -> &'static str;

    /// Creates the hasher of one worker, including its memory.
    fn hasher(&self) -> Box<dyn EngineHasher>;
}

/// The part of an [`Engine`] that one worker owns. It keeps its memory between hashes, and
/// wipes and releases it when dropped. [`Engine`] shows an implementation.
pub trait EngineHasher: Send {
    /// Computes the tag of `input` into `tag`. The tag's length is part of the hashed data.
    ///
    /// # Errors
    /// Fails if memory can't be allocated or the engine rejects the input. The error is
    /// logged and must not contain the input.
    fn hash(&mut self, input: &HashInput<'_>, tag: &mut [u8]) -> Result<(), BoxError>;
}

/// The input and cost of a hash (RFC 9106, section 3.1).
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
    /// The salt (S), 8 bytes or more.
    pub salt: &'a [u8],
    /// The secret (K), a pepper; empty for none.
    pub secret: &'a [u8],
    /// Associated data (X), up to 32 bytes; empty for none.
    pub associated_data: &'a [u8],
    /// The cost (m, t and p).
    pub factor: WorkFactor,
}

impl<'a> HashInput<'a> {
    /// Creates an input without secret and associated data.
    pub const fn new(password: &'a [u8], salt: &'a [u8], factor: WorkFactor) -> Self {
        Self { password, salt, secret: &[], associated_data: &[], factor }
    }

    /// Sets the secret and the associated data.
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
