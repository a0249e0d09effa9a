//! Mailed codes, and the tickets that change an account together with one.

use std::sync::Arc;
use std::time::Duration;

use crate::account::{AccountId, TicketNonce};
use crate::clock::Timestamp;
use crate::core::Stored;
use crate::error::{DEFAULT_RETRY_AFTER, Issue, SignupError};
use crate::fields::Email;
use crate::limit::ClientIp;
use crate::mail::{Code, Mail, MailKind, MailPermit};
use crate::observe;
use crate::store::{AccountChange, Condition, Effect, FindBy, NewAccount, StoredAccount};
use crate::verification::{
    AccountTicket, BoundAccount, CodeOwner, PendingVerification, TicketKind, Verifier,
};

/// The parts of a service that mails codes.
#[derive(Clone)]
pub(super) struct Codes {
    pub(super) stored: Stored,
    pub(super) verifier: Arc<Verifier>,
}

/// A ticket whose code was given, with its account.
pub(super) struct Opened {
    pub(super) ticket: AccountTicket,
    pub(super) generation: i64,
    pub(super) record: StoredAccount,
    /// The nonce that the account gets by the change of this ticket.
    pub(super) spent: TicketNonce,
}

impl Opened {
    /// Returns whether the change of this ticket has been made: the account has its nonce.
    pub(super) fn is_repeated(&self) -> bool {
        self.record.ticket_nonce == Some(self.spent)
    }
}

impl Codes {
    pub(super) fn reserve_mail(&self) -> Result<MailPermit, SignupError> {
        let retry_after = DEFAULT_RETRY_AFTER;
        self.verifier.mails.reserve().ok_or(SignupError::Busy { retry_after })
    }

    /// Derives the code of an account, as a mail.
    pub(super) fn mail_to(
        &self,
        record: &StoredAccount,
        now: Timestamp,
    ) -> Result<(Mail, Timestamp), SignupError> {
        let Verifier { secrets, lifetime, .. } = &*self.verifier;
        let minted = Self::owner_of(record).mint(now, *lifetime, secrets);
        let (code, expires_at) = minted?;
        let to = record.account.email().clone();
        let mail = Mail::new(MailKind::EmailCode, to, code, expires_at.since(now));
        Ok((mail, expires_at))
    }

