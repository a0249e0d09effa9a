//! For each promise of `CredentialStore` a store that breaks it, which the suite has
//! to catch.
//!
//! The same store has the flaws of a `ReplayStore`, a `VerificationStore` and a
//! `LifecycleStore`, whose tests are in `replay.rs`, `verification.rs` and `lifecycle.rs`.

use super::flawed_replays::Past;
use super::flawed_verification::Tickets;
use async_trait::async_trait;
use signup::account::AccountId;
use signup::api_key::{ApiKeyDigest, ApiKeyId};
use signup::clock::Timestamp;
use signup::fields::EmailKey;
use signup::hash::PasswordHash;
use signup::store::conformance::{self, Credentialed, Inspect as _};
use signup::store::{
    AccountRecord, AccountStore, ApiKeyInfo, CreateOutcome, CredentialStore, KeyOwner, MemoryStore,
    NewAccount, NewApiKey, StoreError, StoredPassword,
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
    ForgetsTheSkipped,
    SkipsAnyEvent,
    PurgesWhatIsWaiting,
}

/// A store in memory with a flaw in it.
pub struct Flawed {
    pub flaw: Flaw,
    pub store: MemoryStore,
    gone: std::sync::Mutex<Vec<(ApiKeyDigest, KeyOwner)>>,
    pub past: std::sync::Mutex<Past>,
    pub tickets: std::sync::Mutex<Tickets>,
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
impl CredentialStore for Flawed {
    async fn find_api_key(&self, digest: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError> {
        if let Some((_, owner)) = self.gone.lock().unwrap().iter().find(|(key, _)| key == digest) {
            return Ok(Some(owner.clone()));
        }
        let mut owner = self.store.find_api_key(digest).await?;
        if self.flaw == Flaw::FindsAnyKey && owner.is_none() {
            let accounts = self.store.accounts();
            owner = accounts.first().map(|account| KeyOwner::new(account.id().clone(), None));
        }
        Ok(owner.map(|owner| match self.flaw {
            Flaw::ForgetsTheExpiry => KeyOwner::new(owner.account_id, None),
            _ => owner,
        }))
    }

    async fn add_api_key(&self, new: NewApiKey) -> Result<bool, StoreError> {
        self.add_flawed(new).await
    }

    async fn list_api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyInfo>, StoreError> {
        let mut keys = self.store.list_api_keys(account).await?;
        if self.flaw == Flaw::ListsTheNewestFirst {
            keys.reverse();
        }
        Ok(keys)
    }

    async fn rotate_api_key(
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
                    self.gone.lock().unwrap().push((digest, KeyOwner::new(account, None)));
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

    async fn revoke_api_key(
        &self,
        account: &AccountId,
        key: &ApiKeyId,
    ) -> Result<bool, StoreError> {
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

    async fn purge_api_keys(&self, expired_at: Timestamp) -> Result<(), StoreError> {
        match self.flaw {
            Flaw::PurgesNothing => Ok(()),
            _ => self.store.purge_api_keys(expired_at).await,
        }
    }

    async fn find_password(&self, key: &EmailKey) -> Result<Option<StoredPassword>, StoreError> {
        self.store.find_password(key).await
    }

    async fn renew_password_hash(
        &self,
        account: &AccountId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<bool, StoreError> {
        let accounts = self.store.accounts();
        let current = accounts.iter().find(|known| known.id() == account);
        let old = match (self.flaw, current) {
            (Flaw::RenewsWhateverIsThere, Some(current)) => current.password_hash(),
            _ => old,
        };
        self.store.renew_password_hash(account, old, new).await
    }

    async fn find_account(&self, id: &AccountId) -> Result<Option<AccountRecord>, StoreError> {
        let found = self.store.find_account(id).await?;
        Ok(found.map(|found| match self.flaw {
            Flaw::BringsTokensBack => AccountRecord::new(found.account, found.created_at, 0),
            _ => found,
        }))
    }

    async fn revoke_tokens(&self, account: &AccountId) -> Result<bool, StoreError> {
        self.store.revoke_tokens(account).await
    }
}

#[async_trait]
impl conformance::Inspect for Flawed {
    fn accounts(&self) -> &dyn AccountStore {
        self
    }

    async fn stored_accounts(&self) -> Vec<conformance::StoredAccount> {
        self.store.stored_accounts().await
    }

    async fn stored_keys(&self) -> Vec<conformance::StoredKey> {
        self.store.stored_keys().await
    }
}

#[async_trait]
impl Credentialed for Flawed {
    fn credentials(&self) -> &dyn CredentialStore {
        self
    }

    async fn delete_account(&self, id: &AccountId) {
        if self.flaw == Flaw::KeepsKeysOfTheDeleted {
            let keys = self.store.stored_keys().await.len();
            assert!(keys > 0);
            for key in self.store.api_keys() {
                let owner = KeyOwner::new(key.account_id().clone(), None);
                self.gone.lock().unwrap().push((*key.digest(), owner));
            }
        }
        self.remember_signup(id);
        self.forget_tickets(id);
        self.store.delete_account(id).await;
    }
}

/// Returns the promises that a store with this flaw breaks.
async fn caught(flaw: Flaw) -> Vec<&'static str> {
    let promises = super::promises!(
        flaw,
        keys_are_found_by_their_digest,
        added_keys_are_listed,
        a_revoked_key_is_gone,
        a_rotated_key_expires,
        one_revokes,
        a_dropped_rotation_is_whole,
        a_password_is_found_and_renewed,
        an_account_is_found_and_its_tokens_are_revoked,
        expired_keys_are_purged,
        nothing_of_a_deleted_account_is_found,
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
        (Flaw::FindsAnyKey, "keys_are_found_by_their_digest"),
        (Flaw::ForgetsTheExpiry, "added_keys_are_listed"),
        (Flaw::ListsTheNewestFirst, "added_keys_are_listed"),
        (Flaw::RevokesForAnybody, "a_revoked_key_is_gone"),
        (Flaw::RevokesTwice, "one_revokes"),
        (Flaw::RotatesWithoutExpiry, "a_rotated_key_expires"),
        (Flaw::RotatesForAnybody, "a_rotated_key_expires"),
        (Flaw::RotatesInTwoSteps, "a_dropped_rotation_is_whole"),
        (Flaw::RenewsWhateverIsThere, "a_password_is_found_and_renewed"),
        (Flaw::BringsTokensBack, "an_account_is_found_and_its_tokens_are_revoked"),
        (Flaw::PurgesNothing, "expired_keys_are_purged"),
        (Flaw::KeepsKeysOfTheDeleted, "nothing_of_a_deleted_account_is_found"),
    ] {
        let caught = caught(flaw).await;
        assert!(caught.contains(&promise), "{flaw:?} was caught by {caught:?}");
    }
}
