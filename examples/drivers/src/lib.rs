//! An account's store over the driver of a host's, and a sign-up in the host's own
//! transaction: once for each of four drivers.
//!
//! No error of a driver is handed on as it is where it may quote a row: it would be logged.
//!
//! Each file has the same four parts: `insert` runs the statements of
//! [`signup::store::Dialect`] in a transaction, `meaning` says what an error is, [`AccountStore`]
//! is what a `SignupService` needs, and `sign_up` stores a workspace with the account.
//!
//! [`AccountStore`]: signup::store::AccountStore

pub mod with_diesel;
pub mod with_mysql_async;
pub mod with_sea_orm;
pub mod with_tokio_postgres;
