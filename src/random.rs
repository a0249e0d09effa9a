//! Randomness is injected: each sign-up draws all of it at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use getrandom::SysRng;
use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// A source of randomness.
///
/// The service draws 128 bytes per sign-up. The default is the operating system's
/// generator, called each time, so that a forked process repeats nothing.
///
/// # Contract
/// All of `bytes` is filled from a cryptographically secure generator, or an error is
/// returned. An error becomes `INTERNAL_ERROR`, and nothing is stored.
///
/// ```
/// use std::io::Read as _;
///
/// use signup::random::{RandomError, SecureRandom};
///
/// /// A hardware generator that the kernel does not mix in.
/// struct Hardware;
///
/// impl SecureRandom for Hardware {
///     fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
///         let mut device = std::fs::File::open("/dev/hwrng").map_err(|_| RandomError::Failed)?;
///         device.read_exact(bytes).map_err(|_| RandomError::Failed)
///     }
/// }
/// ```
pub trait SecureRandom: Send + Sync + 'static {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// Returns a [`RandomError`] if the generator fails.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

impl<T: SecureRandom + ?Sized> SecureRandom for Arc<T> {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        (**self).fill(bytes)
    }
}

/// Any generator of the `rand_core` traits, shared behind a lock.
impl<R: TryCryptoRng + Send + 'static> SecureRandom for Mutex<R> {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        let mut rng = self.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = rng.try_fill_bytes(bytes);
        filled.map_err(|_| RandomError::Failed)
    }
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl SecureRandom for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        SysRng.try_fill_bytes(bytes).map_err(|_| RandomError::Failed)
    }
}

/// A generator that returns the same bytes for the same seed. **For tests only**: anyone
/// who knows the seed knows every API key.
///
/// ```
/// use signup::random::{SecureRandom, SeededRandom};
///
/// let (mut one, mut other) = ([0; 16], [0; 16]);
/// SeededRandom::new(7).fill(&mut one).unwrap();
/// SeededRandom::new(7).fill(&mut other).unwrap();
/// assert_eq!(one, other);
/// ```
#[derive(Debug)]
pub struct SeededRandom(Mutex<(u64, u64)>);

impl SeededRandom {
    /// Creates a generator whose bytes depend on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new((seed, 0)))
    }
}

impl SecureRandom for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(32) {
            let mut block = Sha256::new();
            block.update(state.0.to_le_bytes());
            block.update(state.1.to_le_bytes());
            state.1 += 1;
            for (byte, random) in chunk.iter_mut().zip(block.finalize()) {
                *byte = random;
            }
        }
        Ok(())
    }
}

/// The reason why no randomness could be drawn.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RandomError {
    /// The generator returned an error.
    #[error("the random generator failed")]
    Failed,
    /// The generator returned bytes that no working generator would.
    #[error("the random generator is stuck or biased")]
    Implausible,
}

crate::issue::debug_by_text!(RandomError);

/// Bytes drawn per sign-up. Salt and `jti` take 16 each. The 50 digits of account id and
/// API key take one byte each, and 3 % more for those that [`Entropy::digits`] rejects, so
/// that 96 bytes run out with a probability below 2⁻¹⁶⁰.
pub(crate) const DRAW: usize = 128;

/// The randomness of one sign-up; each byte is taken once.
pub(crate) struct Entropy {
    bytes: Secret<[u8; DRAW]>,
    taken: usize,
}

impl Entropy {
    pub(crate) fn draw(source: &dyn SecureRandom) -> Result<Self, RandomError> {
        let mut bytes = Secret::new([0; DRAW]);
        source.fill(bytes.as_mut_slice())?;
        // A stuck generator repeats one byte. A working one does that once in 2¹⁰¹⁶ draws.
        if bytes.windows(2).all(|pair| pair.first() == pair.last()) {
            return Err(RandomError::Implausible);
        }
        Ok(Self { bytes, taken: 0 })
    }

    /// Creates the same from bytes that were derived from a secret.
    pub(crate) fn derived(bytes: Secret<[u8; DRAW]>) -> Self {
        Self { bytes, taken: 0 }
    }

