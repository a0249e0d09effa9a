//! A future whose panics end with it.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// Runs a future and gives none where it panics. The panic hook has had its
/// say by then, and the payload, which a host's hook may not know to be
/// harmless, goes no further.
pub(super) async fn catch_panic<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // Nothing is polled again once it has panicked, and what it shares with
        // others is sound after a panic: no lock is held across code that is
        // not ours.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}
