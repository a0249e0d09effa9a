//! Migrations of the schema.
//!
//! Each applied step is a row of `_signup_migrations`, with a checksum of its template,
//! which depends neither on names nor on line endings, and with the oldest version whose
//! code can use the schema from then on. So older code accepts a newer schema that only
//! added something.

use std::fmt::Write as _;
use std::time::Duration;

use sqlx::Connection as _;
use tokio::time::{Instant, timeout};

use crate::issue::BoxError;

use crate::store::dialect::migration::{
    Migration, TABLE, checksum_of, create_record, create_schema, migrations, record_table,
};
use crate::store::dialect::statement::Statement;
use crate::store::dialect::syntax::Step;

use super::SqlStore;
use super::backend::{Backend, Connection, Limit};
use super::change::{ATTEMPTS, wait};
use super::open::{OpenError, readable};
use super::statement::{Kind, trusted};

/// The default time limit of [`migrate`](SqlStore::migrate), including the wait for other
/// instances.
const LIMIT: Duration = Duration::from_mins(5);

impl<B: Backend> SqlStore<B> {
    /// Creates the tables or brings them up to date. Any number of instances may call it at
    /// once: one migrates, and the others wait.
    ///
    /// If nothing is missing it only reads, so that a role without rights on the schema can
    /// call it.
    ///
    /// # Errors
    /// Fails if the database does not answer within five minutes, if the role may not
    /// change the schema, or if this version can't use the schema.
    pub async fn migrate(&self) -> Result<(), OpenError> {
        self.migrate_within(LIMIT).await
    }

    /// Migrates like [`migrate`](Self::migrate), with another time limit for waiting and
    /// all steps together.
    ///
    /// # Errors
    /// Fails like [`migrate`](Self::migrate).
    pub async fn migrate_within(&self, limit: Duration) -> Result<(), OpenError> {
        let failed = |error: BoxError| OpenError::migrate(self.location.clone(), error);
        B::check(&self.pool).map_err(failed)?;
        let migrated = timeout(limit, async {
            let problems = self.table_problems().await?;
            if !problems.is_empty() {
                let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
                return Err(lines.join("\n").into());
            }
            let mut connection = self.pool.acquire().await.map_err(readable)?;
            B::check_session(&mut connection).await?;
            if !self.read_missing_steps(&mut connection).await?.is_empty() {
                if !B::REUSES_DROPPED {
                    // Also where the caller leaves: a transaction may be open then.
                    connection.close_on_drop();
                }
                if let Some(limits) = self.backend.migration_limits(limit) {
                    B::run(&mut connection, limits).await.map_err(readable)?;
                }
                let applied = if self.backend.migrates_by_statement() {
                    self.apply_by_statement(&mut connection).await
                } else {
                    self.apply_missing(&mut connection, limit).await
                };
                applied?;
            }
            Ok(())
        });
        let late = || format!("it took longer than {limit:?}: does another session hold a lock?");
        migrated.await.unwrap_or_else(|_| Err(late().into())).map_err(failed)
    }

    /// Returns whether the tables are up to date. It only reads.
    ///
    /// # Errors
    /// Fails if the database does not answer, or if this version can't use the schema.
    pub async fn is_up_to_date(&self) -> Result<bool, OpenError> {
        let failed = |error: BoxError| OpenError::migrate(self.location.clone(), error);
        let checked = timeout(self.deadline, async {
            let mut connection = self.pool.acquire().await.map_err(readable)?;
            B::check_session(&mut connection).await?;
            Ok(self.read_missing_steps(&mut connection).await?.is_empty())
        });
        let late = |_| Err("no answer before the deadline".into());
        checked.await.unwrap_or_else(late).map_err(failed)
    }

