//! The queries of a list of accounts.

use crate::store::contract::{AccountFilter, within};
use crate::store::dialect::names::TableNames;
use crate::store::dialect::sql::Sql;
use crate::store::dialect::syntax::Syntax;
use crate::store::dialect::table::AccountColumn::{self, CreatedAt, DeleteAt};

use crate::account::AccountState;

use super::queries::Find;
use super::rows::{account_columns, account_kinds, stored_columns};
use super::statement::Kind;

/// The rows that are read for a page, if not all of them are on it.
const READ_AT_FIRST: u32 = 1_000;
const READ_AT_MOST: u32 = 10_000;

/// The queries of a page of accounts.
pub(in crate::store) struct ListAccounts {
    /// The accounts of the page; each of these reads more rows than the one before, which is
    /// enough if the page is full.
    pub(in crate::store) pages: Vec<Find>,
    /// The last row that was read for it, if others may follow although the page is not full.
    pub(in crate::store) end: Option<Find>,
}

/// Writes the queries of a page. Each list is in the order of an index, by which up to
/// [`READ_AT_MOST`] rows are read; the other conditions are compared in these rows.
pub(super) fn accounts(names: &TableNames, syntax: Syntax, filter: &AccountFilter) -> ListAccounts {
    let list = List { names, syntax, filter };
    let has_rest = !list.rest(&mut Sql::new(names, syntax)).is_empty();
    let read = if has_rest { &[READ_AT_FIRST, READ_AT_MOST][..] } else { &[within(filter.limit)] };
    let pages = read.iter().map(|read| list.page(*read)).collect();
    let end = has_rest.then(|| {
        let mut sql = Sql::new(names, syntax);
        let place = format!("{{a.{}}}, a.@id", list.order().own_name());
        let text = list.rows(&mut sql, &place, &format!("LIMIT 1 OFFSET {}", READ_AT_MOST - 1));
        Find { statement: sql.statement(&text), columns: &[Kind::Integer, Kind::Text] }
    });
    ListAccounts { pages, end }
}

/// A list that is being written.
struct List<'a> {
    names: &'a TableNames,
    syntax: Syntax,
    filter: &'a AccountFilter,
}

impl List<'_> {
    /// Writes the query of a page for which this number of rows is read.
    fn page(&self, read: u32) -> Find {
        let mut sql = Sql::new(self.names, self.syntax);
        let rest = self.rest(&mut sql).join(" AND ");
        let rest = if rest.is_empty() { rest } else { format!("WHERE {rest}") };
        let rows = self.rows(&mut sql, &stored_columns(), &format!("LIMIT {read}"));
        let text = format!(
            "SELECT {} FROM ({rows}) a {rest} ORDER BY a.@{}, a.@id LIMIT {}",
            account_columns(false),
            self.order().own_name(),
            within(self.filter.limit),
        );
        Find { statement: sql.statement(&text), columns: account_kinds(false) }
    }

    /// Returns the column by which the list is ordered.
    fn order(&self) -> AccountColumn {
        if self.filter.due_at.is_some() { DeleteAt } else { CreatedAt }
    }

    /// Returns the conditions that the index does not settle.
    fn rest(&self, sql: &mut Sql<'_>) -> Vec<String> {
        let filter = self.filter;
        let mut rest = Vec::new();
        let by_date = filter.due_at.is_some();
        if let (true, Some(plan)) = (by_date, &filter.plan) {
            rest.push(format!("a.@plan = {}", sql.value(plan.as_str())));
        }
        if (by_date || filter.plan.is_some()) && !filter.states.is_empty() {
            let states = filter.states.iter().map(|state| sql.value(state.as_str()));
            rest.push(format!("a.@state IN ({})", states.collect::<Vec<_>>().join(", ")));
        }
        if by_date {
            rest.extend(self.created(sql));
        }
        rest
    }

    /// Returns the conditions about the time at which an account was created.
    fn created(&self, sql: &mut Sql<'_>) -> Vec<String> {
        let bounds = [(">=", self.filter.created_from), ("<", self.filter.created_before)];
        let bounds = bounds.into_iter().filter_map(|(sign, bound)| Some((sign, bound?)));
        bounds
            .map(|(sign, at)| format!("a.@created_at {sign} {}", sql.time(CreatedAt, at)))
            .collect()
    }

    /// Writes the query of the rows of the list, with these columns.
    fn rows(&self, sql: &mut Sql<'_>, columns: &str, limit: &str) -> String {
        let filter = self.filter;
        if let Some(now) = filter.due_at {
            let is_due = format!("a.@delete_at <= {}", sql.time(DeleteAt, now));
            return self.range(sql, columns, is_due, limit);
        }
        if let Some(plan) = &filter.plan {
            let is_on = format!("a.@plan = {}", sql.value(plan.as_str()));
            return self.range(sql, columns, is_on, limit);
        }
        let states = if filter.states.is_empty() { &AccountState::ALL[..] } else { &filter.states };
        let ranges = states.iter().map(|state| {
            let is_in = format!("a.@state = {}", sql.value(state.as_str()));
            let range = self.range(sql, columns, is_in, limit);
            format!("SELECT * FROM ({range}) {state}")
        });
        ranges.collect::<Vec<_>>().join(" UNION ALL ")
    }

    /// Writes the query of a range of an index.
    fn range(&self, sql: &mut Sql<'_>, columns: &str, is_in: String, limit: &str) -> String {
        let name = format!("a.@{}", self.order().own_name());
        let mut conditions = vec![is_in];
        if self.order() == CreatedAt {
            conditions.extend(self.created(sql));
        }
        if let Some(after) = &self.filter.after {
            let (mut at, id) = (sql.time(self.order(), after.at), sql.value(after.id.as_str()));
            if self.names.has_finer_times(self.order()) {
                // The time of the cursor is rounded, the row has all of it.
                let (table, column) = (sql.table("accounts"), self.order().own_name());
                at = format!(
                    "coalesce((SELECT c.@{column} FROM {table} c WHERE c.@id = {id}), {at})"
                );
            }
            conditions.push((self.syntax.large.is_after)([&name, "a.@id"], [&at, &id]));
        }
        let table = sql.table("accounts");
        let conditions = conditions.join(" AND ") + &self.names.is_readable(self.syntax);
        format!("SELECT {columns} FROM {table} a WHERE {conditions} ORDER BY {name}, a.@id {limit}")
    }
}
