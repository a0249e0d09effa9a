//! The rows of a host's table, page by page.

use std::collections::HashMap;

use crate::account::{AccountId, AccountState, EmailStatus};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::fields::{Email, EmailProfile};
use crate::issue::BoxError;
use crate::random::{Entropy, SystemRandom};

use crate::store::dialect::sql::Sql;
use crate::store::dialect::statement::Statement;
use crate::store::dialect::table::AccountColumn::{
    self, CreatedAt, Email as Address, EmailKey, EmailVerifiedAt, Id, State,
};
use crate::store::dialect::table::MappedTable;
use crate::store::sql::SqlStore;
use crate::store::sql::backend::Backend;
use crate::store::sql::queries::Find;
use crate::store::sql::statement::{Kind, Row};

use super::report::{AdoptionReport, ListedKind, ListedRow};

/// The rows of a page, which is one transaction.
const PAGE: usize = 1000;

/// A row on its way in.
pub(super) struct Candidate {
    primary_key: String,
    email: String,
    /// The key of its address, if it is an account.
    key: Option<String>,
    state: Option<String>,
    has_time: bool,
    is_excluded: bool,
    is_disabled: bool,
}

impl Candidate {
    fn read(mut row: Row) -> Result<Self, BoxError> {
        let primary_key = row.optional_text()?.ok_or("a row has no primary key")?;
        let email = row.optional_text()?.unwrap_or_default();
        let has_id = row.optional_text()?.is_some();
        let (key, state) = (row.optional_text()?.filter(|_| has_id), row.optional_text()?);
        let mut flag = || Ok::<_, BoxError>(row.text()? == "1");
        let (has_time, is_excluded, is_disabled) = (flag()?, flag()?, flag()?);
        Ok(Self { primary_key, email, key, state, has_time, is_excluded, is_disabled })
    }

    const fn is_account(&self) -> bool {
        self.key.is_some()
    }

    /// Returns the key of its address.
    pub(super) fn email_key(&self) -> Option<String> {
        let email = Email::parse(self.email.as_str(), EmailProfile::Rfc5321).ok()?;
        Some(email.key().as_str().to_owned())
    }

    fn listed(&self, account: Option<&String>) -> ListedRow {
        ListedRow {
            primary_key: self.primary_key.clone(),
            email: self.email.clone(),
            account: account.cloned(),
        }
    }
}

/// A row that gets the key of its address.
pub(super) struct Keyed {
    pub(super) primary_key: String,
    email: String,
    pub(super) key: String,
}

/// The changes to the rows of a page.
#[derive(Default)]
pub(super) struct Plan {
    /// The rows that become accounts.
    pub(super) adopted: Vec<Keyed>,
    /// The accounts whose address has changed.
    pub(super) readdressed: Vec<Keyed>,
    disabled: Vec<String>,
    pub(super) report: AdoptionReport,
}

impl Plan {
    /// Decides about the rows of a page. `owners` has the primary keys of accounts by their email
    /// keys.
    pub(super) fn new(rows: &[Candidate], owners: &mut HashMap<String, String>) -> Self {
        let mut plan = Self::default();
        for row in rows {
            plan.add(row, owners);
        }
        let Self { adopted, disabled, report, .. } = &mut plan;
        report.adopted = adopted.len().try_into().unwrap_or(u64::MAX);
        report.disabled = disabled.len().try_into().unwrap_or(u64::MAX);
        plan
    }

