//! What the store has said of API keys lately.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::api_key::{ApiKeyDigest, ApiKeyId};
use crate::store::KeyOwner;

/// What the store has said of API keys lately: of good ones, and apart from them
/// of unknown ones, so that a flood of the latter drives none of the former out.
pub(super) struct KeyCache {
    time_to_live: Duration,
    state: Mutex<State>,
}

struct State {
    /// Grows with every change, so that an answer of before it is not kept.
    epoch: u64,
    good: Recent<KeyOwner>,
    unknown: Recent<()>,
}

/// A look that found nothing: when it was, and in which epoch.
pub(super) struct Missed {
    epoch: u64,
    at: Duration,
}

impl KeyCache {
    pub(super) fn new(capacity: usize, time_to_live: Duration) -> Self {
        let state = State { epoch: 0, good: Recent::new(capacity), unknown: Recent::new(capacity) };
        Self { time_to_live, state: Mutex::new(state) }
    }

    /// What is known of a key: its owner, or that there is none.
    pub(super) fn look(
        &self,
        digest: &ApiKeyDigest,
        now: Duration,
    ) -> Result<Option<KeyOwner>, Missed> {
        let state = &mut *self.state();
        if let Some(owner) = state.good.get(digest, now) {
            return Ok(Some(owner));
        }
        match state.unknown.get(digest, now) {
            Some(()) => Ok(None),
            None => Err(Missed { epoch: state.epoch, at: now }),
        }
    }

    /// Keeps what the store has answered, unless something was changed since the
    /// look that asked it.
    pub(super) fn insert(&self, missed: Missed, digest: &ApiKeyDigest, owner: Option<KeyOwner>) {
        let state = &mut *self.state();
        if state.epoch != missed.epoch {
            return;
        }
        let until = missed.at.saturating_add(self.time_to_live);
        match owner {
            Some(owner) => state.good.insert(*digest, owner, until),
            None => state.unknown.insert(*digest, (), until),
        }
    }

    pub(super) fn forget(&self, key: ApiKeyId) {
        let state = &mut *self.state();
        state.epoch += 1;
        state.good.remove(key);
        state.unknown.remove(key);
    }

    pub(super) fn clear(&self) {
        let state = &mut *self.state();
        state.epoch += 1;
        state.good.clear();
        state.unknown.clear();
    }

    /// No code under this lock can leave the state half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache").field("time_to_live", &self.time_to_live).finish_non_exhaustive()
    }
}

/// A bounded map in two generations: when the young one is half of the capacity, it
/// becomes the old one, and the old one is dropped. What is used moves to the young.
struct Recent<V> {
    half: usize,
    young: Generation<V>,
    old: Generation<V>,
}

type Generation<V> = HashMap<ApiKeyId, Entry<V>>;

struct Entry<V> {
    /// An id is not all of a digest.
    digest: ApiKeyDigest,
    until: Duration,
    value: V,
}

impl<V: Clone> Recent<V> {
    fn new(capacity: usize) -> Self {
        Self { half: capacity.div_ceil(2), young: HashMap::new(), old: HashMap::new() }
    }

    fn get(&mut self, digest: &ApiKeyDigest, now: Duration) -> Option<V> {
        let key = digest.key_id();
        let is_it = |entry: &&Entry<V>| entry.digest == *digest && now < entry.until;
        if let Some(entry) = self.young.get(&key) {
            return Some(entry).filter(is_it).map(|entry| entry.value.clone());
        }
        let entry = self.old.remove(&key)?;
        let value = Some(&entry).filter(is_it).map(|entry| entry.value.clone())?;
        self.insert(entry.digest, entry.value, entry.until);
        Some(value)
    }

    fn insert(&mut self, digest: ApiKeyDigest, value: V, until: Duration) {
        if self.half == 0 {
            return;
        }
        if self.young.len() >= self.half {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(digest.key_id(), Entry { digest, until, value });
    }

    fn remove(&mut self, key: ApiKeyId) {
        self.young.remove(&key);
        self.old.remove(&key);
    }

    fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}
