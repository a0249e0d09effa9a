//! The SQL of the store, with the names that the host chose.

use sqlx::postgres::{PgConnection, PgRow, PgTransaction};
use sqlx::{Connection as _, SqlStr};

use crate::account::AccountId;
use crate::fields::EmailKey;

use super::super::sql::credentials::{self, Statement, query};
use super::super::sql::{TablePrefix, shared};
use super::super::{Created, NewAccount};
use super::Schema;

const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "accounts and api_keys", include_str!("0001_accounts.sql")),
    (2, "credentials", include_str!("0002_credentials.sql")),
];

/// Whoever migrates holds this lock until its transaction ends. The number is
/// `signup` in ASCII.
const MIGRATION_LOCK: i64 = 0x0073_6967_6e75_7000;

/// SQLSTATE of a unique violation.
const UNIQUE_VIOLATION: &str = "23505";

pub(super) struct Queries {
    /// What a table's name begins with: schema and prefix.
    tables: String,
    prefix: String,
    email_constraint: String,
    insert: SqlStr,
    find_email_key: SqlStr,
    find_id: SqlStr,
    pub(super) credentials: credentials::Credentials,
}

impl Queries {
    pub(super) fn new(schema: &Schema, prefix: &TablePrefix) -> Self {
        let prefix = prefix.as_str().to_owned();
        let schema = schema.name().map(|schema| format!("{schema}."));
        let tables = schema.unwrap_or_default() + &prefix;
        let email_constraint = format!("{prefix}accounts_email_key_key");
        // Both rows in one statement. Without the first there is no second, and
        // then the count of rows says that the email is taken.
        let insert = format!(
            "WITH account AS (
                 INSERT INTO {tables}accounts (id, email, email_key, name, plan, password_hash,
                                               pepper_version, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                 ON CONFLICT ON CONSTRAINT {email_constraint} DO NOTHING
                 RETURNING id)
             INSERT INTO {tables}api_keys (digest, account_id, prefix, last_four, created_at)
             SELECT $9, id, $10, $11, $8 FROM account"
        );
        Self {
            insert: shared(insert),
            find_email_key: shared(format!("SELECT 1 FROM {tables}accounts WHERE email_key = $1")),
            find_id: shared(format!("SELECT 1 FROM {tables}accounts WHERE id = $1")),
            credentials: credentials::Credentials::new(&tables, "least", "greatest"),
            email_constraint,
            tables,
            prefix,
        }
    }

    pub(super) fn table(&self, name: &str) -> String {
        format!("{}{name}", self.tables)
    }

    pub(super) fn migrations(&self) -> impl Iterator<Item = (i64, &'static str, SqlStr)> {
        MIGRATIONS.into_iter().map(|(version, description, sql)| {
            let sql = sql.replace("{t}", &self.tables).replace("{p}", &self.prefix);
            (version, description, shared(sql))
        })
    }

    /// Both rows, or what they clash with.
    pub(super) async fn insert(
        &self,
        connection: &mut PgConnection,
        new: &NewAccount,
        prepare: bool,
    ) -> Result<Created, sqlx::Error> {
        let inserted = sqlx::query(self.insert.clone())
            .persistent(prepare)
            .bind(new.id().as_str())
            .bind(new.email().as_str())
            .bind(new.email().key().as_str())
            .bind(new.name())
            .bind(new.plan().as_str())
            .bind(new.password_hash().as_phc())
            .bind(new.password_hash().pepper_version().map(i64::from))
            .bind(new.created_at().as_millis())
            .bind(new.key_digest().as_bytes().as_slice())
            .bind(new.key_prefix())
            .bind(new.key_last_four())
            .execute(connection)
            .await;
        match inserted {
            Ok(rows) if rows.rows_affected() == 0 => Ok(Created::EmailTaken),
            Ok(_) => Ok(Created::Stored),
            Err(error) => self.conflict(&error).ok_or(error),
        }
    }

    /// What a unique violation means, by the name of the constraint.
    pub(super) fn conflict(&self, error: &sqlx::Error) -> Option<Created> {
        let error = error.as_database_error()?;
        if error.code().as_deref() != Some(UNIQUE_VIOLATION) {
            return None;
        }
        let constraint = error.constraint()?;
        if constraint == self.email_constraint {
            return Some(Created::EmailTaken);
        }
        let ours = ["accounts_pkey", "api_keys_pkey"].map(|name| format!("{}{name}", self.prefix));
        ours.iter().any(|name| name == constraint).then_some(Created::IdentifierTaken)
    }

    /// The account of an email key.
    pub(super) fn find_email_key(&self, key: &EmailKey) -> Statement {
        Statement::new(&self.find_email_key, [key.as_str().into()])
    }

    /// The account of an id.
    pub(super) fn find_id(&self, id: &AccountId) -> Statement {
        Statement::new(&self.find_id, [id.as_str().into()])
    }
}

/// All rows of a statement that only reads.
pub(super) async fn rows(
    connection: &mut PgConnection,
    find: &Statement,
    prepare: bool,
) -> Result<Vec<PgRow>, sqlx::Error> {
    let query = query!(find).persistent(prepare);
    if prepare {
        return query.fetch_all(connection).await;
    }
    // Behind a pooler only a transaction keeps the statement and its execution
    // on one server.
    let mut transaction = connection.begin().await?;
    let rows = query.fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(rows)
}

/// Waits until no other instance migrates, and makes the schema.
pub(super) async fn shut_others_out(
    transaction: &mut PgTransaction<'_>,
    schema: &Schema,
) -> Result<(), sqlx::Error> {
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK);
    lock.execute(&mut **transaction).await?;
    if let Some(name) = schema.name() {
        let create = shared(format!("CREATE SCHEMA IF NOT EXISTS {name}"));
        sqlx::query(create).execute(&mut **transaction).await?;
    }
    Ok(())
}
