//! The cache of API key lookups.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::api_key::{ApiKeyDigest, ApiKeyId};
use crate::store::KeyOwner;

/// A change whose caller went away, or whose outcome is unknown, is over after this time:
/// stores give up long before.
const UNSETTLED: Duration = Duration::from_mins(1);

/// A cache of API key lookups: of valid keys, and separately of unknown ones, so that a
/// flood of unknown keys evicts no valid one.
pub(super) struct KeyCache {
    time_to_live: Duration,
    state: Mutex<State>,
}

struct State {
    /// Incremented by every change, so that an earlier answer is not kept.
    epoch: u64,
    /// Keys that are being changed: the store's answers about them are not kept.
    changing: HashMap<ApiKeyId, Duration>,
    good: Recent<KeyOwner>,
    unknown: Recent<()>,
}

impl State {
    fn forget(&mut self, key: ApiKeyId) {
        self.epoch += 1;
        self.good.remove(key);
        self.unknown.remove(key);
    }
}

/// A cache miss: its time and epoch.
pub(super) struct Missed {
    epoch: u64,
    at: Duration,
}

impl KeyCache {
    pub(super) fn new(capacity: usize, time_to_live: Duration) -> Self {
        let state = State {
            epoch: 0,
            changing: HashMap::new(),
            good: Recent::new(capacity),
            unknown: Recent::new(capacity),
        };
        Self { time_to_live, state: Mutex::new(state) }
    }

    /// Returns what is known of a key: its owner, or that it is unknown to the store.
    pub(super) fn get(
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

    /// Keeps the store's answer, unless something was changed since the query.
    pub(super) fn insert(
        &self,
        Missed { epoch, at }: Missed,
        digest: &ApiKeyDigest,
        owner: Option<KeyOwner>,
    ) {
        let state = &mut *self.state();
        let changing = state.changing.get(&digest.key_id());
        if state.epoch != epoch || changing.is_some_and(|until| at < *until) {
            return;
        }
        let until = at.saturating_add(self.time_to_live);
        match owner {
            Some(owner) => state.good.insert(*digest, owner, until),
            None => state.unknown.insert(*digest, (), until),
        }
    }

    /// Begins a change of a key: until it is over, nothing is known of it.
    pub(super) fn changing(&self, key: ApiKeyId, now: Duration) {
        let state = &mut *self.state();
        state.changing.retain(|_, until| now < *until);
        state.changing.insert(key, now.saturating_add(UNSETTLED));
        state.forget(key);
    }

    /// Ends a change of a key.
    pub(super) fn changed(&self, key: ApiKeyId) {
        let state = &mut *self.state();
        state.changing.remove(&key);
        state.forget(key);
    }

    pub(super) fn clear(&self) {
        let state = &mut *self.state();
        state.epoch += 1;
        state.good.clear();
        state.unknown.clear();
    }

    /// Locks the state. No code under this lock can leave it half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache").field("time_to_live", &self.time_to_live).finish_non_exhaustive()
    }
}

/// A bounded map in two generations: when the young one has half of the capacity, it
/// becomes the old one, and the old one is dropped. An entry that is used moves to the
/// young one.
struct Recent<V> {
    half: usize,
    young: Generation<V>,
    old: Generation<V>,
}

type Generation<V> = HashMap<ApiKeyId, Entry<V>>;

struct Entry<V> {
    /// The whole digest: an id is only a part of it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::AccountState;
    use crate::api_key::ApiKeyPrefix;
    use crate::random::{Entropy, SeededRandom};

    const NOW: Duration = Duration::from_secs(100);

    fn digest(seed: u64) -> ApiKeyDigest {
        let mut draw = Entropy::draw(&SeededRandom::new(seed)).unwrap();
        crate::api_key::ApiKey::mint(&ApiKeyPrefix::default(), &mut draw).unwrap().digest()
    }

    fn owner(seed: u64) -> KeyOwner {
        let id = format!("acc_{seed}").parse().unwrap();
        KeyOwner::new(id, AccountState::Active, None)
    }

    fn keep(cache: &KeyCache, seed: u64, owner: Option<KeyOwner>) {
        let missed = cache.get(&digest(seed), NOW).err().unwrap();
        cache.insert(missed, &digest(seed), owner);
    }

