//! The promises of [`LifecycleStore`] for API keys, one function each, which panics if the
//! promise is broken.

#![expect(clippy::missing_panics_doc, reason = "all of them panic on failure")]

use std::sync::Arc;

use tokio::sync::Barrier;

use crate::account::AccountState;
use crate::api_key::ApiKeyId;
use crate::clock::Timestamp;

use super::given::{key, keys, later, ok, password, signed_up};
use super::{Harness, Sample, dropped_after};
use crate::store::contract::{
    ApiKeyInfo, Expired, FindBy, KeyOwner, KeyQuery, LifecycleStore, LifecycleStoreExt as _,
    NewAccount, NewApiKey, StoredApiKey,
};

/// Checks that a sign-up's key is found by its digest, and no other is.
pub async fn keys_are_found_by_their_digest<S: Harness<Store: LifecycleStore>>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    for new in [&one, &other] {
        let owner = KeyOwner::new(new.id().clone(), AccountState::Active, None);
        assert_eq!(
            ok(store.under_test().find_key_owner(new.key_digest()).await),
            Some(owner),
            "the key's owner"
        );
    }
    let unknown = Sample::new(3).build();
    assert_eq!(
        ok(store.under_test().find_key_owner(unknown.key_digest()).await),
        None,
        "a key of nobody's"
    );
}

/// Checks that an added key is found and listed unchanged, the oldest first, and that a
/// missing account gets none.
pub async fn added_keys_are_listed<S: Harness<Store: LifecycleStore>>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    let mut expected = vec![one.key().info()];
    for (number, expires_in) in [(10, None), (11, Some(1)), (12, Some(60))] {
        let expires_at = expires_in.map(|seconds| later(&one, seconds));
        let name = expires_at.map(|_| format!("Key {number} \u{1f511}"));
        let new = NewApiKey { name, expires_at, ..key(&one, number, number) };
        let owner = KeyOwner::new(one.id().clone(), AccountState::Active, expires_at);
        expected.push(new.info());
        assert!(ok(store.under_test().add_api_key(new.clone()).await), "a key could not be added");
        assert_eq!(
            ok(store.under_test().find_key_owner(new.digest()).await),
            Some(owner),
            "the added key's owner"
        );
    }
    assert_eq!(keys(&store, one.id()).await, expected);
    let query = KeyQuery::of(one.id());
    for query in [
        query.limit(2),
        query.limit(0),
        query.valid_at(later(&one, 0)),
        query.valid_at(later(&one, 1)),
        query.valid_at(later(&one, 60)).limit(2),
    ] {
        let admitted =
            expected.iter().filter(|key| query.admits(&StoredApiKey::new((*key).clone())));
        let limit = usize::try_from(query.max_rows().unwrap_or(u32::MAX)).unwrap_or(usize::MAX);
        let admitted: Vec<_> = admitted.take(limit).cloned().collect();
        let found = ok(store.under_test().list_api_keys(query).await);
        let found: Vec<_> = found.into_iter().map(|key| key.info).collect();
        assert_eq!(found, admitted, "{query:?}");
    }
    assert_eq!(keys(&store, other.id()).await, [other.key().info()]);

    let nobody = Sample::new(3).build();
    assert!(
        !ok(store.under_test().add_api_key(nobody.key().clone()).await),
        "a key was added to no account"
    );
    assert_eq!(ok(store.under_test().find_key_owner(nobody.key_digest()).await), None);
    assert_eq!(keys(&store, nobody.id()).await, []);
}

/// Checks that only its own account can revoke a key, and only once.
pub async fn a_revoked_key_is_gone<S: Harness<Store: LifecycleStore>>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    let second = key(&one, 10, 1);
    assert!(ok(store.under_test().add_api_key(second.clone()).await));
    let id = one.key_digest().key_id();
    assert!(
        !ok(store.under_test().revoke_api_key(other.id(), &id).await),
        "revoked by another account"
    );
    assert!(ok(store.under_test().revoke_api_key(one.id(), &id).await), "could not be revoked");
    assert!(!ok(store.under_test().revoke_api_key(one.id(), &id).await), "revoked twice");
    assert_eq!(
        ok(store.under_test().find_key_owner(one.key_digest()).await),
        None,
        "a revoked key is found"
    );
    assert_eq!(keys(&store, one.id()).await, [second.info()]);
    assert_eq!(keys(&store, other.id()).await, [other.key().info()]);
}

/// Checks that a rotated key expires at the requested time, or earlier if it would have
/// anyway, that the new one is stored, and that a key which has expired or belongs to
/// another account is not rotated.
pub async fn a_rotated_key_expires<S: Harness<Store: LifecycleStore>>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    let first = one.key_digest().key_id();
    let (until, new) = (later(&one, 60), key(&one, 10, 10));
    assert!(
        ok(store.under_test().rotate_api_key(&first, until, new.clone()).await),
        "could not be rotated"
    );
    expires(&store, &one, &first, Some(until)).await;
    expires(&store, &one, &new.digest.key_id(), None).await;
    // It is still valid, but not longer than it was.
    let (until_later, newer) = (later(&one, 600), key(&one, 11, 20));
    assert!(ok(store.under_test().rotate_api_key(&first, until_later, newer.clone()).await));
    expires(&store, &one, &first, Some(until)).await;
    let (at_once, newest) = (later(&one, 21), key(&one, 12, 21));
    assert!(ok(store.under_test().rotate_api_key(&first, at_once, newest.clone()).await));
    expires(&store, &one, &first, Some(at_once)).await;

    let before = keys(&store, one.id()).await;
    let late = key(&one, 13, 21);
    assert!(
        !ok(store.under_test().rotate_api_key(&first, until, late.clone()).await),
        "it has expired"
    );
    let others = other.key_digest().key_id();
    assert!(
        !ok(store.under_test().rotate_api_key(&others, until, late.clone()).await),
        "it is another's"
    );
    let unknown = late.digest.key_id();
    assert!(
        !ok(store.under_test().rotate_api_key(&unknown, until, late.clone()).await),
        "it is nobody's"
    );
    assert_eq!(keys(&store, one.id()).await, before, "a rotation that was none");
    assert_eq!(keys(&store, other.id()).await, [other.key().info()]);
    // The digest is taken, so all of it fails, including the expiry of the old key.
    let taken = store.under_test().rotate_api_key(&new.digest.key_id(), until, newer).await;
    assert!(taken.is_err(), "two keys of one digest");
    assert_eq!(keys(&store, one.id()).await, before, "half a rotation");
}

