//! For each promise of `LifecycleStore` a store that breaks it, which the suite has to
//! catch.

use async_trait::async_trait;
use signup::fields::EmailKey;
use signup::store::conformance::{self, Changeable};
use signup::store::{
    AccountChange, AccountFilter, AccountRecord, AccountStore as _, ChangeOutcome, Condition,
    CredentialStore as _, Effect, LifecycleStore, StoreError,
};

use super::flawed_credentials::{Flaw, Flawed};

/// The same change, with the conditions and effects that are kept.
fn only(
    change: &AccountChange,
    keeps_condition: impl Fn(&Condition) -> bool,
    keeps_effect: impl Fn(&Effect) -> bool,
) -> AccountChange {
    let only = AccountChange::new(change.account().clone());
    let conditions = change.conditions().iter().filter(|it| keeps_condition(it)).cloned();
    let only = conditions.fold(only, AccountChange::provided);
    change.effects().iter().filter(|it| keeps_effect(it)).cloned().fold(only, AccountChange::with)
}

/// The same change, which adds a key where it was to rotate one.
fn keeping_the_old_key(change: &AccountChange) -> AccountChange {
    let same = only(change, |_| true, |_| false);
    same.with_all(change.effects().iter().cloned().map(|effect| match effect {
        Effect::RotateApiKey { new, .. } => Effect::AddApiKey(new),
        other => other,
    }))
}

/// Sets another time of the proof, as if there had been none.
async fn forget_the_proof(flawed: &Flawed, change: &AccountChange) -> Result<(), StoreError> {
    let Some(record) = flawed.store.find_account(change.account()).await? else { return Ok(()) };
    let accounts = flawed.store.accounts();
    let Some(new) = accounts.iter().find(|new| new.id() == change.account()) else { return Ok(()) };
    if record.email_verified_at.is_some() && change.effects().len() == 1 {
        flawed.store.delete(new.email().key().as_str());
        flawed.store.create(conformance::Sample::new(1).build()).await?;
    }
    Ok(())
}

#[async_trait]
impl LifecycleStore for Flawed {
    async fn find_account_by_email(
        &self,
        key: &EmailKey,
    ) -> Result<Option<AccountRecord>, StoreError> {
        if self.flaw == Flaw::FindsAnybody {
            let any = self.store.accounts().into_iter().next();
            return Ok(any.map(|new| new.record()));
        }
        self.store.find_account_by_email(key).await
    }

    async fn list_accounts(
        &self,
        filter: &AccountFilter,
    ) -> Result<Vec<AccountRecord>, StoreError> {
        let mut records = self.store.list_accounts(filter).await?;
        match self.flaw {
            Flaw::ListsTheLastOneAgain if records.len() > 1 => records.rotate_left(1),
            Flaw::ListsAnyState => {
                let all = AccountFilter::new(filter.limit());
                return self.store.list_accounts(&all).await;
            }
            _ => {}
        }
        Ok(records)
    }

