//! The tables of the store in memory. Each operation is called under its lock.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::account::{AccountId, AccountState, EmailStatus};
use crate::api_key::{ApiKeyDigest, ApiKeyId};
use crate::clock::Timestamp;
use crate::event::Notice;
use crate::fields::{Email, EmailKey};
use crate::hash::PasswordHash;
use crate::store::contract::{
    AccountChange, ChangeOutcome, Condition, CreateOutcome, Effect, FindBy, NewAccount, NewApiKey,
    StoredAccount,
};

use super::rows::{EventRow, Lease};

#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) accounts: HashMap<EmailKey, AccountRow>,
    pub(super) ids: HashMap<AccountId, EmailKey>,
    pub(super) keys: HashMap<ApiKeyDigest, NewApiKey>,
    pub(super) tickets: HashMap<[u8; 32], Timestamp>,
    /// In the order in which they have happened.
    pub(super) events: Vec<EventRow>,
    pub(super) notices: Vec<Notice>,
    pub(super) leases: HashMap<u8, Lease>,
}

#[derive(Debug)]
pub(super) struct AccountRow {
    pub(super) new: NewAccount,
    token_generation: i64,
    pub(super) state: AccountState,
    delete_at: Option<Timestamp>,
    event_number: i64,
}

impl AccountRow {
    fn new(new: NewAccount) -> Self {
        let event_number = i64::from(new.event().is_some());
        let state = AccountState::Active;
        Self { new, token_generation: 0, state, delete_at: None, event_number }
    }

    pub(super) fn stored(&self) -> StoredAccount {
        StoredAccount {
            token_generation: self.token_generation,
            state: self.state,
            delete_at: self.delete_at,
            ..self.new.record()
        }
    }

    fn meets(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Email(key) => self.new.email().key() == key,
            Condition::Generation(generation) => self.token_generation == *generation,
            Condition::Unverified => self.new.record().email_status() == EmailStatus::Unverified,
            Condition::TicketNonce(nonce) => self.new.ticket_nonce == *nonce,
            Condition::Password(hash) => self.new.password_hash().as_phc() == hash.as_phc(),
            Condition::DeletionDue(at) => self.delete_at.is_some_and(|due| due <= *at),
            Condition::State(states) => states.contains(&self.state),
        }
    }

    fn apply(&mut self, effect: &Effect) {
        let new = &mut self.new;
        match effect {
            Effect::SetPassword(hash) => new.password_hash = Arc::new(hash.clone()),
            Effect::SetName(name) => {
                new.account = Arc::new((*new.account).clone().with_name(name.clone()));
            }
            Effect::SetPlan(plan) => {
                new.account = Arc::new((*new.account).clone().with_plan(plan.clone()));
            }
            Effect::SetEmail(email, proven_at) => {
                new.account = Arc::new((*new.account).clone().with_email(email.clone()));
                new.email_verified_at = Some(*proven_at);
            }
            Effect::SetState(state, delete_at) => {
                (self.state, self.delete_at) = (*state, *delete_at);
            }
            Effect::Disable => self.state = AccountState::Disabled,
            Effect::Erase(banned) => {
                let account = (*new.account).clone().with_name(None);
                let erased = Email::erased(account.id(), banned.as_ref());
                new.account = Arc::new(account.with_email(erased));
                new.password_hash = Arc::new(PasswordHash::from_store("", None));
                new.email_verified_at = None;
                (new.email_unverified, new.ticket_nonce) = (false, None);
                (self.state, self.delete_at) = (AccountState::Erased, None);
            }
            Effect::VerifyEmail(at) => {
                new.email_verified_at.get_or_insert(*at);
            }
            Effect::SetTicketNonce(nonce) => new.ticket_nonce = Some(*nonce),
            Effect::ForgetRetries => new.receipt = None,
            Effect::RevokeTokens => self.token_generation += 1,
            Effect::Emit(_) => self.event_number += 1,
            // These are not in this row.
            Effect::AddApiKey(_)
            | Effect::RotateApiKey { .. }
            | Effect::RevokeApiKey(_)
            | Effect::ReplaceApiKeys(_)
            | Effect::ScrubEvents
            | Effect::AddNotice(_)
            | Effect::WipeHostRows(_) => {}
        }
    }
}

