//! The rows of events and of leases in memory.

use crate::clock::Timestamp;
use crate::event::{Event, NewEvent};
use crate::store::contract::{DeliveryState, StoredEvent, believed};

/// An event and the state of its delivery.
#[derive(Debug)]
pub(super) struct EventRow {
    pub(super) event: Event,
    pub(super) partition: u8,
    pub(super) state: DeliveryState,
    pub(super) attempts: u32,
    pub(super) due_at: Timestamp,
}

impl EventRow {
    pub(super) fn new(event: NewEvent, number: i64) -> Self {
        let (partition, event) = (event.partition(), event.numbered(number));
        let (state, due_at) = (DeliveryState::Waiting, event.created_at());
        Self { event, partition, state, attempts: 0, due_at }
    }

    /// Returns the place among the events that were given up.
    pub(super) fn place(&self) -> (Timestamp, &str) {
        (self.event.created_at(), self.event.id())
    }

    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, DeliveryState::Stopped | DeliveryState::Skipped)
    }

    pub(super) fn stored(&self) -> StoredEvent {
        StoredEvent::new(self.event.clone(), self.attempts, self.state, self.due_at)
    }
}

/// Returns whether a moment is over, or so late that a clock was ahead when it was written.
pub(super) fn is_past(moment: Timestamp, now: Timestamp) -> bool {
    moment <= now || moment > believed(now)
}

/// The last lease of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) fence: i64,
    pub(super) expires_at: Timestamp,
}

impl Default for Lease {
    fn default() -> Self {
        Self { fence: 0, expires_at: Timestamp::EPOCH }
    }
}
