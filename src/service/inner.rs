//! The parts of a service, which its handles share.

use std::sync::Arc;

use serde_json::json;

use crate::account::Plan;
use crate::core::{Core, Stored};
use crate::error::SignupError;
use crate::event::{EventKind, NewEvent};
use crate::fields::{EmailKey, EmailProfile};
use crate::idempotency::ReplaySecrets;
#[cfg(feature = "verification")]
use crate::limit::ClientIp;
use crate::limit::Limiter;
use crate::observe::{self, Stage, Timed};
use crate::policy::Policies;
use crate::store::{AccountStore, EventStore, NewAccount};

#[cfg(feature = "verification")]
use super::codes::{Codes, FirstCode};
#[cfg(feature = "verification")]
use super::modes::Mode;
use super::turns::Turns;

/// The purpose of the tags of banned addresses.
pub(super) const BAN: &[u8] = b"signup 1: banned address";

pub(crate) struct Inner {
    pub(super) core: Arc<Core>,
    pub(super) store: Arc<dyn AccountStore>,
    pub(super) policies: Policies,
    pub(super) limiter: Option<Limiter>,
    pub(super) initial_plan: Plan,
    pub(super) plans: Vec<Plan>,
    pub(super) email_profile: EmailProfile,
    pub(super) traces_client_address: bool,
    pub(super) replay: Option<Replay>,
    pub(super) bans: Option<ReplaySecrets>,
    /// The store, if changes emit events.
    pub(super) events: Option<Arc<dyn EventStore>>,
    /// When codes are mailed, and what mails them.
    #[cfg(feature = "verification")]
    pub(super) codes: Option<(Mode, Codes)>,
    #[cfg(feature = "verification")]
    pub(super) reset_wipes_unverified: bool,
}

/// The part of a service that answers retries.
pub(super) struct Replay {
    pub(super) secrets: ReplaySecrets,
    pub(super) stored: Stored,
    pub(super) requires_key: bool,
    pub(super) turns: Turns,
}

impl Inner {
    pub(super) fn time(&self, stage: Stage) -> Timed<'_> {
        observe::time(stage, &*self.core.clock)
    }

    /// Returns whether sign-ups verify their address first.
    pub(super) fn verifies_first(&self) -> bool {
        #[cfg(feature = "verification")]
        return matches!(self.codes, Some((Mode::First, _)));
        #[cfg(not(feature = "verification"))]
        false
    }

    /// Returns whether sign-ups verify their address afterwards.
    #[cfg(feature = "verification")]
    pub(super) fn verifies_after(&self) -> bool {
        matches!(self.codes, Some((Mode::After, _)))
    }

    /// Derives the first code of an account that is about to be stored, if addresses are verified
    /// after the sign-up.
    #[cfg(feature = "verification")]
    pub(super) fn first_code(
        &self,
        new: &NewAccount,
        client: Option<ClientIp>,
    ) -> Result<Option<Box<FirstCode>>, SignupError> {
        match &self.codes {
            Some((Mode::After, codes)) => Ok(Some(Box::new(codes.first_code(new, client)?))),
            _ => Ok(None),
        }
    }

    /// Returns whether the address was banned, if bans are remembered.
    pub(super) async fn is_banned(&self, email: &EmailKey) -> Result<bool, SignupError> {
        let Some(secrets) = &self.bans else { return Ok(false) };
        let mut is_banned = false;
        // All are asked, so that the time reveals nothing.
        for tag in secrets.tags_of(BAN, email.as_str().as_bytes()) {
            is_banned |= self.store.is_email_taken(&EmailKey::banned(&tag)).await?;
        }
        Ok(is_banned)
    }

    /// Refuses an address that was banned.
    pub(super) async fn refuse_banned(&self, email: &EmailKey) -> Result<(), SignupError> {
        let lookup = self.core.lookups.enter()?;
        let is_banned = self.is_banned(email).await?;
        lookup.answered();
        if is_banned { Err(SignupError::EmailTaken) } else { Ok(()) }
    }

    /// Creates the event of a sign-up, if events are emitted.
    pub(super) fn created_event(
        &self,
        new: &NewAccount,
        is_verified: bool,
    ) -> Result<Option<NewEvent>, SignupError> {
        let data = json!({"plan": new.plan().as_str(), "verified": is_verified});
        self.core.event(EventKind::AccountCreated, new.id(), new.created_at(), &data)
    }
}
