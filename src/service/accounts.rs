//! Changes of accounts after the sign-up, see [the guide](crate::guide::accounts).

use std::time::Duration;

use serde_json::{Value, json};

use crate::account::{AccountId, AccountState, Plan};
use crate::clock::Timestamp;
use crate::credentials::{CredentialError, verify_stored};
use crate::error::{Issue, SignupError};
use crate::event::EventKind;
use crate::fields::{Email, EmailKey, EmailProfile, Name, Password};
use crate::hash::Verification as HashVerification;
use crate::store::{
    AccountChange, AccountFilter, AccountRecord, AccountStore, ChangeOutcome, Condition, Effect,
    LifecycleStore, StoredPassword, Wipe,
};

use super::SignupService;

mod bans;
#[cfg(feature = "verification")]
mod proofs;

/// The states in which an account has an owner.
pub(super) const IN_USE: &[AccountState] = &[AccountState::Active, AccountState::PendingDeletion];
const THERE: &[AccountState] = AccountState::NOT_ERASED;

/// A service that reads and changes accounts.
///
/// [`SignupService::accounts`] creates it. Clones are cheap and share everything. Each
/// change is one transaction of the store's, with the end of the credentials that it ends;
/// a change that returned is seen by every check that begins afterwards.
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
#[derive(Debug)]
pub struct Accounts<S> {
    service: SignupService<S>,
    ends_api_keys: bool,
}

impl<S> Clone for Accounts<S> {
    fn clone(&self) -> Self {
        Self { service: self.service.clone(), ends_api_keys: self.ends_api_keys }
    }
}

impl<S: AccountStore + LifecycleStore> SignupService<S> {
    /// Returns the service that reads and changes accounts, on the same store, clock, hash
    /// pool and policies.
    pub fn accounts(&self) -> Accounts<S> {
        Accounts { service: self.clone(), ends_api_keys: false }
    }
}

impl<S: AccountStore + LifecycleStore> Accounts<S> {
    /// Lets a change or a reset of a password end the account's API keys, too. Default: they
    /// stay, because the programs that use them have nothing to do with the password.
    #[must_use]
    pub fn ending_api_keys(self) -> Self {
        Self { ends_api_keys: true, ..self }
    }

