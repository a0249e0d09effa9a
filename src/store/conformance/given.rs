//! Accounts, keys and answers of a store that the promises share.

use std::time::Duration;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::fields::{EmailKey, EmailProfile};
use crate::hash::PasswordHash;
use crate::issue::Chain;
use crate::store::contract::{
    AccountStore as _, ApiKeyInfo, CreateOutcome, FindBy, KeyQuery, LifecycleStore, NewAccount,
    NewApiKey, StoreError,
};

use super::{Harness, Sample};

pub(super) async fn created<S: Harness<Store: LifecycleStore>>(store: &S, new: &NewAccount) {
    assert_eq!(ok(store.under_test().create(new.clone()).await), CreateOutcome::Stored);
}

pub(super) async fn signed_up<S: Harness<Store: LifecycleStore>>(
    store: &S,
    number: u64,
) -> NewAccount {
    let new = Sample::new(number).build();
    created(store, &new).await;
    new
}

/// Creates another key of an account, `seconds` after it.
pub(super) fn key(of: &NewAccount, number: u64, seconds: u64) -> NewApiKey {
    NewApiKey {
        account_id: of.id().clone(),
        created_at: later(of, seconds),
        ..Sample::new(number).build().key
    }
}

pub(super) fn later(than: &NewAccount, seconds: u64) -> Timestamp {
    let later = than.created_at().plus(Duration::from_secs(seconds));
    later.unwrap_or_else(|error| panic!("a moment of the suite's: {error}"))
}

/// Returns all API keys of an account.
pub(super) async fn keys<S: Harness<Store: LifecycleStore>>(
    store: &S,
    of: &AccountId,
) -> Vec<ApiKeyInfo> {
    let keys = ok(store.under_test().list_api_keys(KeyQuery::of(of)).await);
    keys.into_iter().map(|key| key.info).collect()
}

pub(super) fn ok<T>(answer: Result<T, StoreError>) -> T {
    answer.unwrap_or_else(|error| panic!("the store failed: {}", Chain(&error)))
}

pub(super) type Found = Option<(AccountId, PasswordHash)>;

pub(super) async fn password<S: Harness<Store: LifecycleStore>>(store: &S, email: &str) -> Found {
    match EmailKey::parse(email, EmailProfile::Strict) {
        Ok(key) => {
            let found = ok(store.under_test().find_login(FindBy::Email(&key)).await);
            found.map(|found| (found.account.account.id().clone(), found.password_hash))
        }
        Err(error) => panic!("an address of the suite's: {error}"),
    }
}

pub(super) fn hash_of(new: &NewAccount) -> (AccountId, PasswordHash) {
    (new.id().clone(), new.password_hash().clone())
}
