//! The owner of a mailbox who takes over the account that somebody else made with its
//! address.

use std::sync::Arc;

use serde_json::json;

use crate::account::{AccountState, EmailStatus};
use crate::api_key::ApiKey;
use crate::clock::Timestamp;
use crate::credentials::{Caller, subject, verify_stored};
use crate::error::SignupError;
use crate::event::{EventKind, NoticeKind};
use crate::fields::{Email, EmailProfile, Password};
use crate::hash::Verification as HashVerification;
use crate::idempotency::Scope;
use crate::limit::ClientIp;
use crate::mail::MailKind;
use crate::random::Entropy;
use crate::response::Signup;
use crate::service::SignupService;
use crate::service::accounts::{IN_USE, invalid_field};
use crate::service::tickets::Opened;
use crate::service::verification::{busy, invalid, report};
use crate::store::{
    AccountChange, AccountStore, ChangeOutcome, Condition, Effect, FindBy, NewApiKey,
    StoredAccount, StoredLogin, Wipe,
};
use crate::token::TokenOptions;
use crate::verification::{AccountTicket, PendingProof, TicketKind};

use super::After;

impl<S: AccountStore> SignupService<S> {
    /// Begins to take over the account of an unverified address: mails a code, and returns a
    /// ticket. An account from before addresses were verified can't be reclaimed. The answer is
    /// the same whether or not there is such an account; if there is none, no code is valid.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `email` if it is no address, and
    /// [`SignupError::Busy`] if the queue of mails is full. Fails for a service that does
    /// not [verify after](crate::SignupServiceBuilder::verify_after).
    pub async fn begin_reclaim(
        &self,
        email: &str,
        client: Option<ClientIp>,
    ) -> Result<PendingProof, SignupError> {
        let begun = self.run_begin_reclaim(email, client).await;
        begun.inspect_err(|error| report("reclaim failed", error))
    }

    async fn run_begin_reclaim(
        &self,
        email: &str,
        client: Option<ClientIp>,
    ) -> Result<PendingProof, SignupError> {
        let After { verifier, store } = self.after()?;
        // An address that was accepted once must not be refused by stricter rules.
        let email = Email::parse(email, EmailProfile::Rfc5321);
        let email = email.map_err(|error| invalid_field("email", &error))?;
        // Before it is known whether the account exists: neither a full queue nor a mail that
        // is withheld reveals it.
        let place = Self::reserve_mail(verifier)?;
        let may_mail = verifier.charge_mail(email.key(), client).await.map_err(busy)?;
        let lookup = self.inner.lookups.enter()?;
        let found = store.find_account(FindBy::Email(email.key())).await?;
        lookup.answered();
        let is_unverified = |record: &&StoredAccount| {
            record.email_status() == EmailStatus::Unverified && record.state.admits_owner()
        };
        let account = match found.as_ref().filter(is_unverified) {
            Some(record) => Some(self.bind(&**store, record).await?),
            None => None,
        };
        let kind =
            if account.is_some() { MailKind::ReclaimCode } else { MailKind::AlreadyVerified };
        // The mail goes to the address that the account has.
        let to = found.as_ref().map_or(email, |record| record.account.email().clone());
        let place = (found.is_some() && may_mail).then_some(place);
        self.issue_ticket(verifier, TicketKind::Reclaim, account, (to, kind), place)
    }

