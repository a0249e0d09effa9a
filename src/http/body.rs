//! The body of a request while it is received.

use crate::secret::Secret;

use super::reply::Refusal;

/// The received part of a body, never longer than its limit. It is wiped when dropped; the
/// framework's own buffers are not.
#[derive(Debug)]
pub struct Body {
    bytes: Secret<Vec<u8>>,
    limit: usize,
}

/// The initial capacity if no length is declared.
const FIRST_CAPACITY: usize = 4 * 1024;

impl Body {
    /// Creates a body. A declared length has been checked against the limit.
    pub(super) fn new(limit: usize, declared: u64) -> Self {
        let declared = usize::try_from(declared).unwrap_or(usize::MAX);
        let capacity = if declared == 0 { FIRST_CAPACITY } else { declared };
        Self { bytes: Secret::new(Vec::with_capacity(capacity.min(limit))), limit }
    }

    /// Appends the next chunk.
    ///
    /// # Errors
    /// Returns the refusal (413) if the body exceeds its limit. The rest need not be read.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        let length = self.bytes.len().saturating_add(piece.len());
        if length > self.limit {
            return Err(Refusal::PayloadTooLarge);
        }
        if length > self.bytes.capacity() {
            // Growing in place would leave a copy that nobody wipes.
            let mut grown = Secret::new(Vec::with_capacity(2 * length));
            grown.extend_from_slice(&self.bytes);
            self.bytes = grown;
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_its_limit_and_no_further() {
        let mut body = Body::new(10_000, 0);
        for _ in 0..10 {
            body.push(&[7; 1000]).unwrap();
        }
        assert_eq!(body.as_bytes(), [7; 10_000]);
        assert_eq!(body.push(b"x").unwrap_err(), Refusal::PayloadTooLarge);
        assert_eq!(body.as_bytes().len(), 10_000);
    }

    #[test]
    fn a_declared_length_takes_its_memory_once() {
        let mut body = Body::new(100_000, 60_000);
        let room = body.bytes.capacity();
        body.push(&vec![1; 60_000]).unwrap();
        assert_eq!(body.bytes.capacity(), room);
    }

    #[test]
    fn a_length_that_lies_takes_no_memory_beyond_the_limit() {
        assert!(Body::new(1000, u64::MAX).bytes.capacity() <= 1000);
    }
}
