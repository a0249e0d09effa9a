//! The promises of [`LifecycleStore`], one function each, which panics if the promise is
//! broken.

#![expect(clippy::missing_panics_doc, reason = "all of them panic on failure")]

use std::sync::Arc;

use tokio::sync::Barrier;

use crate::account::{AccountState, Plan, TicketNonce};
use crate::fields::{Email, EmailKey, EmailProfile, Name};
use crate::hash::PasswordHash;
use crate::issue::Chain;
use crate::store::contract::{
    AccountChange, AccountStore as _, ChangeOutcome, Condition, Effect, KeyOwner, LifecycleStore,
    LifecycleStoreExt as _, NewAccount, NewApiKey, WipeReason,
};

use super::drop_at::settles;
use super::given::{created, key, later, ok, signed_up};
use super::state::{all_reads_agree, state};
use super::{Harness, Sample, dropped_after};

pub(super) const PENDING: AccountState = AccountState::PendingDeletion;
/// The number of simultaneous changes.
const CROWD: usize = 64;

/// Checks that every effect of a change happens, and nothing else, and to no other account.
pub async fn a_change_has_all_its_effects<S: Harness<Store: LifecycleStore>>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    let of_other = state(&store, &other).await;
    let mut expected = state(&store, &one).await;
    let effects = [
        Effect::SetName(Some(name("Kim"))),
        Effect::SetName(None),
        Effect::SetPlan(Plan::PRO),
        Effect::RevokeTokens,
        Effect::VerifyEmail(later(&one, 60)),
        Effect::SetTicketNonce(TicketNonce::new([7; 16])),
        Effect::SetEmail(email("Moved@Example.com"), later(&one, 120)),
        Effect::SetState(AccountState::PendingDeletion, Some(later(&one, 180))),
        Effect::Disable,
        Effect::SetState(AccountState::Disabled, None),
        Effect::SetState(AccountState::Active, None),
        Effect::SetPassword(PasswordHash::from_store("$argon2id$another", Some(3))),
        Effect::ReplaceApiKeys(Some(Box::new(key(&one, 10, 60)))),
        Effect::ReplaceApiKeys(None),
    ];
    for effect in effects {
        expected.apply(&effect);
        change(&store, AccountChange::new(one.id().clone()).with(effect.clone())).await;
        assert_eq!(state(&store, &one).await, expected, "after {effect:?}");
        all_reads_agree(&store, &one).await;
    }
    // All at once, and with an account that has a key.
    let all = with_all_effects(AccountChange::new(one.id().clone()), &one, 11);
    all.effects().iter().for_each(|effect| expected.apply(effect));
    change(&store, all).await;
    assert_eq!(state(&store, &one).await, expected, "after all effects");
    all_reads_agree(&store, &one).await;
    let gone = ok(store.under_test().find_key_owner(one.key_digest()).await);
    assert_eq!(gone, None, "a key that was replaced is found");
    let disabled = Effect::SetState(AccountState::Disabled, None);
    change(&store, AccountChange::new(one.id().clone()).with(disabled)).await;
    let owner = ok(store.under_test().find_key_owner(key(&one, 11, 60).digest()).await);
    let tells = KeyOwner::new(one.id().clone(), AccountState::Disabled, None);
    let tells = tells.email_verified_at(expected.record.email_verified_at);
    assert_eq!(owner, Some(tells), "the owner of the new key");
    assert_eq!(state(&store, &other).await, of_other, "another account has changed");
}

/// Checks that an erased account keeps its id and no personal data, and that its
/// address is free again.
pub async fn an_erased_account_has_nothing_left<S: Harness<Store: LifecycleStore>>(store: S) {
    let new = Sample::new(1).name(Some("Kim")).pepper_version(7).build();
    created(&store, &new).await;
    let proof = AccountChange::new(new.id().clone()).with(Effect::VerifyEmail(later(&new, 1)));
    change(&store, proof).await;
    let erase = AccountChange::new(new.id().clone())
        .with(Effect::Erase(None))
        .with(Effect::ForgetRetries)
        .with(Effect::RevokeTokens)
        .with(Effect::ReplaceApiKeys(None));
    let mut expected = state(&store, &new).await;
    erase.effects().iter().for_each(|effect| expected.apply(effect));
    change(&store, erase).await;
    assert_eq!(state(&store, &new).await, expected, "what is left");
    let rows = store.account_rows().await;
    let [row] = rows.as_slice() else { panic!("the row is gone: {rows:?}") };
    assert_eq!(row.email, format!("{}@erased.invalid", new.id()));
    assert_eq!(row.email_key, format!("erased:{}", new.id()));
    assert_eq!((&row.name, row.pepper_version), (&None, None));
    assert!(row.password_hash.is_empty(), "a password is left");
    assert!(!ok(store.under_test().is_email_taken(new.email().key()).await), "it is not free");
    let key = NewApiKey { account_id: new.id().clone(), ..Sample::new(5).build().key().clone() };
    assert!(!ok(store.under_test().add_api_key(key).await), "it has got an API key");
    created(&store, &Sample::new(2).email_of(&new).build()).await;
    // The tag of a banned address is unique, too, and found.
    let banned = EmailKey::banned(&[7; 32]);
    let (third, fourth) = (signed_up(&store, 3).await, signed_up(&store, 4).await);
    let ban = |new: &NewAccount| {
        AccountChange::new(new.id().clone()).with(Effect::Erase(Some(banned.clone())))
    };
    change(&store, ban(&third)).await;
    assert!(ok(store.under_test().is_email_taken(&banned).await), "a banned address is free");
    let outcome = ok(store.under_test().change(ban(&fourth)).await);
    assert_eq!(outcome, ChangeOutcome::EmailTaken, "an address was banned twice");
}

