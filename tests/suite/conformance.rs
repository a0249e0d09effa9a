//! Every store of ours, and a host's own, against the suite; and for each promise
//! a store that breaks it, which the suite has to catch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use signup::account::AccountId;
use signup::fields::EmailKey;
use signup::store::conformance::{self, AccountRow, ApiKeyRow, Differences, Harness, Outage};
use signup::store::{AccountStore, CreateOutcome, MemoryStore, NewAccount, StoreError};

#[path = "conformance/flawed.rs"]
mod flawed;

#[path = "conformance/credentials.rs"]
mod flawed_credentials;

#[path = "conformance/replay.rs"]
mod flawed_replays;

#[path = "conformance/verification.rs"]
mod flawed_verification;

#[path = "conformance/event.rs"]
mod flawed_events;

#[path = "conformance/relay.rs"]
mod flawed_deliveries;

#[path = "conformance/lifecycle.rs"]
mod flawed_lifecycle;

#[path = "../../examples/custom_store.rs"]
#[allow(dead_code, reason = "its main is the example's")]
mod custom_store;

use crate::support::{mapped, mysql, postgres, stores};
use sqlx::Row as _;
use tokio::task::JoinHandle;

/// Runs promises of the credentials against a store with a flaw, each in a task.
macro_rules! promises {
    ($flaw:expr, $($promise:ident),+ $(,)?) => {
        [$((
            stringify!($promise),
            tokio::spawn(conformance::$promise($crate::conformance::flawed::Flawed::new($flaw))),
        )),+]
    };
}
use promises;

signup::conformance_tests!(memory, async { MemoryStore::default() });
signup::conformance_tests!(sqlite, stores::Sqlite::open());
signup::conformance_tests!(
    #[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
    postgres_store,
    stores::direct()
);
signup::lifecycle_conformance_tests!(memory_life, async { MemoryStore::default() });
signup::lifecycle_conformance_tests!(sqlite_life, stores::Sqlite::open());
signup::lifecycle_conformance_tests!(
    #[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
    postgres_life,
    postgres::store(&postgres::url())
);
signup::lifecycle_conformance_tests!(
    #[ignore = "needs PgBouncer: scripts/test.sh starts one"]
    pgbouncer_life,
    stores::pooled()
);
signup::event_conformance_tests!(memory_events, async { MemoryStore::default() });
signup::event_conformance_tests!(sqlite_events, stores::Sqlite::open());
signup::event_conformance_tests!(
    #[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
    postgres_events,
    postgres::store(&postgres::url())
);
signup::event_conformance_tests!(
    #[ignore = "needs PgBouncer: scripts/test.sh starts one"]
    pgbouncer_events,
    stores::pooled()
);
/// Makes modules of all promises at an isolation level at which PostgreSQL refuses what has
/// conflicted with another transaction.
macro_rules! at_isolation {
    ($level:literal, $($suite:ident => $module:ident),+ $(,)?) => {$(
        signup::$suite!(
            #[ignore = "needs PostgreSQL: scripts/test.sh starts one"]
            $module,
            postgres::isolated($level)
        );
    )+};
}
at_isolation!(
    "serializable",
    conformance_tests => serializable_store,
    lifecycle_conformance_tests => serializable_life,
    event_conformance_tests => serializable_events,
);
at_isolation!(
    "repeatable read",
    conformance_tests => repeatable_read_store,
    lifecycle_conformance_tests => repeatable_read_life,
    event_conformance_tests => repeatable_read_events,
);
/// Makes modules of all promises on another database.
macro_rules! on_database {
    ($open:expr, $reason:literal, $($suite:ident => $module:ident),+ $(,)?) => {$(
        signup::$suite!(#[ignore = $reason] $module, $open);
    )+};
}
on_database!(
    mysql::store(),
    "needs MariaDB: scripts/test.sh starts one",
    conformance_tests => mariadb_store,
    lifecycle_conformance_tests => mariadb_life,
    event_conformance_tests => mariadb_events,
);
on_database!(
    postgres::distributed(),
    "needs PostgreSQL: scripts/test.sh starts one",
    conformance_tests => distributed_store,
    lifecycle_conformance_tests => distributed_life,
    event_conformance_tests => distributed_events,
);
on_database!(
    stores::Cluster::open(),
    "needs Galera: scripts/test.sh starts a cluster",
    conformance_tests => galera_store,
    lifecycle_conformance_tests => galera_life,
    event_conformance_tests => galera_events,
);
on_database!(
    mapped::sqlite(),
    "of a kind with those that need a server",
    conformance_tests => mapped_sqlite_store,
    lifecycle_conformance_tests => mapped_sqlite_life,
    event_conformance_tests => mapped_sqlite_events,
);
on_database!(
    mapped::postgres(),
    "needs PostgreSQL: scripts/test.sh starts one",
    conformance_tests => mapped_postgres_store,
    lifecycle_conformance_tests => mapped_postgres_life,
    event_conformance_tests => mapped_postgres_events,
);
on_database!(
    mapped::mariadb(),
    "needs MariaDB: scripts/test.sh starts one",
    conformance_tests => mapped_mariadb_store,
    lifecycle_conformance_tests => mapped_mariadb_life,
    event_conformance_tests => mapped_mariadb_events,
);
signup::conformance_tests!(custom, async { custom_store::Users::open().await.unwrap() });
signup::lifecycle_conformance_tests!(custom_life, async {
    custom_store::Users::open().await.unwrap()
});

#[async_trait]
impl Harness for custom_store::Users {
    type Store = Self;

    fn under_test(&self) -> &Self {
        self
    }

    async fn account_rows(&self) -> Vec<AccountRow> {
        let rows = sqlx::query("SELECT * FROM users").fetch_all(&self.pool).await.unwrap();
        let account = |row: sqlx::sqlite::SqliteRow| AccountRow {
            id: row.get("public_id"),
            email: row.get("mail"),
            email_key: row.get("mail_key"),
            name: row.get("full_name"),
            plan: row.get("tier"),
            password_hash: row.get("pw"),
            pepper_version: row.get("pepper_version"),
            created_at: row.get("since"),
        };
        rows.into_iter().map(account).collect()
    }

    async fn api_key_rows(&self) -> Vec<ApiKeyRow> {
        let rows = sqlx::query("SELECT * FROM api_keys").fetch_all(&self.pool).await.unwrap();
        let key = |row: sqlx::sqlite::SqliteRow| ApiKeyRow {
            digest: row.get("digest"),
            account_id: row.get("account_id"),
            prefix: row.get("prefix"),
            created_at: row.get("created_at"),
        };
        rows.into_iter().map(key).collect()
    }

    async fn delete_account(&self, id: &AccountId) {
        let delete = sqlx::query("DELETE FROM users WHERE public_id = ?").bind(id.as_str());
        delete.execute(&self.pool).await.unwrap();
    }
}

/// The flaw of a [`Flawed`] store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    FoldsName,
    KeysByGivenEmail,
    ForgetsTheKey,
    LooksBeforeItInserts,
    StopsHalfWay,
    CallsEveryClashTaken,
    CutsTheName,
    /// Reports a violation of a second index on the address as one of identifiers.
    OverlooksASecondIndex,
    /// Reports an unavailable store as failed.
    FailsWhenAway,
}

