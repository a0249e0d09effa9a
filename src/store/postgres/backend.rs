//! The PostgreSQL back end.

use std::time::Duration;

use sqlx::postgres::{PgConnection, Postgres as Database};
use sqlx::{Executor as _, SqlSafeStr as _, SqlStr};

use crate::store::NewAccount;

use super::{Postgres, Timeouts, server_millis};
use crate::store::sql::backend::{Backend, Catalog, Clash, Dialect, Step, Types, sealed};
use crate::store::sql::fault::{Fault, without_rows};
use crate::store::sql::names::Names;
use crate::store::sql::numbered::{query, values};
use crate::store::sql::queries::Queries;
use crate::store::sql::statement::{Kind, Row, Statement, trusted};
use crate::store::sql::table::AccountColumn;

/// The advisory lock of a migration, held until its transaction ends: `signup` in ASCII.
const MIGRATION_LOCK: i64 = 0x0073_6967_6e75_7000;

/// The numbered steps of the schema.
const STEPS: &[Step] = &[
    Step {
        version: 1,
        description: "accounts and api_keys",
        sql: include_str!("0001_accounts.sql"),
        requires: 1,
    },
    Step {
        version: 2,
        description: "credentials",
        sql: include_str!("0002_credentials.sql"),
        requires: 1,
    },
    Step {
        version: 3,
        description: "token generation",
        sql: include_str!("0003_token_generation.sql"),
        requires: 3,
    },
    Step { version: 4, description: "retries", sql: include_str!("0004_retries.sql"), requires: 3 },
    Step {
        version: 5,
        description: "verification",
        sql: include_str!("0005_verification.sql"),
        requires: 3,
    },
    Step { version: 6, description: "state", sql: include_str!("0006_state.sql"), requires: 6 },
    Step { version: 7, description: "events", sql: include_str!("0007_events.sql"), requires: 6 },
];

/// Those of a distributed database.
const DISTRIBUTED_STEPS: &[Step] = &[Step {
    version: 7,
    description: "accounts of a distributed database",
    sql: include_str!("distributed.sql"),
    requires: 7,
}];

/// Those beside a table of the host's.
const MAPPED_STEPS: &[Step] = &[Step {
    version: 7,
    description: "tables beside one of the host",
    sql: include_str!("mapped.sql"),
    requires: 7,
}];

const CATALOG: Catalog = Catalog {
    columns: "SELECT column_name::text, udt_name::text,
                  CASE WHEN is_nullable = 'YES' THEN 1 ELSE 0 END::bigint,
                  CASE WHEN column_default IS NOT NULL OR is_identity = 'YES'
                      OR is_generated = 'ALWAYS' THEN 1 ELSE 0 END::bigint
              FROM information_schema.columns
              WHERE table_schema = coalesce($1, current_schema()) AND table_name = $2",
    uniques: "SELECT c.relname::text, a.attname::text
              FROM pg_index i
              JOIN pg_class c ON c.oid = i.indexrelid
              JOIN pg_class t ON t.oid = i.indrelid
              JOIN pg_namespace n ON n.oid = t.relnamespace
              JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
              WHERE n.nspname = coalesce($1, current_schema()) AND t.relname = $2
                AND i.indisunique AND i.indnkeyatts = 1 AND i.indpred IS NULL
                AND i.indexprs IS NULL",
    id: Types { accepted: &["text", "varchar"], proposed: "text COLLATE \"C\"" },
    text: Types { accepted: &["text", "varchar", "bpchar", "citext", "name"], proposed: "text" },
    key: Types { accepted: &["text", "varchar"], proposed: "text COLLATE \"C\"" },
    integer: Types { accepted: &["int8"], proposed: "bigint" },
    bytes: Types { accepted: &["bytea"], proposed: "bytea" },
    time: Types { accepted: &["timestamptz", "timestamp"], proposed: "timestamptz" },
    as_text: |value| format!("CAST({value} AS text)"),
    from_text: |value, kind| format!("CAST({value} AS {kind})"),
};

