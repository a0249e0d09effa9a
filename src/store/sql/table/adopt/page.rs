//! The rows of a host's table, page by page.

use crate::account::{AccountId, EmailStatus};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::fields::{Email, EmailProfile};
use crate::issue::BoxError;
use crate::random::{Entropy, SystemRandom};

use crate::store::dialect::statement::{Statement, Value};
use crate::store::dialect::table::AccountColumn::{self, CreatedAt, EmailVerifiedAt};
use crate::store::dialect::table::Mapped;
use crate::store::sql::SqlStore;
use crate::store::sql::backend::Backend;
use crate::store::sql::queries::Find;
use crate::store::sql::statement::{Kind, Row};

use super::AdoptedRow;

/// The rows of a page, which is one transaction.
const PAGE: usize = 500;

/// A row on its way in.
pub(super) struct Candidate {
    pub(super) row: AdoptedRow,
    /// The key that it has.
    key: Option<String>,
    has_id: bool,
}

impl Candidate {
    fn read(mut row: Row) -> Result<Self, BoxError> {
        let primary_key = row.text()?;
        let email = row.optional_text()?.unwrap_or_default();
        let has_id = row.optional_text()?.is_some();
        let key = row.optional_text()?;
        Ok(Self { row: AdoptedRow { primary_key, email }, key, has_id })
    }

    pub(super) const fn is_account(&self) -> bool {
        self.has_id && self.key.is_some()
    }

    /// Returns the key that it has, or that of its address.
    pub(super) fn email_key(&self) -> Option<String> {
        self.key.clone().or_else(|| {
            let email = Email::parse(self.row.email.as_str(), EmailProfile::Rfc5321).ok()?;
            Some(email.key().as_str().to_owned())
        })
    }
}

/// The rows of a table by the order of its primary key.
pub(super) struct Pages<'a, B: Backend> {
    store: &'a SqlStore<B>,
    accounts: &'a Mapped,
    columns: String,
    primary_key: String,
    /// The expression of a primary key that is given as text.
    given: String,
    last: Option<String>,
    /// Whether the table has the column of the email key.
    has_keys: bool,
}

impl<'a, B: Backend> Pages<'a, B> {
    pub(super) async fn new(
        store: &'a SqlStore<B>,
        accounts: &'a Mapped,
    ) -> Result<Self, BoxError> {
        let live = store.live_columns(accounts).await?;
        let name = &accounts.map.primary_key;
        let key = live.iter().find(|column| column.name == *name);
        let kind = &key.ok_or_else(|| format!("there is no primary key {name}"))?.kind;
        let catalog = accounts.spelling.catalog;
        let is_there = |column| live.iter().any(|it| it.name == accounts.name(column));
        let text = |column| {
            let column = if is_there(column) { accounts.column(column) } else { "NULL".to_owned() };
            (catalog.as_text)(&column)
        };
        let primary_key = accounts.quoted(name);
        let columns = [
            (catalog.as_text)(&primary_key),
            text(AccountColumn::Email),
            text(AccountColumn::Id),
            text(AccountColumn::EmailKey),
        ];
        let given = (catalog.from_text)(&(accounts.spelling.placeholder)(1), kind);
        let columns = columns.join(", ");
        let has_keys = is_there(AccountColumn::EmailKey);
        Ok(Self { store, accounts, columns, primary_key, given, last: None, has_keys })
    }

    pub(super) const fn has_keys(&self) -> bool {
        self.has_keys
    }

    pub(super) async fn next(&mut self) -> Result<Vec<Candidate>, BoxError> {
        let Self { columns, primary_key, given, .. } = &*self;
        let after = match self.last {
            Some(_) => format!("WHERE t.{primary_key} > {given}"),
            None => String::new(),
        };
        let table = self.accounts.table();
        // Without the `t`, PostgreSQL would sort by the text that is selected.
        let sql = format!(
            "SELECT {columns} FROM {table} t {after} ORDER BY t.{primary_key} LIMIT {PAGE}"
        );
        let values = self.last.as_deref().map(Value::from).into_iter().collect();
        let statement = Statement::from_parts(sql, values);
        let columns = &[Kind::Text, Kind::Text, Kind::Text, Kind::Text];
        let rows = self.store.find(Find { statement, columns }).await?;
        let rows = rows.into_iter().map(Candidate::read).collect::<Result<Vec<_>, _>>()?;
        self.last = rows.last().map(|last| last.row.primary_key.clone());
        Ok(rows)
    }

    /// Returns the statement that makes a row an account, unless it is one. Where nobody has
    /// kept when it was made, it is now.
    pub(super) fn adopt(
        &self,
        primary_key: &str,
        key: &str,
        addresses: EmailStatus,
    ) -> Result<Statement, BoxError> {
        let id = AccountId::mint(&mut Entropy::draw(&SystemRandom)?)?;
        let placeholder = self.accounts.spelling.placeholder;
        let (table, of) = (self.accounts.table(), &self.primary_key);
        let names = &self.store.names;
        let now = |column| names.write_time(column, &placeholder(4), B::SPELLING);
        let (created_at, verified_at) = (now(CreatedAt), now(EmailVerifiedAt));
        let status = match addresses {
            EmailStatus::Verified => {
                format!(", @email_verified_at = coalesce(@email_verified_at, {verified_at})")
            }
            EmailStatus::Unverified => ", @email_unverified = 1".to_owned(),
            EmailStatus::Unknown => String::new(),
        };
        let sql = format!(
            "UPDATE {table} SET @id = coalesce(@id, {}), @email_key = {},
                 @created_at = coalesce(@created_at, {created_at}){status} WHERE {of} = {}",
            placeholder(2),
            placeholder(3),
            self.given,
        );
        let now = Timestamp::try_from(SystemClock.wall())?.as_millis();
        let values = vec![primary_key.into(), id.as_str().into(), key.into(), now.into()];
        let sql = names.fill_columns(&sql);
        Ok(Statement::from_parts(sql, values).optional())
    }
}
