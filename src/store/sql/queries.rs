//! The SQL of the store, with the names chosen by the host.

use std::sync::Arc;

use crate::api_key::ApiKeyDigest;
use crate::clock::Timestamp;
use crate::fields::EmailKey;
use crate::store::contract::{AccountChange, AccountFilter, Expired, FindBy, KeyQuery, NewAccount};
use crate::store::dialect::change::Changes;
use crate::store::dialect::fill::fill;
use crate::store::dialect::inserts::Inserts;
use crate::store::dialect::names::TableNames;
use crate::store::dialect::sql::Sql;
use crate::store::dialect::statement::{Statement, Value};
use crate::store::dialect::syntax::Syntax;

use super::event_queries::EventQueries;
use super::list::{self, ListAccounts};
use super::rows::{
    KEY_COLUMNS, account_columns, account_kinds, api_key_kinds, login_columns, login_kinds,
};
use super::statement::Kind;

/// A query and the types of its columns.
#[derive(Clone)]
pub(in crate::store) struct Find {
    pub(in crate::store) statement: Statement,
    pub(in crate::store) columns: &'static [Kind],
}

/// A query of one account, by what it is found by.
#[derive(Debug)]
struct FindOne {
    id: Arc<str>,
    email: Arc<str>,
    api_key: Arc<str>,
}

impl FindOne {
    /// Writes the queries, with another condition that the row can be read.
    fn new(sql: impl Fn(&str) -> Arc<str>, columns: fn(bool) -> String, is_readable: &str) -> Self {
        let (alone, with_key) = (columns(false), columns(true));
        let by = |column: &str| {
            let from = "FROM {accounts} a WHERE";
            sql(&format!("SELECT {alone} {from} a.@{column} = {{1}}{is_readable}"))
        };
        Self {
            id: by("id"),
            email: by("email_key"),
            // The account of a key is joined because a database without enforced foreign keys
            // may have keys without an account.
            api_key: sql(&format!(
                "SELECT {with_key}
                 FROM {{api_keys}} k JOIN {{accounts}} a ON a.@id = k.account_id
                 WHERE k.digest = {{1}}{is_readable}"
            )),
        }
    }

    fn by(&self, by: FindBy<'_>) -> Statement {
        match by {
            FindBy::Id(id) => Statement::new(&self.id, [id.as_str().into()]),
            FindBy::Email(key) => Statement::new(&self.email, [key.as_str().into()]),
            FindBy::ApiKey(digest) => {
                Statement::new(&self.api_key, [digest.as_bytes().as_slice().into()])
            }
        }
    }
}

/// All statements. A change affects a row if it finds what to change.
#[doc(hidden)]
#[derive(Debug)]
pub struct Queries {
    names: TableNames,
    syntax: Syntax,
    pub(in crate::store) inserts: Inserts,
    changes: Changes,
    pub(super) events: EventQueries,
    email_taken: Arc<str>,
    account_exists: Arc<str>,
    signup_exists: Arc<str>,
    find_account: FindOne,
    find_login: FindOne,
    find_key_owner: Arc<str>,
    is_ticket_used: Arc<str>,
    purge_api_keys: Arc<str>,
    purge_tickets: Arc<str>,
}

