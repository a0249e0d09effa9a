//! The SQL of [`CredentialStore`](super::super::CredentialStore), the same for
//! both databases: SQLite knows `$1` too.

use sqlx::SqlStr;
use zeroize::Zeroizing;

use crate::api_key::ApiKeyDigest;
use crate::clock::Timestamp;
use crate::error::BoxError;

use super::super::{CredentialStore, NewApiKey, StoreError};
use super::shared;

/// The statements. A change gives a row where it found what to change.
pub(in super::super) struct Credentials {
    pub(in super::super) find_key: SqlStr,
    pub(in super::super) add_key: SqlStr,
    pub(in super::super) list_keys: SqlStr,
    pub(in super::super) expire_key: SqlStr,
    pub(in super::super) revoke_key: SqlStr,
    pub(in super::super) find_password: SqlStr,
    pub(in super::super) renew_password_hash: SqlStr,
    pub(in super::super) find_account: SqlStr,
    pub(in super::super) end_tokens: SqlStr,
}

impl Credentials {
    /// `tables` is what the names of tables begin with; `least` and `greatest`, how
    /// the database calls these functions.
    pub(in super::super) fn new(tables: &str, least: &str, greatest: &str) -> Self {
        let accounts = format!("{tables}accounts");
        let api_keys = format!("{tables}api_keys");
        Self {
            // The account is asked for, too: a database whose foreign keys are not
            // enforced may have keys of none.
            find_key: shared(format!(
                "SELECT k.account_id, k.expires_at FROM {api_keys} k
                 JOIN {accounts} a ON a.id = k.account_id WHERE k.digest = $1"
            )),
            add_key: shared(format!(
                "INSERT INTO {api_keys}
                     (digest, account_id, prefix, last_four, created_at, expires_at)
                 SELECT $1, id, $3, $4, $5, $6 FROM {accounts} WHERE id = $2 RETURNING 1"
            )),
            list_keys: shared(format!(
                "SELECT digest, prefix, last_four, created_at, expires_at FROM {api_keys}
                 WHERE account_id = $1 ORDER BY created_at, digest"
            )),
            expire_key: shared(format!(
                "UPDATE {api_keys} SET expires_at = {least}(coalesce(expires_at, $3), $3)
                 WHERE account_id = $1 AND substr(digest, 1, 10) = $2
                   AND (expires_at IS NULL OR expires_at > $4) RETURNING 1"
            )),
            revoke_key: shared(format!(
                "DELETE FROM {api_keys} WHERE account_id = $1 AND substr(digest, 1, 10) = $2
                 RETURNING 1"
            )),
            find_password: shared(format!(
                "SELECT id, password_hash, pepper_version FROM {accounts} WHERE email_key = $1"
            )),
            renew_password_hash: shared(format!(
                "UPDATE {accounts} SET password_hash = $3, pepper_version = $4
                 WHERE id = $1 AND password_hash = $2 RETURNING 1"
            )),
            find_account: shared(format!(
                "SELECT email, email_key, name, plan, created_at, tokens_valid_after
                 FROM {accounts} WHERE id = $1"
            )),
            end_tokens: shared(format!(
                "UPDATE {accounts}
                 SET tokens_valid_after = {greatest}(coalesce(tokens_valid_after, $2), $2)
                 WHERE id = $1 RETURNING 1"
            )),
        }
    }
}

/// A statement with its values.
#[derive(Clone)]
pub(in super::super) struct Statement {
    pub(in super::super) sql: SqlStr,
    pub(in super::super) values: Vec<Value>,
}

impl Statement {
    pub(in super::super) fn new<const N: usize>(sql: &SqlStr, values: [Value; N]) -> Self {
        Self { sql: sql.clone(), values: values.into() }
    }
}

/// A value of a statement's, of a database of either kind.
#[derive(Clone)]
pub(in super::super) enum Value {
    /// A hash, perhaps.
    Text(Zeroizing<String>),
    Octets(Vec<u8>),
    Number(Option<i64>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Zeroizing::new(text.to_owned()))
    }
}

