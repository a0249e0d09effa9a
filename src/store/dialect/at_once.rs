//! The insert of a whole sign-up as one statement.

/// Writes the insert of an account, its first API key, its ticket and its event as one
/// statement. Without the account there is none of the others, so the count of rows tells
/// that the email is taken.
pub(super) fn template(ticket: bool, event: bool) -> String {
    let (column, number) = if event { (", event_number", ", 1") } else { ("", "") };
    let mut sql = format!(
        "WITH account AS (
             INSERT INTO {{accounts}} (id, email, email_key, name, plan, password_hash,
                                     pepper_version, created_at, replay_nonce,
                                     replay_version, replay_tag, email_verified_at,
                                     email_unverified, ticket_nonce{column})
             VALUES ({{1}}, {{2}}, {{3}}, {{4}}, {{5}}, {{6}}, {{7}}, {{8}}, {{9}}, {{10}}, {{11}},
                     {{12}}, {{13}}, {{14}}{number})
             {{ignore_taken_email}}
             RETURNING id)"
    );
    if ticket {
        sql += ", ticket AS (
             INSERT INTO {used_tickets} (hash, expires_at) SELECT {18}, {19} FROM account)";
    }
    if event {
        let first = if ticket { 20 } else { 18 };
        let [id, kind, at, data, partition] = [0, 1, 2, 3, 4].map(|offset| first + offset);
        sql += &format!(
            ", event AS (
             INSERT INTO {{events}}
                 (account_id, number, id, kind, created_at, data, partition_id)
             SELECT id, 1, {{{id}}}, {{{kind}}}, {{{at}}}, {{{data}}}, {{{partition}}} FROM account)"
        );
    }
    sql + "
         INSERT INTO {api_keys} (digest, account_id, prefix, last_four, created_at)
         SELECT {15}, id, {16}, {17}, {8} FROM account"
}
