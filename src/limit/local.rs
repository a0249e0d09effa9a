//! Buckets in memory, of which there are never more than so many.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::bucket::{Bucket, Key, Policy};
use super::quota::Quota;

/// How many buckets a key can be in: few enough that looking at all is cheap.
const WAYS: usize = 8;
/// Room for twice as many as are asked for, so that chance seldom fills a set.
const ROOM: usize = 2;
/// Locks, so that threads seldom meet.
const SHARDS: usize = 64;

/// Buckets in memory, of which there are never more than so many.
///
/// A bucket that is full again need not be kept, so nothing has to be cleaned up: a
/// new key takes the place of one that is, and where a set has none, of the one
/// that will be soonest, which is the one that was used least. No key can be locked
/// out by others, and what one gains by pushing its own bucket out with thousands of
/// addresses is a burst anew.
pub(super) struct Local {
    shards: Box<[Mutex<Box<[Set]>>]>,
    sets: u64,
}

type Set = [Slot; WAYS];

/// A bucket: whose it is, and when it will be full again.
#[derive(Clone, Copy, Default)]
struct Slot {
    key: Key,
    arrival: u64,
}

impl Local {
    pub(super) fn new(capacity: usize) -> Self {
        let sets = capacity.saturating_mul(ROOM).div_ceil(WAYS).div_ceil(SHARDS).max(1);
        let shard = || Mutex::new(vec![Set::default(); sets].into_boxed_slice());
        let shards = std::iter::repeat_with(shard).take(SHARDS).collect();
        Self { shards, sets: u64::try_from(sets).unwrap_or(u64::MAX) }
    }

    /// What is left of a bucket decides. It is taken from only if `bucket.takes`.
    pub(super) fn judge(&self, bucket: &Bucket, now: u64) -> Result<(), Duration> {
        let (key, quota, takes) = (key(bucket), bucket.quota, bucket.takes);
        let at = |number: u64, of: u64| usize::try_from(number % of.max(1)).unwrap_or_default();
        let Some(shard) = self.shards.get(at(key.0, SHARDS as u64)) else {
            return Ok(());
        };
        // No code under this lock can leave a set half changed.
        let mut sets = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(set) = sets.get_mut(at(key.1, self.sets)) else {
            return Ok(());
        };
        match set.iter_mut().find(|slot| slot.key == key && slot.arrival > now) {
            Some(slot) => {
                let next = quota.take(slot.arrival, now)?;
                if takes {
                    slot.arrival = next;
                }
            }
            None if takes => replace(set, key, quota, now),
            None => {}
        }
        Ok(())
    }
}

/// Its place in memory: a client has two buckets.
const fn key(bucket: &Bucket) -> Key {
    let Key(high, low) = bucket.owner;
    match bucket.policy {
        Policy::Requests => Key(high, !low),
        Policy::Client | Policy::Email => Key(high, low),
    }
}

/// Puts a new bucket in the place of the one that is, or will be, full the soonest.
fn replace(set: &mut Set, key: Key, quota: Quota, now: u64) {
    let oldest = set.iter_mut().min_by_key(|slot| slot.arrival);
    if let (Some(slot), Ok(arrival)) = (oldest, quota.take(0, now)) {
        *slot = Slot { key, arrival };
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("sets", &self.sets).finish_non_exhaustive()
    }
}
