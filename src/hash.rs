//! Password hashing with Argon2id on a bounded pool, see [the guide](crate::guide::hashing).

mod engine;
#[cfg(feature = "foreign-credentials")]
mod foreign;
mod params;
mod pepper;
mod phc;
mod pool;

#[cfg(feature = "simd")]
pub use engine::SimdEngine;
pub use engine::{Argon2Engine, Engine, EngineHasher, FakeEngine, HashInput};
#[cfg(feature = "foreign-credentials")]
pub use foreign::ForeignHashes;
pub use params::{Limits, WorkFactor};
pub use pepper::Pepper;
pub(crate) use phc::SALT_BYTES;
pub use phc::{PasswordHash, PhcError};
pub use pool::Verification;
pub use pool::{HashError, HashPermit, HashPool, HashPoolBuilder, PoolError, PoolFull, PoolStats};