    /// Returns the steps of the schema, for a host whose own tool migrates: each is a file
    /// of it, applied once, in their order and in a transaction. They leave the same tables
    /// as [`migrate`](Self::migrate), and the record by which
    /// [`is_up_to_date`](Self::is_up_to_date) knows them.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use signup::store::{SqliteStore, TablePrefix};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let store = SqliteStore::connect("sqlite::memory:").await?;
    /// let store = store.with_prefix(TablePrefix::new("auth_")?);
    /// for migration in store.migrations() {
    ///     // Into `migrations/0001_accounts.sql`, and so on.
    ///     let name = migration.description.replace(' ', "_");
    ///     println!("-- {:04}_{name}.sql\n{}", migration.version, migration.sql);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # }
    /// ```
    pub fn migrations(&self) -> Vec<Migration> {
        migrations(self.steps(), &self.names, &B::SYNTAX)
    }

    fn steps(&self) -> &'static [Step] {
        #[cfg(test)]
        if let Some(steps) = self.steps {
            return steps;
        }
        self.backend.steps(&self.names)
    }

    /// Applies missing steps in one transaction that locks out other instances.
    async fn apply_missing(
        &self,
        connection: &mut Connection<B>,
        limit: Duration,
    ) -> Result<(), BoxError> {
        let begin = self.backend.begin(Some(Limit { left: limit, is_late: false }));
        let mut transaction = connection.begin_with(begin).await.map_err(readable)?;
        B::begin_migration(&mut transaction, &self.names, limit).await.map_err(hinted)?;
        self.prepare_record(&mut transaction).await.map_err(hinted)?;
        for step in self.missing_steps(&mut transaction).await? {
            let script = trusted(self.names.fill(&step.template()));
            B::run(&mut transaction, script).await.map_err(hinted)?;
            self.check_own_tables(&mut transaction).await?;
            let record = self.record(step);
            B::execute(&mut transaction, &record, self.backend.persistent())
                .await
                .map_err(readable)?;
        }
        transaction.commit().await.map_err(readable)
    }

    /// Applies missing steps as single statements. What an interrupted migration has left is
    /// finished by the next.
    async fn apply_by_statement(&self, connection: &mut Connection<B>) -> Result<(), BoxError> {
        let record =
            create_schema(&self.names, &B::SYNTAX) + &create_record(&self.names, &B::SYNTAX);
        self.run_each(connection, &record).await?;
        self.check_accounts(connection).await?;
        for step in self.missing_steps(connection).await? {
            self.run_each(connection, &self.names.fill(&step.template())).await?;
            self.check_own_tables(connection).await?;
            let record = self.record(step);
            B::execute(connection, &record, self.backend.persistent()).await.map_err(readable)?;
        }
        Ok(())
    }

    /// Rejects an `accounts` table of the host, which the definition of this crate's would pass
    /// over.
    async fn check_accounts(&self, connection: &mut Connection<B>) -> Result<(), BoxError> {
        if self.names.accounts.is_some()
            || !self.has_column(connection, "accounts", "id").await.map_err(readable)?
            || self.has_column(connection, "accounts", "email_key").await.map_err(readable)?
        {
            return Ok(());
        }
        let table = self.names.table("accounts");
        Err(format!("there is another table {table}: choose other names by with_prefix").into())
    }

    /// Rejects the host's tables that have the names of this crate's tables: a definition that can
    /// be repeated passes over them.
    async fn check_own_tables(&self, connection: &mut Connection<B>) -> Result<(), BoxError> {
        // With a column that only this crate's has.
        for (table, column) in [
            ("api_keys", "digest"),
            ("used_tickets", "hash"),
            ("events", "partition_id"),
            ("event_leases", "fence"),
            ("notices", "api_keys_kept"),
        ] {
            let find = self.backend.find_column(&self.names, table, column);
            let rows = B::fetch(connection, &find, &[], self.backend.persistent()).await;
            if rows.map_err(readable)?.is_empty() {
                let table = self.names.table(table);
                return Err(format!(
                    "there is another table {table}: choose other names by with_prefix"
                )
                .into());
            }
        }
        Ok(())
    }

    /// Runs the statements of a script one by one. An error may come from another instance
    /// which does the same, so each is tried again for a moment.
    async fn run_each(&self, connection: &mut Connection<B>, script: &str) -> Result<(), BoxError> {
        let until = Instant::now() + self.deadline;
        for statement in script.split_inclusive(";\n") {
            let mut attempt = 1;
            while let Err(error) = B::run(connection, trusted(statement.to_owned())).await {
                if B::is_there(&error) {
                    break;
                }
                if attempt == ATTEMPTS || error.as_database_error().is_none() {
                    return Err(hinted(error));
                }
                wait(attempt, until).await;
                attempt += 1;
            }
        }
        Ok(())
    }

    /// Creates the table of records.
    async fn prepare_record(&self, connection: &mut Connection<B>) -> Result<(), sqlx::Error> {
        if self.has_column(connection, TABLE, "version").await? {
            return Ok(());
        }
        B::run(connection, trusted(create_record(&self.names, &B::SYNTAX))).await
    }

    async fn has_column(
        &self,
        connection: &mut Connection<B>,
        table: &str,
        column: &str,
    ) -> Result<bool, sqlx::Error> {
        let find = self.backend.find_column(&self.names, table, column);
        let rows = B::fetch(connection, &find, &[], self.backend.persistent()).await?;
        Ok(!rows.is_empty())
    }

    fn record(&self, step: &Step) -> Statement {
        let placeholder = B::SYNTAX.placeholder;
        let sql = format!(
            "INSERT INTO {} (version, description, success, checksum, execution_time, requires)
             VALUES ({}, {}, true, {}, 0, {}) {}",
            record_table(&self.names),
            placeholder(1),
            placeholder(2),
            placeholder(3),
            placeholder(4),
            B::SYNTAX.ignore_recorded,
        );
        let values = [
            step.version.into(),
            step.description.into(),
            checksum_of(&step.template()).as_slice().into(),
            step.requires.into(),
        ];
        Statement::from_parts(sql, values.into())
    }

    /// Returns the steps that have not been applied, outside of a migration.
    ///
    /// # Errors
    /// Fails like [`missing_steps`](Self::missing_steps).
    async fn read_missing_steps(
        &self,
        connection: &mut Connection<B>,
    ) -> Result<Vec<&'static Step>, BoxError> {
        let Some(begin) = self.backend.begin_read() else {
            return self.missing_steps(connection).await;
        };
        let mut transaction = connection.begin_with(begin).await.map_err(readable)?;
        let missing = self.missing_steps(&mut transaction).await?;
        transaction.commit().await.map_err(readable)?;
        Ok(missing)
    }

    /// Returns the steps that have not been applied.
    ///
    /// # Errors
    /// Fails if an applied step differs from this version's, or if a newer one is
    /// incompatible with this version.
    async fn missing_steps(
        &self,
        connection: &mut Connection<B>,
    ) -> Result<Vec<&'static Step>, BoxError> {
        if !self.has_column(connection, TABLE, "version").await.map_err(readable)? {
            return Ok(self.steps().iter().collect());
        }
        let table = record_table(&self.names);
        let find = format!("SELECT version, checksum, requires FROM {table} ORDER BY version");
        let find = Statement::from_parts(find, Vec::new());
        let kinds = &[Kind::Integer, Kind::Bytes, Kind::Integer];
        let rows = B::fetch(connection, &find, kinds, self.backend.persistent()).await;
        let mut applied = Vec::new();
        for mut row in rows.map_err(readable)? {
            applied.push(Applied {
                version: row.integer()?,
                checksum: row.bytes()?,
                requires: row.integer()?,
            });
        }
        missing(self.steps(), &applied)
    }
}

