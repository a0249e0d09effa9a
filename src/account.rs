//! Accounts: id, plan, and the part that the response shows.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fields::{Email, Name};
use crate::issue::InvalidValue;
use crate::random::{Entropy, RandomError};

mod address;

pub use address::{EmailStatus, TicketNonce};

/// The prefix of account ids.
const PREFIX: &str = "acc_";
/// Digits of a minted id: 20 of 36, which is 103 bits.
const MINTED_DIGITS: usize = 20;
/// The maximum length of an id, including the prefix.
const MAX_BYTES: usize = 64;
/// The maximum length of a plan's name.
const MAX_PLAN_BYTES: usize = 32;
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

const INVALID_ID: InvalidValue =
    InvalidValue::new("invalid account id: needs `acc_` and 1 to 60 lower-case letters and digits");
const INVALID_STATE: InvalidValue = InvalidValue::new("unknown account state");
const INVALID_PLAN: InvalidValue = InvalidValue::new(
    "a plan is 1 to 32 lower-case letters, digits, hyphens and underscores, beginning with a letter",
);

/// An account id: `acc_` and lower-case letters and digits. A minted one has 20 of them,
/// 103 random bits, and does not reveal when it was minted.
///
/// ```
/// use signup::account::AccountId;
///
/// let id: AccountId = "acc_a1b2c3d4e5".parse().unwrap();
/// assert_eq!(id.as_str(), "acc_a1b2c3d4e5");
/// assert!("acc_../etc".parse::<AccountId>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(String);

impl AccountId {
    pub(crate) fn mint(draw: &mut Entropy) -> Result<Self, RandomError> {
        let mut id = String::with_capacity(PREFIX.len() + MINTED_DIGITS);
        id.push_str(PREFIX);
        draw.digits(ALPHABET, MINTED_DIGITS, &mut id)?;
        Ok(Self(id))
    }

    /// Creates an id from what a store has kept, without checking it: an id of another form
    /// was made by the host and must not lock its account out.
    pub fn from_store(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = InvalidValue;

    fn from_str(id: &str) -> Result<Self, InvalidValue> {
        let digits = id.strip_prefix(PREFIX).ok_or(INVALID_ID)?;
        let in_alphabet = digits.bytes().all(|digit| ALPHABET.contains(&digit));
        if digits.is_empty() || id.len() > MAX_BYTES || !in_alphabet {
            return Err(INVALID_ID);
        }
        Ok(Self(id.to_owned()))
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for AccountId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Parsed like [`FromStr`], for the path of a route.
impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The plan of an account: one of the published API, or one of the host.
///
/// A name has 1 to 32 lower-case letters, digits, hyphens and underscores, and begins with
/// a letter. A stored plan is carried unchanged.
///
/// ```
/// use signup::account::Plan;
///
/// assert_eq!(Plan::default(), Plan::TRIAL);
/// assert_eq!("enterprise-2".parse::<Plan>().unwrap().as_str(), "enterprise-2");
/// assert!("Enterprise 2".parse::<Plan>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plan(Cow<'static, str>);

impl Plan {
    /// `trial`, the plan of a new account.
    pub const TRIAL: Self = Self(Cow::Borrowed("trial"));
    /// `starter`
    pub const STARTER: Self = Self(Cow::Borrowed("starter"));
    /// `pro`
    pub const PRO: Self = Self(Cow::Borrowed("pro"));
    /// `scale`
    pub const SCALE: Self = Self(Cow::Borrowed("scale"));

    /// The plans of the published API, in its order.
    pub const PUBLISHED: [Self; 4] = [Self::TRIAL, Self::STARTER, Self::PRO, Self::SCALE];

    /// Creates a plan from what a store has kept, without checking it: a plan written by
    /// SQL must not lock the account out.
    pub fn from_store(plan: impl Into<String>) -> Self {
        Self(Cow::Owned(plan.into()))
    }

    /// Returns the plan as written in the database and in JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::TRIAL
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Plan {
    type Err = InvalidValue;

    fn from_str(plan: &str) -> Result<Self, InvalidValue> {
        let in_alphabet = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
        };
        let letter_first = plan.starts_with(|first: char| first.is_ascii_lowercase());
        if letter_first && plan.len() <= MAX_PLAN_BYTES && plan.bytes().all(in_alphabet) {
            Ok(Self(Cow::Owned(plan.to_owned())))
        } else {
            Err(INVALID_PLAN)
        }
    }
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The state of an account.
///
/// ```
/// use signup::account::AccountState;
///
/// assert_eq!("pending_deletion".parse(), Ok(AccountState::PendingDeletion));
/// assert_eq!(AccountState::default().as_str(), "active");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum AccountState {
    /// In use.
    #[default]
    Active,
    /// Locked by the host: nothing of it is accepted, until it is enabled again.
    Disabled,
    /// To be erased after a time of grace. Its owner can log in, to keep it; its API keys
    /// are not accepted meanwhile.
    PendingDeletion,
    /// Erased: no personal data, only its id is left.
    Erased,
}

impl AccountState {
    pub(crate) const ALL: [Self; 4] =
        [Self::Active, Self::Disabled, Self::PendingDeletion, Self::Erased];
    /// The states of an account that is not erased.
    pub(crate) const NOT_ERASED: &'static [Self] =
        &[Self::Active, Self::Disabled, Self::PendingDeletion];

    /// Returns `accounts.state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::PendingDeletion => "pending_deletion",
            Self::Erased => "erased",
        }
    }

    /// Returns whether its owner can log in, and have tokens.
    pub const fn admits_owner(self) -> bool {
        matches!(self, Self::Active | Self::PendingDeletion)
    }

    /// Returns whether its API keys are accepted.
    pub const fn admits_api_keys(self) -> bool {
        matches!(self, Self::Active)
    }
}

impl FromStr for AccountState {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let mut all = Self::ALL.into_iter();
        all.find(|state| state.as_str() == text).ok_or(INVALID_STATE)
    }
}

