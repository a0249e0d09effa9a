//! The contract of a store whose accounts change after the sign-up.

use std::sync::Arc;

use async_trait::async_trait;

use crate::account::{AccountId, AccountState, Plan, TicketNonce};
use crate::api_key::ApiKeyId;
use crate::clock::Timestamp;
use crate::event::{NewEvent, Notice};
use crate::fields::{Email, EmailKey, Name};
use crate::hash::PasswordHash;

use super::{AccountFilter, AccountRecord, CredentialStore, NewApiKey, StoreError};

/// A store whose accounts change, beside [`CredentialStore`].
///
/// # Contract
/// - [`change_account`](Self::change_account) is atomic: all effects happen, or none, and
///   they are visible to every look-up that begins after it returned.
/// - The conditions are judged by the write itself, not by a read before it. Of several
///   changes that exclude each other, one returns [`ChangeOutcome::Changed`].
/// - A store that does not know a condition or an effect returns [`StoreError::Failed`] and
///   changes nothing.
///
/// ```
/// use async_trait::async_trait;
/// use signup::fields::EmailKey;
/// use signup::store::{
///     AccountChange, AccountFilter, AccountRecord, ChangeOutcome, Condition, Effect,
///     LifecycleStore, MemoryStore, StoreError,
/// };
/// # use signup::account::AccountId;
/// # use signup::api_key::{ApiKeyDigest, ApiKeyId};
/// # use signup::clock::Timestamp;
/// # use signup::hash::PasswordHash;
/// # use signup::store::{ApiKeyInfo, CredentialStore, KeyOwner, NewApiKey, StoredPassword};
///
/// /// Writes the SQL of a change down before it is made.
/// struct Audited(MemoryStore);
///
/// #[async_trait]
/// impl LifecycleStore for Audited {
///     async fn find_account_by_email(
///         &self,
///         key: &EmailKey,
///     ) -> Result<Option<AccountRecord>, StoreError> {
///         self.0.find_account_by_email(key).await
///     }
///
///     async fn list_accounts(
///         &self,
///         filter: &AccountFilter,
///     ) -> Result<Vec<AccountRecord>, StoreError> {
///         self.0.list_accounts(filter).await
///     }
///
///     async fn change_account(&self, change: AccountChange) -> Result<ChangeOutcome, StoreError> {
///         let mut sql = format!("UPDATE accounts ({}) SET", change.account().as_str());
///         for effect in change.effects() {
///             sql += match effect {
///                 Effect::SetPassword(_) => " password_hash = ?",
///                 Effect::SetName(_) => " name = ?",
///                 Effect::SetPlan(_) => " plan = ?",
///                 Effect::SetEmail(..) => " email = ?, email_key = ?, email_verified_at = ?",
///                 Effect::SetState(..) => " state = ?, delete_at = ?",
///                 Effect::Erase(_) => " email = ?, email_key = ?, name = NULL, …",
///                 Effect::SetTicketNonce(_) => " ticket_nonce = ?",
///                 Effect::VerifyEmail(_) => " email_verified_at = coalesce(email_verified_at, ?)",
///                 Effect::ForgetRetries => " replay_nonce = NULL, …",
///                 Effect::RevokeTokens => " token_generation = token_generation + 1",
///                 Effect::ScrubEvents => "; UPDATE events SET data = …",
///                 Effect::Emit(_) => "; INSERT INTO events …",
///                 Effect::WipeHostRows(_) => "; DELETE FROM notes …",
///                 Effect::AddApiKey(_) => "; INSERT INTO api_keys …",
///                 Effect::RotateApiKey { .. } => "; UPDATE api_keys …; INSERT …",
///                 Effect::RevokeApiKey(_) => "; DELETE FROM api_keys … AND id = ?",
///                 Effect::ReplaceApiKeys(_) => "; DELETE FROM api_keys …; INSERT …",
///                 _ => return Err(StoreError::Failed("an unknown effect".into())),
///             };
///         }
///         for condition in change.conditions() {
///             sql += match condition {
///                 Condition::Email(_) => " AND email_key = ?",
///                 Condition::Generation(_) => " AND token_generation = ?",
///                 Condition::Unverified => {
///                     " AND email_verified_at IS NULL AND email_unverified = 1"
///                 }
///                 Condition::TicketNonce(None) => " AND ticket_nonce IS NULL",
///                 Condition::TicketNonce(Some(_)) => " AND ticket_nonce = ?",
///                 Condition::Password(_) => " AND password_hash = ?",
///                 Condition::DeletionDue(_) => " AND delete_at <= ?",
///                 Condition::State(_) => " AND state IN (?, …)",
///                 _ => return Err(StoreError::Failed("an unknown condition".into())),
///             };
///         }
///         eprintln!("{sql}");
///         self.0.change_account(change).await
///     }
/// }
/// # #[async_trait]
/// # impl CredentialStore for Audited {
/// #     async fn find_api_key(&self, it: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError> {
/// #         self.0.find_api_key(it).await
/// #     }
/// #     async fn add_api_key(&self, new: NewApiKey) -> Result<bool, StoreError> {
/// #         self.0.add_api_key(new).await
/// #     }
/// #     async fn list_api_keys(&self, it: &AccountId) -> Result<Vec<ApiKeyInfo>, StoreError> {
/// #         self.0.list_api_keys(it).await
/// #     }
/// #     async fn rotate_api_key(
/// #         &self,
/// #         old: &ApiKeyId,
/// #         until: Timestamp,
/// #         new: NewApiKey,
/// #     ) -> Result<bool, StoreError> {
/// #         self.0.rotate_api_key(old, until, new).await
/// #     }
/// #     async fn revoke_api_key(&self, it: &AccountId, key: &ApiKeyId) -> Result<bool, StoreError> {
/// #         self.0.revoke_api_key(it, key).await
/// #     }
/// #     async fn purge_api_keys(&self, expired_at: Timestamp) -> Result<(), StoreError> {
/// #         self.0.purge_api_keys(expired_at).await
/// #     }
/// #     async fn find_password(&self, it: &EmailKey) -> Result<Option<StoredPassword>, StoreError> {
/// #         self.0.find_password(it).await
/// #     }
/// #     async fn renew_password_hash(
/// #         &self,
/// #         it: &AccountId,
/// #         old: &PasswordHash,
/// #         new: &PasswordHash,
/// #     ) -> Result<bool, StoreError> {
/// #         self.0.renew_password_hash(it, old, new).await
/// #     }
/// #     async fn find_account(&self, it: &AccountId) -> Result<Option<AccountRecord>, StoreError> {
/// #         self.0.find_account(it).await
/// #     }
/// #     async fn revoke_tokens(&self, it: &AccountId) -> Result<bool, StoreError> {
/// #         self.0.revoke_tokens(it).await
/// #     }
/// # }
/// ```
#[async_trait]
pub trait LifecycleStore: CredentialStore {
    /// Returns the account with this email key.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn find_account_by_email(
        &self,
        key: &EmailKey,
    ) -> Result<Option<AccountRecord>, StoreError>;

    /// Returns the accounts that a filter lets through, by `created_at` and then by id, of
    /// which there are [`limit`](AccountFilter::limit) at most.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn list_accounts(&self, filter: &AccountFilter)
    -> Result<Vec<AccountRecord>, StoreError>;

    /// Changes an account if the conditions hold.
    ///
    /// # Errors
    /// Returns a [`StoreError`] that says whether the outcome is known.
    async fn change_account(&self, change: AccountChange) -> Result<ChangeOutcome, StoreError>;

    /// Compares the clocks of the process and the database, before accounts are erased because
    /// of a date. Default: the store has no clock.
    ///
    /// # Errors
    /// Fails if they differ by more than an hour: nothing that can't be undone may happen then.
    async fn check_clock(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

macro_rules! forward {
    ($($wrapper:ident),+) => {$(
        #[async_trait]
        impl<S: LifecycleStore + ?Sized> LifecycleStore for $wrapper<S> {
            async fn find_account_by_email(
                &self,
                key: &EmailKey,
            ) -> Result<Option<AccountRecord>, StoreError> {
                (**self).find_account_by_email(key).await
            }

            async fn list_accounts(
                &self,
                filter: &AccountFilter,
            ) -> Result<Vec<AccountRecord>, StoreError> {
                (**self).list_accounts(filter).await
            }

            async fn change_account(
                &self,
                change: AccountChange,
            ) -> Result<ChangeOutcome, StoreError> {
                (**self).change_account(change).await
            }

            async fn check_clock(&self) -> Result<(), StoreError> {
                (**self).check_clock().await
            }
        }
    )+};
}
forward!(Arc, Box);

/// A change of one account: what must hold for it, and what it does.
///
/// ```
/// use signup::account::AccountId;
/// use signup::clock::Timestamp;
/// use signup::store::{AccountChange, Condition, Effect};
///
/// let id = AccountId::from_store("acc_a1b2c3d4e5");
/// let change = AccountChange::new(id)
///     .provided(Condition::Generation(0))
///     .with(Effect::VerifyEmail(Timestamp::EPOCH));
/// assert_eq!((change.conditions().len(), change.effects().len()), (1, 1));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct AccountChange {
    account: AccountId,
    conditions: Vec<Condition>,
    effects: Vec<Effect>,
}

