//! The test suite of a store: its contract, one function per promise.
//!
//! A function takes an empty store and panics if the promise is broken. These macros make named
//! tests of all of them:
//!
//! | macro | promises of |
//! | --- | --- |
//! | [`conformance_tests!`](crate::conformance_tests) | [`AccountStore`] |
//! | [`lifecycle_conformance_tests!`](crate::lifecycle_conformance_tests) | [`LifecycleStore`](super::LifecycleStore) |
//! | [`event_conformance_tests!`](crate::event_conformance_tests) | [`EventStore`](super::EventStore) |
//!
//! A store under test, or a wrapper of it, implements [`Harness`], so that the suite can read
//! what it has stored. [`Differences`] are permitted.
//!
//! ```
//! use signup::store::{MemoryStore, conformance};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let differences = conformance::Differences::default();
//! conformance::created_and_read_back(MemoryStore::default(), &differences).await;
//! conformance::taken_in_every_spelling(MemoryStore::default()).await;
//! # });
//! ```

#![expect(clippy::panic, reason = "a broken promise is a failed test")]

use async_trait::async_trait;

use crate::issue::Chain;

use crate::account::AccountId;

use super::contract::{AccountStore, CreateOutcome, NewAccount};

mod credentials;
mod drop_at;
mod event;
mod given;
mod inspect;
mod lifecycle;
mod listing;
mod log_in;
mod macros;
mod notice;
mod race;
mod relay;
mod replay;
mod sample;
mod state;
mod verification;

pub use credentials::{
    a_dropped_rotation_is_whole, a_revoked_key_is_gone, a_rotated_key_expires,
    added_keys_are_listed, expired_keys_are_purged, keys_are_found_by_their_digest,
    nothing_of_a_deleted_account_is_found, one_revokes,
};
pub use drop_at::dropped_after;
pub use event::{
    a_dropped_change_has_told, earlier_events_are_scrubbed, events_are_numbered_with_their_changes,
    events_outlive_their_account_until_they_are_purged, simultaneous_events_have_no_gap,
    what_is_refused_tells_nothing,
};
pub use inspect::{AccountRow, ApiKeyRow};
pub use lifecycle::{
    a_change_has_all_its_effects, a_change_of_a_key_is_whole, a_change_of_nothing_applies,
    a_condition_that_does_not_hold_changes_nothing, a_dropped_change_is_whole,
    a_proof_keeps_its_first_time, a_taken_email_changes_nothing, a_taken_key_changes_nothing,
    an_erased_account_has_nothing_left, one_change_wins,
};
pub use listing::{accounts_are_listed_in_pages, an_account_is_found_by_its_email};
pub use log_in::{a_password_is_found_and_renewed, an_account_is_found_and_its_tokens_are_revoked};
pub use notice::{
    a_notice_is_stored_with_its_change, a_scrubbed_account_has_no_notices,
    one_process_settles_a_notice,
};
pub use race::{an_outage_is_not_a_failure, one_winner};
pub use relay::{
    a_clock_that_was_ahead_holds_nothing, a_crowd_that_waits_hides_nothing,
    a_dropped_settlement_is_whole, a_lost_lease_settles_nothing, dead_letters_are_kept,
    dead_letters_are_listed_in_pages, delivered_events_are_purged, events_are_due_in_their_order,
    one_lease_wins, the_oldest_events_are_due_first,
};
pub use replay::{
    a_dropped_signup_has_its_receipt, a_key_is_found_by_its_tag, a_signup_keeps_its_receipt,
    a_taken_tag_changes_nothing, an_account_is_found_by_its_keys, no_retry_finds_a_deleted_account,
    one_tag_adds_one_key, the_row_of_another_is_not_its_own,
};
pub use sample::Sample;
pub use verification::{
    a_dropped_signup_uses_its_ticket_or_not, a_taken_email_uses_no_ticket, a_ticket_is_used_once,
    expired_tickets_are_purged, one_ticket_makes_one_account,
};

