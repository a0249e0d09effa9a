//! A table map, tried out: what the store does with an account, in a transaction that is rolled
//! back.

use std::sync::Arc;

use sqlx::Connection as _;
use tokio::time::{Instant, timeout_at};

use crate::account::{Account, AccountId, AccountState, Plan as AccountPlan, TicketNonce};
use crate::api_key::{ApiKey, ApiKeyPrefix};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::fields::{Email as Address, EmailProfile, Name as FullName};
use crate::hash::PasswordHash as Hash;
use crate::idempotency::Receipt;
use crate::issue::BoxError;
use crate::random::{Entropy, SystemRandom};
use crate::store::contract::{
    AccountChange, AccountFilter, Effect, FindBy, NewAccount, NewApiKey, StoreError,
};
use crate::store::dialect::statement::Statement;
use crate::store::dialect::syntax::ViolatedConstraint;
use crate::store::dialect::table::AccountColumn;
use crate::store::sql::SqlStore;
use crate::store::sql::backend::{Backend, Limit};
use crate::store::sql::change::{ATTEMPTS, wait};
use crate::store::sql::fault::Fault;
use crate::store::sql::gate::{check_runtime, run_task};
use crate::store::sql::open::{OpenError, readable};
use crate::store::sql::queries::Find;
use crate::store::sql::rows;
use crate::store::sql::statement::trusted;

use super::check::TableProblem;

impl<B: Backend> SqlStore<B> {
    /// Checks the [table map](Self::with_table) against the table of the host.
    ///
    /// It first compares it with the catalog: the kind of the table, columns, types, lengths, the
    /// unique constraints of id and email key, and columns that would stay empty. If nothing is
    /// wrong, it signs accounts up, as long and as odd as they may be, reads, changes, lists and
    /// erases them, and rolls all of it back, within one [deadline](Self::with_deadline). Their
    /// addresses end in `.invalid`. The host's triggers run, and a sequence skips some numbers.
    ///
    /// [`migrate`](Self::migrate) fails for what this comparison says would fail for every
    /// account, and tries nothing out.
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
    ///     // users has no column account_id: ALTER TABLE "users" ADD COLUMN "account_id" TEXT
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
        let problems = self.table_problems().await.map_err(failed)?;
        if !problems.is_empty() || self.names.accounts.is_none() {
            return Ok(problems);
        }
        let narrow = self.narrow_columns().await.map_err(failed)?;
        if !narrow.is_empty() {
            return Ok(narrow);
        }
        self.try_table().await.map_err(failed)
    }

    async fn try_table(&self) -> Result<Vec<TableProblem>, BoxError> {
        check_runtime()?;
        let until = Instant::now() + self.deadline;
        let turn = self.gate.writer(until).await?;
        let store = self.clone();
        let task = async move {
            let tried = timeout_at(until, async {
                for attempt in 1..=ATTEMPTS {
                    if let Some(problems) = store.try_on_connection(until).await? {
                        return Ok(problems);
                    }
                    wait(attempt, until).await;
                }
                Err("it conflicts with other transactions".into())
            });
            let late = |_| Err("no answer before the deadline".into());
            tried.await.unwrap_or_else(late).map_err(StoreError::Failed)
        };
        Ok(run_task(turn, task).await?)
    }

    /// Returns the problems, or none if the trial conflicted with another transaction.
    async fn try_on_connection(
        &self,
        until: Instant,
    ) -> Result<Option<Vec<TableProblem>>, BoxError> {
        let mut connection = self.pool.acquire().await.map_err(readable)?;
        if !B::REUSES_DROPPED {
            // It gets settings of its own, and its transaction must not outlive this future.
            connection.close_on_drop();
        }
        let left = until.saturating_duration_since(Instant::now());
        let begin = self.backend.begin(Some(Limit { left, is_late: true }));
        let mut transaction = connection.begin_with(begin).await.map_err(readable)?;
        if let Some(locks) = B::SYNTAX.catalog.short_locks {
            B::run(&mut transaction, trusted(locks.to_owned())).await.map_err(readable)?;
        }
        let (problems, conflicts) = (Vec::new(), false);
        let mut trial = Trial { store: self, transaction, problems, conflicts };
        let ran = trial.run().await;
        let Trial { transaction, problems, conflicts, .. } = trial;
        if conflicts {
            return Ok(None);
        }
        ran?;
        transaction.rollback().await.map_err(readable)?;
        Ok(Some(problems))
    }
}

