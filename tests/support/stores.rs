//! The stores under test, each with a look inside.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use signup::account::AccountId;
use signup::api_key::{ApiKeyDigest, ApiKeyId};
use signup::clock::Timestamp;
use signup::event::{Event, Notice};
use signup::fields::EmailKey;
use signup::hash::PasswordHash;
use signup::store::conformance::{
    self, Changeable, Credentialed, Eventful, Inspect as _, Outage, Relayed, Replayable,
    StoredAccount, StoredKey, Verifying,
};
use signup::store::{
    AccountChange, AccountColumn, AccountFilter, AccountRecord, AccountStore, ApiKeyInfo,
    ChangeOutcome, CreateOutcome, CredentialStore, EventBacklog, EventLease, EventStore, KeyOwner,
    LifecycleStore, MemoryStore, MySqlStore, NewAccount, NewApiKey, PostgresStore, RelayStore,
    ReplayStore, RetriedAccount, RetriedApiKey, Settled, SqliteStore, StoreError, StoredPassword,
    StoredSignup, UndeliveredEvent, VerificationStore,
};
use sqlx::{AssertSqlSafe, Row as _};

use super::galera::Galera;
use super::{mapped, mysql, postgres};

/// A store for all that a service can do.
pub trait WholeStore: VerificationStore + RelayStore {}
impl<S: VerificationStore + RelayStore> WholeStore for S {}

/// A store that tests can look into, and take accounts from.
#[async_trait]
pub trait Inspect: WholeStore + conformance::Inspect + Credentialed {
    /// Returns all bytes that the store has written.
    async fn bytes(&self) -> Vec<u8>;

    /// Takes an account away, with its keys.
    async fn delete(&self, email_key: &str);
}

pub fn memory() -> Arc<dyn Inspect> {
    Arc::new(MemoryStore::default())
}

/// The deadline of the endpoint's stores. A crowd of a thousand writes in turn, each to a
/// disk that others use too; how long that takes is no matter of the endpoint's.
const DEADLINE: Duration = Duration::from_mins(1);

pub async fn sqlite() -> Arc<dyn Inspect> {
    Arc::new(Sqlite::open().await.map(|store| store.with_deadline(DEADLINE)))
}

pub async fn postgres() -> Arc<dyn Inspect> {
    Arc::new(postgres::store(&postgres::url()).await.with_deadline(DEADLINE))
}

/// MariaDB, with a database of its own.
pub async fn mariadb() -> Arc<dyn Inspect> {
    Arc::new(mysql::store().await.with_deadline(DEADLINE))
}

/// The `users` table of a host, in each database.
pub async fn mapped_sqlite() -> Arc<dyn Inspect> {
    Arc::new(mapped::sqlite().await.map(|store| store.with_deadline(DEADLINE)))
}

pub async fn mapped_postgres() -> Arc<dyn Inspect> {
    Arc::new(mapped::postgres().await.with_deadline(DEADLINE))
}

pub async fn mapped_mariadb() -> Arc<dyn Inspect> {
    Arc::new(mapped::mariadb().await.with_deadline(DEADLINE))
}

/// PostgreSQL behind PgBouncer in transaction mode.
pub async fn pgbouncer() -> Arc<dyn Inspect> {
    let Pooled { direct, pooled } = pooled().await;
    Arc::new(Pooled { direct, pooled: pooled.with_deadline(DEADLINE) })
}

pub async fn pooled() -> Pooled {
    let direct = postgres::store(&postgres::url()).await;
    let pooled = PostgresStore::connect(&postgres::pgbouncer_url()).await.unwrap();
    let pooled = pooled.with_schema(postgres::schema_of(&direct)).without_prepared_statements();
    Pooled { direct, pooled }
}

#[async_trait]
impl Inspect for MemoryStore {
    async fn bytes(&self) -> Vec<u8> {
        let (accounts, keys) = (self.stored_accounts().await, self.stored_keys().await);
        format!("{accounts:?} {keys:?}").into_bytes()
    }

    async fn delete(&self, email_key: &str) {
        MemoryStore::delete(self, email_key);
    }
}

