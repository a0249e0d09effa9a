//! Changes of accounts after the sign-up, see [the guide](crate::guide::accounts).

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::account::{AccountId, AccountState, Plan};
use crate::core::{Core, Stored};
use crate::credentials::{CredentialError, Login};
use crate::error::{Issue, SignupError};
use crate::event::EventKind;
use crate::fields::{Email, FieldError, Name};
use crate::store::{
    AccountChange, AccountFilter, AccountPage, ChangeOutcome, Condition, Effect, FindBy, KeyQuery,
    LifecycleStore, StoredAccount,
};

use super::inner::Inner;

mod bans;
mod erasure;
pub(super) mod notices;
mod passwords;

pub use bans::Bans;
pub use erasure::Erased;
pub(super) use erasure::due_at;

/// The states in which an account has an owner.
pub(super) const IN_USE: &[AccountState] = &[AccountState::Active, AccountState::PendingDeletion];
const THERE: &[AccountState] = AccountState::NOT_ERASED;
/// The attempts at a change that another one overtakes.
pub(super) const ATTEMPTS: usize = 3;

/// A service that reads and changes accounts.
///
/// [`SignupService::accounts`](crate::SignupService::accounts) creates it. Clones are cheap and
/// share everything. Each change is one transaction of the store, including the credentials that
/// it ends; a change that returned is seen by every check that begins afterwards, except one of a
/// [cached](crate::credentials::Credentials::with_cache) API key.
///
/// ```
/// use signup::account::{AccountState, Plan};
/// use signup::store::MemoryStore;
/// use signup::{SignupRequest, SignupService};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = MemoryStore::default();
/// let service = SignupService::builder(store).jwt_secret(&[7; 32]).build()?;
/// let signup = service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
/// let (accounts, id) = (service.accounts(), signup.account().id());
///
/// accounts.set_plan(id, Plan::PRO).await?;
/// accounts.change_password(id, "correct horse", "battery staple").await?;
/// accounts.disable(id).await?;
/// assert_eq!(accounts.get(id).await?.unwrap().state, AccountState::Disabled);
/// assert!(service.credentials().verify_api_key(signup.api_key().reveal()).await.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Accounts {
    pub(super) stored: Stored,
    pub(super) service: Arc<Inner>,
    pub(super) revokes_api_keys: bool,
}

impl Accounts {
    /// Revokes the account's API keys with each change of its password. Default: they stay valid,
    /// because the programs that use them don't depend on the password.
    #[must_use]
    pub fn revoking_api_keys(self) -> Self {
        Self { revokes_api_keys: true, ..self }
    }

