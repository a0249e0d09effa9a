//! The state of an account, and the effects on it that a store has to have.

use crate::account::AccountState;
use crate::fields::Email;
use crate::hash::PasswordHash;
use crate::store::{AccountRecord, ApiKeyInfo, Effect, NewAccount};

use super::Changeable;
use super::credentials::ok;
use super::log_in::Found;

/// All that a store tells of an account.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub(super) record: AccountRecord,
    pub(super) password: Found,
    pub(super) keys: Vec<ApiKeyInfo>,
}

impl State {
    /// Does what a store has to do.
    pub(super) fn apply(&mut self, effect: &Effect) {
        let Self { record, password, keys } = self;
        let account = record.account.clone();
        match effect {
            Effect::SetPassword(hash) => *password = Some((account.id().clone(), hash.clone())),
            Effect::SetName(name) => record.account = account.with_name(name.clone()),
            Effect::SetPlan(plan) => record.account = account.with_plan(plan.clone()),
            Effect::SetEmail(email, proven_at) => {
                record.account = account.with_email(email.clone());
                record.email_verified_at = Some(*proven_at);
            }
            Effect::SetState(state, delete_at) => {
                (record.state, record.delete_at) = (*state, *delete_at);
            }
            Effect::Disable => record.state = AccountState::Disabled,
            Effect::Erase(banned) => {
                let erased = Email::erased(account.id(), banned.as_ref());
                *password = Some((account.id().clone(), PasswordHash::from_store("", None)));
                record.account = account.with_name(None).with_email(erased);
                record.email_verified_at = None;
                (record.email_unverified, record.ticket_nonce) = (false, None);
                (record.state, record.delete_at) = (AccountState::Erased, None);
            }
            Effect::VerifyEmail(at) => {
                record.email_verified_at.get_or_insert(*at);
            }
            Effect::SetTicketNonce(nonce) => record.ticket_nonce = Some(*nonce),
            Effect::ForgetRetries
            | Effect::WipeHostRows(_)
            | Effect::ScrubEvents
            | Effect::AddNotice(_)
            | Effect::Emit(_) => {}
            Effect::RevokeTokens => record.token_generation += 1,
            Effect::AddApiKey(new) => keys.push(new.info()),
            Effect::RotateApiKey { old, until, new } => {
                let old = keys.iter_mut().find(|key| key.id == *old);
                let Some(old) = old else { panic!("no such key of the suite's") };
                old.expires_at = Some(old.expires_at.map_or(*until, |end| end.min(*until)));
                keys.push(new.info());
            }
            Effect::RevokeApiKey(old) => keys.retain(|key| key.id != *old),
            Effect::ReplaceApiKeys(new) => *keys = new.iter().map(|new| new.info()).collect(),
        }
    }
}

pub(super) async fn state<S: Changeable>(store: &S, of: &NewAccount) -> State {
    let record = ok(store.credentials().find_account(of.id()).await);
    let Some(record) = record else { panic!("the account is gone") };
    let password = ok(store.credentials().find_password(record.account.email().key()).await);
    let password = password.map(|found| (found.account_id, found.hash));
    let keys = ok(store.credentials().list_api_keys(of.id()).await);
    State { record, password, keys }
}
