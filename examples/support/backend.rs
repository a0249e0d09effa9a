//! The store that a URL names.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "mysql")]
use signup::store::MySqlStore;
#[cfg(feature = "postgres")]
use signup::store::PostgresStore;
use signup::store::{EventStore, MemoryStore, SqliteStore, StoreError};

use super::process::Complaint;
use super::settings::values::Database;

/// The time within which a healthy store answers.
const PATIENCE: Duration = Duration::from_secs(1);

/// A store, in each of its types.
#[derive(Clone)]
pub enum Backend {
    Memory(Arc<MemoryStore>),
    Sqlite(SqliteStore),
    #[cfg(feature = "postgres")]
    Postgres(PostgresStore),
    #[cfg(feature = "mysql")]
    MySql(MySqlStore),
}

impl Backend {
    /// Opens the store and brings its tables up to date. If that fails, it is closed again.
    pub async fn open(database: &Database) -> Result<Self, Complaint> {
        let (backend, migrated) = match database {
            Database::Memory => return Ok(Self::Memory(Arc::default())),
            Database::Sqlite(url) => {
                let store = SqliteStore::connect(url).await.map_err(complaint)?;
                let migrated = store.migrate().await;
                (Self::Sqlite(store), migrated)
            }
            #[cfg(feature = "postgres")]
            Database::Postgres(url) => {
                let store = PostgresStore::connect(url).await.map_err(complaint)?;
                let migrated = store.migrate().await;
                (Self::Postgres(store), migrated)
            }
            #[cfg(feature = "mysql")]
            Database::MySql(url) => {
                let store = MySqlStore::connect(url).await.map_err(complaint)?;
                let migrated = store.migrate().await;
                (Self::MySql(store), migrated)
            }
            // The settings have refused it.
            #[cfg(not(all(feature = "mysql", feature = "postgres")))]
            _ => return Err(complaint("this server is built without its feature")),
        };
        match migrated {
            Ok(()) => Ok(backend),
            Err(error) => {
                backend.close().await;
                Err(complaint(error))
            }
        }
    }

    /// Returns the store as a service takes it: with a type chosen at run time.
    pub fn store(&self) -> Arc<dyn EventStore> {
        match self {
            Self::Memory(store) => Arc::clone(store) as _,
            Self::Sqlite(store) => Arc::new(store.clone()),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Arc::new(store.clone()),
            #[cfg(feature = "mysql")]
            Self::MySql(store) => Arc::new(store.clone()),
        }
    }

    /// Returns whether the store answers in time.
    pub async fn answers(&self) -> bool {
        matches!(tokio::time::timeout(PATIENCE, self.ping()).await, Ok(Ok(())))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Sqlite(store) => store.ping().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.ping().await,
            #[cfg(feature = "mysql")]
            Self::MySql(store) => store.ping().await,
        }
    }

    /// Closes all connections after their work. SQLite's last one writes the WAL into the
    /// database and deletes it.
    pub async fn close(&self) {
        match self {
            Self::Memory(_) => {}
            Self::Sqlite(store) => store.pool().close().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.pool().close().await,
            #[cfg(feature = "mysql")]
            Self::MySql(store) => store.pool().close().await,
        }
    }
}

fn complaint(error: impl Display) -> Complaint {
    format!("DATABASE_URL: {error}")
}
