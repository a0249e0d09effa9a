//! The PostgreSQL back end.

use std::time::Duration;

use sqlx::postgres::{PgConnection, Postgres as Database};
use sqlx::{Connection as _, Executor as _, Row as _, SqlSafeStr as _, SqlStr};
use tokio::time::timeout;

use crate::store::contract::NewAccount;

use super::{Postgres, SIGN_OF_LIFE, Timeouts, server_millis};
use crate::store::dialect::migration::steps;
use crate::store::dialect::names::TableNames;
use crate::store::dialect::postgres::{
    DISTRIBUTED_MAPPED_STEPS, DISTRIBUTED_STEPS, SYNTAX, clash, severity,
};
use crate::store::dialect::statement::Statement;
use crate::store::dialect::syntax::{Step, Syntax, ViolatedConstraint};
use crate::store::sql::SqlStore;
use crate::store::sql::backend::{Backend, Limit, sealed};
use crate::store::sql::fault::{Fault, of_connection, without_rows};
use crate::store::sql::numbered::{query, values};
use crate::store::sql::queries::Queries;
use crate::store::sql::statement::{Kind, Row, trusted};

/// The advisory lock of a migration, held until its transaction ends: `signup` in ASCII.
const MIGRATION_LOCK: i64 = 0x0073_6967_6e75_7000;

impl sealed::Sealed for Postgres {}

impl Backend for Postgres {
    type Database = Database;

    const SYNTAX: Syntax = SYNTAX;
    // sqlx's `begin` is not cancel-safe: an open transaction would return to the pool.
    const REUSES_DROPPED: bool = false;
    const LOOK_SETTLES_COMMIT: bool = false;

    fn steps(&self, names: &TableNames) -> &'static [Step] {
        match (self.distributed, &names.accounts) {
            (false, _) => steps(names, &SYNTAX),
            (true, None) => DISTRIBUTED_STEPS,
            (true, Some(_)) => DISTRIBUTED_MAPPED_STEPS,
        }
    }

    fn reopened(store: SqlStore<Self>) -> SqlStore<Self> {
        store.reopened()
    }

    fn is_locked(error: &sqlx::Error) -> bool {
        // `lock_not_available`.
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        code.as_deref() == Some("55P03")
    }

    fn migrates_by_statement(&self) -> bool {
        self.distributed
    }

    fn references_by_convention(&self) -> bool {
        self.distributed
    }

    fn begin(&self, limit: Option<Limit>) -> SqlStr {
        let by_transaction = self.timeouts == Timeouts::ByTransaction;
        match limit {
            Some(limit) if by_transaction || (limit.is_late && !self.distributed) => {
                let millis = server_millis(limit.left);
                trusted(format!("BEGIN; SET LOCAL statement_timeout = {millis}"))
            }
            _ => "BEGIN".into_sql_str(),
        }
    }

    async fn limit(
        &self,
        savepoint: &mut PgConnection,
        deadline: Duration,
    ) -> Result<Option<SqlStr>, sqlx::Error> {
        if self.timeouts == Timeouts::BySession {
            return Ok(None);
        }
        let sql = "SELECT current_setting('statement_timeout'),
                       set_config('statement_timeout', $1, true)";
        let query = sqlx::query_as(sql).bind(server_millis(deadline).to_string());
        let query = query.persistent(self.prepares).fetch_one(savepoint);
        let (before, _): (String, String) = query.await?;
        Ok(Some(trusted(format!("SET LOCAL statement_timeout = '{before}'"))))
    }

    fn locking(&self, statement: &Statement) -> Statement {
        // Distributed databases may only lock by key, and have no standbys.
        let lock = if self.distributed { "" } else { " FOR UPDATE" };
        Statement::from_parts(format!("{}{lock}", statement.sql), statement.values.clone())
    }

    /// Begins a transaction by a statement that begins none: sqlx reports an error unless one
    /// was open.
    async fn is_idle(connection: &mut PgConnection) -> bool {
        let begun = timeout(SIGN_OF_LIFE, connection.begin_with("SELECT 1")).await;
        matches!(begun, Ok(Err(sqlx::Error::BeginFailed)))
    }

    fn conflicts_are_certain(&self) -> bool {
        !self.distributed
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
        if self.distributed {
            return queries.inserts.one_by_one(new);
        }
        queries.inserts.all(new)
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
        names: &TableNames,
        limit: Duration,
    ) -> Result<(), sqlx::Error> {
        // Commits of other instances are visible only after waiting for them.
        let settings = format!(
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {}; \
             SELECT pg_advisory_xact_lock({MIGRATION_LOCK})",
            server_millis(limit),
        );
        Self::run(connection, trusted(settings)).await?;
        // Behind a pooler, nothing may be prepared.
        let show = sqlx::raw_sql("SHOW server_encoding".into_sql_str());
        let encoding: String = connection.fetch_one(show).await?.try_get(0)?;
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
        let find = format!("SELECT to_regnamespace('{schema}') IS NOT NULL");
        let exists = connection.fetch_one(sqlx::raw_sql(trusted(find))).await?;
        if exists.try_get(0)? {
            return Ok(());
        }
        Self::run(connection, trusted(format!("CREATE SCHEMA {schema}"))).await
    }

    fn find_column(&self, names: &TableNames, table: &str, column: &str) -> Statement {
        if self.distributed {
            let sql = "SELECT 1 FROM information_schema.columns
                       WHERE table_schema = coalesce($1, current_schema())
                         AND table_name = $2 AND column_name = $3";
            let table = format!("{}{table}", names.prefix.as_str());
            let values = [names.schema.name().into(), table.as_str().into(), column.into()];
            return Statement::from_parts(sql, values.into());
        }
        let sql = "SELECT 1 FROM pg_attribute
                   WHERE attrelid = to_regclass($1) AND attname = $2 AND NOT attisdropped";
        let values = vec![names.table(table).as_str().into(), column.into()];
        Statement::from_parts(sql, values)
    }

    fn fault(error: sqlx::Error) -> Fault {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        let severity = match code.as_deref() {
            Some(code) => severity(code),
            None => of_connection(&error),
        };
        Fault::new(severity, without_rows(error))
    }

    fn clash(error: &sqlx::Error, names: &TableNames) -> Option<ViolatedConstraint> {
        let error = error.as_database_error()?;
        clash(error.code()?.as_ref(), error.constraint()?, names)
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod vocabulary;
