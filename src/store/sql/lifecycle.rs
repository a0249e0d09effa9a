//! [`LifecycleStore`] in SQL: each change is one `UPDATE`, and what follows it.

use std::time::Duration;

use async_trait::async_trait;

use crate::account::{AccountId, AccountState};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::fields::{Email, EmailKey, Name};
use crate::store::{
    AccountChange, AccountFilter, AccountRecord, ChangeOutcome, Condition, Effect, LifecycleStore,
    StoreError,
};

use crate::store::dialect::fill::{ACCOUNT_COLUMNS, read_times};
use crate::store::dialect::names::Names;
use crate::store::dialect::spelling::{Clash, Spelling};
use crate::store::dialect::statement::{Statement, Value};
use crate::store::dialect::table::AccountColumn::{self, CreatedAt, DeleteAt, EmailVerifiedAt};

use super::SqlStore;
use super::backend::Backend;
use super::change::{Applied, Change, HostWork};
use super::credentials::account_record;
use super::queries::{ACCOUNT, Find};
use super::statement::{Kind, decode};

#[async_trait]
impl<B: Backend> LifecycleStore for SqlStore<B> {
    async fn find_account_by_email(
        &self,
        key: &EmailKey,
    ) -> Result<Option<AccountRecord>, StoreError> {
        let rows = self.find(self.queries.find_account_by_email(key)).await?;
        Ok(decode(rows, |mut row| account_record(&mut row))?.pop())
    }

    async fn list_accounts(
        &self,
        filter: &AccountFilter,
    ) -> Result<Vec<AccountRecord>, StoreError> {
        let rows = self.find(Find { statement: self.select_accounts(filter), columns: ACCOUNT });
        decode(rows.await?, |mut row| account_record(&mut row))
    }

    async fn check_clock(&self) -> Result<(), StoreError> {
        self.compare_clocks().await
    }

    async fn change_account(&self, change: AccountChange) -> Result<ChangeOutcome, StoreError> {
        let confirm = change.new_key().map(|new| self.queries.find_api_key(new.digest()));
        let mut steps = vec![self.update_account(&change)];
        let mut host = None;
        for effect in change.effects() {
            match effect {
                Effect::AddApiKey(new) => steps.push(self.queries.add_api_key(new)),
                Effect::RotateApiKey { old, until, new } => {
                    steps.push(self.queries.expire_key(old, *until, new));
                    steps.push(self.queries.add_api_key(new));
                }
                Effect::RevokeApiKey(key) => {
                    steps.push(self.queries.revoke_api_key(change.account(), key));
                }
                Effect::ReplaceApiKeys(new) => {
                    steps.push(self.queries.revoke_api_keys(change.account()).optional());
                    steps.extend(new.as_deref().map(|new| self.queries.add_api_key(new)));
                }
                Effect::WipeHostRows(because) => {
                    host = Some(HostWork::Wipe(change.account().clone(), *because));
                }
                Effect::ScrubEvents => {
                    let scrub = self.queries.scrub_events(change.account());
                    steps.extend(scrub.map(Statement::optional));
                }
                Effect::Emit(event) => steps.push(self.queries.inserts.event(event)),
                Effect::AddNotice(notice) => steps.push(self.queries.add_notice(notice)),
                _ => {}
            }
        }
        match self.change(Change { steps, host }, confirm).await? {
            Applied::All => Ok(ChangeOutcome::Changed),
            Applied::NotFound => Ok(ChangeOutcome::NotApplicable),
            Applied::Clash(Clash::Email) => Ok(ChangeOutcome::EmailTaken),
            Applied::Clash(Clash::Identifier) => Ok(ChangeOutcome::IdentifierTaken),
            Applied::Clash(Clash::Retry) => Ok(ChangeOutcome::AlreadyAdded),
            Applied::Clash(clash) => Err(StoreError::Failed(format!("{clash:?} clashes").into())),
        }
    }
}

impl<B: Backend> SqlStore<B> {
    /// Writes the `UPDATE` of the account's own row. It decides whether the change applies,
    /// so it affects the row even if nothing but keys changes.
    pub(in crate::store) fn update_account(&self, change: &AccountChange) -> Statement {
        let mut sql = self.sql();
        let id = change.account();
        let effects = change.effects().iter();
        let mut set: Vec<_> = effects.filter_map(|effect| sql.assignment(effect, id)).collect();
        if set.is_empty() {
            set.push(B::SPELLING.touch.to_owned());
        }
        let mut conditions = vec![format!("@id = {}", sql.value(id.as_str()))];
        conditions.extend(change.conditions().iter().map(|it| sql.condition(it)));
        let (table, set) = (self.names.table("accounts"), set.join(", "));
        let text = format!("UPDATE {table} SET {set} WHERE {}", conditions.join(" AND "));
        sql.statement(&text)
    }

    pub(in crate::store) fn select_accounts(&self, filter: &AccountFilter) -> Statement {
        let mut sql = self.sql();
        let mut conditions = vec!["1 = 1".to_owned()];
        if let Some(state) = filter.state {
            conditions.push(format!("a.@state = {}", sql.value(state.as_str())));
        }
        if let Some(plan) = &filter.plan {
            conditions.push(format!("a.@plan = {}", sql.value(plan.as_str())));
        }
        for (column, comparison, bound) in [
            (CreatedAt, "a.@created_at >=", filter.created_from),
            (CreatedAt, "a.@created_at <", filter.created_before),
            (DeleteAt, "a.@delete_at <=", filter.due_at),
        ] {
            if let Some(bound) = bound {
                conditions.push(format!("{comparison} {}", sql.time(column, bound)));
            }
        }
        if let Some((at, id)) = &filter.after {
            let (at, id) = (sql.time(CreatedAt, *at), sql.value(id.as_str()));
            conditions.push(format!("(a.@created_at, a.@id) > ({at}, {id})"));
        }
        let (table, conditions) = (self.names.table("accounts"), conditions.join(" AND "));
        let limit = sql.value(i64::from(filter.limit));
        let text = format!(
            "SELECT {ACCOUNT_COLUMNS} FROM {table} a WHERE {conditions}
             ORDER BY a.@created_at, a.@id LIMIT {limit}"
        );
        sql.statement(&text)
    }

