//! The owner of a mailbox who takes over the account that someone else signed up with its
//! address.

use std::sync::Arc;

use serde_json::json;

use crate::account::{AccountState, EmailStatus};
use crate::api_key::ApiKey;
use crate::clock::Timestamp;
use crate::core::Recovered;
use crate::error::SignupError;
use crate::event::{EventKind, NoticeKind};
use crate::fields::{Email, Password};
use crate::hash::{PasswordHash, Verification};
use crate::idempotency::Scope;
use crate::limit::ClientIp;
use crate::mail::MailKind;
use crate::random::Entropy;
use crate::response::Signup;
use crate::service::accounts::{IN_USE, invalid_field};
use crate::service::codes::{Opened, busy, invalid_code, report};
use crate::store::{
    AccountChange, ChangeOutcome, Condition, Effect, FindBy, NewApiKey, StoredAccount, WipeReason,
};
use crate::throttle::Caller;
use crate::token::TokenOptions;
use crate::verification::{AccountTicket, PendingVerification, TicketKind};

use super::VerifyAfter;

impl VerifyAfter {
    /// Begins to take over the account of an unverified address: mails a code, and returns a
    /// ticket. An account from before addresses were verified can't be reclaimed. The answer is
    /// the same whether or not there is such an account; without one, no code is valid.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `email` if it is no address, and
    /// [`SignupError::Busy`] if the queue of mails is full.
    pub async fn begin_reclaim(
        &self,
        email: &str,
        client: Option<ClientIp>,
    ) -> Result<PendingVerification, SignupError> {
        let begun = self.run_begin_reclaim(email, client).await;
        begun.inspect_err(|error| report("reclaim failed", error))
    }

    async fn run_begin_reclaim(
        &self,
        email: &str,
        client: Option<ClientIp>,
    ) -> Result<PendingVerification, SignupError> {
        let email = Email::parse_known(email).map_err(|error| invalid_field("email", &error))?;
        // Before it is known whether the account exists: neither a full queue nor a mail that
        // is withheld reveals it.
        let permit = self.codes.reserve_mail()?;
        let charged = self.codes.verifier.charge_mail(email.key(), client).await;
        let may_mail = charged.map_err(busy)?;
        let found = self.codes.stored.look_up(FindBy::Email(email.key())).await?;
        let is_unverified = |record: &&StoredAccount| {
            record.email_status() == EmailStatus::Unverified && record.state.admits_owner()
        };
        let account = match found.as_ref().filter(is_unverified) {
            Some(record) => Some(self.codes.bind(record).await?),
            None => None,
        };
        let kind =
            if account.is_some() { MailKind::ReclaimCode } else { MailKind::AlreadyVerified };
        // The mail goes to the address that the account has.
        let to = found.as_ref().map_or(email, |record| record.account.email().clone());
        let permit = (found.is_some() && may_mail).then_some(permit);
        self.codes.issue_ticket(TicketKind::Reclaim, account, (to, kind), permit)
    }

    /// Takes over the account of a ticket with its code: sets the password, verifies
    /// the address, ends every token and API key and every other ticket, clears the name,
    /// and returns a new token and API key. The same ticket, code and password, sent again,
    /// get the same API key while the account is as it was.
    ///
    /// What the first owner has left in the host's tables is the host's to wipe, by
    /// `HostRows::wipe` in the same transaction of an SQL store.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `password` if it is invalid or a
    /// policy refuses it, and with one of `code` for a wrong code and for a ticket that is
    /// not, or no longer, good; [`SignupError::Busy`] if no try is left.
    pub async fn complete_reclaim(
        &self,
        ticket: &str,
        code: &str,
        password: &str,
    ) -> Result<Signup, SignupError> {
        let result = self.run_reclaim(ticket, code, password).await;
        result.inspect_err(|error| report("reclaim failed", error))
    }

