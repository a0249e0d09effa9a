//! A partition of events, which a relay works on under a lease.

use std::collections::HashSet;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use crate::clock::{ClockError, Timestamp};
use crate::observe;
use crate::random::{SecureRandom as _, SystemRandom, jittered};
use crate::store::{DeliveryOutcome, DeliveryState, EventLease, StoredEvent};

use super::{
    DeadLetterPolicy, Delivery, DeliveryCounts, EventRelay, LONGEST_WAIT, RelayError, SinkError,
};

/// The number of attempts after which a partition is let go, so that all instances get their
/// turn.
const TURN: usize = 3_200;

/// An attempt that has ended.
type Ended = (StoredEvent, Result<(), SinkError>);

impl EventRelay {
    /// Begins to work on each partition that has events due and no live lease.
    pub(super) async fn begin_due(
        &self,
        partitions: &mut JoinSet<Result<DeliveryCounts, RelayError>>,
        stop: &Arc<AtomicBool>,
    ) -> Result<(), RelayError> {
        let mut free = self.store.due_partitions(self.now()?).await?;
        shuffle(&mut free);
        for last in free {
            let (relay, stop) = (self.clone(), Arc::clone(stop));
            partitions.spawn(async move { relay.work(last, &stop).await });
        }
        Ok(())
    }

    /// Leases a partition, delivers the events that are due until it is to stop, and lets it
    /// go. What is due is looked up again while slow attempts are under way: they delay
    /// their own accounts only.
    async fn work(
        &self,
        last: EventLease,
        stop: &AtomicBool,
    ) -> Result<DeliveryCounts, RelayError> {
        let mut round = DeliveryCounts::default();
        let now = self.now()?;
        let leased = self.store.lease_partition(last, now, self.lease_end(now)?).await?;
        let Some(lease) = leased else { return Ok(round) };
        let (mut attempts, mut begun, mut renewed) = (JoinSet::new(), 0, now);
        loop {
            if begun < TURN && !stop.load(Ordering::Relaxed) {
                let Some((started, dead)) = self.begin_attempts(lease, &mut attempts).await? else {
                    // It was too slow. Another instance delivers these events again.
                    return Ok(round);
                };
                begun += started + dead.len();
                for state in &dead {
                    round.count(*state);
                }
                if attempts.is_empty() && dead.is_empty() {
                    break;
                }
            } else if attempts.is_empty() {
                break;
            }
            let mut settled = Vec::new();
            // The next look is due before a slow attempt has ended.
            if let Ok(Some(ended)) = tokio::time::timeout(self.poll, attempts.join_next()).await {
                settled.extend(self.ended(ended)?);
                while let Some(ended) = attempts.try_join_next() {
                    settled.extend(self.ended(ended)?);
                }
            }
            for ended in &settled {
                round.count(ended.state);
            }
            let now = self.now()?;
            if settled.is_empty() && now.since(renewed) < self.deadline {
                continue;
            }
            if !self.store.settle_events(lease, self.lease_end(now)?, settled).await? {
                return Ok(round);
            }
            renewed = now;
        }
        self.store.settle_events(lease, Timestamp::EPOCH, Vec::new()).await?;
        Ok(round)
    }

    /// Begins attempts to deliver the first event of each account that is due, as many as the
    /// relay may make at a time, and counts them before they start: an attempt that ends
    /// the process is one, too. Returns how many it has begun, and what has become of the
    /// events that were given up; `None` if the lease is lost.
    async fn begin_attempts(
        &self,
        lease: EventLease,
        attempts: &mut JoinSet<Ended>,
    ) -> Result<Option<(usize, Vec<DeliveryState>)>, RelayError> {
        let permit = || Arc::clone(&self.calls).try_acquire_owned().ok();
        let first = if attempts.is_empty() {
            Arc::clone(&self.calls).acquire_owned().await.ok()
        } else {
            permit()
        };
        let Some(first) = first else { return Ok(Some((0, Vec::new()))) };
        let mut permits = iter::once(first).chain(iter::from_fn(permit));
        let now = self.now()?;
        let due = self.store.due_events(lease.partition, now, self.events_at_a_time).await?;
        let mut accounts = HashSet::new();
        let (mut begun, mut dead, mut settled) = (Vec::new(), Vec::new(), Vec::new());
        for event in due {
            if !accounts.insert(event.event.account_id().clone()) {
                continue;
            }
            if event.attempts >= self.attempts {
                let error = SinkError::Temporary("its last attempt was cut off".into());
                let ended = self.given_up(&event, &error, now);
                dead.push(ended.state);
                settled.push(ended);
                continue;
            }
            let Some(permit) = permits.next() else { break };
            // If it is cut off, it is due again when it would have ended, and its wait is over.
            let due_at = now.plus(self.deadline.saturating_add(self.wait_after(&event)))?;
            settled.push(DeliveryOutcome::new(&event, DeliveryState::Waiting, due_at));
            begun.push((event, permit));
        }
        drop(permits);
        let until = self.lease_end(now)?;
        if !settled.is_empty() && !self.store.settle_events(lease, until, settled).await? {
            return Ok(None);
        }
        let started = begun.len();
        for (event, permit) in begun {
            let relay = self.clone();
            attempts.spawn(async move { relay.attempt(event, lease, permit).await });
        }
        Ok(Some((started, dead)))
    }

