//! The promises of [`LifecycleStore`] for retries, one function each, which panics if the promise is
//! broken.

#![expect(clippy::missing_panics_doc, reason = "all of them panic on failure")]

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::Barrier;

use crate::idempotency::Receipt;
use crate::issue::Chain;
use crate::store::contract::{
    AccountStore as _, CreateOutcome, FindBy, KeyQuery, LifecycleStore, LifecycleStoreExt as _,
    NewAccount, NewApiKey, StoredAccount, StoredApiKey, StoredLogin,
};

use super::given::{created, key, keys, later, ok, signed_up};
use super::{Harness, Sample, dropped_after};

/// Checks that a sign-up is found by its email key with its receipt, byte for byte, and
/// that one without a receipt has none.
pub async fn a_signup_keeps_its_receipt<S: Harness<Store: LifecycleStore>>(store: S) {
    let receipts = [
        None,
        Some(receipt(1)),
        Some(made(&[0; 16], 0, &[0; 32])),
        Some(made(&[0xff; 16], u32::MAX, &[0xff; 32])),
        // Neither text nor a number that a column might make of it.
        Some(made(b"\\x00'\"\xc3\x28\r\n\0 12\t%", 1 << 31, &[b' '; 32])),
    ];
    let samples = (1..).zip(receipts).map(|(number, receipt)| {
        let sample = Sample::new(number).pepper_version(7);
        receipt.map_or(sample.clone(), |receipt| sample.receipt(receipt)).build()
    });
    let samples: Vec<_> = samples.collect();
    for new in &samples {
        assert!(signup(&store, new).await.is_none(), "a sign-up is found before it is stored");
        created(&store, new).await;
    }
    for new in &samples {
        is_found(&store, new).await;
    }
}

/// Checks that an account is found by each of its API keys, an expired one included, as it
/// is now, and by no revoked one.
pub async fn an_account_is_found_by_its_keys<S: Harness<Store: LifecycleStore>>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    let end = later(&one, 1);
    let second = NewApiKey { expires_at: Some(end), ..key(&one, 10, 1) };
    assert!(ok(store.under_test().add_api_key(second.clone()).await));
    let found = async |key: &NewApiKey| {
        ok(store.under_test().find_account(FindBy::ApiKey(key.digest())).await)
    };
    let expected = |of: &NewAccount, key: &NewApiKey, token_generation| {
        let found_by = Some(key.info());
        Some(StoredAccount { token_generation, found_by, ..of.record() })
    };
    assert_eq!(found(one.key()).await, expected(&one, one.key(), 0));
    assert_eq!(found(&second).await, expected(&one, &second, 0), "by its second key");
    assert_eq!(found(other.key()).await, expected(&other, other.key(), 0));
    assert_eq!(found(Sample::new(3).build().key()).await, None, "by a key of nobody's");

    assert!(ok(store.under_test().revoke_tokens(one.id()).await));
    let after = "after its tokens were revoked";
    assert_eq!(found(one.key()).await, expected(&one, one.key(), 1), "{after}");
    let login = ok(store.under_test().find_login(FindBy::ApiKey(second.digest())).await);
    let account = login.map(|login| login.account);
    assert_eq!(account, expected(&one, &second, 1), "{after}");
    let revoked = one.key_digest().key_id();
    assert!(ok(store.under_test().revoke_api_key(one.id(), &revoked).await));
    assert_eq!(found(one.key()).await, None, "by a revoked key");
    assert_eq!(found(&second).await, expected(&one, &second, 1));
}

