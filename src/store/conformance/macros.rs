//! Macros that make tests of the promises.

/// Makes a module of named tests, one for each promise of
/// [`AccountStore`](crate::store::AccountStore).
///
/// It takes the module's name, an expression that opens an empty store (a future), and
/// optionally its [`Differences`](crate::store::conformance::Differences). Attributes
/// before it apply to each test. The crate that uses it needs `tokio` with its macros.
///
/// ```
/// use signup::store::MemoryStore;
///
/// signup::conformance_tests!(memory, async { MemoryStore::default() });
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! conformance_tests {
    ($(#[$attribute:meta])* $module:ident, $open:expr) => {
        $crate::conformance_tests!($(#[$attribute])* $module, $open, Default::default());
    };
    ($(#[$attribute:meta])* $module:ident, $open:expr, $differences:expr) => {
        $crate::conformance_tests!(
            @module [$(#[$attribute])*] $module,
            an_outage_is_not_a_failure($open),
            both_rows_or_none($open),
            dropped_at_every_poll($open),
            other_conflicts_are_told_apart($open),
            taken_in_every_spelling($open),
            created_and_read_back($open, $differences),
            odd_text_is_kept($open, $differences),
            one_winner($open, $differences),
        );
    };
    (@module $attributes:tt $module:ident, $($promise:ident $given:tt),+ $(,)?) => {
        mod $module {
            #[allow(unused_imports, reason = "the expressions may name what is around")]
            use super::*;
            use $crate::store::conformance;

            $($crate::conformance_tests!(@test $attributes $promise $given);)+
        }
    };
    (@test [$($attribute:tt)*] $promise:ident ($open:expr $(, $differences:expr)?)) => {
        #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $($attribute)*
        async fn $promise() {
            conformance::$promise($open.await $(, &$differences)?).await;
        }
    };
}

/// Makes a module of named tests, one for each promise of
/// [`LifecycleStore`](crate::store::LifecycleStore), as
/// [`conformance_tests!`](crate::conformance_tests) does for `AccountStore`.
///
/// ```
/// use signup::store::MemoryStore;
///
/// signup::lifecycle_conformance_tests!(life, async { MemoryStore::default() });
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! lifecycle_conformance_tests {
    ($(#[$attribute:meta])* $module:ident, $open:expr) => {
        $crate::conformance_tests!(
            @module [$(#[$attribute])*] $module,
            // API keys.
            keys_are_found_by_their_digest($open),
            added_keys_are_listed($open),
            a_revoked_key_is_gone($open),
            a_rotated_key_expires($open),
            one_revokes($open),
            a_dropped_rotation_is_whole($open),
            expired_keys_are_purged($open),
            // Log-ins.
            a_password_is_found_and_renewed($open),
            an_account_is_found_and_its_tokens_are_revoked($open),
            nothing_of_a_deleted_account_is_found($open),
            // Retries.
            a_signup_keeps_its_receipt($open),
            an_account_is_found_by_its_keys($open),
            a_key_is_found_by_its_tag($open),
            a_taken_tag_changes_nothing($open),
            one_tag_adds_one_key($open),
            a_dropped_signup_has_its_receipt($open),
            the_row_of_another_is_not_its_own($open),
            no_retry_finds_a_deleted_account($open),
            // Tickets.
            a_ticket_is_used_once($open),
            a_taken_email_uses_no_ticket($open),
            one_ticket_makes_one_account($open),
            a_dropped_signup_uses_its_ticket_or_not($open),
            expired_tickets_are_purged($open),
            // Changes.
            an_account_is_found_by_its_email($open),
            a_change_has_all_its_effects($open),
            a_change_of_nothing_applies($open),
            a_condition_that_does_not_hold_changes_nothing($open),
            a_proof_keeps_its_first_time($open),
            a_taken_key_changes_nothing($open),
            a_change_of_a_key_is_whole($open),
            a_taken_email_changes_nothing($open),
            an_erased_account_has_nothing_left($open),
            accounts_are_listed_in_pages($open),
            one_change_wins($open),
            a_dropped_change_is_whole($open),
        );
    };
}

/// Makes a module of named tests, one for each promise of
/// [`EventStore`](crate::store::EventStore), as
/// [`conformance_tests!`](crate::conformance_tests) does for `AccountStore`.
///
/// ```
/// use signup::store::MemoryStore;
///
/// signup::event_conformance_tests!(events, async { MemoryStore::default() });
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! event_conformance_tests {
    ($(#[$attribute:meta])* $module:ident, $open:expr) => {
        $crate::conformance_tests!(
            @module [$(#[$attribute])*] $module,
            events_are_numbered_with_their_changes($open),
            what_is_refused_tells_nothing($open),
            simultaneous_events_have_no_gap($open),
            a_dropped_change_has_told($open),
            events_outlive_their_account_until_they_are_purged($open),
            earlier_events_are_scrubbed($open),
            // Notices.
            a_notice_is_stored_with_its_change($open),
            one_process_settles_a_notice($open),
            a_scrubbed_account_has_no_notices($open),
            // Deliveries.
            events_are_due_in_their_order($open),
            the_oldest_events_are_due_first($open),
            a_clock_that_was_ahead_holds_nothing($open),
            a_crowd_that_waits_hides_nothing($open),
            one_lease_wins($open),
            a_lost_lease_settles_nothing($open),
            dead_letters_are_kept($open),
            dead_letters_are_listed_in_pages($open),
            delivered_events_are_purged($open),
            a_dropped_settlement_is_whole($open),
        );
    };
}
