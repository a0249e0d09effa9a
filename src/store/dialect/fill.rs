//! Templates of SQL, filled with the names of the host and the spelling of the database.

use super::columns::INSERTED;
use super::names::TableNames;
use super::syntax::Syntax;
use super::table::AccountColumn;

/// Fills names, placeholders and functions into a template.
pub(in crate::store) fn fill(template: &str, names: &TableNames, syntax: Syntax) -> String {
    let ignore = syntax.ignore_taken_email.replace("{p}", names.prefix.as_str());
    let additions = names.accounts.as_ref().map(|accounts| accounts.additions(INSERTED.len()));
    let (added_columns, added_values) = additions.unwrap_or_default();
    let mut sql = template
        .replace("{accounts}", &names.table("accounts"))
        .replace("{api_keys}", &names.table("api_keys"))
        .replace("{events}", &names.table("events"))
        .replace("{notices}", &names.table("notices"))
        .replace("{event_leases}", &names.table("event_leases"))
        .replace("{used_tickets}", &names.table("used_tickets"))
        .replace("{least}", syntax.least)
        .replace("{p}", names.prefix.as_str())
        .replace("{ignore_taken_email}", &ignore);
    for number in 1..=24 {
        let placeholder = (syntax.placeholder)(number);
        sql = sql.replace(&format!("{{{number}}}"), &placeholder);
        for column in TIMES {
            let written = names.write_time(column, &placeholder, syntax);
            sql = sql.replace(&format!("{{{}:{number}}}", column.own_name()), &written);
        }
    }
    names
        .fill_columns(&read_times(&sql, names, syntax))
        .replace("{added_columns}", &added_columns)
        .replace("{added_values}", &added_values)
}

/// The columns that hold a time.
const TIMES: [AccountColumn; 3] =
    [AccountColumn::CreatedAt, AccountColumn::EmailVerifiedAt, AccountColumn::DeleteAt];

/// Fills the expressions that read times of an account, of a table `a`.
pub(in crate::store) fn read_times(sql: &str, names: &TableNames, syntax: Syntax) -> String {
    TIMES.into_iter().fold(sql.to_owned(), |sql, column| {
        let read = names.read_time(column, syntax);
        sql.replace(&format!("{{a.{}}}", column.own_name()), &read)
    })
}
