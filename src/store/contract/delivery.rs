//! The rows of events and of their deliveries.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::issue::InvalidValue;

const UNKNOWN: InvalidValue = InvalidValue::new("unknown state of a delivery");

/// A lease of a partition of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventLease {
    /// The partition, below [`PARTITIONS`](crate::event::PARTITIONS).
    pub partition: u8,
    /// The number of the lease, higher than every earlier one of the partition.
    pub fence: i64,
}

/// The state of an event's delivery.
///
/// ```
/// use signup::store::DeliveryState;
///
/// assert_eq!(DeliveryState::Stopped.as_str(), "stopped");
/// assert_eq!("waiting".parse(), Ok(DeliveryState::Waiting));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Before its first attempt, or the next one.
    Waiting,
    /// Delivered.
    Delivered,
    /// Given up, and the later events of its account wait for it.
    Stopped,
    /// Given up, and the later events of its account go on.
    Skipped,
}

impl DeliveryState {
    pub(in crate::store) const ALL: [Self; 4] =
        [Self::Waiting, Self::Delivered, Self::Stopped, Self::Skipped];

    /// Returns whether later events of the account no longer wait for it.
    pub(in crate::store) const fn is_done(self) -> bool {
        matches!(self, Self::Delivered | Self::Skipped)
    }

    /// Returns the state as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Stopped => "stopped",
            Self::Skipped => "skipped",
        }
    }
}

impl FromStr for DeliveryState {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(UNKNOWN)
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event as a store returns it, with the state of its delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredEvent {
    /// The event.
    pub event: Event,
    /// The attempts so far that have failed.
    pub attempts: u32,
    /// The state of its delivery.
    pub state: DeliveryState,
    /// `events.due_at`: the time of the next attempt, or of the last one. Before its first one,
    /// an event that waits for an earlier one may have any time.
    pub due_at: Timestamp,
}

impl StoredEvent {
    /// Creates the row of an event.
    pub fn new(event: Event, attempts: u32, state: DeliveryState, due_at: Timestamp) -> Self {
        Self { event, attempts, state, due_at }
    }
}

/// The end of an attempt to deliver an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryOutcome {
    /// The account of the event.
    pub account_id: AccountId,
    /// `events.number`.
    pub number: i64,
    /// `events.delivery`.
    pub state: DeliveryState,
    /// `events.attempts`.
    pub attempts: u32,
    /// `events.due_at`: the time of the next attempt, or of this one after the last.
    pub due_at: Timestamp,
}

impl DeliveryOutcome {
    /// Creates the end of an attempt.
    pub fn new(event: &StoredEvent, state: DeliveryState, due_at: Timestamp) -> Self {
        let failed = u32::from(state != DeliveryState::Delivered);
        let attempts = event.attempts.saturating_add(failed);
        let (account_id, number) = (event.event.account_id().clone(), event.event.number());
        Self { account_id, number, state, attempts, due_at }
    }
}

/// The events that are left to deliver. Each number is counted up to the limit that was asked for,
/// and is exact below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct EventBacklog {
    /// Events that are waiting.
    pub waiting: u64,
    /// The time of the oldest of them.
    pub oldest: Option<Timestamp>,
    /// Events that have stopped their account.
    pub stopped: u64,
}

impl EventBacklog {
    /// Creates the result of a lookup.
    pub fn new(waiting: u64, oldest: Option<Timestamp>, stopped: u64) -> Self {
        Self { waiting, oldest, stopped }
    }
}

/// Returns the latest time that an attempt or a lease can have been given at this moment: the
/// longest wait and its jitter later.
pub(in crate::store) fn believed(now: Timestamp) -> Timestamp {
    now.plus(Duration::from_mins(450)).unwrap_or(Timestamp::MAX)
}