impl AccountChange {
    /// Creates a change without effects.
    pub const fn new(account: AccountId) -> Self {
        Self { account, conditions: Vec::new(), effects: Vec::new() }
    }

    /// Adds a condition.
    pub fn provided(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Adds an effect.
    pub fn with(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }

    /// Adds these effects.
    pub fn with_all(mut self, effects: impl IntoIterator<Item = Effect>) -> Self {
        self.effects.extend(effects);
        self
    }

    /// Returns the account to change.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// Returns the conditions, all of which must hold. That the account exists is one, too.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Returns the effects, each of another kind.
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// Returns the API key that is added, if the change has one.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(crate) fn new_key(&self) -> Option<&NewApiKey> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::ReplaceApiKeys(new) => new.as_deref(),
            Effect::AddApiKey(new) | Effect::RotateApiKey { new, .. } => Some(&**new),
            _ => None,
        })
    }
}

/// A condition of an [`AccountChange`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Condition {
    /// `accounts.email_key` is this one.
    Email(EmailKey),
    /// `accounts.token_generation` is this one: the account's tokens were not revoked.
    Generation(i64),
    /// `accounts.email_verified_at` is null, and `accounts.email_unverified` is 1.
    Unverified,
    /// `accounts.ticket_nonce` is this one, or null.
    TicketNonce(Option<TicketNonce>),
    /// `accounts.password_hash` is this one: the password was not changed.
    Password(PasswordHash),
    /// `accounts.delete_at` is this time or an earlier one.
    DeletionDue(Timestamp),
    /// `accounts.state` is one of these.
    State(&'static [AccountState]),
}

