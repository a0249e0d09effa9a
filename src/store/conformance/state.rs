//! The state of an account, and the effects on it that a store has to have.

use crate::account::AccountState;
use crate::fields::Email;
use crate::hash::PasswordHash;
use crate::store::contract::{
    ApiKeyInfo, Effect, FindBy, KeyOwner, LifecycleStore, NewAccount, StoredAccount,
};

use super::Harness;

use super::given::{Found, keys, ok};

/// All that a store returns of an account.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub(super) record: StoredAccount,
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

pub(super) async fn state<S: Harness<Store: LifecycleStore>>(store: &S, of: &NewAccount) -> State {
    let record = ok(store.under_test().find_account(FindBy::Id(of.id())).await);
    let Some(record) = record else { panic!("the account is gone") };
    let login =
        ok(store.under_test().find_login(FindBy::Email(record.account.email().key())).await);
    let password = login.map(|found| (found.account.account.id().clone(), found.password_hash));
    let keys = keys(store, of.id()).await;
    State { record, password, keys }
}

/// Checks that each read of an account returns the same, by each key.
pub(super) async fn all_reads_agree<S: Harness<Store: LifecycleStore>>(store: &S, of: &NewAccount) {
    let tested = store.under_test();
    let Some(expected) = ok(tested.find_account(FindBy::Id(of.id())).await) else {
        panic!("the account is gone")
    };
    let email = expected.account.email().key();
    let found = ok(tested.find_account(FindBy::Email(email)).await);
    assert_eq!(found.as_ref(), Some(&expected), "by its email");
    for by in [FindBy::Id(of.id()), FindBy::Email(email)] {
        let login = ok(tested.find_login(by).await).map(|login| login.account);
        assert_eq!(login.as_ref(), Some(&expected), "beside its password");
    }
    let by_key = FindBy::ApiKey(of.key_digest());
    let Some(found) = ok(tested.find_account(by_key).await) else { return };
    let key = found.found_by.clone();
    let with_key = StoredAccount { found_by: key.clone(), ..expected.clone() };
    assert_eq!(found, with_key, "by its API key");
    let login = ok(tested.find_login(by_key).await).map(|login| login.account);
    assert_eq!(login, Some(with_key), "beside its password, by its API key");
    let expires_at = key.and_then(|key| key.expires_at);
    let owner = KeyOwner::new(of.id().clone(), expected.state, expires_at);
    let owner = owner.email_verified_at(expected.email_verified_at);
    assert_eq!(ok(tested.find_key_owner(of.key_digest()).await), Some(owner), "the key's owner");
}
