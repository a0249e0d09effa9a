//! The inserts of a sign-up.

use std::sync::Arc;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::event::NewEvent;
use crate::idempotency::Receipt;
use crate::store::contract::NewAccount;

use super::at_once;
use super::columns::account_lists;
use super::fill::fill;
use super::names::TableNames;
use super::statement::{Statement, Value};
use super::syntax::Syntax;
use super::table::MappedTable;

/// The statements that insert an account with what belongs to it.
#[derive(Debug)]
pub(in crate::store) struct Inserts {
    /// The host's table, if the accounts are in one.
    accounts: Option<Arc<MappedTable>>,
    account: Arc<str>,
    first_key: Arc<str>,
    ticket: Arc<str>,
    count_event: Arc<str>,
    event: Arc<str>,
    /// By whether there is a ticket, and whether there is an event; none where the database
    /// can't insert into several tables with one statement.
    at_once: Option<[Arc<str>; 4]>,
}

impl Inserts {
    /// Fills the names of the host into each statement.
    pub(in crate::store) fn new(names: &TableNames, syntax: Syntax) -> Self {
        let sql = |template: &str| Arc::<str>::from(fill(template, names, syntax));
        let at_once = (syntax.inserts_at_once && names.accounts.is_none()).then(|| {
            [(false, false), (false, true), (true, false), (true, true)]
                .map(|(ticket, event)| sql(&at_once::template(ticket, event)))
        });
        let (columns, values) = account_lists();
        Self {
            accounts: names.accounts.clone(),
            account: sql(&format!(
                "INSERT INTO {{accounts}} ({columns}{{added_columns}})
                 VALUES ({values}{{added_values}}) {{ignore_taken_email}}"
            )),
            first_key: sql("INSERT INTO {api_keys}
                     (digest, account_id, prefix, last_four, created_at)
                 VALUES ({1}, {2}, {3}, {4}, {5})"),
            ticket: sql("INSERT INTO {used_tickets} (hash, expires_at) VALUES ({1}, {2})"),
            count_event: sql("UPDATE {accounts} SET @event_number = @event_number + 1
                 WHERE @id = {1}"),
            event: sql("INSERT INTO {events}
                     (account_id, number, id, kind, created_at, data, partition_id, due_at)
                 SELECT a.@id, a.@event_number, {2}, {3}, {4}, {5}, {6}, {4}
                 FROM {accounts} a WHERE a.@id = {1}"),
            at_once,
        }
    }

    /// Inserts all rows of a sign-up, with as few statements as the database allows.
    pub(in crate::store) fn all(&self, new: &NewAccount) -> Vec<Statement> {
        self.at_once(new).map_or_else(|| self.one_by_one(new), |statement| vec![statement])
    }

    /// Inserts all rows of a sign-up, one statement after the other. The first one affects no
    /// row where the email is taken, if it does not fail.
    pub(in crate::store) fn one_by_one(&self, new: &NewAccount) -> Vec<Statement> {
        let event =
            new.event().map(|event| [self.count_event(event.account_id()), self.event(event)]);
        let all = [self.account(new), self.first_key(new)].into_iter().chain(self.ticket(new));
        all.chain(event.into_iter().flatten()).collect()
    }

    /// Inserts all rows with one statement, if the database can.
    fn at_once(&self, new: &NewAccount) -> Option<Statement> {
        let [plain, with_event, with_ticket, with_both] = self.at_once.as_ref()?;
        let mut statement = self.account(new);
        statement.values.extend([
            new.key_digest().as_bytes().as_slice().into(),
            new.key_prefix().into(),
            new.key_last_four().into(),
        ]);
        let ticket = self.ticket(new).map(|ticket| ticket.values);
        let event = new.event().map(|event| self.event(event).values);
        statement.sql = Arc::clone(match (&ticket, &event) {
            (None, None) => plain,
            (None, Some(_)) => with_event,
            (Some(_), None) => with_ticket,
            (Some(_), Some(_)) => with_both,
        });
        statement.values.extend(ticket.into_iter().flatten());
        // The account is that which is inserted.
        statement.values.extend(event.into_iter().flatten().skip(1));
        Some(statement)
    }

    pub(super) fn account(&self, new: &NewAccount) -> Statement {
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
            new.is_email_unverified().then_some(1).into(),
            new.ticket_nonce().map(|nonce| nonce.as_bytes().as_slice()).into(),
        ];
        let mut statement = Statement::new(&self.account, values);
        let added = self.accounts.as_ref().map(|accounts| accounts.added_values(new));
        statement.values.extend(added.into_iter().flatten());
        statement
    }

    fn first_key(&self, new: &NewAccount) -> Statement {
        let values = [
            new.key_digest().as_bytes().as_slice().into(),
            new.id().as_str().into(),
            new.key_prefix().into(),
            new.key_last_four().into(),
            new.created_at().as_millis().into(),
        ];
        Statement::new(&self.first_key, values)
    }

    /// Marks the ticket of a sign-up as used, if it has one.
    fn ticket(&self, new: &NewAccount) -> Option<Statement> {
        let ticket = new.ticket()?;
        let values = [ticket.hash().as_slice().into(), ticket.expires_at().as_millis().into()];
        Some(Statement::new(&self.ticket, values))
    }

    /// Counts the event of an account that was inserted just now.
    fn count_event(&self, account: &AccountId) -> Statement {
        Statement::new(&self.count_event, [account.as_str().into()])
    }

    /// Inserts an event under the number that its account's row has given.
    pub(in crate::store) fn event(&self, event: &NewEvent) -> Statement {
        let values = [
            event.account_id().as_str().into(),
            event.id().into(),
            event.kind().as_str().into(),
            event.created_at().as_millis().into(),
            event.data().into(),
            i64::from(event.partition()).into(),
        ];
        Statement::new(&self.event, values)
    }
}

/// Returns the three columns of a receipt, or three nulls.
pub(in crate::store) fn receipt(receipt: Option<&Receipt>) -> [Value; 3] {
    [
        receipt.map(|receipt| receipt.nonce().as_slice()).into(),
        receipt.map(|receipt| i64::from(receipt.secret_version())).into(),
        receipt.map(|receipt| receipt.tag().as_slice()).into(),
    ]
}
