//! Existing rows of a host's table, made accounts.

use std::collections::HashMap;
use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::account::EmailStatus;
use crate::issue::BoxError;

use crate::store::dialect::spelling::Clash;
use crate::store::dialect::statement::Statement;
use crate::store::dialect::table::Mapped;
use crate::store::sql::SqlStore;
use crate::store::sql::backend::Backend;
use crate::store::sql::change::{Applied, Change};
use crate::store::sql::open::{OpenError, readable};
use crate::store::sql::queries::Find;
use crate::store::sql::statement::{Kind, trusted};

mod page;

use page::{Candidate, Pages};

/// The attempts at a page that others write to.
const ATTEMPTS: usize = 20;

/// The way of existing rows into a store with a [table map](SqlStore::with_table). Each row
/// gets an account id and the key of its address, in pages of 500. What was interrupted is
/// begun anew: rows that have both are passed over.
///
/// Rows whose addresses have one key, one mailbox in two spellings, are listed: the first one
/// is adopted, and the others stay as they are, without a log-in, until the host has decided
/// which person's they are.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use signup::store::{AccountColumn, SqliteStore, TableMap};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let store = SqliteStore::connect("sqlite::memory:").await?;
/// sqlx::raw_sql(
///     "CREATE TABLE users (id INTEGER PRIMARY KEY, mail TEXT NOT NULL);
///      INSERT INTO users (mail) VALUES ('a@example.com'), ('A@EXAMPLE.com');",
/// )
/// .execute(store.pool())
/// .await?;
/// let map = TableMap::new("users").column(AccountColumn::Email, "mail");
/// let store = store.with_table(map)?;
/// let planned = store.adoption().dry_run().run().await?;
/// println!("{} statements would come first", planned.statements.len());
/// let report = store.adoption().on_progress(|done, all| eprint!("\r{done} of {all}")).run().await?;
/// assert_eq!((report.adopted, report.collisions.len()), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// # }
/// ```
#[must_use = "nothing is adopted before it runs"]
pub struct Adoption<'a, B: Backend> {
    store: &'a SqlStore<B>,
    is_dry: bool,
    addresses: EmailStatus,
    on_progress: Option<Box<dyn FnMut(u64, u64) + Send + 'a>>,
}

/// The outcome of an [`Adoption`], or what it would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdoptionReport {
    /// The statements that added columns and constraints.
    pub statements: Vec<String>,
    /// The rows that became accounts.
    pub adopted: u64,
    /// The rows that were accounts before.
    pub passed_over: u64,
    /// Rows whose mailbox another row has: the row, and the one that is the account.
    pub collisions: Vec<(AdoptedRow, AdoptedRow)>,
    /// Rows whose address is none.
    pub unreadable: Vec<AdoptedRow>,
}

/// A row of the host's table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdoptedRow {
    /// Its primary key, as text.
    pub primary_key: String,
    /// Its address.
    pub email: String,
}

impl<B: Backend> fmt::Debug for Adoption<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adoption").field("is_dry", &self.is_dry).finish_non_exhaustive()
    }
}

impl<B: Backend> SqlStore<B> {
    /// Returns the way of existing rows of the host's table into this store.
    pub fn adoption(&self) -> Adoption<'_, B> {
        let addresses = EmailStatus::Unknown;
        Adoption { store: self, is_dry: false, addresses, on_progress: None }
    }
}

impl<'a, B: Backend> Adoption<'a, B> {
    /// Changes nothing, and reports what would be done. It keeps 16 octets and the primary key
    /// of each row to adopt in memory.
    pub fn dry_run(mut self) -> Self {
        self.is_dry = true;
        self
    }