impl fmt::Display for AccountState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An account as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    id: AccountId,
    email: Email,
    name: Option<Name>,
    plan: Plan,
}

impl Account {
    /// Creates an account from its fields.
    pub fn new(id: AccountId, email: Email, name: Option<Name>, plan: Plan) -> Self {
        Self { id, email, name, plan }
    }

    /// Returns the fields given by the owner.
    pub(crate) fn fields(&self) -> (Email, Option<Name>) {
        (self.email.clone(), self.name.clone())
    }

    /// Returns the account's id.
    pub fn id(&self) -> &AccountId {
        &self.id
    }

    /// Returns the address as it was given.
    pub fn email(&self) -> &Email {
        &self.email
    }

    /// Returns the display name, if one was given.
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(Name::as_str)
    }

    /// Returns the plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn with_name(self, name: Option<Name>) -> Self {
        Self { name, ..self }
    }

    pub(crate) fn with_email(self, email: Email) -> Self {
        Self { email, ..self }
    }

    pub(crate) fn with_plan(self, plan: Plan) -> Self {
        Self { plan, ..self }
    }
}

/// The account as the endpoint's 201 shows it.
impl Serialize for Account {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut account = serializer.serialize_struct("Account", 4)?;
        account.serialize_field("id", &self.id)?;
        account.serialize_field("email", self.email.as_str())?;
        account.serialize_field("name", &self.name())?;
        account.serialize_field("plan", &self.plan)?;
        account.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn a_minted_id_is_read_back() {
        let mut draw = Entropy::draw(&SeededRandom::new(1)).unwrap();
        let id = AccountId::mint(&mut draw).unwrap();
        assert_eq!(id.as_str().len(), 24);
        assert_eq!(id.as_str().parse(), Ok(id));
    }

    #[test]
    fn an_id_and_a_plan_have_each_character_of_their_alphabet() {
        let longest = format!("acc_{}", "a".repeat(MAX_BYTES - 4));
        assert!(longest.parse::<AccountId>().is_ok());
        for good in ["pro", "pro2", "pro-plan", "pro_plan", &"p".repeat(MAX_PLAN_BYTES)] {
            assert_eq!(good.parse::<Plan>().unwrap().as_str(), good);
        }
        for bad in ["", "2pro", "Pro", "pro plan", "-pro", "pro.", &"p".repeat(MAX_PLAN_BYTES + 1)]
        {
            assert_eq!(bad.parse::<Plan>(), Err(INVALID_PLAN), "{bad}");
        }
    }

    #[test]
    fn nothing_else_is_an_id() {
        let long = format!("acc_{}", "a".repeat(61));
        for text in
            ["", "acc_", "acc_A", "acc_a-b", "usr_a", " acc_a", "acc_a\n", "acc_\u{430}", &long]
        {
            assert_eq!(text.parse::<AccountId>(), Err(INVALID_ID), "{text:?}");
        }
    }

    #[test]
    fn an_id_in_json_is_parsed() {
        let id: AccountId = serde_json::from_str(r#""acc_a1""#).unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), r#""acc_a1""#);
        assert!(serde_json::from_str::<AccountId>(r#""acc_../etc""#).is_err());
    }

    #[test]
    fn an_account_is_serialized_as_the_answer_shows_it() {
        let email = Email::from_store("Dev@x.co", "dev@x.co");
        let id = AccountId::from_store("acc_a1");
        let account = Account::new(id, email, None, Plan::PRO);
        assert_eq!(
            serde_json::to_string(&account).unwrap(),
            r#"{"id":"acc_a1","email":"Dev@x.co","name":null,"plan":"pro"}"#
        );
    }

    #[test]
    fn a_plan_is_read_back() {
        for plan in Plan::PUBLISHED {
            assert_eq!(plan.as_str().parse(), Ok(plan));
        }
        let long = "p".repeat(33);
        for text in ["", "Trial", "1st", "a b", "-a", "a\"", "\u{e9}", &long] {
            assert_eq!(text.parse::<Plan>(), Err(INVALID_PLAN), "{text:?}");
        }
        assert_eq!("p".repeat(32).parse::<Plan>().unwrap().as_str().len(), 32);
    }
}
