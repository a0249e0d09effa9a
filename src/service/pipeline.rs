//! The stages of a sign-up: each takes the type that the previous stage returns.

use std::net::IpAddr;
use std::sync::Arc;

use crate::account::{Account, AccountId, TicketNonce};
use crate::api_key::ApiKey;
use crate::clock::Timestamp;
use crate::context::SignupContext;
use crate::error::SignupError;
use crate::fields::{Email, Name};
use crate::hash::{PasswordHash, SALT_BYTES};
use crate::observe::{self, Stage};
use crate::policy::Occasion;
use crate::random::Entropy;
use crate::request::SignupRequest;
use crate::response::Signup;
use crate::store::{CreateOutcome, NewAccount, NewApiKey};
use crate::token::{Subject, TokenOptions};
use crate::validate::{ValidSignup, validate};

use super::inner::Inner;
use super::prepared::{Preparation, Prepared};
use super::recording::Recording;
use super::replay::RetryLookup;
use super::stages::{Admitted, EmailFree, Hashed, Limited, NewSignup, Screened};

/// Attempts to mint identifiers anew if the store has them. With 103 random bits a
/// clash never happens, so more attempts would only hide a broken generator.
const MINT_ATTEMPTS: usize = 3;

impl Inner {
    /// Registers an account.
    pub(super) async fn signup(
        self: &Arc<Self>,
        request: SignupRequest,
    ) -> Result<Signup, SignupError> {
        let address = self.traced_address(&request);
        observe::within(address, async {
            let recording = Recording::new(&self.core.pool);
            let result = match self.run(request).await {
                Ok(Preparation::New(prepared)) => Box::pin(self.store(prepared)).await,
                Ok(Preparation::Replayed(signup)) => Ok(signup),
                Err(error) => Err(error),
            };
            recording.finish_signup(&result);
            result
        })
        .await
    }

    /// Runs all stages up to the insert, for a host that inserts the rows.
    pub(super) async fn prepare(
        self: &Arc<Self>,
        request: SignupRequest,
    ) -> Result<Preparation, SignupError> {
        let address = self.traced_address(&request);
        observe::within(address, async {
            let recording = Recording::new(&self.core.pool);
            let mut result = self.run(request).await;
            if let Ok(Preparation::New(prepared)) = &mut result {
                prepared.end_turn();
            }
            recording.finish(result.as_ref().map(|preparation| match preparation {
                Preparation::New(prepared) => ("prepared", Some(prepared.new.id())),
                Preparation::Replayed(signup) => ("replayed", Some(signup.account().id())),
            }));
            result
        })
        .await
    }

    pub(super) fn traced_address(&self, request: &SignupRequest) -> Option<IpAddr> {
        let client = request.origin.client.filter(|_| self.traces_client_address);
        client.and_then(|client| client.address())
    }

    /// Runs all stages up to the insert.
    async fn run(self: &Arc<Self>, request: SignupRequest) -> Result<Preparation, SignupError> {
        if self.verifies_first() {
            let hint = "the service verifies addresses first: begin by verification().first()";
            return Err(SignupError::internal(hint));
        }
        self.check_idempotency_key(&request)?;
        let valid = self.validate(request)?;
        let limited = self.limit(valid).await?;
        let new = match self.look_for_retry(limited).await? {
            RetryLookup::Replayed(signup) => return Ok(Preparation::Replayed(signup)),
            RetryLookup::NotFound(new) => new,
        };
        let screened = match self.apply_policies(new).await {
            Ok(screened) => screened,
            Err((refusal, refused)) => {
                return self.replay_or(refusal, refused).await.map(Preparation::Replayed);
            }
        };
        let free = self.check_email_free(screened).await?;
        let admitted = self.admit(free)?;
        // In a box, as many as have a permit: a crowd waits in the stages before.
        let hashed = Box::pin(self.hash(admitted)).await?;
        self.mint(hashed).map(Preparation::New)
    }

    pub(super) fn validate(&self, request: SignupRequest) -> Result<Box<ValidSignup>, SignupError> {
        let _timed = self.time(Stage::Validate);
        validate(request, self.email_profile)
    }

    pub(super) async fn limit(&self, valid: Box<ValidSignup>) -> Result<Limited, SignupError> {
        let _timed = self.time(Stage::Limit);
        if let Some(limiter) = &self.limiter {
            let client = valid.origin.client.unwrap_or_default();
            limiter.check_signup(Some(client), valid.email.key()).await?;
        }
        Ok(Limited(valid))
    }

    /// Runs the policies: after the rate limits, because policies may be expensive; before
    /// reserving a hash permit, because they may be slow.
    ///
    /// # Errors
    /// Returns the refusal, with the sign-up that it is about.
    pub(super) async fn apply_policies(
        &self,
        mut new: NewSignup,
    ) -> Result<Screened, (SignupError, NewSignup)> {
        let _timed = self.time(Stage::Policy);
        let evaluated =
            self.policies.evaluate_all(&mut new.signup, Occasion::Signup, &self.core.pool);
        match evaluated.await {
            Ok(()) => Ok(Screened(new)),
            Err(refusal) => Err((refusal, new)),
        }
    }

    /// Checks whether the email is taken, to save a hash; only the insert decides. If
    /// hashing is busy, the store is not asked.
    async fn check_email_free(&self, Screened(new): Screened) -> Result<EmailFree, SignupError> {
        if let Some(retry) = &new.retry {
            // It was looked for already, but not whether it is banned.
            let is_taken = retry.is_taken;
            self.refuse_banned(new.signup.email.key()).await?;
            return if is_taken { Err(SignupError::EmailTaken) } else { Ok(EmailFree(new)) };
        }
        match self.look_up_email(Screened(new)).await? {
            (_, true) => Err(SignupError::EmailTaken),
            (new, false) => Ok(EmailFree(new)),
        }
    }

