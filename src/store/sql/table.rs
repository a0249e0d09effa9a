//! Accounts in a table of the host's, which is there already.

use crate::issue::InvalidValue;
use crate::store::dialect::table::TableMap;

use super::SqlStore;
use super::backend::Backend;

pub(super) mod adopt;
pub(super) mod check;

impl<B: Backend> SqlStore<B> {
    /// Keeps the accounts in a table of the host's. API keys, used tickets and events have
    /// tables of their own, which [`migrate`](Self::migrate) creates, with a foreign key to
    /// the account's id. A sign-up is a transaction.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] if a name can't be one.
    pub fn with_table(self, map: TableMap) -> Result<Self, InvalidValue> {
        let names = self.names.clone().with_table(map, B::SPELLING)?;
        Ok(self.with_names(names))
    }
}
