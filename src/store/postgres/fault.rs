//! What an error of sqlx's means for a sign-up.

use std::error::Error as _;
use std::io;

use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPool;
use tokio::time::{Instant, timeout_at};

use crate::error::BoxError;

use super::super::StoreError;
use super::super::sql::without_rows;

/// Why an attempt came to nothing, as far as can be told.
pub(super) enum Fault {
    /// Another transaction was in the way. Nothing is stored; begin anew.
    Serialization(BoxError),
    /// The database does not answer, or not now. Nothing is stored.
    Unavailable(BoxError),
    /// The connection was lost after the commit may have been sent.
    Lost(BoxError),
    /// It will fail again. Nothing is stored.
    Failed(BoxError),
}

impl Fault {
    /// The meaning of an error of a statement that commits.
    pub(super) fn of(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        let kind = match code.as_deref() {
            Some("40001" | "40P01") => Self::Serialization,
            // The server ends the session, perhaps between commit and answer.
            Some("57P01" | "57P02" | "57P03" | "57P05") => Self::Lost,
            Some(code) if is_passing(code) => Self::Unavailable,
            Some(_) => Self::Failed,
            None => match error {
                sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
                    Self::Lost
                }
                sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => {
                    Self::Unavailable
                }
                _ => Self::Failed,
            },
        };
        kind(without_rows(error))
    }

    /// The meaning of an error before the commit is sent: nothing is stored.
    pub(super) fn before_commit(error: sqlx::Error) -> Self {
        match Self::of(error) {
            Self::Lost(source) => Self::Unavailable(source),
            other => other,
        }
    }

    /// The meaning of an error of the host's, before the commit.
    pub(super) fn of_host(error: BoxError) -> Self {
        match error.downcast::<sqlx::Error>() {
            Ok(error) => Self::before_commit(*error),
            Err(other) => Self::Failed(other),
        }
    }

    /// Whether a read that failed so may be tried again.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Serialization(_) | Self::Lost(_))
    }

    pub(super) fn into_store_error(self) -> StoreError {
        match self {
            Self::Serialization(source) | Self::Unavailable(source) => {
                StoreError::Unavailable(source)
            }
            Self::Lost(source) => StoreError::OutcomeUnknown(source),
            Self::Failed(source) => StoreError::Failed(source),
        }
    }

    /// The same for a read, which stores nothing in any case.
    pub(super) fn into_unstored(self) -> StoreError {
        match self.into_store_error() {
            StoreError::OutcomeUnknown(source) => StoreError::Unavailable(source),
            other => other,
        }
    }
}

/// Whether an SQLSTATE is about the moment and not about the statement: classes
/// 08 (connection), 53 (resources: disk, memory, connections), 57 (operator:
/// also a statement's timeout), 58 (system), and single ones: 25006 (read-only,
/// as after a failover), 25P02 (a transaction that somebody left failed),
/// 55P03 (a lock is not to be had).
fn is_passing(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    matches!(class, "08" | "53" | "57" | "58") || matches!(code, "25006" | "25P02" | "55P03")
}

/// A connection of the pool's, before the deadline.
pub(super) async fn acquire(
    pool: &PgPool,
    until: Instant,
) -> Result<PoolConnection<Postgres>, Fault> {
    match timeout_at(until, pool.acquire()).await {
        Ok(acquired) => acquired.map_err(|error| Fault::Unavailable(without_rows(error))),
        Err(_) => Err(Fault::Unavailable(late("no connection before the deadline"))),
    }
}

/// What `work` gives, or that it was lost, at the deadline.
pub(super) async fn within<T>(
    until: Instant,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let late = |_| Err(Fault::Lost(late("no answer before the deadline")));
    timeout_at(until, work).await.unwrap_or_else(late)
}

fn late(what: &'static str) -> BoxError {
    io::Error::new(io::ErrorKind::TimedOut, what).into()
}

/// An error at the start, for the person who starts: without what may quote a
/// password, and with the cause where the error itself only says where.
pub(super) fn readable(error: sqlx::Error) -> BoxError {
    match error {
        sqlx::Error::Configuration(_) => "the URL can't be read".into(),
        other => match other.source() {
            Some(source) if other.as_database_error().is_none() => source.to_string().into(),
            _ => without_rows(other),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f08_f09_f19_states_of_the_moment_are_told_from_faults_of_the_statement() {
        let passing = ["53100", "53300", "25006", "25P02", "57014", "08006", "55P03", "58030"];
        assert!(passing.into_iter().all(is_passing));
        let lasting = ["42P01", "42501", "23502", "23514", "22021", "XX000", "3F000", ""];
        assert!(!lasting.into_iter().any(is_passing));
    }

    #[test]
    fn f07_what_is_lost_before_the_commit_is_known_not_to_be_stored() {
        let broken = || sqlx::Error::Io(io::ErrorKind::ConnectionReset.into());
        assert!(matches!(Fault::of(broken()), Fault::Lost(_)));
        assert!(matches!(Fault::before_commit(broken()), Fault::Unavailable(_)));
        assert!(matches!(Fault::of_host(broken().into()), Fault::Unavailable(_)));
        assert!(matches!(Fault::of_host("no".into()), Fault::Failed(_)));
        assert!(matches!(Fault::of(sqlx::Error::PoolTimedOut), Fault::Unavailable(_)));
    }
}
