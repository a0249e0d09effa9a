//! The contract of a store: three traits, and the data that they take and return.

mod account;
mod change;
mod delivery;
mod error;
mod events;
mod filter;
mod lifecycle;
mod query;
mod records;

pub use account::{AccountStore, CreateOutcome, InsertProof, NewAccount};
pub use change::{AccountChange, ChangeOutcome, Condition, Effect, WipeReason};
pub(super) use delivery::believed;
pub use delivery::{DeliveryOutcome, DeliveryState, EventBacklog, EventLease, StoredEvent};
pub use error::StoreError;
pub use events::EventStore;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(super) use filter::within;
pub use filter::{AccountCursor, AccountFilter, AccountPage};
pub use lifecycle::{LifecycleStore, LifecycleStoreExt};
pub use query::{EventQuery, Expired, FindBy, KeyQuery, OldEvents, Purged};
pub use records::{
    ApiKeyInfo, KeyOwner, NewApiKey, StoredAccount, StoredApiKey, StoredLogin, UsedTicket,
};
