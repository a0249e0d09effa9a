//! Accounts in an existing table of the host.

use crate::issue::InvalidValue;
use crate::store::dialect::table::TableMap;

use super::SqlStore;
use super::backend::Backend;

pub(super) mod adopt;
pub(super) mod check;
mod trial;

impl<B: Backend> SqlStore<B> {
    /// Keeps the accounts in the host's table. API keys, used tickets and events have
    /// tables of their own, which [`migrate`](Self::migrate) creates, with a foreign key to
    /// the account's id. A sign-up is a transaction.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] if a name can't be one.
    pub fn with_table(self, map: TableMap) -> Result<Self, InvalidValue> {
        let names = self.names.clone().with_table(map, B::SYNTAX)?;
        Ok(self.with_names(names))
    }

    /// Returns the statements that add the indexes of lists of accounts, and of deletions that are
    /// due, to the host's table; none if the accounts are in the store's.
    ///
    /// [`migrate`](Self::migrate) does not run them, because they take minutes on a large table.
    /// Run each outside of a transaction: it does not lock writers out, except on SQLite.
    pub fn table_indexes(&self) -> Vec<String> {
        if self.names.accounts.is_none() {
            return Vec::new();
        }
        let index = |(name, columns): (&str, &str)| {
            let (name, table) = (self.names.constraint(name), self.names.table("accounts"));
            (B::SYNTAX.large.add_index)(&name, &table, &self.names.fill_columns(columns))
        };
        [
            ("accounts_state", "@state, @created_at, @id"),
            ("accounts_plan", "@plan, @created_at, @id"),
            ("accounts_delete_at", "@delete_at, @id"),
        ]
        .map(index)
        .into()
    }
}