    /// Compares the clocks of the process and the database.
    ///
    /// # Errors
    /// Fails if they differ by more than an hour: what can't be undone must not be done then.
    pub(super) async fn compare_clocks(&self) -> Result<(), StoreError> {
        let Some(now) = B::SPELLING.now else { return Ok(()) };
        let find = Find { statement: Statement::new(&now.into(), []), columns: &[Kind::Integer] };
        let found = decode(self.find(find).await?, |mut row| row.timestamp())?;
        let ours = Timestamp::try_from(SystemClock.wall());
        let ours = ours.map_err(|error| StoreError::Failed(error.into()))?;
        let apart = found.first().map(|theirs| ours.since(*theirs).max(theirs.since(ours)));
        if apart.is_none_or(|apart| apart > Duration::from_hours(1)) {
            let text = "the clocks of the process and the database differ by more than an hour: \
                        nothing is erased or purged";
            return Err(StoreError::Failed(text.into()));
        }
        Ok(())
    }

    fn sql(&self) -> Sql<'_> {
        Sql { values: Vec::new(), names: &self.names, spelling: B::SPELLING }
    }
}

/// A statement that is being written.
struct Sql<'a> {
    values: Vec<Value>,
    names: &'a Names,
    spelling: Spelling,
}

impl Sql<'_> {
    /// Fills in the names of columns.
    fn statement(self, text: &str) -> Statement {
        let text = read_times(text, self.names, self.spelling);
        Statement::from_parts(self.names.fill_columns(&text), self.values)
    }

    /// Adds a value and returns its placeholder.
    fn value(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        (self.spelling.placeholder)(self.values.len())
    }

    /// Adds a time for a column and returns the expression that writes it.
    fn time(&mut self, column: AccountColumn, at: impl Into<Option<Timestamp>>) -> String {
        let millis = self.value(at.into().map(Timestamp::as_millis));
        self.names.write_time(column, &millis, self.spelling)
    }

    fn assignment(&mut self, effect: &Effect, id: &AccountId) -> Option<String> {
        Some(match effect {
            Effect::SetPassword(hash) => {
                let (phc, version) = (hash.as_phc(), hash.pepper_version().map(i64::from));
                let (phc, version) = (self.value(phc), self.value(version));
                format!("@password_hash = {phc}, @pepper_version = {version}")
            }
            Effect::SetName(name) => {
                format!("@name = {}", self.value(name.as_ref().map(Name::as_str)))
            }
            Effect::SetPlan(plan) => format!("@plan = {}", self.value(plan.as_str())),
            Effect::SetEmail(email, proven_at) => {
                let (text, key) = (self.value(email.as_str()), self.value(email.key().as_str()));
                let proven_at = self.time(EmailVerifiedAt, *proven_at);
                format!("@email = {text}, @email_key = {key}, @email_verified_at = {proven_at}")
            }
            Effect::SetState(state, delete_at) => {
                let state = self.value(state.as_str());
                let delete_at = self.time(DeleteAt, *delete_at);
                format!("@state = {state}, @delete_at = {delete_at}")
            }
            Effect::Disable => {
                format!("@state = {}", self.value(AccountState::Disabled.as_str()))
            }
            Effect::Erase(banned) => {
                let erased = Email::erased(id, banned.as_ref());
                let (email, key) = (self.value(erased.as_str()), self.value(erased.key().as_str()));
                let state = self.value(AccountState::Erased.as_str());
                format!(
                    "@email = {email}, @email_key = {key}, @name = NULL, @password_hash = '',
                     @pepper_version = NULL, @email_verified_at = NULL, @state = {state},
                     @delete_at = NULL, @email_unverified = NULL, @ticket_nonce = NULL"
                )
            }
            Effect::VerifyEmail(at) => {
                let at = self.time(EmailVerifiedAt, *at);
                format!("@email_verified_at = coalesce(@email_verified_at, {at})")
            }
            Effect::SetTicketNonce(nonce) => {
                format!("@ticket_nonce = {}", self.value(nonce.as_bytes().as_slice()))
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

    fn condition(&mut self, condition: &Condition) -> String {
        match condition {
            Condition::Email(key) => format!("@email_key = {}", self.value(key.as_str())),
            Condition::Generation(it) => format!("@token_generation = {}", self.value(*it)),
            Condition::Unverified => {
                "@email_verified_at IS NULL AND @email_unverified = 1".to_owned()
            }
            Condition::TicketNonce(None) => "@ticket_nonce IS NULL".to_owned(),
            Condition::TicketNonce(Some(nonce)) => {
                format!("@ticket_nonce = {}", self.value(nonce.as_bytes().as_slice()))
            }
            Condition::Password(hash) => format!("@password_hash = {}", self.value(hash.as_phc())),
            Condition::DeletionDue(at) => format!("@delete_at <= {}", self.time(DeleteAt, *at)),
            Condition::State(states) => {
                let states = states.iter().map(|state| self.value(state.as_str()));
                format!("@state IN ({})", states.collect::<Vec<_>>().join(", "))
            }
        }
    }
}