/// A store in memory as one would write it in an hour.
#[derive(Clone)]
struct Flawed {
    flaw: Flaw,
    tables: Arc<Mutex<(Vec<AccountRow>, Vec<ApiKeyRow>)>>,
    is_away: Arc<AtomicBool>,
}

/// The end of an outage.
struct Back(Arc<AtomicBool>);

impl Drop for Back {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Flawed {
    fn new(flaw: Flaw) -> Self {
        Self { flaw, tables: Arc::default(), is_away: Arc::default() }
    }

    fn has(&self, key: &str) -> bool {
        self.tables.lock().unwrap().0.iter().any(|row| row.email_key == key)
    }

    fn key(&self, new: &NewAccount) -> String {
        match self.flaw {
            Flaw::KeysByGivenEmail => new.email().as_str().to_lowercase(),
            _ => new.email().key().to_string(),
        }
    }

    fn account(&self, new: &NewAccount) -> AccountRow {
        let mut account = AccountRow { email_key: self.key(new), ..AccountRow::from(new) };
        match self.flaw {
            Flaw::FoldsName => account.name = account.name.filter(|name| !name.is_empty()),
            Flaw::CutsTheName => {
                account.name = account.name.map(|name| name.chars().take(64).collect());
            }
            _ => {}
        }
        account
    }
}

#[async_trait]
impl AccountStore for Flawed {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        Ok(self.has(key.as_str()))
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        let key = ApiKeyRow::from(new.key());
        if self.is_away.load(Ordering::SeqCst) {
            return Err(match self.flaw {
                Flaw::FailsWhenAway => StoreError::Failed("away".into()),
                _ => StoreError::Unavailable("away".into()),
            });
        }
        if self.flaw == Flaw::OverlooksASecondIndex && !self.has(&self.key(&new)) {
            // The first index had nothing against it; meanwhile others insert.
            tokio::task::yield_now().await;
            if self.has(&self.key(&new)) {
                return Ok(CreateOutcome::IdentifierTaken);
            }
        }
        if self.flaw == Flaw::LooksBeforeItInserts {
            let taken = self.has(&self.key(&new));
            tokio::task::yield_now().await;
            if taken {
                return Ok(CreateOutcome::EmailTaken);
            }
        } else if self.has(&self.key(&new)) {
            return Ok(CreateOutcome::EmailTaken);
        }
        {
            let mut tables = self.tables.lock().unwrap();
            if self.flaw != Flaw::LooksBeforeItInserts
                && tables.0.iter().any(|row| row.email_key == self.key(&new))
            {
                return Ok(CreateOutcome::EmailTaken);
            }
            let clash = tables.0.iter().any(|row| row.id == new.id().as_str())
                || tables.1.iter().any(|row| row.digest == key.digest);
            if clash {
                let taken = self.flaw == Flaw::CallsEveryClashTaken;
                return Ok(if taken {
                    CreateOutcome::EmailTaken
                } else {
                    CreateOutcome::IdentifierTaken
                });
            }
            tables.0.push(self.account(&new));
            if self.flaw != Flaw::StopsHalfWay && self.flaw != Flaw::ForgetsTheKey {
                tables.1.push(key.clone());
            }
        }
        if self.flaw == Flaw::StopsHalfWay {
            tokio::task::yield_now().await;
            self.tables.lock().unwrap().1.push(key);
        }
        Ok(CreateOutcome::Stored)
    }
}