    /// Sets what the addresses of adopted rows count as, unless a column says when they were
    /// verified: [`Verified`](EmailStatus::Verified), as of the adoption, if the old system has
    /// verified each one, or [`Unverified`](EmailStatus::Unverified), if it has not and the
    /// service [verifies after](crate::SignupServiceBuilder::verify_after) the sign-up. Then
    /// the owner of a mailbox may take its account over. Default:
    /// [`Unknown`](EmailStatus::Unknown).
    pub fn addresses_count_as(mut self, status: EmailStatus) -> Self {
        self.addresses = status;
        self
    }

    /// Calls a function after each page, with the rows that were looked at and all rows.
    pub fn on_progress(mut self, report: impl FnMut(u64, u64) + Send + 'a) -> Self {
        self.on_progress = Some(Box::new(report));
        self
    }

    /// Adds what the table lacks, creates the tables beside it, and adopts the rows.
    ///
    /// # Errors
    /// Fails if the store has no table map, if the table differs from it in what no statement
    /// can add, or if the database fails. What was adopted until then stays so.
    pub async fn run(self) -> Result<AdoptionReport, OpenError> {
        let location = self.store.location.clone();
        self.adopt().await.map_err(|error| OpenError::migrate(location, error))
    }

    async fn adopt(mut self) -> Result<AdoptionReport, BoxError> {
        let store = self.store;
        let accounts = store.names.accounts.clone().ok_or("the store has no table map")?;
        let statements = store.prepare_adoption(self.is_dry).await?;
        let mut report = AdoptionReport { statements, ..AdoptionReport::default() };
        let total = store.count_rows(&accounts).await?;
        let mut pages = Pages::new(store, &accounts).await?;
        let mut seen = HashMap::new();
        let mut done = 0;
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                return Ok(report);
            }
            done += u64::try_from(rows.len())?;
            if self.is_dry {
                store.plan_page(&accounts, &pages, rows, &mut seen, &mut report).await?;
            } else {
                store.adopt_page(&accounts, &pages, rows, self.addresses, &mut report).await?;
            }
            if let Some(on_progress) = &mut self.on_progress {
                on_progress(done, total.max(done));
            }
        }
    }
}

/// Counts the rows of a page that are accounts, lists those without an address, and returns
/// the others with their keys.
fn sort_out(
    rows: Vec<Candidate>,
    report: &mut AdoptionReport,
) -> Result<Vec<(String, AdoptedRow)>, BoxError> {
    let (known, candidates): (Vec<_>, Vec<_>) = rows.into_iter().partition(Candidate::is_account);
    report.passed_over += u64::try_from(known.len())?;
    let mut keyed = Vec::new();
    for candidate in candidates {
        match candidate.email_key() {
            Some(key) => keyed.push((key, candidate.row)),
            None => report.unreadable.push(candidate.row),
        }
    }
    Ok(keyed)
}

impl<B: Backend> SqlStore<B> {
    /// Adds what the table lacks, and returns the statements.
    async fn prepare_adoption(&self, is_dry: bool) -> Result<Vec<String>, BoxError> {
        let problems = self.table_problems().await?;
        let without: Vec<_> =
            problems.iter().filter(|it| it.sql.is_none()).map(ToString::to_string).collect();
        if !without.is_empty() {
            return Err(without.join("; ").into());
        }
        let statements: Vec<_> = problems.into_iter().filter_map(|problem| problem.sql).collect();
        if !is_dry {
            for statement in &statements {
                let mut connection = self.pool.acquire().await.map_err(readable)?;
                B::run(&mut connection, trusted(statement.clone())).await.map_err(readable)?;
            }
            self.migrate().await?;
        }
        Ok(statements)
    }

    async fn count_rows(&self, accounts: &Mapped) -> Result<u64, BoxError> {
        let sql = format!("SELECT count(*) FROM {}", accounts.table());
        let statement = Statement::from_parts(sql, Vec::new());
        let mut rows = self.find(Find { statement, columns: &[Kind::Integer] }).await?;
        let count = rows.pop().map_or(Ok(0), |mut row| row.integer())?;
        Ok(count.try_into()?)
    }

