//! The model of the accounts, in plain terms, and the promises that a simulation can find
//! broken.

use std::time::Duration;

use signup::account::AccountId;
use signup::credentials::Login;
use signup::mail::MailKind;

/// A promise of the documentation, by the invariant that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// I1: an address without a success of its owner has at most 55 passwords judged a day.
    FewGuessesAtLogIn,
    /// I1: a caller with a token, a retry tag or another route has no more.
    FewGuessesElsewhere,
    /// I2: strangers do not delay the owner on a trusted device.
    OwnerLogsIn,
    /// I2: strangers do not delay a caller with a ticket and its code.
    CodeIsAccepted,
    /// I2: requests for codes and their answers do not spend the quota of sign-ups.
    CodeHasNoQuota,
    /// I2: the owner of a mailbox can take an account over that never verified its address.
    OwnerReclaims,
    /// I2: the owner of a trusted device gets a mail with a code.
    OwnerGetsMail,
    /// I3: what a change ended is refused.
    EndedIsEnded,
    /// I3: and nothing else is.
    LiveIsLive,
    /// I4: names and rows of the host stay.
    NothingWiped,
    /// I4: API keys stay valid until something ends them.
    KeysAreKept,
    /// I4: a takeover is reported as one.
    TakeoverIsReported,
    /// I5: a request that a policy refuses learns nothing about the address.
    GuardComesFirst,
    /// I5: no account has an address that the policies refuse.
    AddressIsAllowed,
    /// I6: a planned deletion is carried out.
    DeletionIsDone,
    /// I6: each event is delivered.
    EventIsDelivered,
    /// I6: the owner learns of a changed address.
    NoticeIsSent,
    /// I7: an account that can't be erased does not keep others.
    FailureStopsNoOther,
    /// I8: each operation ends.
    EveryWaitEnds,
    /// I10: the retry of an operation that failed settles it.
    RetrySettles,
    /// I11: a setting that can't work is refused.
    BadSettingIsRefused,
    /// I12: each answer is a documented one.
    AnswerIsDocumented,
}

/// The state of an account's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// From before addresses were verified.
    Unknown,
    /// Signed up while addresses are verified after the sign-up, and not verified since.
    Unverified,
    Verified,
}

/// A token, and when the password was verified for which it was issued.
#[derive(Debug)]
pub struct Issued {
    pub text: String,
    pub basis: u64,
    pub until: Duration,
}

/// An account, with what its owner holds.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a model says what is, one by one")]
pub struct Account {
    pub id: AccountId,
    pub email: String,
    pub password: String,
    pub name: Option<String>,
    pub standing: Standing,
    /// Whether the owner of the mailbox has made it, or has taken it over.
    pub is_owners: bool,
    pub is_disabled: bool,
    /// Whether its password is unknown: the answer to a change of it was lost.
    pub is_lost: bool,
    pub is_erased: bool,
    pub may_be_wiped: bool,
    /// The wall time of its planned deletion, in milliseconds.
    pub delete_at: Option<i64>,
    pub tokens: Vec<Issued>,
    pub keys: Vec<String>,
    pub logins: Vec<(Login, u64)>,
    /// The mark of the owner's device.
    pub device: Option<String>,
    /// The times at which the owner requested mails on the trusted device.
    pub device_mails: Vec<Duration>,
    /// The mails before its sign-up.
    pub since_mail: usize,
    /// When the last change returned that ended its tokens.
    pub ended: u64,
    /// The generation of its tokens.
    pub generation: i64,
    pub idempotency_key: Option<String>,
    /// When passwords were judged since the last success of the owner.
    pub judged: Vec<Duration>,
    pub judged_elsewhere: Vec<Duration>,
}

impl Account {
    /// Returns whether its owner can log in.
    pub fn is_in_use(&self) -> bool {
        !self.is_disabled && !self.is_erased
    }

    /// Records a success of the owner.
    pub fn owner_was_here(&mut self) {
        self.judged.clear();
    }

    /// Records a change that ended tokens and marks.
    pub fn ended_at(&mut self, tick: u64) {
        self.ended = tick;
        self.generation += 1;
    }
}

/// The purpose of a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    Signup { password: String, name: String, is_owners: bool },
    Reset { account: usize },
    Address { account: usize },
    Reclaim { account: usize },
}

/// A ticket whose code was mailed, at the address of the mail.
#[derive(Debug, Clone)]
pub struct Pending {
    pub purpose: Purpose,
    pub email: String,
    pub ticket: String,
    pub code: String,
    pub basis: u64,
    pub until: Duration,
}

/// The accounts and tickets of a world, oldest first.
#[derive(Debug, Default)]
pub struct Model {
    /// Counts what happens, to say what was before what.
    pub tick: u64,
    pub accounts: Vec<Account>,
    pub pending: Vec<Pending>,
    /// The notices that must be sent: their kind, their recipient, the account, and the mails
    /// before it.
    pub notices: Vec<(MailKind, String, usize, usize)>,
    /// The number of clients, names and addresses so far.
    pub fresh: u64,
    /// Whether two operations are under way.
    pub is_racing: bool,
    pub broken: Vec<(Promise, String)>,
}

impl Model {
    pub fn next(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    pub fn fresh(&mut self) -> u64 {
        self.fresh += 1;
        self.fresh
    }

    /// Chooses one of the accounts that are so.
    pub fn choose(&self, number: u32, is_so: impl Fn(&Account) -> bool) -> Option<usize> {
        let found: Vec<_> =
            (0..self.accounts.len()).filter(|at| is_so(&self.accounts[*at])).collect();
        (!found.is_empty()).then(|| found[usize::try_from(number).unwrap() % found.len()])
    }

    pub fn report(&mut self, promise: Promise, what: impl Into<String>) {
        self.broken.push((promise, what.into()));
    }
}
