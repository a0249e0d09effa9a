//! A table map against the table that is there.

use std::fmt;

use crate::issue::BoxError;

use crate::store::dialect::spelling::TimeFormat;
use crate::store::dialect::spelling::Types;
use crate::store::dialect::statement::Statement;
use crate::store::dialect::table::AccountColumn::{
    CreatedAt, DeleteAt, Email, EmailKey, EmailUnverified, EmailVerifiedAt, EventNumber, Id, Name,
    PasswordHash, PepperVersion, Plan, ReplayNonce, ReplayTag, ReplayVersion, State, TicketNonce,
    TokenGeneration,
};
use crate::store::dialect::table::{AccountColumn, COLUMNS, Mapped};
use crate::store::sql::SqlStore;
use crate::store::sql::backend::Backend;
use crate::store::sql::open::OpenError;
use crate::store::sql::queries::Find;
use crate::store::sql::statement::Kind;

/// A difference between a [`TableMap`](super::TableMap) and its table, which says in one line
/// what is missing, with the SQL that adds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableProblem {
    /// The difference.
    pub what: String,
    /// The statement that adds what is missing, if one can.
    pub sql: Option<String>,
}

impl fmt::Display for TableProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.sql.as_ref().map_or(Ok(()), |sql| write!(f, ": {sql};"))
    }
}

/// A column of the table that is there.
pub(super) struct LiveColumn {
    pub(super) name: String,
    pub(super) kind: String,
    is_nullable: bool,
    has_default: bool,
}

impl<B: Backend> SqlStore<B> {
    /// Compares the table of the host's with its [map](Self::with_table): columns, types, the
    /// unique constraints of id and email key, and columns that nobody fills. It only reads.
    /// [`migrate`](Self::migrate) begins with it.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use signup::store::{AccountColumn, SqliteStore, TableMap};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let store = SqliteStore::connect("sqlite::memory:").await?;
    /// sqlx::query("CREATE TABLE users (id INTEGER PRIMARY KEY, mail TEXT NOT NULL)")
    ///     .execute(store.pool())
    ///     .await?;
    /// let store = store.with_table(TableMap::new("users").column(AccountColumn::Email, "mail"))?;
    /// for problem in store.check_table().await? {
    ///     // users has no column account_id: ALTER TABLE "users" ADD COLUMN "account_id" TEXT;
    ///     println!("{problem}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the database does not answer.
    pub async fn check_table(&self) -> Result<Vec<TableProblem>, OpenError> {
        let failed = |error| OpenError::migrate(self.location.clone(), error);
        self.table_problems().await.map_err(failed)
    }

    pub(in crate::store::sql) async fn table_problems(
        &self,
    ) -> Result<Vec<TableProblem>, BoxError> {
        let Some(accounts) = &self.names.accounts else { return Ok(Vec::new()) };
        let live = self.live_columns(accounts).await?;
        if live.is_empty() {
            let what = format!("there is no table {}", accounts.table());
            return Ok(vec![TableProblem { what, sql: None }]);
        }
        let mut problems = Vec::new();
        for (column, _) in COLUMNS {
            problems.extend(accounts.compare(column, &live));
        }
        problems.extend(accounts.unfilled(&live));
        problems.extend(accounts.missing_unique(&self.live_uniques(accounts).await?));
        Ok(problems)
    }

    pub(super) async fn live_columns(
        &self,
        accounts: &Mapped,
    ) -> Result<Vec<LiveColumn>, BoxError> {
        let kinds = &[Kind::Text, Kind::Text, Kind::Integer, Kind::Integer];
        let mut columns = Vec::new();
        for mut row in self.ask_catalog(accounts, accounts.spelling.catalog.columns, kinds).await? {
            columns.push(LiveColumn {
                name: row.text()?,
                kind: row.text()?,
                is_nullable: row.integer()? == 1,
                has_default: row.integer()? == 1,
            });
        }
        Ok(columns)
    }

    /// Returns the unique indexes of one column, and their columns.
    async fn live_uniques(&self, accounts: &Mapped) -> Result<Vec<(String, String)>, BoxError> {
        let kinds = &[Kind::Text, Kind::Text];
        let mut uniques = Vec::new();
        for mut row in self.ask_catalog(accounts, accounts.spelling.catalog.uniques, kinds).await? {
            uniques.push((row.text()?, row.text()?));
        }
        Ok(uniques)
    }

    async fn ask_catalog(
        &self,
        accounts: &Mapped,
        query: &str,
        kinds: &'static [Kind],
    ) -> Result<Vec<crate::store::sql::statement::Row>, BoxError> {
        let values = [accounts.map.schema.as_deref().into(), accounts.map.table.as_str().into()];
        let statement = Statement::from_parts(query, values.into());
        Ok(self.find(Find { statement, columns: kinds }).await?)
    }
}