/// An effect of an [`AccountChange`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Effect {
    /// Sets `accounts.password_hash` and `accounts.pepper_version`.
    SetPassword(PasswordHash),
    /// Sets `accounts.name`.
    SetName(Option<Name>),
    /// Sets `accounts.plan`.
    SetPlan(Plan),
    /// Sets `accounts.email` and `accounts.email_key`, and `accounts.email_verified_at` to
    /// this time.
    SetEmail(Email, Timestamp),
    /// Sets `accounts.state` and `accounts.delete_at`.
    SetState(AccountState, Option<Timestamp>),
    /// Sets `accounts.state` to `disabled`, and keeps `accounts.delete_at`.
    Disable,
    /// Sets `accounts.email` to `erased:` and the id, and `accounts.email_key` to the same,
    /// or to this key of a banned address; `name`, `pepper_version`, `email_verified_at`,
    /// `email_unverified`, `ticket_nonce` and `delete_at` to null, `password_hash` to nothing, and `state` to `erased`.
    Erase(Option<EmailKey>),
    /// Sets `accounts.email_verified_at`, if it is null.
    VerifyEmail(Timestamp),
    /// Sets `accounts.ticket_nonce`: earlier tickets of the account end.
    SetTicketNonce(TicketNonce),
    /// Sets `accounts.replay_nonce`, `replay_version` and `replay_tag` to null: no retry of
    /// the sign-up is answered.
    ForgetRetries,
    /// Adds one to `accounts.token_generation`.
    RevokeTokens,
    /// Inserts another one of the account's `api_keys`, as
    /// [`add_api_key`](CredentialStore::add_api_key) does.
    AddApiKey(Box<NewApiKey>),
    /// Replaces a key that is valid at `new.created_at`, as
    /// [`rotate_api_key`](CredentialStore::rotate_api_key) does.
    RotateApiKey {
        /// The key that is replaced.
        old: ApiKeyId,
        /// The time until which it is valid, if it was not to expire earlier.
        until: Timestamp,
        /// The new key.
        new: Box<NewApiKey>,
    },
    /// Deletes one of the account's `api_keys`. If it is not there, the change does not
    /// apply.
    RevokeApiKey(ApiKeyId),
    /// Deletes all `api_keys` of the account, and inserts this one.
    ReplaceApiKeys(Option<Box<NewApiKey>>),
    /// Sets `events.data` of the account's events so far to `{}`, and deletes its `notices`,
    /// for an [`EventStore`](super::EventStore).
    ScrubEvents,
    /// Adds one to `accounts.event_number`, and stores this event under that number, for an
    /// [`EventStore`](super::EventStore).
    Emit(NewEvent),
    /// Inserts one of the account's `notices`, for an [`EventStore`](super::EventStore).
    AddNotice(Box<Notice>),
    /// Lets the host wipe its own rows, by `HostRows::wipe` of an SQL store. A store without
    /// rows of the host's does nothing.
    WipeHostRows(Wipe),
}

