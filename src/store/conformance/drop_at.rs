//! Dropping a future at a chosen poll.

use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Polls `future` at most `polls` times, each time it is woken, then drops it. Returns its output,
/// or `None` if it was dropped before it had one.
///
/// ```
/// use signup::store::conformance::dropped_after;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(dropped_after(tokio::task::yield_now(), 1).await, None);
/// assert_eq!(dropped_after(tokio::task::yield_now(), 2).await, Some(()));
/// # });
/// ```
pub async fn dropped_after<T>(future: impl Future<Output = T>, polls: u64) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        left = left.saturating_sub(1);
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Looks at what a change dropped at poll `polls` has left until nothing of it is half done.
///
/// A database may carry out what it was sent after its client has gone, also between the
/// queries of one look. That look is followed by one that is whole; what is torn stays torn.
///
/// # Panics
/// Panics if a hundred looks give an error: something is torn.
pub(super) async fn settles<T: Debug, F>(polls: u64, look: impl Fn() -> F)
where
    F: Future<Output = Result<(), T>>,
{
    for _ in 1..100 {
        if look().await.is_ok() {
            return;
        }
    }
    if let Err(torn) = look().await {
        panic!("after a drop at poll {polls}: {torn:?}");
    }
}