/// A row of `_signup_migrations`.
struct Applied {
    version: i64,
    checksum: Vec<u8>,
    requires: i64,
}

/// Returns the steps that are not among the applied ones.
fn missing<'a>(steps: &'a [Step], applied: &[Applied]) -> Result<Vec<&'a Step>, BoxError> {
    let latest = steps.last().map_or(0, |step| step.version);
    for row in applied {
        if row.requires > latest {
            return Err(format!(
                "its schema is of version {}, which needs a version of this crate that knows \
                 version {} of it; this one knows {latest}: start the newer release, or restore \
                 a backup from before its migration",
                row.version, row.requires,
            )
            .into());
        }
        let step = steps.iter().find(|step| step.version == row.version);
        if step.is_some_and(|step| row.checksum != checksum_of(&step.template())) {
            return Err(format!(
                "step {} of its schema is not the one of this crate: was it changed by hand, or \
                 do two applications use these names? Choose a prefix or a schema",
                row.version,
            )
            .into());
        }
    }
    let is_missing = |step: &&Step| applied.iter().all(|row| row.version != step.version);
    Ok(steps.iter().filter(is_missing).collect())
}

/// Adds a hint to the usual errors of a step.
fn hinted(error: sqlx::Error) -> BoxError {
    let code = error.as_database_error().and_then(|error| Some(error.code()?.into_owned()));
    let readable = readable(error);
    let mut text = readable.to_string();
    let hint = match code.as_deref() {
        Some("42P07" | "42P06") => {
            "; tables of these names exist: choose others by with_prefix or with_schema"
        }
        Some("42501") => "; this role may not change the schema: migrate as its owner",
        _ if text.contains("already exists") => {
            "; tables of these names exist: choose others by with_prefix"
        }
        _ => return readable,
    };
    let _ = write!(text, "{hint}");
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::dialect::syntax::Form;

    const STEPS: [Step; 2] = [
        Step { sql: &["CREATE\nTABLE {t}x"], ..step(1, "one") },
        Step { sql: &["ALTER"], ..step(2, "two") },
    ];

    const fn step(version: i64, description: &'static str) -> Step {
        let form = Form { if_not_exists: "", bytewise: "", reference: "", indexes: &[] };
        Step { version, description, sql: &[], form, requires: 1 }
    }

    fn applied(version: i64, sql: &str, requires: i64) -> Applied {
        Applied { version, checksum: checksum_of(sql).to_vec(), requires }
    }

    fn versions(applied: &[Applied]) -> Result<Vec<i64>, String> {
        let missing = missing(&STEPS, applied).map_err(|error| error.to_string())?;
        Ok(missing.iter().map(|step| step.version).collect())
    }

    #[test]
    fn line_endings_do_not_change_a_step() {
        assert_eq!(versions(&[applied(1, "CREATE\r\nTABLE {t}x", 1)]), Ok(vec![2]));
    }

    #[test]
    fn a_step_that_was_changed_is_refused() {
        assert!(versions(&[applied(1, "CREATE TABLE {t}y", 1)]).unwrap_err().contains("step 1"));
    }

    #[test]
    fn a_newer_schema_is_accepted_if_it_only_added() {
        let now = || [applied(1, "CREATE\nTABLE {t}x", 1), applied(2, "ALTER", 1)];
        let [one, two] = now();
        assert_eq!(versions(&[one, two, applied(3, "later", 2)]), Ok(vec![]));
        let [one, two] = now();
        let refused = versions(&[one, two, applied(3, "later", 3)]).unwrap_err();
        assert!(refused.contains("newer release") && refused.contains("version 3"), "{refused}");
    }

    #[tokio::test]
    #[cfg(feature = "sqlite")]
    async fn a_database_of_an_earlier_version_is_brought_up_to_date_with_its_rows() {
        use crate::store::SqliteStore;

        let first = SqliteStore::connect("sqlite::memory:").await.unwrap();
        first.migrate().await.unwrap();
        let insert = "INSERT INTO used_tickets VALUES (x'01', 7)";
        sqlx::query(insert).execute(first.pool()).await.unwrap();
        let own = first.backend.steps(&first.names)[0];
        let added = "ALTER TABLE {t}used_tickets ADD COLUMN later INTEGER DEFAULT 9;";
        let two = Step { version: 2, description: "later", sql: Box::leak([added].into()), ..own };
        let second = SqlStore { steps: Some(Box::leak([own, two].into())), ..first.clone() };
        assert!(first.is_up_to_date().await.unwrap() && !second.is_up_to_date().await.unwrap());
        second.migrate().await.unwrap();
        second.migrate().await.unwrap();
        let row = sqlx::query_as("SELECT expires_at, later FROM used_tickets");
        let row: (i64, i64) = row.fetch_one(first.pool()).await.unwrap();
        assert_eq!(row, (7, 9));
        // The earlier release can go on: the step has only added something.
        assert!(second.is_up_to_date().await.unwrap() && first.is_up_to_date().await.unwrap());
    }
}