/// The reason why the host's rows of an account are wiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wipe {
    /// The owner of the mailbox has taken the account over from who had made it.
    Reclaimed,
    /// The account is erased.
    Erased,
}

/// The outcome of a [`change_account`](LifecycleStore::change_account).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeOutcome {
    /// All effects have happened.
    Changed,
    /// A condition does not hold, or there is no such account, or no such API key. Nothing
    /// has changed.
    NotApplicable,
    /// Another account has the new email key. Nothing has changed.
    EmailTaken,
    /// The new API key's digest is taken, by chance or because the random source is broken.
    /// Nothing has changed.
    IdentifierTaken,
    /// The account has an API key with the tag of the new one's receipt: an equal request
    /// was faster. Nothing has changed.
    AlreadyAdded,
}

#[cfg(all(test, any(feature = "mysql", feature = "postgres", feature = "sqlite")))]
mod tests {
    use super::*;
    use crate::api_key::{ApiKey, ApiKeyPrefix};
    use crate::random::{Entropy, SeededRandom};

    #[test]
    fn a_change_knows_the_api_key_that_it_adds() {
        let account = AccountId::from_store("acc_1");
        let mut draw = Entropy::draw(&SeededRandom::new(1)).unwrap();
        let key = ApiKey::mint(&ApiKeyPrefix::default(), &mut draw).unwrap();
        let new = || Box::new(NewApiKey::of(&key, account.clone(), Timestamp::EPOCH, None));
        let change = |effect| AccountChange::new(account.clone()).with(effect);
        let (old, until) = (key.digest().key_id(), Timestamp::EPOCH);
        for effect in [
            Effect::ReplaceApiKeys(Some(new())),
            Effect::AddApiKey(new()),
            Effect::RotateApiKey { old, until, new: new() },
        ] {
            let change = change(effect);
            let added = change.new_key().map(|new| *new.digest());
            assert_eq!(added, Some(key.digest()), "{change:?}");
        }
        for effect in [Effect::ReplaceApiKeys(None), Effect::SetName(None)] {
            assert!(change(effect).new_key().is_none());
        }
    }
}