/// Checks that an API key is found by its account and its tag together, with its receipt,
/// and that the tags of accounts are independent.
pub async fn a_key_is_found_by_its_tag<S: Harness<Store: LifecycleStore>>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    let tag = *receipt(1).tag();
    let found = async |of: &NewAccount| with_tags(&store, of, &[tag]).await;
    assert_eq!(found(&one).await, []);
    let issued = retried(&one, 10, receipt(1));
    let expected = StoredApiKey::new(issued.info()).receipt(Some(receipt(1)));
    assert!(ok(store.under_test().add_api_key(issued.clone()).await));
    assert_eq!(found(&one).await, std::slice::from_ref(&expected));
    assert_eq!(found(&other).await, [], "a key of another account");
    // Two keys without a receipt are no clash, nor is the tag of another account.
    for new in [key(&one, 11, 1), key(&one, 12, 1), retried(&other, 13, receipt(1))] {
        assert!(ok(store.under_test().add_api_key(new).await), "a key could not be added");
    }
    assert_eq!(found(&one).await, std::slice::from_ref(&expected));
    let first = one.key_digest().key_id();
    let (until, new) = (later(&one, 60), retried(&one, 14, receipt(2)));
    assert!(ok(store.under_test().rotate_api_key(&first, until, new.clone()).await));
    let rotated = StoredApiKey::new(new.info()).receipt(Some(receipt(2)));
    let of_both = [*receipt(2).tag(), *receipt(3).tag()];
    let found_by_both = with_tags(&store, &one, &of_both).await;
    assert_eq!(found_by_both, std::slice::from_ref(&rotated), "a rotated key");
    let of_all = [tag, *receipt(2).tag()];
    let both = with_tags(&store, &one, &of_all).await;
    assert!(both.len() == 2 && both.contains(&rotated) && both.contains(&expected), "{both:?}");
    assert_eq!(with_tags(&store, &one, &[]).await, [], "a key without a tag");
    assert!(ok(store.under_test().revoke_api_key(one.id(), &issued.digest.key_id()).await));
    assert_eq!(found(&one).await, [], "a revoked key");
}

/// Checks that a tag which is taken adds no key, and ends none.
pub async fn a_taken_tag_changes_nothing<S: Harness<Store: LifecycleStore>>(store: S) {
    let one = signed_up(&store, 1).await;
    assert!(ok(store.under_test().add_api_key(retried(&one, 10, receipt(1))).await));
    let before = keys(&store, one.id()).await;
    let again = retried(&one, 11, receipt(1));
    assert!(!ok(store.under_test().add_api_key(again.clone()).await), "one tag added two keys");
    let first = one.key_digest().key_id();
    let rotated = store.under_test().rotate_api_key(&first, later(&one, 60), again).await;
    assert!(!ok(rotated), "a rotation with a taken tag");
    assert_eq!(keys(&store, one.id()).await, before, "half a rotation");
}

/// Checks that of many simultaneous calls with one tag, half of them rotations, one
/// succeeds.
pub async fn one_tag_adds_one_key<S: Harness<Store: LifecycleStore>>(store: S) {
    const CROWD: u64 = 50;
    let store = Arc::new(store);
    let one = signed_up(&*store, 1).await;
    let gate = Arc::new(Barrier::new(usize::try_from(CROWD).unwrap_or(1)));
    let crowd = (0..CROWD).map(|number| {
        let new = retried(&one, 10 + number, receipt(1));
        let (store, gate, one) = (Arc::clone(&store), Arc::clone(&gate), one.clone());
        tokio::spawn(async move {
            let first = one.key_digest().key_id();
            gate.wait().await;
            let tested = store.under_test();
            ok(if number % 2 == 0 {
                tested.add_api_key(new).await
            } else {
                tested.rotate_api_key(&first, later(&one, 60), new).await
            })
        })
    });
    let (mut added, mut rotated) = (0, 0);
    for (number, task) in crowd.collect::<Vec<_>>().into_iter().enumerate() {
        match task.await {
            Ok(succeeded) if number % 2 == 0 => added += usize::from(succeeded),
            Ok(succeeded) => rotated += usize::from(succeeded),
            Err(error) => panic!("one of the crowd: {error}"),
        }
    }
    assert_eq!(added + rotated, 1, "of {CROWD} that add a key with one tag");
    let keys = keys(&*store, one.id()).await;
    assert_eq!(keys.len(), 2, "the first key and that of the tag");
    let ended = keys.iter().filter(|key| key.expires_at.is_some()).count();
    assert_eq!(ended, rotated, "a rotation that was none has ended the old key");
}

