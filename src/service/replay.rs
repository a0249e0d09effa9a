//! Retries: sign-ups whose account exists, and whose answer is derived again.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::account::{Account, AccountId, AccountState};
use crate::api_key::ApiKey;
use crate::clock::Timestamp;
use crate::core::Recovered;
use crate::error::{Issue, SignupError};
use crate::fields::{EmailKey, Name, Password};
use crate::hash::Verification;
use crate::idempotency::{HEADER, IdempotencyKey, MALFORMED, REQUIRED, Receipt, Scope, is_recent};
use crate::observe::Stage;
use crate::random::{Entropy, RandomError};
use crate::request::SignupRequest;
use crate::response::Signup;
use crate::secret::with_wiped_stack;
use crate::store::{FindBy, StoredAccount, StoredLogin};
use crate::throttle::Caller;
use crate::token::TokenOptions;

use super::inner::{Inner, Replay};
use super::stages::{Limited, NewSignup, Retry};
use super::turns::{JudgedPassword, Turn};

/// The outcome of looking for the first sign-up of a retry.
pub(super) enum RetryLookup {
    /// No account of this address, or a request that can't be retried.
    NotFound(NewSignup),
    /// The answer of the first one.
    Replayed(Signup),
}

impl Inner {
    /// Parses the values of the header `Idempotency-Key`, which must be one if there is any.
    /// A service that is not retry-safe ignores them.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with the one issue of the header.
    pub(super) fn idempotency_key<'a>(
        &self,
        mut values: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<IdempotencyKey>, SignupError> {
        let requires_key = match &self.replay {
            Some(replay) => replay.requires_key,
            None if self.verifies_first() => false,
            None => return Ok(None),
        };
        match (values.next(), values.next()) {
            (None, _) if requires_key => Err(issue(REQUIRED)),
            (None, _) => Ok(None),
            (Some(value), None) => match IdempotencyKey::from_header(value) {
                Ok(key) => Ok(Some(key)),
                Err(_) => Err(issue(MALFORMED)),
            },
            (Some(_), Some(_)) => Err(issue(MALFORMED)),
        }
    }

    /// Refuses a request without the idempotency key that the host requires.
    pub(super) fn check_idempotency_key(&self, request: &SignupRequest) -> Result<(), SignupError> {
        match &self.replay {
            Some(replay) if replay.requires_key && request.idempotency_key.is_none() => {
                Err(issue(REQUIRED))
            }
            _ => Ok(()),
        }
    }

    /// Derives what is minted for a sign-up with an idempotency key, from a nonce that is
    /// drawn. Without one, what was drawn is used itself.
    pub(super) fn derive(
        &self,
        mut draw: Entropy,
        email: &EmailKey,
        retry: Option<&Retry>,
    ) -> Result<(Entropy, Option<Receipt>), SignupError> {
        let (Some(replay), Some(retry)) = (&self.replay, retry) else {
            return Ok((draw, None));
        };
        let nonce = draw.take()?;
        let derived = replay.secrets.derive(Scope::Signup(email), &nonce, &retry.key);
        let (derived, receipt) = derived?;
        Ok((derived, Some(receipt)))
    }

    /// Looks for the first sign-up of a retry: before the policies and the host's rows, which
    /// it must not meet again. If an equal request is under way, waits for it, and looks
    /// again if that may have stored the account. If hashing is busy, the store is not asked.
    ///
    /// An account that this request has not made is no answer yet: the policies come first.
    ///
    /// # Errors
    /// Returns [`SignupError::Busy`] if the wait is too long.
    pub(super) async fn look_for_retry(
        &self,
        Limited(mut signup): Limited,
    ) -> Result<RetryLookup, SignupError> {
        let key = signup.idempotency_key.take();
        let Some((replay, key)) = self.replay.as_ref().zip(key) else {
            return Ok(RetryLookup::NotFound(NewSignup { signup, retry: None }));
        };
        let (password, name) = (signup.password.copy(), signup.name.clone());
        let email = signup.email.key();
        let request = (email.clone(), key.clone());
        let mut found = self.find_signup(replay, email).await?;
        let mut turn = replay.turns.take(request, self.core.pool.deadline()).await?;
        if found.is_none() && turn.judged().is_some_and(|judged| judged.may_be_stored) {
            found = self.find_signup(replay, email).await?;
        }
        let is_taken = found.is_some();
        let retry = Box::new(Retry { key, password, name, is_taken, turn: Some(turn) });
        match found {
            Some(found) if replay.recognize(email, &retry.key, &found).is_some() => {
                let signup = Box::pin(self.replay_of(email, *retry, &found)).await?;
                Ok(RetryLookup::Replayed(signup))
            }
            _ => Ok(RetryLookup::NotFound(NewSignup { signup, retry: Some(retry) })),
        }
    }

    /// Looks once more when a policy refuses: the first sign-up may have been stored in the
    /// meantime, and used up what the policy asks for.
    ///
    /// # Errors
    /// Returns the refusal unless this is a retry.
    pub(super) async fn replay_or(
        &self,
        refusal: SignupError,
        NewSignup { signup, retry }: NewSignup,
    ) -> Result<Signup, SignupError> {
        let Some((replay, retry)) = self.replay.as_ref().zip(retry) else {
            return Err(refusal);
        };
        let email = signup.email.key();
        // A taken address costs the same query as a free one, and reveals nothing by its time.
        let Ok(Some(found)) = self.find_signup(replay, email).await else {
            return Err(refusal);
        };
        if retry.is_taken || replay.recognize(email, &retry.key, &found).is_none() {
            return Err(refusal);
        }
        Box::pin(self.replay_of(email, *retry, &found)).await
    }

