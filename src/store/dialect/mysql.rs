//! The language of MySQL and MariaDB.

use super::names::TableNames;
use super::syntax::TimeFormat;
use super::syntax::{
    Catalog, Form, Large, Severity, Step, Syntax, Types, ViolatedConstraint, delete_by_limit,
    is_after,
};

pub(in crate::store) const SYNTAX: Syntax = Syntax {
    // The number goes when the statement is sent: MySQL has none.
    placeholder: |number| format!("?{number}"),
    ping: "SELECT 1",
    now: Some("SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)"),
    // A cluster does not hold a row that stays as it was.
    touch: "@event_number = @event_number + 1",
    bytes: "varbinary(64)",
    // Nothing locks other instances out.
    create_table: "CREATE TABLE IF NOT EXISTS",
    ignore_recorded: "ON DUPLICATE KEY UPDATE version = version",
    hex: |digits| format!("x'{digits}'"),
    least: "least",
    quote: '`',
    unique_name: |_, column| column.to_owned(),
    read_time: |format, column| match format {
        TimeFormat::DateTime => format!(
            "CAST(ROUND(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {column}) / 1000) AS SIGNED)"
        ),
        _ => format!("CAST(ROUND(UNIX_TIMESTAMP({column}) * 1000) AS SIGNED)"),
    },
    write_time: |format, millis| match format {
        TimeFormat::DateTime => {
            format!("TIMESTAMPADD(MICROSECOND, {millis} * 1000, CAST('1970-01-01' AS DATETIME(3)))")
        }
        _ => format!("FROM_UNIXTIME({millis} / 1000)"),
    },
    catalog: &CATALOG,
    // The error names the key.
    ignore_taken_email: "",
    numbers_placeholders: false,
    inserts_at_once: false,
    large: &LARGE,
    creates_schema: false,
    steps: STEPS,
    mapped_steps: MAPPED_STEPS,
};

const LARGE: Large = Large {
    delete_some: delete_by_limit,
    is_after,
    add_index: |name, table, columns| {
        format!("CREATE INDEX {name} ON {table} ({columns}) ALGORITHM = INPLACE LOCK = NONE")
    },
    by_index: |name| format!("FORCE INDEX ({name})"),
    advance_next: "UPDATE {events} e JOIN (
            SELECT f.account_id, f.number FROM {events} f FORCE INDEX ({p}events_open)
            WHERE f.account_id = {1} AND f.delivery = 'waiting' ORDER BY f.number LIMIT 1) first
          ON e.account_id = first.account_id AND e.number = first.number
        SET e.due_at = e.created_at WHERE e.attempts = 0 AND e.due_at > e.created_at",
};

const ACCOUNTS: &str = include_str!("mysql/accounts.sql");
const BESIDE: &str = include_str!("mysql/beside.sql");
const FORM: Form = Form { if_not_exists: "", bytewise: "", reference: "", indexes: &[] };

/// The numbered steps of the schema.
const STEPS: &[Step] = &[STEP];
const STEP: Step =
    Step { version: 1, description: "accounts", sql: &[ACCOUNTS, BESIDE], form: FORM, requires: 1 };

/// Those next to a table of the host.
const MAPPED_STEPS: &[Step] = &[MAPPED_STEP];
const MAPPED_STEP: Step = Step { description: "next to accounts", sql: &[BESIDE], ..STEP };

