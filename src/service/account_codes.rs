//! Changes of accounts that a mailed code confirms: a password reset, and another address.

use std::fmt;
use std::sync::Arc;

use serde_json::json;

use crate::account::{AccountId, AccountState, EmailStatus};
use crate::credentials::{CredentialError, Login};
use crate::error::SignupError;
use crate::event::{EventKind, KeyCounts, NoticeKind};
use crate::fields::Email;
use crate::hash::PasswordHash;
use crate::limit::ClientIp;
use crate::mail::{MailKind, MailPermit};
use crate::store::{
    AccountChange, ChangeOutcome, Condition, Effect, FindBy, StoredAccount, WipeReason,
};
use crate::throttle::Caller;
use crate::verification::{PendingVerification, TicketKind};

use super::accounts::{ATTEMPTS, Accounts, IN_USE, change_of, changed, invalid_field};
use super::codes::{Codes, Opened, busy, invalid_code};
use super::inner::Inner;

/// The changes of accounts that a mailed code confirms: password resets, and changes of address.
///
/// [`SignupService::account_codes`](crate::SignupService::account_codes) returns it. Clones are
/// cheap and share everything.
///
/// ```
/// use std::sync::Arc;
///
/// use signup::idempotency::ReplaySecret;
/// use signup::mail::{MailQueue, MemoryMailer};
/// use signup::store::MemoryStore;
/// use signup::verification::EmailCodes;
/// use signup::{SignupRequest, SignupService};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let mailer = Arc::new(MemoryMailer::default());
/// let mails = MailQueue::new(Arc::clone(&mailer));
/// let service = SignupService::builder(MemoryStore::default())
///     .jwt_secret(&[7; 32])
///     .mails(EmailCodes::new(ReplaySecret::new(&[8; 32])?, mails.clone()))
///     .build()?;
/// let signup = service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
///
/// let (codes, id) = (service.account_codes().unwrap(), signup.account().id());
/// let pending = codes.begin_email_change(id, "new@example.com", None).await?;
/// mails.drained().await;
/// let code = mailer.last_code("new@example.com").unwrap();
/// codes.complete_email_change(id, pending.reveal_ticket(), &code).await?;
/// let account = service.accounts().by_email("new@example.com").await?.unwrap();
/// assert_eq!(account.account.id(), id);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct AccountCodes {
    pub(super) accounts: Accounts,
    pub(super) codes: Codes,
}

impl AccountCodes {
    /// Revokes the account's API keys with each reset of its password. Default: they stay valid.
    #[must_use]
    pub fn revoking_api_keys(self) -> Self {
        Self { accounts: self.accounts.revoking_api_keys(), ..self }
    }

    /// Begins a reset of the password of the account with this address, for its owner who
    /// has forgotten it: mails a code, and returns a ticket. The answer is the same for any
    /// address; where there is no account, no code is valid.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `email` if it is no address, and
    /// [`SignupError::Busy`] if the queue of mails is full, or this client has asked for too
    /// many mails to the address.
    pub async fn begin_password_reset(
        &self,
        email: &str,
        client: Option<ClientIp>,
    ) -> Result<PendingVerification, CredentialError> {
        self.begin_password_reset_from(email, client, None).await
    }

    /// Begins a reset like [`begin_password_reset`](Self::begin_password_reset), with the
    /// [mark](crate::credentials::TrustedDevice) of the device that asks for it: then the owner
    /// gets a code also when others have used up the mails of the address, three an hour for
    /// each device and nine for all of them.
    ///
    /// # Errors
    /// Fails like [`begin_password_reset`](Self::begin_password_reset).
    pub async fn begin_password_reset_from(
        &self,
        email: &str,
        client: Option<ClientIp>,
        device: Option<&str>,
    ) -> Result<PendingVerification, CredentialError> {
        let email = Email::parse_known(email).map_err(|error| invalid_field("email", &error))?;
        let permit = self.codes.reserve_mail()?;
        let charged = self.codes.verifier.charge_mail(email.key(), client).await;
        if let (Err(wait), None) = (charged, device) {
            return Err(busy(wait).into());
        }
        let found = self.codes.stored.look_up(FindBy::Email(email.key())).await?;
        let may_mail = match charged {
            Ok(true) => true,
            _ if self.may_mail_to(found.as_ref(), device).await? => true,
            Ok(false) => false,
            Err(wait) => return Err(busy(wait).into()),
        };
        self.begin_reset(found, email, may_mail.then_some(permit)).await
    }

