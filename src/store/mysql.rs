//! Accounts in MySQL and MariaDB, by sqlx.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::mysql::{
    MySql as Database, MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlPool,
    MySqlPoolOptions,
};
use sqlx::{Connection as _, Executor as _, Row as _, SqlSafeStr as _, SqlStr};
use tokio::time::timeout;

use crate::secret::Secret;

use super::sql::backend::{Backend, Catalog, Clash, Dialect, Step, Types, sealed};
use super::sql::fault::Fault;
use super::sql::names::Names;
use super::sql::open::{Location, OpenError, readable};
use super::sql::statement::{Kind, Row, Statement, Value, trusted};
use super::sql::table::AccountColumn;
use super::sql::{DEADLINE, SqlStore};

/// The connections of the store's own pool.
const CONNECTIONS: u32 = 8;

/// Accounts in a database of MySQL (8.0 or later) or MariaDB (10.6 or later).
///
/// A sign-up is a short transaction at `READ COMMITTED`. Keys and digests are compared by
/// their bytes, text is `utf8mb4`. The exchange of passwords by RSA is not built in
/// (RUSTSEC-2023-0071): a server that asks for `caching_sha2_password` is reached by TLS
/// (features `tls-rustls` and `tls-native`) or by its socket.
///
/// A node of a Galera cluster is one more MariaDB: what decides is a write, which the cluster
/// certifies, and reads wait until the node has what the others had committed.
///
/// ```no_run
/// use signup::store::MySqlStore;
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MySqlStore::connect("mysql://app@localhost/app").await?;
/// store.migrate().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Tables
/// With `{t}` and `{p}` for the [prefix](SqlStore::with_prefix):
///
/// ```sql
#[doc = include_str!("mysql/0001_accounts.sql")]
/// ```
pub type MySqlStore = SqlStore<MySql>;

/// The backend of [`MySqlStore`].
#[derive(Debug, Clone)]
pub struct MySql {
    /// Whether the pool is the store's own and can be opened again with other settings.
    owns_pool: bool,
}

impl SqlStore<MySql> {
    /// Creates a store on the host's pool, whose sessions have a strict `sql_mode`, the
    /// isolation `READ COMMITTED`, and time limits that the host has set.
    pub fn new(pool: MySqlPool) -> Self {
        let location = Location::from_url("mysql:(the host's pool)");
        Self::with_backend(MySql { owns_pool: false }, pool, location, None)
    }

    /// Opens a store on its own pool of up to 8 connections.
    ///
    /// # Errors
    /// Fails if the URL is not valid for MySQL, or if the database does not answer.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        let location = Location::from_url(url);
        let failed = |error| OpenError::open(location.clone(), readable(error));
        let options = MySqlConnectOptions::from_str(url).map_err(failed)?;
        // A pool would retry until its timeout, and then report only the timeout.
        match timeout(DEADLINE, MySqlConnection::connect_with(&options)).await {
            Ok(connection) => drop(connection.map_err(failed)?.close().await),
            Err(_) => return Err(failed(sqlx::Error::PoolTimedOut)),
        }
        let pool = MySqlPoolOptions::new().max_connections(CONNECTIONS).connect_lazy_with(options);
        Ok(Self::with_backend(MySql { owns_pool: true }, pool, location, None).reopened())
    }

    /// Sets the deadline of a call. Default: 5 s. Settling a commit whose connection was
    /// lost has as long again.
    ///
    /// A store that [opened](Self::connect) its pool opens it again, with matching limits
    /// of the server.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self.reopened()
    }

    /// Opens the store's own pool again, with settings that fit the deadline. It connects
    /// lazily.
    fn reopened(mut self) -> Self {
        if !self.backend.owns_pool {
            return self;
        }
        let deadline = self.deadline;
        let options = self.pool.options().clone().acquire_timeout(deadline);
        let options = options.after_connect(move |connection, _| {
            Box::pin(async move { prepare_session(connection, deadline).await })
        });
        self.pool = options.connect_lazy_with((*self.pool.connect_options()).clone());
        self
    }
}

/// Makes a session strict, names its isolation, and limits its waits, so that the server does
/// not continue alone. A node of a Galera cluster reads, and decides, by what the cluster had
/// committed when it was asked.
async fn prepare_session(
    connection: &mut MySqlConnection,
    deadline: Duration,
) -> Result<(), sqlx::Error> {
    let known = "SHOW VARIABLES WHERE variable_name IN ('max_statement_time', 'wsrep_sync_wait')";
    let known = connection.fetch_all(sqlx::raw_sql(known.into_sql_str())).await?;
    let known: Vec<String> =
        known.iter().map(|row| row.try_get_unchecked(0)).collect::<Result<_, _>>()?;
    let is_known = |name: &str| known.iter().any(|known| known == name);
    // InnoDB counts in seconds.
    let seconds = deadline.as_secs().max(1);
    let mut settings = format!(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,\
         ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
         SESSION innodb_lock_wait_timeout = {seconds}"
    );
    settings += &if is_known("max_statement_time") {
        format!(", SESSION max_statement_time = {}", deadline.as_secs_f64() * 0.9)
    } else {
        format!(", SESSION max_execution_time = {}", deadline.as_millis() * 9 / 10)
    };
    if is_known("wsrep_sync_wait") {
        // The sum of reads (1), updates and deletions (2), and inserts (4).
        settings += ", SESSION wsrep_sync_wait = 7";
    }
    connection.execute(sqlx::raw_sql(trusted(settings))).await?;
    let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
    connection.execute(sqlx::raw_sql(isolation.into_sql_str())).await.map(drop)
}

