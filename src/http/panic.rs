//! Catching panics of a future.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// Runs a future and returns `None` if it panics. The panic hook has run by then; the
/// payload, which may be sensitive, is dropped.
///
/// The future is not moved in here: this one would hold it twice.
pub(super) fn catch_panic<T>(
    mut future: Pin<&mut impl Future<Output = T>>,
) -> impl Future<Output = Option<T>> {
    poll_fn(move |context| {
        // Nothing is polled again after a panic, and shared state stays valid: no lock is
        // held across foreign code.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
}
