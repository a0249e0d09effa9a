//! The columns that are read, and what their rows mean.

use crate::account::{Account, AccountId, Plan, TicketNonce};
use crate::api_key::ApiKeyDigest;
use crate::event::{Event, KeyCounts, Notice};
use crate::fields::{Email, Name};
use crate::hash::PasswordHash;
use crate::idempotency::Receipt;
use crate::issue::BoxError;
use crate::store::contract::{
    AccountCursor, ApiKeyInfo, EventBacklog, EventLease, KeyOwner, StoredAccount, StoredApiKey,
    StoredEvent, StoredLogin,
};
use crate::store::dialect::table::AccountColumn::{
    self, CreatedAt, DeleteAt, Email as Address, EmailKey, EmailUnverified, EmailVerifiedAt, Id,
    Name as DisplayName, PasswordHash as Hash, PepperVersion, Plan as PlanName, ReplayNonce,
    ReplayTag, ReplayVersion, State, TicketNonce as Nonce, TokenGeneration,
};

use super::statement::Kind::{Bytes, Integer, Text};
use super::statement::{Kind, Row};

/// A column of an account, and the type of its value.
type Column = (AccountColumn, Kind);

/// The columns of a [`StoredAccount`].
const ACCOUNT: [Column; 12] = [
    (Id, Text),
    (Address, Text),
    (EmailKey, Text),
    (DisplayName, Text),
    (PlanName, Text),
    (CreatedAt, Integer),
    (TokenGeneration, Integer),
    (EmailVerifiedAt, Integer),
    (State, Text),
    (DeleteAt, Integer),
    (EmailUnverified, Integer),
    (Nonce, Bytes),
];

/// Reads the columns of [`ACCOUNT`].
pub(super) fn account(row: &mut Row) -> Result<StoredAccount, BoxError> {
    let id = AccountId::from_store(row.text()?);
    let email = Email::from_store(row.text()?, row.text()?);
    let name = row.optional_text()?.map(Name::from_store);
    let account = Account::new(id, email, name, Plan::from_store(row.text()?));
    let (created_at, generation) = (row.timestamp()?, row.integer()?);
    let email_verified_at = row.optional_timestamp()?;
    let stored = StoredAccount::new(account, created_at, generation, row.text()?.parse()?);
    let stored = stored.email_verified_at(email_verified_at).delete_at(row.optional_timestamp()?);
    let stored = stored.email_unverified(row.optional_integer()? == Some(1));
    let nonce = row.optional_bytes()?.map(|nonce| nonce.try_into().map(TicketNonce::new));
    Ok(stored.ticket_nonce(nonce.transpose().map_err(|_| "a nonce has 16 bytes")?))
}

pub(super) fn cursor(mut row: Row) -> Result<AccountCursor, BoxError> {
    Ok(AccountCursor::new(row.timestamp()?, AccountId::from_store(row.text()?)))
}

/// The columns that a [`StoredLogin`] has besides.
const SECRETS: [Column; 5] = [
    (Hash, Text),
    (PepperVersion, Integer),
    (ReplayNonce, Bytes),
    (ReplayVersion, Integer),
    (ReplayTag, Bytes),
];

/// Reads the columns of [`ACCOUNT`], then the columns of a key if the account was found by one, and
/// then [`SECRETS`].
pub(super) fn login(row: &mut Row, by_key: bool) -> Result<StoredLogin, BoxError> {
    let account = found(row, by_key)?;
    let phc = row.text()?;
    let pepper = row.optional_integer()?.map(u32::try_from).transpose()?;
    let login = StoredLogin::new(account, PasswordHash::from_store(phc, pepper));
    Ok(login.receipt(receipt(row)?))
}

/// Reads the columns of [`ACCOUNT`], and then the columns of a key if the account was found by one.
pub(super) fn found(row: &mut Row, by_key: bool) -> Result<StoredAccount, BoxError> {
    let account = account(row)?;
    let key = if by_key { Some(key_info(row)?) } else { None };
    Ok(account.found_by(key))
}

/// The columns of an [`ApiKeyInfo`], of a table `k`.
pub(super) const KEY_COLUMNS: &str =
    "k.digest, k.name, k.prefix, k.last_four, k.created_at, k.expires_at";
const KEY: [Kind; 6] = [Bytes, Text, Text, Text, Integer, Integer];

fn key_info(row: &mut Row) -> Result<ApiKeyInfo, BoxError> {
    Ok(ApiKeyInfo {
        id: ApiKeyDigest::from_store(&row.bytes()?)?.key_id(),
        name: row.optional_text()?,
        prefix: row.text()?,
        last_four: row.text()?,
        created_at: row.timestamp()?,
        expires_at: row.optional_timestamp()?,
    })
}

/// The columns of a receipt.
const RECEIPT: [Kind; 3] = [Bytes, Integer, Bytes];

fn receipt(row: &mut Row) -> Result<Option<Receipt>, BoxError> {
    let parts = (row.optional_bytes()?, row.optional_integer()?, row.optional_bytes()?);
    let (Some(nonce), Some(version), Some(tag)) = parts else {
        return Ok(None);
    };
    Ok(Some(Receipt::from_store(&nonce, version, &tag)?))
}

pub(super) fn api_key(mut row: Row) -> Result<StoredApiKey, BoxError> {
    let info = key_info(&mut row)?;
    Ok(StoredApiKey::new(info).receipt(receipt(&mut row)?))
}

