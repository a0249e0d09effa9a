//! The SQL of events and of their deliveries.

use std::sync::Arc;

use crate::store::dialect::syntax::Syntax;

/// The columns of an event, of a table `e`.
const EVENT: &str = "e.account_id, e.number, e.id, e.kind, e.created_at, e.data, e.attempts,
                     e.delivery, e.due_at";

/// The statements about events, see [`Queries`](super::queries::Queries).
#[derive(Debug)]
pub(super) struct EventQueries {
    pub(super) list: Arc<str>,
    pub(super) find: Arc<str>,
    pub(super) given_up: Arc<str>,
    pub(super) given_up_after: Arc<str>,
    /// Those in one state.
    pub(super) purge: Arc<str>,
    pub(super) purge_notices: Arc<str>,
    pub(super) due_partitions: Arc<str>,
    pub(super) lease_partition: Arc<str>,
    pub(super) renew_lease: Arc<str>,
    pub(super) due: Arc<str>,
    pub(super) hold_order: Arc<str>,
    pub(super) postpone_later: Arc<str>,
    pub(super) settle: Arc<str>,
    pub(super) advance_next: Arc<str>,
    pub(super) backlog: Arc<str>,
    pub(super) revive_dead_letter: Arc<str>,
    pub(super) skip_dead_letter: Arc<str>,
    pub(super) due_notices: Arc<str>,
    pub(super) postpone_notice: Arc<str>,
    pub(super) delete_notice: Arc<str>,
}