    /// Hands an event to the sink in a new task, because the sink may panic.
    async fn attempt(
        &self,
        event: StoredEvent,
        lease: EventLease,
        _permit: OwnedSemaphorePermit,
    ) -> Ended {
        let attempt = event.attempts.saturating_add(1);
        let delivery = Delivery::new(event.event.clone(), attempt, lease.fence);
        let (sink, deadline) = (Arc::clone(&self.sink), self.deadline);
        let mut task = JoinSet::new();
        task.spawn(async move { tokio::time::timeout(deadline, sink.deliver(delivery)).await });
        let taken = match task.join_next().await {
            Some(Ok(Ok(taken))) => taken,
            Some(Ok(Err(late))) => Err(SinkError::Temporary(late.into())),
            Some(Err(panicked)) => Err(SinkError::Temporary(panicked.into())),
            None => Err(SinkError::Temporary("the attempt was not begun".into())),
        };
        (event, taken)
    }

    /// Decides how an event goes on after an attempt. The first failure is a warning, and so
    /// is the end of failures.
    fn ended(
        &self,
        ended: Result<Ended, tokio::task::JoinError>,
    ) -> Result<Option<DeliveryOutcome>, ClockError> {
        let (event, taken) = match ended {
            Ok(ended) => ended,
            Err(lost) => {
                observe::failed("an attempt to deliver an event was lost", &lost);
                return Ok(None);
            }
        };
        let now = self.now()?;
        let Err(error) = taken else {
            if event.attempts > 0 && self.is_failing.swap(false, Ordering::Relaxed) {
                observe::back("events are delivered again");
            }
            return Ok(Some(DeliveryOutcome::new(&event, DeliveryState::Delivered, now)));
        };
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            observe::lost("an event could not be delivered", &error);
        }
        let is_last = event.attempts.saturating_add(1) >= self.attempts;
        if is_last || matches!(error, SinkError::Permanent(_)) {
            let attempts = event.attempts.saturating_add(1);
            return Ok(Some(DeliveryOutcome { attempts, ..self.given_up(&event, &error, now) }));
        }
        let due_at = now.plus(jittered(self.wait_after(&event)))?;
        Ok(Some(DeliveryOutcome::new(&event, DeliveryState::Waiting, due_at)))
    }

    /// Gives an event up, after the attempts that are counted.
    fn given_up(&self, event: &StoredEvent, error: &SinkError, now: Timestamp) -> DeliveryOutcome {
        observe::failed("an event was given up", error);
        let state = match self.dead_letters {
            DeadLetterPolicy::Stop => DeliveryState::Stopped,
            DeadLetterPolicy::Skip => DeliveryState::Skipped,
        };
        DeliveryOutcome { attempts: event.attempts, ..DeliveryOutcome::new(event, state, now) }
    }

    /// Returns the wait after the next attempt, if it fails.
    fn wait_after(&self, event: &StoredEvent) -> Duration {
        let doubled = 2_u32.saturating_pow(event.attempts);
        self.first_wait.saturating_mul(doubled).min(LONGEST_WAIT)
    }

    fn lease_end(&self, now: Timestamp) -> Result<Timestamp, ClockError> {
        now.plus(self.deadline.saturating_mul(3))
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
