//! Argon2id, on threads of its own.
//!
//! Hashing is nearly all of a sign-up's cost, so it has a bounded queue and
//! workers that own their memory: see [`HashPool`].

mod engine;
mod params;
mod phc;
mod pool;

pub use engine::{Argon2Engine, Engine, EngineError, FakeEngine, HashInput, Hasher};
pub use params::{WorkFactor, WorkFactorError};
pub use phc::PasswordHash;
pub(crate) use phc::SALT_BYTES;
pub use pool::{HashError, HashPool, HashPoolBuilder, Place, PoolError, PoolFull, PoolStats};
