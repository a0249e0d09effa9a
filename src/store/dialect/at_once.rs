//! The insert of a whole sign-up as one statement.

use super::columns::{INSERTED, account_lists};
use super::table::AccountColumn;

/// Writes the insert of an account, its first API key, its ticket and its event as one
/// statement. Without the account there is none of the others, so the count of rows tells
/// that the email is taken.
pub(super) fn template(ticket: bool, event: bool) -> String {
    let (columns, values) = account_lists();
    let (counted, one) = if event { (", @event_number", ", 1") } else { ("", "") };
    let mut sql = format!(
        "WITH account AS (
             INSERT INTO {{accounts}} ({columns}{counted}) VALUES ({values}{one})
             {{ignore_taken_email}}
             RETURNING id)"
    );
    // The values of the account come first.
    let mut places = (INSERTED.len() + 1..).map(|number| format!("{{{number}}}"));
    let mut next = || places.next().unwrap_or_default();
    let key = [next(), next(), next()];
    if ticket {
        let (hash, end) = (next(), next());
        sql += &format!(
            ", ticket AS (
             INSERT INTO {{used_tickets}} (hash, expires_at) SELECT {hash}, {end} FROM account)"
        );
    }
    if event {
        let [id, kind, at, data, partition] = [next(), next(), next(), next(), next()];
        sql += &format!(
            ", event AS (
             INSERT INTO {{events}}
                 (account_id, number, id, kind, created_at, data, partition_id, due_at)
             SELECT id, 1, {id}, {kind}, {at}, {data}, {partition}, {at} FROM account)"
        );
    }
    let [digest, prefix, last_four] = key;
    let created_at = INSERTED.iter().position(|column| *column == AccountColumn::CreatedAt);
    let created_at = created_at.map(|at| format!("{{{}}}", at + 1)).unwrap_or_default();
    sql + &format!(
        "
         INSERT INTO {{api_keys}} (digest, account_id, prefix, last_four, created_at)
         SELECT {digest}, id, {prefix}, {last_four}, {created_at} FROM account"
    )
}