    /// Returns the owner that a derived code belongs to.
    pub(super) fn owner_of(record: &StoredAccount) -> CodeOwner<'_> {
        CodeOwner {
            account: record.account.id(),
            email: record.account.email().key(),
            generation: record.token_generation,
        }
    }

    /// Derives the first code of an account that is about to be stored.
    pub(super) fn first_code(
        &self,
        new: &NewAccount,
        client: Option<ClientIp>,
    ) -> Result<FirstCode, SignupError> {
        let (mail, _) = self.mail_to(&new.record(), new.created_at())?;
        Ok(FirstCode { verifier: Arc::clone(&self.verifier), mail, client })
    }

    /// Binds a ticket to an account as it is. One that has no nonce gets it.
    pub(super) async fn bind(&self, record: &StoredAccount) -> Result<BoundAccount, SignupError> {
        let (id, generation) = (record.account.id().clone(), record.token_generation);
        if let Some(nonce) = &record.ticket_nonce {
            return Ok(BoundAccount::new(id, generation, nonce));
        }
        let change = AccountChange::new(id.clone())
            .provided(Condition::TicketNonce(None))
            .with(Effect::SetTicketNonce(self.stored.core.draw_nonce()?));
        self.stored.store.change(change).await?;
        // Another ticket may have been the first.
        let record = self.stored.store.find_account(FindBy::Id(&id)).await?;
        let nonce = record.and_then(|record| record.ticket_nonce);
        let nonce = nonce.ok_or_else(|| SignupError::internal("the store keeps no nonces"))?;
        Ok(BoundAccount::new(id, generation, &nonce))
    }

    /// Seals a ticket for a new code, and mails it if there is a permit for it.
    pub(super) fn issue_ticket(
        &self,
        ticket_kind: TicketKind,
        account: Option<BoundAccount>,
        (to, mail_kind): (Email, MailKind),
        permit: Option<MailPermit>,
    ) -> Result<PendingVerification, SignupError> {
        let (shared, verifier) = (&self.stored.core, &self.verifier);
        let expires_at = shared.now()?.plus(verifier.lifetime)?;
        let mut draw = shared.draw()?;
        let number = draw.take()?;
        let code = Code::mint(&mut draw)?;
        let secrets = &verifier.secrets;
        let ticket = AccountTicket::new(number, to.clone(), account, expires_at, &code, secrets);
        let ticket = ticket?;
        let sealed = ticket.seal(ticket_kind, secrets, &*shared.random)?;
        if let Some(permit) = permit {
            verifier.send(permit, Mail::new(mail_kind, to, code, verifier.lifetime));
        }
        Ok(PendingVerification::new(sealed, expires_at))
    }

    /// Opens a ticket with the code that was mailed for it, and returns it with its account. A
    /// wrong code costs a try.
    ///
    /// The work is the same whether or not the ticket has an account, and whether it is still
    /// bound to it.
    pub(super) async fn open_ticket(
        &self,
        kind: TicketKind,
        ticket: &str,
        code: &str,
    ) -> Result<Opened, SignupError> {
        let verifier = &self.verifier;
        let opened = AccountTicket::open(ticket, kind, &verifier.secrets);
        let ticket = opened.ok_or_else(invalid_code)?;
        if ticket.expires_at <= self.stored.core.now()? {
            return Err(invalid_code());
        }
        // What can't be a code is no try.
        let code = Code::parse(code).map_err(|_| invalid_code())?;
        let missing = AccountId::from_store("acc_");
        let id = ticket.account.as_ref().map_or(&missing, |account| &account.id);
        let record = self.stored.look_up(FindBy::Id(id)).await?;
        let spent = ticket.spent_nonce(&verifier.secrets)?;
        let bound = ticket.account.as_ref().zip(record).filter(|(account, record)| {
            record.ticket_nonce.is_some_and(|nonce| account.has_nonce(&nonce) || nonce == spent)
        });
        verifier.charge_try(&ticket.number).await.map_err(busy)?;
        let is_code = ticket.is_code(&code, &verifier.secrets)?;
        let (true, Some((account, record))) = (is_code, bound) else {
            return Err(invalid_code());
        };
        let generation = account.generation;
        verifier.refund_try(&ticket.number).await;
        Ok(Opened { ticket, generation, record, spent })
    }
}

/// The mail with an account's first code, which is sent once the account is stored.
pub(super) struct FirstCode {
    pub(super) verifier: Arc<Verifier>,
    pub(super) mail: Mail,
    pub(super) client: Option<ClientIp>,
}

impl FirstCode {
    /// Mails the code, unless the queue is full: the account exists, and its owner can ask for
    /// another mail.
    pub(super) fn send(self) {
        let Self { verifier, mail, client } = self;
        let Some(permit) = verifier.mails.reserve() else { return observe::mail("dropped") };
        let address = mail.to().key().clone();
        let may_go = async move { verifier.charge_mail(&address, client).await == Ok(true) };
        permit.send_if(may_go, mail);
    }
}

/// Refuses a caller who tried too often.
pub(super) const fn busy(retry_after: Duration) -> SignupError {
    SignupError::Busy { retry_after }
}

pub(super) fn invalid_code() -> SignupError {
    SignupError::Invalid(vec![Issue::field("code", "Invalid or expired code")])
}

/// Logs a failure that the client did not cause.
pub(super) fn report(what: &'static str, error: &SignupError) {
    if matches!(error, SignupError::Internal(_) | SignupError::Unavailable { .. }) {
        observe::failed(what, error);
    }
}
