//! The account: its id, its plan, and what of it the response shows.

use std::fmt;
use std::str::FromStr;

use crate::fields::{Email, Name};
use crate::random::{Draw, RandomError};

/// What every account id begins with.
const PREFIX: &str = "acc_";
/// Digits of a minted id: 20 of 36, which is 103 bits.
const MINTED_DIGITS: usize = 20;
/// The longest id that is read, prefix included.
const MAX_BYTES: usize = 64;
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// An account id: `acc_` and lower-case letters and digits. A minted one has 20
/// of them, 103 bits of chance, and tells nothing about when it was made.
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
    pub(crate) fn mint(draw: &mut Draw) -> Result<Self, RandomError> {
        let mut id = String::with_capacity(PREFIX.len() + MINTED_DIGITS);
        id.push_str(PREFIX);
        draw.digits(ALPHABET, MINTED_DIGITS, &mut id)?;
        Ok(Self(id))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = AccountIdError;

    fn from_str(id: &str) -> Result<Self, AccountIdError> {
        let digits = id.strip_prefix(PREFIX).ok_or(AccountIdError)?;
        let in_alphabet = digits.bytes().all(|digit| ALPHABET.contains(&digit));
        if digits.is_empty() || id.len() > MAX_BYTES || !in_alphabet {
            return Err(AccountIdError);
        }
        Ok(Self(id.to_owned()))
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is no account id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an account id is `acc_` and 1 to 60 lower-case letters and digits")]
pub struct AccountIdError;

/// What an account may use. A new one is on [`Plan::Trial`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Plan {
    /// `trial`
    #[default]
    Trial,
    /// `starter`
    Starter,
    /// `pro`
    Pro,
    /// `scale`
    Scale,
}

impl Plan {
    /// All plans, in the order of the published page.
    pub const ALL: [Self; 4] = [Self::Trial, Self::Starter, Self::Pro, Self::Scale];

    /// The plan as it stands in the database and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trial => "trial",
            Self::Starter => "starter",
            Self::Pro => "pro",
            Self::Scale => "scale",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Plan {
    type Err = PlanError;

    fn from_str(plan: &str) -> Result<Self, PlanError> {
        let mut all = Self::ALL.into_iter();
        all.find(|known| known.as_str() == plan).ok_or(PlanError)
    }
}

/// The text is no plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a plan is one of trial, starter, pro, scale")]
pub struct PlanError;

/// An account as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    id: AccountId,
    email: Email,
    name: Option<Name>,
    plan: Plan,
}

impl Account {
    /// An account of these fields.
    pub fn new(id: AccountId, email: Email, name: Option<Name>, plan: Plan) -> Self {
        Self { id, email, name, plan }
    }

    /// What its owner gave.
    pub(crate) fn fields(&self) -> (Email, Option<Name>) {
        (self.email.clone(), self.name.clone())
    }

    /// The account's id.
    pub fn id(&self) -> &AccountId {
        &self.id
    }

    /// The address, as it was given.
    pub fn email(&self) -> &Email {
        &self.email
    }

    /// The display name, if one was given.
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(Name::as_str)
    }

    /// The plan.
    pub fn plan(&self) -> Plan {
        self.plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn a_minted_id_is_read_back() {
        let mut draw = Draw::from(&SeededRandom::new(1)).unwrap();
        let id = AccountId::mint(&mut draw).unwrap();
        assert_eq!(id.as_str().len(), 24);
        assert_eq!(id.as_str().parse(), Ok(id));
    }

    #[test]
    fn nothing_else_is_an_id() {
        let long = format!("acc_{}", "a".repeat(61));
        for text in
            ["", "acc_", "acc_A", "acc_a-b", "usr_a", " acc_a", "acc_a\n", "acc_\u{430}", &long]
        {
            assert_eq!(text.parse::<AccountId>(), Err(AccountIdError), "{text:?}");
        }
    }

    #[test]
    fn a_plan_is_read_back() {
        for plan in Plan::ALL {
            assert_eq!(plan.as_str().parse(), Ok(plan));
        }
        assert_eq!("Trial".parse::<Plan>(), Err(PlanError));
    }
}