/// A trial under way.
struct Trial<'a, B: Backend> {
    store: &'a SqlStore<B>,
    transaction: sqlx::Transaction<'a, B::Database>,
    problems: Vec<TableProblem>,
    /// Whether the database has given it up because of another transaction.
    conflicts: bool,
}

/// The outcome of a step, which is rolled back unless it is done.
enum Outcome {
    Done,
    /// A statement that has to affect a row affected none.
    NoRow,
    ViolatedConstraint(ViolatedConstraint),
    /// The database has refused it: what it said, and its code.
    Refused(String, String),
}

impl<B: Backend> Trial<'_, B> {
    async fn run(&mut self) -> Result<(), BoxError> {
        let email = "signup-trial@example.invalid";
        let new = account(email, None)?;
        match self.insert(&new).await? {
            Outcome::Done => {}
            Outcome::NoRow | Outcome::ViolatedConstraint(ViolatedConstraint::Email) => {
                return Err(format!("an account has the address {email} of this trial").into());
            }
            other => {
                self.refused("a sign-up", &other);
                return Ok(());
            }
        }
        self.compare(&new).await?;
        self.try_odd_accounts().await?;
        self.try_taken_addresses(&new).await?;
        self.try_changes(&new).await
    }

    /// Signs up accounts that a table may be too narrow for, each by itself.
    async fn try_odd_accounts(&mut self) -> Result<(), BoxError> {
        let local = "a".repeat(64);
        let label = "b".repeat(63);
        // 256 characters, one of which is not of ASCII.
        let longest = format!("{local}@m\u{fc}nchen.{label}.{label}.{}.invalid", "c".repeat(47));
        let name = "\u{1f600}".repeat(256);
        for (what, email, name) in [
            ("a sign-up with capital letters in the address", "Signup.Trial@EXAMPLE.invalid", None),
            ("a sign-up with an address of 256 characters", &longest, None),
            ("a sign-up with a name of 256 characters", "name@example.invalid", Some(&*name)),
        ] {
            let new = account(email, name)?;
            let outcome = self.insert(&new).await?;
            if matches!(outcome, Outcome::Done) {
                self.compare(&new).await?;
            } else {
                self.refused(what, &outcome);
            }
        }
        for [one, other] in [
            ["trial@m\u{fc}nchen.invalid", "trial@munchen.invalid"],
            ["trial@stra\u{df}e.invalid", "trial@strasse.invalid"],
        ] {
            let first = self.insert(&account(one, None)?).await?;
            let second = self.insert(&account(other, None)?).await?;
            match (&first, &second) {
                (Outcome::Done, Outcome::Done) => {}
                (Outcome::Done, Outcome::ViolatedConstraint(ViolatedConstraint::Email)) => self
                    .problem(format!(
                        "{} takes {one} and {other} for one address: give the column a binary \
                     collation, or one that is sensitive to accents",
                        self.column(AccountColumn::Email),
                    )),
                (Outcome::Done, refused) => self.refused("another sign-up", refused),
                (refused, _) => self.refused("a sign-up at an international domain", refused),
            }
        }
        Ok(())
    }

    /// Signs up again with an address that is taken.
    async fn try_taken_addresses(&mut self, new: &NewAccount) -> Result<(), BoxError> {
        let again = account(new.email().as_str(), None)?;
        match self.insert(&again).await? {
            Outcome::NoRow | Outcome::ViolatedConstraint(ViolatedConstraint::Email) => {}
            Outcome::Done => self.problem(format!(
                "{} is not unique: a second account got a taken address",
                self.column(AccountColumn::EmailKey),
            )),
            other => self.refused("a sign-up with a taken address", &other),
        }
        // The row of a user who is no account.
        let names = &self.store.names;
        let mut sql = crate::store::dialect::sql::Sql::new(names, B::SYNTAX);
        let (table, other) = (sql.table("accounts"), sql.value("signup-trial"));
        let id = sql.value(new.id().as_str());
        let hide = format!("UPDATE {table} SET @email_key = {other} WHERE @id = {id}");
        let hide = sql.statement(&hide);
        match self.step([hide, self.insert_of(&again)?]).await? {
            Outcome::Done | Outcome::ViolatedConstraint(ViolatedConstraint::Email) => {}
            other => {
                self.refused("a sign-up with the address of a row that is no account", &other);
            }
        }
        Ok(())
    }

    /// Changes, lists and erases an account.
    async fn try_changes(&mut self, new: &NewAccount) -> Result<(), BoxError> {
        let now = new.created_at();
        let change = || AccountChange::new(new.id().clone());
        let queries = Arc::clone(&self.store.queries);
        let email = Address::parse("signup-changed@example.invalid", EmailProfile::Strict)?;
        for (what, change) in [
            ("a new hash of a password", change().with(Effect::SetPassword(longest_hash()))),
            ("a change of address", change().with(Effect::SetEmail(email, now))),
            (
                "a change of an account",
                change()
                    .with(Effect::SetName(Some(FullName::parse("Kim")?)))
                    .with(Effect::SetPlan(AccountPlan::TRIAL))
                    .with(Effect::SetTicketNonce(TicketNonce::new([2; 16])))
                    .with(Effect::ForgetRetries)
                    .with(Effect::RevokeTokens),
            ),
            (
                "a planned deletion",
                change().with(Effect::SetState(AccountState::PendingDeletion, Some(now))),
            ),
            ("disabling an account", change().with(Effect::Disable)),
            ("erasing an account", change().with(Effect::Erase(None))),
        ] {
            let outcome = self.step(queries.change(&change)).await?;
            if !matches!(outcome, Outcome::Done) {
                self.refused(what, &outcome);
            }
        }
        if self.find(queries.find_account(FindBy::Id(new.id()))).await?.is_empty() {
            self.problem("a changed account is not found again".to_owned());
        }
        let (all, due) = (AccountFilter::new(1), AccountFilter::new(1).due_at(now));
        for list in [all, due].map(|filter| queries.list_accounts(&filter)) {
            for page in list.pages {
                self.find(page).await?;
            }
        }
        Ok(())
    }

    /// Compares what is read of an account with what was written.
    async fn compare(&mut self, new: &NewAccount) -> Result<(), BoxError> {
        let find = self.store.queries.find_login(FindBy::Email(new.email().key()));
        let found = self.find(find).await?.pop().map(|mut row| rows::login(&mut row, false));
        let Some(found) = found.transpose()? else {
            self.problem("a new account is not found again".to_owned());
            return Ok(());
        };
        let record = new.record();
        let changed = [
            (AccountColumn::Id, found.account.account.id() != new.id()),
            (AccountColumn::Email, found.account.account.email().as_str() != new.email().as_str()),
            (AccountColumn::Name, found.account.account.name() != new.name()),
            (AccountColumn::Plan, found.account.account.plan() != new.plan()),
            (AccountColumn::PasswordHash, found.password_hash != *new.password_hash()),
            (AccountColumn::CreatedAt, !is_near(found.account.created_at, record.created_at)),
            (
                AccountColumn::EmailVerifiedAt,
                !found
                    .account
                    .email_verified_at
                    .zip(record.email_verified_at)
                    .is_some_and(|(one, other)| is_near(one, other)),
            ),
            (AccountColumn::State, found.account.state != record.state),
            (AccountColumn::TicketNonce, found.account.ticket_nonce != record.ticket_nonce),
        ];
        for (column, is_changed) in changed {
            if is_changed {
                let column = self.column(column);
                self.problem(format!("{column} is read as another value than was written"));
            }
        }
        Ok(())
    }

    async fn insert(&mut self, new: &NewAccount) -> Result<Outcome, BoxError> {
        let insert = self.insert_of(new)?;
        self.step([insert]).await
    }

    /// Returns the statement that inserts the account's row. Its API key is in a table of the
    /// store, which may not exist yet.
    fn insert_of(&self, new: &NewAccount) -> Result<Statement, BoxError> {
        let insert = self.store.queries.inserts.one_by_one(new).into_iter().next();
        insert.ok_or_else(|| "there is no insert".into())
    }

    async fn step(
        &mut self,
        statements: impl IntoIterator<Item = Statement>,
    ) -> Result<Outcome, BoxError> {
        let persistent = self.store.backend.persistent();
        let mut savepoint = self.transaction.begin().await.map_err(readable)?;
        for statement in statements {
            let outcome = match B::execute(&mut savepoint, &statement, persistent).await {
                Ok(0) if statement.must_affect_row() => Outcome::NoRow,
                Ok(_) => continue,
                Err(error) => match (B::clash(&error, &self.store.names), said(&error)) {
                    (Some(clash), _) => Outcome::ViolatedConstraint(clash),
                    (None, Some((text, code))) => {
                        if matches!(B::fault(error), Fault::Conflict(_)) {
                            self.conflicts = true;
                            return Err(text.into());
                        }
                        Outcome::Refused(text, code)
                    }
                    (None, None) => return Err(readable(error)),
                },
            };
            savepoint.rollback().await.map_err(readable)?;
            return Ok(outcome);
        }
        savepoint.commit().await.map_err(readable)?;
        Ok(Outcome::Done)
    }

    async fn find(
        &mut self,
        find: Find,
    ) -> Result<Vec<crate::store::sql::statement::Row>, BoxError> {
        let persistent = self.store.backend.persistent();
        let rows = B::fetch(&mut self.transaction, &find.statement, find.columns, persistent).await;
        rows.map_err(|error| match said(&error) {
            Some((text, code)) => format!("a query fails: {text} (code {code})").into(),
            None => readable(error),
        })
    }

    fn problem(&mut self, what: String) {
        self.problems.push(TableProblem::new(what, None));
    }

    /// Adds a step that the table does not take.
    fn refused(&mut self, what: &str, outcome: &Outcome) {
        let (text, sql) = match outcome {
            Outcome::Done => return,
            Outcome::NoRow => (format!("{what} affects no row"), None),
            Outcome::ViolatedConstraint(clash) => {
                (format!("{what} fails: {clash:?} clashes"), None)
            }
            Outcome::Refused(said, code) => {
                (format!("{what} fails: {said} (code {code})"), self.correction(code))
            }
        };
        self.problems.push(TableProblem::new(text, sql));
    }

    /// Returns the statement that lets a sequence go on behind rows that were copied with their
    /// numbers.
    fn correction(&self, code: &str) -> Option<String> {
        let accounts = self.store.names.accounts.as_ref()?;
        let (table, key) = (accounts.table(), &accounts.map.primary_key);
        let quoted = accounts.quoted(key);
        (code == "23505").then(|| {
            format!(
                "SELECT setval(pg_get_serial_sequence('{table}', '{key}'), \
                 (SELECT max({quoted}) FROM {table}))"
            )
        })
    }

    /// Returns the name of a column for a message.
    fn column(&self, column: AccountColumn) -> String {
        let accounts = self.store.names.accounts.as_ref();
        accounts.map_or_else(String::new, |it| format!("{}.{}", it.map.table, it.name(column)))
    }
}

