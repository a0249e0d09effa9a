//! A store with one flaw at a time, against which the suite is tested.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use signup::account::{AccountId, AccountState};
use signup::api_key::{ApiKeyDigest, ApiKeyId};
use signup::clock::Timestamp;
use signup::event::Notice;
use signup::fields::EmailKey;
use signup::idempotency::Receipt;
use signup::store::conformance::{AccountRow, ApiKeyRow, Harness, Sample};
use signup::store::{
    AccountChange, AccountFilter, AccountPage, AccountStore, ChangeOutcome, Condition,
    CreateOutcome, DeliveryOutcome, DeliveryState, Effect, EventBacklog, EventLease, EventQuery,
    EventStore, Expired, FindBy, KeyOwner, KeyQuery, LifecycleStore, LifecycleStoreExt as _,
    MemoryStore, NewAccount, NewApiKey, OldEvents, Purged, StoreError, StoredAccount, StoredApiKey,
    StoredEvent, StoredLogin, UsedTicket,
};

/// The flaw of a [`Flawed`] store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    FindsAnyKey,
    ForgetsTheExpiry,
    ListsTheNewestFirst,
    RevokesForAnybody,
    RevokesTwice,
    RotatesWithoutExpiry,
    RotatesForAnybody,
    RotatesInTwoSteps,
    RenewsWhateverIsThere,
    BringsTokensBack,
    PurgesNothing,
    KeepsKeysOfTheDeleted,
    ForgetsTheReceipt,
    KeepsReceiptsAsText,
    LooksAtAReplica,
    StoresTheReceiptLater,
    TakesTheRowOfAnother,
    RemembersTheDeleted,
    FindsRevokedKeys,
    HidesExpiredKeys,
    ForgetsTheGeneration,
    FindsTagsOfAnybody,
    HasOneTagForAll,
    IssuesATagTwice,
    LooksForTheTagFirst,
    EndsTheOldKeyAllTheSame,
    ForgetsTickets,
    DeletesTicketsWithTheirAccounts,
    UsesTicketsForNothing,
    LooksForTheTicketFirst,
    UsesTheTicketLater,
    PurgesAllTickets,
    FindsAnybody,
    KeepsThePassword,
    KeepsTheName,
    KeepsTheTokens,
    KeepsTheKeys,
    ChangesNothingForNothing,
    IgnoresTheEmail,
    IgnoresTheGeneration,
    IgnoresTheProof,
    IgnoresTheNonce,
    IgnoresTheDate,
    KeepsTheNonce,
    IgnoresThePassword,
    IgnoresTheState,
    KeepsThePlan,
    KeepsTheEmail,
    KeepsTheState,
    ErasesNothing,
    ChangesThoughTheEmailIsTaken,
    ListsTheLastOneAgain,
    ListsAnyState,
    ForgetsTheNextPage,
    ListsEventsFromTheFirst,
    ListsTheNewestEventFirst,
    TellsTwice,
    TellsLater,
    ForgetsTheEventsOfTheDeleted,
    PurgesNoEvents,
    PurgesAllEvents,
    ProvesAnew,
    ChangesThoughTheKeyIsTaken,
    LooksBeforeItChanges,
    ChangesInTwoSteps,
    AddsNoKey,
    RevokesNoKey,
    KeepsTheOldKey,
    KeepsTheData,
    ForgetsNotices,
    AddsNoticesOfTheRefused,
    SendsNoticesTooEarly,
    SettlesAnyNotice,
    DeliversTheLastFirst,
    DeliversTooEarly,
    CountsNoAttempts,
    StopsNobody,
    LeasesTwice,
    TakesLeasesEarly,
    SettlesWithoutALease,
    SettlesOneByOne,
    CountsTheStoppedTwice,
    CountsPastTheLimit,
    HidesEventsBehindACrowd,
    ForgetsTheSkipped,
    SkipsAnyEvent,
    PurgesWhatIsWaiting,
    ForgetsTheName,
    ListsExpiredKeys,
    ListsTooManyKeys,
    PurgesTooMany,
    LogsInWithoutGeneration,
    LogsInWithoutState,
    FindsByKeyWithoutState,
    ListsDeadLettersFromTheFirst,
}