    fn add(&mut self, row: &Candidate, owners: &mut HashMap<String, String>) {
        let state = row.state.as_deref().map(|state| state.parse::<AccountState>().ok());
        // An account must not log in, in addition to any other report about its row.
        let must_end = (row.is_excluded || row.is_disabled)
            && state.is_none_or(|state| state.is_some_and(AccountState::admits_owner));
        if row.is_account() {
            match state {
                Some(Some(AccountState::Erased)) => return self.report.unchanged += 1,
                None | Some(Some(_)) => {}
                Some(None) => {
                    return self.report.list(ListedKind::InvalidState, row.listed(None));
                }
            }
            if must_end {
                self.disabled.push(row.primary_key.clone());
            }
        } else if row.is_excluded {
            self.report.excluded += 1;
            return;
        }
        if !row.has_time {
            return self.report.list(ListedKind::InvalidTime, row.listed(None));
        }
        let Some(key) = row.email_key() else {
            return self.report.list(ListedKind::InvalidEmail, row.listed(None));
        };
        if let Some(owner) = owners.get(&key).filter(|owner| **owner != row.primary_key) {
            return self.report.list(ListedKind::Collision, row.listed(Some(owner)));
        }
        let is_known = row.is_account() && row.key.as_ref() == Some(&key);
        if !is_known {
            owners.insert(key.clone(), row.primary_key.clone());
            let keyed =
                Keyed { primary_key: row.primary_key.clone(), email: row.email.clone(), key };
            if row.is_account() {
                self.report.list(ListedKind::ChangedEmail, row.listed(None));
                self.readdressed.push(keyed);
            } else {
                self.adopted.push(keyed);
                if must_end {
                    self.disabled.push(row.primary_key.clone());
                }
            }
        } else if !must_end {
            self.report.unchanged += 1;
        }
    }
}

/// The rows of a table by the order of its primary key.
pub(super) struct Pages<'a, B: Backend> {
    store: &'a SqlStore<B>,
    accounts: &'a MappedTable,
    /// The expressions that are selected of a table `a`.
    columns: String,
    primary_key: String,
    /// The type of the primary key.
    kind: String,
    last: Option<String>,
    has_keys: bool,
}

impl<'a, B: Backend> Pages<'a, B> {
    pub(super) async fn new(
        store: &'a SqlStore<B>,
        accounts: &'a MappedTable,
    ) -> Result<Self, BoxError> {
        let live = store.live_columns(accounts).await?;
        let name = &accounts.map.primary_key;
        let key = live.iter().find(|column| column.name == *name);
        let kind = key.ok_or_else(|| format!("there is no primary key {name}"))?.kind.trim();
        let as_text = accounts.syntax.catalog.as_text;
        let exists = |column| live.iter().any(|it| it.name == accounts.name(column));
        let text = |column: AccountColumn| {
            let name = format!("a.{}", accounts.column(column));
            if exists(column) { as_text(&name, "text") } else { "NULL".to_owned() }
        };
        let flag = |condition: &str| {
            as_text(&format!("CASE WHEN {condition} THEN '1' ELSE '0' END"), "text")
        };
        let given = |condition: &Option<String>| match condition {
            Some(condition) => flag(&format!("({condition})")),
            None => "'0'".to_owned(),
        };
        let has_time = if exists(CreatedAt) {
            let read = store.names.read_time(CreatedAt, B::SYNTAX);
            let column = accounts.column(CreatedAt);
            let latest = Timestamp::MAX.as_millis();
            flag(&format!("a.{column} IS NULL OR {read} BETWEEN 0 AND {latest}"))
        } else {
            "'1'".to_owned()
        };
        let primary_key = accounts.quoted(name);
        let columns = [
            as_text(&format!("a.{primary_key}"), kind),
            text(Address),
            text(Id),
            text(EmailKey),
            text(State),
            has_time,
            given(&accounts.map.excluded),
            given(&accounts.map.disabled),
        ]
        .join(", ");
        let (kind, has_keys) = (kind.to_owned(), exists(EmailKey));
        Ok(Self { store, accounts, columns, primary_key, kind, last: None, has_keys })
    }

    pub(super) async fn next(&mut self) -> Result<Vec<Candidate>, BoxError> {
        let Self { columns, primary_key, .. } = &*self;
        let mut sql = self.sql();
        let after = match &self.last {
            Some(last) => format!("WHERE a.{primary_key} > {}", self.given(&sql.value(&**last))),
            None => String::new(),
        };
        let table = self.accounts.table();
        // Without the `a`, PostgreSQL would sort by the text that is selected.
        let text = format!(
            "SELECT {columns} FROM {table} a {after} ORDER BY a.{primary_key} LIMIT {PAGE}"
        );
        let columns = &[Kind::Text; 8];
        let find = Find { statement: Statement::from_parts(text, sql.into_values()), columns };
        let rows = self.store.find(find).await?;
        let rows = rows.into_iter().map(Candidate::read).collect::<Result<Vec<_>, _>>()?;
        if self.last.is_some()
            && rows.iter().any(|row| Some(&row.primary_key) == self.last.as_ref())
        {
            let name = &self.accounts.map.primary_key;
            return Err(format!("{name} of type {} has no order of its text", self.kind).into());
        }
        self.last = rows.last().map(|last| last.primary_key.clone());
        Ok(rows)
    }

