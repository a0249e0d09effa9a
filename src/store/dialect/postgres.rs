//! The language of PostgreSQL.

use super::names::TableNames;
use super::syntax::TimeFormat;
use super::syntax::{
    ADVANCE_NEXT, Catalog, Form, Large, Severity, Step, Syntax, Types, ViolatedConstraint,
    delete_by_key, is_row_after, update_from,
};

pub(in crate::store) const SYNTAX: Syntax = Syntax {
    placeholder: |number| format!("${number}"),
    ping: "SELECT 1",
    now: Some("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"),
    touch: "@event_number = @event_number",
    bytes: "bytea",
    create_table: "CREATE TABLE IF NOT EXISTS",
    ignore_recorded: "ON CONFLICT (version) DO NOTHING",
    hex: |digits| format!("'\\x{digits}'"),
    least: "least",
    quote: '"',
    unique_name: |table, column| format!("{table}_{column}_key"),
    read_time: |_, column| {
        format!(
            "CASE WHEN isfinite({column})
                THEN CAST(round(extract(epoch FROM {column}) * 1000) AS bigint) END"
        )
    },
    write_time: |format, millis| match format {
        TimeFormat::DateTime => format!("(to_timestamp({millis} / 1000.0) AT TIME ZONE 'UTC')"),
        _ => format!("to_timestamp({millis} / 1000.0)"),
    },
    catalog: &CATALOG,
    // Of this column alone: another constraint, of the host, is another error. No row
    // data gets into the server's log.
    ignore_taken_email: "ON CONFLICT (@email_key) DO NOTHING",
    numbers_placeholders: true,
    inserts_at_once: true,
    large: &LARGE,
    creates_schema: true,
    steps: STEPS,
    mapped_steps: MAPPED_STEPS,
};

const LARGE: Large = Large {
    delete_some: delete_by_key,
    is_after: is_row_after,
    add_index: |name, table, columns| {
        format!("CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table} ({columns})")
    },
    by_index: |_| String::new(),
    advance_next: ADVANCE_NEXT,
};

const ACCOUNTS: &str = include_str!("postgres/accounts.sql");
const BESIDE: &str = include_str!("postgres/beside.sql");
const ACCOUNTS_INDEXES: &str = include_str!("postgres/accounts_indexes.sql");
const BESIDE_INDEXES: &str = include_str!("postgres/beside_indexes.sql");
const FORM: Form = Form {
    if_not_exists: "",
    bytewise: " COLLATE \"C\"",
    reference: " CONSTRAINT {p}api_keys_account_id_fkey
        REFERENCES {accounts} (@id) ON DELETE CASCADE",
    indexes: &[
        ("accounts", ""),
        ("api_keys", ""),
        ("used_tickets", ""),
        ("events", ""),
        ("notices", ""),
    ],
};

/// The numbered steps of the schema.
const STEPS: &[Step] = &[STEP];
const STEP: Step = Step {
    version: 1,
    description: "accounts",
    sql: &[ACCOUNTS, ACCOUNTS_INDEXES, BESIDE, BESIDE_INDEXES],
    form: FORM,
    requires: 1,
};

/// Those next to a table of the host.
const MAPPED_STEPS: &[Step] = &[MAPPED_STEP];
const MAPPED_STEP: Step =
    Step { description: "next to accounts", sql: &[BESIDE, BESIDE_INDEXES], ..STEP };

/// The steps of a distributed database, which has neither collations nor references, and no indexes
/// but constraints. Each statement commits by itself and can be repeated.
pub(in crate::store) const DISTRIBUTED_STEPS: &[Step] =
    &[Step { form: DISTRIBUTED, sql: &[ACCOUNTS, BESIDE], ..STEP }];

/// The steps of a distributed database next to a table of the host.
pub(in crate::store) const DISTRIBUTED_MAPPED_STEPS: &[Step] =
    &[Step { form: DISTRIBUTED, sql: &[BESIDE], ..MAPPED_STEP }];
const DISTRIBUTED: Form = Form {
    if_not_exists: "IF NOT EXISTS ",
    bytewise: "",
    reference: "",
    indexes: &[
        (
            "accounts",
            ",
    CONSTRAINT {p}accounts_state UNIQUE (state, created_at, id),
    CONSTRAINT {p}accounts_plan UNIQUE (plan, created_at, id),
    CONSTRAINT {p}accounts_delete_at UNIQUE (delete_at, id)",
        ),
        (
            "api_keys",
            ",
    CONSTRAINT {p}api_keys_expires_at UNIQUE (expires_at, digest)",
        ),
        (
            "used_tickets",
            ",
    CONSTRAINT {p}used_tickets_expires_at UNIQUE (expires_at, hash)",
        ),
        (
            "events",
            ",
    CONSTRAINT {p}events_due UNIQUE (partition_id, delivery, due_at, id),
    CONSTRAINT {p}events_open UNIQUE (account_id, delivery, number),
    CONSTRAINT {p}events_age UNIQUE (delivery, created_at, id)",
        ),
        (
            "notices",
            ",
    CONSTRAINT {p}notices_due UNIQUE (due_at, account_id, id),
    CONSTRAINT {p}notices_age UNIQUE (created_at, account_id, id)",
        ),
    ],
};

