//! The results of verifying and issuing credentials.

use crate::account::{Account, AccountId};
use crate::api_key::{ApiKey, ApiKeyId};
use crate::store::{AccountRecord, ApiKeyInfo};
use crate::token::VerifiedToken;

use super::{CredentialError, Credentials};

/// The presenter of a valid token. Only [`Credentials`] creates one.
#[derive(Debug, Clone)]
pub struct DashboardAuth {
    pub(super) token: VerifiedToken,
    pub(super) record: AccountRecord,
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

    /// Reads the account from the store.
    ///
    /// # Errors
    /// Returns [`CredentialError::Rejected`] if it has been deleted, and another error if
    /// the store does not answer.
    pub async fn account(&self) -> Result<AccountRecord, CredentialError> {
        let account = self.credentials.account(&self.account_id).await;
        account.map_err(|error| match error {
            CredentialError::NotFound => CredentialError::Rejected,
            other => other,
        })
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
