//! The language of SQLite.

use super::names::TableNames;
use super::syntax::{
    ADVANCE_NEXT, Catalog, Form, Large, Severity, Step, Syntax, Types, ViolatedConstraint,
    delete_by_key, is_row_after, update_from,
};
use super::table::AccountColumn;

pub(in crate::store) const SYNTAX: Syntax = Syntax {
    placeholder: |number| format!("?{number}"),
    // SQLite opens its file only to read a table.
    ping: "SELECT 1 FROM sqlite_master LIMIT 1",
    now: None,
    touch: "@event_number = @event_number",
    bytes: "blob",
    create_table: "CREATE TABLE",
    ignore_recorded: "",
    hex: |digits| format!("x'{digits}'"),
    least: "min",
    quote: '"',
    unique_name: |table, column| format!("{table}.{column}"),
    read_time: |_, column| {
        format!("CAST(round((julianday({column}) - 2440587.5) * 86400000.0) AS INTEGER)")
    },
    write_time: |_, millis| {
        format!("strftime('%Y-%m-%d %H:%M:%f', {millis} / 1000.0, 'unixepoch')")
    },
    catalog: &CATALOG,
    ignore_taken_email: "ON CONFLICT (@email_key) DO NOTHING",
    numbers_placeholders: true,
    inserts_at_once: false,
    large: &LARGE,
    creates_schema: false,
    steps: STEPS,
    mapped_steps: MAPPED_STEPS,
};

const LARGE: Large = Large {
    delete_some: delete_by_key,
    is_after: is_row_after,
    add_index: |name, table, columns| {
        format!("CREATE INDEX IF NOT EXISTS {name} ON {table} ({columns})")
    },
    by_index: |_| String::new(),
    advance_next: ADVANCE_NEXT,
};

const ACCOUNTS: &str = include_str!("sqlite/accounts.sql");
const BESIDE: &str = include_str!("sqlite/beside.sql");
const FORM: Form = Form { if_not_exists: "", bytewise: "", reference: "", indexes: &[] };

/// The numbered steps of the schema.
const STEPS: &[Step] = &[STEP];
const STEP: Step =
    Step { version: 1, description: "accounts", sql: &[ACCOUNTS, BESIDE], form: FORM, requires: 1 };

/// Those next to a table of the host.
const MAPPED_STEPS: &[Step] = &[MAPPED_STEP];
const MAPPED_STEP: Step = Step { description: "next to accounts", sql: &[BESIDE], ..STEP };

const CATALOG: Catalog = Catalog {
    table: "SELECT type, '' FROM sqlite_master WHERE ?1 IS NULL AND name = ?2",
    usable: ("table", &[]),
    // An integer alone fills itself as a primary key.
    columns: "SELECT name, lower(type), \"notnull\" = 0 AND pk = 0,
                  dflt_value IS NOT NULL OR hidden > 1 OR (pk > 0 AND lower(type) = 'integer'
                      AND (SELECT sum(pk > 0) FROM pragma_table_info(?2)) = 1),
                  0, CASE WHEN hidden > 1 THEN 1 ELSE 0 END
              FROM pragma_table_xinfo(?2) WHERE ?1 IS NULL",
    uniques: "SELECT l.name, coalesce(i.name,
                      (SELECT m.sql FROM sqlite_master m WHERE m.name = l.name), ''),
                  l.partial = 0 AND i.name IS NOT NULL
                      AND (SELECT count(*) FROM pragma_index_info(l.name)) = 1
              FROM pragma_index_list(?2) l JOIN pragma_index_info(l.name) i
              WHERE ?1 IS NULL AND l.\"unique\" = 1
              UNION ALL
              SELECT '', name, 1 FROM pragma_table_info(?2)
              WHERE ?1 IS NULL AND pk = 1 AND lower(type) = 'integer'
                AND (SELECT sum(pk > 0) FROM pragma_table_info(?2)) = 1",
    id: Types { accepted: &["text", "varchar", "char", "nvarchar"], proposed: "TEXT" },
    text: Types { accepted: &["text", "varchar", "char", "clob", "nvarchar"], proposed: "TEXT" },
    key: Types { accepted: &["text", "varchar", "char", "clob", "nvarchar"], proposed: "TEXT" },
    integer: Types { accepted: &["int", "bigint"], proposed: "INTEGER" },
    bytes: Types { accepted: &["blob"], proposed: "BLOB" },
    time: Types { accepted: &["text", "date", "timestamp"], proposed: "TEXT" },
    date_time: Types { accepted: &["text", "date", "timestamp"], proposed: "TEXT" },
    cast: "TEXT",
    as_text: |value, kind| match kind {
        "blob" | "" => format!("hex({value})"),
        _ => format!("CAST({value} AS TEXT)"),
    },
    from_text: |value, kind| match kind {
        "blob" | "" => format!("unhex({value})"),
        kind if kind.contains("int") => format!("CAST({value} AS INTEGER)"),
        _ => value.to_owned(),
    },
    update_by: update_from,
    short_locks: None,
    old_defaults: None,
    widen: None,
};

/// `SQLITE_CONSTRAINT_FOREIGNKEY`.
const FOREIGN_KEY: i32 = 787;

/// Returns the severity of a result code.
pub(in crate::store) fn severity(code: i32) -> Severity {
    if is_transient(code) { Severity::Unavailable } else { Severity::Failed }
}

/// Returns the constraint of this crate's tables that an error is about: it reads the
/// message, because SQLite reports columns instead of a constraint's name (`UNIQUE constraint
/// failed: accounts.id`).
pub(in crate::store) fn clash(
    code: i32,
    message: &str,
    names: &TableNames,
) -> Option<ViolatedConstraint> {
    if code == FOREIGN_KEY {
        return Some(ViolatedConstraint::Orphan);
    }
    let (_, column) = message.split_once("UNIQUE constraint failed: ")?;
    let is = |name: &str| column == names.table(name);
    let reported = |column| match &names.accounts {
        Some(accounts) => accounts.reported(column),
        None => names.table(&format!("accounts.{}", column.own_name())),
    };
    // An index of an expression has a name and no columns.
    let index = column.strip_prefix("index '").and_then(|rest| rest.strip_suffix('\''));
    if column == reported(AccountColumn::EmailKey)
        || column == reported(AccountColumn::Email)
        || index.is_some_and(|index| names.is_email(index, ""))
    {
        Some(ViolatedConstraint::Email)
    } else if column == reported(AccountColumn::Id) || is("api_keys.digest") {
        Some(ViolatedConstraint::Identifier)
    } else if column == names.fill("{p}api_keys.account_id, {p}api_keys.replay_tag") {
        Some(ViolatedConstraint::Retry)
    } else if is("used_tickets.hash") {
        Some(ViolatedConstraint::Ticket)
    } else {
        None
    }
}

/// Returns whether a result code (its low byte is the primary one, see SQLite's "Result and
/// Error Codes") is about the moment and not about the request: PERM, BUSY, LOCKED, NOMEM,
/// INTERRUPT, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL.
fn is_transient(code: i32) -> bool {
    matches!(code & 0xff, 3 | 5..=10 | 13 | 14 | 15)
}