    async fn change_account(&self, change: AccountChange) -> Result<ChangeOutcome, StoreError> {
        let all = |_: &Condition| true;
        let every = |_: &Effect| true;
        let change = match self.flaw {
            Flaw::IgnoresTheEmail => only(&change, |it| !matches!(it, Condition::Email(_)), every),
            Flaw::IgnoresTheGeneration => {
                only(&change, |it| !matches!(it, Condition::Generation(_)), every)
            }
            Flaw::IgnoresTheProof => {
                only(&change, |it| !matches!(it, Condition::Unverified), every)
            }
            Flaw::IgnoresTheDate => {
                only(&change, |it| !matches!(it, Condition::DeletionDue(_)), every)
            }
            Flaw::IgnoresTheNonce => {
                only(&change, |it| !matches!(it, Condition::TicketNonce(_)), every)
            }
            Flaw::KeepsTheNonce => {
                only(&change, all, |it| !matches!(it, Effect::SetTicketNonce(_)))
            }
            Flaw::IgnoresThePassword => {
                only(&change, |it| !matches!(it, Condition::Password(_)), every)
            }
            Flaw::IgnoresTheState => only(&change, |it| !matches!(it, Condition::State(_)), every),
            Flaw::KeepsThePlan => only(&change, all, |it| !matches!(it, Effect::SetPlan(_))),
            Flaw::KeepsTheEmail => only(&change, all, |it| !matches!(it, Effect::SetEmail(..))),
            Flaw::KeepsTheState => only(&change, all, |it| !matches!(it, Effect::SetState(..))),
            Flaw::ErasesNothing => only(&change, all, |it| !matches!(it, Effect::Erase(_))),
            Flaw::ChangesThoughTheEmailIsTaken => {
                let outcome = self.store.change_account(change.clone()).await?;
                if outcome != ChangeOutcome::EmailTaken {
                    return Ok(outcome);
                }
                let rest = only(&change, all, |it| !matches!(it, Effect::SetEmail(..)));
                self.store.change_account(rest).await?;
                return Ok(outcome);
            }
            Flaw::KeepsThePassword => {
                only(&change, all, |it| !matches!(it, Effect::SetPassword(_)))
            }
            Flaw::KeepsTheName => only(&change, all, |it| !matches!(it, Effect::SetName(_))),
            Flaw::KeepsTheTokens => only(&change, all, |it| !matches!(it, Effect::RevokeTokens)),
            Flaw::KeepsTheKeys => only(&change, all, |it| !matches!(it, Effect::ReplaceApiKeys(_))),
            Flaw::AddsNoKey => only(&change, all, |it| !matches!(it, Effect::AddApiKey(_))),
            Flaw::RevokesNoKey => only(&change, all, |it| !matches!(it, Effect::RevokeApiKey(_))),
            Flaw::KeepsTheOldKey => keeping_the_old_key(&change),
            Flaw::KeepsTheData => only(&change, all, |it| !matches!(it, Effect::ScrubEvents)),
            Flaw::ForgetsNotices => only(&change, all, |it| !matches!(it, Effect::AddNotice(_))),
            Flaw::AddsNoticesOfTheRefused => {
                let kept = |it: &Effect| matches!(it, Effect::AddNotice(_));
                self.store.change_account(only(&change, |_| false, kept)).await?;
                only(&change, all, |it| !kept(it))
            }
            Flaw::ProvesAnew => {
                forget_the_proof(self, &change).await?;
                change
            }
            Flaw::ChangesNothingForNothing if change.effects().is_empty() => {
                return Ok(ChangeOutcome::NotApplicable);
            }
            Flaw::ChangesInTwoSteps | Flaw::ChangesThoughTheKeyIsTaken => {
                let keys = |it: &Effect| matches!(it, Effect::ReplaceApiKeys(_));
                let rest = only(&change, all, |it| !keys(it));
                let outcome = self.store.change_account(rest).await?;
                if outcome != ChangeOutcome::Changed {
                    return Ok(outcome);
                }
                tokio::task::yield_now().await;
                only(&change, |_| false, keys)
            }
            Flaw::TellsTwice | Flaw::TellsLater => {
                let told = |it: &Effect| matches!(it, Effect::Emit(_));
                let rest = only(&change, all, |it| !told(it) || self.flaw == Flaw::TellsTwice);
                let outcome = self.store.change_account(rest).await?;
                if outcome != ChangeOutcome::Changed {
                    return Ok(outcome);
                }
                tokio::task::yield_now().await;
                only(&change, |_| false, told)
            }
            Flaw::LooksBeforeItChanges => {
                let dry = only(&change, all, |_| false);
                if self.store.change_account(dry).await? != ChangeOutcome::Changed {
                    return Ok(ChangeOutcome::NotApplicable);
                }
                tokio::task::yield_now().await;
                only(&change, |_| false, every)
            }
            _ => change,
        };
        self.store.change_account(change).await
    }
}

