//! A table map, compared with the catalog.

use std::fmt;

use crate::issue::BoxError;

use crate::store::dialect::statement::Statement;
use crate::store::dialect::syntax::{TimeFormat, Types};
use crate::store::dialect::table::AccountColumn::{
    CreatedAt, DeleteAt, Email, EmailKey, EmailUnverified, EmailVerifiedAt, EventNumber, Id, Name,
    PasswordHash, PepperVersion, Plan, ReplayNonce, ReplayTag, ReplayVersion, State, TicketNonce,
    TokenGeneration,
};
use crate::store::dialect::table::{AccountColumn, COLUMNS, MappedTable};
use crate::store::sql::SqlStore;
use crate::store::sql::backend::Backend;
use crate::store::sql::queries::Find;
use crate::store::sql::statement::{Kind, Row};

/// A difference between a [`TableMap`](super::TableMap) and its table, in one line, with the SQL
/// that corrects it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableProblem {
    /// The difference.
    pub what: String,
    /// The statement that corrects it, if one can.
    pub sql: Option<String>,
    /// Whether the statement only adds what the map names, so that an adoption may run it.
    pub(super) is_addition: bool,
}

impl TableProblem {
    pub(super) fn new(what: String, sql: Option<String>) -> Self {
        Self { what, sql, is_addition: false }
    }

    fn missing(what: String, sql: String) -> Self {
        Self { what, sql: Some(sql), is_addition: true }
    }
}

impl fmt::Display for TableProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.sql.as_ref().map_or(Ok(()), |sql| write!(f, ": {sql}"))
    }
}

/// A column of the table.
pub(super) struct LiveColumn {
    pub(super) name: String,
    pub(super) kind: String,
    is_nullable: bool,
    has_default: bool,
    /// In characters, or zero.
    length: i64,
    /// Whether the database alone writes it, or renews it.
    writes: Writes,
}

/// The way in which a column gets a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    AsTold,
    Generated,
    Renewed,
}

/// A column of a unique index.
struct LiveUnique {
    index: String,
    /// The name of the column, or the definition of an index of an expression.
    column: String,
    /// Whether it is of this column alone, for all rows, and valid.
    is_whole: bool,
}

impl LiveUnique {
    /// Returns whether the index is about a column.
    fn mentions(&self, name: &str) -> bool {
        let words = self.column.split(|sign: char| !sign.is_alphanumeric() && sign != '_');
        self.column == name || words.into_iter().any(|word| word.eq_ignore_ascii_case(name))
    }
}

impl<B: Backend> SqlStore<B> {
    /// Compares the table of the host with the catalog, without a write, for what would fail for
    /// every account: `migrate` and the adoption begin with it.
    pub(in crate::store::sql) async fn table_problems(
        &self,
    ) -> Result<Vec<TableProblem>, BoxError> {
        let Some(accounts) = &self.names.accounts else { return Ok(Vec::new()) };
        let live = self.live_columns(accounts).await?;
        if live.is_empty() {
            let what = format!("there is no table {}", accounts.table());
            return Ok(vec![TableProblem::new(what, None)]);
        }
        let mut problems = self.problems_of_storage(accounts).await?;
        for (column, _) in COLUMNS {
            problems.extend(accounts.compare(column, &live));
        }
        problems.extend(accounts.unfilled(&live));
        let uniques = self.live_uniques(accounts).await?;
        problems.extend(accounts.missing_unique(&uniques));
        accounts.learn(&uniques);
        Ok(problems)
    }

    /// Returns the columns that are too narrow for some accounts.
    pub(super) async fn narrow_columns(&self) -> Result<Vec<TableProblem>, BoxError> {
        let Some(accounts) = &self.names.accounts else { return Ok(Vec::new()) };
        let live = self.live_columns(accounts).await?;
        let narrow = COLUMNS.into_iter().filter_map(|(column, _)| accounts.narrow(column, &live));
        Ok(narrow.collect())
    }