#[async_trait]
impl Inspect for PostgresStore {
    async fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for table in ["accounts", "api_keys"] {
            let table = self.table(table);
            let rows = format!("SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t");
            let rows: String =
                sqlx::query_scalar(AssertSqlSafe(rows)).fetch_one(self.pool()).await.unwrap();
            bytes.extend_from_slice(rows.as_bytes());
        }
        bytes
    }

    async fn delete(&self, email_key: &str) {
        let (table, key) = (self.table("accounts"), self.column(AccountColumn::EmailKey));
        let delete = format!("DELETE FROM {table} WHERE {key} = $1");
        let delete = sqlx::query(AssertSqlSafe(delete)).bind(email_key.to_owned());
        delete.execute(self.pool()).await.unwrap();
    }
}

#[async_trait]
impl Inspect for MySqlStore {
    async fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for table in ["accounts", "api_keys"] {
            let rows = format!("SELECT * FROM {}", self.table(table));
            for row in sqlx::query(AssertSqlSafe(rows)).fetch_all(self.pool()).await.unwrap() {
                for at in 0..row.len() {
                    let column: Option<Vec<u8>> = row.try_get_unchecked(at).unwrap();
                    bytes.extend(column.into_iter().flatten());
                }
            }
        }
        bytes
    }

    async fn delete(&self, email_key: &str) {
        let (table, key) = (self.table("accounts"), self.column(AccountColumn::EmailKey));
        let delete = format!("DELETE FROM {table} WHERE {key} = ?");
        let delete = sqlx::query(AssertSqlSafe(delete)).bind(email_key.to_owned());
        delete.execute(self.pool()).await.unwrap();
    }
}

