//! [`LifecycleStore`] in SQL: each change is one `UPDATE`, and what follows it.

use async_trait::async_trait;

use crate::account::AccountId;
use crate::fields::{EmailKey, Name};
use crate::store::{
    AccountChange, AccountRecord, ChangeOutcome, Condition, Effect, LifecycleStore, StoreError,
};

use super::SqlStore;
use super::backend::{Backend, Clash};
use super::change::{Applied, Change};
use super::credentials::account_record;
use super::statement::{Row, Statement, Value, decode, trusted};

#[async_trait]
impl<B: Backend> LifecycleStore for SqlStore<B> {
    async fn find_account_by_email(
        &self,
        key: &EmailKey,
    ) -> Result<Option<AccountRecord>, StoreError> {
        let rows = self.find(self.queries.find_account_by_email(key)).await?;
        let record = |mut row: Row| account_record(AccountId::from_store(row.text()?), &mut row);
        Ok(decode(rows, record)?.pop())
    }

    async fn change_account(&self, change: AccountChange) -> Result<ChangeOutcome, StoreError> {
        let confirm = change.new_key().map(|new| self.queries.find_api_key(new.digest()));
        let mut steps = vec![self.update_account(&change)];
        for effect in change.effects() {
            if let Effect::ReplaceApiKeys(new) = effect {
                steps.push(self.queries.revoke_api_keys(change.account()).optional());
                steps.extend(new.as_deref().map(|new| self.queries.add_api_key(new)));
            }
        }
        match self.change(Change { steps, new: None }, confirm).await? {
            Applied::All => Ok(ChangeOutcome::Changed),
            Applied::NotFound => Ok(ChangeOutcome::NotApplicable),
            Applied::Clash(Clash::Identifier | Clash::Retry) => Ok(ChangeOutcome::IdentifierTaken),
            Applied::Clash(clash) => Err(StoreError::Failed(format!("{clash:?} clashes").into())),
        }
    }
}

impl<B: Backend> SqlStore<B> {
    /// Writes the `UPDATE` of the account's own row. It decides whether the change applies,
    /// so it affects the row even if nothing but keys changes.
    fn update_account(&self, change: &AccountChange) -> Statement {
        let mut sql = Sql::new(B::DIALECT.placeholder);
        let mut set: Vec<_> = change.effects().iter().filter_map(|it| sql.assignment(it)).collect();
        if set.is_empty() {
            set.push("id = id".to_owned());
        }
        let mut conditions = vec![format!("id = {}", sql.value(change.account().as_str()))];
        conditions.extend(change.conditions().iter().map(|it| sql.condition(it)));
        let (table, set) = (self.names.table("accounts"), set.join(", "));
        let text = format!("UPDATE {table} SET {set} WHERE {}", conditions.join(" AND "));
        Statement::from_parts(trusted(text), sql.values)
    }
}

/// The values of a statement that is being written.
struct Sql {
    values: Vec<Value>,
    placeholder: fn(usize) -> String,
}

impl Sql {
    const fn new(placeholder: fn(usize) -> String) -> Self {
        Self { values: Vec::new(), placeholder }
    }

    /// Adds a value and returns its placeholder.
    fn value(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        (self.placeholder)(self.values.len())
    }

    fn assignment(&mut self, effect: &Effect) -> Option<String> {
        Some(match effect {
            Effect::SetPassword(hash) => {
                let (phc, version) = (hash.as_phc(), hash.pepper_version().map(i64::from));
                let (phc, version) = (self.value(phc), self.value(version));
                format!("password_hash = {phc}, pepper_version = {version}")
            }
            Effect::SetName(name) => {
                format!("name = {}", self.value(name.as_ref().map(Name::as_str)))
            }
            Effect::VerifyEmail(at) => {
                let at = self.value(at.as_millis());
                format!("email_verified_at = coalesce(email_verified_at, {at})")
            }
            Effect::ForgetRetries => {
                "replay_nonce = NULL, replay_version = NULL, replay_tag = NULL".to_owned()
            }
            Effect::RevokeTokens => "token_generation = token_generation + 1".to_owned(),
            // These are rows of another table.
            Effect::ReplaceApiKeys(_) => return None,
        })
    }

    fn condition(&mut self, condition: &Condition) -> String {
        match condition {
            Condition::Email(key) => format!("email_key = {}", self.value(key.as_str())),
            Condition::Generation(it) => format!("token_generation = {}", self.value(*it)),
            Condition::Unverified => "email_verified_at IS NULL".to_owned(),
        }
    }
}
