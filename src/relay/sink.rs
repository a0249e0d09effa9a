//! The receiver of events.

use std::sync::Arc;

use async_trait::async_trait;

use crate::event::Event;
use crate::issue::BoxError;

/// A receiver of events: a queue of jobs, billing, a webhook.
///
/// An async closure that takes a [`Delivery`] is one.
///
/// # Contract
/// - `Ok` means that the event was taken over: it is not delivered again, unless the relay
///   crashes before that is stored.
/// - It is called several times at once, for events of different accounts, and may be
///   dropped at any await when it is late. Then the same event comes again: an
///   [id](Event::id) that was seen before is a repetition.
///
/// ```
/// use std::collections::HashSet;
/// use std::sync::Mutex;
///
/// use async_trait::async_trait;
/// use signup::relay::{Delivery, Sink, SinkError};
///
/// /// Prints each event once.
/// #[derive(Default)]
/// struct Printed(Mutex<HashSet<String>>);
///
/// #[async_trait]
/// impl Sink for Printed {
///     async fn deliver(&self, delivery: Delivery) -> Result<(), SinkError> {
///         let Ok(mut seen) = self.0.lock() else {
///             return Err(SinkError::Temporary("another delivery has panicked".into()));
///         };
///         if seen.insert(delivery.event.id().to_owned()) {
///             println!("{}", delivery.event.to_json());
///         }
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Takes an event over.
    ///
    /// # Errors
    /// Fails with [`SinkError::Temporary`] if it may succeed later, and with
    /// [`SinkError::Permanent`] if it can't.
    async fn deliver(&self, delivery: Delivery) -> Result<(), SinkError>;
}

#[async_trait]
impl<F, Taken> Sink for F
where
    F: Fn(Delivery) -> Taken + Send + Sync + 'static,
    Taken: Future<Output = Result<(), SinkError>> + Send,
{
    async fn deliver(&self, delivery: Delivery) -> Result<(), SinkError> {
        self(delivery).await
    }
}

#[async_trait]
impl Sink for Arc<dyn Sink> {
    async fn deliver(&self, delivery: Delivery) -> Result<(), SinkError> {
        (**self).deliver(delivery).await
    }
}

/// An attempt to deliver an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// The event.
    pub event: Event,
    /// The number of the attempt, counted from one. Attempts that were cut off by a crash
    /// are counted.
    pub attempt: u32,
    /// The fence of the lease under which it is delivered. For the events of an account it
    /// never falls, except for an instance that goes on after it has lost its lease: a consumer
    /// that keeps the highest one can refuse a late delivery.
    pub fence: i64,
}

impl Delivery {
    /// Creates a delivery, for the tests of a sink.
    pub fn new(event: Event, attempt: u32, fence: i64) -> Self {
        Self { event, attempt, fence }
    }
}

/// The reason why an event was not delivered.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The receiver is not there, or is busy: worth another attempt.
    #[error("an event could not be delivered for now")]
    Temporary(#[source] BoxError),
    /// The receiver will not take this event: it is given up at once.
    #[error("an event can't be delivered")]
    Permanent(#[source] BoxError),
}

crate::issue::debug_by_text!(SinkError);
