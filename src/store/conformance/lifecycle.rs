//! The promises of [`LifecycleStore`], one function each, which panics if the promise is
//! broken.

#![expect(clippy::missing_panics_doc, reason = "all of them panic on failure")]

use std::sync::Arc;

use tokio::sync::Barrier;

use crate::account::Account;
use crate::fields::Name;
use crate::hash::PasswordHash;
use crate::issue::Chain;
use crate::store::{
    AccountChange, AccountRecord, ApiKeyInfo, ChangeOutcome, Condition, Effect, LifecycleStore,
    NewAccount, NewApiKey,
};

use super::credentials::{key, later, ok, signed_up};
use super::log_in::{Found, password};
use super::{Credentialed, Sample, dropped_after};

/// The number of simultaneous changes.
const CROWD: usize = 64;

/// A store under test whose changes of accounts are tested too.
pub trait Changeable: Credentialed {
    /// Returns the store.
    fn lifecycle(&self) -> &dyn LifecycleStore;
}

/// Checks that an account is found by its email key, and no other is.
pub async fn an_account_is_found_by_its_email<S: Changeable>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    for new in [&one, &other] {
        let found = ok(store.lifecycle().find_account_by_email(new.email().key()).await);
        assert_eq!(found, Some(new.record()), "the account of an email");
    }
    let nobody = Sample::new(3).build();
    let found = ok(store.lifecycle().find_account_by_email(nobody.email().key()).await);
    assert_eq!(found, None, "an account of nobody's");
}

/// Checks that every effect of a change happens, and nothing else, to nobody else.
pub async fn a_change_has_all_its_effects<S: Changeable>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    let (before, of_other) = (state(&store, &one).await, state(&store, &other).await);
    let proven = later(&one, 60);
    let at_each_step = [
        (Effect::SetName(Some(name("Kim"))), named(before.clone(), Some("Kim"))),
        (Effect::SetName(None), before.clone()),
        (Effect::RevokeTokens, next_generation(before.clone())),
    ];
    for (effect, expected) in at_each_step {
        change(&store, AccountChange::new(one.id().clone()).with(effect)).await;
        assert_eq!(state(&store, &one).await, expected, "after one effect");
    }
    let (hash, new_key) =
        (PasswordHash::from_store("$argon2id$another", Some(3)), key(&one, 10, 60));
    let all = AccountChange::new(one.id().clone())
        .with(Effect::SetPassword(hash.clone()))
        .with(Effect::SetName(Some(name("Kim"))))
        .with(Effect::VerifyEmail(proven))
        .with(Effect::ForgetRetries)
        .with(Effect::RevokeTokens)
        .with(Effect::ReplaceApiKeys(Some(Box::new(new_key.clone()))));
    change(&store, all).await;
    let mut expected = named(next_generation(next_generation(before)), Some("Kim"));
    expected.record.email_verified_at = Some(proven);
    expected.password = Some((one.id().clone(), hash));
    expected.keys = vec![new_key.info()];
    assert_eq!(state(&store, &one).await, expected, "after all effects");
    let gone = ok(store.credentials().find_api_key(one.key_digest()).await);
    assert_eq!(gone, None, "a key that was replaced is found");
    let owner = ok(store.credentials().find_api_key(new_key.digest()).await);
    let verified_at = owner.map(|owner| (owner.account_id, owner.email_verified_at));
    assert_eq!(verified_at, Some((one.id().clone(), Some(proven))), "the owner of the new key");
    change(&store, AccountChange::new(one.id().clone()).with(Effect::ReplaceApiKeys(None))).await;
    assert_eq!(state(&store, &one).await.keys, [], "all keys are deleted");
    assert_eq!(state(&store, &other).await, of_other, "another account has changed");
}

/// Checks that a change without effects applies to an account that is there.
pub async fn a_change_of_nothing_applies<S: Changeable>(store: S) {
    let one = signed_up(&store, 1).await;
    let before = state(&store, &one).await;
    change(&store, AccountChange::new(one.id().clone())).await;
    assert_eq!(state(&store, &one).await, before);
    let nobody = Sample::new(2).build();
    let outcome = store.lifecycle().change_account(AccountChange::new(nobody.id().clone())).await;
    assert_eq!(ok(outcome), ChangeOutcome::NotApplicable, "an account of nobody's");
}

