//! For each promise of `VerificationStore` a store that breaks it, which the suite has to
//! catch.

use async_trait::async_trait;
use signup::account::AccountId;
use signup::clock::Timestamp;
use signup::store::conformance::{self, Verifying};
use signup::store::{
    AccountStore as _, CreateOutcome, NewAccount, StoreError, UsedTicket, VerificationStore,
};

use super::flawed_credentials::{Flaw, Flawed};

/// The tickets that a store believes to be used.
pub type Tickets = Vec<(AccountId, UsedTicket)>;

impl Flawed {
    fn has(&self, hash: &[u8; 32]) -> bool {
        self.tickets.lock().unwrap().iter().any(|(_, ticket)| ticket.hash() == hash)
    }

    pub async fn create_with_ticket(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        let (id, ticket) = (new.id().clone(), *new.ticket().unwrap());
        let mark = || self.tickets.lock().unwrap().push((id.clone(), ticket));
        let is_used = self.has(ticket.hash());
        if self.flaw == Flaw::UsesTicketsForNothing && !is_used {
            mark();
        }
        if self.store.is_email_taken(new.email().key()).await? {
            return Ok(CreateOutcome::EmailTaken);
        }
        if is_used && self.flaw != Flaw::ForgetsTickets {
            return Ok(CreateOutcome::TicketUsed);
        }
        if self.flaw == Flaw::LooksForTheTicketFirst {
            // Meanwhile others look, too.
            tokio::task::yield_now().await;
        }
        let created = self.store.create(without_ticket(&new)).await?;
        if self.flaw == Flaw::UsesTheTicketLater {
            tokio::task::yield_now().await;
        }
        if created == CreateOutcome::Stored && self.flaw != Flaw::UsesTicketsForNothing {
            mark();
        }
        Ok(created)
    }

    pub fn forget_tickets(&self, id: &AccountId) {
        if self.flaw == Flaw::DeletesTicketsWithTheirAccounts {
            self.tickets.lock().unwrap().retain(|(owner, _)| owner != id);
        }
    }
}

/// The same account, of a ticket that nobody else has.
fn without_ticket(new: &NewAccount) -> NewAccount {
    use signup::store::conformance::Sample;
    Sample::new(u64::MAX).email_of(new).id_of(new).key_of(new).build()
}

#[async_trait]
impl VerificationStore for Flawed {
    async fn is_ticket_used(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        Ok(self.has(hash))
    }

    async fn purge_tickets(&self, expired_at: Timestamp) -> Result<(), StoreError> {
        let purges_all = self.flaw == Flaw::PurgesAllTickets;
        let is_kept = |ticket: &UsedTicket| !purges_all && ticket.expires_at() > expired_at;
        self.tickets.lock().unwrap().retain(|(_, ticket)| is_kept(ticket));
        Ok(())
    }
}

impl Verifying for Flawed {
    fn tickets(&self) -> &dyn VerificationStore {
        self
    }
}

/// Returns the promises that a store with this flaw breaks.
async fn caught(flaw: Flaw) -> Vec<&'static str> {
    let promises = super::promises!(
        flaw,
        a_ticket_is_used_once,
        a_taken_email_uses_no_ticket,
        one_ticket_makes_one_account,
        a_dropped_signup_uses_its_ticket_or_not,
        expired_tickets_are_purged,
    );
    super::broken(promises).await
}

#[tokio::test]
async fn a_store_without_a_flaw_is_not_caught() {
    assert_eq!(caught(Flaw::None).await, [""; 0]);
}

#[tokio::test]
async fn for_each_promise_a_store_that_breaks_it_is_caught() {
    for (flaw, promise) in [
        (Flaw::ForgetsTickets, "a_ticket_is_used_once"),
        (Flaw::DeletesTicketsWithTheirAccounts, "a_ticket_is_used_once"),
        (Flaw::UsesTicketsForNothing, "a_taken_email_uses_no_ticket"),
        (Flaw::LooksForTheTicketFirst, "one_ticket_makes_one_account"),
        (Flaw::UsesTheTicketLater, "a_dropped_signup_uses_its_ticket_or_not"),
        (Flaw::PurgesAllTickets, "expired_tickets_are_purged"),
    ] {
        let caught = caught(flaw).await;
        assert!(caught.contains(&promise), "{flaw:?} was caught by {caught:?}");
    }
}