    /// Returns whether the email is taken.
    pub(super) async fn look_up_email(
        &self,
        Screened(new): Screened,
    ) -> Result<(NewSignup, bool), SignupError> {
        let _timed = self.time(Stage::Lookup);
        self.core.pool.check_room()?;
        let lookup = self.core.lookups.enter()?;
        let email = new.signup.email.key();
        // Both are asked, so that the time does not tell which it is.
        let taken = self.store.is_email_taken(email).await?;
        let banned = self.is_banned(email).await?;
        lookup.answered();
        Ok((new, taken || banned))
    }

    /// Reserves a hash permit.
    pub(super) fn admit(&self, EmailFree(new): EmailFree) -> Result<Admitted, SignupError> {
        let permit = self.core.pool.reserve()?;
        Ok(Admitted { new, permit })
    }

    /// Hashes the password. All randomness of the sign-up is drawn at once, the salt first.
    pub(super) async fn hash(&self, admitted: Admitted) -> Result<Hashed, SignupError> {
        let _timed = self.time(Stage::Hash);
        let Admitted { new: NewSignup { signup, retry }, permit } = admitted;
        let ValidSignup { email, password, name, context, origin, .. } = *signup;
        let client = origin.client;
        let mut draw = self.core.draw()?;
        let salt = draw.take()?;
        let password_hash = Arc::new(permit.hash_with_salt(password, salt).await?);
        let context = Arc::new(context);
        Ok(Hashed { email, name, context, client, password_hash, draw, retry })
    }

    /// Mints everything in the answer, and its JSON. After this, only the store can fail.
    fn mint(self: &Arc<Self>, hashed: Hashed) -> Result<Prepared, SignupError> {
        let _timed = self.time(Stage::Mint);
        let Hashed { email, name, context, client, password_hash, mut draw, retry } = hashed;
        let now = self.core.now()?;
        let nonce = draw.take()?;
        let (draw, receipt) = self.derive(draw, email.key(), retry.as_deref())?;
        let (new, signup) = self.mint_account(now, draw, email, name, password_hash, context)?;
        let event = self.created_event(&new, false)?;
        let ticket_nonce = Some(TicketNonce::new(nonce));
        #[cfg(feature = "verification")]
        let new = NewAccount { email_unverified: self.verifies_after(), ..new };
        let new = NewAccount { receipt, ticket_nonce, event, ..new };
        Ok(Prepared {
            #[cfg(feature = "verification")]
            first_code: self.first_code(&new, client)?,
            service: Arc::clone(self),
            new,
            signup,
            retry,
            client,
        })
    }

    /// Mints an account, its API key, its token and the answer, of these random bytes.
    pub(super) fn mint_account(
        &self,
        now: Timestamp,
        mut draw: Entropy,
        email: Email,
        name: Option<Name>,
        password_hash: Arc<PasswordHash>,
        context: Arc<SignupContext>,
    ) -> Result<(NewAccount, Signup), SignupError> {
        let id = AccountId::mint(&mut draw)?;
        let api_key = ApiKey::mint(&self.core.api_key_prefix, &mut draw)?;
        let (subject, options) = (Subject::new(&id), TokenOptions::new());
        let token = self.core.tokens.mint(&subject, now, &mut draw, &options)?;
        let key = NewApiKey::of(&api_key, id.clone(), now, None);
        let account = Arc::new(Account::new(id, email, name, self.initial_plan.clone()));
        let new = NewAccount {
            account: Arc::clone(&account),
            password_hash,
            key,
            context,
            receipt: None,
            email_verified_at: None,
            email_unverified: false,
            ticket_nonce: None,
            ticket: None,
            event: None,
        };
        let signup = Signup::new(account, token, api_key).map_err(SignupError::internal)?;
        Ok((new, signup))
    }

    async fn store(self: &Arc<Self>, mut prepared: Prepared) -> Result<Signup, SignupError> {
        let _timed = self.time(Stage::Store);
        if let Some(retry) = &mut prepared.retry {
            retry.may_be_stored();
        }
        for _ in 0..MINT_ATTEMPTS {
            let new = prepared.new.clone();
            match self.store.create(new).await? {
                CreateOutcome::Stored => return Ok(prepared.stored()),
                CreateOutcome::TicketUsed => {
                    return Err(SignupError::internal("a sign-up without a ticket has used one"));
                }
                CreateOutcome::EmailTaken => {
                    return self.replay_first(prepared.signup.account(), prepared.retry).await;
                }
                CreateOutcome::IdentifierTaken => prepared = self.mint_again(prepared)?,
            }
        }
        let broken = "the store has every identifier that was minted: is the randomness broken?";
        Err(SignupError::internal(broken))
    }

    /// Mints other identifiers for the same sign-up.
    fn mint_again(self: &Arc<Self>, prepared: Prepared) -> Result<Prepared, SignupError> {
        let Prepared {
            new: NewAccount { password_hash, context, .. }, signup, retry, client, ..
        } = prepared;
        let mut draw = self.core.draw()?;
        draw.take::<SALT_BYTES>()?;
        let (email, name) = signup.account().fields();
        self.mint(Hashed { email, name, context, client, password_hash, draw, retry })
    }
}