    pub(super) async fn live_columns(
        &self,
        accounts: &MappedTable,
    ) -> Result<Vec<LiveColumn>, BoxError> {
        let kinds =
            &[Kind::Text, Kind::Text, Kind::Integer, Kind::Integer, Kind::Integer, Kind::Integer];
        let mut columns = Vec::new();
        for mut row in self.ask_catalog(accounts, accounts.syntax.catalog.columns, kinds).await? {
            columns.push(LiveColumn {
                name: row.text()?,
                kind: row.text()?,
                is_nullable: row.integer()? == 1,
                has_default: row.integer()? == 1,
                length: row.integer()?,
                writes: match row.integer()? {
                    1 => Writes::Generated,
                    2 => Writes::Renewed,
                    _ => Writes::AsTold,
                },
            });
        }
        Ok(columns)
    }

    async fn live_uniques(&self, accounts: &MappedTable) -> Result<Vec<LiveUnique>, BoxError> {
        let kinds = &[Kind::Text, Kind::Text, Kind::Integer];
        let mut uniques = Vec::new();
        for mut row in self.ask_catalog(accounts, accounts.syntax.catalog.uniques, kinds).await? {
            let (index, column) = (row.text()?, row.text()?);
            uniques.push(LiveUnique { index, column, is_whole: row.integer()? == 1 });
        }
        Ok(uniques)
    }

    /// Checks that the table is one whose rows can be written, and rolled back.
    async fn problems_of_storage(
        &self,
        accounts: &MappedTable,
    ) -> Result<Vec<TableProblem>, BoxError> {
        let catalog = accounts.syntax.catalog;
        let (usable, formats) = catalog.usable;
        let mut problems = Vec::new();
        for mut row in self.ask_catalog(accounts, catalog.table, &[Kind::Text, Kind::Text]).await? {
            let (kind, format) = (row.text()?, row.text()?);
            let (table, at) = (&accounts.map.table, accounts.table());
            if kind != usable {
                let engine = kind.strip_prefix("BASE TABLE ");
                let what = match engine {
                    Some(engine) => {
                        format!("{table} is of the engine {engine}, which rolls nothing back")
                    }
                    None => format!("{table} is a view or a partitioned or foreign table"),
                };
                let sql = engine.map(|_| format!("ALTER TABLE {at} ENGINE = InnoDB"));
                problems.push(TableProblem::new(what, sql));
            } else if formats.contains(&&*format) {
                let what =
                    format!("{table} has the row format {format}, whose indexes are too short");
                let sql = format!("ALTER TABLE {at} ROW_FORMAT = DYNAMIC");
                problems.push(TableProblem::new(what, Some(sql)));
            }
        }
        Ok(problems)
    }

    async fn ask_catalog(
        &self,
        accounts: &MappedTable,
        query: &str,
        kinds: &'static [Kind],
    ) -> Result<Vec<Row>, BoxError> {
        let values = [accounts.map.schema.as_deref().into(), accounts.map.table.as_str().into()];
        let statement = Statement::from_parts(query, values.into());
        Ok(self.find(Find { statement, columns: kinds }).await?)
    }
}

impl MappedTable {
    /// Returns the types of a column, and what a definition has after its type.
    fn definition(&self, column: AccountColumn) -> (&Types, &'static str) {
        let catalog = self.syntax.catalog;
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
        let (at, quoted) = (self.table(), self.column(column));
        let Some(found) = live.iter().find(|found| found.name == name) else {
            let sql = format!("ALTER TABLE {at} ADD COLUMN {quoted} {}{rest}", types.proposed);
            return Some(TableProblem::missing(format!("{table} has no column {name}"), sql));
        };
        let problem = |what| Some(TableProblem::new(what, None));
        if !found.is_nullable && may_be_null(column) {
            return problem(format!(
                "{table}.{name} may not be null, and an account may have no {}: give it another \
                 column, and say by fill_with what this one gets",
                column.own_name(),
            ));
        }
        match found.writes {
            Writes::AsTold => {}
            Writes::Generated => {
                return problem(format!("{table}.{name} is generated, and can't be written"));
            }
            Writes::Renewed => {
                return problem(format!("{table}.{name} is set anew by each update"));
            }
        }
        let is_accepted = types.accepted.iter().any(|accepted| found.kind.starts_with(accepted));
        if !is_accepted {
            let accepted: Vec<_> = types.accepted.iter().map(|accepted| accepted.trim()).collect();
            let hint = match column {
                CreatedAt | EmailVerifiedAt | DeleteAt => ", or another format by TableMap::time",
                _ => "",
            };
            let kind = match found.kind.trim() {
                "" => "of no type",
                kind => kind,
            };
            return problem(format!(
                "{table}.{name} is {kind}, and {} has to be {}{hint}",
                column.own_name(),
                accepted.join(" or "),
            ));
        }
        // No hash fits into a column that is too narrow for it.
        self.narrow(column, live).filter(|_| column == PasswordHash)
    }