/// Checks that of many simultaneous revocations of one key exactly one succeeds.
pub async fn one_revokes<S: Harness<Store: LifecycleStore>>(store: S) {
    const CROWD: usize = 50;
    let one = signed_up(&store, 1).await;
    let (store, gate) = (Arc::new(store), Arc::new(Barrier::new(CROWD)));
    let crowd = (0..CROWD).map(|_| {
        let (store, gate, one) = (Arc::clone(&store), Arc::clone(&gate), one.clone());
        tokio::spawn(async move {
            gate.wait().await;
            ok(store.under_test().revoke_api_key(one.id(), &one.key_digest().key_id()).await)
        })
    });
    let mut revoked = 0;
    for task in crowd.collect::<Vec<_>>() {
        match task.await {
            Ok(done) => revoked += usize::from(done),
            Err(error) => panic!("one of the crowd: {error}"),
        }
    }
    assert_eq!(revoked, 1, "of {CROWD} that revoke one key");
}

/// Checks that a rotation dropped at any poll happens as a whole or not at all.
pub async fn a_dropped_rotation_is_whole<S: Harness<Store: LifecycleStore>>(store: S) {
    let one = signed_up(&store, 1).await;
    let (mut polls, mut finished) = (0, false);
    while !finished {
        polls += 1;
        let old = key(&one, 1000 + polls, polls);
        assert!(ok(store.under_test().add_api_key(old.clone()).await));
        let (old, new) = (old.digest.key_id(), key(&one, 100_000 + polls, polls));
        let rotation = store.under_test().rotate_api_key(&old, later(&one, 60), new.clone());
        finished = dropped_after(rotation, polls).await.is_some();
        // A change of the same key waits until the store has finished.
        assert!(ok(store.under_test().revoke_api_key(one.id(), &old).await), "the old key is gone");
        let is_there = ok(store.under_test().find_key_owner(&new.digest).await).is_some();
        assert!(is_there || !finished, "a rotation that was answered is not there");
        let keys = keys(&store, one.id()).await;
        let listed = keys.iter().any(|key| key.id == new.digest.key_id());
        assert!(listed || !is_there, "after a drop at poll {polls}");
    }
}

/// Checks that expired keys are deleted, and no others.
pub async fn expired_keys_are_purged<S: Harness<Store: LifecycleStore>>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    for (number, seconds) in [(10, 1), (11, 2), (12, 3)] {
        let new = NewApiKey { expires_at: Some(later(&one, seconds)), ..key(&one, number, number) };
        assert!(ok(store.under_test().add_api_key(new).await));
    }
    for (limit, rows, more) in [(1, 1, true), (2, 1, false), (2, 0, false)] {
        let purged = store.under_test().purge(Expired::ApiKeys, later(&one, 2), limit).await;
        let purged = ok(purged);
        assert_eq!((purged.rows, purged.more), (rows, more), "the keys that were purged");
    }
    let ends = keys(&store, one.id()).await;
    let ends: Vec<_> = ends.iter().map(|key| key.expires_at).collect();
    assert_eq!(ends, [None, Some(later(&one, 3))], "the keys that are left");
    assert_eq!(keys(&store, other.id()).await, [other.key().info()]);
}

/// Checks that nothing of a deleted account is found.
pub async fn nothing_of_a_deleted_account_is_found<S: Harness<Store: LifecycleStore>>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    let second = key(&one, 10, 1);
    assert!(ok(store.under_test().add_api_key(second.clone()).await));
    store.delete_account(one.id()).await;
    for digest in [one.key_digest(), second.digest()] {
        assert_eq!(
            ok(store.under_test().find_key_owner(digest).await),
            None,
            "a key of a deleted account"
        );
    }
    assert_eq!(ok(store.under_test().find_account(FindBy::Id(one.id())).await), None);
    assert_eq!(keys(&store, one.id()).await, []);
    assert_eq!(password(&store, one.email().as_str()).await, None);
    let old = second.digest.key_id();
    let rotated = store.under_test().rotate_api_key(&old, later(&one, 9), key(&one, 11, 2)).await;
    assert!(!ok(rotated), "a key of a deleted account is rotated");
    assert!(ok(store.under_test().find_key_owner(other.key_digest()).await).is_some());
}

async fn expires<S: Harness<Store: LifecycleStore>>(
    store: &S,
    of: &NewAccount,
    id: &ApiKeyId,
    at: Option<Timestamp>,
) {
    let keys = keys(store, of.id()).await;
    let key: Option<&ApiKeyInfo> = keys.iter().find(|key| key.id == *id);
    assert_eq!(key.map(|key| key.expires_at), Some(at), "when a key expires");
}