    /// Reports what would become of the rows of a page, after those that were `seen`: the
    /// primary keys by digests of the email keys.
    async fn plan_page(
        &self,
        accounts: &Mapped,
        pages: &Pages<'_, B>,
        rows: Vec<Candidate>,
        seen: &mut HashMap<Box<[u8]>, Box<str>>,
        report: &mut AdoptionReport,
    ) -> Result<(), BoxError> {
        let keyed = sort_out(rows, report)?;
        let owners =
            if pages.has_keys() { self.owners(accounts, &keyed).await? } else { HashMap::new() };
        for (key, row) in keyed {
            let digest: [u8; 32] = Sha256::digest(&key).into();
            let (digest, _) = digest.split_at(16);
            let owner = owners.get(&key).filter(|owner| owner.primary_key != row.primary_key);
            if let Some(owner) = owner {
                report.collisions.push((row, owner.clone()));
            } else if let Some(first) = seen.get(digest) {
                let first = AdoptedRow { primary_key: first.to_string(), email: key };
                report.collisions.push((row, first));
            } else {
                seen.insert(digest.into(), row.primary_key.into());
                report.adopted += 1;
            }
        }
        Ok(())
    }

    /// Makes the rows of a page accounts. If somebody takes one of the addresses meanwhile,
    /// it begins again with what is known then.
    async fn adopt_page(
        &self,
        accounts: &Mapped,
        pages: &Pages<'_, B>,
        rows: Vec<Candidate>,
        addresses: EmailStatus,
        report: &mut AdoptionReport,
    ) -> Result<(), BoxError> {
        let keyed = sort_out(rows, report)?;
        for _ in 0..ATTEMPTS {
            let mut owners = self.owners(accounts, &keyed).await?;
            let (mut steps, mut collisions) = (Vec::new(), Vec::new());
            for (key, row) in &keyed {
                match owners.get(key) {
                    Some(owner) if owner.primary_key != row.primary_key => {
                        collisions.push((row.clone(), owner.clone()));
                    }
                    _ => {
                        steps.push(pages.adopt(&row.primary_key, key, addresses)?);
                        owners.insert(key.clone(), row.clone());
                    }
                }
            }
            let adopted = u64::try_from(steps.len())?;
            let change = Change { steps, host: None };
            match self.apply(change, None).await? {
                Applied::Clash(Clash::Email | Clash::Identifier) => {}
                Applied::All(_) => {
                    report.adopted += adopted;
                    report.collisions.extend(collisions);
                    return Ok(());
                }
                other => return Err(format!("a row can't be adopted: {other:?}").into()),
            }
        }
        Err("others write to the same rows".into())
    }

    /// Returns the rows that have the keys of others.
    async fn owners(
        &self,
        accounts: &Mapped,
        keyed: &[(String, AdoptedRow)],
    ) -> Result<HashMap<String, AdoptedRow>, BoxError> {
        if keyed.is_empty() {
            return Ok(HashMap::new());
        }
        let spelling = accounts.spelling;
        let places: Vec<_> = (1..=keyed.len()).map(spelling.placeholder).collect();
        let as_text = spelling.catalog.as_text;
        let sql = format!(
            "SELECT {}, {}, {} FROM {} WHERE @email_key IN ({})",
            as_text("@email_key"),
            as_text(&accounts.quoted(&accounts.map.primary_key)),
            as_text("@email"),
            accounts.table(),
            places.join(", "),
        );
        let values = keyed.iter().map(|(key, _)| key.as_str().into()).collect();
        let statement = Statement::from_parts(self.names.fill_columns(&sql), values);
        let columns = &[Kind::Text, Kind::Text, Kind::Text];
        let mut owners = HashMap::new();
        for mut row in self.find(Find { statement, columns }).await? {
            let (key, primary_key) = (row.text()?, row.text()?);
            owners.insert(key, AdoptedRow { primary_key, email: row.text()? });
        }
        Ok(owners)
    }
}
