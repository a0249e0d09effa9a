//! The SQL of the store, with the names chosen by the host.

use std::sync::Arc;

use crate::account::AccountId;
use crate::api_key::{ApiKeyDigest, ApiKeyId};
use crate::clock::Timestamp;
use crate::fields::EmailKey;
use crate::hash::PasswordHash;
use crate::store::{NewAccount, NewApiKey};

use crate::store::dialect::fill::fill;
use crate::store::dialect::inserts::{Inserts, receipt};
use crate::store::dialect::names::Names;
use crate::store::dialect::spelling::Spelling;
use crate::store::dialect::statement::Statement;

use super::event_queries::EventQueries;
use super::statement::Kind;

/// The types of the columns of an account.
pub(in crate::store) const ACCOUNT: &[Kind] = {
    let (all, _) = ACCOUNT_AND_EXPIRY.split_at(12);
    all
};

const ACCOUNT_AND_EXPIRY: &[Kind] = &[
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Integer,
    Kind::Integer,
    Kind::Integer,
    Kind::Text,
    Kind::Integer,
    Kind::Integer,
    Kind::Bytes,
    Kind::Integer,
];

/// A query and the types of its columns.
#[derive(Clone)]
pub(in crate::store) struct Find {
    pub(in crate::store) statement: Statement,
    pub(in crate::store) columns: &'static [Kind],
}

/// All statements. A change affects a row if it finds what to change.
#[doc(hidden)]
#[derive(Debug)]
pub struct Queries {
    pub(in crate::store) inserts: Inserts,
    email_taken: Arc<str>,
    account_exists: Arc<str>,
    signup_exists: Arc<str>,
    find_signup: Arc<str>,
    find_account_of_key: Arc<str>,
    find_retried_key: Arc<str>,
    is_ticket_used: Arc<str>,
    purge_tickets: Arc<str>,
    pub(super) events: EventQueries,
    find_api_key: Arc<str>,
    add_api_key: Arc<str>,
    list_api_keys: Arc<str>,
    expire_key: Arc<str>,
    revoke_api_key: Arc<str>,
    purge_api_keys: Arc<str>,
    find_password: Arc<str>,
    renew_password_hash: Arc<str>,
    find_account: Arc<str>,
    find_account_by_email: Arc<str>,
    revoke_tokens: Arc<str>,
    revoke_api_keys: Arc<str>,
}