#[async_trait]
impl Harness for Flawed {
    type Store = Self;

    fn under_test(&self) -> &Self {
        self
    }

    async fn outage(&self) -> Option<Outage> {
        self.is_away.store(true, Ordering::SeqCst);
        Some(Box::new(Back(Arc::clone(&self.is_away))))
    }

    async fn account_rows(&self) -> Vec<AccountRow> {
        self.tables.lock().unwrap().0.clone()
    }

    async fn api_key_rows(&self) -> Vec<ApiKeyRow> {
        self.tables.lock().unwrap().1.clone()
    }

    async fn delete_account(&self, id: &AccountId) {
        let mut tables = self.tables.lock().unwrap();
        tables.0.retain(|account| account.id != id.as_str());
        tables.1.retain(|key| key.account_id != id.as_str());
    }
}

/// Returns the promises that a store with this flaw breaks.
async fn caught(flaw: Flaw) -> Vec<&'static str> {
    let store = move || Flawed::new(flaw);
    let differences = Differences::default;
    let promises = [
        (
            "created_and_read_back",
            tokio::spawn(async move {
                conformance::created_and_read_back(store(), &differences()).await;
            }),
        ),
        (
            "taken_in_every_spelling",
            tokio::spawn(async move { conformance::taken_in_every_spelling(store()).await }),
        ),
        (
            "both_rows_or_none",
            tokio::spawn(async move { conformance::both_rows_or_none(store()).await }),
        ),
        (
            "other_conflicts_are_told_apart",
            tokio::spawn(async move { conformance::other_conflicts_are_told_apart(store()).await }),
        ),
        (
            "one_winner",
            tokio::spawn(async move { conformance::one_winner(store(), &differences()).await }),
        ),
        (
            "dropped_at_every_poll",
            tokio::spawn(async move { conformance::dropped_at_every_poll(store()).await }),
        ),
        (
            "an_outage_is_not_a_failure",
            tokio::spawn(async move { conformance::an_outage_is_not_a_failure(store()).await }),
        ),
        (
            "odd_text_is_kept",
            tokio::spawn(
                async move { conformance::odd_text_is_kept(store(), &differences()).await },
            ),
        ),
    ];
    broken(promises).await
}

/// Those that are not kept.
async fn broken(
    promises: impl IntoIterator<Item = (&'static str, JoinHandle<()>)>,
) -> Vec<&'static str> {
    let mut broken = Vec::new();
    for (promise, task) in promises {
        if task.await.is_err() {
            broken.push(promise);
        }
    }
    broken
}

#[tokio::test]
async fn a_store_without_a_flaw_is_not_caught() {
    assert_eq!(caught(Flaw::None).await, [""; 0]);
}

#[tokio::test]
async fn for_each_promise_a_store_that_breaks_it_is_caught() {
    for (flaw, promise) in [
        (Flaw::FoldsName, "created_and_read_back"),
        (Flaw::KeysByGivenEmail, "taken_in_every_spelling"),
        (Flaw::ForgetsTheKey, "both_rows_or_none"),
        (Flaw::CallsEveryClashTaken, "other_conflicts_are_told_apart"),
        (Flaw::LooksBeforeItInserts, "one_winner"),
        (Flaw::StopsHalfWay, "dropped_at_every_poll"),
        (Flaw::CutsTheName, "odd_text_is_kept"),
        (Flaw::OverlooksASecondIndex, "one_winner"),
        (Flaw::FailsWhenAway, "an_outage_is_not_a_failure"),
    ] {
        let caught = caught(flaw).await;
        assert!(caught.contains(&promise), "{flaw:?} was caught by {caught:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_index_on_the_address_is_found_in_each_of_100_runs() {
    for run in 0..100 {
        let mut differences = Differences::default();
        differences.crowd = 50;
        let store = Flawed::new(Flaw::OverlooksASecondIndex);
        let race = tokio::spawn(async move { conformance::one_winner(store, &differences).await });
        assert!(race.await.is_err(), "run {run}");
    }
}