/// Checks that nothing changes if one of the conditions does not hold.
pub async fn a_condition_that_does_not_hold_changes_nothing<S: Changeable>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    let proof = AccountChange::new(other.id().clone()).with(Effect::VerifyEmail(later(&one, 1)));
    change(&store, proof).await;
    let holding = |new: &NewAccount| {
        AccountChange::new(new.id().clone())
            .provided(Condition::Email(new.email().key().clone()))
            .provided(Condition::Generation(0))
    };
    let changes = [
        holding(&one).provided(Condition::Email(other.email().key().clone())),
        holding(&one).provided(Condition::Generation(1)),
        holding(&other).provided(Condition::Unverified),
    ];
    for refused in changes {
        let new = if refused.account() == one.id() { &one } else { &other };
        let before = state(&store, new).await;
        let refused = with_all_effects(refused, new, 10);
        let outcome = ok(store.lifecycle().change_account(refused.clone()).await);
        let state = state(&store, new).await;
        assert_eq!((outcome, state), (ChangeOutcome::NotApplicable, before), "{refused:?}");
    }
    change(&store, holding(&one).provided(Condition::Unverified).with(Effect::RevokeTokens)).await;
    change(&store, holding(&other).with(Effect::RevokeTokens)).await;
}

/// Checks that the first time of a proof stays.
pub async fn a_proof_keeps_its_first_time<S: Changeable>(store: S) {
    let one = signed_up(&store, 1).await;
    for seconds in [60, 120, 30] {
        let proof = Effect::VerifyEmail(later(&one, seconds));
        change(&store, AccountChange::new(one.id().clone()).with(proof)).await;
        let verified_at = state(&store, &one).await.record.email_verified_at;
        assert_eq!(verified_at, Some(later(&one, 60)), "the time of the proof");
    }
}

/// Checks that a change whose API key has a digest that is taken changes nothing.
pub async fn a_taken_key_changes_nothing<S: Changeable>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    let before = (state(&store, &one).await, state(&store, &other).await);
    let taken = NewApiKey { account_id: one.id().clone(), ..other.key().clone() };
    let taken = Effect::ReplaceApiKeys(Some(Box::new(taken)));
    let new = AccountChange::new(one.id().clone()).with(Effect::RevokeTokens).with(taken);
    let outcome = ok(store.lifecycle().change_account(new).await);
    assert_eq!(outcome, ChangeOutcome::IdentifierTaken, "a digest that is taken");
    assert_eq!((state(&store, &one).await, state(&store, &other).await), before);
}

