//! Fixed-capacity bucket tables in memory, one per limit.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::RateLimits;
use super::bucket::{Bucket, Key, Policy};

/// The slots that a key can be in: few enough to search all of them.
const WAYS: usize = 8;
/// Slots per bucket of the capacity, so that sets are seldom full.
const ROOM: usize = 2;
/// Locks, so that threads seldom contend.
const SHARDS: usize = 64;

/// The buckets of all limits. Each limit has its own table: its buckets compete only with
/// buckets of the same quota, so that emails, which take days to refill, can't evict
/// clients, which take seconds.
pub(super) struct Local {
    requests: Table,
    clients: Table,
    emails: Table,
}

impl Local {
    pub(super) fn new(limits: &RateLimits) -> Self {
        let emails = if limits.email.is_some() { limits.capacity } else { 0 };
        Self {
            requests: Table::new(limits.capacity),
            clients: Table::new(limits.capacity),
            emails: Table::new(emails),
        }
    }

    /// Checks a bucket and consumes from it if `bucket.takes`, or returns how long to wait.
    pub(super) fn check(&self, bucket: &Bucket, now: u64) -> Result<(), Duration> {
        let table = match bucket.policy {
            Policy::Requests => &self.requests,
            Policy::Client => &self.clients,
            Policy::Email => &self.emails,
        };
        table.check(bucket, now)
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

/// A set-associative table of fixed size, of buckets with one quota.
///
/// A full bucket need not be kept, so nothing has to be cleaned up: a new key takes the
/// slot of a full bucket, or else of the one that will be full soonest, which is the least
/// used. No key can be locked out by others, and evicting one's own bucket, with thousands
/// of addresses, gains one burst.
struct Table {
    shards: Box<[Mutex<Box<[Set]>>]>,
}

type Set = [Slot; WAYS];

/// A bucket: its owner, and the time when it will be full again.
#[derive(Clone, Copy, Default)]
struct Slot {
    owner: Key,
    arrival: u64,
}

impl Table {
    fn new(capacity: usize) -> Self {
        let sets = capacity.saturating_mul(ROOM).div_ceil(WAYS).div_ceil(SHARDS).max(1);
        let shard = || Mutex::new(vec![Set::default(); sets].into_boxed_slice());
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect() }
    }

    /// Checks a bucket. Also fails if the table has no slot for the key, which is
    /// impossible: a limit that has lost its table must refuse.
    fn check(&self, bucket: &Bucket, now: u64) -> Result<(), Duration> {
        let Bucket { owner, quota, takes, .. } = *bucket;
        let lost = quota.period();
        let shard = place(owner.0, self.shards.len()).and_then(|at| self.shards.get(at));
        // No code under this lock can leave a set half changed.
        let mut sets = shard.ok_or(lost)?.lock().unwrap_or_else(PoisonError::into_inner);
        let set = place(owner.1, sets.len()).and_then(|at| sets.get_mut(at)).ok_or(lost)?;
        match set.iter_mut().find(|slot| slot.owner == owner && slot.arrival > now) {
            Some(slot) => {
                let arrival = quota.take(slot.arrival, now)?;
                if takes {
                    slot.arrival = arrival;
                }
            }
            None if takes => {
                let soonest_full = set.iter_mut().min_by_key(|slot| slot.arrival);
                *soonest_full.ok_or(lost)? = Slot { owner, arrival: quota.take(0, now)? };
            }
            None => {}
        }
        Ok(())
    }
}

/// Maps a hash to an index below `len`.
fn place(hash: u64, len: usize) -> Option<usize> {
    let len = u64::try_from(len).ok()?;
    usize::try_from(hash.checked_rem(len)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_lost_refuses() {
        let quota = "20/min".parse().unwrap();
        let bucket = Bucket { policy: Policy::Client, owner: Key(1, 1), quota, takes: true };
        assert_eq!(Table::new(0).check(&bucket, 1), Ok(()));
        for shards in [Vec::new(), (0..SHARDS).map(|_| Mutex::default()).collect()] {
            let lost = Table { shards: shards.into() };
            assert_eq!(lost.check(&bucket, 1), Err(Duration::from_mins(1)));
        }
    }
}
