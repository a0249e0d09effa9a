//! Tickets that change an account together with the code of a mail.

use crate::account::{AccountId, TicketNonce};
use crate::error::SignupError;
use crate::fields::Email;
use crate::mail::{Code, Mail, MailKind, MailPermit};
use crate::random::Entropy;
use crate::store::{
    AccountChange, AccountStore, Condition, Effect, FindBy, LifecycleStore, StoredAccount,
};
use crate::verification::{AccountTicket, BoundAccount, PendingProof, TicketKind, Verifier};

use super::SignupService;
use super::verification::{busy, invalid};

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

impl<S: AccountStore> SignupService<S> {
    /// Binds a ticket to an account as it is. One that has no nonce gets it.
    pub(super) async fn bind(
        &self,
        store: &(impl LifecycleStore + ?Sized),
        record: &StoredAccount,
    ) -> Result<BoundAccount, SignupError> {
        let (id, generation) = (record.account.id().clone(), record.token_generation);
        if let Some(nonce) = &record.ticket_nonce {
            return Ok(BoundAccount::new(id, generation, nonce));
        }
        let change = AccountChange::new(id.clone())
            .provided(Condition::TicketNonce(None))
            .with(Effect::SetTicketNonce(self.draw_nonce()?));
        store.change(change).await?;
        // Another ticket may have been the first.
        let record = store.find_account(FindBy::Id(&id)).await?;
        let nonce = record.and_then(|record| record.ticket_nonce);
        let nonce = nonce.ok_or_else(|| SignupError::internal("the store keeps no nonces"))?;
        Ok(BoundAccount::new(id, generation, &nonce))
    }

    /// Seals a ticket for a new code, and mails it if there is a place for it.
    pub(super) fn issue_ticket(
        &self,
        verifier: &Verifier,
        ticket_kind: TicketKind,
        account: Option<BoundAccount>,
        (to, mail_kind): (Email, MailKind),
        place: Option<MailPermit>,
    ) -> Result<PendingProof, SignupError> {
        let now = self.now()?;
        let expires_at = now.plus(verifier.lifetime).map_err(SignupError::internal)?;
        let random = &*self.inner.random;
        let mut draw = Entropy::draw(random).map_err(SignupError::internal)?;
        let number = draw.take().map_err(SignupError::internal)?;
        let code = Code::mint(&mut draw).map_err(SignupError::internal)?;
        let secrets = &verifier.secrets;
        let ticket = AccountTicket::new(number, to.clone(), account, expires_at, &code, secrets);
        let ticket = ticket.map_err(SignupError::internal)?;
        let sealed = ticket.seal(ticket_kind, secrets, random).map_err(SignupError::internal)?;
        if let Some(place) = place {
            verifier.send(place, Mail::new(mail_kind, to, code, verifier.lifetime));
        }
        Ok(PendingProof::new(sealed, expires_at))
    }

    /// Opens a ticket with the code that was mailed for it, and returns it with its account. A
    /// wrong code costs a try.
    ///
    /// The work is the same whether or not the ticket has an account, and whether it is still
    /// bound to it.
    pub(super) async fn open_ticket(
        &self,
        verifier: &Verifier,
        store: &(impl LifecycleStore + ?Sized),
        kind: TicketKind,
        ticket: &str,
        code: &str,
    ) -> Result<Opened, SignupError> {
        let ticket = AccountTicket::open(ticket, kind, &verifier.secrets).ok_or_else(invalid)?;
        if ticket.expires_at <= self.now()? {
            return Err(invalid());
        }
        // What can't be a code is no try.
        let code = Code::parse(code).map_err(|_| invalid())?;
        let nobody = AccountId::from_store("acc_");
        let id = ticket.account.as_ref().map_or(&nobody, |account| &account.id);
        let lookup = self.inner.lookups.enter()?;
        let record = store.find_account(FindBy::Id(id)).await?;
        lookup.answered();
        let spent = ticket.spent_nonce(&verifier.secrets).map_err(SignupError::internal)?;
        let bound = ticket.account.as_ref().zip(record).filter(|(account, record)| {
            record.ticket_nonce.is_some_and(|nonce| account.has_nonce(&nonce) || nonce == spent)
        });
        verifier.charge_try(&ticket.number).await.map_err(busy)?;
        let is_code = ticket.is_code(&code, &verifier.secrets).map_err(SignupError::internal)?;
        let (true, Some((account, record))) = (is_code, bound) else {
            return Err(invalid());
        };
        let generation = account.generation;
        verifier.refund_try(&ticket.number).await;
        Ok(Opened { ticket, generation, record, spent })
    }
}
