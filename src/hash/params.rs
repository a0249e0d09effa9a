//! Work factors: the cost of each guess.

use std::fmt;

use crate::issue::InvalidValue;

/// The rows of OWASP's table as memory in KiB and passes, with one lane each. They cost an
/// attacker about the same.
const OWASP: [(u32, u32); 5] = [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)];

/// The upper bounds for new hashes. A typing error in a configuration must not make a host
/// run out of memory or time at its first sign-up.
const MAX: Limits = Limits { memory_kib: 1 << 22, passes: 64, lanes: 64 };

/// The cost of a hash: memory, passes over it, and lanes (RFC 9106, section 3.1).
///
/// ```
/// use signup::hash::WorkFactor;
///
/// let default = WorkFactor::default();
/// assert_eq!((default.memory_kib(), default.passes(), default.lanes()), (19_456, 2, 1));
/// assert!(WorkFactor::new(19_456, 1, 1).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WorkFactor {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl WorkFactor {
    /// The first row of OWASP's table (Password Storage Cheat Sheet, *Argon2id*):
    /// 46 MiB, one pass.
    pub const OWASP_46_MIB: Self = Self::row(OWASP[0]);
    /// The second row of OWASP's table, and the default: 19 MiB, two passes.
    pub const OWASP_19_MIB: Self = Self::row(OWASP[1]);
    /// The third row of OWASP's table: 12 MiB, three passes.
    pub const OWASP_12_MIB: Self = Self::row(OWASP[2]);
    /// The fourth row of OWASP's table: 9 MiB, four passes.
    pub const OWASP_9_MIB: Self = Self::row(OWASP[3]);
    /// The fifth row of OWASP's table: 7 MiB, five passes.
    pub const OWASP_7_MIB: Self = Self::row(OWASP[4]);
    /// RFC 9106's first choice (section 4): 2 GiB, one pass, four lanes.
    pub const RFC_9106_2_GIB: Self = Self { memory_kib: 1 << 21, passes: 1, lanes: 4 };
    /// RFC 9106's second choice (section 4): 64 MiB, three passes, four lanes.
    pub const RFC_9106_64_MIB: Self = Self { memory_kib: 1 << 16, passes: 3, lanes: 4 };

    /// All named work factors with their names, the least memory first.
    pub const NAMED: [(&str, Self); 7] = [
        ("OWASP 7 MiB", Self::OWASP_7_MIB),
        ("OWASP 9 MiB", Self::OWASP_9_MIB),
        ("OWASP 12 MiB", Self::OWASP_12_MIB),
        ("OWASP 19 MiB", Self::OWASP_19_MIB),
        ("OWASP 46 MiB", Self::OWASP_46_MIB),
        ("RFC 9106 64 MiB", Self::RFC_9106_64_MIB),
        ("RFC 9106 2 GiB", Self::RFC_9106_2_GIB),
    ];

    const fn row((memory_kib, passes): (u32, u32)) -> Self {
        Self { memory_kib, passes, lanes: 1 }
    }

    /// Creates a work factor for new hashes: `memory_kib` KiB, `passes` (t), `lanes` (p).
    ///
    /// # Errors
    /// Fails if it is weaker than every row of OWASP's table, that is, if it reaches both
    /// memory and passes of none; or if it is beyond 4 GiB, 64 passes or 64 lanes.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, InvalidValue> {
        let factor = Self::stored(memory_kib, passes, lanes)?;
        factor.check_strong()?;
        factor.check(&MAX)?;
        Ok(factor)
    }

    /// Creates the work factor of an existing hash, even a weak one: to verify it, or to
    /// run an engine against test vectors. [No pool](super::HashPoolBuilder::build) makes
    /// new hashes with a weak one.
    ///
    /// # Errors
    /// Fails if it is invalid: no pass, no lane, or under 8 KiB per lane.
    pub fn stored(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, InvalidValue> {
        let factor = Self { memory_kib, passes, lanes };
        let enough = lanes.checked_mul(8).is_some_and(|least| memory_kib >= least);
        if passes == 0 || lanes == 0 || !enough {
            return Err(InvalidValue::with_value(format!(
                "invalid work factor {factor}: needs at least 1 pass, 1 lane and 8 KiB per lane"
            )));
        }
        Ok(factor)
    }

    pub(super) fn check_strong(self) -> Result<(), InvalidValue> {
        let reaches = |&(m, t): &(u32, u32)| self.memory_kib >= m && self.passes >= t;
        if OWASP.iter().any(reaches) {
            return Ok(());
        }
        Err(InvalidValue::with_value(format!(
            "weak work factor {self}: OWASP's table asks for m=19456,t=2,p=1 or more"
        )))
    }

    pub(super) fn check(self, limits: &Limits) -> Result<(), InvalidValue> {
        let within = self.memory_kib <= limits.memory_kib
            && self.passes <= limits.passes
            && self.lanes <= limits.lanes;
        if within {
            return Ok(());
        }
        Err(InvalidValue::with_value(format!(
            "excessive work factor {self}: the limits are {limits}"
        )))
    }

    /// Returns the memory of one hash (m), in KiB.
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Returns the passes over that memory (t).
    pub const fn passes(self) -> u32 {
        self.passes
    }

    /// Returns the lanes (p). They are computed one after the other on one core.
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
        write!(f, "m={memory_kib},t={passes},p={lanes}")
    }
}

