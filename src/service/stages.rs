//! The types of the pipeline: each stage takes the type that the previous stage returns.

use std::sync::Arc;

use crate::context::SignupContext;
#[cfg(feature = "verification")]
use crate::fields::EmailKey;
use crate::fields::{Email, Name, Password};
use crate::hash::{HashPermit, PasswordHash};
use crate::idempotency::IdempotencyKey;
use crate::limit::ClientIp;
use crate::random::Entropy;
use crate::validate::ValidSignup;

use super::turns::Turn;

/// A sign-up within its rate limits.
pub(super) struct Limited(pub(super) Box<ValidSignup>);

/// A sign-up that is no retry of a stored one.
pub(super) struct NewSignup {
    pub(super) signup: Box<ValidSignup>,
    /// With an idempotency key: what a retry is recognized and verified by.
    pub(super) retry: Option<Box<Retry>>,
}

/// A sign-up that passed every policy.
pub(super) struct Screened(pub(super) NewSignup);

impl Screened {
    #[cfg(feature = "verification")]
    pub(super) fn email(&self) -> &EmailKey {
        self.0.signup.email.key()
    }
}

/// A sign-up whose email was not taken when it was looked up.
pub(super) struct EmailFree(pub(super) NewSignup);

/// A sign-up with its hash permit.
pub(super) struct Admitted {
    pub(super) new: NewSignup,
    pub(super) permit: HashPermit,
}

/// A sign-up with a hashed password and its remaining randomness.
pub(super) struct Hashed {
    pub(super) email: Email,
    pub(super) name: Option<Name>,
    pub(super) context: Arc<SignupContext>,
    pub(super) client: Option<ClientIp>,
    pub(super) password_hash: Arc<PasswordHash>,
    pub(super) draw: Entropy,
    pub(super) retry: Option<Box<Retry>>,
}

/// A sign-up that may be a retry: what the first one is recognized and verified by.
pub(super) struct Retry {
    pub(super) key: IdempotencyKey,
    pub(super) password: Password,
    pub(super) name: Option<Name>,
    /// Whether another request has registered the account.
    pub(super) is_taken: bool,
    /// Kept until the account is stored, or is not.
    pub(super) turn: Option<Turn>,
}

impl Retry {
    /// Lets the next equal request look for the account again.
    pub(super) fn may_be_stored(&mut self) {
        if let Some(judged) = self.turn.as_mut().and_then(Turn::judged) {
            judged.may_be_stored = true;
        }
    }
}
