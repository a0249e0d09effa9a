use super::*;
use crate::store::conformance::Sample;

fn meaning(sqlstate: &str) -> StatementError {
    Dialect::postgres().classify_postgres(sqlstate, None)
}

#[test]
fn f08_f09_f19_states_of_the_moment_are_told_from_faults_of_the_statement() {
    for code in ["53100", "53300", "25006", "25P02", "57014", "55P03"] {
        assert_eq!(meaning(code), StatementError::Unavailable, "{code}");
    }
    for code in ["42P01", "42501", "23502", "23514", "22021", "XX001", "3F000", ""] {
        assert_eq!(meaning(code), StatementError::Failed, "{code}");
    }
    assert_eq!(meaning("40001"), StatementError::Conflict);
    for code in ["57P01", "25P03", "25P04", "08006", "08P01", "58030", "XX000"] {
        assert_eq!(meaning(code), StatementError::OutcomeUnknown, "{code}");
        assert_eq!(meaning(code).before_commit(), StatementError::Unavailable, "{code}");
    }
    // The server ends in the middle of a commit.
    let mysql = |number| Dialect::mysql().classify_mysql(number, "");
    assert_eq!([1047, 1053, 1180, 2013].map(mysql), [StatementError::OutcomeUnknown; 4]);
    assert_eq!([1064, 1452].map(mysql), [StatementError::Failed, StatementError::NotApplicable]);
    assert_eq!([1213, 1412, 3101].map(mysql), [StatementError::Conflict; 3]);
    assert_eq!([1040, 1205, 1836, 2003, 3024].map(mysql), [StatementError::Unavailable; 5]);
}

#[test]
fn a_constraint_is_known_by_the_names_of_the_host() {
    let prefixed = || TablePrefix::new("app_").unwrap();
    let postgres = Dialect::postgres().with_prefix(prefixed());
    let taken = |name| postgres.classify_postgres("23505", Some(name));
    assert_eq!(taken("app_accounts_email_key_key"), StatementError::EmailTaken);
    assert_eq!(taken("app_api_keys_pkey"), StatementError::IdentifierTaken);
    assert_eq!(taken("app_used_tickets_pkey"), StatementError::TicketUsed);
    assert_eq!(taken("accounts_email_key_key"), StatementError::Failed);

    let mysql = Dialect::mysql().with_prefix(prefixed());
    // The value is the client's, and may be any text.
    let message = "Duplicate entry 'x for key 'PRIMARY'' for key 'app_accounts_email_key_key'";
    assert_eq!(mysql.classify_mysql(1062, message), StatementError::EmailTaken);
    assert_eq!(mysql.classify_mysql(1213, ""), StatementError::Conflict);
    assert_eq!(mysql.classify_mysql(1205, ""), StatementError::Unavailable);

    let map = TableMap::new("users").column(AccountColumn::EmailKey, "mail_key");
    let sqlite = Dialect::sqlite().with_table(map).unwrap();
    let taken =
        |column: &str| sqlite.classify_sqlite(2067, &format!("UNIQUE constraint failed: {column}"));
    assert_eq!(taken("users.mail_key"), StatementError::EmailTaken);
    assert_eq!(taken("users.account_id"), StatementError::IdentifierTaken);
    assert_eq!(taken("users.nickname"), StatementError::Failed);
    assert_eq!(sqlite.classify_sqlite(5, "database is locked"), StatementError::Unavailable);
}

#[test]
fn values_stand_in_the_order_of_their_placeholders() {
    let new = Sample::new(1).email("jane@example.com").build();
    for (dialect, sign) in [(Dialect::postgres(), '$'), (Dialect::sqlite(), '?')] {
        for statement in dialect.insert(&new) {
            let last = statement.values().len();
            assert!(statement.sql().contains(&format!("{sign}{last}")), "{statement:?}");
            assert!(!statement.sql().contains(&format!("{sign}{}", last + 1)), "{statement:?}");
        }
    }
    // The account's row has its id and its address first.
    let first = Dialect::mysql().insert(&new).remove(0);
    assert_eq!(first.sql().matches('?').count(), first.values().len());
    let values: Vec<_> = first.values().take(2).collect();
    let expected = [new.id().as_str(), "jane@example.com"].map(|text| SqlValue::Text(Some(text)));
    assert_eq!(values, expected);
}

#[test]
fn one_statement_is_enough_where_the_database_can() {
    let new = Sample::new(1).build();
    assert_eq!(Dialect::postgres().insert(&new).len(), 1);
    let map = TableMap::new("users");
    let mapped = Dialect::postgres().with_table(map).unwrap();
    for dialect in [mapped, Dialect::distributed_postgres(), Dialect::mysql(), Dialect::sqlite()] {
        assert_eq!(dialect.insert(&new).len(), 2);
    }
}

#[test]
fn no_value_is_shown() {
    let new = Sample::new(1).email("jane@example.com").build();
    let statements = Dialect::sqlite().insert(&new);
    let values: Vec<_> = statements.iter().flat_map(Statement::values).collect();
    let shown = format!("{statements:?} {values:?}");
    assert!(!shown.contains("jane") && !shown.contains("argon2"), "{shown}");
}

#[test]
fn the_migrations_of_a_dialect_are_in_their_order_and_under_its_names() {
    for dialect in [Dialect::postgres(), Dialect::mysql(), Dialect::sqlite()] {
        let migrations = dialect.with_prefix(TablePrefix::new("app_").unwrap()).migrations();
        assert!(migrations.iter().any(|it| it.sql.contains("app_accounts")));
        assert!(migrations.iter().all(|it| !it.sql.contains("{t}")));
        assert!(migrations.is_sorted_by(|one, next| one.version < next.version));
    }
}