/// A store in memory with a flaw in it.
pub struct Flawed {
    flaw: Flaw,
    store: MemoryStore,
    gone: Mutex<Vec<(ApiKeyDigest, KeyOwner)>>,
    past: Mutex<Past>,
    tickets: Mutex<Tickets>,
}

/// The rows that a store should no longer find, or not find yet.
#[derive(Default)]
struct Past {
    revoked: Vec<(ApiKeyDigest, StoredAccount)>,
    deleted: Vec<(EmailKey, StoredLogin)>,
    /// The accounts that a replica has.
    copied: Vec<EmailKey>,
    /// The accounts whose receipt is not stored yet.
    unfinished: Vec<EmailKey>,
}

impl Flawed {
    pub fn new(flaw: Flaw) -> Self {
        let (gone, past, tickets) = Default::default();
        Self { flaw, store: MemoryStore::default(), gone, past, tickets }
    }

    /// Ignores whose key it is.
    fn owner_of(&self, key: &ApiKeyId) -> Option<AccountId> {
        let keys = self.store.api_keys();
        let key = keys.iter().find(|known| known.digest().key_id() == *key);
        key.map(|key| key.account_id().clone())
    }

    async fn rotate_flawed(
        &self,
        old: &ApiKeyId,
        until: Timestamp,
        new: NewApiKey,
    ) -> Result<bool, StoreError> {
        match self.flaw {
            Flaw::RotatesWithoutExpiry => self.store.rotate_api_key(old, Timestamp::MAX, new).await,
            Flaw::RotatesForAnybody if self.owner_of(old).is_some() => {
                self.store.add_api_key(new).await
            }
            Flaw::RotatesInTwoSteps => {
                let digest = *new.digest();
                let account = new.account_id().clone();
                let rotated = self.store.rotate_api_key(old, until, new).await?;
                // The new key is taken away, and there again only after a while.
                let id = digest.key_id();
                let key = self.store.api_keys().into_iter().find(|key| *key.digest() == digest);
                if let (true, Some(key)) = (rotated, key) {
                    self.store.revoke_api_key(&account, &id).await?;
                    self.gone
                        .lock()
                        .unwrap()
                        .push((digest, KeyOwner::new(account, AccountState::Active, None)));
                    tokio::task::yield_now().await;
                    self.gone.lock().unwrap().clear();
                    self.store.add_api_key(key).await?;
                }
                Ok(rotated)
            }
            Flaw::LooksForTheTagFirst => {
                tokio::task::yield_now().await;
                self.store.rotate_api_key(old, until, new).await
            }
            Flaw::EndsTheOldKeyAllTheSame => {
                let spare = self.spare(&new);
                if self.store.rotate_api_key(old, until, new).await? {
                    return Ok(true);
                }
                let (account, id) = (spare.account_id().clone(), spare.digest().key_id());
                self.store.rotate_api_key(old, until, spare).await?;
                self.store.revoke_api_key(&account, &id).await?;
                Ok(false)
            }
            _ => self.store.rotate_api_key(old, until, new).await,
        }
    }

    async fn revoke_flawed(&self, account: &AccountId, key: &ApiKeyId) -> Result<bool, StoreError> {
        match self.flaw {
            Flaw::RevokesForAnybody => {
                let owner = self.owner_of(key);
                self.store.revoke_api_key(owner.as_ref().unwrap_or(account), key).await
            }
            Flaw::RevokesTwice => {
                let is_there = self.owner_of(key).is_some();
                tokio::task::yield_now().await;
                self.store.revoke_api_key(account, key).await?;
                Ok(is_there)
            }
            _ => {
                self.remember(key);
                self.store.revoke_api_key(account, key).await
            }
        }
    }
}