    /// Takes over the account of a ticket by the code of the mail: sets the password, proves
    /// the address, ends every token and API key and every other ticket, clears the name,
    /// and returns a new token and API key. The same ticket, code and password, sent again,
    /// get the same API key while the account is as it was.
    ///
    /// What the first owner has left in the host's tables is the host's to wipe, by
    /// `HostRows::wipe` in the same transaction of an SQL store.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `password` if it is none or a
    /// policy refuses it, and with one of `code` for a wrong code and for a ticket that is
    /// not, or no longer, good; [`SignupError::Busy`] if no try is left. Fails for a service
    /// that does not [verify after](crate::SignupServiceBuilder::verify_after).
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
        let After { verifier, store } = self.after()?;
        let now = self.now()?;
        let password = Password::parse(password);
        let password = password.map_err(|error| invalid_field("password", &error))?;
        let opened = self.open_ticket(verifier, &**store, TicketKind::Reclaim, ticket, code);
        let opened = opened.await?;
        if opened.is_repeated() {
            return self.reclaimed_before(&opened, password, now).await;
        }
        let Opened { ticket, generation, record, spent } = &opened;
        let (generation, record, spent) = (*generation, record.clone(), *spent);
        let account = record.account.id().clone();
        if record.token_generation != generation || record.email_verified_at.is_some() {
            return Err(invalid());
        }
        let given = password.copy();
        let password = self.check_new_password(record.account.email().clone(), password).await?;
        let salt = self.draw()?.0;
        let password_hash = self.inner.pool.reserve()?.hash_with_salt(password, salt).await?;
        let mut derived = self.derived(ticket)?;
        let api_key = ApiKey::mint(&self.inner.api_key_prefix, &mut derived);
        let api_key = api_key.map_err(SignupError::internal)?;
        let new_key = NewApiKey::of(&api_key, account.clone(), now, None);
        let reclaimed = StoredAccount {
            account: record.account.with_name(None),
            token_generation: generation + 1,
            email_verified_at: Some(now),
            ..record
        };
        let to = reclaimed.account.email().clone();
        let signup = self.answer_reclaim(&reclaimed, api_key, &mut derived, now)?;
        let change = AccountChange::new(account.clone())
            .provided(Condition::Email(reclaimed.account.email().key().clone()))
            .provided(Condition::Generation(generation))
            .provided(Condition::Unverified)
            .provided(Condition::State(IN_USE))
            // A deletion that the first owner has planned is theirs.
            .with(Effect::SetState(AccountState::Active, None))
            .with(Effect::SetPassword(password_hash))
            .with(Effect::SetName(None))
            .with(Effect::VerifyEmail(now))
            .with(Effect::ForgetRetries)
            .with(Effect::RevokeTokens)
            .with(Effect::SetTicketNonce(spent))
            .with(Effect::WipeHostRows(Wipe::Reclaimed))
            .with(Effect::ReplaceApiKeys(Some(Box::new(new_key))));
        let event = self.event(EventKind::AccountReclaimed, &account, now, &json!({}))?;
        let change = change.with_all(event.map(Effect::Emit));
        let notice = self.reserve_notice(NoticeKind::AccountReclaimed, &to, None)?;
        match self.change_with(store, change, notice).await? {
            ChangeOutcome::Changed => Ok(signup),
            // Perhaps by the same request, which was under way.
            _ => self.reclaimed_before(&opened, given, now).await,
        }
    }

    fn derived(&self, ticket: &AccountTicket) -> Result<Entropy, SignupError> {
        let scope = Scope::Reclaim(ticket.email.key());
        let secrets = &self.after()?.verifier.secrets;
        secrets.derive_ticket(ticket.version, scope, &ticket.number).ok_or_else(invalid)
    }

    fn answer_reclaim(
        &self,
        record: &StoredAccount,
        api_key: ApiKey,
        derived: &mut Entropy,
        now: Timestamp,
    ) -> Result<Signup, SignupError> {
        let (owner, options) = (subject(record), TokenOptions::new());
        let token = self.inner.tokens.mint(&owner, now, derived, &options);
        let token = token.map_err(SignupError::internal)?;
        let account = Arc::new(record.account.clone());
        Signup::new(account, token, api_key).map_err(SignupError::internal)
    }

    /// Answers for a ticket that does not apply any more, if that is because the same
    /// request has succeeded before, and its account is as it was.
    async fn reclaimed_before(
        &self,
        opened: &Opened,
        password: Password,
        now: Timestamp,
    ) -> Result<Signup, SignupError> {
        let (store, ticket) = (&self.after()?.store, &opened.ticket);
        let account = opened.record.account.id();
        // The present prefix is the last one.
        for prefix in self.inner.accepted_prefixes.iter().rev() {
            let mut derived = self.derived(ticket)?;
            let api_key = ApiKey::mint(prefix, &mut derived).map_err(SignupError::internal)?;
            let found = store.find_login(FindBy::ApiKey(&api_key.digest())).await?;
            let Some(StoredLogin { account: record, password_hash: hash, .. }) = found else {
                continue;
            };
            let is_as_it_was = record.account.id() == account
                && record.ticket_nonce == Some(opened.spent)
                && record.token_generation == opened.generation + 1
                && record.state == AccountState::Active
                && record.found_by.as_ref().is_some_and(|key| key.is_valid_at(now));
            if !is_as_it_was {
                return Err(invalid());
            }
            let attempt = self.inner.throttle.begin(Caller::Ticket(&ticket.number)).await?;
            let verified =
                verify_stored::<SignupError>(&self.inner.pool, password, &hash, &attempt);
            let HashVerification::Right { .. } = verified.await? else { return Err(invalid()) };
            attempt.succeeded().await;
            return Ok(self.answer_reclaim(&record, api_key, &mut derived, now)?.replayed());
        }
        Err(invalid())
    }
}