impl Queries {
    pub(in crate::store) fn new(names: &Names, spelling: Spelling) -> Self {
        let sql = |template: &str| Arc::from(fill(template, names, spelling));
        Self {
            inserts: Inserts::new(names, spelling),
            email_taken: sql("SELECT 1 FROM {accounts} WHERE @email_key = {1}"),
            account_exists: sql("SELECT 1 FROM {accounts} WHERE @id = {1}"),
            signup_exists: sql("SELECT 1 FROM {accounts}
                 WHERE @id = {1} AND @replay_nonce = {2}"),
            // The account of a key is joined because a database without enforced foreign keys
            // may have keys without an account.
            find_signup: sql(
                "SELECT coalesce(a.@password_hash, ''), a.@pepper_version, {a.created_at},
                     a.@replay_nonce, a.@replay_version, a.@replay_tag
                 FROM {accounts} a WHERE a.@email_key = {1}",
            ),
            find_account_of_key: sql("SELECT {account}, k.expires_at
                 FROM {api_keys} k JOIN {accounts} a ON a.@id = k.account_id
                 WHERE k.digest = {1}"),
            find_retried_key: sql("SELECT k.digest, k.prefix, k.last_four, k.created_at,
                     k.expires_at, k.replay_nonce, k.replay_version, k.replay_tag
                 FROM {api_keys} k JOIN {accounts} a ON a.@id = k.account_id
                 WHERE k.account_id = {1} AND k.replay_tag = {2}"),
            is_ticket_used: sql("SELECT 1 FROM {used_tickets} WHERE hash = {1}"),
            purge_tickets: sql("DELETE FROM {used_tickets} WHERE expires_at <= {1}"),
            events: EventQueries::new(sql),
            find_api_key: sql("SELECT k.account_id, k.expires_at, {a.email_verified_at}, a.@state
                 FROM {api_keys} k JOIN {accounts} a ON a.@id = k.account_id WHERE k.digest = {1}"),
            add_api_key: sql("INSERT INTO {api_keys}
                     (digest, account_id, prefix, last_four, created_at, expires_at,
                      replay_nonce, replay_version, replay_tag)
                 SELECT {1}, a.@id, {3}, {4}, {5}, {6}, {7}, {8}, {9}
                 FROM {accounts} a WHERE a.@id = {2} AND a.@state <> 'erased'"),
            list_api_keys: sql("SELECT k.digest, k.prefix, k.last_four, k.created_at, k.expires_at
                 FROM {api_keys} k JOIN {accounts} a ON a.@id = k.account_id
                 WHERE k.account_id = {1} ORDER BY k.created_at, k.digest"),
            expire_key: sql("UPDATE {api_keys}
                 SET expires_at = {least}(coalesce(expires_at, {3}), {3})
                 WHERE account_id = {1} AND substr(digest, 1, 10) = {2}
                   AND (expires_at IS NULL OR expires_at > {4})"),
            revoke_api_key: sql("DELETE FROM {api_keys}
                 WHERE account_id = {1} AND substr(digest, 1, 10) = {2}"),
            purge_api_keys: sql("DELETE FROM {api_keys} WHERE expires_at <= {1}"),
            find_password: sql("SELECT @id, coalesce(@password_hash, ''), @pepper_version, @state,
                     @token_generation
                 FROM {accounts} WHERE @email_key = {1}"),
            renew_password_hash: sql("UPDATE {accounts}
                 SET @password_hash = {3}, @pepper_version = {4}
                 WHERE @id = {1} AND @password_hash = {2}"),
            find_account: sql("SELECT {account} FROM {accounts} a WHERE a.@id = {1}"),
            find_account_by_email: sql(
                "SELECT {account} FROM {accounts} a WHERE a.@email_key = {1}",
            ),
            revoke_api_keys: sql("DELETE FROM {api_keys} WHERE account_id = {1}"),
            revoke_tokens: sql("UPDATE {accounts}
                 SET @token_generation = @token_generation + 1 WHERE @id = {1}"),
        }
    }

    pub(in crate::store) fn email_taken(&self, key: &EmailKey) -> Find {
        let statement = Statement::new(&self.email_taken, [key.as_str().into()]);
        Find { statement, columns: &[] }
    }

    /// Finds the row of this sign-up after a lost commit: by its nonce, if it has one,
    /// because an account id may be derived.
    pub(in crate::store) fn is_stored(&self, new: &NewAccount) -> Find {
        let id = new.id().as_str().into();
        let statement = match new.receipt() {
            None => Statement::new(&self.account_exists, [id]),
            Some(receipt) => {
                Statement::new(&self.signup_exists, [id, receipt.nonce().as_slice().into()])
            }
        };
        Find { statement, columns: &[] }
    }

    pub(in crate::store) fn is_ticket_used(&self, hash: &[u8; 32]) -> Find {
        let statement = Statement::new(&self.is_ticket_used, [hash.as_slice().into()]);
        Find { statement, columns: &[] }
    }

    pub(in crate::store) fn purge_tickets(&self, expired_at: Timestamp) -> Statement {
        Statement::new(&self.purge_tickets, [expired_at.as_millis().into()])
    }

    pub(in crate::store) fn find_api_key(&self, digest: &ApiKeyDigest) -> Find {
        const COLUMNS: &[Kind] = &[Kind::Text, Kind::Integer, Kind::Integer, Kind::Text];
        let values = [digest.as_bytes().as_slice().into()];
        let statement = Statement::new(&self.find_api_key, values);
        Find { statement, columns: COLUMNS }
    }

    /// Inserts a key if its account exists.
    pub(in crate::store) fn add_api_key(&self, new: &NewApiKey) -> Statement {
        let [nonce, version, tag] = receipt(new.receipt());
        let values = [
            new.digest.as_bytes().as_slice().into(),
            new.account_id.as_str().into(),
            new.prefix.as_str().into(),
            new.last_four.as_str().into(),
            new.created_at.as_millis().into(),
            new.expires_at.map(Timestamp::as_millis).into(),
            nonce,
            version,
            tag,
        ];
        Statement::new(&self.add_api_key, values)
    }

    pub(in crate::store) fn list_api_keys(&self, account: &AccountId) -> Find {
        let statement = Statement::new(&self.list_api_keys, [account.as_str().into()]);
        let columns = &[Kind::Bytes, Kind::Text, Kind::Text, Kind::Integer, Kind::Integer];
        Find { statement, columns }
    }

    /// Expires `old` at `until`, if it is valid when `new` is created.
    pub(in crate::store) fn expire_key(
        &self,
        old: &ApiKeyId,
        until: Timestamp,
        new: &NewApiKey,
    ) -> Statement {
        let values = [
            new.account_id.as_str().into(),
            old.as_bytes().as_slice().into(),
            until.as_millis().into(),
            new.created_at.as_millis().into(),
        ];
        Statement::new(&self.expire_key, values)
    }

    pub(in crate::store) fn revoke_api_key(
        &self,
        account: &AccountId,
        key: &ApiKeyId,
    ) -> Statement {
        let values = [account.as_str().into(), key.as_bytes().as_slice().into()];
        Statement::new(&self.revoke_api_key, values)
    }

    pub(in crate::store) fn purge_api_keys(&self, expired_at: Timestamp) -> Statement {
        Statement::new(&self.purge_api_keys, [expired_at.as_millis().into()])
    }

    pub(in crate::store) fn find_password(&self, key: &EmailKey) -> Find {
        use Kind::{Integer, Text};
        let statement = Statement::new(&self.find_password, [key.as_str().into()]);
        Find { statement, columns: &[Text, Text, Integer, Text, Integer] }
    }

    pub(in crate::store) fn renew_password_hash(
        &self,
        account: &AccountId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Statement {
        let values = [
            account.as_str().into(),
            old.as_phc().into(),
            new.as_phc().into(),
            new.pepper_version().map(i64::from).into(),
        ];
        Statement::new(&self.renew_password_hash, values)
    }

    pub(in crate::store) fn find_account(&self, id: &AccountId) -> Find {
        let statement = Statement::new(&self.find_account, [id.as_str().into()]);
        Find { statement, columns: ACCOUNT }
    }

    pub(in crate::store) fn find_account_by_email(&self, key: &EmailKey) -> Find {
        let statement = Statement::new(&self.find_account_by_email, [key.as_str().into()]);
        Find { statement, columns: ACCOUNT }
    }

    pub(in crate::store) fn revoke_api_keys(&self, account: &AccountId) -> Statement {
        Statement::new(&self.revoke_api_keys, [account.as_str().into()])
    }

    pub(in crate::store) fn find_signup(&self, key: &EmailKey) -> Find {
        const COLUMNS: &[Kind] =
            &[Kind::Text, Kind::Integer, Kind::Integer, Kind::Bytes, Kind::Integer, Kind::Bytes];
        let statement = Statement::new(&self.find_signup, [key.as_str().into()]);
        Find { statement, columns: COLUMNS }
    }

    pub(in crate::store) fn find_account_of_key(&self, digest: &ApiKeyDigest) -> Find {
        let values = [digest.as_bytes().as_slice().into()];
        let statement = Statement::new(&self.find_account_of_key, values);
        Find { statement, columns: ACCOUNT_AND_EXPIRY }
    }

    pub(in crate::store) fn find_retried_key(&self, account: &AccountId, tag: &[u8; 32]) -> Find {
        use Kind::{Bytes, Integer, Text};
        let values = [account.as_str().into(), tag.as_slice().into()];
        let statement = Statement::new(&self.find_retried_key, values);
        Find { statement, columns: &[Bytes, Text, Text, Integer, Integer, Bytes, Integer, Bytes] }
    }

    pub(in crate::store) fn revoke_tokens(&self, account: &AccountId) -> Statement {
        Statement::new(&self.revoke_tokens, [account.as_str().into()])
    }
}
