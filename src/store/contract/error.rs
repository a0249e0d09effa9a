//! The errors of a store.

use crate::issue::{BoxError, Issue};

/// The reason why a store operation failed.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store does not answer at the moment. Nothing is stored.
    #[error("the store does not answer")]
    Unavailable(#[source] BoxError),
    /// The connection was lost after the commit may have happened, and the store could not
    /// be asked again.
    #[error("the outcome is unknown: the store was lost during the commit")]
    OutcomeUnknown(#[source] BoxError),
    /// An account with this email key exists, as `create_in` of an SQL store says it.
    /// Nothing is stored.
    #[error("an account with this email exists")]
    EmailTaken,
    /// The host's rows refuse the account with these issues. Nothing is stored.
    #[error("the host's rows refuse the account")]
    Refused(Vec<Issue>),
    /// The store fails, and will fail again. Nothing is stored.
    #[error("the store failed")]
    Failed(#[source] BoxError),
}

crate::issue::debug_by_text!(StoreError);