/// A store under test, with access to its rows.
///
/// It need not be the store itself: a wrapper in the host's tests can implement it, because
/// the orphan rule forbids it for a foreign store.
///
/// ```
/// use async_trait::async_trait;
/// use signup::account::AccountId;
/// use signup::store::MemoryStore;
/// use signup::store::conformance::{AccountRow, ApiKeyRow, Harness};
///
/// struct Users(MemoryStore);
///
/// #[async_trait]
/// impl Harness for Users {
///     type Store = MemoryStore;
///
///     fn under_test(&self) -> &MemoryStore {
///         &self.0
///     }
///
///     async fn account_rows(&self) -> Vec<AccountRow> {
///         self.0.account_rows().await // SELECT … FROM users
///     }
///
///     async fn api_key_rows(&self) -> Vec<ApiKeyRow> {
///         self.0.api_key_rows().await // SELECT … FROM keys
///     }
///
///     async fn delete_account(&self, id: &AccountId) {
///         self.0.delete_account(id).await // DELETE FROM users …
///     }
/// }
/// ```
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// The store. The traits that it implements decide which promises can be tested.
    type Store: AccountStore + ?Sized
    where
        Self: Sized;

    /// Returns the store.
    fn under_test(&self) -> &Self::Store
    where
        Self: Sized;

    /// Returns all accounts, in any order.
    async fn account_rows(&self) -> Vec<AccountRow>;

    /// Returns all API keys, in any order.
    async fn api_key_rows(&self) -> Vec<ApiKeyRow>;

    /// Deletes an account, as the host does.
    async fn delete_account(&self, id: &AccountId);

    /// Makes the store unavailable until the outage is dropped: for example by another
    /// session's lock on its tables. Without it, the classification of errors is not
    /// tested.
    async fn outage(&self) -> Option<Outage> {
        None
    }
}

/// An outage of a store, ended when dropped.
pub type Outage = Box<dyn std::any::Any + Send + Sync>;

/// Permitted differences between stores.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Differences {
    /// The number of callers that create the same email simultaneously. Default: 1,000.
    pub crowd: usize,
    /// The unit of `created_at`, in milliseconds. Default: 1.
    pub created_at_unit: i64,
    /// Whether the version of the pepper is kept. Default: yes.
    pub keeps_pepper_version: bool,
}

impl Default for Differences {
    fn default() -> Self {
        Self { crowd: 1000, created_at_unit: 1, keeps_pepper_version: true }
    }
}

/// Checks that a created account is stored byte for byte and found afterwards.
///
/// # Panics
/// Panics if the promise is broken.
pub async fn created_and_read_back<S: Harness>(store: S, differences: &Differences) {
    for (number, name) in [(1, None), (2, Some("")), (3, Some("Jane Developer"))] {
        let new = Sample::new(number).name(name).pepper_version(7).build();
        assert!(!is_taken(&store, &new).await, "an email is taken before it is created");
        create(&store, &new, CreateOutcome::Stored).await;
        assert!(is_taken(&store, &new).await, "an email is free after it was created");
        is_kept(&store, &new, differences).await;
    }
}

/// Checks that an email is taken in every spelling, and no other email is.
///
/// # Panics
/// Panics if the promise is broken.
pub async fn taken_in_every_spelling<S: Harness>(store: S) {
    let spellings = [
        &["User@Example.com", "user@example.com", "USER@EXAMPLE.COM", "user@example\u{3002}com"][..],
        &["a@m\u{fc}nchen.de", "a@xn--mnchen-3ya.de", "A@XN--MNCHEN-3YA.DE", "a@mu\u{308}nchen.de"],
        &["a@fa\u{df}.de", "A@FA\u{df}.DE"],
        &["a@fass.de"],
        &["user+a@example.com"],
        &["a-b@x.co"],
        &["ab@x.co"],
        &["a_b@x.co"],
    ];
    let mut number = 0;
    for account in spellings {
        for (at, email) in account.iter().enumerate() {
            number += 1;
            let new = Sample::new(number).email(email).build();
            let expected = if at == 0 { CreateOutcome::Stored } else { CreateOutcome::EmailTaken };
            assert_eq!(is_taken(&store, &new).await, at > 0, "{email}");
            create(&store, &new, expected).await;
        }
    }
    counts(&store, spellings.len()).await;
}

/// Checks that, for any result of `create`, every account has its key and every key its
/// account.
///
/// # Panics
/// Panics if the promise is broken.
pub async fn both_rows_or_none<S: Harness>(store: S) {
    let first = Sample::new(1).build();
    create(&store, &first, CreateOutcome::Stored).await;
    counts(&store, 1).await;
    create(&store, &Sample::new(2).email_of(&first).build(), CreateOutcome::EmailTaken).await;
    counts(&store, 1).await;
    create(&store, &Sample::new(3).key_of(&first).build(), CreateOutcome::IdentifierTaken).await;
    counts(&store, 1).await;
    create(&store, &Sample::new(3).build(), CreateOutcome::Stored).await;
    counts(&store, 2).await;
}

/// Checks that a clash of ids or digests is not reported as a taken email, and that the
/// email stays free.
///
/// # Panics
/// Panics if the promise is broken.
pub async fn other_conflicts_are_told_apart<S: Harness>(store: S) {
    let first = Sample::new(1).build();
    create(&store, &first, CreateOutcome::Stored).await;
    for clash in [Sample::new(2).id_of(&first), Sample::new(2).key_of(&first)] {
        let new = clash.build();
        create(&store, &new, CreateOutcome::IdentifierTaken).await;
        assert!(!is_taken(&store, &new).await, "a clash of identifiers took the email");
    }
    // If all three clash, the email is reported: the client can act on that.
    create(&store, &first, CreateOutcome::EmailTaken).await;
    create(&store, &Sample::new(2).build(), CreateOutcome::Stored).await;
    counts(&store, 2).await;
}

