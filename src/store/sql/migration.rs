//! The steps of the schema as SQL, for a host whose own tool applies them.

use super::SqlStore;
use super::backend::Backend;
use super::migrate::{checksum_of, create_record, record_table};

/// A step of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// Its number, counted from one.
    pub version: i64,
    /// A short description.
    pub description: &'static str,
    /// Its statements, each ended by a semicolon, with the names of the store.
    pub sql: String,
}

impl<B: Backend> SqlStore<B> {
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
    ///     // Into `migrations/0001_accounts_and_api_keys.sql`, and so on.
    ///     let name = migration.description.replace(' ', "_");
    ///     println!("-- {:04}_{name}.sql\n{}", migration.version, migration.sql);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # }
    /// ```
    pub fn migrations(&self) -> Vec<Migration> {
        let steps = self.backend.steps(&self.names).iter().enumerate().map(|(at, step)| {
            let mut sql = String::new();
            if at == 0 {
                sql += &B::create_schema(&self.names);
                sql += &create_record::<B>(&self.names);
                sql += ";\n";
            }
            sql += self.names.fill(step.sql).trim_end();
            let (table, description) = (record_table(&self.names), step.description);
            let checksum: String =
                checksum_of(step.sql).iter().map(|byte| format!("{byte:02x}")).collect();
            let checksum = (B::DIALECT.hex)(&checksum);
            sql += &format!(
                "\nINSERT INTO {table}
    (version, description, success, checksum, execution_time, requires)
    VALUES ({}, '{description}', true, {checksum}, 0, {});\n",
                step.version, step.requires,
            );
            Migration { version: step.version, description, sql }
        });
        steps.collect()
    }
}
