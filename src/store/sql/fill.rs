//! Templates of SQL, filled with the names of the host and the spelling of the database.

use super::backend::Dialect;
use super::names::Names;
use super::queries::ACCOUNT_COLUMNS;
use super::table::AccountColumn;

/// Fills names, placeholders and functions into a template.
pub(super) fn fill(template: &str, names: &Names, dialect: Dialect) -> String {
    let ignore = dialect.ignore_taken_email.replace("{p}", names.prefix.as_str());
    let additions = names.accounts.as_ref().map(|accounts| accounts.additions(INSERTED));
    let (added_columns, added_values) = additions.unwrap_or_default();
    let mut sql = template
        .replace("{account}", ACCOUNT_COLUMNS)
        .replace("{accounts}", &names.table("accounts"))
        .replace("{api_keys}", &names.table("api_keys"))
        .replace("{events}", &names.table("events"))
        .replace("{event_leases}", &names.table("event_leases"))
        .replace("{used_tickets}", &names.table("used_tickets"))
        .replace("{least}", dialect.least)
        .replace("{ignore_taken_email}", &ignore);
    for number in 1..=22 {
        let placeholder = (dialect.placeholder)(number);
        sql = sql.replace(&format!("{{{number}}}"), &placeholder);
        for column in TIMES {
            let written = names.write_time(column, &placeholder, dialect.write_time);
            sql = sql.replace(&format!("{{{}:{number}}}", column.own_name()), &written);
        }
    }
    names
        .fill_columns(&read_times(&sql, names, dialect))
        .replace("{added_columns}", &added_columns)
        .replace("{added_values}", &added_values)
}

/// The values of [`Queries::insert_account`].
const INSERTED: usize = 12;

/// The columns that hold a time.
const TIMES: [AccountColumn; 3] =
    [AccountColumn::CreatedAt, AccountColumn::EmailVerifiedAt, AccountColumn::DeleteAt];

/// Fills the expressions that read times of an account, of a table `a`.
pub(in crate::store) fn read_times(sql: &str, names: &Names, dialect: Dialect) -> String {
    TIMES.into_iter().fold(sql.to_owned(), |sql, column| {
        let read = names.read_time(column, dialect.read_time);
        sql.replace(&format!("{{a.{}}}", column.own_name()), &read)
    })
}
