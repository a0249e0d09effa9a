//! The steps of the schema as SQL, for a host whose own tool applies them.

use sha2::{Digest as _, Sha256};

use super::names::TableNames;
use super::syntax::{Step, Syntax};

/// The table of records.
pub(in crate::store) const TABLE: &str = "_signup_migrations";

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

/// Returns the numbered steps of the schema.
pub(in crate::store) fn steps(names: &TableNames, syntax: &Syntax) -> &'static [Step] {
    if names.accounts.is_some() { syntax.mapped_steps } else { syntax.steps }
}

/// Returns the statement that creates the schema of the tables, ended by a semicolon, if they
/// have one.
pub(in crate::store) fn create_schema(names: &TableNames, syntax: &Syntax) -> String {
    let schema = names.schema.name().filter(|_| syntax.creates_schema);
    schema.map(|name| format!("CREATE SCHEMA IF NOT EXISTS {name};\n")).unwrap_or_default()
}

/// Fills the names of the host into the steps of the schema.
pub(in crate::store) fn migrations(
    steps: &[Step],
    names: &TableNames,
    syntax: &Syntax,
) -> Vec<Migration> {
    let steps = steps.iter().enumerate().map(|(at, step)| {
        let mut sql = String::new();
        if at == 0 {
            sql += &create_schema(names, syntax);
            sql += &create_record(names, syntax);
            sql += ";\n";
        }
        sql += names.fill(&step.template()).trim_end();
        let (table, description) = (record_table(names), step.description);
        let checksum: String =
            checksum_of(&step.template()).iter().map(|byte| format!("{byte:02x}")).collect();
        let checksum = (syntax.hex)(&checksum);
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

/// Returns the name of the table of records.
pub(in crate::store) fn record_table(names: &TableNames) -> String {
    names.table(TABLE)
}

/// Returns the statement that creates the table of records.
pub(in crate::store) fn create_record(names: &TableNames, syntax: &Syntax) -> String {
    format!(
        "{} {} (version bigint PRIMARY KEY, description text NOT NULL,
             installed_on timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
             success boolean NOT NULL, checksum {} NOT NULL, execution_time bigint NOT NULL,
             requires bigint NOT NULL DEFAULT 1)",
        syntax.create_table,
        record_table(names),
        syntax.bytes,
    )
}

/// Returns the SHA-256 of a template, independent of its line endings.
pub(in crate::store) fn checksum_of(template: &str) -> [u8; 32] {
    Sha256::digest(template.replace("\r\n", "\n").as_bytes()).into()
}