    /// Takes the next `N` bytes.
    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], RandomError> {
        let left = self.bytes.get(self.taken..).and_then(|left| left.first_chunk());
        self.taken += N;
        left.copied().ok_or(RandomError::Implausible)
    }

    /// Appends `count` uniform digits of `alphabet` to `text`. Bytes past the last whole
    /// multiple of its length are rejected, because a remainder would favour the first
    /// digits.
    #[expect(clippy::indexing_slicing, reason = "a remainder is less than its divisor")]
    pub(crate) fn digits<const N: usize>(
        &mut self,
        alphabet: &[u8; N],
        count: usize,
        text: &mut String,
    ) -> Result<(), RandomError> {
        let whole = 256 / N * N;
        for _ in 0..count {
            let digit = loop {
                let [byte] = self.take()?;
                if usize::from(byte) < whole {
                    break alphabet[usize::from(byte) % N];
                }
            };
            text.push(char::from(digit));
        }
        Ok(())
    }
}

/// Returns between three and five quarters of a wait, so that what failed together comes
/// back one by one.
pub(crate) fn jittered(wait: Duration) -> Duration {
    let mut byte = [128];
    // Without randomness the wait is as it was.
    let _ = SystemRandom.fill(&mut byte);
    let [byte] = byte;
    let seconds = wait.as_secs_f64() * (0.75 + f64::from(byte) / 510.0);
    // A wait without an end stays one.
    Duration::try_from_secs_f64(seconds).unwrap_or(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_varied_by_a_quarter_at_most() {
        for seconds in [0, 1, 3600] {
            let wait = Duration::from_secs(seconds);
            for _ in 0..100 {
                let varied = jittered(wait);
                assert!(varied * 4 >= wait * 3 && varied * 4 <= wait * 5, "{varied:?}");
            }
        }
        assert!(jittered(Duration::MAX) >= Duration::MAX / 4 * 3);
    }

    struct Stuck(u8);
    impl SecureRandom for Stuck {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn g02_a_stuck_generator_is_an_error() {
        for byte in [0, 1, 0xff] {
            let draw = Entropy::draw(&Stuck(byte));
            assert_eq!(draw.err(), Some(RandomError::Implausible));
        }
    }

    #[test]
    fn a_generator_behind_a_lock_goes_on_where_it_was() {
        use rand_core::{TryCryptoRng, TryRng};
        struct Counter(u8);
        impl TryRng for Counter {
            type Error = std::io::Error;
            fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
                Err(std::io::ErrorKind::Unsupported.into())
            }
            fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
                Err(std::io::ErrorKind::Unsupported.into())
            }
            fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
                self.0 = self.0.checked_add(1).ok_or(std::io::ErrorKind::UnexpectedEof)?;
                bytes.fill(self.0);
                Ok(())
            }
        }
        impl TryCryptoRng for Counter {}
        let (source, mut bytes) = (Mutex::new(Counter(253)), [0; 2]);
        for expected in [254, 255] {
            source.fill(&mut bytes).unwrap();
            assert_eq!(bytes, [expected; 2]);
        }
        assert_eq!(source.fill(&mut bytes), Err(RandomError::Failed));
    }

    #[test]
    fn g03_the_operating_system_is_asked_each_time() {
        let (mut one, mut other) = ([0; 32], [0; 32]);
        SystemRandom.fill(&mut one).unwrap();
        SystemRandom.fill(&mut other).unwrap();
        assert_ne!(one, other);
    }

    #[test]
    fn g04_digits_are_uniform() {
        // Chi-square over 62 digits: 61 degrees of freedom, whose 99.9999 %
        // point is 126. The biased `byte % 62` scores over 1,000 here.
        let source = SeededRandom::new(4);
        let alphabet: [u8; 62] = std::array::from_fn(|at| b'0' + u8::try_from(at).unwrap());
        let (mut counts, draws) = ([0f64; 62], 4000);
        for _ in 0..draws {
            let mut text = String::new();
            let mut draw = Entropy::draw(&source).unwrap();
            draw.digits(&alphabet, 50, &mut text).unwrap();
            text.bytes().for_each(|digit| counts[usize::from(digit - b'0')] += 1.0);
        }
        let expected = f64::from(draws * 50) / 62.0;
        let chi: f64 = counts.iter().map(|n| (n - expected).powi(2) / expected).sum();
        assert!(chi < 126.0, "chi-square {chi}");
    }

    #[test]
    fn a_draw_that_runs_out_is_an_error() {
        let mut draw = Entropy::draw(&SeededRandom::new(1)).unwrap();
        assert!(draw.take::<DRAW>().is_ok());
        assert_eq!(draw.take::<1>(), Err(RandomError::Implausible));
    }
}
