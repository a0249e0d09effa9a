//! The promises of [`CredentialStore`](crate::store::CredentialStore) for log-ins: passwords
//! and tokens.

#![expect(clippy::missing_panics_doc, reason = "all of them panic on failure")]

use crate::hash::PasswordHash;

use super::given::{created, hash_of, ok, password, signed_up};
use super::{Harness, Sample};
use crate::store::contract::{FindBy, LifecycleStore, LifecycleStoreExt as _, NewAccount};

/// Checks that a password is found by its email key, and renewed only if it is still the
/// one that was verified.
pub async fn a_password_is_found_and_renewed<S: Harness<Store: LifecycleStore>>(store: S) {
    let one = Sample::new(1).email("Kim@Example.com").pepper_version(7).build();
    let other = signed_up(&store, 2).await;
    created(&store, &one).await;
    assert_eq!(password(&store, "KIM@example.COM").await, Some(hash_of(&one)));
    assert_eq!(password(&store, "nobody@example.com").await, None);

    let new = PasswordHash::from_store("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$dGFn", None);
    let renewed =
        store.under_test().renew_password_hash(one.id(), other.password_hash(), &new).await;
    assert!(!ok(renewed), "renewed, though the hash is another");
    let renewed =
        store.under_test().renew_password_hash(other.id(), one.password_hash(), &new).await;
    assert!(!ok(renewed), "renewed, though the account is another");
    assert_eq!(password(&store, "kim@example.com").await, Some(hash_of(&one)));

    let renewed = store.under_test().renew_password_hash(one.id(), one.password_hash(), &new).await;
    assert!(ok(renewed), "not renewed");
    assert_eq!(password(&store, "kim@example.com").await, Some((one.id().clone(), new.clone())));
    let email = other.email().as_str().to_owned();
    assert_eq!(password(&store, &email).await, Some(hash_of(&other)));
    let again = store.under_test().renew_password_hash(one.id(), one.password_hash(), &new).await;
    assert!(!ok(again), "renewed twice");
}

/// Checks that an account is found as it was registered, and that each revocation of its
/// tokens begins another generation.
pub async fn an_account_is_found_and_its_tokens_are_revoked<S: Harness<Store: LifecycleStore>>(
    store: S,
) {
    for (number, name) in [(1, None), (2, Some("")), (3, Some("Jane \u{1f600}"))] {
        let new = Sample::new(number).name(name).build();
        created(&store, &new).await;
        let found = ok(store.under_test().find_account(FindBy::Id(new.id())).await)
            .map(|found| (found.account == *new.account, found.created_at, found.token_generation));
        assert_eq!(found, Some((true, new.created_at(), 0)), "the account");
    }
    let (one, other) = (Sample::new(1).build(), Sample::new(2).build());
    for expected in 1..=3 {
        assert!(ok(store.under_test().revoke_tokens(one.id()).await));
        assert_eq!(generation(&store, &one).await, Some(expected), "a generation each time");
    }
    assert_eq!(generation(&store, &other).await, Some(0), "another's tokens");
    let nobody = Sample::new(9).build();
    assert_eq!(generation(&store, &nobody).await, None);
    assert!(!ok(store.under_test().revoke_tokens(nobody.id()).await));
}

async fn generation<S: Harness<Store: LifecycleStore>>(store: &S, of: &NewAccount) -> Option<i64> {
    let found = ok(store.under_test().find_account(FindBy::Id(of.id())).await);
    found.map(|found| found.token_generation)
}