    fn service(&self) -> &Arc<Inner> {
        &self.accounts.service
    }

    /// Returns whether a trusted device of the account may have a further mail.
    async fn may_mail_to(
        &self,
        found: Option<&StoredAccount>,
        device: Option<&str>,
    ) -> Result<bool, SignupError> {
        let core = &self.codes.stored.core;
        let (Some(record), now) = (found, core.now()?) else { return Ok(false) };
        let (id, generation) = (record.account.id(), record.token_generation);
        let device = core.throttle.device_for_mails(device, id, generation, now);
        let Some(device) = device else { return Ok(false) };
        Ok(self.codes.verifier.charge_mail_of_device(id, device.number()).await)
    }

    /// Begins a reset of the password of this account, for an operator, who never learns or
    /// sets one (OWASP ASVS 5, 6.4.6): the ticket and the code go to the owner.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no such account that is in use.
    pub async fn begin_password_reset_of(
        &self,
        id: &AccountId,
    ) -> Result<PendingVerification, CredentialError> {
        let record = self.accounts.in_use(id).await?;
        let email = record.account.email().clone();
        let permit = self.codes.reserve_mail()?;
        self.begin_reset(Some(record), email, Some(permit)).await
    }

    async fn begin_reset(
        &self,
        found: Option<StoredAccount>,
        email: Email,
        permit: Option<MailPermit>,
    ) -> Result<PendingVerification, CredentialError> {
        let found = found.filter(|record| record.state.admits_owner());
        let account = match &found {
            Some(record) => Some(self.codes.bind(record).await?),
            None => None,
        };
        let permit = permit.filter(|_| account.is_some());
        let to = found.map_or(email, |record| record.account.email().clone());
        let mail = (to, MailKind::ResetCode);
        Ok(self.codes.issue_ticket(TicketKind::Reset, account, mail, permit)?)
    }

    /// Completes a password reset with the code that was mailed: sets the password, verifies
    /// the address, and ends all tokens, marks of devices and other tickets. Name and host
    /// rows stay, unless the address is [unverified](EmailStatus::Unverified) and
    /// [`reset_wipes_unverified`](crate::SignupServiceBuilder::reset_wipes_unverified) is set.
    /// API keys stay, unless [they are revoked](Self::revoking_api_keys), or the address is
    /// unverified: then someone else may have made the account. Repeating a reset after a lost
    /// answer succeeds and changes nothing.
    ///
    /// Ends the waits of the account after failed log-ins.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `password` if it is invalid or a
    /// policy refuses it, and with one of `code` for a wrong code and for an invalid or
    /// expired ticket; [`SignupError::Busy`] if no try is left, or if the queue of notices is
    /// full.
    pub async fn complete_password_reset(
        &self,
        ticket: &str,
        code: &str,
        password: &str,
    ) -> Result<PasswordReset, CredentialError> {
        let accounts = &self.accounts;
        let opened = self.codes.open_ticket(TicketKind::Reset, ticket, code).await?;
        let account = opened.record.account.id();
        let mut made = None;
        if !opened.is_repeated() {
            made = self.reset(&opened, password).await?;
        }
        let counts = match made {
            Some(counts) => counts,
            // The answer to this reset may have been lost.
            None if self.has_reset(&opened, password).await? => {
                KeyCounts::new(0, accounts.valid_api_keys(account).await?)
            }
            None => return Err(invalid_code().into()),
        };
        let email = opened.record.account.email().key();
        accounts.core().throttle.unlock(account, email).await;
        let login = accounts.logged_in(account, opened.generation)?;
        let [api_keys_ended, api_keys_kept] = [counts.ended, counts.kept].map(|keys| keys as usize);
        Ok(PasswordReset { login, api_keys_ended, api_keys_kept })
    }