/// The numbered steps of the schema.
const STEPS: &[Step] = &[Step {
    version: 7,
    description: "accounts",
    sql: include_str!("mysql/0001_accounts.sql"),
    requires: 7,
}];

/// Those beside a table of the host's.
const MAPPED_STEPS: &[Step] = &[Step {
    version: 7,
    description: "tables beside one of the host",
    sql: include_str!("mysql/mapped.sql"),
    requires: 7,
}];

const CATALOG: Catalog = Catalog {
    columns: "SELECT column_name, CONCAT(data_type, ' ', COALESCE(collation_name, '')),
                  CAST(is_nullable = 'YES' AS SIGNED),
                  CAST(column_default IS NOT NULL OR extra <> '' AS SIGNED)
              FROM information_schema.columns
              WHERE table_schema = COALESCE(?1, DATABASE()) AND table_name = ?2",
    uniques: "SELECT index_name, MIN(column_name) FROM information_schema.statistics
              WHERE table_schema = COALESCE(?1, DATABASE()) AND table_name = ?2
                AND non_unique = 0 AND sub_part IS NULL
              GROUP BY index_name HAVING COUNT(*) = 1",
    id: Types {
        accepted: &["varchar ascii_bin", "char ascii_bin"],
        proposed: "varchar(64) CHARACTER SET ascii COLLATE ascii_bin",
    },
    text: Types {
        accepted: &["varchar", "char", "text", "tinytext", "mediumtext", "longtext", "varbinary"],
        proposed: "varchar(255) CHARACTER SET utf8mb4",
    },
    key: Types { accepted: &["varbinary"], proposed: "varbinary(1280)" },
    integer: Types { accepted: &["bigint"], proposed: "bigint" },
    bytes: Types { accepted: &["varbinary", "blob", "tinyblob"], proposed: "varbinary(64)" },
    time: Types { accepted: &["datetime", "timestamp"], proposed: "datetime(3)" },
    as_text: |value| format!("CAST({value} AS CHAR)"),
    from_text: |value, kind| {
        if kind.contains("int") { format!("CAST({value} AS SIGNED)") } else { value.to_owned() }
    },
};

impl sealed::Sealed for MySql {}

impl Backend for MySql {
    type Database = Database;

    const DIALECT: Dialect = Dialect {
        // The number goes when the statement is sent: MySQL has none.
        placeholder: |number| format!("?{number}"),
        ping: "SELECT 1",
        bytes: "varbinary(64)",
        // Nothing locks other instances out.
        create_table: "CREATE TABLE IF NOT EXISTS",
        ignore_recorded: "ON DUPLICATE KEY UPDATE version = version",
        hex: |digits| format!("x'{digits}'"),
        least: "least",
        quote: '`',
        unique_name: |_, column| column.to_owned(),
        read_time: |column| format!("CAST(ROUND(UNIX_TIMESTAMP({column}) * 1000) AS SIGNED)"),
        write_time: |millis| format!("FROM_UNIXTIME({millis} / 1000)"),
        catalog: &CATALOG,
        // The error names the key.
        ignore_taken_email: "",
    };
    const REUSES_DROPPED: bool = false;
    const READ_SETTLES_COMMIT: bool = false;

