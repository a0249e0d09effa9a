//! A sign-up that is ready to be stored.

use std::fmt;
use std::sync::Arc;

use crate::error::SignupError;
use crate::limit::ClientIp;
use crate::observe;
use crate::response::Signup;
#[cfg(feature = "statements")]
use crate::store::{Dialect, Statement};
use crate::store::{InsertProof, NewAccount};

#[cfg(feature = "verification")]
use super::codes::FirstCode;
use super::inner::Inner;
use super::stages::Retry;

/// A sign-up that is ready to be stored: the rows for the store and the sealed answer.
#[must_use = "the account is not stored yet"]
pub struct Prepared {
    pub(super) service: Arc<Inner>,
    pub(super) new: NewAccount,
    pub(super) signup: Signup,
    pub(super) retry: Option<Box<Retry>>,
    /// The client, as far as it is known.
    pub(super) client: Option<ClientIp>,
    #[cfg(feature = "verification")]
    pub(super) first_code: Option<Box<FirstCode>>,
}

/// The outcome of [`prepare_or_replay`](crate::SignupService::prepare_or_replay).
#[derive(Debug)]
#[must_use = "the account is not stored yet"]
#[expect(clippy::large_enum_variant, reason = "the large one is the common one")]
pub enum Preparation {
    /// A sign-up to be stored.
    New(Prepared),
    /// The answer to a retry, whose account is stored already. It needs
    /// [`retry_safe`](crate::SignupServiceBuilder::retry_safe).
    Replayed(Signup),
}

impl Prepared {
    /// Returns the rows to store. They contain the API key's digest, not the key.
    pub fn new_account(&self) -> &NewAccount {
        &self.new
    }

    /// Returns the statements that insert the rows, for the host's own transaction and driver.
    /// Once it is committed, [`InsertProof::by_host`] opens the answer.
    #[cfg(feature = "statements")]
    pub fn statements(&self, dialect: &Dialect) -> Vec<Statement> {
        dialect.insert(&self.new)
    }

    /// Lets equal requests go on: when the host stores this one is its own affair.
    pub(super) fn end_turn(&mut self) {
        if let Some(retry) = &mut self.retry {
            retry.may_be_stored();
            retry.turn = None;
        }
    }

    /// Opens the answer with the proof that its account was inserted.
    ///
    /// # Errors
    /// Returns [`SignupError::Internal`] for the proof of another account.
    pub fn open(self, proof: InsertProof) -> Result<Signup, SignupError> {
        if proof.into_id() != *self.new.id() {
            return Err(SignupError::internal("the proof belongs to another account"));
        }
        observe::outcome("created", None);
        Ok(self.stored())
    }

    /// Answers for a sign-up whose insert found the email taken: with the answer of the first
    /// sign-up, if this is a retry of it.
    ///
    /// # Errors
    /// Returns [`SignupError::EmailTaken`] if it is not, and another error if the password
    /// can't be verified or the store does not answer.
    pub async fn replay(self) -> Result<Signup, SignupError> {
        self.service.replay_first(self.signup.account(), self.retry).await
    }

    /// Returns the answer, and mails the first code of an account that is stored now.
    pub(super) fn stored(self) -> Signup {
        #[cfg(feature = "verification")]
        if let Some(first_code) = self.first_code {
            first_code.send();
        }
        self.signup
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("new", &self.new).finish_non_exhaustive()
    }
}