impl Mapped {
    /// Returns the types of a column, and what a definition has after its type.
    fn definition(&self, column: AccountColumn) -> (&Types, &'static str) {
        let catalog = self.spelling.catalog;
        match column {
            Id => (&catalog.id, ""),
            EmailKey => (&catalog.key, ""),
            Email | Name | PasswordHash => (&catalog.text, ""),
            Plan => (&catalog.text, " NOT NULL DEFAULT 'trial'"),
            State => (&catalog.text, " NOT NULL DEFAULT 'active'"),
            TokenGeneration | EventNumber => (&catalog.integer, " NOT NULL DEFAULT 0"),
            PepperVersion | ReplayVersion | EmailUnverified => (&catalog.integer, ""),
            ReplayNonce | ReplayTag | TicketNonce => (&catalog.bytes, ""),
            CreatedAt | EmailVerifiedAt | DeleteAt => match self.time(column) {
                TimeFormat::Milliseconds => (&catalog.integer, ""),
                TimeFormat::Timestamp => (&catalog.time, ""),
                TimeFormat::DateTime => (&catalog.date_time, ""),
            },
        }
    }

    fn compare(&self, column: AccountColumn, live: &[LiveColumn]) -> Option<TableProblem> {
        let (types, rest) = self.definition(column);
        let (table, name) = (&self.map.table, self.name(column));
        let Some(found) = live.iter().find(|found| found.name == name) else {
            let (at, quoted) = (self.table(), self.column(column));
            let sql = format!("ALTER TABLE {at} ADD COLUMN {quoted} {}{rest}", types.proposed);
            let what = format!("{table} has no column {name}");
            return Some(TableProblem { what, sql: Some(sql) });
        };
        if !found.is_nullable && may_be_null(column) {
            let what = format!(
                "{table}.{name} may not be null, and an account may have no {}: give it another \
                 column, and say by fill_with what this one gets",
                column.own_name(),
            );
            return Some(TableProblem { what, sql: None });
        }
        let is_accepted = types.accepted.iter().any(|accepted| found.kind.starts_with(accepted));
        let accepted: Vec<_> = types.accepted.iter().map(|accepted| accepted.trim()).collect();
        let hint = match column {
            CreatedAt | EmailVerifiedAt | DeleteAt => ", or another format by TableMap::time",
            _ => "",
        };
        let what = format!(
            "{table}.{name} is {}, and {} has to be {}{hint}",
            found.kind.trim(),
            column.own_name(),
            accepted.join(" or "),
        );
        (!is_accepted).then_some(TableProblem { what, sql: None })
    }

    /// Returns the columns of the host's that a sign-up would leave empty, and may not.
    fn unfilled<'a>(&'a self, live: &'a [LiveColumn]) -> impl Iterator<Item = TableProblem> + 'a {
        let is_ours = |name: &str| COLUMNS.iter().any(|(column, _)| self.name(*column) == name);
        let is_filled =
            move |name: &str| self.map.filled.iter().any(|filled| filled.column == name);
        let needed = live.iter().filter(|column| !column.is_nullable && !column.has_default);
        let unfilled = needed.filter(move |it| !is_ours(&it.name) && !is_filled(&it.name));
        unfilled.map(|column| {
            let (table, name) = (&self.map.table, &column.name);
            let what = format!(
                "{table}.{name} may not be null and has no default: say by fill or fill_with \
                 what it gets"
            );
            TableProblem { what, sql: None }
        })
    }

    fn missing_unique(&self, live: &[(String, String)]) -> Vec<TableProblem> {
        let problem = |column: AccountColumn| {
            let (table, name, wanted) =
                (&self.map.table, self.name(column), self.constraint(column));
            let mut found =
                live.iter().filter(|(_, unique)| unique == name).map(|(index, _)| index);
            let Some(first) = found.next() else {
                let what = format!("{table}.{name} is not unique");
                let (at, column) = (self.table(), self.column(column));
                let index = self.quoted(&wanted.replace('.', "_"));
                let sql = format!("CREATE UNIQUE INDEX {index} ON {at} ({column})");
                return Some(TableProblem { what, sql: Some(sql) });
            };
            // SQLite reports the columns.
            let is_known = self.spelling.quote == '"' && wanted.contains('.');
            if is_known || *first == wanted || found.any(|index| *index == wanted) {
                return None;
            }
            let what = format!(
                "{table}.{name} is unique by {first}, and the map says {wanted}: name it by \
                 TableMap::unique"
            );
            Some(TableProblem { what, sql: None })
        };
        // MySQL checks keys in the order in which they were made: a taken address comes first.
        [EmailKey, Id].into_iter().filter_map(problem).collect()
    }
}

/// Returns whether accounts have rows in which the column is null.
fn may_be_null(column: AccountColumn) -> bool {
    let optional = [
        Name,
        PepperVersion,
        ReplayNonce,
        ReplayVersion,
        ReplayTag,
        EmailVerifiedAt,
        DeleteAt,
        EmailUnverified,
        TicketNonce,
    ];
    optional.contains(&column)
}
