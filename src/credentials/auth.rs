//! The results of verifying and issuing credentials.

use crate::account::{Account, AccountId};
use crate::api_key::{ApiKey, ApiKeyId};
use crate::clock::Timestamp;
use crate::store::{ApiKeyInfo, StoredAccount};
use crate::token::VerifiedToken;

use super::{CredentialError, Credentials};

/// The presenter of a valid token. Only [`Credentials`] creates one.
#[derive(Debug, Clone)]
pub struct DashboardAuth {
    pub(super) token: VerifiedToken,
    pub(super) record: StoredAccount,
}

impl DashboardAuth {
    /// Returns the account that the token was issued to.
    pub fn account_id(&self) -> &AccountId {
        self.token.account_id()
    }

    /// Returns the account as it was when the token was verified.
    pub fn account(&self) -> &Account {
        &self.record.account
    }

    /// Returns when the address of the account was verified, if it was; see
    /// [`verify_after`](crate::SignupServiceBuilder::verify_after).
    pub fn email_verified_at(&self) -> Option<Timestamp> {
        self.record.email_verified_at
    }

    /// Returns the token's claims.
    pub fn token(&self) -> &VerifiedToken {
        &self.token
    }
}

/// The presenter of a valid API key. Only [`Credentials`] creates one.
#[derive(Debug, Clone)]
pub struct ApiKeyAuth {
    pub(super) account_id: AccountId,
    pub(super) key_id: ApiKeyId,
    pub(super) email_verified_at: Option<Timestamp>,
    pub(super) credentials: Credentials,
}

impl ApiKeyAuth {
    /// Returns the account that the key belongs to.
    pub fn account_id(&self) -> &AccountId {
        &self.account_id
    }

    /// Returns the id of the key.
    pub fn key_id(&self) -> ApiKeyId {
        self.key_id
    }

    /// Returns when the address of the account was verified, if it was; see
    /// [`verify_after`](crate::SignupServiceBuilder::verify_after). With a
    /// [cache](Credentials::with_cache), a verification of a moment ago may be missing.
    pub fn email_verified_at(&self) -> Option<Timestamp> {
        self.email_verified_at
    }

    /// Reads the account from the store.
    ///
    /// # Errors
    /// Returns [`CredentialError::Rejected`] if it has been deleted, and another error if
    /// the store does not answer.
    pub async fn account(&self) -> Result<StoredAccount, CredentialError> {
        let account = self.credentials.account(&self.account_id).await;
        account.map_err(|error| match error {
            CredentialError::NotFound => CredentialError::Rejected,
            other => other,
        })
    }
}

/// The presenter of a valid credential, of an account whose address is verified:
/// `VerifiedEmail<DashboardAuth>`, or `VerifiedEmail<ApiKeyAuth>`. As an extractor, it
/// refuses others with 403.
///
/// ```
/// use signup::credentials::{CredentialError, DashboardAuth, VerifiedEmail};
///
/// /// Sends an invitation in the name of an address that must not be made up.
/// async fn invite(auth: VerifiedEmail<DashboardAuth>) -> String {
///     format!("{} invites you", auth.account().email().as_str())
/// }
///
/// async fn by_hand(auth: DashboardAuth) -> Result<String, CredentialError> {
///     Ok(invite(auth.require_verified_email()?).await)
/// }
/// ```
#[cfg(feature = "verification")]
#[derive(Debug, Clone)]
pub struct VerifiedEmail<A>(A);

#[cfg(feature = "verification")]
impl DashboardAuth {
    /// Requires that the address of the account is verified.
    ///
    /// # Errors
    /// Returns [`CredentialError::EmailUnverified`] if it is not.
    pub fn require_verified_email(self) -> Result<VerifiedEmail<Self>, CredentialError> {
        require(self.email_verified_at()).map(|()| VerifiedEmail(self))
    }
}

#[cfg(feature = "verification")]
impl ApiKeyAuth {
    /// Requires that the address of the account is verified.
    ///
    /// # Errors
    /// Returns [`CredentialError::EmailUnverified`] if it is not.
    pub fn require_verified_email(self) -> Result<VerifiedEmail<Self>, CredentialError> {
        require(self.email_verified_at()).map(|()| VerifiedEmail(self))
    }
}

#[cfg(feature = "verification")]
fn require(email_verified_at: Option<Timestamp>) -> Result<(), CredentialError> {
    email_verified_at.map(drop).ok_or(CredentialError::EmailUnverified)
}

#[cfg(feature = "verification")]
impl<A> VerifiedEmail<A> {
    /// Returns the presenter.
    pub fn into_inner(self) -> A {
        self.0
    }
}

#[cfg(feature = "verification")]
impl<A> std::ops::Deref for VerifiedEmail<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.0
    }
}

/// An issued API key, to be shown once, with its entry in a list.
#[derive(Debug)]
pub struct IssuedApiKey {
    pub(super) key: ApiKey,
    pub(super) info: ApiKeyInfo,
}

impl IssuedApiKey {
    /// Returns the key itself.
    pub fn key(&self) -> &ApiKey {
        &self.key
    }

    /// Returns the key's entry in a list: id, dates, and the visible digits.
    pub fn info(&self) -> &ApiKeyInfo {
        &self.info
    }
}