    /// Returns the statements that do what is planned.
    pub(super) fn statements(
        &self,
        plan: &Plan,
        addresses: EmailStatus,
    ) -> Result<Vec<Statement>, BoxError> {
        let mut statements = Vec::new();
        if !plan.adopted.is_empty() {
            let mut sql = self.sql();
            let now = Some(Timestamp::try_from(SystemClock.wall())?);
            let status = match addresses {
                EmailStatus::Verified => {
                    let now = sql.time(EmailVerifiedAt, now);
                    format!(", @email_verified_at = coalesce(t.@email_verified_at, {now})")
                }
                EmailStatus::Unverified => ", @email_unverified = 1".to_owned(),
                EmailStatus::Unknown => String::new(),
            };
            let set = format!(
                "@id = coalesce(t.@id, v.column2), @email_key = v.column3,
                 @created_at = coalesce(t.@created_at, {}){status}",
                sql.time(CreatedAt, now)
            );
            statements.push(self.update(sql, &set, &plan.adopted)?);
        }
        if !plan.readdressed.is_empty() {
            let set = "@email_key = v.column3, @ticket_nonce = NULL";
            statements.push(self.update(self.sql(), set, &plan.readdressed)?);
        }
        if !plan.disabled.is_empty() {
            let mut sql = self.sql();
            let keys = plan.disabled.iter().map(|key| self.given(&sql.value(&**key)));
            let keys = keys.collect::<Vec<_>>().join(", ");
            let (table, state) = (self.accounts.table(), AccountState::Disabled);
            // It may have been erased since it was read.
            let text = format!(
                "UPDATE {table} SET @state = '{state}' WHERE {} IN ({keys}) AND @state <> '{}'",
                self.primary_key,
                AccountState::Erased,
            );
            statements.push(sql.statement(&text).optional());
        }
        Ok(statements)
    }

    /// Writes an update of rows, unless their address has changed since it was read: by their
    /// primary keys, new ids, email keys and addresses.
    fn update(&self, mut sql: Sql<'_>, set: &str, keyed: &[Keyed]) -> Result<Statement, BoxError> {
        let as_text = |value: &str| format!("CAST({value} AS {})", B::SYNTAX.catalog.cast);
        let mut rows = Vec::new();
        for Keyed { primary_key, email, key } in keyed {
            let id = AccountId::mint(&mut Entropy::draw(&SystemRandom)?)?;
            let values = [&**primary_key, id.as_str(), key, email];
            rows.push(values.map(|value| as_text(&sql.value(value))));
        }
        let condition = format!(
            "t.{} = {} AND {} = v.column4",
            self.primary_key,
            self.given("v.column1"),
            (B::SYNTAX.catalog.as_text)("t.@email", "text"),
        );
        let update = B::SYNTAX.catalog.update_by;
        let text = update(&self.accounts.table(), set, &rows, &condition);
        Ok(sql.statement(&text).optional())
    }

    /// Returns the primary key that is given as text.
    fn given(&self, text: &str) -> String {
        (self.accounts.syntax.catalog.from_text)(text, &self.kind)
    }

    /// Finds the primary keys of the rows that have these email keys.
    pub(super) async fn owners(
        &self,
        keys: &[String],
    ) -> Result<HashMap<String, String>, BoxError> {
        if keys.is_empty() || !self.has_keys {
            return Ok(HashMap::new());
        }
        let as_text = self.accounts.syntax.catalog.as_text;
        let mut sql = self.sql();
        let places: Vec<_> = keys.iter().map(|key| sql.value(&**key)).collect();
        let text = format!(
            "SELECT {}, {} FROM {} WHERE @email_key IN ({})",
            as_text("@email_key", "text"),
            as_text(&self.primary_key, &self.kind),
            self.accounts.table(),
            places.join(", "),
        );
        let find = Find { statement: sql.statement(&text), columns: &[Kind::Text, Kind::Text] };
        let rows = self.store.find(find).await?;
        rows.into_iter().map(|mut row| Ok((row.text()?, row.text()?))).collect()
    }

    fn sql(&self) -> Sql<'_> {
        Sql::new(&self.store.names, B::SYNTAX)
    }
}