const CATALOG: Catalog = Catalog {
    table:
        "SELECT c.relkind::text, '' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = coalesce($1, current_schema()) AND c.relname = $2",
    usable: ("r", &[]),
    // The blank tells `timestamp` from `timestamptz`.
    columns: "SELECT column_name::text, udt_name::text || ' ',
                  CASE WHEN is_nullable = 'YES' THEN 1 ELSE 0 END::bigint,
                  CASE WHEN column_default IS NOT NULL OR is_identity = 'YES'
                      OR is_generated = 'ALWAYS' THEN 1 ELSE 0 END::bigint,
                  coalesce(character_maximum_length, 0)::bigint,
                  CASE WHEN is_generated = 'ALWAYS' OR identity_generation = 'ALWAYS'
                      THEN 1 ELSE 0 END::bigint
              FROM information_schema.columns
              WHERE table_schema = coalesce($1, current_schema()) AND table_name = $2",
    // An index depends on the columns of its expressions.
    uniques: "SELECT c.relname::text, a.attname::text,
                  CASE WHEN i.indnkeyatts = 1 AND i.indpred IS NULL AND i.indexprs IS NULL
                      AND i.indisvalid AND i.indimmediate THEN 1 ELSE 0 END::bigint
              FROM pg_index i
              JOIN pg_class c ON c.oid = i.indexrelid
              JOIN pg_class t ON t.oid = i.indrelid
              JOIN pg_namespace n ON n.oid = t.relnamespace
              JOIN pg_attribute a ON a.attrelid = t.oid AND (
                  a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
                  OR EXISTS (
                      SELECT 1 FROM pg_depend d
                      WHERE i.indexprs IS NOT NULL AND d.classid = 'pg_class'::regclass
                        AND d.objid = i.indexrelid AND d.refobjid = t.oid
                        AND d.refobjsubid = a.attnum))
              WHERE n.nspname = coalesce($1, current_schema()) AND t.relname = $2
                AND i.indisunique",
    id: Types { accepted: &["text", "varchar"], proposed: "text COLLATE \"C\"" },
    // Not `bpchar`: it is read with blanks at its end.
    text: Types { accepted: &["text", "varchar", "citext", "name"], proposed: "text" },
    key: Types { accepted: &["text", "varchar"], proposed: "text COLLATE \"C\"" },
    integer: Types { accepted: &["int8"], proposed: "bigint" },
    bytes: Types { accepted: &["bytea"], proposed: "bytea" },
    time: Types { accepted: &["timestamptz "], proposed: "timestamptz" },
    date_time: Types { accepted: &["timestamp "], proposed: "timestamp(3)" },
    cast: "text",
    as_text: |value, _| format!("CAST({value} AS text)"),
    from_text: |value, kind| format!("CAST({value} AS {kind})"),
    update_by: update_from,
    short_locks: Some("SET LOCAL lock_timeout = '1s'"),
    old_defaults: None,
    widen: Some(|table, column, length| {
        format!("ALTER TABLE {table} ALTER COLUMN {column} TYPE varchar({length})")
    }),
};

/// Returns the severity of an SQLSTATE (PostgreSQL, appendix A: error codes).
pub(in crate::store) fn severity(code: &str) -> Severity {
    match code {
        // The latter are those of distributed kin: YugabyteDB, and Aurora DSQL.
        "40001" | "40P01" | "YB001" | "0C000" | "0C001" | "OC000" | "OC001" => Severity::Conflict,
        code if ends_session(code) => Severity::Lost,
        code if is_transient(code) => Severity::Unavailable,
        _ => Severity::Failed,
    }
}

/// Returns the constraint of this crate's tables that an error is about.
pub(in crate::store) fn clash(
    code: &str,
    constraint: &str,
    names: &TableNames,
) -> Option<ViolatedConstraint> {
    let is = |name: &str| constraint == names.constraint(name);
    match code {
        UNIQUE_VIOLATION if names.is_email(constraint, "accounts_email_key_key") => {
            Some(ViolatedConstraint::Email)
        }
        UNIQUE_VIOLATION if is("api_keys_replay_tag") => Some(ViolatedConstraint::Retry),
        UNIQUE_VIOLATION if is("used_tickets_pkey") => Some(ViolatedConstraint::Ticket),
        UNIQUE_VIOLATION if is("api_keys_pkey") => Some(ViolatedConstraint::Identifier),
        UNIQUE_VIOLATION if names.is_id(constraint, "accounts_pkey") => {
            Some(ViolatedConstraint::Identifier)
        }
        FOREIGN_KEY_VIOLATION if is("api_keys_account_id_fkey") => Some(ViolatedConstraint::Orphan),
        _ => None,
    }
}

const UNIQUE_VIOLATION: &str = "23505";
const FOREIGN_KEY_VIOLATION: &str = "23503";

/// Returns whether an SQLSTATE ends the session, or reports a fault of the system, so that a
/// commit may have happened: classes 08 (connection: a pooler's `08P01`
/// as well) and 58 (system), XX000 (internal: a pooler whose server is gone), 40003 (the server does not know), 57P01 to 57P03 and 57P05
/// (shutdown, crash, idle session), 25P03 and 25P04 (time limits that end the session).
fn ends_session(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    matches!(class, "08" | "58")
        || matches!(
            code,
            "40003" | "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04" | "XX000"
        )
}

/// Returns whether an SQLSTATE is about the moment and not about the statement: classes 53
/// (resources) and 57 (operator, including statement timeouts), and 25006 (read-only, as
/// after a failover), 25P02 (a transaction that someone left failed), 55P03 (lock not
/// available).
fn is_transient(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    matches!(class, "53" | "57") || matches!(code, "25006" | "25P02" | "55P03")
}