impl Tables {
    pub(super) fn delete(&mut self, email_key: &str) {
        let gone = self.accounts.extract_if(|key, _| key.as_str() == email_key);
        for (_, row) in gone {
            self.ids.remove(row.new.id());
            self.keys.retain(|_, key| key.account_id != *row.new.id());
        }
    }

    pub(super) fn insert(&mut self, new: NewAccount) -> CreateOutcome {
        if self.accounts.contains_key(new.email().key()) {
            return CreateOutcome::EmailTaken;
        }
        if self.ids.contains_key(new.id()) || self.keys.contains_key(new.key_digest()) {
            return CreateOutcome::IdentifierTaken;
        }
        if let Some(ticket) = new.ticket() {
            match self.tickets.entry(*ticket.hash()) {
                Entry::Occupied(_) => return CreateOutcome::TicketUsed,
                Entry::Vacant(unused) => unused.insert(ticket.expires_at()),
            };
        }
        let email_key = new.email().key().clone();
        self.ids.insert(new.id().clone(), email_key.clone());
        self.keys.insert(*new.key_digest(), new.key.clone());
        self.events.extend(new.event().map(|event| EventRow::new(event.clone(), 1)));
        self.accounts.insert(email_key, AccountRow::new(new));
        CreateOutcome::Stored
    }

    pub(super) fn change(&mut self, change: &AccountChange) -> ChangeOutcome {
        let id = change.account();
        let Some(row) = self.account(id) else { return ChangeOutcome::NotApplicable };
        if !change.conditions().iter().all(|condition| row.meets(condition)) {
            return ChangeOutcome::NotApplicable;
        }
        let mut effects = change.effects().iter();
        if let Some(refused) = effects.find_map(|effect| self.refuses(effect, id)) {
            return refused;
        }
        change.effects().iter().for_each(|effect| self.change_keys(effect, id));
        // An effect may change the key of the row.
        let row = self.ids.get(id).and_then(|key| self.accounts.remove(key));
        if let Some(mut row) = row {
            change.effects().iter().for_each(|effect| row.apply(effect));
            for effect in change.effects() {
                match effect {
                    Effect::ScrubEvents => self.scrub_events(id),
                    Effect::Emit(event) => {
                        self.events.push(EventRow::new(event.clone(), row.event_number));
                    }
                    Effect::AddNotice(notice) => self.notices.push((**notice).clone()),
                    _ => {}
                }
            }
            let key = row.new.email().key().clone();
            self.ids.insert(id.clone(), key.clone());
            self.accounts.insert(key, row);
        }
        ChangeOutcome::Changed
    }

    /// Returns why an effect can't happen, if it can't.
    fn refuses(&self, effect: &Effect, id: &AccountId) -> Option<ChangeOutcome> {
        let is_there = match effect {
            Effect::SetEmail(email, _) if self.is_of_another(email.key(), id) => {
                return Some(ChangeOutcome::EmailTaken);
            }
            Effect::Erase(Some(banned)) if self.is_of_another(banned, id) => {
                return Some(ChangeOutcome::EmailTaken);
            }
            Effect::AddApiKey(_) | Effect::RotateApiKey { .. } if self.is_erased(id) => false,
            Effect::RevokeApiKey(key) => self.key(id, key).is_some(),
            Effect::RotateApiKey { old, new, .. } => self.valid_key(old, new).is_some(),
            _ => true,
        };
        if !is_there {
            return Some(ChangeOutcome::NotApplicable);
        }
        match effect {
            Effect::AddApiKey(new) | Effect::RotateApiKey { new, .. } if self.is_retried(new) => {
                Some(ChangeOutcome::AlreadyAdded)
            }
            Effect::AddApiKey(new)
            | Effect::RotateApiKey { new, .. }
            | Effect::ReplaceApiKeys(Some(new))
                if self.keys.contains_key(&new.digest) =>
            {
                Some(ChangeOutcome::IdentifierTaken)
            }
            _ => None,
        }
    }

