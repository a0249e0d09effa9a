//! The host's own rows: stored with an account, or not at all.

use async_trait::async_trait;

use crate::account::AccountId;
use crate::issue::{BoxError, Issue};
use crate::store::contract::{NewAccount, WipeReason};

/// Rows of the host that are stored with an account: a workspace, a membership, a used
/// invitation, an outbox entry.
///
/// # Contract
/// - [`insert`](HostRows::insert) is called after the account and its API key are inserted,
///   in the same transaction, which it must neither commit nor roll back.
/// - An error rolls everything back.
/// - It may be called several times per sign-up, each time in a new transaction of which
///   only the last commits: up to twenty times if transactions conflict, and with new ids up
///   to three times if ids were taken. It must do nothing that a rollback does not undo.
/// - It shares the deadline of the store: a future that takes longer is dropped, and
///   everything is rolled back.
///
/// ```
/// use async_trait::async_trait;
/// use signup::policy::InviteCode;
/// use signup::store::{HostRows, HostRowsError, NewAccount};
///
/// /// Uses up the invitation that the sign-up came with.
/// struct Invitations;
///
/// # #[cfg(feature = "sqlite")]
/// #[async_trait]
/// impl HostRows<sqlx::SqliteConnection> for Invitations {
///     async fn insert(
///         &self,
///         connection: &mut sqlx::SqliteConnection,
///         new: &NewAccount,
///     ) -> Result<(), HostRowsError> {
///         let code = new.context().get::<InviteCode>()?.map(|code| code.0);
///         let used = sqlx::query("UPDATE invitations SET used_by = ?1 WHERE code = ?2 AND used_by IS NULL")
///             .bind(new.id().as_str())
///             .bind(code)
///             .execute(connection)
///             .await?;
///         match used.rows_affected() {
///             0 => Err(HostRowsError::refuse("invite_code", "Invitation code is not valid")),
///             _ => Ok(()),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait HostRows<C>: Send + Sync + 'static {
    /// Inserts the host's rows for `new`.
    ///
    /// # Errors
    /// Returns [`HostRowsError`] if the rows can't be inserted or the host refuses the
    /// account. Nothing is stored then.
    async fn insert(&self, connection: &mut C, new: &NewAccount) -> Result<(), HostRowsError>;

    /// Wipes what is left in the host's rows of an account: in the transaction that takes it
    /// over from its first owner, or erases it. Default: nothing is wiped.
    ///
    /// ```
    /// use async_trait::async_trait;
    /// use signup::account::AccountId;
    /// use signup::store::{HostRows, HostRowsError, NewAccount, WipeReason};
    ///
    /// /// Deletes the notes of who is gone.
    /// struct Notes;
    ///
    /// # #[cfg(feature = "sqlite")]
    /// #[async_trait]
    /// impl HostRows<sqlx::SqliteConnection> for Notes {
    ///     async fn insert(
    ///         &self,
    ///         _: &mut sqlx::SqliteConnection,
    ///         _: &NewAccount,
    ///     ) -> Result<(), HostRowsError> {
    ///         Ok(())
    ///     }
    ///
    ///     async fn wipe(
    ///         &self,
    ///         connection: &mut sqlx::SqliteConnection,
    ///         account: &AccountId,
    ///         _: WipeReason,
    ///     ) -> Result<(), HostRowsError> {
    ///         let delete = sqlx::query("DELETE FROM notes WHERE account_id = ?1");
    ///         delete.bind(account.as_str()).execute(connection).await?;
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// Returns [`HostRowsError`] if the rows can't be wiped. Nothing has changed then.
    async fn wipe(
        &self,
        _connection: &mut C,
        _account: &AccountId,
        _because: WipeReason,
    ) -> Result<(), HostRowsError> {
        Ok(())
    }
}

/// The reason why [`HostRows`] were not inserted.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum HostRowsError {
    /// The database failed. The error is classified like one of the store: the sign-up is
    /// retried, or answered with 503 or 500.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// The host refuses the account: 400 with these issues.
    #[error("the host refuses the account")]
    Refused(Vec<Issue>),
    /// Anything else: 500.
    #[error(transparent)]
    Failed(#[from] BoxError),
}

crate::issue::debug_by_text!(HostRowsError);

impl HostRowsError {
    /// Creates a refusal because of one field of the request.
    pub fn refuse(field: &'static str, message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self::Refused(vec![Issue::field(field, message)])
    }
}

impl From<&str> for HostRowsError {
    fn from(message: &str) -> Self {
        Self::Failed(message.into())
    }
}