/// Limits on the cost of verifying a stored hash. Without them, anyone who can write into
/// the database could make one verification take all memory.
///
/// ```
/// let mut limits = signup::hash::Limits::default();
/// limits.memory_kib = 65_536;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum memory, in KiB.
    pub memory_kib: u32,
    /// Maximum passes.
    pub passes: u32,
    /// Maximum lanes.
    pub lanes: u32,
}

impl Default for Limits {
    /// Returns 1 GiB, 16 passes, 16 lanes: more than every recommendation except RFC 9106's
    /// first, which a pool that uses it allows by itself.
    fn default() -> Self {
        Self { memory_kib: 1 << 20, passes: 16, lanes: 16 }
    }
}

impl Limits {
    /// Raises the limits to include `factor`.
    pub(super) fn at_least(self, factor: WorkFactor) -> Self {
        Self {
            memory_kib: self.memory_kib.max(factor.memory_kib),
            passes: self.passes.max(factor.passes),
            lanes: self.lanes.max(factor.lanes),
        }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory_kib, passes, lanes } = self;
        write!(f, "m={memory_kib},t={passes},p={lanes}")
    }
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
    fn every_named_factor_may_make_hashes() {
        for (name, factor) in WorkFactor::NAMED {
            let (m, t, p) = (factor.memory_kib(), factor.passes(), factor.lanes());
            assert_eq!(WorkFactor::new(m, t, p), Ok(factor), "{name}");
        }
    }

    #[test]
    fn h08_a_factor_that_no_machine_has_memory_for_is_refused() {
        for (m, t, p) in [(u32::MAX, 2, 1), (19_456, u32::MAX, 1), (19_456, 2, 65)] {
            let refused = WorkFactor::new(m, t, p);
            let refused = refused.unwrap_err().to_string();
            assert!(refused.starts_with("excessive work factor"), "{refused}");
        }
    }

    #[test]
    fn a_stored_factor_may_be_weak_but_not_impossible() {
        assert!(WorkFactor::stored(8, 1, 1).is_ok());
        for (m, t, p) in [(7, 1, 1), (8, 0, 1), (8, 1, 0), (31, 1, 4), (u32::MAX, 1, u32::MAX)] {
            let refused = WorkFactor::stored(m, t, p);
            let refused = refused.unwrap_err().to_string();
            assert!(refused.starts_with("invalid work factor"), "{refused}");
        }
    }
}
