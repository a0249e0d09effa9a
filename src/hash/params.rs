//! Work factors: what a hash costs whoever guesses.

use std::fmt;

/// The rows of OWASP's table (Password Storage Cheat Sheet, *Argon2id*) as
/// memory in KiB and passes. They cost an attacker about the same; with one
/// lane each.
const OWASP: [(u32, u32); 5] = [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)];

/// The bounds above: what a typing error in a configuration must not exceed,
/// for a host would run out of memory or time at its first sign-up.
const MAX_MEMORY_KIB: u32 = 1 << 20;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 16;

/// The cost of a hash: memory, passes over it, and lanes (RFC 9106, section 3.1).
///
/// ```
/// use signup::hash::WorkFactor;
///
/// let default = WorkFactor::default();
/// assert_eq!((default.memory_kib(), default.passes(), default.lanes()), (19_456, 2, 1));
/// assert!(WorkFactor::new(19_456, 1, 1).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkFactor {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl WorkFactor {
    /// OWASP's first choice for a server, and the default: 19 MiB, two passes.
    pub const OWASP_19_MIB: Self = Self { memory_kib: 19_456, passes: 2, lanes: 1 };

    /// A work factor of `memory_kib` KiB, `passes` (t) and `lanes` (p).
    ///
    /// # Errors
    /// It is weaker than every row of OWASP's table, that is, there is no row
    /// whose memory and passes it reaches both; or it is beyond 1 GiB, 16
    /// passes or 16 lanes.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, WorkFactorError> {
        let strong = OWASP.iter().any(|&(m, t)| memory_kib >= m && passes >= t);
        if !strong || lanes == 0 {
            return Err(WorkFactorError::Weak { memory_kib, passes, lanes });
        }
        if memory_kib > MAX_MEMORY_KIB || passes > MAX_PASSES || lanes > MAX_LANES {
            return Err(WorkFactorError::Excessive { memory_kib, passes, lanes });
        }
        Ok(Self { memory_kib, passes, lanes })
    }

    /// The memory of one hash (m), in KiB.
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// The passes over that memory (t).
    pub const fn passes(self) -> u32 {
        self.passes
    }

    /// The lanes (p). They are computed one after the other on one core.
    pub const fn lanes(self) -> u32 {
        self.lanes
    }
}

impl Default for WorkFactor {
    fn default() -> Self {
        Self::OWASP_19_MIB
    }
}

impl fmt::Display for WorkFactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory_kib, passes, lanes } = self;
        write!(f, "m={memory_kib} KiB, t={passes}, p={lanes}")
    }
}

/// Why a work factor is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkFactorError {
    /// Weaker than OWASP's table.
    #[error(
        "the work factor m={memory_kib} KiB, t={passes}, p={lanes} is weaker than OWASP's table: \
         take m=19456, t=2, p=1 or more"
    )]
    Weak {
        /// Memory, in KiB.
        memory_kib: u32,
        /// Passes.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// More than a sign-up can take.
    #[error(
        "the work factor m={memory_kib} KiB, t={passes}, p={lanes} is beyond 1 GiB, 16 passes \
         or 16 lanes"
    )]
    Excessive {
        /// Memory, in KiB.
        memory_kib: u32,
        /// Passes.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_owasp_is_taken_and_nothing_below_it() {
        for (m, t) in OWASP {
            assert!(WorkFactor::new(m, t, 1).is_ok());
            assert!(WorkFactor::new(m - 1, t, 1).is_err(), "m={} t={t}", m - 1);
            assert!(WorkFactor::new(m, t - 1, 1).is_err(), "m={m} t={}", t - 1);
        }
        assert!(WorkFactor::new(19_456, 2, 0).is_err());
    }

    #[test]
    fn h08_a_factor_that_no_machine_has_memory_for_is_refused() {
        for (m, t, p) in [(u32::MAX, 2, 1), (19_456, u32::MAX, 1), (19_456, 2, 17)] {
            let refused = WorkFactor::new(m, t, p);
            assert!(matches!(refused, Err(WorkFactorError::Excessive { .. })));
        }
    }
}