/// Checks that a change to an email that another account has changes nothing, in any
/// spelling, and that one's own email in another spelling is no other.
pub async fn a_taken_email_changes_nothing<S: Harness<Store: LifecycleStore>>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    let before = (state(&store, &one).await, state(&store, &other).await);
    let taken = email(&other.email().as_str().to_uppercase());
    let taken = Effect::SetEmail(taken, later(&one, 60));
    let new = AccountChange::new(one.id().clone()).with(Effect::RevokeTokens).with(taken);
    let outcome = ok(store.under_test().change(new).await);
    assert_eq!(outcome, ChangeOutcome::EmailTaken, "an email that is taken");
    assert_eq!((state(&store, &one).await, state(&store, &other).await), before);
    let own = email(&one.email().as_str().to_uppercase());
    let own = Effect::SetEmail(own, later(&one, 60));
    change(&store, AccountChange::new(one.id().clone()).with(own)).await;
}

/// Checks that a change without effects applies to an existing account.
pub async fn a_change_of_nothing_applies<S: Harness<Store: LifecycleStore>>(store: S) {
    let one = signed_up(&store, 1).await;
    let before = state(&store, &one).await;
    change(&store, AccountChange::new(one.id().clone())).await;
    assert_eq!(state(&store, &one).await, before);
    let nobody = Sample::new(2).build();
    let outcome = store.under_test().change(AccountChange::new(nobody.id().clone())).await;
    assert_eq!(ok(outcome), ChangeOutcome::NotApplicable, "an account of nobody's");
}

/// Checks that nothing changes if one of the conditions does not hold.
pub async fn a_condition_that_does_not_hold_changes_nothing<S: Harness<Store: LifecycleStore>>(
    store: S,
) {
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
        holding(&one).provided(Condition::TicketNonce(None)),
        holding(&one).provided(Condition::TicketNonce(other.ticket_nonce().copied())),
        holding(&one).provided(Condition::DeletionDue(later(&one, 60))),
        holding(&one).provided(Condition::Password(other.password_hash().clone())),
        holding(&one).provided(Condition::State(&[AccountState::Disabled, PENDING])),
    ];
    for refused in changes {
        let new = if refused.account() == one.id() { &one } else { &other };
        let before = state(&store, new).await;
        let refused = with_all_effects(refused, new, 10);
        let outcome = ok(store.under_test().change(refused.clone()).await);
        let state = state(&store, new).await;
        assert_eq!((outcome, state), (ChangeOutcome::NotApplicable, before), "{refused:?}");
    }
    let all = holding(&one)
        .provided(Condition::Unverified)
        .provided(Condition::TicketNonce(one.ticket_nonce().copied()))
        .provided(Condition::Password(one.password_hash().clone()))
        .provided(Condition::State(&[AccountState::Disabled, AccountState::Active]));
    change(&store, all.with(Effect::RevokeTokens)).await;
    let planned = Effect::SetState(PENDING, Some(later(&one, 60)));
    change(&store, AccountChange::new(one.id().clone()).with(planned)).await;
    for (seconds, outcome) in [(59, ChangeOutcome::NotApplicable), (60, ChangeOutcome::Changed)] {
        let due = Condition::DeletionDue(later(&one, seconds));
        let due = AccountChange::new(one.id().clone()).provided(due).with(Effect::RevokeTokens);
        assert_eq!(ok(store.under_test().change(due).await), outcome, "{seconds}");
    }
    change(&store, holding(&other).with(Effect::RevokeTokens)).await;
}

/// Checks that an address keeps the first time at which it was verified.
pub async fn a_proof_keeps_its_first_time<S: Harness<Store: LifecycleStore>>(store: S) {
    let one = signed_up(&store, 1).await;
    for seconds in [60, 120, 30] {
        let proof = Effect::VerifyEmail(later(&one, seconds));
        change(&store, AccountChange::new(one.id().clone()).with(proof)).await;
        let verified_at = state(&store, &one).await.record.email_verified_at;
        assert_eq!(verified_at, Some(later(&one, 60)), "the time of the verification");
    }
}

/// Checks that a change whose API key has a digest that is taken changes nothing.
pub async fn a_taken_key_changes_nothing<S: Harness<Store: LifecycleStore>>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    let before = (state(&store, &one).await, state(&store, &other).await);
    let taken = NewApiKey { account_id: one.id().clone(), ..other.key().clone() };
    let taken = Effect::ReplaceApiKeys(Some(Box::new(taken)));
    let new = AccountChange::new(one.id().clone()).with(Effect::RevokeTokens).with(taken);
    let outcome = ok(store.under_test().change(new).await);
    assert_eq!(outcome, ChangeOutcome::IdentifierTaken, "a digest that is taken");
    assert_eq!((state(&store, &one).await, state(&store, &other).await), before);
}