    /// Returns an account, in whatever state, or `None` if there is none.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    pub async fn get(&self, id: &AccountId) -> Result<Option<AccountRecord>, CredentialError> {
        Ok(self.store().find_account(id).await?)
    }

    /// Returns the account with this address, in any spelling, or `None` if there is none.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    pub async fn by_email(&self, email: &str) -> Result<Option<AccountRecord>, CredentialError> {
        // An address that was accepted once must not be refused by stricter rules.
        let Ok(email) = Email::parse(email, EmailProfile::Rfc5321) else { return Ok(None) };
        Ok(self.store().find_account_by_email(email.key()).await?)
    }

    /// Returns a page of the accounts that a filter lets through, the oldest first. The
    /// next page is that of [`after`](AccountFilter::after) the last one.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    pub async fn list(
        &self,
        filter: &AccountFilter,
    ) -> Result<Vec<AccountRecord>, CredentialError> {
        Ok(self.store().list_accounts(filter).await?)
    }

    /// Puts an account on a plan, which need not be one of the
    /// [plans](SignupService::plans): plans come and go.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no such account, or it is erased.
    pub async fn set_plan(&self, id: &AccountId, plan: Plan) -> Result<(), CredentialError> {
        let data = json!({"plan": plan.as_str()});
        let change = change_of(id, THERE).with(Effect::SetPlan(plan));
        self.change(self.telling(change, EventKind::AccountPlanChanged, &data)?).await
    }

    /// Sets or removes the name of an account.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `name` if it is none, and
    /// [`CredentialError::NotFound`] if there is no such account, or it is erased.
    pub async fn set_name(
        &self,
        id: &AccountId,
        name: Option<&str>,
    ) -> Result<(), CredentialError> {
        let name =
            name.map(Name::parse).transpose().map_err(|error| invalid_field("name", &error))?;
        let change = change_of(id, THERE).with(Effect::SetName(name));
        self.change(self.telling(change, EventKind::AccountUpdated, &changed("name"))?).await
    }

    /// Changes the password of an account, whose owner gives the old one (OWASP ASVS 5,
    /// 6.2.3). Ends all tokens, and retries of the sign-up; API keys stay, unless
    /// [they are to end](Self::ending_api_keys). The owner who is
    /// to stay logged in gets a [new token](crate::credentials::Credentials::issue_token).
    ///
    /// The policies for passwords are asked about the new one.
    ///
    /// # Errors
    /// Returns [`CredentialError::Rejected`] if the old password is wrong, or the account
    /// is not in use; [`SignupError::Invalid`] with an issue of `password` if the new one
    /// is none, or a policy refuses it; [`CredentialError::NotFound`] if there is no such
    /// account.
    pub async fn change_password(
        &self,
        id: &AccountId,
        old: &str,
        new: &str,
    ) -> Result<(), CredentialError> {
        let record = self.found(id).await?;
        let stored = self.stored_password(&record).await?;
        if !(self.verify(&stored, old).await? && record.state.admits_owner()) {
            return Err(CredentialError::Rejected);
        }
        let change = change_of(id, IN_USE)
            .provided(Condition::Password(stored.hash))
            .with(self.new_password(&record, new).await?)
            .with(Effect::ForgetRetries)
            .with(Effect::RevokeTokens)
            .with_all(self.ends_api_keys.then_some(Effect::ReplaceApiKeys(None)));
        let data = json!({"reset": false, "api_keys_ended": self.ends_api_keys});
        let change = self.telling(change, EventKind::AccountPasswordChanged, &data)?;
        match self.store().change_account(change).await? {
            ChangeOutcome::Changed => Ok(()),
            // Somebody else was faster: the old password is no longer the one.
            _ => Err(CredentialError::Rejected),
        }
    }

    /// Disables an account: log-ins, tokens and API keys are refused as if they were wrong,
    /// and its address stays taken. Ends all tokens; API keys are accepted again once it is
    /// [enabled](Self::enable).
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no such account, or it is erased.
    pub async fn disable(&self, id: &AccountId) -> Result<(), CredentialError> {
        let disabled = Effect::SetState(AccountState::Disabled, None);
        let change = change_of(id, THERE).with(disabled).with(Effect::RevokeTokens);
        self.change(self.telling(change, EventKind::AccountDisabled, &json!({}))?).await
    }

    /// Enables an account that is [disabled](Self::disable).
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no such account that is disabled.
    pub async fn enable(&self, id: &AccountId) -> Result<(), CredentialError> {
        let enabled = Effect::SetState(AccountState::Active, None);
        let change = change_of(id, &[AccountState::Disabled]).with(enabled);
        self.change(self.telling(change, EventKind::AccountEnabled, &json!({}))?).await
    }

    /// Plans the deletion of an account after a time of grace, and returns when it is due.
    /// Until then its API keys are refused; its owner can log in, to
    /// [keep](Self::keep) it. [`erase_due`](Self::erase_due) deletes what is due.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no such account that is in use. One
    /// whose deletion is planned gets another time.
    pub async fn request_deletion(
        &self,
        id: &AccountId,
        grace: Duration,
    ) -> Result<Timestamp, CredentialError> {
        let due = self.now()?.plus(grace).map_err(SignupError::internal)?;
        let planned = Effect::SetState(AccountState::PendingDeletion, Some(due));
        let change = change_of(id, IN_USE).with(planned);
        let data = json!({"delete_at": due.as_millis()});
        self.change(self.telling(change, EventKind::AccountDeletionRequested, &data)?).await?;
        Ok(due)
    }

    /// Keeps an account whose deletion is [planned](Self::request_deletion).
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no such account.
    pub async fn keep(&self, id: &AccountId) -> Result<(), CredentialError> {
        let kept = Effect::SetState(AccountState::Active, None);
        let change = change_of(id, &[AccountState::PendingDeletion]).with(kept);
        self.change(self.telling(change, EventKind::AccountUpdated, &changed("state"))?).await
    }

    /// Erases an account: email, name and password are gone, its tokens and API keys ended,
    /// and its address is free. The row with the id stays, for foreign keys of the host's,
    /// whose own rows `HostRows::wipe` wipes in the same transaction of an SQL store.
    /// One that is erased already stays so.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no such account.
    pub async fn erase(&self, id: &AccountId) -> Result<(), CredentialError> {
        match self.change(self.erased(change_of(id, THERE), None)?).await {
            Err(CredentialError::NotFound) => {
                let found = self.get(id).await?;
                let is_erased = |record: AccountRecord| record.state == AccountState::Erased;
                if found.is_some_and(is_erased) { Ok(()) } else { Err(CredentialError::NotFound) }
            }
            other => other,
        }
    }

    /// Erases the accounts whose deletion is due, up to a thousand, and returns how many.
    /// Call it once an hour, on any number of instances. One that was kept in the meantime
    /// is kept.
    ///
    /// # Errors
    /// Fails if the store does not answer, perhaps after some were erased.
    pub async fn erase_due(&self) -> Result<usize, CredentialError> {
        let due = AccountFilter::new(1000).state(AccountState::PendingDeletion);
        let mut erased_ones = 0;
        for record in self.list(&due.due_at(self.now()?)).await? {
            let change = change_of(record.account.id(), &[AccountState::PendingDeletion]);
            let outcome = self.store().change_account(self.erased(change, None)?).await?;
            erased_ones += usize::from(outcome == ChangeOutcome::Changed);
        }
        Ok(erased_ones)
    }

    /// Adds the effects of an erasure.
    fn erased(
        &self,
        change: AccountChange,
        banned: Option<EmailKey>,
    ) -> Result<AccountChange, SignupError> {
        let data = json!({"banned": banned.is_some()});
        let change = change
            .with(Effect::Erase(banned))
            .with(Effect::ForgetRetries)
            .with(Effect::RevokeTokens)
            .with(Effect::ReplaceApiKeys(None))
            .with(Effect::WipeHostRows(Wipe::Erased));
        let scrubbed = self.service.tells().then_some(Effect::ScrubEvents);
        let change = change.with_all(scrubbed);
        self.telling(change, EventKind::AccountErased, &data)
    }

    /// Adds the event of a change, if events are stored.
    fn telling(
        &self,
        change: AccountChange,
        kind: EventKind,
        data: &Value,
    ) -> Result<AccountChange, SignupError> {
        let event = self.service.event(kind, change.account(), self.now()?, data)?;
        Ok(change.with_all(event.map(Effect::Emit)))
    }

    fn store(&self) -> &S {
        self.service.account_store()
    }

    fn now(&self) -> Result<Timestamp, SignupError> {
        self.service.now()
    }

    async fn change(&self, change: AccountChange) -> Result<(), CredentialError> {
        match self.store().change_account(change).await? {
            ChangeOutcome::Changed => Ok(()),
            ChangeOutcome::NotApplicable => Err(CredentialError::NotFound),
            ChangeOutcome::EmailTaken => Err(SignupError::EmailTaken.into()),
            ChangeOutcome::IdentifierTaken | ChangeOutcome::AlreadyAdded => {
                Err(SignupError::internal("the store has an identifier that is new").into())
            }
        }
    }

    async fn found(&self, id: &AccountId) -> Result<AccountRecord, CredentialError> {
        self.get(id).await?.ok_or(CredentialError::NotFound)
    }

    #[cfg(feature = "verification")]
    async fn in_use(&self, id: &AccountId) -> Result<AccountRecord, CredentialError> {
        let record = self.found(id).await?;
        if record.state.admits_owner() { Ok(record) } else { Err(CredentialError::NotFound) }
    }

    async fn stored_password(
        &self,
        record: &AccountRecord,
    ) -> Result<StoredPassword, CredentialError> {
        let found = self.store().find_password(record.account.email().key()).await?;
        let own = found.filter(|found| found.account_id == *record.account.id());
        own.ok_or(CredentialError::NotFound)
    }

    /// Returns whether this is the stored password.
    async fn verify(&self, stored: &StoredPassword, given: &str) -> Result<bool, CredentialError> {
        let Ok(given) = Password::parse_for_login(given) else { return Ok(false) };
        let pool = self.service.hash_pool();
        let verified = verify_stored::<CredentialError>(pool, given, &stored.hash).await?;
        Ok(matches!(verified, HashVerification::Right { .. }))
    }

    /// Checks and hashes another password.
    async fn new_password(
        &self,
        record: &AccountRecord,
        password: &str,
    ) -> Result<Effect, SignupError> {
        let password =
            Password::parse(password).map_err(|error| invalid_field("password", &error))?;
        let email = record.account.email().clone();
        let password = self.service.check_new_password(email, password).await?;
        let (salt, _) = self.service.draw()?;
        let hash = self.service.hash_pool().reserve()?.hash_with_salt(password, salt).await?;
        Ok(Effect::SetPassword(hash))
    }
}

/// Begins a change of an account that is in one of these states.
fn change_of(id: &AccountId, states: &'static [AccountState]) -> AccountChange {
    AccountChange::new(id.clone()).provided(Condition::State(states))
}

/// Returns what an update tells.
fn changed(what: &str) -> Value {
    json!({"changed": [what]})
}

pub(super) fn invalid_field(field: &'static str, error: &crate::fields::FieldError) -> SignupError {
    SignupError::Invalid(vec![Issue::field(field, error.to_string())])
}
