//! For each promise of `ReplayStore` a store that breaks it, which the suite has to catch.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use signup::account::AccountId;
use signup::api_key::{ApiKeyDigest, ApiKeyId};
use signup::fields::EmailKey;
use signup::idempotency::Receipt;
use signup::store::conformance::{self, Replayable, Sample};
use signup::store::{
    AccountRecord, AccountStore as _, CreateOutcome, CredentialStore as _, NewAccount, NewApiKey,
    ReplayStore, RetriedAccount, RetriedApiKey, StoreError, StoredSignup,
};

use super::flawed_credentials::{Flaw, Flawed};

/// The rows that a store should no longer find, or not find yet.
#[derive(Default)]
pub struct Past {
    revoked: Vec<(ApiKeyDigest, RetriedAccount)>,
    deleted: Vec<(EmailKey, StoredSignup)>,
    /// The accounts that a replica has.
    copied: Vec<EmailKey>,
    /// The accounts whose receipt is not stored yet.
    unfinished: Vec<EmailKey>,
}

impl Flawed {
    pub async fn create_flawed(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
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

    pub async fn add_flawed(&self, new: NewApiKey) -> Result<bool, StoreError> {
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
    pub fn spare(&self, of: &NewApiKey) -> NewApiKey {
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
    pub fn remember(&self, key: &ApiKeyId) {
        let keys = self.store.api_keys();
        let key = keys.iter().find(|known| known.digest().key_id() == *key);
        let accounts = self.store.accounts();
        let owner = |key: &NewApiKey| accounts.iter().find(|owner| owner.id() == key.account_id());
        if let Some((key, owner)) = key.and_then(|key| Some((key, owner(key)?))) {
            let account = RetriedAccount::new(owner.record(), None);
            self.past.lock().unwrap().revoked.push((*key.digest(), account));
        }
    }

    /// Notes down an account that is about to be deleted.
    pub fn remember_signup(&self, id: &AccountId) {
        if let Some(account) = self.store.accounts().iter().find(|account| account.id() == id) {
            let (receipt, hash) = (account.receipt().copied(), account.password_hash().clone());
            let signup = StoredSignup::new(receipt, account.created_at(), hash);
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

#[async_trait]
impl ReplayStore for Flawed {
    async fn find_signup(&self, key: &EmailKey) -> Result<Option<StoredSignup>, StoreError> {
        let found = self.store.find_signup(key).await?;
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
                if flaw == Flaw::KeepsReceiptsAsText {
                    found.receipt = found.receipt.map(as_text);
                }
                Some(found)
            }
            (_, found) => found,
        })
    }

    async fn find_account_of_key(
        &self,
        digest: &ApiKeyDigest,
    ) -> Result<Option<RetriedAccount>, StoreError> {
        let found = self.store.find_account_of_key(digest).await?;
        let past = self.past.lock().unwrap();
        let revoked = past.revoked.iter().find(|(revoked, _)| revoked == digest);
        let revoked = revoked.map(|(_, account)| account.clone());
        Ok(match (self.flaw, found) {
            (Flaw::FindsRevokedKeys, None) => revoked,
            (Flaw::HidesExpiredKeys, Some(found)) if found.key_expires_at.is_some() => None,
            (Flaw::ForgetsTheGeneration, Some(found)) => {
                let AccountRecord { account, created_at, .. } = found.record;
                let record = AccountRecord::new(account, created_at, 0);
                Some(RetriedAccount::new(record, found.key_expires_at))
            }
            (_, found) => found,
        })
    }

    async fn find_retried_key(
        &self,
        account: &AccountId,
        tag: &[u8; 32],
    ) -> Result<Option<RetriedApiKey>, StoreError> {
        let anybody = self.find_tag(tag).map(|key| key.account_id().clone());
        let account = match (self.flaw, &anybody) {
            (Flaw::FindsTagsOfAnybody, Some(anybody)) => anybody,
            _ => account,
        };
        self.store.find_retried_key(account, tag).await
    }
}

impl Replayable for Flawed {
    fn replays(&self) -> &dyn ReplayStore {
        self
    }
}

/// Returns the promises that a store with this flaw breaks.
async fn caught(flaw: Flaw) -> Vec<&'static str> {
    let promises = super::promises!(
        flaw,
        a_signup_keeps_its_receipt,
        an_account_is_found_by_its_keys,
        a_key_is_found_by_its_tag,
        a_taken_tag_changes_nothing,
        one_tag_adds_one_key,
        a_dropped_signup_has_its_receipt,
        the_row_of_another_is_not_its_own,
        no_retry_finds_a_deleted_account,
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
        (Flaw::ForgetsTheReceipt, "a_signup_keeps_its_receipt"),
        (Flaw::KeepsReceiptsAsText, "a_signup_keeps_its_receipt"),
        (Flaw::LooksAtAReplica, "a_signup_keeps_its_receipt"),
        (Flaw::FindsRevokedKeys, "an_account_is_found_by_its_keys"),
        (Flaw::HidesExpiredKeys, "an_account_is_found_by_its_keys"),
        (Flaw::ForgetsTheGeneration, "an_account_is_found_by_its_keys"),
        (Flaw::FindsTagsOfAnybody, "a_key_is_found_by_its_tag"),
        (Flaw::HasOneTagForAll, "a_key_is_found_by_its_tag"),
        (Flaw::IssuesATagTwice, "a_taken_tag_changes_nothing"),
        (Flaw::EndsTheOldKeyAllTheSame, "a_taken_tag_changes_nothing"),
        (Flaw::LooksForTheTagFirst, "one_tag_adds_one_key"),
        (Flaw::StoresTheReceiptLater, "a_dropped_signup_has_its_receipt"),
        (Flaw::TakesTheRowOfAnother, "the_row_of_another_is_not_its_own"),
        (Flaw::RemembersTheDeleted, "no_retry_finds_a_deleted_account"),
    ] {
        let caught = caught(flaw).await;
        assert!(caught.contains(&promise), "{flaw:?} was caught by {caught:?}");
    }
}
