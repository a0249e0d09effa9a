//! Changes of accounts that the code of a mail proves: another password for who has
//! forgotten the old one, and another address.

use serde_json::json;

use crate::account::AccountId;
use crate::credentials::{Caller, CredentialError, Login};
use crate::error::SignupError;
use crate::event::EventKind;
use crate::fields::{Email, EmailProfile};
use crate::limit::ClientIp;
use crate::mail::{MailKind, MailPermit};
use crate::service::SignupService;
use crate::service::verification::{busy, invalid};
use crate::store::{AccountRecord, AccountStore, ChangeOutcome, Condition, Effect, LifecycleStore};
use crate::verification::{AccountTicket, PendingProof, TicketKind};

use super::notices::NoticeOf;
use super::{Accounts, IN_USE, change_of, changed, invalid_field};

impl<S: AccountStore + LifecycleStore> Accounts<S> {
    /// Begins a reset of the password of the account with this address, for its owner who
    /// has forgotten it: mails a code, and returns a ticket. The answer is the same for any
    /// address; where there is no account, no code proves anything.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `email` if it is no address, and
    /// [`SignupError::Busy`] if the queue of mails is full. Fails for a service that does
    /// not prove addresses, neither first nor after. The same holds for all that follows.
    pub async fn begin_password_reset(
        &self,
        email: &str,
        client: Option<ClientIp>,
    ) -> Result<PendingProof, CredentialError> {
        // An address that was accepted once must not be refused by stricter rules.
        let email = Email::parse(email, EmailProfile::Rfc5321);
        let email = email.map_err(|error| invalid_field("email", &error))?;
        let verifier = self.service.verifier()?;
        let place = SignupService::<S>::reserve_mail(verifier)?;
        let may_mail = verifier.charge_mail(email.key(), client).await.map_err(busy)?;
        let lookup = self.service.inner.lookups.enter().map_err(SignupError::from)?;
        let found = self.store().find_account_by_email(email.key()).await?;
        lookup.answered();
        self.begin_reset(found, email, may_mail.then_some(place))
    }

    /// Begins a reset of the password of this account, for an operator, who never learns or
    /// sets one (OWASP ASVS 5, 6.4.6): the ticket and the code go to the owner.
    ///
    /// # Errors
    /// Returns [`CredentialError::NotFound`] if there is no such account that is in use.
    pub async fn begin_password_reset_of(
        &self,
        id: &AccountId,
    ) -> Result<PendingProof, CredentialError> {
        let record = self.in_use(id).await?;
        let email = record.account.email().clone();
        let place = SignupService::<S>::reserve_mail(self.service.verifier()?)?;
        self.begin_reset(Some(record), email, Some(place))
    }

    fn begin_reset(
        &self,
        found: Option<AccountRecord>,
        email: Email,
        place: Option<MailPermit>,
    ) -> Result<PendingProof, CredentialError> {
        let verifier = self.service.verifier()?;
        let found = found.filter(|record| record.state.admits_owner());
        let account = found.as_ref().map(|it| (it.account.id().clone(), it.token_generation));
        let place = place.filter(|_| account.is_some());
        let to = found.map_or(email, |record| record.account.email().clone());
        let mail = (to, MailKind::ResetCode);
        Ok(self.service.issue_ticket(verifier, TicketKind::Reset, account, mail, place)?)
    }