const CATALOG: Catalog = Catalog {
    table: "SELECT CONCAT(table_type, ' ', COALESCE(engine, '')), COALESCE(row_format, '')
            FROM information_schema.tables
            WHERE table_schema = COALESCE(?1, DATABASE()) AND table_name = ?2",
    usable: ("BASE TABLE InnoDB", &["Compact", "Redundant"]),
    columns: "SELECT column_name,
                  CONCAT(data_type, IF(column_type LIKE '%unsigned%', ' unsigned', ''), ' ',
                      COALESCE(collation_name, '')),
                  CAST(is_nullable = 'YES' AS SIGNED),
                  CAST(column_default IS NOT NULL OR extra <> '' AS SIGNED),
                  CAST(COALESCE(character_maximum_length, 0) AS SIGNED),
                  CAST(IF(COALESCE(generation_expression, '') <> '', 1,
                      IF(extra LIKE '%on update%', 2, 0)) AS SIGNED)
              FROM information_schema.columns
              WHERE table_schema = COALESCE(?1, DATABASE()) AND table_name = ?2",
    uniques: "SELECT s.index_name, COALESCE(s.column_name, ''),
                  CAST(s.sub_part IS NULL AND s.column_name IS NOT NULL AND (
                      SELECT COUNT(*) FROM information_schema.statistics o
                      WHERE o.table_schema = s.table_schema AND o.table_name = s.table_name
                        AND o.index_name = s.index_name) = 1 AS SIGNED)
              FROM information_schema.statistics s
              WHERE s.table_schema = COALESCE(?1, DATABASE()) AND s.table_name = ?2
                AND s.non_unique = 0",
    id: Types {
        accepted: &["varchar ascii_bin", "char ascii_bin"],
        proposed: "varchar(64) CHARACTER SET ascii COLLATE ascii_bin",
    },
    text: Types {
        accepted: &["varchar", "char", "text", "tinytext", "mediumtext", "longtext", "varbinary"],
        proposed: "varchar(256) CHARACTER SET utf8mb4",
    },
    key: Types { accepted: &["varbinary"], proposed: "varbinary(1280)" },
    integer: Types { accepted: &["bigint"], proposed: "bigint" },
    bytes: Types { accepted: &["varbinary", "blob", "tinyblob"], proposed: "varbinary(64)" },
    time: Types { accepted: &["timestamp"], proposed: "timestamp(3) NULL" },
    date_time: Types { accepted: &["datetime"], proposed: "datetime(3)" },
    cast: "CHAR",
    as_text: |value, kind| {
        if is_binary(kind) { format!("HEX({value})") } else { format!("CAST({value} AS CHAR)") }
    },
    from_text: |value, kind| {
        if is_binary(kind) {
            return format!("UNHEX({value})");
        }
        match kind.trim().rsplit_once(' ') {
            Some((integer, "unsigned")) if integer.contains("int") => {
                format!("CAST({value} AS UNSIGNED)")
            }
            // A text is compared by the collation of its column, so that an index can be used.
            Some((_, collation)) => {
                let charset = collation.split('_').next().unwrap_or_default();
                format!("CONVERT({value} USING {charset}) COLLATE {collation}")
            }
            None if kind.contains("int") => format!("CAST({value} AS SIGNED)"),
            None => value.to_owned(),
        }
    },
    update_by: |table, set, rows, condition| {
        let select = |[one, two, three, four]: &[String; 4]| {
            format!(
                "SELECT {one} AS column1, {two} AS column2, {three} AS column3, {four} AS column4"
            )
        };
        let rows = rows.iter().map(select).collect::<Vec<_>>().join(" UNION ALL ");
        format!("UPDATE {table} t JOIN ({rows}) v ON {condition} SET {set}")
    },
    short_locks: Some("SET SESSION lock_wait_timeout = 1"),
    old_defaults: Some(
        "SET SESSION sql_mode = REPLACE(REPLACE(
            @@sql_mode, 'NO_ZERO_IN_DATE', ''), 'NO_ZERO_DATE', '')",
    ),
    widen: Some(|table, column, length| {
        format!("ALTER TABLE {table} MODIFY {column} varchar({length}) CHARACTER SET utf8mb4")
    }),
};

/// Returns whether a type is of bytes.
fn is_binary(kind: &str) -> bool {
    kind.contains("binary") || kind.contains("blob")
}

