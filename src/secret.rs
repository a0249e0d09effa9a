//! A wrapper that lets types with secrets derive `Debug`.

use std::fmt;
use std::ops::{Deref, DerefMut};

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// A secret: wiped when dropped, and shown by `Debug` as `_`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    pub(crate) fn new(secret: T) -> Self {
        Self(Zeroizing::new(secret))
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(secret: T) -> Self {
        Self::new(secret)
    }
}

impl<T: Zeroize> Deref for Secret<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> DerefMut for Secret<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// Returns a number that differs between secrets and reveals nothing about them: 31 bits, which
/// fit into a column of any database.
pub(crate) fn version(extracted: &Hkdf<Sha256>) -> Option<u32> {
    let mut version = [0; 4];
    extracted.expand(b"signup 1: version", &mut version).ok()?;
    Some(u32::from_be_bytes(version) >> 1)
}

/// The stack that a digest uses, and some more.
const STACK: usize = 2048;

/// Computes something of a secret, and overwrites the stack that may hold parts of it: a hash
/// function keeps its last block there.
pub(crate) fn with_wiped_stack<T>(compute: impl FnOnce() -> T) -> T {
    let result = call(compute);
    wipe_stack();
    result
}

#[inline(never)]
fn call<T>(compute: impl FnOnce() -> T) -> T {
    compute()
}

#[inline(never)]
fn wipe_stack() {
    std::hint::black_box(&mut [0_u8; STACK]);
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

/// Returns the length of a secret that counts: a line end that came with a file adds nothing to
/// a secret that is text. In random bytes it is a byte like any other.
pub(crate) fn without_line_end(secret: &[u8]) -> usize {
    let text = secret.trim_ascii_end();
    let is_text = !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
    if is_text { text.len() } else { secret.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_with_a_secret_derives_its_debug() {
        #[derive(Debug)]
        struct Pair {
            _name: &'static str,
            _secret: Secret<Vec<u8>>,
        }
        let pair = Pair { _name: "K", _secret: Secret::new(b"hunter2".to_vec()) };
        assert_eq!(format!("{pair:?}"), r#"Pair { _name: "K", _secret: _ }"#);
    }
}
