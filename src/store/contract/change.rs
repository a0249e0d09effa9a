//! Changes of accounts, as data.

use crate::account::{AccountId, AccountState, Plan, TicketNonce};
use crate::api_key::ApiKeyId;
use crate::clock::Timestamp;
use crate::event::{NewEvent, Notice};
use crate::fields::{Email, EmailKey, Name};
use crate::hash::PasswordHash;

use super::records::NewApiKey;

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

    /// Returns whether the change is only of API keys: it neither changes the account's own row nor
    /// has a condition on it.
    #[cfg(feature = "statements")]
    pub(in crate::store) fn is_of_keys_alone(&self) -> bool {
        let is_of_key = |effect: &Effect| {
            matches!(
                effect,
                Effect::AddApiKey(_) | Effect::RotateApiKey { .. } | Effect::RevokeApiKey(_)
            )
        };
        self.conditions.is_empty() && !self.effects.is_empty() && self.effects.iter().all(is_of_key)
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
    /// Sets `accounts.email` to the id at `erased.invalid`, and `accounts.email_key` to `erased:`
    /// and the id, or to this key of a banned address; `name`, `pepper_version`, `email_verified_at`,
    /// `email_unverified`, `ticket_nonce` and `delete_at` to null, `password_hash` to the empty
    /// text, and `state` to `erased`.
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
    /// Inserts another one of the account's `api_keys`. The change does not apply to an erased
    /// account.
    AddApiKey(Box<NewApiKey>),
    /// Replaces one of the account's `api_keys`, and inserts the new one as
    /// [`AddApiKey`](Self::AddApiKey) does. The change does not apply if the account has no
    /// such key that is valid at `new.created_at`.
    RotateApiKey {
        /// The key that is replaced.
        old: ApiKeyId,
        /// The time until which it is valid, unless it expires earlier.
        until: Timestamp,
        /// The new key.
        new: Box<NewApiKey>,
    },
    /// Deletes one of the account's `api_keys`. The change does not apply if the account has no
    /// such key.
    RevokeApiKey(ApiKeyId),
    /// Deletes all `api_keys` of the account, and inserts this one.
    ReplaceApiKeys(Option<Box<NewApiKey>>),
    /// Sets `events.data` of the account's events so far to `{}`, and deletes its `notices`,
    /// for an [`EventStore`](crate::store::EventStore).
    ScrubEvents,
    /// Adds one to `accounts.event_number`, and stores this event under that number, for an
    /// [`EventStore`](crate::store::EventStore).
    Emit(NewEvent),
    /// Inserts one of the account's `notices`, for an [`EventStore`](crate::store::EventStore).
    AddNotice(Box<Notice>),
    /// Lets the host wipe its own rows, by `HostRows::wipe` of an SQL store. A store without
    /// rows of the host's does nothing.
    WipeHostRows(WipeReason),
}

/// The reason why the host's rows of an account are wiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WipeReason {
    /// The owner of the mailbox has taken the account over from who had made it.
    Reclaimed,
    /// The account is erased.
    Erased,
}

/// The outcome of a [`change`](crate::store::LifecycleStore::change).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeOutcome {
    /// All effects have happened.
    Changed,
    /// A condition does not hold, or the account or the API key does not exist. Nothing has
    /// changed.
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