    /// Completes a password reset with the code that was mailed: sets the password, verifies
    /// the address, and ends all tokens, marks of devices and other tickets. Name and host
    /// rows stay. API keys stay, unless [they are to end](Self::ending_api_keys), or the
    /// address was not verified while the service verifies addresses after the sign-up: then
    /// someone else may have made the account. Repeating a reset after a lost answer succeeds
    /// and changes nothing.
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
        let verifier = self.service.verifier()?;
        let opened = self.service.open_ticket(verifier, TicketKind::Reset, ticket, code).await?;
        let (ticket, account, generation) = opened;
        let record = self.get(&account).await?.ok_or_else(invalid)?;
        let email = record.account.email();
        let keys = self.store().list_api_keys(&account).await?.len();
        let change = change_of(&account, IN_USE)
            .provided(Condition::Generation(generation))
            .provided(Condition::Email(ticket.email.key().clone()))
            .with(self.new_password(&record, password).await?)
            .with(Effect::VerifyEmail(self.now()?))
            .with(Effect::ForgetRetries)
            .with(Effect::RevokeTokens);
        // While addresses are verified after the sign-up, someone else may have made an
        // account whose address is not.
        let is_unverified = record.email_verified_at.is_none() && self.service.verifies_after();
        let ends_api_keys = is_unverified || self.ends_api_keys;
        let change = change.with_all(ends_api_keys.then_some(Effect::ReplaceApiKeys(None)));
        let was = match (record.email_verified_at, is_unverified) {
            (Some(_), _) => "verified",
            (None, true) => "unverified",
            (None, false) => "unknown",
        };
        let (ended, kept) = if ends_api_keys { (keys, 0) } else { (0, keys) };
        let data = json!({
            "reset": true, "address_was": was, "api_keys_ended": ended, "api_keys_kept": kept,
        });
        let change = self.telling(change, EventKind::AccountPasswordChanged, &data)?;
        let notice = self.notice(NoticeOf::Password, email)?;
        let changed = self.change_with(change, notice).await?;
        // The answer to this reset may have been lost.
        if changed != ChangeOutcome::Changed
            && !self.has_reset(&ticket, &account, generation, password).await?
        {
            return Err(invalid().into());
        }
        self.throttle().unlock(&account, email.key()).await;
        let login = self.logged_in(&account, generation)?;
        Ok(PasswordReset { login, api_keys_ended: ended, api_keys_kept: kept })
    }

    /// Returns whether a reset has set this password: the account's tokens have ended once
    /// since its ticket was issued, and it is the password.
    async fn has_reset(
        &self,
        ticket: &AccountTicket,
        account: &AccountId,
        generation: i64,
        password: &str,
    ) -> Result<bool, CredentialError> {
        let Some(record) = self.get(account).await? else { return Ok(false) };
        if !record.state.admits_owner() || record.token_generation != generation.saturating_add(1) {
            return Ok(false);
        }
        let attempt = self.throttle().begin(Caller::Ticket(&ticket.number)).await?;
        let is_right =
            self.verify(&self.stored_password(&record).await?, password, &attempt).await?;
        if is_right {
            attempt.succeeded().await;
        }
        Ok(is_right)
    }

    /// Begins a change of an account's address: mails a code to the new one, and returns a
    /// ticket. The caller has proven the account by its token, and lately by its password.
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
    ) -> Result<PendingProof, CredentialError> {
        let verifier = self.service.verifier()?;
        let email = Email::parse(email, self.service.inner.email_profile);
        let email = email.map_err(|error| invalid_field("email", &error))?;
        self.service.check_new_email(email.clone()).await?;
        let record = self.in_use(id).await?;
        let place = SignupService::<S>::reserve_mail(verifier)?;
        let may_mail = verifier.charge_mail(email.key(), client).await.map_err(busy)?;
        let owner = self.store().find_account_by_email(email.key()).await?;
        let is_banned = self.service.is_banned(email.key()).await?;
        let is_free = owner.is_none_or(|owner| owner.account.id() == id) && !is_banned;
        let account = is_free.then(|| (id.clone(), record.token_generation));
        let kind = if is_free { MailKind::NewEmailCode } else { MailKind::AccountExists };
        let (ticket, mail) = (TicketKind::NewEmail, (email, kind));
        let place = may_mail.then_some(place);
        Ok(self.service.issue_ticket(verifier, ticket, account, mail, place)?)
    }

    /// Completes a change of an account's address by the code of the mail to the new one.
    /// Ends all tokens, all other tickets, and retries of the sign-up; API keys stay. The
    /// old address is told.
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
        let verifier = self.service.verifier()?;
        let opened = self.service.open_ticket(verifier, TicketKind::NewEmail, ticket, code).await?;
        let (ticket, account, generation) = opened;
        if account != *id {
            return Err(invalid().into());
        }
        let record = self.get(&account).await?.ok_or_else(invalid)?;
        // The policies and the bans may have changed since it began.
        self.service.check_new_email(ticket.email.clone()).await?;
        if self.service.is_banned(ticket.email.key()).await? {
            return Err(SignupError::EmailTaken.into());
        }
        let change = change_of(&account, IN_USE)
            .provided(Condition::Generation(generation))
            .with(Effect::SetEmail(ticket.email, self.now()?))
            .with(Effect::ForgetRetries)
            .with(Effect::RevokeTokens);
        let change = self.telling(change, EventKind::AccountUpdated, &changed("email"))?;
        let notice = self.notice(NoticeOf::Address, record.account.email())?;
        match self.change_with(change, notice).await? {
            ChangeOutcome::Changed => self.logged_in(&account, generation),
            ChangeOutcome::EmailTaken => Err(SignupError::EmailTaken.into()),
            _ => Err(invalid().into()),
        }
    }
}

/// A completed password reset.
#[derive(Debug)]
#[non_exhaustive]
pub struct PasswordReset {
    /// The log-in of the owner, for a token and the mark of the device.
    pub login: Login,
    /// The API keys that ended with it.
    pub api_keys_ended: usize,
    /// The API keys that stay.
    pub api_keys_kept: usize,
}