impl Changeable for Flawed {
    fn lifecycle(&self) -> &dyn LifecycleStore {
        self
    }
}

/// Returns the promises that a store with this flaw breaks.
async fn caught(flaw: Flaw) -> Vec<&'static str> {
    let promises = super::promises!(
        flaw,
        an_account_is_found_by_its_email,
        a_change_has_all_its_effects,
        a_change_of_nothing_applies,
        a_condition_that_does_not_hold_changes_nothing,
        a_proof_keeps_its_first_time,
        a_taken_key_changes_nothing,
        a_change_of_a_key_is_whole,
        a_taken_email_changes_nothing,
        an_erased_account_has_nothing_left,
        accounts_are_listed_in_pages,
        one_change_wins,
        a_dropped_change_is_whole,
    );
    super::broken(promises).await
}

#[tokio::test]
async fn a_store_without_a_flaw_is_not_caught() {
    assert_eq!(caught(Flaw::None).await, [""; 0]);
}

#[tokio::test]
async fn for_each_promise_a_store_that_breaks_it_is_caught() {
    for (flaw, promise) in [
        (Flaw::FindsAnybody, "an_account_is_found_by_its_email"),
        (Flaw::KeepsThePassword, "a_change_has_all_its_effects"),
        (Flaw::KeepsTheName, "a_change_has_all_its_effects"),
        (Flaw::KeepsTheTokens, "a_change_has_all_its_effects"),
        (Flaw::KeepsTheKeys, "a_change_has_all_its_effects"),
        (Flaw::ChangesNothingForNothing, "a_change_of_nothing_applies"),
        (Flaw::IgnoresTheEmail, "a_condition_that_does_not_hold_changes_nothing"),
        (Flaw::IgnoresTheGeneration, "a_condition_that_does_not_hold_changes_nothing"),
        (Flaw::IgnoresTheProof, "a_condition_that_does_not_hold_changes_nothing"),
        (Flaw::IgnoresTheDate, "a_condition_that_does_not_hold_changes_nothing"),
        (Flaw::IgnoresTheNonce, "a_condition_that_does_not_hold_changes_nothing"),
        (Flaw::KeepsTheNonce, "a_change_has_all_its_effects"),
        (Flaw::IgnoresThePassword, "a_condition_that_does_not_hold_changes_nothing"),
        (Flaw::IgnoresTheState, "a_condition_that_does_not_hold_changes_nothing"),
        (Flaw::KeepsThePlan, "a_change_has_all_its_effects"),
        (Flaw::KeepsTheEmail, "a_change_has_all_its_effects"),
        (Flaw::KeepsTheState, "a_change_has_all_its_effects"),
        (Flaw::ErasesNothing, "an_erased_account_has_nothing_left"),
        (Flaw::ChangesThoughTheEmailIsTaken, "a_taken_email_changes_nothing"),
        (Flaw::ListsTheLastOneAgain, "accounts_are_listed_in_pages"),
        (Flaw::ListsAnyState, "accounts_are_listed_in_pages"),
        (Flaw::ProvesAnew, "a_proof_keeps_its_first_time"),
        (Flaw::ChangesThoughTheKeyIsTaken, "a_taken_key_changes_nothing"),
        (Flaw::AddsNoKey, "a_change_of_a_key_is_whole"),
        (Flaw::RevokesNoKey, "a_change_of_a_key_is_whole"),
        (Flaw::KeepsTheOldKey, "a_change_of_a_key_is_whole"),
        (Flaw::LooksBeforeItChanges, "one_change_wins"),
        (Flaw::ChangesInTwoSteps, "a_dropped_change_is_whole"),
    ] {
        let caught = caught(flaw).await;
        assert!(caught.contains(&promise), "{flaw:?} was caught by {caught:?}");
    }
}