pub(super) fn key_owner(mut row: Row) -> Result<KeyOwner, BoxError> {
    let (id, expires_at) = (AccountId::from_store(row.text()?), row.optional_timestamp()?);
    let email_verified_at = row.optional_timestamp()?;
    let owner = KeyOwner::new(id, row.text()?.parse()?, expires_at);
    Ok(owner.email_verified_at(email_verified_at))
}

pub(super) fn event(mut row: Row) -> Result<StoredEvent, BoxError> {
    stored_event(&mut row)
}

fn stored_event(row: &mut Row) -> Result<StoredEvent, BoxError> {
    let account_id = AccountId::from_store(row.text()?);
    let (number, id, kind) = (row.integer()?, row.text()?, row.text()?);
    let event = Event::from_store(account_id, number, id, kind, row.timestamp()?, row.text()?);
    let attempts = row.integer()?.try_into()?;
    Ok(StoredEvent::new(event, attempts, row.text()?.parse()?, row.timestamp()?))
}

/// Reads an event, and whether it waits for an earlier one.
pub(super) fn due_event(mut row: Row) -> Result<(StoredEvent, bool), BoxError> {
    Ok((stored_event(&mut row)?, row.integer()? > 0))
}

pub(super) fn lease(mut row: Row) -> Result<EventLease, BoxError> {
    Ok(EventLease { partition: row.integer()?.try_into()?, fence: row.integer()? })
}

pub(super) fn backlog(mut row: Row) -> Result<EventBacklog, BoxError> {
    let (waiting, oldest) = (row.integer()?.try_into()?, row.optional_timestamp()?);
    Ok(EventBacklog::new(waiting, oldest, row.integer()?.try_into()?))
}

pub(super) fn notice(mut row: Row) -> Result<Notice, BoxError> {
    let (account_id, id) = (AccountId::from_store(row.text()?), row.text()?);
    let kind = row.text()?.parse()?;
    let to = Email::from_store(row.text()?, row.text()?);
    let api_keys = match (row.optional_integer()?, row.optional_integer()?) {
        (Some(ended), Some(kept)) => {
            Some(KeyCounts { ended: ended.try_into()?, kept: kept.try_into()? })
        }
        _ => None,
    };
    let notice = Notice::new(account_id, id, kind, to, row.timestamp()?).api_keys(api_keys);
    Ok(notice.due_at(row.timestamp()?).takeovers(row.integer()?.try_into()?))
}

/// Returns the columns of an account as they stand in a template, of a table `a`.
fn columns(columns: &[Column]) -> String {
    let read = |(column, _): &Column| match (column, column.own_name()) {
        (CreatedAt | EmailVerifiedAt | DeleteAt, name) => format!("{{a.{name}}}"),
        (Hash, name) => format!("coalesce(a.@{name}, '')"),
        // A host's table may have none.
        (PlanName, name) => format!("coalesce(a.@{name}, 'trial')"),
        (_, name) => format!("a.@{name}"),
    };
    columns.iter().map(read).collect::<Vec<_>>().join(", ")
}

/// Returns the columns of [`found`] in a template.
pub(super) fn account_columns(by_key: bool) -> String {
    let key = if by_key { format!(", {KEY_COLUMNS}") } else { String::new() };
    columns(&ACCOUNT) + &key
}

/// Returns the columns of an account as they are stored, in a template, of a table `a`.
pub(super) fn stored_columns() -> String {
    ACCOUNT.map(|(column, _)| format!("a.@{}", column.own_name())).join(", ")
}

/// Returns the columns of [`login`] in a template.
pub(super) fn login_columns(by_key: bool) -> String {
    format!("{}, {}", account_columns(by_key), columns(&SECRETS))
}

/// Returns the types of the columns of [`found`].
pub(super) const fn account_kinds(by_key: bool) -> &'static [Kind] {
    const ALONE: [Kind; 12] = kinds(ACCOUNT);
    const WITH_KEY: [Kind; 18] = joined(ALONE, KEY);
    if by_key { &WITH_KEY } else { &ALONE }
}

/// Returns the types of the columns of [`login`].
pub(super) const fn login_kinds(by_key: bool) -> &'static [Kind] {
    const ALONE: [Kind; 17] = joined(kinds(ACCOUNT), kinds(SECRETS));
    const WITH_KEY: [Kind; 23] = joined::<18, 5, 23>(joined(kinds(ACCOUNT), KEY), kinds(SECRETS));
    if by_key { &WITH_KEY } else { &ALONE }
}

/// Returns the types of the columns of [`api_key`].
pub(super) const fn api_key_kinds() -> &'static [Kind] {
    const ALL: [Kind; 9] = joined(KEY, RECEIPT);
    &ALL
}

#[expect(clippy::indexing_slicing, reason = "it is evaluated by the compiler")]
const fn kinds<const N: usize>(columns: [Column; N]) -> [Kind; N] {
    let mut all = [Text; N];
    let mut at = 0;
    while at < N {
        all[at] = columns[at].1;
        at += 1;
    }
    all
}

#[expect(clippy::indexing_slicing, reason = "it is evaluated by the compiler")]
const fn joined<const A: usize, const B: usize, const N: usize>(
    one: [Kind; A],
    other: [Kind; B],
) -> [Kind; N] {
    assert!(A + B == N, "the lengths differ");
    let mut all = [Text; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < A { one[at] } else { other[at - A] };
        at += 1;
    }
    all
}