    /// Returns whether a column can't hold every value.
    fn narrow(&self, column: AccountColumn, live: &[LiveColumn]) -> Option<TableProblem> {
        let (table, name) = (&self.map.table, self.name(column));
        let (at, quoted) = (self.table(), self.column(column));
        let found = live.iter().find(|found| found.name == name)?;
        let needed = longest(column);
        if (1..i64::from(needed)).contains(&found.length) {
            let what = format!(
                "{table}.{name} holds {} characters, and {} may have {needed}",
                found.length,
                column.own_name(),
            );
            let widen = self.syntax.catalog.widen;
            return Some(TableProblem::new(what, widen.map(|widen| widen(&at, &quoted, needed))));
        }
        // MySQL's types have a collation behind them.
        let collation = found.kind.split(' ').nth(1).filter(|it| !it.is_empty())?;
        let is_narrow = matches!(column, Email | Name) && !collation.starts_with("utf8mb4");
        is_narrow.then(|| {
            let what =
                format!("{table}.{name} is of {collation}, which can't hold every character");
            let sql = format!("ALTER TABLE {at} CONVERT TO CHARACTER SET utf8mb4");
            TableProblem::new(what, Some(sql))
        })
    }

    /// Returns the host's columns that a sign-up would leave empty, and must not.
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
            TableProblem::new(what, None)
        })
    }

    fn missing_unique(&self, live: &[LiveUnique]) -> Vec<TableProblem> {
        let table = &self.map.table;
        let is_unique =
            |name: &str| live.iter().any(|unique| unique.is_whole && unique.column == name);
        let problem = |column: AccountColumn| {
            let name = self.name(column);
            if is_unique(name) {
                return None;
            }
            let (at, column) = (self.table(), self.column(column));
            let mut index = self.constraint_of(name);
            // One of this name may be invalid, of a part of the rows, or of another column.
            if live.iter().any(|unique| unique.column == name || unique.index == index) {
                index = format!("{table}_{name}_signup");
            }
            let index = self.quoted(&index);
            let sql = format!("CREATE UNIQUE INDEX {index} ON {at} ({column})");
            Some(TableProblem::missing(format!("{table}.{name} is not unique"), sql))
        };
        // MySQL checks keys in the order in which they were made: a taken address comes first.
        let mut problems: Vec<_> = [EmailKey, Id].into_iter().filter_map(problem).collect();
        let key = &self.map.primary_key;
        if !is_unique(key) {
            let what = format!("{table}.{key} is not unique by itself, as a primary key is");
            problems.push(TableProblem::new(what, None));
        }
        problems
    }

    /// Returns the name of a new unique index of a column.
    fn constraint_of(&self, name: &str) -> String {
        (self.syntax.unique_name)(&self.map.table, name).replace('.', "_")
    }

    /// Takes over the names of the constraints by which a database reports a taken address or id.
    fn learn(&self, live: &[LiveUnique]) {
        let of = |column: AccountColumn| {
            let name = self.name(column);
            let about = live.iter().filter(move |unique| unique.mentions(name));
            about.map(move |unique| (column, unique.index.clone()))
        };
        self.set_uniques([EmailKey, Email, Id].into_iter().flat_map(of).collect());
    }
}

/// Returns the length of the longest value of a column, in characters.
const fn longest(column: AccountColumn) -> u32 {
    match column {
        Email | Name => 256,
        // A local part, an @, and a domain as A-labels.
        EmailKey => 320,
        // Of Argon2id, with the largest parameters.
        PasswordHash => 115,
        Id => 64,
        Plan | State => 20,
        _ => 0,
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
