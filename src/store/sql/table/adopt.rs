//! Existing rows of a host's table, made accounts.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::Connection as _;
use tokio::time::Instant;

use crate::account::EmailStatus;
use crate::issue::BoxError;

use crate::store::dialect::statement::Statement;
use crate::store::dialect::syntax::ViolatedConstraint;
use crate::store::dialect::table::MappedTable;
use crate::store::sql::SqlStore;
use crate::store::sql::backend::Backend;
use crate::store::sql::change::{Applied, Change};
use crate::store::sql::open::{OpenError, readable};
use crate::store::sql::queries::Find;
use crate::store::sql::statement::{Kind, trusted};

mod page;
mod report;

use page::{Candidate, Pages, Plan};
pub use report::{AdoptionReport, ListedKind, ListedRow, ListedRows};

/// The attempts at a page that others write to.
const ATTEMPTS: usize = 20;
/// The default time limit of a statement.
const LIMIT: Duration = Duration::from_mins(5);
/// The pause between two attempts to lock a table.
const PAUSE: Duration = Duration::from_secs(1);

/// The adoption of existing rows by a store with a [table map](SqlStore::with_table): each row
/// gets an account id and the key of its address, in pages of 1,000.
///
/// It can run again at any time, while the other system is in use: it adopts the rows that were
/// added since, follows addresses that were changed, and disables the accounts whose rows match
/// [`TableMap::disabled_if`](crate::store::TableMap::disabled_if) or
/// [`TableMap::exclude`](crate::store::TableMap::exclude) by then. An interrupted run is
/// completed by the next.
///
/// A row that can't be adopted stays as it is, without a log-in, and is
/// [listed](AdoptionReport::listed): if two rows have one mailbox in two spellings, the first one
/// is adopted, and the host has to decide which of them is the person's.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use signup::store::{AccountColumn, ListedKind, SqliteStore, TableMap};
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
/// assert_eq!((report.adopted, report.count(ListedKind::Collision)), (1, 1));
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
    on_wait: Option<OnWait<'a>>,
    limit: Duration,
}

type OnWait<'a> = Box<dyn FnMut(&str) + Send + 'a>;

impl<B: Backend> fmt::Debug for Adoption<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adoption").field("is_dry", &self.is_dry).finish_non_exhaustive()
    }
}

impl<B: Backend> SqlStore<B> {
    /// Returns an adoption of the existing rows of the host's table.
    pub fn adoption(&self) -> Adoption<'_, B> {
        let addresses = EmailStatus::Unknown;
        Adoption {
            store: self,
            is_dry: false,
            addresses,
            on_progress: None,
            on_wait: None,
            limit: LIMIT,
        }
    }
}

impl<'a, B: Backend> Adoption<'a, B> {
    /// Changes nothing, and reports what would be done. It keeps 16 bytes and the primary key
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

    /// Calls a function with a statement that waits for another session, which holds a lock of
    /// the table: a backup, say. It is tried each second, for a second, so that log-ins don't
    /// queue behind it.
    pub fn on_wait(mut self, report: impl FnMut(&str) + Send + 'a) -> Self {
        self.on_wait = Some(Box::new(report));
        self
    }

