//! The SQL of the store, with the names chosen by the host.

use std::sync::Arc;

use sqlx::SqlStr;

use crate::account::AccountId;
use crate::api_key::{ApiKeyDigest, ApiKeyId};
use crate::clock::Timestamp;
use crate::fields::EmailKey;
use crate::hash::PasswordHash;
use crate::idempotency::Receipt;
use crate::store::{NewAccount, NewApiKey};

use super::backend::Dialect;
use super::event_queries::EventQueries;
use super::fill::fill;
use super::names::Names;
use super::statement::{Kind, Statement, Value, trusted};
use super::table::Mapped;

/// The columns of an account, of a table `a`.
pub(in crate::store) const ACCOUNT_COLUMNS: &str =
    "a.@id, a.@email, a.@email_key, a.@name, a.@plan, {a.created_at},
    a.@token_generation, {a.email_verified_at}, a.@state, {a.delete_at}";

/// Their types.
pub(in crate::store) const ACCOUNT: &[Kind] = {
    let (all, _) = ACCOUNT_AND_EXPIRY.split_at(10);
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
    /// The table of the host's, if the accounts are in one.
    pub(in crate::store) accounts: Option<Arc<Mapped>>,
    email_taken: SqlStr,
    account_exists: SqlStr,
    signup_exists: SqlStr,
    find_signup: SqlStr,
    find_account_of_key: SqlStr,
    find_retried_key: SqlStr,
    insert_account: SqlStr,
    insert_first_key: SqlStr,
    insert_ticket: SqlStr,
    is_ticket_used: SqlStr,
    purge_tickets: SqlStr,
    /// By whether there is a ticket, and whether there is an event.
    #[cfg(feature = "postgres")]
    pub(super) insert_at_once: [SqlStr; 4],
    pub(super) events: EventQueries,
    find_api_key: SqlStr,
    add_api_key: SqlStr,
    list_api_keys: SqlStr,
    expire_key: SqlStr,
    revoke_api_key: SqlStr,
    purge_api_keys: SqlStr,
    find_password: SqlStr,
    renew_password_hash: SqlStr,
    find_account: SqlStr,
    find_account_by_email: SqlStr,
    revoke_tokens: SqlStr,
    revoke_api_keys: SqlStr,
}

impl Queries {
    pub(in crate::store) fn new(names: &Names, dialect: Dialect) -> Self {
        let sql = |template: &str| trusted(fill(template, names, dialect));
        Self {
            accounts: names.accounts.clone(),
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
            insert_account: sql("INSERT INTO {accounts}
                     (@id, @email, @email_key, @name, @plan, @password_hash, @pepper_version,
                      @created_at, @replay_nonce, @replay_version, @replay_tag,
                      @email_verified_at{added_columns})
                 VALUES ({1}, {2}, {3}, {4}, {5}, {6}, {7}, {created_at:8}, {9}, {10}, {11},
                         {email_verified_at:12}{added_values})
                 {ignore_taken_email}"),
            insert_first_key: sql("INSERT INTO {api_keys}
                     (digest, account_id, prefix, last_four, created_at)
                 VALUES ({1}, {2}, {3}, {4}, {5})"),
            insert_ticket: sql("INSERT INTO {used_tickets} (hash, expires_at) VALUES ({1}, {2})"),
            is_ticket_used: sql("SELECT 1 FROM {used_tickets} WHERE hash = {1}"),
            purge_tickets: sql("DELETE FROM {used_tickets} WHERE expires_at <= {1}"),
            #[cfg(feature = "postgres")]
            insert_at_once: [(false, false), (false, true), (true, false), (true, true)]
                .map(|(ticket, event)| sql(&super::at_once::template(ticket, event))),
            events: EventQueries::new(sql),
            find_api_key: sql("SELECT k.account_id, k.expires_at, {a.email_verified_at}, a.@state
                 FROM {api_keys} k JOIN {accounts} a ON a.@id = k.account_id WHERE k.digest = {1}"),
            add_api_key: sql("INSERT INTO {api_keys}
                     (digest, account_id, prefix, last_four, created_at, expires_at,
                      replay_nonce, replay_version, replay_tag)
                 SELECT {1}, a.@id, {3}, {4}, {5}, {6}, {7}, {8}, {9}
                 FROM {accounts} a WHERE a.@id = {2}"),
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

    /// Inserts all rows of a sign-up, one statement after the other.
    pub(in crate::store) fn inserts(&self, new: &NewAccount) -> Vec<Statement> {
        let both = [self.insert_account(new), self.insert_first_key(new)];
        let event = new
            .event()
            .map(|event| [self.count_event(event.account_id()), self.insert_event(event)]);
        let all = both.into_iter().chain(self.insert_ticket(new));
        all.chain(event.into_iter().flatten()).collect()
    }

    pub(in crate::store) fn insert_account(&self, new: &NewAccount) -> Statement {
        let [nonce, version, tag] = receipt(new.receipt());
        let values = [
            new.id().as_str().into(),
            new.email().as_str().into(),
            new.email().key().as_str().into(),
            new.name().into(),
            new.plan().as_str().into(),
            new.password_hash().as_phc().into(),
            new.password_hash().pepper_version().map(i64::from).into(),
            new.created_at().as_millis().into(),
            nonce,
            version,
            tag,
            new.email_verified_at().map(Timestamp::as_millis).into(),
        ];
        let mut statement = Statement::new(&self.insert_account, values);
        let added = self.accounts.as_ref().map(|accounts| accounts.added_values(new));
        statement.values.extend(added.into_iter().flatten());
        statement
    }

    pub(in crate::store) fn insert_first_key(&self, new: &NewAccount) -> Statement {
        let values = [
            new.key_digest().as_bytes().as_slice().into(),
            new.id().as_str().into(),
            new.key_prefix().into(),
            new.key_last_four().into(),
            new.created_at().as_millis().into(),
        ];
        Statement::new(&self.insert_first_key, values)
    }

    /// Marks the ticket of a sign-up as used, if it has one.
    pub(in crate::store) fn insert_ticket(&self, new: &NewAccount) -> Option<Statement> {
        let ticket = new.ticket()?;
        let values = [ticket.hash().as_slice().into(), ticket.expires_at().as_millis().into()];
        Some(Statement::new(&self.insert_ticket, values))
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

/// Returns the three columns of a receipt, or three nulls.
fn receipt(receipt: Option<&Receipt>) -> [Value; 3] {
    [
        receipt.map(|receipt| receipt.nonce().as_slice()).into(),
        receipt.map(|receipt| i64::from(receipt.secret_version())).into(),
        receipt.map(|receipt| receipt.tag().as_slice()).into(),
    ]
}