/// Checks that a `create` dropped at any poll leaves both rows or none, and that the email
/// is free or taken accordingly.
///
/// # Panics
/// Panics if the promise is broken.
pub async fn dropped_at_every_poll<S: Harness>(store: S) {
    let mut polls = 0;
    let mut finished = false;
    while !finished {
        polls += 1;
        let email = format!("poll{polls}@x.co");
        let dropped = Sample::new(2 * polls).email(&email).build();
        let future = store.under_test().create(dropped.clone());
        finished = dropped_after(future, polls).await.is_some();
        let again = Sample::new(2 * polls + 1).email(&email).build();
        let survivor = match store.under_test().create(again.clone()).await {
            Ok(CreateOutcome::Stored) => again,
            Ok(CreateOutcome::EmailTaken) => dropped,
            other => panic!("after a drop at poll {polls}: {other:?}"),
        };
        let accounts = store.account_rows().await;
        let ids: Vec<_> =
            accounts.iter().filter(|row| row.email == email).map(|row| &row.id).collect();
        assert_eq!(ids, [survivor.id().as_str()], "after a drop at poll {polls}");
        counts(&store, accounts.len()).await;
    }
}

/// Checks that text which databases are known to change, reject or truncate is kept.
///
/// # Panics
/// Panics if the promise is broken.
pub async fn odd_text_is_kept<S: Harness>(store: S, differences: &Differences) {
    let names = [
        "\u{1f600}".repeat(256),
        "e\u{301}".repeat(128),
        " leading and trailing ".to_owned(),
        "Robert'); DROP TABLE accounts;--".to_owned(),
        "\\ % _ \" ' ` $1 ?1 :x {p} {{}}".to_owned(),
        "\u{feff}\u{200b}\u{202e}\u{2028}\u{fffd}\u{ffff}\u{10ffff}".to_owned(),
        "NULL".to_owned(),
        String::new(),
    ];
    let long = format!("{}@{}.{}.co", "l".repeat(64), "d".repeat(63), "d".repeat(63));
    for (number, name) in (1..).zip(&names) {
        let email = format!("odd{number}+'\"%_@x.co").replace('"', "");
        let new = Sample::new(number).email(&email).name(Some(name)).build();
        create(&store, &new, CreateOutcome::Stored).await;
        is_kept(&store, &new, differences).await;
    }
    let new = Sample::new(100).email(&long).build();
    create(&store, &new, CreateOutcome::Stored).await;
    is_kept(&store, &new, differences).await;
}

async fn is_taken<S: Harness>(store: &S, new: &NewAccount) -> bool {
    let taken = store.under_test().is_email_taken(new.email().key()).await;
    taken.unwrap_or_else(|error| panic!("a look failed: {}", Chain(&error)))
}

async fn create<S: Harness>(store: &S, new: &NewAccount, expected: CreateOutcome) {
    match store.under_test().create(new.clone()).await {
        Ok(created) => assert_eq!(created, expected, "for {}", new.email().as_str()),
        Err(error) => panic!("a create failed: {}", Chain(&error)),
    }
}

/// Checks that there are `expected` accounts, each with one key.
async fn counts<S: Harness>(store: &S, expected: usize) {
    let (accounts, keys) = (store.account_rows().await, store.api_key_rows().await);
    assert_eq!((accounts.len(), keys.len()), (expected, expected), "accounts and keys");
    for account in accounts {
        let own = keys.iter().filter(|key| key.account_id == account.id).count();
        assert_eq!(own, 1, "keys of {}", account.id);
    }
}

async fn is_kept<S: Harness>(store: &S, new: &NewAccount, differences: &Differences) {
    let unit = differences.created_at_unit;
    let rounded = |millis: i64| millis / unit * unit;
    let mut account = AccountRow::from(new);
    let mut key = ApiKeyRow::from(new.key());
    account.created_at = rounded(account.created_at);
    key.created_at = rounded(key.created_at);
    if !differences.keeps_pepper_version {
        account.pepper_version = None;
    }
    let accounts = store.account_rows().await;
    let found: Vec<_> = accounts.iter().filter(|row| row.email == account.email).collect();
    assert_eq!(found, [&account], "what was stored of an account");
    let keys = store.api_key_rows().await;
    let found: Vec<_> = keys.iter().filter(|row| row.account_id == key.account_id).collect();
    assert_eq!(found, [&key], "what was stored of an API key");
}
