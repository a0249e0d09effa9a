//! Retries: a sign-up whose account is there already, and whose answer is derived again.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::account::{Account, AccountId, AccountState};
use crate::api_key::ApiKey;
use crate::credentials::{Caller, subject, verify_stored};
use crate::error::{Issue, SignupError};
use crate::fields::{EmailKey, Name, Password};
use crate::hash::Verification;
use crate::idempotency::{
    HEADER, IdempotencyKey, MALFORMED, REQUIRED, Receipt, ReplaySecrets, Scope, is_recent,
};
use crate::observe::Stage;
use crate::random::{Entropy, RandomError};
use crate::request::SignupRequest;
use crate::response::Signup;
use crate::secret::with_wiped_stack;
use crate::store::{AccountStore, FindBy, LifecycleStore, StoredAccount, StoredLogin};
use crate::token::TokenOptions;

use super::pipeline::{Fresh, Limited};
use super::turns::{JudgedPassword, Turn, Turns};
use super::{Prepared, SignupService};

/// The part of a service that answers retries.
pub(super) struct Replay {
    pub(super) secrets: ReplaySecrets,
    pub(super) store: Arc<dyn LifecycleStore>,
    pub(super) requires_key: bool,
    pub(super) turns: Turns,
}

/// A sign-up that may be a retry: what the first one is recognized and proven by.
pub(super) struct Retry {
    key: IdempotencyKey,
    password: Password,
    name: Option<Name>,
    /// Whether another request has made the account.
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

/// The outcome of looking for the first sign-up of a retry.
pub(super) enum Looked {
    /// No account of this address, or a request that can't be retried.
    NotFound(Fresh),
    /// The answer of the first one.
    Replayed(Signup),
}

impl<S: AccountStore> SignupService<S> {
    /// Parses the values of the header `Idempotency-Key`, which must be one if there is any.
    /// A service that is not retry-safe ignores them.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with the one issue of the header.
    pub(crate) fn idempotency_key<'a>(
        &self,
        mut values: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<IdempotencyKey>, SignupError> {
        let requires_key = match &self.inner.replay {
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
        match &self.inner.replay {
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
        let (Some(replay), Some(retry)) = (&self.inner.replay, retry) else {
            return Ok((draw, None));
        };
        let nonce = draw.take().map_err(SignupError::internal)?;
        let derived = replay.secrets.derive(Scope::Signup(email), &nonce, &retry.key);
        let (derived, receipt) = derived.map_err(SignupError::internal)?;
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
    ) -> Result<Looked, SignupError> {
        let key = signup.idempotency_key.take();
        let Some((replay, key)) = self.inner.replay.as_ref().zip(key) else {
            return Ok(Looked::NotFound(Fresh { signup, retry: None }));
        };
        let (password, name) = (signup.password.copy(), signup.name.clone());
        let email = signup.email.key();
        let request = (email.clone(), key.clone());
        let mut found = self.find_signup(replay, email).await?;
        let mut turn = replay.turns.take(request, self.inner.pool.deadline()).await?;
        if found.is_none() && turn.judged().is_some_and(|judged| judged.may_be_stored) {
            found = self.find_signup(replay, email).await?;
        }
        let is_taken = found.is_some();
        let retry = Box::new(Retry { key, password, name, is_taken, turn: Some(turn) });
        match found {
            Some(found) if replay.recognize(email, &retry.key, &found).is_some() => {
                let signup = Box::pin(self.replay_of(email, *retry, &found)).await?;
                Ok(Looked::Replayed(signup))
            }
            _ => Ok(Looked::NotFound(Fresh { signup, retry: Some(retry) })),
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
        Fresh { signup, retry }: Fresh,
    ) -> Result<Signup, SignupError> {
        let Some((replay, retry)) = self.inner.replay.as_ref().zip(retry) else {
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

    /// Answers for a sign-up that was prepared and whose insert found the email taken: by
    /// the answer of the first sign-up, if this is a retry of it.
    ///
    /// # Errors
    /// Returns [`SignupError::EmailTaken`] if it is not, and another error if the password
    /// can't be verified or the store does not answer.
    pub async fn replay(&self, taken: Prepared) -> Result<Signup, SignupError> {
        self.replay_first(taken.signup.account(), taken.retry).await
    }

    /// Answers for the loser of a race.
    pub(super) async fn replay_first(
        &self,
        loser: &Account,
        retry: Option<Box<Retry>>,
    ) -> Result<Signup, SignupError> {
        let (Some(replay), Some(retry)) = (&self.inner.replay, retry) else {
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
        self.inner.pool.check_room()?;
        let lookup = self.inner.lookups.enter()?;
        let found = replay.store.find_login(FindBy::Email(email)).await?;
        lookup.answered();
        Ok(found)
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
        let replay = self.inner.replay.as_ref().ok_or(SignupError::EmailTaken)?;
        let Retry { key, password, name, mut turn, .. } = retry;
        let derive = replay.recognize(email, &key, found).ok_or(SignupError::EmailTaken)?;
        let now = self.now()?;
        if !is_recent(found.account.created_at, now) {
            return Err(SignupError::EmailTaken);
        }
        if !self.is_password_of_retry(&mut turn, password, found).await? {
            return Err(SignupError::EmailTaken);
        }
        drop(turn);
        // The present prefix is the last one.
        for prefix in self.inner.accepted_prefixes.iter().rev() {
            let mut derived = derive().map_err(SignupError::internal)?;
            let id = AccountId::mint(&mut derived).map_err(SignupError::internal)?;
            let api_key = ApiKey::mint(prefix, &mut derived).map_err(SignupError::internal)?;
            let record = replay.store.find_account(FindBy::ApiKey(&api_key.digest())).await?;
            let Some(record) = record else { continue };
            let account = &record.account;
            let is_first = *account.id() == id
                && account.email().key() == email
                && account.name() == name.as_ref().map(Name::as_str)
                && record.token_generation == 0
                && record.state == AccountState::Active
                && record.found_by.as_ref().is_some_and(|key| key.is_valid_at(now));
            if !is_first {
                return Err(SignupError::EmailTaken);
            }
            return self.answer_again(record, api_key, &mut derived);
        }
        Err(SignupError::EmailTaken)
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
        let attempt = self.inner.throttle.begin(Caller::Retry(tag)).await?;
        let verified = verify_stored::<SignupError>(&self.inner.pool, password, hash, &attempt);
        let is_right = matches!(verified.await?, Verification::Right { .. });
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
        let (owner, options) = (subject(&record), TokenOptions::new());
        let token = self.inner.tokens.mint(&owner, record.created_at, derived, &options);
        let token = token.map_err(SignupError::internal)?;
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

fn issue(message: &'static str) -> SignupError {
    SignupError::Invalid(vec![Issue::field(HEADER, message)])
}
