//! The `argon2-rust` crate: hand-written SIMD, with huge pages where available.

use argon2_rust::params::{Memory, TagLen};
use argon2_rust::{Algorithm, Argon2, Params, Version};

use crate::issue::BoxError;

use super::{Engine, EngineHasher, HashInput};

/// An engine on the `argon2-rust` crate, which picks the widest instructions of the
/// processor at run time.
#[derive(Debug, Clone, Copy, Default)]
pub struct SimdEngine;

impl Engine for SimdEngine {
    fn name(&self) -> &'static str {
        "argon2-rust"
    }

    fn hasher(&self) -> Box<dyn EngineHasher> {
        let unset = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT);
        Box::new(unset.hasher())
    }
}

impl EngineHasher for argon2_rust::Hasher {
    fn hash(&mut self, input: &HashInput<'_>, tag: &mut [u8]) -> Result<(), BoxError> {
        let length = u64::try_from(tag.len())?;
        let params = Params::builder()
            .memory(Memory::kib(input.factor.memory_kib().into()))
            .passes(input.factor.passes())
            .lanes(input.factor.lanes())
            .threads(1)
            .tag_len(TagLen::bytes(length))
            .build()?;
        self.set_argon2(Argon2::new(Algorithm::Argon2id, Version::V0x13, params));
        let HashInput { password, salt, secret, associated_data, .. } = input;
        self.hash_into_with_ad(password, salt, secret, associated_data, tag).map_err(BoxError::from)
    }
}
