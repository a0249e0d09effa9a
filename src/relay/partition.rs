//! A round of a relay: the partitions that have events due, each under a lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::{ClockError, Timestamp};
use crate::observe;
use crate::random::{SecureRandom as _, SystemRandom, jittered};
use crate::store::{DeliveryState, EventLease, Settled, UndeliveredEvent};

use super::{DeadLetters, Delivery, EventRelay, LONGEST_WAIT, RelayError, Round, SinkError};

/// The number of batches after which a partition is let go, so that all get their turn.
const BATCHES: u32 = 100;

impl EventRelay {
    /// Works on the partitions that have events due and that nobody has leased, until none
    /// of their events is due, or it is to stop.
    pub(super) async fn round(&self, stop: &Arc<AtomicBool>) -> Result<Round, RelayError> {
        let mut free = self.store.due_partitions(self.now()?).await?;
        shuffle(&mut free);
        let (mut total, mut failure) = (Round::default(), None);
        let mut ended = |result| match result {
            Ok(Ok(round)) => total.add(round),
            Ok(Err(error)) => failure = Some(error),
            // A sink that panics does so in a task of its own.
            Err(lost) => observe::failed("a partition of events was given up", &lost),
        };
        let mut partitions = JoinSet::new();
        for last in free {
            if partitions.len() >= self.partitions_at_a_time
                && let Some(result) = partitions.join_next().await
            {
                ended(result);
            }
            let (relay, stop) = (self.clone(), Arc::clone(stop));
            partitions.spawn(async move { relay.drain(last, &stop).await });
        }
        while let Some(result) = partitions.join_next().await {
            ended(result);
        }
        failure.map_or(Ok(total), Err)
    }

    /// Leases a partition, delivers what is due, and lets it go.
    async fn drain(&self, last: EventLease, stop: &AtomicBool) -> Result<Round, RelayError> {
        let mut round = Round::default();
        let now = self.now()?;
        let leased = self.store.lease_partition(last, now, self.lease_end(now)?).await?;
        let Some(lease) = leased else { return Ok(round) };
        for _ in 0..BATCHES {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let due = self.store.due_events(lease.partition, self.now()?, self.at_a_time).await?;
            if due.is_empty() {
                break;
            }
            let settled = self.deliver(due, lease).await?;
            for ended in &settled {
                round.count(ended.state);
            }
            let until = self.lease_end(self.now()?)?;
            if !self.store.settle_events(lease, until, settled).await? {
                // It was too slow. Another instance delivers these events again.
                return Ok(round);
            }
        }
        self.store.settle_events(lease, Timestamp::EPOCH, Vec::new()).await?;
        Ok(round)
    }

    /// Hands events to the sink: those of an account one by one, those of different accounts
    /// all at once.
    async fn deliver(
        &self,
        due: Vec<UndeliveredEvent>,
        lease: EventLease,
    ) -> Result<Vec<Settled>, RelayError> {
        let mut accounts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for undelivered in due {
            accounts.entry(undelivered.event.account_id().clone()).or_default().push(undelivered);
        }
        let mut tasks = JoinSet::new();
        for events in accounts.into_values() {
            let relay = self.clone();
            tasks.spawn(async move { relay.deliver_in_order(events, lease).await });
        }
        let mut settled = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(ended) => settled.extend(ended?),
                Err(lost) => observe::failed("events of an account were given up", &lost),
            }
        }
        Ok(settled)
    }

    /// Hands the events of an account to the sink until one fails, or so much time has
    /// passed that the lease might expire during another attempt.
    async fn deliver_in_order(
        &self,
        events: Vec<UndeliveredEvent>,
        lease: EventLease,
    ) -> Result<Vec<Settled>, ClockError> {
        let since = self.clock.monotonic();
        let mut settled = Vec::with_capacity(events.len());
        for undelivered in events {
            if self.clock.monotonic().saturating_sub(since) > self.deadline {
                break;
            }
            let attempt = undelivered.attempts.saturating_add(1);
            let delivery = Delivery::new(undelivered.event.clone(), attempt, lease.fence);
            let ended = self.settle(&undelivered, self.attempt(delivery).await)?;
            let goes_on = ended.state == DeliveryState::Delivered;
            settled.push(ended);
            if !goes_on {
                break;
            }
        }
        Ok(settled)
    }

    /// Hands an event to the sink, in a task of its own: it may panic.
    async fn attempt(&self, delivery: Delivery) -> Result<(), SinkError> {
        let (sink, deadline) = (Arc::clone(&self.sink), self.deadline);
        let mut task = JoinSet::new();
        task.spawn(async move { tokio::time::timeout(deadline, sink.deliver(delivery)).await });
        match task.join_next().await {
            Some(Ok(Ok(taken))) => taken,
            Some(Ok(Err(late))) => Err(SinkError::Temporary(late.into())),
            Some(Err(panicked)) => Err(SinkError::Temporary(panicked.into())),
            None => Err(SinkError::Temporary("the attempt was not begun".into())),
        }
    }

    /// Decides how an event goes on after an attempt.
    fn settle(
        &self,
        event: &UndeliveredEvent,
        taken: Result<(), SinkError>,
    ) -> Result<Settled, ClockError> {
        let now = self.now()?;
        let Err(error) = taken else {
            return Ok(Settled::new(event, DeliveryState::Delivered, now));
        };
        let is_last = event.attempts.saturating_add(1) >= self.attempts;
        if is_last || matches!(error, SinkError::Permanent(_)) {
            observe::failed("an event was given up", &error);
            let state = match self.dead_letters {
                DeadLetters::Stop => DeliveryState::Stopped,
                DeadLetters::Skip => DeliveryState::Skipped,
            };
            return Ok(Settled::new(event, state, now));
        }
        let doubled = 2_u32.saturating_pow(event.attempts);
        let wait = self.first_wait.saturating_mul(doubled).min(LONGEST_WAIT);
        Ok(Settled::new(event, DeliveryState::Waiting, now.plus(jittered(wait))?))
    }

    fn lease_end(&self, now: Timestamp) -> Result<Timestamp, ClockError> {
        let lease: Duration = self.deadline.saturating_mul(3);
        now.plus(lease)
    }
}

/// Lets instances that look at the same time begin at different partitions.
fn shuffle(free: &mut [EventLease]) {
    let mut byte = [0];
    // Without randomness they are in their order.
    let _ = SystemRandom.fill(&mut byte);
    let [byte] = byte;
    if !free.is_empty() {
        free.rotate_left(usize::from(byte) % free.len());
    }
}