    /// Sets the time limit of each statement, and of its wait for locks, a day at most. Default:
    /// five minutes.
    pub fn statement_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
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
        let accounts = self.store.names.accounts.clone().ok_or("the store has no table map")?;
        // A page has other limits than a sign-up.
        let store = self.store.clone().with_deadline(self.limit);
        let statements = self.prepare(&store).await?;
        let mut report = AdoptionReport { statements, ..AdoptionReport::default() };
        let total = store.count_rows(&accounts).await?;
        let mut pages = Pages::new(&store, &accounts).await?;
        let mut seen = Seen::default();
        let mut done = 0;
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                return Ok(report);
            }
            done += u64::try_from(rows.len())?;
            report.add(if self.is_dry {
                seen.plan(&pages, &rows).await?
            } else {
                store.adopt_page(&pages, &rows, self.addresses).await?
            });
            if let Some(on_progress) = &mut self.on_progress {
                on_progress(done, total.max(done));
            }
        }
    }

    /// Adds what the table lacks, and returns the statements.
    async fn prepare(&mut self, store: &SqlStore<B>) -> Result<Vec<String>, BoxError> {
        let (missing, others): (Vec<_>, Vec<_>) =
            store.table_problems().await?.into_iter().partition(|problem| problem.is_addition);
        if !others.is_empty() {
            let lines: Vec<_> = others.iter().map(ToString::to_string).collect();
            return Err(lines.join("\n").into());
        }
        let statements: Vec<_> = missing.into_iter().filter_map(|problem| problem.sql).collect();
        if !self.is_dry {
            for statement in &statements {
                self.alter(store, statement).await?;
            }
            store.migrate_within(store.deadline).await?;
        }
        Ok(statements)
    }

    /// Alters the table, on a connection with settings for this alone.
    async fn alter(&mut self, store: &SqlStore<B>, statement: &str) -> Result<(), BoxError> {
        let until = Instant::now() + store.deadline;
        let mut connection = store.pool.acquire().await.map_err(readable)?;
        let catalog = B::SYNTAX.catalog;
        let settings: Vec<_> =
            [catalog.short_locks, catalog.old_defaults].into_iter().flatten().collect();
        if !settings.is_empty() {
            connection.close_on_drop();
        }
        loop {
            let mut transaction = connection.begin().await.map_err(readable)?;
            for settings in &settings {
                let settings = trusted((*settings).to_owned());
                B::run(&mut transaction, settings).await.map_err(readable)?;
            }
            match B::run(&mut transaction, trusted(statement.to_owned())).await {
                Ok(()) => return transaction.commit().await.map_err(readable),
                Err(error) if B::is_locked(&error) && Instant::now() < until => {
                    transaction.rollback().await.map_err(readable)?;
                    if let Some(on_wait) = &mut self.on_wait {
                        on_wait(statement);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(readable(error)),
            }
        }
    }
}

/// The rows that a dry run would have adopted: the primary keys by digests of the email keys.
#[derive(Default)]
struct Seen(HashMap<[u8; 16], Box<str>>);

impl Seen {
    /// Returns what would become of the rows of a page.
    async fn plan<B: Backend>(
        &mut self,
        pages: &Pages<'_, B>,
        rows: &[Candidate],
    ) -> Result<AdoptionReport, BoxError> {
        let keys = keys_of(rows);
        let mut owners = pages.owners(&keys).await?;
        for key in &keys {
            if let Some(first) = self.0.get(&digest(key)) {
                owners.insert(key.clone(), first.to_string());
            }
        }
        let plan = Plan::new(rows, &mut owners);
        let Plan { adopted, readdressed, report, .. } = plan;
        let taken = adopted.into_iter().chain(readdressed);
        self.0.extend(taken.map(|row| (digest(&row.key), row.primary_key.into())));
        Ok(report)
    }
}

fn keys_of(rows: &[Candidate]) -> Vec<String> {
    rows.iter().filter_map(Candidate::email_key).collect()
}

fn digest(key: &str) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.iter_mut().zip(Sha256::digest(key)).for_each(|(byte, hashed)| *byte = hashed);
    digest
}

impl<B: Backend> SqlStore<B> {
    async fn count_rows(&self, accounts: &MappedTable) -> Result<u64, BoxError> {
        let sql = format!("SELECT count(*) FROM {}", accounts.table());
        let statement = Statement::from_parts(sql, Vec::new());
        let mut rows = self.find(Find { statement, columns: &[Kind::Integer] }).await?;
        let count = rows.pop().map_or(Ok(0), |mut row| row.integer())?;
        Ok(count.try_into()?)
    }

    /// Makes the rows of a page accounts. If another session takes one of the addresses
    /// meanwhile, it starts again.
    async fn adopt_page(
        &self,
        pages: &Pages<'_, B>,
        rows: &[Candidate],
        addresses: EmailStatus,
    ) -> Result<AdoptionReport, BoxError> {
        let keys = keys_of(rows);
        for _ in 0..ATTEMPTS {
            let plan = Plan::new(rows, &mut pages.owners(&keys).await?);
            let steps = pages.statements(&plan, addresses)?;
            if steps.is_empty() {
                return Ok(plan.report);
            }
            match self.apply(Change { steps, host: None }, None).await? {
                Applied::ViolatedConstraint(
                    ViolatedConstraint::Email | ViolatedConstraint::Identifier,
                ) => {}
                Applied::All(_) => return Ok(plan.report),
                other => return Err(format!("a row can't be adopted: {other:?}").into()),
            }
        }
        Err("others write to the same rows".into())
    }
}
