//! Classification of database errors.

use std::io;

use crate::issue::{BoxError, Issue};
use crate::store::contract::StoreError;

use crate::store::dialect::syntax::Severity;

use super::host::HostRowsError;

/// The reason why an attempt failed.
#[derive(Debug)]
#[doc(hidden)]
pub enum Fault {
    /// Another transaction conflicts. Nothing is stored; try again.
    Conflict(BoxError),
    /// The database does not answer at the moment. Nothing is stored.
    Unavailable(BoxError),
    /// The answer to a possible commit was lost.
    Lost(BoxError),
    /// The deadline passed without an answer to a possible commit.
    Late(BoxError),
    /// The host's rows refuse the account. Nothing is stored.
    Refused(Vec<Issue>),
    /// The database fails, and will fail again. Nothing is stored.
    Failed(BoxError),
}

impl Fault {
    pub(in crate::store) fn new(severity: Severity, source: BoxError) -> Self {
        match severity {
            Severity::Conflict => Self::Conflict(source),
            Severity::Lost => Self::Lost(source),
            Severity::Unavailable => Self::Unavailable(source),
            Severity::Failed => Self::Failed(source),
        }
    }

    /// Reclassifies a fault that happened before the commit.
    pub(in crate::store) fn before_commit(self) -> Self {
        match self {
            Self::Lost(source) | Self::Late(source) => Self::Unavailable(source),
            other => other,
        }
    }

    /// Reclassifies a fault of the commit itself, which may have happened.
    pub(in crate::store) fn at_commit(self) -> Self {
        match self {
            Self::Unavailable(source) => Self::Lost(source),
            other => other,
        }
    }

    /// Classifies an error of the host's rows.
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

    /// Returns whether a failed read may be retried at once.
    pub(in crate::store) const fn is_transient(&self) -> bool {
        matches!(self, Self::Conflict(_) | Self::Lost(_))
    }

    pub(in crate::store) fn into_store_error(self) -> StoreError {
        match self {
            Self::Conflict(source) | Self::Unavailable(source) => StoreError::Unavailable(source),
            Self::Lost(source) | Self::Late(source) => StoreError::OutcomeUnknown(source),
            Self::Refused(issues) => StoreError::Refused(issues),
            Self::Failed(source) => StoreError::Failed(source),
        }
    }
}

/// Returns the severity of an error that is not the server's.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(in crate::store) fn of_connection(error: &sqlx::Error) -> Severity {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            Severity::Lost
        }
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => {
            Severity::Unavailable
        }
        _ => Severity::Failed,
    }
}

/// Creates the error of a missed deadline.
pub(in crate::store) fn late(what: &'static str) -> BoxError {
    io::Error::new(io::ErrorKind::TimedOut, what).into()
}

/// Removes row data from a database's error: the detail of a constraint may quote a row,
/// and its password hash. sqlx's message is not used either, because it appends a line of
/// the server's source.
pub(in crate::store) fn without_rows(error: sqlx::Error) -> BoxError {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            format!("{} (code {code})", error.message()).into()
        }
        other => other.into(),
    }
}
