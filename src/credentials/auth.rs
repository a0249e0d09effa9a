//! What verifying and issuing give.

use crate::account::{Account, AccountId};
use crate::api_key::{ApiKey, ApiKeyId};
use crate::store::{AccountRecord, ApiKeyInfo};
use crate::token::VerifiedToken;

use super::{CredentialError, Credentials};

/// Who presented a token that verifies. Only [`Credentials`] makes one.
#[derive(Debug, Clone)]
pub struct DashboardAuth {
    pub(super) token: VerifiedToken,
    pub(super) record: AccountRecord,
}

impl DashboardAuth {
    /// Whose token it is.
    pub fn account_id(&self) -> &AccountId {
        self.token.account_id()
    }

    /// The account, plan included, as it was when the token was verified.
    pub fn account(&self) -> &Account {
        &self.record.account
    }

    /// The token's claims.
    pub fn token(&self) -> &VerifiedToken {
        &self.token
    }
}

/// Who presented an API key that verifies. Only [`Credentials`] makes one.
#[derive(Debug, Clone)]
pub struct ApiKeyAuth {
    pub(super) account_id: AccountId,
    pub(super) key_id: ApiKeyId,
    pub(super) credentials: Credentials,
}

impl ApiKeyAuth {
    /// Whose key it is.
    pub fn account_id(&self) -> &AccountId {
        &self.account_id
    }

    /// Which of the account's keys it is.
    pub fn key_id(&self) -> ApiKeyId {
        self.key_id
    }

    /// The account, plan included, asked of the store.
    ///
    /// # Errors
    /// It is gone meanwhile, and its keys with it; or the store does not answer.
    pub async fn account(&self) -> Result<AccountRecord, CredentialError> {
        let account = self.credentials.account(&self.account_id).await;
        account.map_err(|error| match error {
            CredentialError::NotFound => CredentialError::Rejected,
            other => other,
        })
    }
}

/// An API key that was made, to be shown once, and how a list will show it.
#[derive(Debug)]
pub struct IssuedApiKey {
    pub(super) key: ApiKey,
    pub(super) info: ApiKeyInfo,
}

impl IssuedApiKey {
    /// The key itself.
    pub fn key(&self) -> &ApiKey {
        &self.key
    }

    /// Its id, its dates and what is shown of it.
    pub fn info(&self) -> &ApiKeyInfo {
        &self.info
    }
}
