//! The `argon2` crate of RustCrypto, with memory that is allocated once.

use argon2::{Algorithm, Argon2, AssociatedData, Block, Params, ParamsBuilder, Version};
use zeroize::Zeroize as _;

use crate::issue::BoxError;

use super::{Engine, EngineHasher, HashInput};

/// An engine on the `argon2` crate of RustCrypto: always available, with no `unsafe` here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Argon2Engine;

impl Engine for Argon2Engine {
    fn name(&self) -> &'static str {
        "argon2"
    }

    fn hasher(&self) -> Box<dyn EngineHasher> {
        Box::new(Arena(Vec::new()))
    }
}

struct Arena(Vec<Block>);

impl Arena {
    /// Returns the arena with at least `blocks` blocks, or an error where an allocator
    /// would abort.
    fn at_least(&mut self, blocks: usize) -> Result<&mut [Block], BoxError> {
        if blocks > self.0.capacity() {
            // Memory that moves would leave a copy behind.
            self.0.zeroize();
            self.0 = Vec::new();
        }
        let missing = blocks.saturating_sub(self.0.len());
        self.0.try_reserve_exact(missing)?;
        self.0.resize(self.0.len() + missing, Block::new());
        Ok(&mut self.0)
    }
}

/// Its content depends on the password.
impl Drop for Arena {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl EngineHasher for Arena {
    fn hash(&mut self, input: &HashInput<'_>, tag: &mut [u8]) -> Result<(), BoxError> {
        let params = params(input, tag.len())?;
        let arena = self.at_least(params.block_count())?;
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        let argon2 = Argon2::new_with_secret(input.secret, algorithm, version, params);
        argon2
            .and_then(|argon2| {
                argon2.hash_password_into_with_memory(input.password, input.salt, tag, arena)
            })
            .map_err(BoxError::from)
    }
}

fn params(input: &HashInput<'_>, tag: usize) -> Result<Params, BoxError> {
    let data = AssociatedData::new(input.associated_data)?;
    ParamsBuilder::new()
        .m_cost(input.factor.memory_kib())
        .t_cost(input.factor.passes())
        .p_cost(input.factor.lanes())
        .output_len(tag)
        .data(data)
        .build()
        .map_err(BoxError::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_can_not_be_had_is_an_error() {
        let mut arena = Arena(Vec::new());
        assert!(arena.at_least(usize::MAX / 2048).is_err());
        assert!(arena.at_least(8).is_ok());
    }
}
