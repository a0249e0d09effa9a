//! The SQL of events and of their deliveries.

use std::sync::Arc;

use crate::store::dialect::spelling::Spelling;

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
    pub(super) purge: Arc<str>,
    pub(super) purge_delivered: Arc<str>,
    pub(super) purge_notices: Arc<str>,
    pub(super) due_partitions: Arc<str>,
    pub(super) lease_partition: Arc<str>,
    pub(super) renew_lease: Arc<str>,
    pub(super) due: Arc<str>,
    pub(super) settle: Arc<str>,
    pub(super) backlog: Arc<str>,
    pub(super) revive_dead_letter: Arc<str>,
    pub(super) skip_dead_letter: Arc<str>,
    pub(super) due_notices: Arc<str>,
    pub(super) postpone_notice: Arc<str>,
    pub(super) delete_notice: Arc<str>,
}

impl EventQueries {
    /// Fills the names of the host into each statement.
    pub(super) fn new(sql: impl Fn(&str) -> Arc<str>, spelling: Spelling) -> Self {
        let purge = |table, condition| sql(&(spelling.delete_some)(table, "id", condition));
        // Each partition by its index.
        let given_up = |condition: &str| {
            sql(&format!(
                "SELECT {EVENT} FROM {{event_leases}} l JOIN {{events}} e
                   ON e.partition_id = l.partition_id AND e.delivery IN ('stopped', 'skipped')
                 {condition} ORDER BY e.due_at, e.id LIMIT {{1}}"
            ))
        };
        Self {
            list: sql(&format!(
                "SELECT {EVENT} FROM {{events}} e WHERE e.account_id = {{1}} AND e.number > {{2}}
                 ORDER BY e.number LIMIT {{3}}"
            )),
            find: sql("SELECT 1 FROM {events} WHERE id = {1}"),
            given_up: given_up(""),
            given_up_after: given_up("WHERE (e.due_at, e.id) > ({2}, {3})"),
            purge: purge("events", "created_at <= {1}"),
            purge_delivered: purge("events", "created_at <= {1} AND delivery = 'delivered'"),
            purge_notices: purge("notices", "created_at <= {1}"),
            // An account has stopped, or waits, if one of its events does.
            due_partitions: sql("SELECT l.partition_id, l.fence FROM {event_leases} l
                 WHERE (l.expires_at <= {1} OR l.expires_at > {2}) AND EXISTS (
                     SELECT 1 FROM {events} e WHERE e.partition_id = l.partition_id
                       AND e.delivery = 'waiting' AND (e.due_at <= {1} OR e.due_at > {2})
                       AND e.account_id NOT IN (
                         SELECT o.account_id FROM {events} o
                         WHERE o.partition_id = l.partition_id
                           AND (o.delivery = 'stopped' OR (o.delivery = 'waiting'
                             AND o.due_at > {1} AND o.due_at <= {2}))))"),
            lease_partition: sql("UPDATE {event_leases} SET fence = fence + 1, expires_at = {4}
                 WHERE partition_id = {1} AND fence = {2}
                   AND (expires_at <= {3} OR expires_at > {5})"),
            renew_lease: sql("UPDATE {event_leases} SET expires_at = {3}
                 WHERE partition_id = {1} AND fence = {2}"),
            due: sql(&format!(
                "SELECT {EVENT} FROM {{events}} e
                 WHERE e.partition_id = {{1}} AND e.delivery = 'waiting'
                   AND (e.due_at <= {{2}} OR e.due_at > {{4}})
                   AND e.account_id NOT IN (
                     SELECT o.account_id FROM {{events}} o WHERE o.partition_id = {{1}}
                       AND (o.delivery = 'stopped' OR (o.delivery = 'waiting'
                         AND o.due_at > {{2}} AND o.due_at <= {{4}})))
                   AND e.number = (SELECT min(f.number) FROM {{events}} f
                     WHERE f.account_id = e.account_id AND f.delivery = 'waiting')
                 ORDER BY e.created_at, e.account_id LIMIT {{3}}"
            )),
            settle: sql("UPDATE {events} SET delivery = {2}, attempts = {3}, due_at = {4}
                 WHERE id = {1}"),
            backlog: sql("SELECT
                     count(CASE WHEN e.delivery = 'waiting' THEN 1 END),
                     min(CASE WHEN e.delivery = 'waiting' THEN e.created_at END),
                     count(CASE WHEN e.delivery = 'stopped' THEN 1 END)
                 FROM {event_leases} l JOIN {events} e
                   ON e.partition_id = l.partition_id AND e.delivery IN ('waiting', 'stopped')"),
            revive_dead_letter: sql("UPDATE {events}
                 SET delivery = 'waiting', attempts = 0, due_at = {3}
                 WHERE account_id = {1} AND number = {2}
                   AND delivery IN ('stopped', 'skipped')"),
            skip_dead_letter: sql("UPDATE {events} SET delivery = 'skipped'
                 WHERE account_id = {1} AND number = {2} AND delivery = 'stopped'"),
            due_notices: sql("SELECT account_id, id, kind, email, email_key, api_keys_ended,
                     api_keys_kept, created_at, due_at, takeovers
                 FROM {notices}
                 WHERE (due_at <= {1} OR due_at > {3})
                   AND kind IN ('password_changed', 'email_changed', 'account_reclaimed')
                 ORDER BY due_at LIMIT {2}"),
            postpone_notice: sql("UPDATE {notices} SET due_at = {4}, takeovers = {5}
                 WHERE account_id = {1} AND id = {2} AND due_at = {3}"),
            delete_notice: sql("DELETE FROM {notices}
                 WHERE account_id = {1} AND id = {2} AND due_at = {3}"),
        }
    }
}