/// Checks that of simultaneous changes that exclude each other one happens.
pub async fn one_change_wins<S: Changeable>(store: S) {
    let one = signed_up(&store, 1).await;
    let (store, barrier) = (Arc::new(store), Arc::new(Barrier::new(CROWD)));
    let tasks: Vec<_> = (0..CROWD as u64)
        .map(|number| {
            let (store, barrier, one) = (Arc::clone(&store), Arc::clone(&barrier), one.clone());
            tokio::spawn(async move {
                let condition = Condition::Generation(0);
                let change = AccountChange::new(one.id().clone()).provided(condition);
                let change = with_all_effects(change, &one, 100 + number);
                barrier.wait().await;
                let changed = ok(store.lifecycle().change_account(change).await);
                (number, changed == ChangeOutcome::Changed)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        match task.await {
            Ok((number, true)) => winners.push(number),
            Ok((_, false)) => {}
            Err(error) => panic!("a change panicked: {}", Chain(&error)),
        }
    }
    let [winner] = *winners else { panic!("the winners: {winners:?}") };
    let found = state(&*store, &one).await;
    let expected = vec![key(&one, 100 + winner, 60).info()];
    assert_eq!((found.record.token_generation, found.keys), (1, expected), "the winner's effects");
}

/// Checks that a change dropped at any poll has happened whole, or not at all.
pub async fn a_dropped_change_is_whole<S: Changeable>(store: S) {
    let mut polls = 0;
    let mut finished = false;
    while !finished {
        polls += 1;
        let one = signed_up(&store, polls).await;
        let before = state(&store, &one).await;
        let change =
            with_all_effects(AccountChange::new(one.id().clone()), &one, 1_000_000 + polls);
        let expected = [key(&one, 1_000_000 + polls, 60).info()];
        let changing = store.lifecycle().change_account(change);
        finished = dropped_after(changing, polls).await.is_some();
        // Whatever was begun is over when another change of the account returns.
        let nothing = AccountChange::new(one.id().clone());
        assert_eq!(ok(store.lifecycle().change_account(nothing).await), ChangeOutcome::Changed);
        let after = state(&store, &one).await;
        let has_happened = after.keys == expected
            && after.record.token_generation == 1
            && after.record.account.name() == Some("changed")
            && after.record.email_verified_at.is_some()
            && after.password != before.password;
        assert!(has_happened || after == before, "after a drop at poll {polls}: {after:?}");
    }
}

/// All that a store tells of an account.
#[derive(Debug, Clone, PartialEq)]
struct State {
    record: AccountRecord,
    password: Found,
    keys: Vec<ApiKeyInfo>,
}

async fn state<S: Changeable>(store: &S, of: &NewAccount) -> State {
    let record = ok(store.credentials().find_account(of.id()).await);
    let Some(record) = record else { panic!("the account is gone") };
    let password = password(store, of.email().as_str()).await;
    let keys = ok(store.credentials().list_api_keys(of.id()).await);
    State { record, password, keys }
}

fn named(mut state: State, to: Option<&str>) -> State {
    let account = &state.record.account;
    let (id, email, plan) = (account.id().clone(), account.email().clone(), account.plan().clone());
    state.record.account = Account::new(id, email, to.map(name), plan);
    state
}

fn next_generation(mut state: State) -> State {
    state.record.token_generation += 1;
    state
}

fn name(text: &str) -> Name {
    Name::from_store(text)
}

fn with_all_effects(change: AccountChange, of: &NewAccount, number: u64) -> AccountChange {
    let hash = PasswordHash::from_store(format!("$argon2id${number}"), None);
    change
        .with(Effect::SetPassword(hash))
        .with(Effect::SetName(Some(name("changed"))))
        .with(Effect::VerifyEmail(later(of, 60)))
        .with(Effect::ForgetRetries)
        .with(Effect::RevokeTokens)
        .with(Effect::ReplaceApiKeys(Some(Box::new(key(of, number, 60)))))
}

async fn change<S: Changeable>(store: &S, change: AccountChange) {
    let outcome = ok(store.lifecycle().change_account(change.clone()).await);
    assert_eq!(outcome, ChangeOutcome::Changed, "{change:?}");
}

/// Makes a module of named tests, one for each promise of
/// [`LifecycleStore`](crate::store::LifecycleStore), as
/// [`conformance_tests!`](crate::conformance_tests) does for `AccountStore`.
///
/// ```
/// use signup::store::MemoryStore;
///
/// signup::lifecycle_conformance_tests!(changes, async { MemoryStore::default() });
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! lifecycle_conformance_tests {
    ($(#[$attribute:meta])* $module:ident, $open:expr) => {
        mod $module {
            #[allow(unused_imports, reason = "the expression may name what is around")]
            use super::*;
            use $crate::store::conformance;

            $crate::conformance_tests!(@test $(#[$attribute])* an_account_is_found_by_its_email, $open);
            $crate::conformance_tests!(@test $(#[$attribute])* a_change_has_all_its_effects, $open);
            $crate::conformance_tests!(@test $(#[$attribute])* a_change_of_nothing_applies, $open);
            $crate::conformance_tests!(@test $(#[$attribute])* a_condition_that_does_not_hold_changes_nothing, $open);
            $crate::conformance_tests!(@test $(#[$attribute])* a_proof_keeps_its_first_time, $open);
            $crate::conformance_tests!(@test $(#[$attribute])* a_taken_key_changes_nothing, $open);
            $crate::conformance_tests!(@test $(#[$attribute])* one_change_wins, $open);
            $crate::conformance_tests!(@test $(#[$attribute])* a_dropped_change_is_whole, $open);
        }
    };
}