    fn steps(&self, names: &Names) -> &'static [Step] {
        if names.accounts.is_some() { MAPPED_STEPS } else { STEPS }
    }

    /// Returns true: a definition of a table commits by itself.
    fn migrates_by_statement(&self) -> bool {
        true
    }

    fn begin(&self, _: Duration) -> SqlStr {
        "START TRANSACTION".into_sql_str()
    }

    fn commits_alone(&self) -> bool {
        true
    }

    async fn execute(
        connection: &mut MySqlConnection,
        statement: &Statement,
        persistent: bool,
    ) -> Result<u64, sqlx::Error> {
        let done = query(statement, persistent).execute(connection).await?;
        Ok(done.rows_affected())
    }

    async fn fetch(
        connection: &mut MySqlConnection,
        statement: &Statement,
        kinds: &'static [Kind],
        persistent: bool,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let rows = query(statement, persistent).fetch_all(connection).await?;
        rows.iter().map(|row| values(row, kinds)).collect()
    }

    async fn run(connection: &mut MySqlConnection, script: SqlStr) -> Result<(), sqlx::Error> {
        connection.execute(sqlx::raw_sql(script)).await.map(drop)
    }

    fn find_column(&self, names: &Names, table: &str, column: &str) -> Statement {
        let sql = "SELECT 1 FROM information_schema.columns
                   WHERE table_schema = database() AND table_name = ?1 AND column_name = ?2";
        Statement::new(&sql.into_sql_str(), [names.table(table).as_str().into(), column.into()])
    }

    fn fault(error: sqlx::Error) -> Fault {
        let kind = match number(&error) {
            // A deadlock, or a certification that failed, which can come at the commit too;
            // a row that has changed since it was read.
            Some(1213 | 1020) => Fault::Conflict,
            // The server ends, or has ended the session, or its place in the cluster was lost
            // in the middle of a commit.
            Some(1053 | 1077 | 1079 | 1080 | 1180 | 1317 | 1927 | 3169) => Fault::Lost,
            Some(number) if is_transient(number) => Fault::Unavailable,
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
        kind(match number(&error) {
            // The message may quote what the client has sent.
            Some(number) => format!("error {number} of MySQL").into(),
            None => error.into(),
        })
    }

    /// Reads the key's name from the end of the message: the value before it is the client's.
    fn clash(error: &sqlx::Error, names: &Names) -> Option<Clash> {
        let message = error.as_database_error()?.message();
        match number(error)? {
            DUPLICATE_ENTRY => {
                let (_, key) = message.rsplit_once("for key '")?;
                let key = key.trim_end_matches('\'');
                // MySQL names the table too.
                let key = key.rsplit_once('.').map_or(key, |(_table, key)| key);
                let is = |name: &str| key == names.constraint(name);
                if names.is_email(key, "accounts_email_key_key") {
                    Some(Clash::Email)
                } else if key == names.unique(AccountColumn::Id, "accounts_id_key")
                    || key == "PRIMARY"
                {
                    Some(Clash::Identifier)
                } else if is("api_keys_replay_tag") {
                    Some(Clash::Retry)
                } else {
                    is("used_tickets_hash_key").then_some(Clash::Ticket)
                }
            }
            NO_REFERENCED_ROW => Some(Clash::Orphan),
            _ => None,
        }
    }
}

const DUPLICATE_ENTRY: u16 = 1062;
const NO_REFERENCED_ROW: u16 = 1452;

fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}

/// Returns whether an error number is about the moment and not about the statement: too many
/// connections or none in the cluster's primary component (1040, 1047, 1203), a full disk
/// (1021, 1114), a lock that was waited for too long (1205), a time limit (1969, 3024), a
/// server that only reads, as after a failover (1290, 1792, 1836).
fn is_transient(number: u16) -> bool {
    matches!(number, 1021 | 1040 | 1047 | 1114 | 1203 | 1205 | 1290 | 1792 | 1836 | 1969 | 3024)
}

/// Turns a statement into a query of MySQL, whose placeholders have no numbers: the values are
/// bound in the order in which they stand.
fn query<'q>(
    statement: &Statement,
    persistent: bool,
) -> sqlx::query::Query<'q, Database, <Database as sqlx::Database>::Arguments> {
    let (sql, order) = unnumbered(statement.sql.as_str());
    let query = sqlx::query(trusted(sql)).persistent(persistent);
    let values = order.into_iter().filter_map(|at| statement.values.get(at));
    values.fold(query, |query, value| match value {
        Value::Text(text) => query.bind(text.as_ref().map(|text| text.as_str().to_owned())),
        Value::Bytes(bytes) => query.bind(bytes.clone()),
        Value::Integer(number) => query.bind(*number),
    })
}

/// Takes the numbers of placeholders away, and returns which values they stand for.
fn unnumbered(sql: &str) -> (String, Vec<usize>) {
    let mut parts = sql.split('?');
    let (mut text, mut order) = (parts.next().unwrap_or_default().to_owned(), Vec::new());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        order.extend(number.parse::<usize>().ok().and_then(|number| number.checked_sub(1)));
        text.push('?');
        text.push_str(rest);
    }
    (text, order)
}

/// Reads the columns of a row. Text is read from its bytes, because some of it is stored as
/// such.
fn values(row: &sqlx::mysql::MySqlRow, kinds: &[Kind]) -> Result<Row, sqlx::Error> {
    let read = |(at, kind): (usize, &Kind)| {
        Ok(match kind {
            Kind::Text => {
                let bytes: Option<Vec<u8>> = row.try_get_unchecked(at)?;
                let text = bytes.map(String::from_utf8).transpose();
                let text =
                    text.map_err(|error| sqlx::Error::Decode(Box::new(error.utf8_error())))?;
                Value::Text(text.map(Secret::new))
            }
            Kind::Bytes => Value::Bytes(row.try_get_unchecked(at)?),
            Kind::Integer => Value::Integer(row.try_get_unchecked(at)?),
        })
    };
    let values = kinds.iter().enumerate().map(read).collect::<Result<Vec<_>, sqlx::Error>>()?;
    Ok(Row::new(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_lose_their_numbers_and_values_keep_their_places() {
        let (sql, order) = unnumbered("SELECT ?2, ?1 FROM t WHERE a = ?1 AND b IN (?10)");
        assert_eq!(sql, "SELECT ?, ? FROM t WHERE a = ? AND b IN (?)");
        assert_eq!(order, [1, 0, 0, 9]);
    }
}