    fn scrub_events(&mut self, account: &AccountId) {
        let own = self.events.iter_mut().filter(|row| row.event.account_id() == account);
        own.for_each(|row| row.event.scrub());
        self.notices.retain(|notice| notice.account_id != *account);
    }

    fn change_keys(&mut self, effect: &Effect, id: &AccountId) {
        let new = match effect {
            Effect::AddApiKey(new) => Some(new),
            Effect::RotateApiKey { old, until, new } => {
                self.expire_key(old, *until, new);
                Some(new)
            }
            Effect::RevokeApiKey(key) => {
                self.revoke_api_key(id, key);
                None
            }
            Effect::ReplaceApiKeys(new) => {
                self.keys.retain(|_, key| key.account_id != *id);
                new.as_ref()
            }
            _ => None,
        };
        self.keys.extend(new.map(|new| (new.digest, (**new).clone())));
    }

    /// Finds an account, as it is stored.
    pub(super) fn find(&self, by: FindBy<'_>) -> Option<(StoredAccount, &AccountRow)> {
        let (id, key) = match by {
            FindBy::Id(id) => (id.clone(), None),
            FindBy::Email(key) => (self.accounts.get(key)?.new.id().clone(), None),
            FindBy::ApiKey(digest) => {
                let key = self.keys.get(digest)?;
                (key.account_id.clone(), Some(key.info()))
            }
        };
        let row = self.account(&id)?;
        Some((row.stored().found_by(key), row))
    }

    fn is_erased(&self, id: &AccountId) -> bool {
        self.account(id).is_none_or(|row| row.state == AccountState::Erased)
    }

    fn is_of_another(&self, key: &EmailKey, id: &AccountId) -> bool {
        self.accounts.get(key).is_some_and(|row| row.new.id() != id)
    }

    pub(super) fn account(&self, id: &AccountId) -> Option<&AccountRow> {
        self.accounts.get(self.ids.get(id)?)
    }

    fn key(&self, account: &AccountId, id: &ApiKeyId) -> Option<&NewApiKey> {
        let mut keys = self.keys.values();
        keys.find(|key| key.account_id == *account && key.digest.key_id() == *id)
    }

    fn retried_key(&self, account: &AccountId, tag: &[u8; 32]) -> Option<&NewApiKey> {
        let mut keys = self.keys.values();
        keys.find(|key| {
            let has_tag = key.receipt.as_ref().is_some_and(|receipt| receipt.tag() == tag);
            has_tag && key.account_id == *account
        })
    }

    fn is_retried(&self, new: &NewApiKey) -> bool {
        let receipt = new.receipt.as_ref();
        receipt.is_some_and(|it| self.retried_key(&new.account_id, it.tag()).is_some())
    }

    /// Returns the digest of an account's key, if it is valid when `new` is created.
    fn valid_key(&self, old: &ApiKeyId, new: &NewApiKey) -> Option<ApiKeyDigest> {
        let old = self.key(&new.account_id, old)?;
        let is_valid = old.expires_at.is_none_or(|expires_at| expires_at > new.created_at);
        is_valid.then_some(old.digest)
    }

    /// Expires a valid key at this time or earlier.
    fn expire_key(&mut self, old: &ApiKeyId, until: Timestamp, new: &NewApiKey) {
        let old = self.valid_key(old, new).and_then(|digest| self.keys.get_mut(&digest));
        if let Some(old) = old {
            old.expires_at = Some(old.expires_at.map_or(until, |expires_at| expires_at.min(until)));
        }
    }

    fn revoke_api_key(&mut self, account: &AccountId, key: &ApiKeyId) {
        if let Some(digest) = self.key(account, key).map(|key| key.digest) {
            self.keys.remove(&digest);
        }
    }
}
