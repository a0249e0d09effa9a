//! Accounts for the tests of a store.

use std::sync::Arc;

use crate::account::{Account, AccountId, Plan, TicketNonce};
use crate::api_key::{ApiKey, ApiKeyPrefix};
use crate::clock::{ManualClock, Timestamp};
use crate::event::{EventKind, NewEvent};
use crate::fields::{Email, EmailProfile, Name};
use crate::hash::PasswordHash;
use crate::idempotency::Receipt;
use crate::random::{Entropy, SeededRandom};

use crate::store::contract::{NewAccount, NewApiKey, UsedTicket};

/// Builder for a test account. Two samples with different numbers share no unique column.
///
/// ```
/// use signup::store::conformance::Sample;
///
/// let one = Sample::new(1).email("Dev@Example.com").build();
/// let other = Sample::new(2).email_of(&one).build();
/// assert_eq!(one.email().key(), other.email().key());
/// assert_ne!(one.id(), other.id());
/// ```
#[derive(Debug, Clone)]
pub struct Sample {
    number: u64,
    email: String,
    name: Option<String>,
    pepper_version: Option<u32>,
    id: Option<AccountId>,
    key: Option<NewApiKey>,
    receipt: Option<Receipt>,
    ticket: Option<UsedTicket>,
    event: Option<EventKind>,
}

/// Creates an event of an account.
pub(super) fn event(
    kind: EventKind,
    id: &AccountId,
    number: u64,
) -> Result<NewEvent, Box<dyn std::error::Error>> {
    let mut draw = Entropy::draw(&SeededRandom::new(number.wrapping_add(1 << 32)))?;
    let now = Timestamp::read(&ManualClock::at_unix(NOW), Timestamp::MAX)?;
    let data = serde_json::json!({"number": number});
    Ok(NewEvent::mint(kind, id.clone(), now, &data, &mut draw)?)
}

/// The time of all samples, in seconds since 1970.
const NOW: u32 = 1_750_000_000;

impl Sample {
    /// Creates the sample with this number.
    pub fn new(number: u64) -> Self {
        let email = format!("sample{number}@example.com");
        Self {
            number,
            email,
            name: None,
            pepper_version: None,
            id: None,
            key: None,
            receipt: None,
            ticket: None,
            event: None,
        }
    }

    /// Sets the email, an address of the RFC 5321 profile.
    #[must_use]
    pub fn email(mut self, email: &str) -> Self {
        email.clone_into(&mut self.email);
        self
    }

    /// Takes the email of another account.
    #[must_use]
    pub fn email_of(self, other: &NewAccount) -> Self {
        self.email(other.email().as_str())
    }

    /// Sets or removes the name.
    #[must_use]
    pub fn name(mut self, name: Option<&str>) -> Self {
        self.name = name.map(str::to_owned);
        self
    }

    /// Sets the pepper version of the hash.
    #[must_use]
    pub fn pepper_version(mut self, version: u32) -> Self {
        self.pepper_version = Some(version);
        self
    }

    /// Takes the id of another account.
    #[must_use]
    pub fn id_of(mut self, other: &NewAccount) -> Self {
        self.id = Some(other.id().clone());
        self
    }

    /// Takes the API key of another account.
    #[must_use]
    pub fn key_of(mut self, other: &NewAccount) -> Self {
        self.key = Some(other.key().clone());
        self
    }

    /// Sets the receipt of a sign-up that can be retried.
    #[must_use]
    pub fn receipt(mut self, receipt: Receipt) -> Self {
        self.receipt = Some(receipt);
        self
    }

    /// Sets the ticket of a sign-up whose address was verified first.
    #[must_use]
    pub fn ticket(mut self, ticket: UsedTicket) -> Self {
        self.ticket = Some(ticket);
        self
    }

    /// Adds an event of the sign-up.
    #[must_use]
    pub fn event(mut self, kind: EventKind) -> Self {
        self.event = Some(kind);
        self
    }

    /// Builds the account.
    ///
    /// # Panics
    /// Panics if the email or the name is invalid.
    pub fn build(self) -> NewAccount {
        let made = self.make();
        made.unwrap_or_else(|error| panic!("sample {} can't be made: {error}", self.number))
    }

    fn make(&self) -> Result<NewAccount, Box<dyn std::error::Error>> {
        let mut draw = Entropy::draw(&SeededRandom::new(self.number))?;
        let minted = AccountId::mint(&mut draw)?;
        let api_key = ApiKey::mint(&ApiKeyPrefix::default(), &mut draw)?;
        let email = Email::parse(&*self.email, EmailProfile::Rfc5321)?;
        let name = self.name.as_deref().map(Name::parse).transpose()?;
        let id = self.id.clone().unwrap_or(minted);
        let now = Timestamp::read(&ManualClock::at_unix(NOW), Timestamp::MAX)?;
        let minted_key = NewApiKey::of(&api_key, id.clone(), now, None);
        let key = self.key.clone().unwrap_or(minted_key);
        let phc = format!("$argon2id$v=19$m=19456,t=2,p=1$c2FtcGxl${:020}", self.number);
        let event = self.event.map(|kind| event(kind, &id, self.number)).transpose()?;
        Ok(NewAccount {
            event,
            receipt: self.receipt,
            email_verified_at: self.ticket.map(|_| now),
            email_unverified: self.ticket.is_none(),
            ticket_nonce: Some(TicketNonce::new([u8::try_from(self.number % 251)?; 16])),
            ticket: self.ticket,
            key: NewApiKey { account_id: id.clone(), ..key },
            account: Arc::new(Account::new(id, email, name, Plan::TRIAL)),
            password_hash: Arc::new(PasswordHash::from_store(phc, self.pepper_version)),
            context: Arc::default(),
        })
    }
}
