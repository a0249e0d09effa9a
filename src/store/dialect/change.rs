//! The statements of a change of an account.

use std::sync::Arc;

use crate::account::{AccountId, AccountState};
use crate::api_key::ApiKeyId;
use crate::clock::Timestamp;
use crate::event::Notice;
use crate::fields::{Email, Name};
use crate::store::contract::{AccountChange, Condition, Effect, NewApiKey};

use super::fill::fill;
use super::inserts::{Inserts, receipt};
use super::names::TableNames;
use super::sql::Sql;
use super::statement::Statement;
use super::syntax::Syntax;
use super::table::AccountColumn::{DeleteAt, EmailVerifiedAt};

/// The statements that change an account and what belongs to it.
#[derive(Debug)]
pub(in crate::store) struct Changes {
    names: TableNames,
    syntax: Syntax,
    add_api_key: Arc<str>,
    expire_key: Arc<str>,
    revoke_api_key: Arc<str>,
    revoke_api_keys: Arc<str>,
    scrub_events: Arc<str>,
    delete_notices: Arc<str>,
    add_notice: Arc<str>,
}

impl Changes {
    /// Fills the names of the host into each statement.
    pub(in crate::store) fn new(names: &TableNames, syntax: Syntax) -> Self {
        let sql = |template: &str| Arc::<str>::from(fill(template, names, syntax));
        Self {
            names: names.clone(),
            syntax,
            add_api_key: sql("INSERT INTO {api_keys}
                     (digest, account_id, name, prefix, last_four, created_at, expires_at,
                      replay_nonce, replay_version, replay_tag)
                 SELECT {1}, a.@id, {3}, {4}, {5}, {6}, {7}, {8}, {9}, {10}
                 FROM {accounts} a WHERE a.@id = {2} AND a.@state <> 'erased'"),
            expire_key: sql("UPDATE {api_keys}
                 SET expires_at = {least}(coalesce(expires_at, {3}), {3})
                 WHERE account_id = {1} AND substr(digest, 1, 10) = {2}
                   AND (expires_at IS NULL OR expires_at > {4})"),
            revoke_api_key: sql("DELETE FROM {api_keys}
                 WHERE account_id = {1} AND substr(digest, 1, 10) = {2}"),
            revoke_api_keys: sql("DELETE FROM {api_keys} WHERE account_id = {1}"),
            scrub_events: sql("UPDATE {events} SET data = '{}' WHERE account_id = {1}"),
            delete_notices: sql("DELETE FROM {notices} WHERE account_id = {1}"),
            add_notice: sql("INSERT INTO {notices}
                     (account_id, id, kind, email, email_key, api_keys_ended, api_keys_kept,
                      created_at, due_at, takeovers)
                 VALUES ({1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}, {10})"),
        }
    }

    /// Writes a change, in the order in which its statements run. Each must affect a row, unless
    /// it is optional.
    pub(in crate::store) fn statements(
        &self,
        change: &AccountChange,
        inserts: &Inserts,
    ) -> Vec<Statement> {
        let account = change.account();
        let mut all = Vec::new();
        // The row holds off other changes, and decides whether this one applies.
        if !change.is_of_keys_alone() {
            all.push(self.update_account(change));
        }
        for effect in change.effects() {
            match effect {
                Effect::AddApiKey(new) => all.push(self.add_api_key(new)),
                Effect::RotateApiKey { old, until, new } => {
                    all.push(self.expire_key(old, *until, new));
                    all.push(self.add_api_key(new));
                }
                Effect::RevokeApiKey(key) => {
                    let values = [account.as_str().into(), key.as_bytes().as_slice().into()];
                    all.push(Statement::new(&self.revoke_api_key, values));
                }
                Effect::ReplaceApiKeys(new) => {
                    all.push(of_account(&self.revoke_api_keys, account).optional());
                    all.extend(new.as_deref().map(|new| self.add_api_key(new)));
                }
                Effect::ScrubEvents => {
                    all.push(of_account(&self.scrub_events, account).optional());
                    all.push(of_account(&self.delete_notices, account).optional());
                }
                Effect::Emit(event) => all.push(inserts.event(event)),
                Effect::AddNotice(notice) => all.push(self.add_notice(notice)),
                _ => {}
            }
        }
        all
    }

    /// Writes the `UPDATE` of the account's own row. It affects the row even if nothing but keys
    /// changes.
    fn update_account(&self, change: &AccountChange) -> Statement {
        let mut sql = Sql::new(&self.names, self.syntax);
        let id = change.account();
        let effects = change.effects().iter();
        let mut set: Vec<_> =
            effects.filter_map(|effect| assignment(&mut sql, effect, id)).collect();
        if set.is_empty() {
            set.push(self.syntax.touch.to_owned());
        }
        let mut conditions = vec![format!("@id = {}", sql.value(id.as_str()))];
        conditions.extend(change.conditions().iter().map(|it| condition(&mut sql, it)));
        let (table, set) = (sql.table("accounts"), set.join(", "));
        let text = format!("UPDATE {table} SET {set} WHERE {}", conditions.join(" AND "));
        sql.statement(&text)
    }

    /// Inserts a key, if its account exists and is not erased.
    fn add_api_key(&self, new: &NewApiKey) -> Statement {
        let [nonce, version, tag] = receipt(new.receipt());
        let values = [
            new.digest.as_bytes().as_slice().into(),
            new.account_id.as_str().into(),
            new.name.as_deref().into(),
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

    /// Expires `old` at `until`, if it is valid when `new` is created.
    fn expire_key(&self, old: &ApiKeyId, until: Timestamp, new: &NewApiKey) -> Statement {
        let values = [
            new.account_id.as_str().into(),
            old.as_bytes().as_slice().into(),
            until.as_millis().into(),
            new.created_at.as_millis().into(),
        ];
        Statement::new(&self.expire_key, values)
    }

    fn add_notice(&self, notice: &Notice) -> Statement {
        let values = [
            notice.account_id.as_str().into(),
            notice.id.as_str().into(),
            notice.kind.as_str().into(),
            notice.to.as_str().into(),
            notice.to.key().as_str().into(),
            notice.api_keys.map(|keys| i64::from(keys.ended)).into(),
            notice.api_keys.map(|keys| i64::from(keys.kept)).into(),
            notice.created_at.as_millis().into(),
            notice.due_at.as_millis().into(),
            i64::from(notice.takeovers).into(),
        ];
        Statement::new(&self.add_notice, values)
    }
}

fn of_account(sql: &Arc<str>, account: &AccountId) -> Statement {
    Statement::new(sql, [account.as_str().into()])
}

fn assignment(sql: &mut Sql<'_>, effect: &Effect, id: &AccountId) -> Option<String> {
    Some(match effect {
        Effect::SetPassword(hash) => {
            let (phc, version) = (hash.as_phc(), hash.pepper_version().map(i64::from));
            let (phc, version) = (sql.value(phc), sql.value(version));
            format!("@password_hash = {phc}, @pepper_version = {version}")
        }
        Effect::SetName(name) => {
            format!("@name = {}", sql.value(name.as_ref().map(Name::as_str)))
        }
        Effect::SetPlan(plan) => format!("@plan = {}", sql.value(plan.as_str())),
        Effect::SetEmail(email, proven_at) => {
            let (text, key) = (sql.value(email.as_str()), sql.value(email.key().as_str()));
            let proven_at = sql.time(EmailVerifiedAt, *proven_at);
            format!("@email = {text}, @email_key = {key}, @email_verified_at = {proven_at}")
        }
        Effect::SetState(state, delete_at) => {
            let state = sql.value(state.as_str());
            let delete_at = sql.time(DeleteAt, *delete_at);
            format!("@state = {state}, @delete_at = {delete_at}")
        }
        Effect::Disable => {
            format!("@state = {}", sql.value(AccountState::Disabled.as_str()))
        }
        Effect::Erase(banned) => {
            let erased = Email::erased(id, banned.as_ref());
            let (email, key) = (sql.value(erased.as_str()), sql.value(erased.key().as_str()));
            let state = sql.value(AccountState::Erased.as_str());
            format!(
                "@email = {email}, @email_key = {key}, @name = NULL, @password_hash = '',
                 @pepper_version = NULL, @email_verified_at = NULL, @state = {state},
                 @delete_at = NULL, @email_unverified = NULL, @ticket_nonce = NULL"
            )
        }
        Effect::VerifyEmail(at) => {
            let at = sql.time(EmailVerifiedAt, *at);
            format!("@email_verified_at = coalesce(@email_verified_at, {at})")
        }
        Effect::SetTicketNonce(nonce) => {
            format!("@ticket_nonce = {}", sql.value(nonce.as_bytes().as_slice()))
        }
        Effect::ForgetRetries => {
            "@replay_nonce = NULL, @replay_version = NULL, @replay_tag = NULL".to_owned()
        }
        Effect::RevokeTokens => "@token_generation = @token_generation + 1".to_owned(),
        Effect::Emit(_) => "@event_number = @event_number + 1".to_owned(),
        // These are rows of other tables.
        Effect::AddApiKey(_)
        | Effect::RotateApiKey { .. }
        | Effect::RevokeApiKey(_)
        | Effect::ReplaceApiKeys(_)
        | Effect::ScrubEvents
        | Effect::AddNotice(_)
        | Effect::WipeHostRows(_) => return None,
    })
}

fn condition(sql: &mut Sql<'_>, condition: &Condition) -> String {
    match condition {
        Condition::Email(key) => format!("@email_key = {}", sql.value(key.as_str())),
        Condition::Generation(it) => format!("@token_generation = {}", sql.value(*it)),
        Condition::Unverified => "@email_verified_at IS NULL AND @email_unverified = 1".to_owned(),
        Condition::TicketNonce(None) => "@ticket_nonce IS NULL".to_owned(),
        Condition::TicketNonce(Some(nonce)) => {
            format!("@ticket_nonce = {}", sql.value(nonce.as_bytes().as_slice()))
        }
        Condition::Password(hash) => format!("@password_hash = {}", sql.value(hash.as_phc())),
        Condition::DeletionDue(at) => format!("@delete_at <= {}", sql.time(DeleteAt, *at)),
        Condition::State(states) => {
            let states = states.iter().map(|state| sql.value(state.as_str()));
            format!("@state IN ({})", states.collect::<Vec<_>>().join(", "))
        }
    }
}