/// Returns the severity of an error number, by the error message references of MySQL 8 and
/// MariaDB. A proxy in front of the server reports its own connections by the numbers of clients
/// (2002 to 2013), and ProxySQL by 9001.
///
/// | number | meaning | answer |
/// | --- | --- | --- |
/// | 1020 `CHECKREAD`, 1213 `LOCK_DEADLOCK`, 1412 `TABLE_DEF_CHANGED`, 3101 `TRANSACTION_ROLLBACK_DURING_COMMIT` | another transaction, a definition, or the group's certification was in the way | tried again |
/// | 1047 `UNKNOWN_COM_ERROR` (a Galera node without its cluster), 1053, 1077, 1079, 1080 (shutdown), 1158 to 1161 (network), 1180 `ERROR_DURING_COMMIT`, 1317 `QUERY_INTERRUPTED`, 1927 and 3169 (killed), 2006 and 2013 (a proxy has lost the server), 4031 `CLIENT_INTERACTION_TIMEOUT` | the session ends, perhaps between commit and answer | 503, and a commit is settled |
/// | 1021 and 1114 (full), 1037, 1038, 1041 (memory), 1040, 1135, 1203, 1226, 1637 (too many), 1205 `LOCK_WAIT_TIMEOUT`, 1206, 1290, 1792, 1836 (read-only), 1969 and 3024 (time limit), 2002, 2003 and 9001 (a proxy does not reach the server) | the moment | 503 |
pub(in crate::store) fn severity(number: u16) -> Severity {
    match number {
        1213 | 1020 | 1412 | 3101 => Severity::Conflict,
        1047
        | 1053
        | 1077
        | 1079
        | 1080
        | 1158..=1161
        | 1180
        | 1317
        | 1927
        | 2006
        | 2013
        | 3169
        | 4031 => Severity::Lost,
        number if is_transient(number) => Severity::Unavailable,
        _ => Severity::Failed,
    }
}

/// Returns the constraint of this crate's tables that an error is about, by the key's name in
/// the message. In each of the server's languages it is the last quoted word; the value before
/// it is the client's.
pub(in crate::store) fn clash(
    number: u16,
    message: &str,
    names: &TableNames,
) -> Option<ViolatedConstraint> {
    match number {
        DUPLICATE_ENTRY => {
            let key = message.rsplit(['\'', '"']).nth(1)?;
            // MySQL names the table too.
            let key = key.rsplit_once('.').map_or(key, |(_table, key)| key);
            let is = |name: &str| key == names.constraint(name);
            if names.is_email(key, "accounts_email_key_key") {
                Some(ViolatedConstraint::Email)
            } else if names.is_id(key, "accounts_id_key") || key == "PRIMARY" {
                Some(ViolatedConstraint::Identifier)
            } else if is("api_keys_replay_tag") {
                Some(ViolatedConstraint::Retry)
            } else {
                is("used_tickets_hash_key").then_some(ViolatedConstraint::Ticket)
            }
        }
        NO_REFERENCED_ROW => Some(ViolatedConstraint::Orphan),
        _ => None,
    }
}

const DUPLICATE_ENTRY: u16 = 1062;
const NO_REFERENCED_ROW: u16 = 1452;

/// Returns whether an error number is about the moment and not about the statement.
fn is_transient(number: u16) -> bool {
    matches!(
        number,
        1021 | 1037
            | 1038
            | 1040
            | 1041
            | 1114
            | 1135
            | 1203
            | 1205
            | 1206
            | 1226
            | 1290
            | 1637
            | 1792
            | 1836
            | 1969
            | 2002
            | 2003
            | 3024
            | 9001
    )
}

/// Takes the numbers of placeholders away, and returns which values they stand for.
pub(in crate::store) fn unnumbered(sql: &str) -> (String, Vec<usize>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_lose_their_numbers_and_values_keep_their_places() {
        let (sql, order) = unnumbered("SELECT ?2, ?1 FROM t WHERE a = ?1 AND b IN (?10)");
        assert_eq!(sql, "SELECT ?, ? FROM t WHERE a = ? AND b IN (?)");
        assert_eq!(order, [1, 0, 0, 9]);
    }

    #[test]
    fn a_key_is_found_in_every_language() {
        let clash = |message: &str| clash(DUPLICATE_ENTRY, message, &TableNames::default());
        for message in [
            "Duplicate entry 'it's a key' for key 'accounts.accounts_email_key_key'",
            "Doppelter Eintrag 'a' für Schlüssel 'accounts_email_key_key'",
            "Duplicata du champ 'PRIMARY' pour la clef 'accounts_email_key_key'",
            "'a' は索引 'accounts_email_key_key' で重複しています。",
        ] {
            assert_eq!(clash(message), Some(ViolatedConstraint::Email), "{message}");
        }
        let of_client = "Duplicate entry 'accounts_email_key_key' for key 'of_the_host'";
        assert_eq!(clash(of_client), None);
    }
}