/// A store in front of which the tests have a wrapper: everything goes through.
macro_rules! delegate {
    ($wrapper:ty, $store:tt, $inspect:tt) => {
        #[async_trait]
        impl AccountStore for $wrapper {
            async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
                self.$store.is_email_taken(key).await
            }

            async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
                self.$store.create(new).await
            }
        }

        #[async_trait]
        impl CredentialStore for $wrapper {
            async fn find_api_key(
                &self,
                digest: &ApiKeyDigest,
            ) -> Result<Option<KeyOwner>, StoreError> {
                self.$store.find_api_key(digest).await
            }

            async fn add_api_key(&self, new: NewApiKey) -> Result<bool, StoreError> {
                self.$store.add_api_key(new).await
            }

            async fn list_api_keys(
                &self,
                account: &AccountId,
            ) -> Result<Vec<ApiKeyInfo>, StoreError> {
                self.$store.list_api_keys(account).await
            }

            async fn rotate_api_key(
                &self,
                old: &ApiKeyId,
                until: Timestamp,
                new: NewApiKey,
            ) -> Result<bool, StoreError> {
                self.$store.rotate_api_key(old, until, new).await
            }

            async fn revoke_api_key(
                &self,
                account: &AccountId,
                key: &ApiKeyId,
            ) -> Result<bool, StoreError> {
                self.$store.revoke_api_key(account, key).await
            }

            async fn purge_api_keys(&self, expired_at: Timestamp) -> Result<(), StoreError> {
                self.$store.purge_api_keys(expired_at).await
            }

            async fn find_password(
                &self,
                key: &EmailKey,
            ) -> Result<Option<StoredPassword>, StoreError> {
                self.$store.find_password(key).await
            }

            async fn renew_password_hash(
                &self,
                account: &AccountId,
                old: &PasswordHash,
                new: &PasswordHash,
            ) -> Result<bool, StoreError> {
                self.$store.renew_password_hash(account, old, new).await
            }

            async fn find_account(
                &self,
                id: &AccountId,
            ) -> Result<Option<AccountRecord>, StoreError> {
                self.$store.find_account(id).await
            }

            async fn revoke_tokens(&self, account: &AccountId) -> Result<bool, StoreError> {
                self.$store.revoke_tokens(account).await
            }
        }

        #[async_trait]
        impl ReplayStore for $wrapper {
            async fn find_signup(
                &self,
                key: &EmailKey,
            ) -> Result<Option<StoredSignup>, StoreError> {
                self.$store.find_signup(key).await
            }

            async fn find_account_of_key(
                &self,
                digest: &ApiKeyDigest,
            ) -> Result<Option<RetriedAccount>, StoreError> {
                self.$store.find_account_of_key(digest).await
            }

            async fn find_retried_key(
                &self,
                account: &AccountId,
                tag: &[u8; 32],
            ) -> Result<Option<RetriedApiKey>, StoreError> {
                self.$store.find_retried_key(account, tag).await
            }
        }

        #[async_trait]
        impl VerificationStore for $wrapper {
            async fn is_ticket_used(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
                self.$store.is_ticket_used(hash).await
            }

            async fn purge_tickets(&self, expired_at: Timestamp) -> Result<(), StoreError> {
                self.$store.purge_tickets(expired_at).await
            }
        }

        #[async_trait]
        impl LifecycleStore for $wrapper {
            async fn find_account_by_email(
                &self,
                key: &EmailKey,
            ) -> Result<Option<AccountRecord>, StoreError> {
                self.$store.find_account_by_email(key).await
            }

            async fn list_accounts(
                &self,
                filter: &AccountFilter,
            ) -> Result<Vec<AccountRecord>, StoreError> {
                self.$store.list_accounts(filter).await
            }

            async fn change_account(
                &self,
                change: AccountChange,
            ) -> Result<ChangeOutcome, StoreError> {
                self.$store.change_account(change).await
            }
        }

        #[async_trait]
        impl EventStore for $wrapper {
            async fn list_events(
                &self,
                account: &AccountId,
                after: i64,
                limit: u32,
            ) -> Result<Vec<Event>, StoreError> {
                self.$store.list_events(account, after, limit).await
            }

            async fn purge_events(&self, until: Timestamp) -> Result<(), StoreError> {
                self.$store.purge_events(until).await
            }

            async fn due_notices(
                &self,
                now: Timestamp,
                limit: u32,
            ) -> Result<Vec<Notice>, StoreError> {
                self.$store.due_notices(now, limit).await
            }

            async fn settle_notice(
                &self,
                notice: &Notice,
                next: Option<Timestamp>,
            ) -> Result<bool, StoreError> {
                self.$store.settle_notice(notice, next).await
            }
        }

        #[async_trait]
        impl RelayStore for $wrapper {
            async fn due_partitions(&self, now: Timestamp) -> Result<Vec<EventLease>, StoreError> {
                self.$store.due_partitions(now).await
            }

            async fn lease_partition(
                &self,
                last: EventLease,
                now: Timestamp,
                until: Timestamp,
            ) -> Result<Option<EventLease>, StoreError> {
                self.$store.lease_partition(last, now, until).await
            }

            async fn due_events(
                &self,
                partition: u8,
                now: Timestamp,
                limit: u32,
            ) -> Result<Vec<UndeliveredEvent>, StoreError> {
                self.$store.due_events(partition, now, limit).await
            }

            async fn settle_events(
                &self,
                lease: EventLease,
                until: Timestamp,
                settled: Vec<Settled>,
            ) -> Result<bool, StoreError> {
                self.$store.settle_events(lease, until, settled).await
            }

            async fn event_backlog(&self) -> Result<EventBacklog, StoreError> {
                self.$store.event_backlog().await
            }

            async fn list_dead_letters(
                &self,
                limit: u32,
            ) -> Result<Vec<UndeliveredEvent>, StoreError> {
                self.$store.list_dead_letters(limit).await
            }

            async fn settle_dead_letter(
                &self,
                account: &AccountId,
                number: i64,
                due_at: Option<Timestamp>,
            ) -> Result<bool, StoreError> {
                self.$store.settle_dead_letter(account, number, due_at).await
            }

            async fn purge_delivered_events(&self, until: Timestamp) -> Result<(), StoreError> {
                self.$store.purge_delivered_events(until).await
            }
        }

        impl Relayed for $wrapper {
            fn relays(&self) -> &dyn RelayStore {
                self
            }
        }

        impl Eventful for $wrapper {
            fn events(&self) -> &dyn EventStore {
                self
            }
        }

        impl Changeable for $wrapper {
            fn lifecycle(&self) -> &dyn LifecycleStore {
                self
            }
        }

        impl Verifying for $wrapper {
            fn tickets(&self) -> &dyn VerificationStore {
                self
            }
        }

        impl Replayable for $wrapper {
            fn replays(&self) -> &dyn ReplayStore {
                self
            }
        }

        #[async_trait]
        impl Credentialed for $wrapper {
            fn credentials(&self) -> &dyn CredentialStore {
                self
            }

            async fn delete_account(&self, id: &AccountId) {
                self.$inspect.delete_account(id).await;
            }
        }

        #[async_trait]
        impl conformance::Inspect for $wrapper {
            fn accounts(&self) -> &dyn AccountStore {
                self
            }

            async fn outage(&self) -> Option<Outage> {
                self.lock_out().await
            }

            async fn stored_accounts(&self) -> Vec<StoredAccount> {
                self.$inspect.stored_accounts().await
            }

            async fn stored_keys(&self) -> Vec<StoredKey> {
                self.$inspect.stored_keys().await
            }
        }
    };
}