impl Flawed {
    async fn create_flawed(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        let key = new.email().key().clone();
        let is_same = |other: &NewAccount| other.id() == new.id() && other.email().key() == &key;
        if self.flaw == Flaw::TakesTheRowOfAnother && self.store.accounts().iter().any(is_same) {
            return Ok(CreateOutcome::Stored);
        }
        let created = self.store.create(new).await?;
        if self.flaw == Flaw::StoresTheReceiptLater && created == CreateOutcome::Stored {
            self.past.lock().unwrap().unfinished.push(key.clone());
            tokio::task::yield_now().await;
            self.past.lock().unwrap().unfinished.retain(|other| *other != key);
        }
        Ok(created)
    }

    async fn add_flawed(&self, new: NewApiKey) -> Result<bool, StoreError> {
        let Some(tag) = new.receipt().map(|receipt| *receipt.tag()) else {
            return self.store.add_api_key(new).await;
        };
        let is_known = self.find_tag(&tag).is_some();
        if self.flaw == Flaw::HasOneTagForAll && is_known {
            return Ok(false);
        }
        if self.flaw == Flaw::LooksForTheTagFirst && !is_known {
            // Meanwhile others look, too.
            tokio::task::yield_now().await;
            let spare = self.spare(&new);
            return Ok(self.store.add_api_key(new).await? || self.store.add_api_key(spare).await?);
        }
        let spare = self.spare(&new);
        let added = self.store.add_api_key(new).await?;
        match self.flaw {
            Flaw::IssuesATagTwice if !added => self.store.add_api_key(spare).await,
            _ => Ok(added),
        }
    }

    /// Makes another key of the same account, without a receipt.
    fn spare(&self, of: &NewApiKey) -> NewApiKey {
        static NUMBER: AtomicU64 = AtomicU64::new(1 << 32);
        let accounts = self.store.accounts();
        let account = accounts.iter().find(|account| account.id() == of.account_id()).unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Sample::new(number).id_of(account).build().key().clone()
    }

    fn find_tag(&self, tag: &[u8; 32]) -> Option<NewApiKey> {
        let has_tag = |key: &NewApiKey| key.receipt().is_some_and(|receipt| receipt.tag() == tag);
        self.store.api_keys().into_iter().find(has_tag)
    }

    /// Notes down a key that is about to be revoked.
    fn remember(&self, key: &ApiKeyId) {
        let keys = self.store.api_keys();
        let key = keys.iter().find(|known| known.digest().key_id() == *key);
        let accounts = self.store.accounts();
        let owner = |key: &NewApiKey| accounts.iter().find(|owner| owner.id() == key.account_id());
        if let Some((key, owner)) = key.and_then(|key| Some((key, owner(key)?))) {
            let account = owner.record().found_by(Some(key.info()));
            self.past.lock().unwrap().revoked.push((*key.digest(), account));
        }
    }

    /// Notes down an account that is about to be deleted.
    fn remember_signup(&self, id: &AccountId) {
        if let Some(account) = self.store.accounts().iter().find(|account| account.id() == id) {
            let login = StoredLogin::new(account.record(), account.password_hash().clone());
            let signup = login.receipt(account.receipt().copied());
            self.past.lock().unwrap().deleted.push((account.email().key().clone(), signup));
        }
    }
}

/// Returns the rest of a receipt that was kept in columns of text.
fn as_text(receipt: Receipt) -> Receipt {
    let text = String::from_utf8_lossy(receipt.nonce()).into_owned().into_bytes();
    let nonce: Vec<u8> = text.into_iter().chain([0; 16]).take(16).collect();
    let version = i64::from(receipt.secret_version());
    Receipt::from_store(&nonce, version, receipt.tag()).unwrap()
}

/// The tickets that a store believes to be used.
type Tickets = Vec<(AccountId, UsedTicket)>;

impl Flawed {
    fn has(&self, hash: &[u8; 32]) -> bool {
        self.tickets.lock().unwrap().iter().any(|(_, ticket)| ticket.hash() == hash)
    }

