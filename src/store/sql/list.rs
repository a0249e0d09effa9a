//! The queries of a list of accounts.

use crate::store::contract::AccountFilter;
use crate::store::dialect::names::Names;
use crate::store::dialect::spelling::Spelling;
use crate::store::dialect::sql::Sql;
use crate::store::dialect::table::AccountColumn::{CreatedAt, DeleteAt};

use crate::account::AccountState;

use super::queries::Find;
use super::rows::{account_columns, account_kinds};
use super::statement::Kind;

/// The rows that are read for a page, if not all of them are on it.
const READ_AT_MOST: u32 = 10_000;

/// The queries of a page of accounts.
pub(in crate::store) struct ListAccounts {
    /// The accounts of the page.
    pub(in crate::store) page: Find,
    /// The last row that was read for it, if others may follow although the page is not full.
    pub(in crate::store) end: Option<Find>,
}

/// Writes the queries of a page. Each list is in the order of an index, by which up to
/// [`READ_AT_MOST`] ids are read; what the index does not tell is compared in their rows.
pub(super) fn accounts(names: &Names, spelling: Spelling, filter: &AccountFilter) -> ListAccounts {
    let list = List { names, spelling, filter };
    let mut sql = Sql::new(names, spelling);
    let rest = list.rest(&mut sql);
    let read = if rest.is_empty() { filter.limit } else { READ_AT_MOST };
    let ids = list.ids(&mut sql, &format!("LIMIT {read}"));
    let rest =
        if rest.is_empty() { String::new() } else { format!("WHERE {}", rest.join(" AND ")) };
    let text = format!(
        "SELECT {} FROM ({ids}) i JOIN {} a ON a.@id = i.id {rest}
         ORDER BY i.listed_at, i.id LIMIT {}",
        account_columns(false),
        sql.table("accounts"),
        filter.limit,
    );
    let page = Find { statement: sql.statement(&text), columns: account_kinds(false) };
    let end = (!rest.is_empty()).then(|| {
        let mut sql = Sql::new(names, spelling);
        let ids = list.ids(&mut sql, &format!("LIMIT 1 OFFSET {}", READ_AT_MOST - 1));
        let text = format!("SELECT i.millis, i.id FROM ({ids}) i");
        Find { statement: sql.statement(&text), columns: &[Kind::Integer, Kind::Text] }
    });
    ListAccounts { page, end }
}

/// A list that is being written.
struct List<'a> {
    names: &'a Names,
    spelling: Spelling,
    filter: &'a AccountFilter,
}

impl List<'_> {
    /// Returns the conditions that the index does not tell.
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

    /// Writes the query of the places in the list.
    fn ids(&self, sql: &mut Sql<'_>, limit: &str) -> String {
        let filter = self.filter;
        if let Some(now) = filter.due_at {
            let is_due = format!("a.@delete_at <= {}", sql.time(DeleteAt, now));
            return self.range(sql, is_due, limit);
        }
        if let Some(plan) = &filter.plan {
            let is_on = format!("a.@plan = {}", sql.value(plan.as_str()));
            return self.range(sql, is_on, limit);
        }
        let states = if filter.states.is_empty() { &AccountState::ALL[..] } else { &filter.states };
        let ranges = states.iter().map(|state| {
            let is_in = format!("a.@state = {}", sql.value(state.as_str()));
            let range = self.range(sql, is_in, limit);
            format!("SELECT * FROM ({range}) {state}")
        });
        ranges.collect::<Vec<_>>().join(" UNION ALL ")
    }

    /// Writes the query of a range of an index.
    fn range(&self, sql: &mut Sql<'_>, is_in: String, limit: &str) -> String {
        let by_date = self.filter.due_at.is_some();
        let column = if by_date { DeleteAt } else { CreatedAt };
        let name = format!("a.@{}", column.own_name());
        let mut conditions = vec![is_in];
        if !by_date {
            conditions.extend(self.created(sql));
        }
        if let Some(after) = &self.filter.after {
            let (at, id) = (sql.time(column, after.at), sql.value(after.id.as_str()));
            conditions.push((self.spelling.is_after)([&name, "a.@id"], [&at, &id]));
        }
        format!(
            "SELECT a.@id AS id, {name} AS listed_at, {{a.{}}} AS millis FROM {} a
             WHERE {} ORDER BY {name}, a.@id {limit}",
            column.own_name(),
            self.names.table("accounts"),
            conditions.join(" AND "),
        )
    }
}