    async fn run_reclaim(
        &self,
        ticket: &str,
        code: &str,
        password: &str,
    ) -> Result<Signup, SignupError> {
        let now = self.service.core.now()?;
        let password =
            Password::parse(password).map_err(|error| invalid_field("password", &error))?;
        let opened = self.codes.open_ticket(TicketKind::Reclaim, ticket, code).await?;
        if opened.is_repeated() {
            return self.reclaimed_before(&opened, password, now).await;
        }
        let Opened { ticket, generation, record, .. } = &opened;
        if record.token_generation != *generation || record.email_verified_at.is_some() {
            return Err(invalid_code());
        }
        let given = password.copy();
        let email = record.account.email().clone();
        let password = self.service.check_new_password(email, password).await?;
        let password_hash = self.service.core.hash(password).await?;
        let mut derived = self.derive(ticket)?;
        let api_key = ApiKey::mint(&self.service.core.api_key_prefix, &mut derived)?;
        let new_key = NewApiKey::of(&api_key, record.account.id().clone(), now, None);
        let reclaimed = StoredAccount {
            account: record.account.clone().with_name(None),
            token_generation: generation + 1,
            email_verified_at: Some(now),
            ..record.clone()
        };
        let signup = self.answer(&reclaimed, api_key, &mut derived, now)?;
        let change = self.change(&opened, password_hash, new_key, now)?;
        let to = record.account.email();
        let notice = self.service.reserve_notice(NoticeKind::AccountReclaimed, to, None)?;
        match self.service.change_with(&self.codes.stored, change, notice).await? {
            ChangeOutcome::Changed => Ok(signup),
            // Perhaps by the same request, which was in progress.
            _ => self.reclaimed_before(&opened, given, now).await,
        }
    }

    /// Returns the change that a reclaim makes.
    fn change(
        &self,
        Opened { generation, record, spent, .. }: &Opened,
        password_hash: PasswordHash,
        new_key: NewApiKey,
        now: Timestamp,
    ) -> Result<AccountChange, SignupError> {
        let account = record.account.id();
        let event = self.service.core.event(EventKind::AccountReclaimed, account, now, &json!({}));
        let change = AccountChange::new(account.clone())
            .provided(Condition::Email(record.account.email().key().clone()))
            .provided(Condition::Generation(*generation))
            .provided(Condition::Unverified)
            .provided(Condition::State(IN_USE))
            // A deletion that the first owner has planned is theirs.
            .with(Effect::SetState(AccountState::Active, None))
            .with(Effect::SetPassword(password_hash))
            .with(Effect::SetName(None))
            .with(Effect::VerifyEmail(now))
            .with(Effect::ForgetRetries)
            .with(Effect::RevokeTokens)
            .with(Effect::SetTicketNonce(*spent))
            .with(Effect::WipeHostRows(WipeReason::Reclaimed))
            .with(Effect::ReplaceApiKeys(Some(Box::new(new_key))));
        Ok(change.with_all(event?.map(Effect::Emit)))
    }

    fn derive(&self, ticket: &AccountTicket) -> Result<Entropy, SignupError> {
        let scope = Scope::Reclaim(ticket.email.key());
        let secrets = &self.codes.verifier.secrets;
        secrets.derive_ticket(ticket.version, scope, &ticket.number).ok_or_else(invalid_code)
    }

    fn answer(
        &self,
        record: &StoredAccount,
        api_key: ApiKey,
        derived: &mut Entropy,
        now: Timestamp,
    ) -> Result<Signup, SignupError> {
        let token = self.service.core.mint_token(record, now, derived, &TokenOptions::new())?;
        let account = Arc::new(record.account.clone());
        Signup::new(account, token, api_key).map_err(SignupError::internal)
    }

    /// Answers for a ticket that no longer applies, if that is because the same request has
    /// succeeded before, and its account is as it was.
    async fn reclaimed_before(
        &self,
        Opened { ticket, generation, record, spent }: &Opened,
        password: Password,
        now: Timestamp,
    ) -> Result<Signup, SignupError> {
        let (core, store) = (&self.service.core, &self.codes.stored.store);
        let find = |key| async move { Ok(store.find_login(FindBy::ApiKey(&key)).await?) };
        let recovered = core.recover(|| Ok(((), self.derive(ticket)?)), find).await?;
        let Recovered { api_key, mut rest, found, .. } = recovered.ok_or_else(invalid_code)?;
        let account = &found.account;
        let is_as_it_was = account.account.id() == record.account.id()
            && account.ticket_nonce == Some(*spent)
            && account.token_generation == generation + 1
            && account.state == AccountState::Active
            && account.found_by.as_ref().is_some_and(|key| key.is_valid_at(now));
        if !is_as_it_was {
            return Err(invalid_code());
        }
        let attempt = core.throttle.begin(&Caller::Ticket(&ticket.number)).await?;
        let verified = core.verify(password, &found.password_hash, &attempt).await?;
        let Verification::Right { .. } = verified else { return Err(invalid_code()) };
        attempt.succeeded().await;
        Ok(self.answer(account, api_key, &mut rest, now)?.replayed())
    }
}