    async fn create_with_ticket(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
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

    fn forget_tickets(&self, id: &AccountId) {
        if self.flaw == Flaw::DeletesTicketsWithTheirAccounts {
            self.tickets.lock().unwrap().retain(|(owner, _)| owner != id);
        }
    }
}

/// The same account, of a ticket that nobody else has.
fn without_ticket(new: &NewAccount) -> NewAccount {
    Sample::new(u64::MAX).email_of(new).id_of(new).key_of(new).build()
}

/// The same change, with the conditions and effects that are kept.
fn only(
    change: &AccountChange,
    keeps_condition: impl Fn(&Condition) -> bool,
    keeps_effect: impl Fn(&Effect) -> bool,
) -> AccountChange {
    let only = AccountChange::new(change.account().clone());
    let conditions = change.conditions().iter().filter(|it| keeps_condition(it)).cloned();
    let only = conditions.fold(only, AccountChange::provided);
    change.effects().iter().filter(|it| keeps_effect(it)).cloned().fold(only, AccountChange::with)
}

/// The same change, which adds a key where it was to rotate one.
fn keeping_the_old_key(change: &AccountChange) -> AccountChange {
    let same = only(change, |_| true, |_| false);
    same.with_all(change.effects().iter().cloned().map(|effect| match effect {
        Effect::RotateApiKey { new, .. } => Effect::AddApiKey(new),
        other => other,
    }))
}

/// Sets another time of the proof, as if there had been none.
async fn forget_the_proof(flawed: &Flawed, change: &AccountChange) -> Result<(), StoreError> {
    let Some(record) = flawed.store.find_account(FindBy::Id(change.account())).await? else {
        return Ok(());
    };
    let accounts = flawed.store.accounts();
    let Some(new) = accounts.iter().find(|new| new.id() == change.account()) else { return Ok(()) };
    if record.email_verified_at.is_some() && change.effects().len() == 1 {
        flawed.store.delete(new.email().key().as_str());
        flawed.store.create(Sample::new(1).build()).await?;
    }
    Ok(())
}

#[async_trait]
impl AccountStore for Flawed {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        self.store.is_email_taken(key).await
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        if new.ticket().is_some() {
            return self.create_with_ticket(new).await;
        }
        self.create_flawed(new).await
    }
}

