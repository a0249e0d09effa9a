//! Filters and pages of accounts.

use std::fmt;
use std::str::FromStr;

use crate::account::{AccountId, AccountState, Plan};
use crate::clock::Timestamp;
use crate::issue::InvalidValue;

use super::records::StoredAccount;

/// The length of the longest id of an account, in characters.
const LONGEST_ID: usize = 64;
const NO_CURSOR: InvalidValue = InvalidValue::new("not a cursor of a list of accounts");

/// A filter of accounts, for a page of them.
///
/// Each filter alone is read by an index. A store that combines several may read up to 10,000
/// rows, and return a page that is shorter than its limit although more follow.
///
/// ```
/// use signup::account::{AccountState, Plan};
/// use signup::store::AccountFilter;
///
/// let filter = AccountFilter::new(50).state(AccountState::Disabled).plan(Plan::TRIAL);
/// assert_eq!(filter.limit, 50);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct AccountFilter {
    /// The length of a page, from 1 to 1,000. Other lengths are taken for the nearest of these.
    pub limit: u32,
    /// The states that are let through; all if it is empty.
    pub states: Vec<AccountState>,
    /// The plan of the accounts.
    pub plan: Option<Plan>,
    /// The earliest time at which they were created.
    pub created_from: Option<Timestamp>,
    /// The time before which they were created.
    pub created_before: Option<Timestamp>,
    /// The time at which their deletion is due. Such a list is in the order of these dates.
    pub due_at: Option<Timestamp>,
    /// The place after which the page begins.
    pub after: Option<AccountCursor>,
}

impl AccountFilter {
    /// Creates a filter for pages of this length, at least one and 1,000 at most, that lets
    /// all accounts through.
    pub const fn new(limit: u32) -> Self {
        Self {
            limit: within(limit),
            states: Vec::new(),
            plan: None,
            created_from: None,
            created_before: None,
            due_at: None,
            after: None,
        }
    }

    /// Lets only accounts in this state through.
    pub fn state(mut self, state: AccountState) -> Self {
        self.states = vec![state];
        self
    }

    /// Leaves out erased accounts.
    pub fn not_erased(mut self) -> Self {
        self.states = AccountState::NOT_ERASED.to_vec();
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
    /// is not later. They are listed by this date.
    pub fn due_at(mut self, now: Timestamp) -> Self {
        self.due_at = Some(now);
        self
    }

    /// Begins after this place, the [next](AccountPage::next) one of the page before.
    pub fn after(mut self, place: AccountCursor) -> Self {
        self.after = Some(place);
        self
    }

    /// Returns whether an account is let through, apart from the limit.
    pub fn admits(&self, record: &StoredAccount) -> bool {
        let is_due = |now: Timestamp| record.delete_at.is_some_and(|due| due <= now);
        (self.states.is_empty() || self.states.contains(&record.state))
            && self.plan.as_ref().is_none_or(|plan| record.account.plan() == plan)
            && self.created_from.is_none_or(|from| record.created_at >= from)
            && self.created_before.is_none_or(|before| record.created_at < before)
            && self.due_at.is_none_or(is_due)
            && self.after.as_ref().is_none_or(|after| self.place(record) > *after)
    }

    /// Returns the page of all accounts of a store that reads them all.
    pub fn page(&self, all: impl IntoIterator<Item = StoredAccount>) -> AccountPage {
        let mut accounts: Vec<_> = all.into_iter().filter(|it| self.admits(it)).collect();
        accounts.sort_by_cached_key(|record| self.place(record));
        accounts.truncate(within(self.limit) as usize);
        self.page_of(accounts)
    }

    /// Returns the page of these accounts, which are in their order. If it is full, there may be
    /// another one.
    pub fn page_of(&self, accounts: Vec<StoredAccount>) -> AccountPage {
        let is_full = accounts.len() >= within(self.limit) as usize;
        let next = accounts.last().filter(|_| is_full).map(|last| self.place(last));
        AccountPage { accounts, next }
    }

    /// Returns the place of an account in the list.
    fn place(&self, record: &StoredAccount) -> AccountCursor {
        let due_at = self.due_at.and(record.delete_at);
        let at = due_at.unwrap_or(record.created_at);
        AccountCursor { at, id: record.account.id().clone() }
    }
}

/// Returns the length of a page within its bounds.
pub(in crate::store) const fn within(limit: u32) -> u32 {
    match limit {
        0 => 1,
        1..=1000 => limit,
        _ => 1000,
    }
}

/// A page of accounts, in the order of their list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountPage {
    /// The accounts.
    pub accounts: Vec<StoredAccount>,
    /// The place after which the next page begins; none after the last one.
    pub next: Option<AccountCursor>,
}

impl AccountPage {
    /// Creates a page.
    pub fn new(accounts: Vec<StoredAccount>, next: Option<AccountCursor>) -> Self {
        Self { accounts, next }
    }
}

/// A place in a list of accounts. As text it can be a parameter of a request.
///
/// ```
/// use signup::store::AccountCursor;
///
/// let place: AccountCursor = "1750000000000.acc_a1b2c3d4e5".parse()?;
/// assert_eq!(place.to_string(), "1750000000000.acc_a1b2c3d4e5");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct AccountCursor {
    /// The time by which the list is ordered: `accounts.created_at`, or `accounts.delete_at` in a
    /// list of [due](AccountFilter::due_at) deletions.
    pub at: Timestamp,
    /// `accounts.id`, where times are equal.
    pub id: AccountId,
}

impl AccountCursor {
    /// Creates a place after the account with this time and id.
    pub fn new(at: Timestamp, id: AccountId) -> Self {
        Self { at, id }
    }
}

impl fmt::Display for AccountCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at.as_millis(), self.id)
    }
}

impl FromStr for AccountCursor {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let (at, id) = text.split_once('.').ok_or(NO_CURSOR)?;
        let at = at.parse().ok().and_then(|millis| Timestamp::from_millis(millis).ok());
        if id.len() > LONGEST_ID || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NO_CURSOR);
        }
        Ok(Self { at: at.ok_or(NO_CURSOR)?, id: AccountId::from_store(id) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_one_row_at_least_and_a_thousand_at_most() {
        let lengths = [0, 1, 1000, 1001, u32::MAX];
        assert_eq!(lengths.map(|limit| AccountFilter::new(limit).limit), [1, 1, 1000, 1000, 1000]);
        let page = AccountFilter { limit: 0, ..AccountFilter::new(1) }.page([]);
        assert_eq!(page, AccountPage::new(Vec::new(), None));
    }
}
