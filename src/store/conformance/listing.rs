//! The promises of [`LifecycleStore`](crate::store::LifecycleStore) for finding accounts.

#![expect(clippy::missing_panics_doc, reason = "all of them panic on failure")]

use crate::account::{AccountState, Plan};
use crate::store::contract::{AccountChange, AccountFilter, Effect, FindBy, LifecycleStore};

use super::given::{later, ok, signed_up};
use super::lifecycle::{PENDING, change};
use super::{Harness, Sample};

/// Checks that an account is found by its email key, and no other is.
pub async fn an_account_is_found_by_its_email<S: Harness<Store: LifecycleStore>>(store: S) {
    let (one, other) = (signed_up(&store, 1).await, signed_up(&store, 2).await);
    for new in [&one, &other] {
        let found = ok(store.under_test().find_account(FindBy::Email(new.email().key())).await);
        assert_eq!(found, Some(new.record()), "the account of an email");
    }
    let nobody = Sample::new(3).build();
    let found = ok(store.under_test().find_account(FindBy::Email(nobody.email().key())).await);
    assert_eq!(found, None, "an account of nobody's");
}

/// Checks that pages list every account that a filter lets through, once and in order.
pub async fn accounts_are_listed_in_pages<S: Harness<Store: LifecycleStore>>(store: S) {
    let mut all = Vec::new();
    for number in 1..=9 {
        let new = signed_up(&store, number).await;
        // The dates of deletions are in another order than the ids.
        let (plan, state) = match number % 4 {
            0 => (Plan::PRO, Effect::SetState(AccountState::Disabled, None)),
            1 => (Plan::PRO, Effect::SetState(PENDING, Some(later(&new, 20 - number)))),
            2 => (Plan::PRO, Effect::Erase(None)),
            _ => (Plan::TRIAL, Effect::SetState(AccountState::Active, None)),
        };
        let changed = AccountChange::new(new.id().clone()).with(Effect::SetPlan(plan)).with(state);
        change(&store, changed).await;
        all.push(super::state::state(&store, &new).await.record);
    }
    let first = Sample::new(1).build();
    for filter in [
        AccountFilter::new(1000),
        AccountFilter::new(1),
        AccountFilter::new(3),
        AccountFilter::new(2).state(AccountState::Disabled),
        AccountFilter::new(2).plan(Plan::PRO),
        AccountFilter::new(2).plan(Plan::TRIAL).state(AccountState::Disabled),
        AccountFilter::new(2).created_from(first.created_at()),
        AccountFilter::new(2).created_from(later(&first, 1)),
        AccountFilter::new(2).created_before(first.created_at()),
        AccountFilter::new(2).created_before(later(&first, 1)),
        AccountFilter::new(2).not_erased(),
        AccountFilter::new(2).not_erased().plan(Plan::PRO),
        AccountFilter::new(1).state(PENDING).created_from(first.created_at()).plan(Plan::PRO),
        AccountFilter::new(1).due_at(later(&first, 19)),
        AccountFilter::new(1).due_at(later(&first, 19)).state(PENDING).plan(Plan::PRO),
        AccountFilter::new(1).due_at(later(&first, 19)).state(AccountState::Disabled),
        AccountFilter::new(1).due_at(later(&first, 19)).created_before(first.created_at()),
        AccountFilter::new(2).due_at(later(&first, 15)),
        AccountFilter::new(2).due_at(later(&first, 10)),
    ] {
        let whole = AccountFilter { limit: 1000, ..filter.clone() }.page(all.clone());
        let (expected, mut pages) = (whole.accounts, 0);
        let (mut found, mut page) = (Vec::new(), filter.clone());
        loop {
            let listed = ok(store.under_test().list_accounts(&page).await);
            assert!(listed.accounts.len() <= filter.limit as usize, "a page is too long");
            found.extend(listed.accounts);
            pages += 1;
            assert!(pages <= 2 * all.len(), "pages without an end");
            let Some(next) = listed.next else { break };
            page = page.after(next);
        }
        assert_eq!(found, expected, "{filter:?}");
    }
}