    /// Resets the password of an account, and returns how many API keys end with it; `None` if the
    /// ticket no longer applies.
    async fn reset(
        &self,
        opened: &Opened,
        password: &str,
    ) -> Result<Option<KeyCounts>, CredentialError> {
        let (accounts, mut record) = (&self.accounts, opened.record.clone());
        let checked = accounts.checked_password(&record, password).await?;
        let hash = accounts.core().hash(checked).await?;
        for _ in 0..ATTEMPTS {
            let keys = accounts.valid_api_keys(record.account.id()).await?;
            let was = record.email_status();
            let (change, kind, counts) = self.reset_of(opened, was, hash.clone(), keys)?;
            let to = record.account.email();
            let notice = self.service().reserve_notice(kind, to, Some(counts))?;
            let changed = self.service().change_with(&accounts.stored, change, notice);
            if changed.await? == ChangeOutcome::Changed {
                return Ok(Some(counts));
            }
            // The owner may have verified the address meanwhile: then less ends.
            record = accounts.found(record.account.id()).await?;
            if record.email_status() == was {
                break;
            }
        }
        Ok(None)
    }

    /// Returns the change of a reset of an account whose address was in this state, and what
    /// its notice reports.
    fn reset_of(
        &self,
        opened: &Opened,
        was: EmailStatus,
        hash: PasswordHash,
        keys: usize,
    ) -> Result<(AccountChange, NoticeKind, KeyCounts), SignupError> {
        let is_unverified = was == EmailStatus::Unverified;
        let ends_api_keys = is_unverified || self.accounts.revokes_api_keys;
        let (ended, kept) = if ends_api_keys { (keys, 0) } else { (0, keys) };
        let change = change_of(opened.record.account.id(), IN_USE)
            .provided(Condition::Generation(opened.generation))
            .provided(Condition::Email(opened.ticket.email.key().clone()))
            .with(Effect::SetPassword(hash))
            .with(Effect::VerifyEmail(self.accounts.core().now()?))
            .with(Effect::ForgetRetries)
            .with(Effect::RevokeTokens)
            .with(Effect::SetTicketNonce(opened.spent))
            .with_all(ends_api_keys.then_some(Effect::ReplaceApiKeys(None)));
        let change = if is_unverified { change.provided(Condition::Unverified) } else { change };
        let counts = KeyCounts::new(ended, kept);
        if is_unverified && self.service().reset_wipes_unverified {
            let wiped = change
                .with(Effect::SetState(AccountState::Active, None))
                .with(Effect::SetName(None))
                .with(Effect::WipeHostRows(WipeReason::Reclaimed));
            let change =
                self.accounts.with_event(wiped, EventKind::AccountReclaimed, &json!({}))?;
            return Ok((change, NoticeKind::AccountReclaimed, counts));
        }
        let data = json!({
            "reset": true, "address_was": was.as_str(),
            "api_keys_ended": ended, "api_keys_kept": kept,
        });
        let change = self.accounts.with_event(change, EventKind::AccountPasswordChanged, &data)?;
        Ok((change, NoticeKind::PasswordChanged, counts))
    }

    /// Returns whether a reset has set this password: the account has the nonce that its ticket
    /// gives it, its tokens have ended once since then, and it is the password.
    async fn has_reset(&self, opened: &Opened, password: &str) -> Result<bool, CredentialError> {
        let accounts = &self.accounts;
        let by = FindBy::Id(opened.record.account.id());
        let found = accounts.store().find_login(by).await?;
        let is_reset = |record: &StoredAccount| {
            record.state.admits_owner()
                && record.ticket_nonce == Some(opened.spent)
                && record.token_generation == opened.generation.saturating_add(1)
        };
        let Some(login) = found.filter(|login| is_reset(&login.account)) else { return Ok(false) };
        let caller = Caller::Ticket(&opened.ticket.number);
        let attempt = accounts.core().throttle.begin(&caller).await?;
        let is_right = accounts.verify(&login.password_hash, password, &attempt).await?;
        if is_right {
            attempt.succeeded().await;
        }
        Ok(is_right)
    }

