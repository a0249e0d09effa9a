//! The meaning of a database's error for the change that it stopped.

use std::io;

use crate::error::{BoxError, Issue};
use crate::store::StoreError;

use super::host::HostRowsError;

/// Why an attempt failed, as far as can be told.
#[derive(Debug)]
#[doc(hidden)]
pub enum Fault {
    /// Another transaction was in the way. Nothing is stored; begin anew.
    Conflict(BoxError),
    /// The database does not answer, or not now. Nothing is stored.
    Unavailable(BoxError),
    /// The answer to what may have been committed was lost.
    Lost(BoxError),
    /// The host's rows refuse the account. Nothing is stored.
    Refused(Vec<Issue>),
    /// It will fail again. Nothing is stored.
    Failed(BoxError),
}

impl Fault {
    /// Returns the meaning of a fault before anything was committed.
    pub(in crate::store) fn before_commit(self) -> Self {
        match self {
            Self::Lost(source) => Self::Unavailable(source),
            other => other,
        }
    }

    /// Returns the fault of host rows that could not be inserted.
    pub(in crate::store) fn from_host(
        error: HostRowsError,
        fault: impl Fn(sqlx::Error) -> Self,
    ) -> Self {
        match error {
            HostRowsError::Sql(error) => fault(error).before_commit(),
            HostRowsError::Refused(issues) => Self::Refused(issues),
            HostRowsError::Failed(source) => Self::Failed(source),
        }
    }

    /// Whether a read that failed so may be tried again at once.
    pub(in crate::store) const fn is_transient(&self) -> bool {
        matches!(self, Self::Conflict(_) | Self::Lost(_))
    }

    pub(in crate::store) fn into_store_error(self) -> StoreError {
        match self {
            Self::Conflict(source) | Self::Unavailable(source) => StoreError::Unavailable(source),
            Self::Lost(source) => StoreError::OutcomeUnknown(source),
            Self::Refused(issues) => StoreError::Refused(issues),
            Self::Failed(source) => StoreError::Failed(source),
        }
    }
}

/// Returns an error that says what was not there before the deadline.
pub(in crate::store) fn late(what: &'static str) -> BoxError {
    io::Error::new(io::ErrorKind::TimedOut, what).into()
}

/// Returns a database's error without what it says of rows: the detail of a
/// constraint may quote them, and the password hash with them.
///
/// The message of sqlx is not used either: it appends a line of the server's own
/// source.
pub(in crate::store) fn without_rows(error: sqlx::Error) -> BoxError {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            format!("{} (code {code})", error.message()).into()
        }
        other => other.into(),
    }
}