/// Returns what the database has said, and its code. All values are of this trial.
fn said(error: &sqlx::Error) -> Option<(String, String)> {
    let error = error.as_database_error()?;
    Some((error.message().to_owned(), error.code().unwrap_or_default().into_owned()))
}

/// Returns whether two times are equal but for what a column rounds away.
fn is_near(one: Timestamp, other: Timestamp) -> bool {
    one.since(other).max(other.since(one)).as_secs() < 2
}

/// Creates an account with a value in each column that can have one.
fn account(email: &str, name: Option<&str>) -> Result<NewAccount, BoxError> {
    let mut draw = Entropy::draw(&SystemRandom)?;
    let id = AccountId::mint(&mut draw)?;
    let key = ApiKey::mint(&ApiKeyPrefix::default(), &mut draw)?;
    let now = Timestamp::try_from(SystemClock.wall())?;
    let email = Address::parse(email, EmailProfile::Strict)?;
    let name = name.map(FullName::parse).transpose()?;
    Ok(NewAccount {
        key: NewApiKey::of(&key, id.clone(), now, None),
        account: Arc::new(Account::new(id, email, name, AccountPlan::TRIAL)),
        password_hash: Arc::new(longest_hash()),
        context: Arc::default(),
        receipt: Some(Receipt::from_store(&draw.take::<16>()?, 1, &draw.take::<32>()?)?),
        email_verified_at: Some(now),
        email_unverified: true,
        ticket_nonce: Some(TicketNonce::new([1; 16])),
        ticket: None,
        event: None,
    })
}

/// Returns a hash as long as one can be.
fn longest_hash() -> Hash {
    let (salt, tag) = ("c".repeat(22), "d".repeat(43));
    let phc = format!("$argon2id$v=19$m=4194304,t=4294967295,p=255${salt}${tag}");
    Hash::from_store(phc, Some(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_near_if_a_column_rounds_them_to_seconds() {
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        assert!(is_near(at(10_999), at(10_000)) && is_near(at(10_000), at(10_999)));
        assert!(!is_near(at(13_000), at(10_000)) && !is_near(at(10_000), at(13_000)));
    }
}
