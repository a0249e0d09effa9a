//! Stores of accounts: their contract, a store in memory, and stores in SQL databases.

#[cfg(feature = "conformance")]
pub mod conformance;
mod contract;
#[cfg(feature = "statements")]
#[cfg_attr(
    not(any(feature = "mysql", feature = "postgres", feature = "sqlite")),
    expect(dead_code, unreachable_pub, reason = "the SQL stores use all of it")
)]
mod dialect;
mod memory;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use contract::{
    AccountChange, AccountCursor, AccountFilter, AccountPage, AccountStore, ApiKeyInfo,
    ChangeOutcome, Condition, CreateOutcome, DeliveryOutcome, DeliveryState, Effect, EventBacklog,
    EventLease, EventQuery, EventStore, Expired, FindBy, InsertProof, KeyOwner, KeyQuery,
    LifecycleStore, LifecycleStoreExt, NewAccount, NewApiKey, OldEvents, Purged, StoreError,
    StoredAccount, StoredApiKey, StoredEvent, StoredLogin, UsedTicket, WipeReason,
};
#[cfg(feature = "statements")]
pub use dialect::{
    AccountColumn, Dialect, Migration, Schema, SqlValue, Statement, StatementError, TableMap,
    TablePrefix, TimeFormat,
};
pub use memory::MemoryStore;
#[cfg(feature = "mysql")]
pub use mysql::{MySql, MySqlStore};
#[cfg(feature = "postgres")]
pub use postgres::{Postgres, PostgresStore};
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub use sql::{
    Adoption, AdoptionReport, HostRows, HostRowsError, HostTransaction, ListedKind, ListedRow,
    ListedRows, OpenError, SqlStore, TableProblem,
};
#[cfg(feature = "sqlite")]
pub use sqlite::{Sqlite, SqliteStore};