    /// Begins a change of an account's address: mails a code to the new one, and returns a
    /// ticket. The caller has verified the owner by the token, and recently by the password.
    /// The answer is the same whether or not another account has the address: its owner
    /// gets a mail that says so.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `email` if it is no address that a
    /// sign-up would take, and [`CredentialError::NotFound`] if there is no such account
    /// that is in use.
    pub async fn begin_email_change(
        &self,
        id: &AccountId,
        email: &str,
        client: Option<ClientIp>,
    ) -> Result<PendingVerification, CredentialError> {
        let (service, Codes { stored, verifier }) = (self.service(), &self.codes);
        let email = Email::parse(email, service.email_profile);
        let email = email.map_err(|error| invalid_field("email", &error))?;
        service.check_new_email(email.clone()).await?;
        let record = self.accounts.in_use(id).await?;
        let permit = self.codes.reserve_mail()?;
        let may_mail = verifier.charge_mail(email.key(), client).await.map_err(busy)?;
        let lookup = stored.core.lookups.enter()?;
        let owner = stored.store.find_account(FindBy::Email(email.key())).await?;
        let is_banned = service.is_banned(email.key()).await?;
        lookup.answered();
        let is_free = owner.is_none_or(|owner| owner.account.id() == id) && !is_banned;
        // The time does not tell whether the address is taken.
        let account = self.codes.bind(&record).await?;
        let account = is_free.then_some(account);
        let kind = if is_free { MailKind::NewEmailCode } else { MailKind::AccountExists };
        let (ticket, mail) = (TicketKind::NewEmail, (email, kind));
        Ok(self.codes.issue_ticket(ticket, account, mail, may_mail.then_some(permit))?)
    }

    /// Completes a change of an account's address with the code that was mailed to the new one.
    /// Ends all tokens, all other tickets, and retries of the sign-up; API keys stay. The
    /// old address gets a notice. Repeating a change after a lost answer succeeds and changes
    /// nothing.
    ///
    /// # Errors
    /// Returns an issue of `code` for a wrong code and for a ticket that is not, or no
    /// longer, good; [`SignupError::Busy`] if no try is left; [`SignupError::EmailTaken`] if
    /// another account has the address by now.
    pub async fn complete_email_change(
        &self,
        id: &AccountId,
        ticket: &str,
        code: &str,
    ) -> Result<Login, CredentialError> {
        let (service, accounts) = (self.service(), &self.accounts);
        let opened = self.codes.open_ticket(TicketKind::NewEmail, ticket, code).await?;
        let (record, generation) = (&opened.record, opened.generation);
        let is_changed = |record: &StoredAccount| {
            record.ticket_nonce == Some(opened.spent)
                && record.token_generation == generation.saturating_add(1)
                && record.state.admits_owner()
        };
        if record.account.id() != id {
            return Err(invalid_code().into());
        }
        if is_changed(record) {
            return accounts.logged_in(id, generation);
        }
        // The policies and the bans may have changed since it began.
        let email = &opened.ticket.email;
        service.check_new_email(email.clone()).await?;
        service.refuse_banned(email.key()).await?;
        let change = self.email_change(&opened)?;
        let to = record.account.email();
        let notice = service.reserve_notice(NoticeKind::EmailChanged, to, None)?;
        match service.change_with(&accounts.stored, change, notice).await? {
            ChangeOutcome::Changed => accounts.logged_in(id, generation),
            ChangeOutcome::EmailTaken => Err(SignupError::EmailTaken.into()),
            // Perhaps by the same request, which was in progress.
            _ if is_changed(&accounts.found(id).await?) => accounts.logged_in(id, generation),
            _ => Err(invalid_code().into()),
        }
    }

    fn email_change(
        &self,
        Opened { ticket, generation, record, spent }: &Opened,
    ) -> Result<AccountChange, SignupError> {
        let change = change_of(record.account.id(), IN_USE)
            .provided(Condition::Generation(*generation))
            .with(Effect::SetEmail(ticket.email.clone(), self.accounts.core().now()?))
            .with(Effect::ForgetRetries)
            .with(Effect::RevokeTokens)
            .with(Effect::SetTicketNonce(*spent));
        self.accounts.with_event(change, EventKind::AccountUpdated, &changed("email"))
    }
}

impl fmt::Debug for AccountCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountCodes").field("accounts", &self.accounts).finish_non_exhaustive()
    }
}

/// A completed password reset.
#[derive(Debug)]
#[non_exhaustive]
pub struct PasswordReset {
    /// The log-in of the owner, for a token and the mark of the device.
    pub login: Login,
    /// The API keys that ended with it. A repeat after a lost answer ends none.
    pub api_keys_ended: usize,
    /// The API keys that stay.
    pub api_keys_kept: usize,
}