#[async_trait]
impl LifecycleStore for Flawed {
    async fn find_key_owner(&self, digest: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError> {
        if let Some((_, owner)) = self.gone.lock().unwrap().iter().find(|(key, _)| key == digest) {
            return Ok(Some(owner.clone()));
        }
        let active = |id| KeyOwner::new(id, AccountState::Active, None);
        let mut owner = self.store.find_key_owner(digest).await?;
        if self.flaw == Flaw::FindsAnyKey && owner.is_none() {
            let accounts = self.store.accounts();
            owner = accounts.first().map(|account| active(account.id().clone()));
        }
        Ok(owner.map(|owner| match self.flaw {
            Flaw::ForgetsTheExpiry => active(owner.account_id),
            _ => owner,
        }))
    }

    async fn find_account(&self, by: FindBy<'_>) -> Result<Option<StoredAccount>, StoreError> {
        let found = self.store.find_account(by).await?;
        let revoked = match by {
            FindBy::ApiKey(digest) => {
                let past = self.past.lock().unwrap();
                let revoked = past.revoked.iter().find(|(revoked, _)| revoked == digest);
                revoked.map(|(_, account)| account.clone())
            }
            _ => None,
        };
        Ok(match (self.flaw, by, found) {
            (Flaw::BringsTokensBack, FindBy::Id(_), Some(mut found))
            | (Flaw::ForgetsTheGeneration, FindBy::ApiKey(_), Some(mut found)) => {
                found.token_generation = 0;
                Some(found)
            }
            (Flaw::FindsAnybody, FindBy::Email(_), _) => {
                self.store.accounts().into_iter().next().map(|new| new.record())
            }
            (Flaw::FindsRevokedKeys, FindBy::ApiKey(_), None) => revoked,
            (Flaw::HidesExpiredKeys, FindBy::ApiKey(_), Some(found))
                if found.found_by.as_ref().is_some_and(|key| key.expires_at.is_some()) =>
            {
                None
            }
            (Flaw::FindsByKeyWithoutState, FindBy::ApiKey(_), Some(mut found)) => {
                found.state = AccountState::Active;
                Some(found)
            }
            (_, _, found) => found,
        })
    }

    async fn find_login(&self, by: FindBy<'_>) -> Result<Option<StoredLogin>, StoreError> {
        let found = self.store.find_login(by).await?;
        let FindBy::Email(key) = by else { return Ok(found) };
        let mut past = self.past.lock().unwrap();
        let deleted = past.deleted.iter().find(|(deleted, _)| deleted == key);
        let deleted = deleted.map(|(_, signup)| signup.clone());
        let is_copied = past.copied.contains(key);
        if found.is_some() {
            past.copied.push(key.clone());
        }
        let is_unfinished = past.unfinished.contains(key);
        Ok(match (self.flaw, found) {
            (Flaw::RemembersTheDeleted, None) => deleted,
            (Flaw::LooksAtAReplica, _) if !is_copied => None,
            (flaw, Some(mut found)) => {
                let is_forgotten = flaw == Flaw::ForgetsTheReceipt || is_unfinished;
                found.receipt = found.receipt.filter(|_| !is_forgotten);
                match flaw {
                    Flaw::KeepsReceiptsAsText => found.receipt = found.receipt.map(as_text),
                    Flaw::LogsInWithoutGeneration => found.account.token_generation = 0,
                    Flaw::LogsInWithoutState => found.account.state = AccountState::Active,
                    _ => {}
                }
                Some(found)
            }
            (_, found) => found,
        })
    }

    async fn list_accounts(&self, filter: &AccountFilter) -> Result<AccountPage, StoreError> {
        let mut page = self.store.list_accounts(filter).await?;
        match self.flaw {
            Flaw::ListsTheLastOneAgain if page.accounts.len() > 1 => page.accounts.rotate_left(1),
            Flaw::ForgetsTheNextPage => page.next = None,
            Flaw::ListsAnyState => {
                let all = AccountFilter::new(filter.limit);
                return self.store.list_accounts(&all).await;
            }
            _ => {}
        }
        Ok(page)
    }

    async fn list_api_keys(&self, query: KeyQuery<'_>) -> Result<Vec<StoredApiKey>, StoreError> {
        let account = query.account();
        let tagged = query.tags().and_then(|tags| tags.iter().find_map(|tag| self.find_tag(tag)));
        let mut keys = match (self.flaw, &tagged, query.tags()) {
            (Flaw::FindsTagsOfAnybody, Some(tagged), Some(tags)) => {
                let anybody = KeyQuery::of(tagged.account_id()).with_tags(tags);
                self.store.list_api_keys(anybody).await?
            }
            (Flaw::ListsExpiredKeys, _, None) => {
                let all = self.store.list_api_keys(KeyQuery::of(account)).await?;
                let limit = query.max_rows().map_or(usize::MAX, |limit| limit as usize);
                all.into_iter().take(limit).collect()
            }
            (Flaw::ListsTooManyKeys, _, None) => {
                let all = self.store.list_api_keys(KeyQuery::of(account)).await?;
                all.into_iter().filter(|key| query.admits(key)).collect()
            }
            _ => self.store.list_api_keys(query).await?,
        };
        match self.flaw {
            Flaw::ListsTheNewestFirst => keys.reverse(),
            Flaw::ForgetsTheName => keys.iter_mut().for_each(|key| key.info.name = None),
            _ => {}
        }
        Ok(keys)
    }

    async fn is_ticket_used(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        Ok(self.has(hash))
    }

    async fn change(&self, change: AccountChange) -> Result<ChangeOutcome, StoreError> {
        let is_alone = change.conditions().is_empty();
        let applied = match (change.effects(), is_alone) {
            ([Effect::AddApiKey(new)], true) => self.add_flawed((**new).clone()).await,
            ([Effect::RotateApiKey { old, until, new }], true) => {
                self.rotate_flawed(old, *until, (**new).clone()).await
            }
            ([Effect::RevokeApiKey(key)], true) => self.revoke_flawed(change.account(), key).await,
            _ => return self.change_flawed(change).await,
        };
        Ok(if applied? { ChangeOutcome::Changed } else { ChangeOutcome::NotApplicable })
    }

    async fn purge(
        &self,
        expired: Expired,
        until: Timestamp,
        limit: u32,
    ) -> Result<Purged, StoreError> {
        match (self.flaw, expired) {
            (_, Expired::Tickets) => {
                let purges_all = self.flaw == Flaw::PurgesAllTickets;
                let (mut tickets, mut left) = (self.tickets.lock().unwrap(), limit);
                tickets.retain(|(_, ticket)| {
                    let goes = purges_all || (ticket.expires_at() <= until && left > 0);
                    left = left.saturating_sub(u32::from(goes));
                    !goes
                });
                Ok(Purged::new(u64::from(limit - left), limit))
            }
            (Flaw::PurgesNothing, _) => Ok(Purged::default()),
            (Flaw::PurgesTooMany, _) => self.store.purge(expired, until, u32::MAX).await,
            _ => self.store.purge(expired, until, limit).await,
        }
    }
}

impl Flawed {
    async fn change_flawed(&self, change: AccountChange) -> Result<ChangeOutcome, StoreError> {
        let all = |_: &Condition| true;
        let every = |_: &Effect| true;
        let change = match self.flaw {
            Flaw::IgnoresTheEmail => only(&change, |it| !matches!(it, Condition::Email(_)), every),
            Flaw::IgnoresTheGeneration => {
                only(&change, |it| !matches!(it, Condition::Generation(_)), every)
            }
            Flaw::IgnoresTheProof => {
                only(&change, |it| !matches!(it, Condition::Unverified), every)
            }
            Flaw::IgnoresTheDate => {
                only(&change, |it| !matches!(it, Condition::DeletionDue(_)), every)
            }
            Flaw::IgnoresTheNonce => {
                only(&change, |it| !matches!(it, Condition::TicketNonce(_)), every)
            }
            Flaw::KeepsTheNonce => {
                only(&change, all, |it| !matches!(it, Effect::SetTicketNonce(_)))
            }
            Flaw::IgnoresThePassword | Flaw::RenewsWhateverIsThere => {
                only(&change, |it| !matches!(it, Condition::Password(_)), every)
            }
            Flaw::IgnoresTheState => only(&change, |it| !matches!(it, Condition::State(_)), every),
            Flaw::KeepsThePlan => only(&change, all, |it| !matches!(it, Effect::SetPlan(_))),
            Flaw::KeepsTheEmail => only(&change, all, |it| !matches!(it, Effect::SetEmail(..))),
            Flaw::KeepsTheState => only(&change, all, |it| !matches!(it, Effect::SetState(..))),
            Flaw::ErasesNothing => only(&change, all, |it| !matches!(it, Effect::Erase(_))),
            Flaw::ChangesThoughTheEmailIsTaken => {
                let outcome = self.store.change(change.clone()).await?;
                if outcome != ChangeOutcome::EmailTaken {
                    return Ok(outcome);
                }
                let rest = only(&change, all, |it| !matches!(it, Effect::SetEmail(..)));
                self.store.change(rest).await?;
                return Ok(outcome);
            }
            Flaw::KeepsThePassword => {
                only(&change, all, |it| !matches!(it, Effect::SetPassword(_)))
            }
            Flaw::KeepsTheName => only(&change, all, |it| !matches!(it, Effect::SetName(_))),
            Flaw::KeepsTheTokens => only(&change, all, |it| !matches!(it, Effect::RevokeTokens)),
            Flaw::KeepsTheKeys => only(&change, all, |it| !matches!(it, Effect::ReplaceApiKeys(_))),
            Flaw::AddsNoKey => only(&change, all, |it| !matches!(it, Effect::AddApiKey(_))),
            Flaw::RevokesNoKey => only(&change, all, |it| !matches!(it, Effect::RevokeApiKey(_))),
            Flaw::KeepsTheOldKey => keeping_the_old_key(&change),
            Flaw::KeepsTheData => only(&change, all, |it| !matches!(it, Effect::ScrubEvents)),
            Flaw::ForgetsNotices => only(&change, all, |it| !matches!(it, Effect::AddNotice(_))),
            Flaw::AddsNoticesOfTheRefused => {
                let kept = |it: &Effect| matches!(it, Effect::AddNotice(_));
                self.store.change(only(&change, |_| false, kept)).await?;
                only(&change, all, |it| !kept(it))
            }
            Flaw::ProvesAnew => {
                forget_the_proof(self, &change).await?;
                change
            }
            Flaw::ChangesNothingForNothing if change.effects().is_empty() => {
                return Ok(ChangeOutcome::NotApplicable);
            }
            Flaw::ChangesInTwoSteps | Flaw::ChangesThoughTheKeyIsTaken => {
                let keys = |it: &Effect| matches!(it, Effect::ReplaceApiKeys(_));
                let rest = only(&change, all, |it| !keys(it));
                let outcome = self.store.change(rest).await?;
                if outcome != ChangeOutcome::Changed {
                    return Ok(outcome);
                }
                tokio::task::yield_now().await;
                only(&change, |_| false, keys)
            }
            Flaw::TellsTwice | Flaw::TellsLater => {
                let told = |it: &Effect| matches!(it, Effect::Emit(_));
                let rest = only(&change, all, |it| !told(it) || self.flaw == Flaw::TellsTwice);
                let outcome = self.store.change(rest).await?;
                if outcome != ChangeOutcome::Changed {
                    return Ok(outcome);
                }
                tokio::task::yield_now().await;
                only(&change, |_| false, told)
            }
            Flaw::LooksBeforeItChanges => {
                let dry = only(&change, all, |_| false);
                if self.store.change(dry).await? != ChangeOutcome::Changed {
                    return Ok(ChangeOutcome::NotApplicable);
                }
                tokio::task::yield_now().await;
                only(&change, |_| false, every)
            }
            _ => change,
        };
        self.store.change(change).await
    }
}

#[async_trait]
impl EventStore for Flawed {
    async fn list_events(
        &self,
        query: EventQuery<'_>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let query = match (self.flaw, query) {
            (Flaw::ListsEventsFromTheFirst, EventQuery::OfAccount { account, .. }) => {
                EventQuery::OfAccount { account, after: 0 }
            }
            (Flaw::ListsDeadLettersFromTheFirst, EventQuery::GivenUp { .. }) => {
                EventQuery::GivenUp { after: None }
            }
            (_, query) => query,
        };
        let mut events = self.store.list_events(query, limit).await?;
        match (self.flaw, query) {
            (Flaw::ListsTheNewestEventFirst, EventQuery::OfAccount { .. }) => events.reverse(),
            (Flaw::ForgetsTheEventsOfTheDeleted, EventQuery::OfAccount { .. }) => {
                let accounts = self.store.accounts();
                events.retain(|row| accounts.iter().any(|new| new.id() == row.event.account_id()));
            }
            (Flaw::ForgetsTheSkipped, EventQuery::GivenUp { .. }) => {
                events.retain(|dead| dead.state == DeliveryState::Stopped);
            }
            _ => {}
        }
        Ok(events)
    }

