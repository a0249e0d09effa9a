//! Changes of API keys, with their events.

use serde_json::json;

use crate::account::AccountId;
use crate::api_key::ApiKeyId;
use crate::clock::Timestamp;
use crate::event::EventKind;
use crate::store::{AccountChange, ChangeOutcome, Condition, Effect, NewApiKey, StoreError};

use super::{CredentialError, Credentials};

/// A change of an account's API keys.
#[derive(Debug)]
pub(super) enum KeyChange {
    Add(NewApiKey),
    Rotate { old: ApiKeyId, until: Timestamp, new: NewApiKey },
    Revoke(ApiKeyId),
}

impl KeyChange {
    fn kind(&self) -> EventKind {
        match self {
            Self::Add(_) => EventKind::ApiKeyAdded,
            Self::Rotate { .. } => EventKind::ApiKeyRotated,
            Self::Revoke(_) => EventKind::ApiKeyRevoked,
        }
    }

    fn data(&self) -> serde_json::Value {
        let end = |new: &NewApiKey| new.expires_at.map(Timestamp::as_millis);
        let id = |new: &NewApiKey| new.digest.key_id().to_string();
        match self {
            Self::Add(new) => json!({"key_id": id(new), "expires_at": end(new)}),
            Self::Rotate { old, until, new } => json!({
                "key_id": id(new),
                "expires_at": end(new),
                "old_key_id": old.to_string(),
                "old_valid_until": until.as_millis(),
            }),
            Self::Revoke(key) => json!({"key_id": key.to_string()}),
        }
    }
}

impl From<KeyChange> for Effect {
    fn from(change: KeyChange) -> Self {
        match change {
            KeyChange::Add(new) => Self::AddApiKey(Box::new(new)),
            KeyChange::Rotate { old, until, new } => {
                Self::RotateApiKey { old, until, new: Box::new(new) }
            }
            KeyChange::Revoke(key) => Self::RevokeApiKey(key),
        }
    }
}

impl Credentials {
    /// Changes the API keys of an account. If events are stored, this is one transaction with the
    /// event, and the account is in this generation. Returns false if the change does not apply.
    pub(super) async fn change_keys(
        &self,
        account: &AccountId,
        generation: Option<i64>,
        change: KeyChange,
    ) -> Result<bool, CredentialError> {
        let core = self.core();
        // Without an event, the change is one statement, which has no condition.
        let event = if core.emits_events {
            core.event(change.kind(), account, core.now()?, &change.data())?
        } else {
            None
        };
        let mut change = AccountChange::new(account.clone()).with(change.into());
        if let Some(event) = event {
            change = change.with(Effect::Emit(event));
            if let Some(generation) = generation {
                change = change.provided(Condition::Generation(generation));
            }
        }
        match self.store().change(change).await? {
            ChangeOutcome::Changed => Ok(true),
            ChangeOutcome::NotApplicable | ChangeOutcome::AlreadyAdded => Ok(false),
            ChangeOutcome::EmailTaken | ChangeOutcome::IdentifierTaken => {
                Err(StoreError::Failed("the digest of the key is taken".into()).into())
            }
        }
    }
}