    /// Answers for the loser of a race.
    pub(super) async fn replay_first(
        &self,
        loser: &Account,
        retry: Option<Box<Retry>>,
    ) -> Result<Signup, SignupError> {
        let (Some(replay), Some(retry)) = (&self.replay, retry) else {
            return Err(SignupError::EmailTaken);
        };
        let email = loser.email().key();
        let found = self.find_signup(replay, email).await?.ok_or(SignupError::EmailTaken)?;
        Box::pin(self.replay_of(email, *retry, &found)).await
    }

    async fn find_signup(
        &self,
        replay: &Replay,
        email: &EmailKey,
    ) -> Result<Option<StoredLogin>, SignupError> {
        let _timed = self.time(Stage::Lookup);
        self.core.pool.check_room()?;
        replay.stored.look_up_login(FindBy::Email(email)).await
    }

    /// Derives the answer of the first sign-up again, if this is a retry of it and the
    /// account is as it was: active, in the first generation of its tokens, with its first
    /// API key valid.
    ///
    /// # Errors
    /// Returns [`SignupError::EmailTaken`] for anything else.
    async fn replay_of(
        &self,
        email: &EmailKey,
        retry: Retry,
        found: &StoredLogin,
    ) -> Result<Signup, SignupError> {
        let replay = self.replay.as_ref().ok_or(SignupError::EmailTaken)?;
        let Retry { key, password, name, mut turn, .. } = retry;
        let derive = replay.recognize(email, &key, found).ok_or(SignupError::EmailTaken)?;
        let now = self.core.now()?;
        if !is_recent(found.account.created_at, now) {
            return Err(SignupError::EmailTaken);
        }
        if !self.is_password_of_retry(&mut turn, password, found).await? {
            return Err(SignupError::EmailTaken);
        }
        drop(turn);
        let derive = || {
            let mut derived = derive()?;
            Ok((AccountId::mint(&mut derived)?, derived))
        };
        let recovered = self.core.recover(derive, |key| replay.stored.owner_of(key));
        let Recovered { before_key: id, api_key, mut rest, found: record } =
            recovered.await?.ok_or(SignupError::EmailTaken)?;
        let is_same = *record.account.id() == id
            && record.account.name() == name.as_ref().map(Name::as_str)
            && is_as_signed_up(&record, email, now);
        if !is_same {
            return Err(SignupError::EmailTaken);
        }
        self.answer_again(record, api_key, &mut rest)
    }

    /// Returns whether a retry has the password of its account. Equal requests that wait for
    /// one verdict share it.
    async fn is_password_of_retry(
        &self,
        turn: &mut Option<Turn>,
        password: Password,
        found: &StoredLogin,
    ) -> Result<bool, SignupError> {
        let hash = &found.password_hash;
        let given = password.reveal().as_bytes();
        let fingerprint: [u8; 32] = with_wiped_stack(|| {
            Sha256::new().chain_update(hash.as_phc()).chain_update(given).finalize().into()
        });
        let mut judged = turn.as_mut().and_then(Turn::judged);
        if let Some(last) = judged.as_ref().and_then(|judged| judged.password.as_ref())
            && last.fingerprint == fingerprint
        {
            return Ok(last.is_right);
        }
        let tag = found.receipt.as_ref().map_or(&[][..], |receipt| receipt.tag());
        let attempt = self.core.throttle.begin(&Caller::Retry(tag)).await?;
        let verified = self.core.verify(password, hash, &attempt).await?;
        let is_right = matches!(verified, Verification::Right { .. });
        if is_right {
            attempt.succeeded().await;
        }
        if let Some(judged) = &mut judged {
            judged.password = Some(JudgedPassword { fingerprint, is_right });
        }
        Ok(is_right)
    }

    /// Gives the answer of an account that is as it was again, with what is left of the
    /// derived bytes.
    pub(super) fn answer_again(
        &self,
        record: StoredAccount,
        api_key: ApiKey,
        derived: &mut Entropy,
    ) -> Result<Signup, SignupError> {
        let options = TokenOptions::new();
        let token = self.core.mint_token(&record, record.created_at, derived, &options)?;
        let signup = Signup::new(Arc::new(record.account), token, api_key);
        Ok(signup.map_err(SignupError::internal)?.replayed())
    }
}

impl Replay {
    /// Returns what derives the answer of a stored sign-up, if it had this key.
    fn recognize<'a>(
        &self,
        email: &'a EmailKey,
        key: &'a IdempotencyKey,
        found: &StoredLogin,
    ) -> Option<impl Fn() -> Result<Entropy, RandomError>> {
        self.secrets.derive_again(found.receipt.as_ref()?, Scope::Signup(email), key)
    }
}

/// Returns whether an account is as its sign-up left it: active, in the first generation of its
/// tokens, with its first API key valid.
pub(super) fn is_as_signed_up(record: &StoredAccount, email: &EmailKey, now: Timestamp) -> bool {
    record.account.email().key() == email
        && record.token_generation == 0
        && record.state == AccountState::Active
        && record.found_by.as_ref().is_some_and(|key| key.is_valid_at(now))
}

fn issue(message: &'static str) -> SignupError {
    SignupError::Invalid(vec![Issue::field(HEADER, message)])
}
