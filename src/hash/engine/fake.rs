//! A fake engine for the tests of a host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sha2::{Digest, Sha256};

use crate::issue::BoxError;

use super::{Engine, EngineHasher, HashInput};

/// An engine that returns cheap fake tags. **For tests only**: its tags look like
/// Argon2id's and can be guessed by the billion.
///
/// It counts its calls, and can be set to fail or to panic. Clones share their state.
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
    /// Returns how many tags were requested.
    pub fn hashes(&self) -> usize {
        self.0.hashes.load(Ordering::SeqCst)
    }

    /// Sets whether further hashes fail.
    pub fn fail(&self, fails: bool) {
        self.0.fails.store(fails, Ordering::SeqCst);
    }

    /// Sets whether further hashes panic.
    pub fn panic(&self, panics: bool) {
        self.0.panics.store(panics, Ordering::SeqCst);
    }
}

impl Engine for FakeEngine {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn hasher(&self) -> Box<dyn EngineHasher> {
        Box::new(self.clone())
    }
}

impl EngineHasher for FakeEngine {
    fn hash(&mut self, input: &HashInput<'_>, tag: &mut [u8]) -> Result<(), BoxError> {
        self.0.hashes.fetch_add(1, Ordering::SeqCst);
        assert!(!self.0.panics.load(Ordering::SeqCst), "the fake engine was told to panic");
        if self.0.fails.load(Ordering::SeqCst) {
            return Err("the fake engine was told to fail".into());
        }
        let digest = Sha256::new()
            .chain_update(input.salt)
            .chain_update(input.secret)
            .chain_update(input.password)
            .finalize();
        tag.iter_mut().zip(digest.iter().cycle()).for_each(|(tag, byte)| *tag = *byte);
        Ok(())
    }
}