/// Checks that a change adds, rotates and revokes an API key with its other effects, and
/// changes nothing if the key is not there, not valid, or was added by an equal request.
pub async fn a_change_of_a_key_is_whole<S: Harness<Store: LifecycleStore>>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    let id = |number, seconds| key(&one, number, seconds).digest().key_id();
    let new = |number, seconds| Box::new(key(&one, number, seconds));
    let rotate = |old, seconds, new| Effect::RotateApiKey { old, until: later(&one, seconds), new };
    let mut expected = state(&store, &one).await;
    for effect in [
        Effect::AddApiKey(new(10, 60)),
        rotate(id(10, 60), 300, new(11, 120)),
        // The first one expires no later than it was to.
        Effect::AddApiKey(Box::new(NewApiKey {
            expires_at: Some(later(&one, 200)),
            ..*new(12, 150)
        })),
        rotate(id(12, 150), 300, new(13, 180)),
        Effect::RevokeApiKey(id(11, 120)),
    ] {
        let both = AccountChange::new(one.id().clone()).with(effect).with(Effect::RevokeTokens);
        both.effects().iter().for_each(|effect| expected.apply(effect));
        change(&store, both.clone()).await;
        assert_eq!(state(&store, &one).await, expected, "after {:?}", both.effects());
    }
    let taken = NewApiKey { account_id: one.id().clone(), ..other.key().clone() };
    for (effect, refusal) in [
        (Effect::RevokeApiKey(id(11, 120)), ChangeOutcome::NotApplicable),
        (Effect::RevokeApiKey(other.key_digest().key_id()), ChangeOutcome::NotApplicable),
        (rotate(id(11, 120), 300, new(14, 180)), ChangeOutcome::NotApplicable),
        // It has expired.
        (rotate(id(10, 60), 600, new(14, 300)), ChangeOutcome::NotApplicable),
        (rotate(id(13, 180), 600, Box::new(taken.clone())), ChangeOutcome::IdentifierTaken),
        (Effect::AddApiKey(Box::new(taken)), ChangeOutcome::IdentifierTaken),
    ] {
        let both = AccountChange::new(one.id().clone()).with(effect).with(Effect::RevokeTokens);
        let outcome = ok(store.under_test().change(both.clone()).await);
        let found = state(&store, &one).await;
        assert_eq!((outcome, &found), (refusal, &expected), "{:?}", both.effects());
    }
}

/// Checks that of simultaneous changes that exclude each other one happens.
pub async fn one_change_wins<S: Harness<Store: LifecycleStore>>(store: S) {
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
                let changed = ok(store.under_test().change(change).await);
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
pub async fn a_dropped_change_is_whole<S: Harness<Store: LifecycleStore>>(store: S) {
    let mut polls = 0;
    let mut finished = false;
    while !finished {
        polls += 1;
        let one = signed_up(&store, polls).await;
        let before = state(&store, &one).await;
        let change =
            with_all_effects(AccountChange::new(one.id().clone()), &one, 1_000_000 + polls);
        let expected = [key(&one, 1_000_000 + polls, 60).info()];
        let changing = store.under_test().change(change);
        finished = dropped_after(changing, polls).await.is_some();
        let (store, one, before, expected) = (&store, &one, &before, &expected);
        settles(polls, || async move {
            let after = state(store, one).await;
            let has_happened = after.keys == *expected
                && after.record.token_generation == 1
                && after.record.account.name() == Some("changed")
                && after.record.email_verified_at.is_some()
                && after.password != before.password;
            if has_happened || (after == *before && !finished) { Ok(()) } else { Err(after) }
        })
        .await;
    }
}

fn name(text: &str) -> Name {
    Name::from_store(text)
}

fn email(text: &str) -> Email {
    let parsed = Email::parse(text, EmailProfile::Rfc5321);
    parsed.unwrap_or_else(|error| panic!("an address of the suite's: {error}"))
}

fn with_all_effects(change: AccountChange, of: &NewAccount, number: u64) -> AccountChange {
    let hash = PasswordHash::from_store(format!("$argon2id${number}"), None);
    change
        .with(Effect::SetPassword(hash))
        .with(Effect::SetName(Some(name("changed"))))
        .with(Effect::VerifyEmail(later(of, 60)))
        .with(Effect::ForgetRetries)
        .with(Effect::RevokeTokens)
        .with(Effect::SetTicketNonce(TicketNonce::new([9; 16])))
        .with(Effect::WipeHostRows(WipeReason::Reclaimed))
        .with(Effect::ReplaceApiKeys(Some(Box::new(key(of, number, 60)))))
}

pub(super) async fn change<S: Harness<Store: LifecycleStore>>(store: &S, change: AccountChange) {
    let outcome = ok(store.under_test().change(change.clone()).await);
    assert_eq!(outcome, ChangeOutcome::Changed, "{change:?}");
}