impl EventQueries {
    /// Fills the names of the host into each statement.
    pub(super) fn new(sql: impl Fn(&str) -> Arc<str>, syntax: Syntax) -> Self {
        let open = (syntax.large.by_index)("{p}events_open");
        Self {
            list: sql(&format!(
                "SELECT {EVENT} FROM {{events}} e WHERE e.account_id = {{1}} AND e.number > {{2}}
                 ORDER BY e.number LIMIT {{3}}"
            )),
            find: sql("SELECT 1 FROM {events} WHERE id = {1}"),
            given_up: sql(&given_up("")),
            given_up_after: sql(&given_up(&format!(
                "AND {}",
                (syntax.large.is_after)(["created_at", "id"], ["{2}", "{3}"])
            ))),
            purge: sql(&(syntax.large.delete_some)(
                "events",
                "id",
                "delivery = {2} AND created_at <= {1}",
                "created_at",
            )),
            purge_notices: sql(&(syntax.large.delete_some)(
                "notices",
                "account_id, id",
                "created_at <= {1}",
                "created_at",
            )),
            // One row of the index each. An `EXISTS` may be turned into a look at all of them.
            due_partitions: sql("SELECT l.partition_id, l.fence FROM {event_leases} l
                 WHERE (l.expires_at <= {1} OR l.expires_at > {2}) AND (
                     (SELECT e.due_at FROM {events} e WHERE e.partition_id = l.partition_id
                         AND e.delivery = 'waiting' ORDER BY e.due_at LIMIT 1) <= {1}
                     OR (SELECT e.due_at FROM {events} e WHERE e.partition_id = l.partition_id
                         AND e.delivery = 'waiting' ORDER BY e.due_at DESC LIMIT 1) > {2})"),
            lease_partition: sql("UPDATE {event_leases} SET fence = fence + 1, expires_at = {4}
                 WHERE partition_id = {1} AND fence = {2}
                   AND (expires_at <= {3} OR expires_at > {5})"),
            renew_lease: sql("UPDATE {event_leases} SET expires_at = {3}, version = version + 1
                 WHERE partition_id = {1} AND fence = {2}"),
            due: sql(&format!(
                "SELECT {EVENT}, CASE WHEN
                     (SELECT f.number FROM {{events}} f {open} WHERE f.account_id = e.account_id
                         AND f.delivery = 'waiting' ORDER BY f.number LIMIT 1) < e.number
                     OR (SELECT f.number FROM {{events}} f {open} WHERE f.account_id = e.account_id
                         AND f.delivery = 'stopped' AND f.number < e.number
                         ORDER BY f.number LIMIT 1) < e.number
                   THEN e.number ELSE 0 END
                 FROM (SELECT * FROM (
                     SELECT * FROM {{events}} WHERE partition_id = {{1}}
                       AND delivery = 'waiting' AND due_at <= {{2}}
                     ORDER BY due_at LIMIT {{3}}) past
                   UNION ALL SELECT * FROM (
                     SELECT * FROM {{events}} WHERE partition_id = {{1}}
                       AND delivery = 'waiting' AND due_at > {{4}}
                     ORDER BY due_at LIMIT {{3}}) ahead) e
                 ORDER BY e.due_at, e.id LIMIT {{3}}"
            )),
            // The row of the lease holds off others that change which event is an account's
            // first one.
            hold_order: sql("UPDATE {event_leases} SET version = version + 1
                 WHERE partition_id = {1}"),
            postpone_later: sql(&format!(
                "UPDATE {{events}} SET due_at = {{3}}
                 WHERE account_id = {{1}} AND number = {{2}} AND delivery = 'waiting' AND EXISTS (
                     SELECT 1 FROM (SELECT f.number FROM {{events}} f {open}
                         WHERE f.account_id = {{1}} AND f.number < {{2}}
                           AND f.delivery IN ('waiting', 'stopped')
                         LIMIT 1) earlier)"
            )),
            settle: sql("UPDATE {events} SET delivery = {3}, attempts = {4}, due_at = {5}
                 WHERE account_id = {1} AND number = {2}"),
            advance_next: sql(syntax.large.advance_next),
            // Counts end at the limit.
            backlog: sql("SELECT
                     (SELECT count(*) FROM (SELECT 1 AS one FROM {events}
                         WHERE delivery = 'waiting' ORDER BY created_at LIMIT {1}) w),
                     (SELECT min(created_at) FROM {events} WHERE delivery = 'waiting'),
                     (SELECT count(*) FROM (SELECT 1 AS one FROM {events}
                         WHERE delivery = 'stopped' ORDER BY created_at LIMIT {1}) s)"),
            revive_dead_letter: sql("UPDATE {events}
                 SET delivery = 'waiting', attempts = 0, due_at = {3}
                 WHERE account_id = {1} AND number = {2}
                   AND delivery IN ('stopped', 'skipped')"),
            skip_dead_letter: sql("UPDATE {events} SET delivery = 'skipped'
                 WHERE account_id = {1} AND number = {2} AND delivery = 'stopped'"),
            due_notices: sql("SELECT account_id, id, kind, email, email_key, api_keys_ended,
                     api_keys_kept, created_at, due_at, takeovers
                 FROM (SELECT * FROM (
                     SELECT * FROM {notices} WHERE due_at <= {1}
                       AND kind IN ('password_changed', 'email_changed', 'account_reclaimed')
                     ORDER BY due_at LIMIT {2}) past
                   UNION ALL SELECT * FROM (
                     SELECT * FROM {notices} WHERE due_at > {3}
                       AND kind IN ('password_changed', 'email_changed', 'account_reclaimed')
                     ORDER BY due_at LIMIT {2}) ahead) n
                 ORDER BY due_at LIMIT {2}"),
            postpone_notice: sql("UPDATE {notices} SET due_at = {4}, takeovers = {5}
                 WHERE account_id = {1} AND id = {2} AND due_at = {3}"),
            delete_notice: sql("DELETE FROM {notices}
                 WHERE account_id = {1} AND id = {2} AND due_at = {3}"),
        }
    }
}

/// Writes the query of the events that were given up, each state by its index.
fn given_up(after: &str) -> String {
    let in_state = |state: &str| {
        format!(
            "SELECT * FROM (SELECT * FROM {{events}} WHERE delivery = '{state}' {after}
                 ORDER BY created_at, id LIMIT {{1}}) {state}"
        )
    };
    format!(
        "SELECT {EVENT} FROM ({} UNION ALL {}) e ORDER BY e.created_at, e.id LIMIT {{1}}",
        in_state("stopped"),
        in_state("skipped")
    )
}
