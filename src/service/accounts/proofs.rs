//! Changes of accounts that the code of a mail proves: another password for who has
//! forgotten the old one, and another address.

use serde_json::json;

use crate::account::AccountId;
use crate::credentials::CredentialError;
use crate::error::SignupError;
use crate::event::EventKind;
use crate::fields::{Email, EmailProfile};
use crate::limit::ClientIp;
use crate::mail::{Mail, MailKind};
use crate::service::SignupService;
use crate::service::verification::invalid;
use crate::store::{
    AccountRecord, AccountStore, ChangeOutcome, Condition, Effect, LifecycleStore, Wipe,
};
use crate::verification::{PendingProof, TicketKind};

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
        let lookup = self.service.inner.lookups.enter().map_err(SignupError::from)?;
        let found = self.store().find_account_by_email(email.key()).await?;
        lookup.answered();
        self.begin_reset(found, email, client)
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
        self.begin_reset(Some(record), email, None)
    }

    fn begin_reset(
        &self,
        found: Option<AccountRecord>,
        email: Email,
        client: Option<ClientIp>,
    ) -> Result<PendingProof, CredentialError> {
        let verifier = self.service.verifier()?;
        let place = SignupService::<S>::reserve_mail(verifier)?;
        let found = found.filter(|record| record.state.admits_owner());
        let account = found.as_ref().map(|it| (it.account.id().clone(), it.token_generation));
        let place = account.is_some().then_some(place);
        let to = found.map_or(email, |record| record.account.email().clone());
        let mail = (to, MailKind::ResetCode);
        Ok(self.service.issue_ticket(verifier, TicketKind::Reset, account, mail, place, client)?)
    }

    /// Completes a reset of a password by the code of the mail: sets the password, proves
    /// the address, and ends all tokens and all other tickets. API keys stay, unless [they
    /// are to end](Self::ending_api_keys) or the address was not proven before: then somebody
    /// else may have made the account, so its name is cleared, its API keys end, and the
    /// host's rows are wiped as by a reclaim. The same reset, sent again because its answer
    /// was lost, succeeds and changes nothing.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `password` if it is none or a
    /// policy refuses it, and with one of `code` for a wrong code and for a ticket that is
    /// not, or no longer, good; [`SignupError::Busy`] if no try is left.
    pub async fn complete_password_reset(
        &self,
        ticket: &str,
        code: &str,
        password: &str,
    ) -> Result<(), CredentialError> {
        let verifier = self.service.verifier()?;
        let opened = self.service.open_ticket(verifier, TicketKind::Reset, ticket, code).await?;
        let (ticket, account, generation) = opened;
        let record = self.get(&account).await?.ok_or_else(invalid)?;
        let mut change = change_of(&account, IN_USE)
            .provided(Condition::Generation(generation))
            .provided(Condition::Email(ticket.email.key().clone()))
            .with(self.new_password(&record, password).await?)
            .with(Effect::VerifyEmail(self.now()?))
            .with(Effect::ForgetRetries)
            .with(Effect::RevokeTokens);
        let is_unproven = record.email_verified_at.is_none();
        if is_unproven {
            change = change.with(Effect::SetName(None)).with(Effect::WipeHostRows(Wipe::Reclaimed));
        }
        let ends_api_keys = is_unproven || self.ends_api_keys;
        let change = change.with_all(ends_api_keys.then_some(Effect::ReplaceApiKeys(None)));
        let data = json!({"reset": true, "api_keys_ended": ends_api_keys});
        let change = self.telling(change, EventKind::AccountPasswordChanged, &data)?;
        match self.store().change_account(change).await? {
            ChangeOutcome::Changed => Ok(()),
            // The answer to this reset may have been lost.
            _ if self.has_reset(&account, generation, password).await? => Ok(()),
            _ => Err(invalid().into()),
        }
    }

    /// Returns whether a reset has set this password: the account's tokens have ended once
    /// since its ticket was issued, and it is the password.
    async fn has_reset(
        &self,
        account: &AccountId,
        generation: i64,
        password: &str,
    ) -> Result<bool, CredentialError> {
        let Some(record) = self.get(account).await? else { return Ok(false) };
        if !record.state.admits_owner() || record.token_generation != generation.saturating_add(1) {
            return Ok(false);
        }
        self.verify(&self.stored_password(&record).await?, password).await
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
        let record = self.in_use(id).await?;
        let place = SignupService::<S>::reserve_mail(verifier)?;
        let owner = self.store().find_account_by_email(email.key()).await?;
        let is_banned = self.service.is_banned(email.key()).await?;
        let is_free = owner.is_none_or(|owner| owner.account.id() == id) && !is_banned;
        let account = is_free.then(|| (id.clone(), record.token_generation));
        let kind = if is_free { MailKind::NewEmailCode } else { MailKind::AccountExists };
        let (ticket, mail) = (TicketKind::NewEmail, (email, kind));
        Ok(self.service.issue_ticket(verifier, ticket, account, mail, Some(place), client)?)
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
    ) -> Result<(), CredentialError> {
        let verifier = self.service.verifier()?;
        let opened = self.service.open_ticket(verifier, TicketKind::NewEmail, ticket, code).await?;
        let (ticket, account, generation) = opened;
        if account != *id {
            return Err(invalid().into());
        }
        let record = self.get(&account).await?.ok_or_else(invalid)?;
        let change = change_of(&account, IN_USE)
            .provided(Condition::Generation(generation))
            .with(Effect::SetEmail(ticket.email, self.now()?))
            .with(Effect::ForgetRetries)
            .with(Effect::RevokeTokens);
        let change = self.telling(change, EventKind::AccountUpdated, &changed("email"))?;
        match self.store().change_account(change).await? {
            ChangeOutcome::Changed => {}
            ChangeOutcome::EmailTaken => return Err(SignupError::EmailTaken.into()),
            _ => return Err(invalid().into()),
        }
        if let Some(place) = verifier.mails.reserve() {
            let old = record.account.email().clone();
            verifier.mail(place, Mail::without_code(MailKind::EmailChanged, old), None);
        }
        Ok(())
    }
}