/// Checks that a `create` dropped at any poll leaves an account with its receipt or no
/// account.
pub async fn a_dropped_signup_has_its_receipt<S: Harness<Store: LifecycleStore>>(store: S) {
    let (mut polls, mut finished) = (0, false);
    while !finished {
        polls += 1;
        let sample = |number| Sample::new(number).email(&format!("poll{polls}@x.co"));
        let dropped = sample(2 * polls).receipt(receipt(2 * polls)).build();
        let again = sample(2 * polls + 1).receipt(receipt(2 * polls + 1)).build();
        let future = store.under_test().create(dropped.clone());
        finished = dropped_after(future, polls).await.is_some();
        let survivor = match store.under_test().create(again.clone()).await {
            Ok(CreateOutcome::Stored) => again,
            Ok(CreateOutcome::EmailTaken) => dropped,
            Ok(other) => panic!("after a drop at poll {polls}: {other:?}"),
            Err(error) => panic!("after a drop at poll {polls}: {}", Chain(&error)),
        };
        is_found(&store, &survivor).await;
    }
}

/// Checks that an account with the same email and the same id, but another receipt, is not
/// taken for one that was stored before.
pub async fn the_row_of_another_is_not_its_own<S: Harness<Store: LifecycleStore>>(store: S) {
    let first = Sample::new(1).receipt(receipt(1)).build();
    created(&store, &first).await;
    let second = Sample::new(2).email_of(&first).id_of(&first).receipt(receipt(2)).build();
    let taken = ok(store.under_test().create(second).await);
    assert_eq!(taken, CreateOutcome::EmailTaken, "another's row was taken for its own");
    is_found(&store, &first).await;
}

/// Checks that nothing of a deleted account is found by a retry, and that the same address
/// can be stored again with a new receipt.
pub async fn no_retry_finds_a_deleted_account<S: Harness<Store: LifecycleStore>>(store: S) {
    let one = Sample::new(1).receipt(receipt(1)).build();
    created(&store, &one).await;
    assert!(ok(store.under_test().add_api_key(retried(&one, 10, receipt(2))).await));
    store.delete_account(one.id()).await;
    assert!(signup(&store, &one).await.is_none(), "the sign-up of a deleted account");
    let by_key = store.under_test().find_account(FindBy::ApiKey(one.key_digest())).await;
    assert_eq!(ok(by_key), None, "a deleted account by its key");
    let by_tag = with_tags(&store, &one, &[*receipt(2).tag()]).await;
    assert_eq!(by_tag, [], "a key of a deleted account");
    let next = Sample::new(3).email_of(&one).receipt(receipt(3)).build();
    created(&store, &next).await;
    is_found(&store, &next).await;
}

async fn signup<S: Harness<Store: LifecycleStore>>(
    store: &S,
    new: &NewAccount,
) -> Option<StoredLogin> {
    ok(store.under_test().find_login(FindBy::Email(new.email().key())).await)
}

async fn with_tags<S: Harness<Store: LifecycleStore>>(
    store: &S,
    of: &NewAccount,
    tags: &[[u8; 32]],
) -> Vec<StoredApiKey> {
    ok(store.under_test().list_api_keys(KeyQuery::of(of.id()).with_tags(tags)).await)
}

/// Checks that a sign-up is found as it was stored.
async fn is_found<S: Harness<Store: LifecycleStore>>(store: &S, new: &NewAccount) {
    let Some(found) = signup(store, new).await else {
        panic!("a stored sign-up is not found");
    };
    // A receipt's `Debug` does not show its bytes.
    assert!(found.receipt.as_ref() == new.receipt(), "the receipt of a sign-up is another");
    assert_eq!(found.account, new.record());
    let (hash, expected) = (&found.password_hash, new.password_hash());
    assert_eq!(hash.as_phc(), expected.as_phc(), "the password hash of a sign-up");
    assert_eq!(hash.pepper_version(), expected.pepper_version(), "its pepper");
}

/// Creates another key of an account, for a request that can be retried.
fn retried(of: &NewAccount, number: u64, receipt: Receipt) -> NewApiKey {
    NewApiKey { receipt: Some(receipt), ..key(of, number, 1) }
}

fn receipt(number: u64) -> Receipt {
    let version = u32::try_from(number).unwrap_or(u32::MAX);
    let tag = Sha256::digest(number.to_be_bytes());
    made(&u128::from(number).to_be_bytes(), version, &tag.into())
}

fn made(nonce: &[u8; 16], version: u32, tag: &[u8; 32]) -> Receipt {
    let made = Receipt::from_store(nonce, i64::from(version), tag);
    made.unwrap_or_else(|error| panic!("a receipt of the suite's: {error}"))
}
