//! Tickets that change an account together with the code of a mail.

use crate::account::AccountId;
use crate::error::SignupError;
use crate::fields::Email;
use crate::mail::{Code, Mail, MailKind, MailPermit};
use crate::random::Entropy;
use crate::store::AccountStore;
use crate::verification::{AccountTicket, PendingProof, TicketKind, Verifier};

use super::SignupService;
use super::verification::{busy, invalid};

impl<S: AccountStore> SignupService<S> {
    /// Seals a ticket for a new code, and mails it if there is a place for it.
    pub(super) fn issue_ticket(
        &self,
        verifier: &Verifier,
        ticket_kind: TicketKind,
        account: Option<(AccountId, i64)>,
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
            place.send(Mail::new(mail_kind, to, code, verifier.lifetime));
        }
        Ok(PendingProof::new(sealed, expires_at))
    }

    /// Opens a ticket with the code that was mailed for it, and returns it with its account. A
    /// wrong code costs a try.
    pub(super) async fn open_ticket(
        &self,
        verifier: &Verifier,
        kind: TicketKind,
        ticket: &str,
        code: &str,
    ) -> Result<(AccountTicket, AccountId, i64), SignupError> {
        let ticket = AccountTicket::open(ticket, kind, &verifier.secrets).ok_or_else(invalid)?;
        if ticket.expires_at <= self.now()? {
            return Err(invalid());
        }
        verifier.charge_try(&ticket.number).await.map_err(busy)?;
        let code = Code::parse(code).map_err(|_| invalid())?;
        let is_code = ticket.is_code(&code, &verifier.secrets).map_err(SignupError::internal)?;
        let (true, Some((account, generation))) = (is_code, ticket.account.clone()) else {
            return Err(invalid());
        };
        verifier.refund_try(&ticket.number).await;
        Ok((ticket, account, generation))
    }
}
