//! Changes of accounts after the sign-up, see [the guide](crate::guide::accounts).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::account::{AccountId, AccountState, Plan};
use crate::clock::Timestamp;
use crate::credentials::{Attempt, Caller, CredentialError, Login, Throttle, verify_stored};
use crate::error::{Issue, SignupError};
use crate::event::EventKind;
use crate::fields::{Email, EmailKey, EmailProfile, Name, Password};
use crate::hash::{PasswordHash, Verification as HashVerification};
use crate::store::{
    AccountChange, AccountFilter, AccountRecord, AccountStore, ChangeOutcome, Condition, Effect,
    LifecycleStore, StoredPassword, Wipe,
};

use super::SignupService;
use notices::NoticeOf;

mod bans;
pub(super) mod notices;
#[cfg(feature = "verification")]
mod proofs;

#[cfg(feature = "verification")]
pub use proofs::PasswordReset;

/// The states in which an account has an owner.
pub(super) const IN_USE: &[AccountState] = &[AccountState::Active, AccountState::PendingDeletion];
const THERE: &[AccountState] = AccountState::NOT_ERASED;
/// The attempts at a change that another one overtakes.
const ATTEMPTS: usize = 3;
/// The accounts that are erased by one call, and the page in which they are listed.
const ERASED_AT_MOST: usize = 1000;
const ERASED_AT_A_TIME: u32 = 250;

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
    /// 6.2.3). Ends all tokens, marks of other devices, and retries of the sign-up; API keys
    /// stay, unless [they are to end](Self::ending_api_keys). Returns the owner's log-in, for
    /// a [new token](crate::credentials::Credentials::issue_token) and the mark of the device.
    ///
    /// The caller has verified the account's token. The policies for passwords check the
    /// new one, and the owner gets a mail if the service sends mails.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `password` if the new password is
    /// invalid or a policy refuses it, and then with one of `current_password` if the old one
    /// is wrong; [`SignupError::Busy`] after too many wrong ones, if log-ins are
    /// [throttled](crate::SignupServiceBuilder::login_throttle), or if the queue of notices is
    /// full; [`CredentialError::Rejected`] if the account is not in use, and
    /// [`CredentialError::NotFound`] if it does not exist.
    pub async fn change_password(
        &self,
        id: &AccountId,
        old: &str,
        new: &str,
    ) -> Result<Login, CredentialError> {
        let wrong = || {
            let issue = Issue::field("current_password", "Wrong password");
            CredentialError::Failed(SignupError::Invalid(vec![issue]))
        };
        let checked = self.checked_password(&self.found(id).await?, new).await?;
        let (mut verified, mut hashed) = (None, None);
        // The hash or the generation may change under way: by a log-in that renews it, say.
        for _ in 0..ATTEMPTS {
            let record = self.found(id).await?;
            let stored = self.stored_password(&record).await?;
            if verified.as_deref() != Some(stored.hash.as_phc()) {
                let attempt = self.throttle().begin(Caller::Token(id)).await?;
                if !self.verify(&stored, old, &attempt).await? {
                    return Err(wrong());
                }
                attempt.succeeded().await;
                verified = Some(stored.hash.as_phc().to_owned());
            }
            if !record.state.admits_owner() {
                return Err(CredentialError::Rejected);
            }
            let hash = match hashed.take() {
                Some(hash) => hash,
                None => self.hash_new(checked.copy()).await?,
            };
            let change = change_of(id, IN_USE)
                .provided(Condition::Password(stored.hash))
                .provided(Condition::Generation(record.token_generation))
                .with(Effect::SetPassword(hash.clone()))
                .with(Effect::ForgetRetries)
                .with(Effect::RevokeTokens)
                .with(Effect::SetTicketNonce(self.service.draw_nonce()?))
                .with_all(self.ends_api_keys.then_some(Effect::ReplaceApiKeys(None)));
            hashed = Some(hash);
            let keys = self.store().list_api_keys(id).await?.len();
            let (ended, kept) = if self.ends_api_keys { (keys, 0) } else { (0, keys) };
            let data = json!({"reset": false, "api_keys_ended": ended, "api_keys_kept": kept});
            let change = self.telling(change, EventKind::AccountPasswordChanged, &data)?;
            let notice = self.notice(NoticeOf::Password, record.account.email())?;
            if self.change_with(change, notice).await? == ChangeOutcome::Changed {
                return self.logged_in(id, record.token_generation);
            }
        }
        Err(wrong())
    }

    /// Disables an account: log-ins, tokens and API keys are refused as if they were wrong,
    /// and its address stays taken. Ends all tokens; API keys are accepted again once it is
    /// [enabled](Self::enable).
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no such account, or it is erased.
    pub async fn disable(&self, id: &AccountId) -> Result<(), CredentialError> {
        self.change_state(id, THERE, EventKind::AccountDisabled, |record, change| {
            // A deletion that is planned stays so.
            let disabled = Effect::SetState(AccountState::Disabled, record.delete_at);
            change.with(disabled).with(Effect::RevokeTokens)
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
        effects: impl Fn(&AccountRecord, AccountChange) -> AccountChange,
    ) -> Result<(), CredentialError> {
        for _ in 0..ATTEMPTS {
            let record = self.found(id).await?;
            if !states.contains(&record.state) {
                return Err(CredentialError::NotFound);
            }
            let change = change_of(id, alone(record.state));
            let change = self.telling(effects(&record, change), kind, &json!({}))?;
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
        self.throttle().unlock(id, record.account.email().key()).await;
        Ok(())
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

    /// Erases the accounts whose deletion is due, up to a thousand, and returns which were
    /// erased and which could not be. Call it once an hour, on any number of instances. A
    /// deletion that was cancelled in the meantime is not carried out.
    ///
    /// One account that can't be erased, because a host's row refuses for example, delays no
    /// other.
    ///
    /// # Errors
    /// Fails if the store can't list the accounts.
    pub async fn erase_due(&self) -> Result<Erased, CredentialError> {
        self.store().check_clock().await?;
        let (now, mut done) = (self.now()?, Erased::default());
        for state in [AccountState::PendingDeletion, AccountState::Disabled] {
            let mut page = AccountFilter::new(ERASED_AT_A_TIME).state(state).due_at(now);
            // What fails stays on the list, so the next page begins behind it.
            loop {
                let due = self.list(&page).await?;
                let Some(last) = due.last() else { break };
                page = page.after(last);
                let is_last = due.len() < ERASED_AT_A_TIME as usize;
                for record in due {
                    let id = record.account.id();
                    match self.erase_planned(id, state).await {
                        Ok(erased) => done.erased += usize::from(erased),
                        Err(error) => done.failed.push((id.clone(), error)),
                    }
                }
                if is_last || done.erased >= ERASED_AT_MOST {
                    break;
                }
            }
        }
        Ok(done)
    }

    async fn erase_planned(
        &self,
        id: &AccountId,
        state: AccountState,
    ) -> Result<bool, CredentialError> {
        let change = change_of(id, alone(state));
        let outcome = self.store().change_account(self.erased(change, None)?).await?;
        Ok(outcome == ChangeOutcome::Changed)
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
    async fn verify(
        &self,
        stored: &StoredPassword,
        given: &str,
        attempt: &Attempt,
    ) -> Result<bool, CredentialError> {
        let Ok(given) = Password::parse_for_login(given) else { return Ok(false) };
        let pool = self.service.hash_pool();
        let verified = verify_stored::<CredentialError>(pool, given, &stored.hash, attempt);
        Ok(matches!(verified.await?, HashVerification::Right { .. }))
    }

    fn throttle(&self) -> &Arc<Throttle> {
        &self.service.inner.throttle
    }

    /// Returns the log-in of an owner whose change has just ended this generation.
    fn logged_in(&self, id: &AccountId, ended: i64) -> Result<Login, CredentialError> {
        let generation = ended.saturating_add(1);
        let (_, mut draw) = self.service.draw()?;
        let trusted_device = self.throttle().mark(id, generation, None, self.now()?, &mut draw);
        let trusted_device = trusted_device.map_err(SignupError::internal)?;
        Ok(Login { account_id: id.clone(), generation, trusted_device })
    }

    /// Checks another password by its length and by the policies.
    async fn checked_password(
        &self,
        record: &AccountRecord,
        password: &str,
    ) -> Result<Password, SignupError> {
        let password =
            Password::parse(password).map_err(|error| invalid_field("password", &error))?;
        let email = record.account.email().clone();
        self.service.check_new_password(email, password).await
    }

    async fn hash_new(&self, password: Password) -> Result<PasswordHash, SignupError> {
        let (salt, _) = self.service.draw()?;
        Ok(self.service.hash_pool().reserve()?.hash_with_salt(password, salt).await?)
    }
}

/// The accounts that a job erased, and those that it could not erase.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Erased {
    /// The number of erased accounts.
    pub erased: usize,
    /// The accounts that stay, each with the reason. They are tried again by the next call.
    pub failed: Vec<(AccountId, CredentialError)>,
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
