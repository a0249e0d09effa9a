//! Filters of accounts, for a page of them.

use crate::account::{AccountId, AccountState, Plan};
use crate::clock::Timestamp;

use super::records::StoredAccount;

/// A filter of accounts, for a page of them.
///
/// ```
/// use signup::account::{AccountState, Plan};
/// use signup::store::AccountFilter;
///
/// let filter = AccountFilter::new(50).state(AccountState::Disabled).plan(Plan::TRIAL);
/// assert_eq!(filter.limit(), 50);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct AccountFilter {
    pub(crate) limit: u32,
    pub(crate) state: Option<AccountState>,
    pub(crate) plan: Option<Plan>,
    pub(crate) created_from: Option<Timestamp>,
    pub(crate) created_before: Option<Timestamp>,
    pub(crate) due_at: Option<Timestamp>,
    pub(crate) after: Option<(Timestamp, AccountId)>,
}

impl AccountFilter {
    /// Creates a filter for pages of this length, at least one and 1,000 at most, that lets
    /// all accounts through.
    pub const fn new(limit: u32) -> Self {
        let limit = if limit == 0 { 1 } else { limit };
        Self {
            limit: if limit > 1000 { 1000 } else { limit },
            state: None,
            plan: None,
            created_from: None,
            created_before: None,
            due_at: None,
            after: None,
        }
    }

    /// Lets only accounts in this state through.
    pub fn state(mut self, state: AccountState) -> Self {
        self.state = Some(state);
        self
    }

    /// Lets only accounts on this plan through.
    pub fn plan(mut self, plan: Plan) -> Self {
        self.plan = Some(plan);
        self
    }

    /// Lets only accounts through that were created at this time or later.
    pub fn created_from(mut self, from: Timestamp) -> Self {
        self.created_from = Some(from);
        self
    }

    /// Lets only accounts through that were created earlier than this.
    pub fn created_before(mut self, before: Timestamp) -> Self {
        self.created_before = Some(before);
        self
    }

    /// Lets only accounts through whose deletion is due at this time: `accounts.delete_at`
    /// is not later.
    pub fn due_at(mut self, now: Timestamp) -> Self {
        self.due_at = Some(now);
        self
    }

    /// Begins after this account: the last one of the page before.
    pub fn after(mut self, last: &StoredAccount) -> Self {
        self.after = Some((last.created_at, last.account.id().clone()));
        self
    }

    /// Returns the length of a page.
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Returns whether an account is let through, apart from the limit.
    pub fn admits(&self, record: &StoredAccount) -> bool {
        let is_due = |now: Timestamp| record.delete_at.is_some_and(|due| due <= now);
        let is_after = |(at, id): &(Timestamp, AccountId)| {
            (record.created_at, record.account.id()) > (*at, id)
        };
        self.state.is_none_or(|state| record.state == state)
            && self.plan.as_ref().is_none_or(|plan| record.account.plan() == plan)
            && self.created_from.is_none_or(|from| record.created_at >= from)
            && self.created_before.is_none_or(|before| record.created_at < before)
            && self.due_at.is_none_or(is_due)
            && self.after.as_ref().is_none_or(is_after)
    }
}
