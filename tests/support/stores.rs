//! The stores under test, each with a look inside.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use signup::account::AccountId;
use signup::api_key::ApiKeyDigest;
use signup::clock::Timestamp;
use signup::event::Notice;
use signup::fields::EmailKey;
use signup::store::conformance::{AccountRow, ApiKeyRow, Harness, Outage};
use signup::store::{
    AccountChange, AccountColumn, AccountFilter, AccountPage, AccountStore, ChangeOutcome,
    CreateOutcome, DeliveryOutcome, EventBacklog, EventLease, EventQuery, EventStore, Expired,
    FindBy, KeyOwner, KeyQuery, LifecycleStore, MemoryStore, MySqlStore, NewAccount, OldEvents,
    PostgresStore, Purged, SqliteStore, StoreError, StoredAccount, StoredApiKey, StoredEvent,
    StoredLogin,
};
use sqlx::{AssertSqlSafe, Row as _};

use super::galera::Galera;
use super::{mapped, mysql, postgres};

/// A store that tests can look into, and take accounts from.
#[async_trait]
pub trait Inspect: EventStore + Harness {
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
        let (accounts, keys) = (self.account_rows().await, self.api_key_rows().await);
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
        impl LifecycleStore for $wrapper {
            async fn find_key_owner(
                &self,
                digest: &ApiKeyDigest,
            ) -> Result<Option<KeyOwner>, StoreError> {
                self.$store.find_key_owner(digest).await
            }

            async fn find_account(
                &self,
                by: FindBy<'_>,
            ) -> Result<Option<StoredAccount>, StoreError> {
                self.$store.find_account(by).await
            }

            async fn find_login(&self, by: FindBy<'_>) -> Result<Option<StoredLogin>, StoreError> {
                self.$store.find_login(by).await
            }

            async fn list_accounts(
                &self,
                filter: &AccountFilter,
            ) -> Result<AccountPage, StoreError> {
                self.$store.list_accounts(filter).await
            }

            async fn list_api_keys(
                &self,
                query: KeyQuery<'_>,
            ) -> Result<Vec<StoredApiKey>, StoreError> {
                self.$store.list_api_keys(query).await
            }

            async fn is_ticket_used(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
                self.$store.is_ticket_used(hash).await
            }

            async fn change(&self, change: AccountChange) -> Result<ChangeOutcome, StoreError> {
                self.$store.change(change).await
            }

            async fn purge(
                &self,
                expired: Expired,
                until: Timestamp,
                limit: u32,
            ) -> Result<Purged, StoreError> {
                self.$store.purge(expired, until, limit).await
            }
        }

        #[async_trait]
        impl EventStore for $wrapper {
            async fn list_events(
                &self,
                query: EventQuery<'_>,
                limit: u32,
            ) -> Result<Vec<StoredEvent>, StoreError> {
                self.$store.list_events(query, limit).await
            }

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
            ) -> Result<Vec<StoredEvent>, StoreError> {
                self.$store.due_events(partition, now, limit).await
            }

            async fn settle_events(
                &self,
                lease: EventLease,
                until: Timestamp,
                settled: Vec<DeliveryOutcome>,
            ) -> Result<bool, StoreError> {
                self.$store.settle_events(lease, until, settled).await
            }

            async fn event_backlog(&self, limit: u32) -> Result<EventBacklog, StoreError> {
                self.$store.event_backlog(limit).await
            }

            async fn settle_dead_letter(
                &self,
                account: &AccountId,
                number: i64,
                due_at: Option<Timestamp>,
            ) -> Result<bool, StoreError> {
                self.$store.settle_dead_letter(account, number, due_at).await
            }

            async fn purge_events(
                &self,
                which: OldEvents,
                until: Timestamp,
                limit: u32,
            ) -> Result<Purged, StoreError> {
                self.$store.purge_events(which, until, limit).await
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
        impl Harness for $wrapper {
            type Store = Self;

            fn under_test(&self) -> &Self {
                self
            }

            async fn account_rows(&self) -> Vec<AccountRow> {
                self.$inspect.account_rows().await
            }

            async fn api_key_rows(&self) -> Vec<ApiKeyRow> {
                self.$inspect.api_key_rows().await
            }

            async fn delete_account(&self, id: &AccountId) {
                self.$inspect.delete_account(id).await;
            }

            async fn outage(&self) -> Option<Outage> {
                self.lock_out().await
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
