//! What computes the tag: Argon2id, or a fake for tests.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use argon2::{Algorithm, Argon2, Block, Version};
use sha2::{Digest, Sha256};

use crate::error::BoxError;

use super::params::WorkFactor;
use super::phc::{SALT_BYTES, TAG_BYTES, argon2_params};

/// An implementation of Argon2id.
///
/// # Contract
/// All engines give the same tag for the same input. [`hasher`](Engine::hasher)
/// is called once for each worker thread, and again where one has panicked.
pub trait Engine: Send + Sync + 'static {
    /// The engine's name, for figures and logs.
    fn name(&self) -> &'static str;

    /// What one worker hashes with, its memory included.
    fn hasher(&self) -> Box<dyn Hasher>;
}

/// One worker's share of an [`Engine`]. It owns its memory, and keeps it from
/// one hash to the next.
pub trait Hasher: Send {
    /// Computes the tag of `input` into `tag`.
    ///
    /// # Errors
    /// The memory can't be had, or the engine refuses the input.
    fn hash(&mut self, input: &HashInput<'_>, tag: &mut [u8; TAG_BYTES])
    -> Result<(), EngineError>;

    /// Gives the memory back to the system. The next hash takes it again.
    fn release(&mut self);
}

/// What is hashed, and at what cost.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct HashInput<'a> {
    /// The UTF-8 bytes of the password's NFC form.
    pub password: &'a [u8],
    /// The salt.
    pub salt: &'a [u8; SALT_BYTES],
    /// The cost.
    pub factor: WorkFactor,
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

/// The `argon2` crate of `RustCrypto`, with memory that is taken once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Argon2Engine;

impl Engine for Argon2Engine {
    fn name(&self) -> &'static str {
        "argon2"
    }

    fn hasher(&self) -> Box<dyn Hasher> {
        Box::new(Arena(Vec::new()))
    }
}

struct Arena(Vec<Block>);

impl Arena {
    /// The arena at its new size, or an error where an allocator would abort.
    fn at_least(&mut self, blocks: usize) -> Result<&mut [Block], EngineError> {
        let missing = blocks.saturating_sub(self.0.len());
        self.0.try_reserve_exact(missing).map_err(EngineError::new)?;
        self.0.resize(self.0.len() + missing, Block::new());
        Ok(&mut self.0)
    }
}

impl Hasher for Arena {
    fn hash(
        &mut self,
        input: &HashInput<'_>,
        tag: &mut [u8; TAG_BYTES],
    ) -> Result<(), EngineError> {
        let params = argon2_params(input.factor)?;
        let arena = self.at_least(params.block_count())?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2
            .hash_password_into_with_memory(input.password, input.salt, tag, arena)
            .map_err(EngineError::new)
    }

    fn release(&mut self) {
        self.0 = Vec::new();
    }
}

/// An engine that hashes nothing worth the name, in no time. **For tests only**:
/// its tags look like Argon2id's and can be guessed by the billion.
///
/// It counts what it is asked for, and can be told to fail or to panic. Clones
/// share their state.
///
/// ```
/// use signup::hash::{FakeEngine, HashPool};
///
/// let engine = FakeEngine::default();
/// let pool = HashPool::builder().engine(engine.clone()).build().unwrap();
/// assert_eq!(engine.hashes(), 0);
/// # drop(pool);
/// ```
#[derive(Debug, Clone, Default)]
pub struct FakeEngine(Arc<FakeState>);

#[derive(Debug, Default)]
struct FakeState {
    hashes: AtomicUsize,
    fails: AtomicBool,
    panics: AtomicBool,
}

impl FakeEngine {
    /// How often it was asked for a tag.
    pub fn hashes(&self) -> usize {
        self.0.hashes.load(Ordering::SeqCst)
    }

    /// Whether each further hash is an error.
    pub fn fail(&self, fails: bool) {
        self.0.fails.store(fails, Ordering::SeqCst);
    }

    /// Whether each further hash panics.
    pub fn panic(&self, panics: bool) {
        self.0.panics.store(panics, Ordering::SeqCst);
    }
}

impl Engine for FakeEngine {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn hasher(&self) -> Box<dyn Hasher> {
        Box::new(self.clone())
    }
}

impl Hasher for FakeEngine {
    fn hash(
        &mut self,
        input: &HashInput<'_>,
        tag: &mut [u8; TAG_BYTES],
    ) -> Result<(), EngineError> {
        self.0.hashes.fetch_add(1, Ordering::SeqCst);
        assert!(!self.0.panics.load(Ordering::SeqCst), "the fake engine was told to panic");
        if self.0.fails.load(Ordering::SeqCst) {
            return Err(EngineError::new("the fake engine was told to fail"));
        }
        let digest = Sha256::new().chain_update(input.salt).chain_update(input.password);
        *tag = digest.finalize().into();
        Ok(())
    }

    fn release(&mut self) {}
}