    /// Returns an account in any state, or `None` if it does not exist.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    pub async fn get(&self, id: &AccountId) -> Result<Option<StoredAccount>, CredentialError> {
        Ok(self.store().find_account(FindBy::Id(id)).await?)
    }

    /// Returns the account with this address, in any spelling, or `None` if it does not exist.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    pub async fn by_email(&self, email: &str) -> Result<Option<StoredAccount>, CredentialError> {
        let Ok(email) = Email::parse_known(email) else { return Ok(None) };
        Ok(self.store().find_account(FindBy::Email(email.key())).await?)
    }

    /// Returns a page of the accounts that a filter lets through, the oldest first. The filter
    /// of the next page is one [`after`](AccountFilter::after) its
    /// [`next`](AccountPage::next) place.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    pub async fn list(&self, filter: &AccountFilter) -> Result<AccountPage, CredentialError> {
        Ok(self.store().list_accounts(filter).await?)
    }

    /// Puts an account on a plan, which need not be one of the
    /// [plans](crate::SignupService::plans): plans come and go.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no such account, or it is erased.
    pub async fn set_plan(&self, id: &AccountId, plan: Plan) -> Result<(), CredentialError> {
        let data = json!({"plan": plan.as_str()});
        let change = change_of(id, THERE).with(Effect::SetPlan(plan));
        self.change(self.with_event(change, EventKind::AccountPlanChanged, &data)?).await
    }

    /// Sets or removes the name of an account.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `name` if it is invalid, and
    /// [`CredentialError::NotFound`] if there is no such account, or it is erased.
    pub async fn set_name(
        &self,
        id: &AccountId,
        name: Option<&str>,
    ) -> Result<(), CredentialError> {
        let name =
            name.map(Name::parse).transpose().map_err(|error| invalid_field("name", &error))?;
        let change = change_of(id, THERE).with(Effect::SetName(name));
        self.change(self.with_event(change, EventKind::AccountUpdated, &changed("name"))?).await
    }

    /// Disables an account: log-ins, tokens and API keys are refused as if they were wrong,
    /// and its address stays taken. Ends all tokens; API keys are accepted again once it is
    /// [enabled](Self::enable).
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no such account, or it is erased.
    pub async fn disable(&self, id: &AccountId) -> Result<(), CredentialError> {
        // A deletion that is planned stays so.
        self.change_state(id, THERE, EventKind::AccountDisabled, |_, change| {
            change.with(Effect::Disable).with(Effect::RevokeTokens)
        })
        .await
    }

    /// Enables an account that is [disabled](Self::disable). If its deletion is planned, it
    /// still is.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if the account does not exist or is not disabled.
    pub async fn enable(&self, id: &AccountId) -> Result<(), CredentialError> {
        let disabled = &[AccountState::Disabled];
        self.change_state(id, disabled, EventKind::AccountEnabled, |record, change| {
            let planned = record.delete_at.map(|_| AccountState::PendingDeletion);
            let state = planned.unwrap_or(AccountState::Active);
            change.with(Effect::SetState(state, record.delete_at))
        })
        .await
    }

    /// Changes the state of an account that is in one of these, from the one that it has.
    async fn change_state(
        &self,
        id: &AccountId,
        states: &'static [AccountState],
        kind: EventKind,
        effects: impl Fn(&StoredAccount, AccountChange) -> AccountChange,
    ) -> Result<(), CredentialError> {
        for _ in 0..ATTEMPTS {
            let record = self.found(id).await?;
            if !states.contains(&record.state) {
                return Err(CredentialError::NotFound);
            }
            let change = change_of(id, alone(record.state));
            let change = self.with_event(effects(&record, change), kind, &json!({}))?;
            match self.change(change).await {
                // The state is another one by now.
                Err(CredentialError::NotFound) => {}
                other => return other,
            }
        }
        Err(CredentialError::NotFound)
    }

    /// Ends the waits of an account after failed log-ins of any client.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if the account does not exist.
    pub async fn unlock(&self, id: &AccountId) -> Result<(), CredentialError> {
        let record = self.found(id).await?;
        self.core().throttle.unlock(id, record.account.email().key()).await;
        Ok(())
    }

    /// Adds the event of a change, if events are emitted.
    pub(super) fn with_event(
        &self,
        change: AccountChange,
        kind: EventKind,
        data: &Value,
    ) -> Result<AccountChange, SignupError> {
        let core = self.core();
        let event = core.event(kind, change.account(), core.now()?, data)?;
        Ok(change.with_all(event.map(Effect::Emit)))
    }

    pub(super) fn core(&self) -> &Core {
        &self.stored.core
    }

    pub(super) fn store(&self) -> &dyn LifecycleStore {
        &*self.stored.store
    }

    async fn change(&self, change: AccountChange) -> Result<(), CredentialError> {
        match self.store().change(change).await? {
            ChangeOutcome::Changed => Ok(()),
            ChangeOutcome::NotApplicable => Err(CredentialError::NotFound),
            ChangeOutcome::EmailTaken => Err(SignupError::EmailTaken.into()),
            ChangeOutcome::IdentifierTaken | ChangeOutcome::AlreadyAdded => {
                Err(SignupError::internal("the store has an identifier that is new").into())
            }
        }
    }

    pub(super) async fn found(&self, id: &AccountId) -> Result<StoredAccount, CredentialError> {
        self.get(id).await?.ok_or(CredentialError::NotFound)
    }

    #[cfg(feature = "verification")]
    pub(super) async fn in_use(&self, id: &AccountId) -> Result<StoredAccount, CredentialError> {
        let record = self.found(id).await?;
        if record.state.admits_owner() { Ok(record) } else { Err(CredentialError::NotFound) }
    }

    /// Returns the number of the account's API keys that have not expired.
    pub(super) async fn valid_api_keys(&self, id: &AccountId) -> Result<usize, CredentialError> {
        let query = KeyQuery::of(id).valid_at(self.core().now()?);
        Ok(self.store().list_api_keys(query).await?.len())
    }

    /// Returns the log-in of an owner whose change has just ended this generation.
    pub(super) fn logged_in(&self, id: &AccountId, ended: i64) -> Result<Login, CredentialError> {
        let (core, generation) = (self.core(), ended.saturating_add(1));
        let (now, mut draw) = (core.now()?, core.draw()?);
        let trusted_device = core.throttle.mark(id, generation, None, now, &mut draw)?;
        Ok(Login { account_id: id.clone(), generation, trusted_device })
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Accounts");
        debug.field("revokes_api_keys", &self.revokes_api_keys).finish_non_exhaustive()
    }
}

/// Returns a state as a list of states.
const fn alone(state: AccountState) -> &'static [AccountState] {
    match state {
        AccountState::Active => &[AccountState::Active],
        AccountState::Disabled => &[AccountState::Disabled],
        AccountState::PendingDeletion => &[AccountState::PendingDeletion],
        AccountState::Erased => &[AccountState::Erased],
    }
}

/// Begins a change of an account that is in one of these states.
pub(super) fn change_of(id: &AccountId, states: &'static [AccountState]) -> AccountChange {
    AccountChange::new(id.clone()).provided(Condition::State(states))
}

/// Builds the payload of `account.updated`.
pub(super) fn changed(what: &str) -> Value {
    json!({"changed": [what]})
}

pub(super) fn invalid_field(field: &'static str, error: &FieldError) -> SignupError {
    SignupError::Invalid(vec![Issue::field(field, error.to_string())])
}