    async fn due_partitions(&self, now: Timestamp) -> Result<Vec<EventLease>, StoreError> {
        self.store.due_partitions(now).await
    }

    async fn lease_partition(
        &self,
        last: EventLease,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<EventLease>, StoreError> {
        let now = if self.flaw == Flaw::TakesLeasesEarly { Timestamp::MAX } else { now };
        let leased = self.store.lease_partition(last, now, until).await?;
        Ok(match self.flaw {
            Flaw::LeasesTwice => Some(EventLease { fence: last.fence + 1, ..last }),
            _ => leased,
        })
    }

    async fn due_events(
        &self,
        partition: u8,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let now = if self.flaw == Flaw::DeliversTooEarly { Timestamp::MAX } else { now };
        let mut due = self.store.due_events(partition, now, limit).await?;
        let is_crowded = self.store.event_backlog(1_000).await?.waiting > 100;
        if self.flaw == Flaw::HidesEventsBehindACrowd && is_crowded {
            due.clear();
        }
        if self.flaw == Flaw::DeliversTheLastFirst {
            due.reverse();
        }
        Ok(due)
    }

    async fn settle_events(
        &self,
        lease: EventLease,
        until: Timestamp,
        mut settled: Vec<DeliveryOutcome>,
    ) -> Result<bool, StoreError> {
        for ended in &mut settled {
            match (self.flaw, ended.state) {
                (Flaw::CountsNoAttempts, _) => ended.attempts = 0,
                (Flaw::StopsNobody, DeliveryState::Stopped) => ended.state = DeliveryState::Skipped,
                _ => {}
            }
        }
        match self.flaw {
            Flaw::SettlesWithoutALease => {
                let last = self.store.due_partitions(Timestamp::MAX).await?;
                let last = last.into_iter().find(|it| it.partition == lease.partition);
                self.store.settle_events(last.unwrap_or(lease), until, settled).await
            }
            Flaw::SettlesOneByOne => {
                let mut holds = self.store.settle_events(lease, until, Vec::new()).await?;
                for ended in settled {
                    tokio::task::yield_now().await;
                    holds = self.store.settle_events(lease, until, vec![ended]).await?;
                }
                Ok(holds)
            }
            _ => self.store.settle_events(lease, until, settled).await,
        }
    }

    async fn event_backlog(&self, limit: u32) -> Result<EventBacklog, StoreError> {
        let limit = if self.flaw == Flaw::CountsPastTheLimit { 1_000 } else { limit };
        let backlog = self.store.event_backlog(limit).await?;
        Ok(match self.flaw {
            Flaw::CountsTheStoppedTwice => {
                let waiting = backlog.waiting + backlog.stopped;
                EventBacklog::new(waiting, backlog.oldest, backlog.stopped)
            }
            _ => backlog,
        })
    }

    async fn settle_dead_letter(
        &self,
        account: &AccountId,
        number: i64,
        due_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let settled = self.store.settle_dead_letter(account, number, due_at).await?;
        Ok(settled || self.flaw == Flaw::SkipsAnyEvent)
    }

    async fn purge_events(
        &self,
        which: OldEvents,
        until: Timestamp,
        limit: u32,
    ) -> Result<Purged, StoreError> {
        let (which, until) = match (self.flaw, which) {
            (Flaw::PurgesNoEvents, OldEvents::All) => return Ok(Purged::default()),
            (Flaw::PurgesAllEvents, OldEvents::All) => (which, Timestamp::MAX),
            (Flaw::PurgesWhatIsWaiting, OldEvents::Delivered) => (OldEvents::All, until),
            _ => (which, until),
        };
        self.store.purge_events(which, until, limit).await
    }

    async fn due_notices(&self, now: Timestamp, limit: u32) -> Result<Vec<Notice>, StoreError> {
        let now = if self.flaw == Flaw::SendsNoticesTooEarly { Timestamp::MAX } else { now };
        self.store.due_notices(now, limit).await
    }

    async fn settle_notice(
        &self,
        notice: &Notice,
        next: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        match self.flaw {
            Flaw::SettlesAnyNotice => {
                let all = self.store.due_notices(Timestamp::MAX, 1000).await?;
                let kept = all.into_iter().find(|kept| kept.id == notice.id);
                self.store.settle_notice(&kept.unwrap_or_else(|| notice.clone()), next).await
            }
            _ => self.store.settle_notice(notice, next).await,
        }
    }
}

#[async_trait]
impl Harness for Flawed {
    type Store = Self;

    fn under_test(&self) -> &Self {
        self
    }

    async fn account_rows(&self) -> Vec<AccountRow> {
        self.store.account_rows().await
    }

    async fn api_key_rows(&self) -> Vec<ApiKeyRow> {
        self.store.api_key_rows().await
    }

    async fn delete_account(&self, id: &AccountId) {
        if self.flaw == Flaw::KeepsKeysOfTheDeleted {
            let keys = self.store.api_keys();
            assert!(!keys.is_empty());
            for key in keys {
                let owner = KeyOwner::new(key.account_id().clone(), AccountState::Active, None);
                self.gone.lock().unwrap().push((*key.digest(), owner));
            }
        }
        self.remember_signup(id);
        self.forget_tickets(id);
        self.store.delete_account(id).await;
    }
}