/// SQLite in a folder that goes with it.
pub struct Sqlite {
    pub store: SqliteStore,
    folder: tempfile::TempDir,
}
delegate!(Sqlite, store, store);

impl Sqlite {
    /// Another process writes, and does not end.
    async fn lock_out(&self) -> Option<Outage> {
        let url = format!("sqlite://{}", self.folder.path().join("test.db").display());
        let other = sqlx::sqlite::SqlitePool::connect(&url).await.unwrap();
        Some(Box::new(other.begin_with("BEGIN IMMEDIATE").await.unwrap()))
    }

    pub async fn open() -> Self {
        let sqlite = Self::unmigrated().await;
        sqlite.store.migrate().await.unwrap();
        sqlite
    }

    /// A store without tables.
    pub async fn unmigrated() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let store = SqliteStore::connect(&url).await.unwrap();
        Self { store, folder }
    }

    /// The same with other settings.
    pub fn map(self, change: impl FnOnce(SqliteStore) -> SqliteStore) -> Self {
        Self { store: change(self.store), folder: self.folder }
    }
}

#[async_trait]
impl Inspect for Sqlite {
    async fn bytes(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    async fn delete(&self, email_key: &str) {
        let store = &self.store;
        let (table, key) = (store.table("accounts"), store.column(AccountColumn::EmailKey));
        let delete = format!("DELETE FROM {table} WHERE {key} = ?");
        let delete = sqlx::query(AssertSqlSafe(delete)).bind(email_key.to_owned());
        delete.execute(self.store.pool()).await.unwrap();
    }
}

/// A cluster of which each call goes to the next node.
pub struct Cluster {
    node: InTurn,
    first: MySqlStore,
}
delegate!(Cluster, node, first);

/// The nodes, each the next one's turn.
struct InTurn {
    stores: [MySqlStore; 3],
    turn: AtomicUsize,
}

impl Deref for InTurn {
    type Target = MySqlStore;

    fn deref(&self) -> &MySqlStore {
        &self.stores[self.turn.fetch_add(1, Ordering::Relaxed) % 3]
    }
}

impl Cluster {
    pub async fn open() -> Self {
        let stores = Galera::shared().stores().await;
        // It has time for what conflicts.
        let stores = stores.map(|store| store.with_deadline(Duration::from_secs(30)));
        Self { first: stores[0].clone(), node: InTurn { stores, turn: AtomicUsize::new(0) } }
    }

    async fn lock_out(&self) -> Option<Outage> {
        self.first.outage().await
    }
}

pub struct Pooled {
    direct: PostgresStore,
    pooled: PostgresStore,
}

impl Pooled {
    async fn lock_out(&self) -> Option<Outage> {
        lock_out(&self.direct).await
    }
}

/// PostgreSQL as a store of a wrapper, whose tables can be locked.
pub struct Direct(pub PostgresStore);

impl Direct {
    async fn lock_out(&self) -> Option<Outage> {
        lock_out(&self.0).await
    }
}

/// A store that does not wait for long.
pub async fn direct() -> Direct {
    let store = postgres::store(&postgres::url()).await;
    Direct(store.with_deadline(std::time::Duration::from_secs(5)))
}

/// Another session has the table, and does not let go.
async fn lock_out(store: &PostgresStore) -> Option<Outage> {
    let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", store.table("accounts"));
    let mut holder = store.pool().begin().await.unwrap();
    sqlx::query(AssertSqlSafe(lock)).execute(&mut *holder).await.unwrap();
    Some(Box::new(holder))
}
delegate!(Direct, 0, 0);
delegate!(Pooled, pooled, direct);

#[async_trait]
impl Inspect for Pooled {
    async fn bytes(&self) -> Vec<u8> {
        self.direct.bytes().await
    }

    async fn delete(&self, email_key: &str) {
        Inspect::delete(&self.direct, email_key).await;
    }
}