impl From<&[u8]> for Value {
    fn from(octets: &[u8]) -> Self {
        Self::Octets(octets.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

/// A [`Statement`] as a query of whichever database it is for.
macro_rules! query {
    ($statement:expr) => {{
        use credentials::Value;
        let statement = $statement;
        let query = sqlx::query(statement.sql.clone());
        statement.values.iter().fold(query, |query, value| match value {
            Value::Text(text) => query.bind(text.as_str()),
            Value::Octets(octets) => query.bind(octets.as_slice()),
            Value::Number(number) => query.bind(*number),
        })
    }};
}
pub(in super::super) use query;

/// The rows as values of ours.
pub(in super::super) fn decode<R, T>(
    rows: &[R],
    decode: impl Fn(&R) -> Result<T, BoxError>,
) -> Result<Vec<T>, StoreError> {
    rows.iter().map(decode).collect::<Result<_, _>>().map_err(StoreError::Failed)
}

/// A column that may be null, as a moment.
pub(in super::super) fn moment(millis: Option<i64>) -> Result<Option<Timestamp>, BoxError> {
    Ok(millis.map(Timestamp::from_millis).transpose()?)
}

/// [`CredentialStore`](super::super::CredentialStore) for a store that has
/// `credentials()`, the statements; `rows`, which reads; and `change`, which does
/// several statements or none of them, in one transaction, and says whether each
/// has found what to change.
macro_rules! credential_store {
    ($store:ty, $row:ty) => {
        #[async_trait]
        impl CredentialStore for $store {
            async fn find_key(
                &self,
                digest: &ApiKeyDigest,
            ) -> Result<Option<KeyOwner>, StoreError> {
                let values = [digest.as_bytes().as_slice().into()];
                let rows = self.rows(Statement::new(&self.credentials().find_key, values)).await?;
                let owners = decode(&rows, |row: &$row| {
                    Ok(KeyOwner {
                        account_id: row.try_get::<&str, _>(0)?.parse()?,
                        expires_at: moment(row.try_get(1)?)?,
                    })
                });
                Ok(owners?.pop())
            }

            async fn add_key(&self, new: NewApiKey) -> Result<bool, StoreError> {
                let added = self.change(vec![add_key(self.credentials(), &new)]).await;
                settled(self, new.digest(), added).await
            }

            async fn list_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyInfo>, StoreError> {
                let values = [account.as_str().into()];
                let rows = self.rows(Statement::new(&self.credentials().list_keys, values)).await?;
                decode(&rows, |row: &$row| {
                    Ok(ApiKeyInfo {
                        id: ApiKeyDigest::from_store(row.try_get(0)?)?.key_id(),
                        prefix: row.try_get(1)?,
                        last_four: row.try_get(2)?,
                        created_at: Timestamp::from_millis(row.try_get(3)?)?,
                        expires_at: moment(row.try_get(4)?)?,
                    })
                })
            }

            async fn rotate_key(
                &self,
                old: &ApiKeyId,
                until: Timestamp,
                new: NewApiKey,
            ) -> Result<bool, StoreError> {
                let values = [
                    new.account_id.as_str().into(),
                    old.as_bytes().as_slice().into(),
                    until.as_millis().into(),
                    new.created_at.as_millis().into(),
                ];
                let expire = Statement::new(&self.credentials().expire_key, values);
                let rotated = self.change(vec![expire, add_key(self.credentials(), &new)]).await;
                settled(self, new.digest(), rotated).await
            }

            async fn revoke_key(
                &self,
                account: &AccountId,
                key: &ApiKeyId,
            ) -> Result<bool, StoreError> {
                let values = [account.as_str().into(), key.as_bytes().as_slice().into()];
                self.change(vec![Statement::new(&self.credentials().revoke_key, values)]).await
            }

            async fn find_password(
                &self,
                key: &EmailKey,
            ) -> Result<Option<(AccountId, PasswordHash)>, StoreError> {
                let find = Statement::new(&self.credentials().find_password, [key.as_str().into()]);
                let rows = self.rows(find).await?;
                let found = decode(&rows, |row: &$row| {
                    let pepper =
                        row.try_get::<Option<i64>, _>(2)?.map(u32::try_from).transpose()?;
                    let hash = PasswordHash::from_store(row.try_get::<String, _>(1)?, pepper);
                    Ok((row.try_get::<&str, _>(0)?.parse()?, hash))
                });
                Ok(found?.pop())
            }

            async fn renew_password_hash(
                &self,
                account: &AccountId,
                old: &PasswordHash,
                new: &PasswordHash,
            ) -> Result<bool, StoreError> {
                let values = [
                    account.as_str().into(),
                    old.as_phc().into(),
                    new.as_phc().into(),
                    new.pepper_version().map(i64::from).into(),
                ];
                let renew = Statement::new(&self.credentials().renew_password_hash, values);
                self.change(vec![renew]).await
            }

            async fn find_account(
                &self,
                id: &AccountId,
            ) -> Result<Option<AccountRecord>, StoreError> {
                let find = Statement::new(&self.credentials().find_account, [id.as_str().into()]);
                let rows = self.rows(find).await?;
                let found = decode(&rows, |row: &$row| {
                    let email = Email::from_store(
                        row.try_get::<String, _>(0)?,
                        row.try_get::<String, _>(1)?,
                    );
                    let name = row.try_get::<Option<String>, _>(2)?.map(Name::from_store);
                    let plan = row.try_get::<&str, _>(3)?.parse()?;
                    Ok(AccountRecord {
                        account: Account::new(id.clone(), email, name, plan),
                        created_at: Timestamp::from_millis(row.try_get(4)?)?,
                        tokens_valid_after: moment(row.try_get(5)?)?,
                    })
                });
                Ok(found?.pop())
            }

            async fn end_tokens(
                &self,
                account: &AccountId,
                before: Timestamp,
            ) -> Result<bool, StoreError> {
                let values = [account.as_str().into(), before.as_millis().into()];
                self.change(vec![Statement::new(&self.credentials().end_tokens, values)]).await
            }
        }
    };
}
pub(in super::super) use credential_store;

/// Inserts a key where there is its account.
pub(in super::super) fn add_key(statements: &Credentials, new: &NewApiKey) -> Statement {
    let values = [
        new.digest.as_bytes().as_slice().into(),
        new.account_id.as_str().into(),
        new.prefix.as_str().into(),
        new.last_four.as_str().into(),
        new.created_at.as_millis().into(),
        new.expires_at.map(Timestamp::as_millis).into(),
    ];
    Statement::new(&statements.add_key, values)
}

/// After a change whose answer was lost: it was made if the new key is there.
pub(in super::super) async fn settled(
    store: &impl CredentialStore,
    new: &ApiKeyDigest,
    changed: Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    let Err(StoreError::OutcomeUnknown(lost)) = changed else {
        return changed;
    };
    match store.find_key(new).await {
        Ok(Some(_)) => Ok(true),
        Ok(None) | Err(_) => Err(StoreError::OutcomeUnknown(lost)),
    }
}