impl sealed::Sealed for Postgres {}

impl Backend for Postgres {
    type Database = Database;

    const DIALECT: Dialect = Dialect {
        placeholder: |number| format!("${number}"),
        ping: "SELECT 1",
        bytes: "bytea",
        create_table: "CREATE TABLE IF NOT EXISTS",
        ignore_recorded: "ON CONFLICT (version) DO NOTHING",
        hex: |digits| format!("'\\x{digits}'"),
        least: "least",
        // Of this column alone: another constraint, of the host, is another error. No row
        // data gets into the server's log.
        quote: '"',
        unique_name: |table, column| format!("{table}_{column}_key"),
        read_time: |column| format!("CAST(round(extract(epoch FROM {column}) * 1000) AS bigint)"),
        write_time: |millis| format!("to_timestamp({millis} / 1000.0)"),
        catalog: &CATALOG,
        ignore_taken_email: "ON CONFLICT (@email_key) DO NOTHING",
    };
    // sqlx's `begin` is not cancel-safe: an open transaction would return to the pool.
    const REUSES_DROPPED: bool = false;
    const READ_SETTLES_COMMIT: bool = false;

    fn steps(&self, names: &Names) -> &'static [Step] {
        match names.accounts {
            Some(_) => MAPPED_STEPS,
            None if self.distributed => DISTRIBUTED_STEPS,
            None => STEPS,
        }
    }

    fn migrates_by_statement(&self) -> bool {
        self.distributed
    }

    fn references_by_convention(&self) -> bool {
        self.distributed
    }

    fn begin(&self, left: Duration) -> SqlStr {
        if self.timeouts == Timeouts::BySession || left == Duration::MAX {
            return "BEGIN".into_sql_str();
        }
        trusted(format!("BEGIN; SET LOCAL statement_timeout = {}", server_millis(left)))
    }

    fn commits_alone(&self) -> bool {
        self.prepares && self.timeouts == Timeouts::BySession
    }

    /// Begins a transaction behind a pooler, which only then keeps a statement and its
    /// execution on one server.
    fn begin_read(&self) -> Option<SqlStr> {
        (!self.prepares).then(|| "BEGIN".into_sql_str())
    }

    fn persistent(&self) -> bool {
        self.prepares
    }

    fn insert_account(&self, queries: &Queries, new: &NewAccount) -> Vec<Statement> {
        if self.distributed || queries.accounts.is_some() {
            return queries.inserts(new);
        }
        vec![queries.insert_at_once(new)]
    }

    async fn execute(
        connection: &mut PgConnection,
        statement: &Statement,
        persistent: bool,
    ) -> Result<u64, sqlx::Error> {
        let done = query::<Database>(statement, persistent).execute(connection).await?;
        Ok(done.rows_affected())
    }

    async fn fetch(
        connection: &mut PgConnection,
        statement: &Statement,
        kinds: &'static [Kind],
        persistent: bool,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let rows = query::<Database>(statement, persistent).fetch_all(connection).await?;
        rows.iter().map(|row| values(row, kinds)).collect()
    }

    async fn run(connection: &mut PgConnection, script: SqlStr) -> Result<(), sqlx::Error> {
        connection.execute(sqlx::raw_sql(script)).await.map(drop)
    }

    async fn begin_migration(
        connection: &mut PgConnection,
        names: &Names,
        limit: Duration,
    ) -> Result<(), sqlx::Error> {
        // Commits of other instances are visible only after waiting for them.
        let settings = format!(
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {}; \
             SELECT pg_advisory_xact_lock({MIGRATION_LOCK})",
            server_millis(limit),
        );
        Self::run(connection, trusted(settings)).await?;
        let encoding: String =
            sqlx::query_scalar("SHOW server_encoding").fetch_one(&mut *connection).await?;
        if encoding != "UTF8" {
            let text = format!(
                "the database's encoding is {encoding}, which can't hold every name: create one \
                 with ENCODING 'UTF8'"
            );
            return Err(sqlx::Error::Protocol(text));
        }
        let Some(schema) = names.schema.name() else {
            return Ok(());
        };
        let exists: bool = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL")
            .bind(schema)
            .fetch_one(&mut *connection)
            .await?;
        if exists {
            return Ok(());
        }
        Self::run(connection, trusted(format!("CREATE SCHEMA {schema}"))).await
    }

    fn create_schema(names: &Names) -> String {
        let schema = names.schema.name();
        schema.map(|name| format!("CREATE SCHEMA IF NOT EXISTS {name};\n")).unwrap_or_default()
    }

    fn find_column(&self, names: &Names, table: &str, column: &str) -> Statement {
        if self.distributed {
            let sql = "SELECT 1 FROM information_schema.columns
                       WHERE table_schema = coalesce($1, current_schema())
                         AND table_name = $2 AND column_name = $3";
            let table = format!("{}{table}", names.prefix.as_str());
            let values = [names.schema.name().into(), table.as_str().into(), column.into()];
            return Statement::new(&sql.into_sql_str(), values);
        }
        let sql = "SELECT 1 FROM pg_attribute
                   WHERE attrelid = to_regclass($1) AND attname = $2 AND NOT attisdropped";
        Statement::new(&sql.into_sql_str(), [names.table(table).as_str().into(), column.into()])
    }

    fn fault(error: sqlx::Error) -> Fault {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        let kind = match code.as_deref() {
            // The latter are those of distributed kin: YugabyteDB, and Aurora DSQL.
            Some("40001" | "40P01" | "YB001" | "0C000" | "0C001" | "OC000" | "OC001") => {
                Fault::Conflict
            }
            // The server ended the session, perhaps between commit and answer, or does not
            // know itself whether the commit happened.
            Some("57P01" | "57P02" | "57P03" | "57P05" | "40003") => Fault::Lost,
            Some(code) if is_transient(code) => Fault::Unavailable,
            Some(_) => Fault::Failed,
            None => match error {
                sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
                    Fault::Lost
                }
                sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => {
                    Fault::Unavailable
                }
                _ => Fault::Failed,
            },
        };
        kind(without_rows(error))
    }

    fn clash(error: &sqlx::Error, names: &Names) -> Option<Clash> {
        let error = error.as_database_error()?;
        let constraint = error.constraint()?;
        let is = |name: &str| constraint == names.constraint(name);
        match error.code()?.as_ref() {
            UNIQUE_VIOLATION if names.is_email(constraint, "accounts_email_key_key") => {
                Some(Clash::Email)
            }
            UNIQUE_VIOLATION if is("api_keys_replay_tag") => Some(Clash::Retry),
            UNIQUE_VIOLATION if is("used_tickets_pkey") => Some(Clash::Ticket),
            UNIQUE_VIOLATION if is("api_keys_pkey") => Some(Clash::Identifier),
            UNIQUE_VIOLATION if constraint == names.unique(AccountColumn::Id, "accounts_pkey") => {
                Some(Clash::Identifier)
            }
            FOREIGN_KEY_VIOLATION if is("api_keys_account_id_fkey") => Some(Clash::Orphan),
            _ => None,
        }
    }
}

const UNIQUE_VIOLATION: &str = "23505";
const FOREIGN_KEY_VIOLATION: &str = "23503";

/// Returns whether an SQLSTATE is about the moment and not about the statement: classes 08
/// (connection), 53 (resources), 57 (operator, including statement timeouts), 58 (system),
/// and 25006 (read-only, as after a failover), 25P02 (a transaction that someone left
/// failed), 55P03 (lock not available).
fn is_transient(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    matches!(class, "08" | "53" | "57" | "58") || matches!(code, "25006" | "25P02" | "55P03")
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod vocabulary;