impl Queries {
    pub(in crate::store) fn new(names: &TableNames, syntax: Syntax) -> Self {
        let sql = |template: &str| Arc::from(fill(template, names, syntax));
        let is_readable = names.is_readable(syntax);
        let purge = |table, key| {
            sql(&(syntax.large.delete_some)(table, key, "expires_at <= {1}", "expires_at"))
        };
        Self {
            names: names.clone(),
            syntax,
            inserts: Inserts::new(names, syntax),
            changes: Changes::new(names, syntax),
            events: EventQueries::new(sql, syntax),
            email_taken: sql("SELECT 1 FROM {accounts} WHERE @email_key = {1}"),
            account_exists: sql("SELECT 1 FROM {accounts} WHERE @id = {1}"),
            signup_exists: sql("SELECT 1 FROM {accounts}
                 WHERE @id = {1} AND @replay_nonce = {2}"),
            find_account: FindOne::new(sql, account_columns, &is_readable),
            find_login: FindOne::new(sql, login_columns, &is_readable),
            find_key_owner: sql(&format!(
                "SELECT k.account_id, k.expires_at, {{a.email_verified_at}}, a.@state
                 FROM {{api_keys}} k JOIN {{accounts}} a ON a.@id = k.account_id
                 WHERE k.digest = {{1}}{is_readable}"
            )),
            is_ticket_used: sql("SELECT 1 FROM {used_tickets} WHERE hash = {1}"),
            purge_api_keys: purge("api_keys", "digest"),
            purge_tickets: purge("used_tickets", "hash"),
        }
    }

    pub(in crate::store) fn email_taken(&self, key: &EmailKey) -> Find {
        let statement = Statement::new(&self.email_taken, [key.as_str().into()]);
        Find { statement, columns: &[] }
    }

    /// Finds the row of this sign-up after a lost commit: by its nonce, if it has one,
    /// because an account id may be derived.
    pub(in crate::store) fn is_stored(&self, new: &NewAccount) -> Find {
        let id = new.id().as_str().into();
        let statement = match new.receipt() {
            None => Statement::new(&self.account_exists, [id]),
            Some(receipt) => {
                Statement::new(&self.signup_exists, [id, receipt.nonce().as_slice().into()])
            }
        };
        Find { statement, columns: &[] }
    }

    /// Finds the event of a change.
    pub(super) fn find_event(&self, id: &str) -> Find {
        Find { statement: Statement::new(&self.events.find, [id.into()]), columns: &[] }
    }

    pub(super) fn is_ticket_used(&self, hash: &[u8; 32]) -> Find {
        let statement = Statement::new(&self.is_ticket_used, [hash.as_slice().into()]);
        Find { statement, columns: &[] }
    }

    pub(super) fn find_account(&self, by: FindBy<'_>) -> Find {
        Find { statement: self.find_account.by(by), columns: account_kinds(is_by_key(by)) }
    }

    pub(super) fn find_login(&self, by: FindBy<'_>) -> Find {
        Find { statement: self.find_login.by(by), columns: login_kinds(is_by_key(by)) }
    }

    pub(super) fn find_key_owner(&self, digest: &ApiKeyDigest) -> Find {
        const COLUMNS: &[Kind] = &[Kind::Text, Kind::Integer, Kind::Integer, Kind::Text];
        let values = [digest.as_bytes().as_slice().into()];
        let statement = Statement::new(&self.find_key_owner, values);
        Find { statement, columns: COLUMNS }
    }

    pub(in crate::store) fn list_api_keys(&self, query: &KeyQuery<'_>) -> Find {
        let mut sql = self.sql();
        let (keys, accounts) = (sql.table("api_keys"), sql.table("accounts"));
        let mut conditions =
            vec![format!("k.account_id = {}", sql.value(query.account().as_str()))];
        if let Some(now) = query.validity() {
            let now = sql.value(now.as_millis());
            conditions.push(format!("(k.expires_at IS NULL OR k.expires_at > {now})"));
        }
        if let Some(tags) = query.tags() {
            let tags: Vec<_> = tags.iter().map(|tag| sql.value(tag.as_slice())).collect();
            // A list must not be empty.
            let has_one = format!("k.replay_tag IN ({})", tags.join(", "));
            conditions.push(if tags.is_empty() { "1 = 0".to_owned() } else { has_one });
        }
        let limit = query.max_rows().map(|limit| sql.value(i64::from(limit)));
        let limit = limit.map(|limit| format!(" LIMIT {limit}")).unwrap_or_default();
        let text = format!(
            "SELECT {KEY_COLUMNS}, k.replay_nonce, k.replay_version, k.replay_tag
             FROM {keys} k JOIN {accounts} a ON a.@id = k.account_id
             WHERE {} ORDER BY k.created_at, k.digest{limit}",
            conditions.join(" AND ")
        );
        Find { statement: sql.statement(&text), columns: api_key_kinds() }
    }

    pub(in crate::store) fn list_accounts(&self, filter: &AccountFilter) -> ListAccounts {
        list::accounts(&self.names, self.syntax, filter)
    }

    pub(in crate::store) fn change(&self, change: &AccountChange) -> Vec<Statement> {
        self.changes.statements(change, &self.inserts)
    }

    pub(super) fn purge(&self, expired: Expired, until: Timestamp, limit: u32) -> Statement {
        let sql = match expired {
            Expired::ApiKeys => &self.purge_api_keys,
            Expired::Tickets => &self.purge_tickets,
        };
        deletion(sql, limit, [until.as_millis().into()])
    }

    fn sql(&self) -> Sql<'_> {
        Sql::new(&self.names, self.syntax)
    }
}

/// Returns a deletion of up to `limit` rows. The number is written out, because PostgreSQL takes
/// an unknown one for a tenth of the table, and reads all of it.
pub(super) fn deletion(
    sql: &str,
    limit: u32,
    values: impl IntoIterator<Item = Value>,
) -> Statement {
    Statement::from_parts(
        sql.replace("LIMIT_ROWS", &limit.to_string()),
        values.into_iter().collect(),
    )
}

fn is_by_key(by: FindBy<'_>) -> bool {
    matches!(by, FindBy::ApiKey(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::dialect::table::TableMap;
    use crate::store::dialect::{mysql, postgres, sqlite};

    #[test]
    fn no_name_in_a_template_is_left_unfilled() {
        let is_left = |text: &str| {
            let opened = text.split('{').skip(1);
            let mut names = opened.filter_map(|rest| rest.chars().next());
            names.any(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
                || text.contains('@')
        };
        assert!(is_left("SELECT {1}") && is_left("{accounts}") && is_left("SELECT @id"));
        for syntax in [sqlite::SYNTAX, postgres::SYNTAX, mysql::SYNTAX] {
            let own = TableNames::default();
            let mapped = own.clone().with_table(TableMap::new("users"), syntax).unwrap();
            for names in [own, mapped] {
                let all = format!("{:?}", Queries::new(&names, syntax));
                assert!(all.contains("SELECT") && !is_left(&all), "{all}");
            }
        }
    }
}