    #[test]
    fn what_the_store_said_is_known_until_its_time_is_over() {
        let cache = KeyCache::new(10, Duration::from_secs(5));
        keep(&cache, 1, Some(owner(1)));
        keep(&cache, 2, None);
        let last = NOW + Duration::from_millis(4999);
        assert_eq!(cache.get(&digest(1), last).ok(), Some(Some(owner(1))));
        assert_eq!(cache.get(&digest(2), last).ok(), Some(None));
        for seed in [1, 2, 3] {
            assert!(cache.get(&digest(seed), NOW + Duration::from_secs(5)).is_err());
        }
    }

    #[test]
    fn it_shows_its_name_and_no_digest() {
        let cache = KeyCache::new(10, Duration::from_secs(5));
        keep(&cache, 1, Some(owner(1)));
        assert_eq!(format!("{cache:?}"), "KeyCache { time_to_live: 5s, .. }");
    }

    #[test]
    fn an_answer_of_before_a_change_is_not_kept() {
        for change in [|cache: &KeyCache| cache.changed(digest(9).key_id()), KeyCache::clear] {
            let cache = KeyCache::new(10, Duration::MAX);
            let asked = cache.get(&digest(1), NOW).err().unwrap();
            change(&cache);
            cache.insert(asked, &digest(1), Some(owner(1)));
            assert!(cache.get(&digest(1), NOW).is_err());
        }
    }

    #[test]
    fn a_forgotten_key_is_unknown_and_another_is_not() {
        let cache = KeyCache::new(10, Duration::MAX);
        for seed in [1, 2] {
            keep(&cache, seed, Some(owner(seed)));
        }
        keep(&cache, 3, None);
        cache.changed(digest(1).key_id());
        cache.changed(digest(3).key_id());
        assert!(cache.get(&digest(1), NOW).is_err() && cache.get(&digest(3), NOW).is_err());
        assert!(cache.get(&digest(2), NOW).is_ok());
        cache.clear();
        assert!(cache.get(&digest(2), NOW).is_err());
    }

    #[test]
    fn what_is_said_of_a_key_during_its_change_is_not_kept() {
        let cache = KeyCache::new(10, Duration::MAX);
        keep(&cache, 1, Some(owner(1)));
        cache.changing(digest(1).key_id(), NOW);
        assert!(cache.get(&digest(1), NOW).is_err());
        // Its caller has gone away, and the store is still at it.
        keep(&cache, 1, Some(owner(1)));
        assert!(cache.get(&digest(1), NOW).is_err());
        let later = NOW + UNSETTLED;
        let missed = cache.get(&digest(1), later).err().unwrap();
        cache.insert(missed, &digest(1), None);
        assert_eq!(cache.get(&digest(1), later).ok(), Some(None));
        // What was not ended is not kept for ever, and not ended early.
        cache.changing(digest(3).key_id(), NOW + UNSETTLED / 2);
        cache.changing(digest(4).key_id(), later);
        let unsettled = |seed| cache.state().changing.contains_key(&digest(seed).key_id());
        assert_eq!([1, 3, 4].map(unsettled), [false, true, true]);
        // One that is over is known again at once.
        cache.changing(digest(2).key_id(), NOW);
        cache.changed(digest(2).key_id());
        keep(&cache, 2, Some(owner(2)));
        assert!(cache.get(&digest(2), NOW).is_ok());
    }

    #[test]
    fn a_flood_of_unknown_keys_is_bounded_and_drives_no_good_one_out() {
        let cache = KeyCache::new(10, Duration::MAX);
        keep(&cache, 0, Some(owner(0)));
        for seed in 1..1000 {
            keep(&cache, seed, None);
        }
        let state = cache.state();
        assert!(state.unknown.young.len() + state.unknown.old.len() <= 10);
        drop(state);
        assert!(cache.get(&digest(0), NOW).is_ok());
        // Of the good ones, those in use stay.
        for seed in 1000..1100 {
            keep(&cache, seed, Some(owner(seed)));
            assert!(cache.get(&digest(0), NOW).is_ok());
        }
        let state = cache.state();
        assert!(state.good.young.len() + state.good.old.len() <= 10);
    }

    #[test]
    fn a_cache_of_nothing_keeps_nothing() {
        let cache = KeyCache::new(0, Duration::MAX);
        keep(&cache, 1, Some(owner(1)));
        assert!(cache.get(&digest(1), NOW).is_err());
    }
}
