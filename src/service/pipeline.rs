//! The stages of a sign-up: each takes the type that the previous stage returns.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::account::{Account, AccountId, TicketNonce};
use crate::api_key::ApiKey;
use crate::clock::Timestamp;
use crate::context::SignupContext;
use crate::error::SignupError;
use crate::event::{EventKind, NewEvent};
use crate::fields::{Email, EmailKey, Name};
use crate::hash::{HashPermit, PasswordHash, SALT_BYTES};
use crate::limit::ClientIp;
use crate::observe::{self, Stage, Timed};
use crate::policy::Occasion;
use crate::random::Entropy;
use crate::request::SignupRequest;
use crate::response::Signup;
use crate::store::{AccountStore, CreateOutcome, NewAccount, NewApiKey};
use crate::token::{Subject, TokenOptions};
use crate::validate::{ValidSignup, validate};

use super::replay::{Looked, Retry};
use super::{Inner, Preparation, Prepared, SignupService};

/// The purpose of the tags of banned addresses.
pub(super) const BAN: &[u8] = b"signup 1: banned address";

/// Attempts to mint identifiers anew if the store has them. With 103 random bits a
/// clash never happens, so more attempts would only hide a broken generator.
const MINT_ATTEMPTS: usize = 3;

impl<S: AccountStore> SignupService<S> {
    /// Runs all stages up to the insert.
    pub(super) async fn run(&self, request: SignupRequest) -> Result<Preparation, SignupError> {
        if self.verifies_first() {
            return Err(SignupError::internal("addresses are proven first: call `begin`"));
        }
        self.check_idempotency_key(&request)?;
        let valid = self.validate(request)?;
        let limited = self.limit(valid).await?;
        let fresh = match self.look_for_retry(limited).await? {
            Looked::Replayed(signup) => return Ok(Preparation::Replayed(signup)),
            Looked::NotFound(fresh) => fresh,
        };
        let screened = match self.apply_policies(fresh).await {
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

    pub(super) fn time(&self, stage: Stage) -> Timed<'_> {
        observe::time(stage, &*self.inner.clock)
    }

    pub(super) fn validate(&self, request: SignupRequest) -> Result<Box<ValidSignup>, SignupError> {
        let _timed = self.time(Stage::Validate);
        validate(request, self.inner.email_profile)
    }

    pub(super) async fn limit(&self, valid: Box<ValidSignup>) -> Result<Limited, SignupError> {
        let _timed = self.time(Stage::Limit);
        if let Some(limiter) = &self.inner.limiter {
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
        mut fresh: Fresh,
    ) -> Result<Screened, (SignupError, Fresh)> {
        let _timed = self.time(Stage::Policy);
        let Inner { policies, pool, .. } = &*self.inner;
        match policies.evaluate_all(&mut fresh.signup, Occasion::Signup, pool).await {
            Ok(()) => Ok(Screened(fresh)),
            Err(refusal) => Err((refusal, fresh)),
        }
    }

    /// Checks whether the email is taken, to save a hash; only the insert decides. If
    /// hashing is busy, the store is not asked.
    async fn check_email_free(&self, Screened(fresh): Screened) -> Result<Free, SignupError> {
        if let Some(retry) = &fresh.retry {
            // It was looked for already, but not whether it is banned.
            let is_taken = retry.is_taken;
            self.refuse_banned(fresh.signup.email.key()).await?;
            return if is_taken { Err(SignupError::EmailTaken) } else { Ok(Free(fresh)) };
        }
        match self.look_up_email(Screened(fresh)).await? {
            (_, true) => Err(SignupError::EmailTaken),
            (fresh, false) => Ok(Free(fresh)),
        }
    }

    /// Returns whether the email is taken.
    pub(super) async fn look_up_email(
        &self,
        Screened(fresh): Screened,
    ) -> Result<(Fresh, bool), SignupError> {
        let _timed = self.time(Stage::Lookup);
        self.inner.pool.check_room()?;
        let lookup = self.inner.lookups.enter()?;
        let email = fresh.signup.email.key();
        // Both are asked, so that the time does not tell which it is.
        let taken = self.inner.store.is_email_taken(email).await?;
        let banned = self.is_banned(email).await?;
        lookup.answered();
        Ok((fresh, taken || banned))
    }

    /// Returns whether the address was banned, if bans are remembered.
    pub(super) async fn is_banned(&self, email: &EmailKey) -> Result<bool, SignupError> {
        let Some(secrets) = &self.inner.bans else { return Ok(false) };
        let mut is_banned = false;
        // All are asked, so that the time does not tell.
        for tag in secrets.tags_of(BAN, email.as_str().as_bytes()) {
            is_banned |= self.inner.store.is_email_taken(&EmailKey::banned(&tag)).await?;
        }
        Ok(is_banned)
    }

    /// Refuses an address that was banned.
    pub(super) async fn refuse_banned(&self, email: &EmailKey) -> Result<(), SignupError> {
        let lookup = self.inner.lookups.enter()?;
        let is_banned = self.is_banned(email).await?;
        lookup.answered();
        if is_banned { Err(SignupError::EmailTaken) } else { Ok(()) }
    }

    /// Reserves a hash permit.
    pub(super) fn admit(&self, Free(fresh): Free) -> Result<Admitted, SignupError> {
        let permit = self.inner.pool.reserve()?;
        Ok(Admitted { fresh, permit })
    }

    pub(super) async fn hash(&self, admitted: Admitted) -> Result<Hashed, SignupError> {
        let _timed = self.time(Stage::Hash);
        let Admitted { fresh: Fresh { signup, retry }, permit } = admitted;
        let ValidSignup { email, password, name, context, origin, .. } = *signup;
        let client = origin.client;
        let (salt, draw) = self.draw()?;
        let password_hash = Arc::new(permit.hash_with_salt(password, salt).await?);
        let context = Arc::new(context);
        Ok(Hashed { email, name, context, client, password_hash, draw, retry })
    }

    /// Draws all randomness for one sign-up; the salt is taken first.
    pub(super) fn draw(&self) -> Result<([u8; SALT_BYTES], Entropy), SignupError> {
        let mut draw = Entropy::draw(&*self.inner.random).map_err(SignupError::internal)?;
        let salt = draw.take().map_err(SignupError::internal)?;
        Ok((salt, draw))
    }

    /// Draws a nonce for the tickets of an account.
    pub(super) fn draw_nonce(&self) -> Result<TicketNonce, SignupError> {
        let mut nonce = [0; 16];
        self.inner.random.fill(&mut nonce).map_err(SignupError::internal)?;
        Ok(TicketNonce::new(nonce))
    }

    /// Mints everything in the answer, and its JSON. After this, only the store can fail.
    fn mint(&self, hashed: Hashed) -> Result<Prepared, SignupError> {
        let _timed = self.time(Stage::Mint);
        let Hashed { email, name, context, client, password_hash, mut draw, retry } = hashed;
        let now = self.now()?;
        let nonce = draw.take().map_err(SignupError::internal)?;
        let (draw, receipt) = self.derive(draw, email.key(), retry.as_deref())?;
        let (new, signup) = self.mint_account(now, draw, email, name, password_hash, context)?;
        let event = self.created(&new, false)?;
        let ticket_nonce = Some(TicketNonce::new(nonce));
        #[cfg(feature = "verification")]
        let new = NewAccount { email_unverified: self.verifies_after(), ..new };
        let new = NewAccount { receipt, ticket_nonce, event, ..new };
        Ok(Prepared {
            #[cfg(feature = "verification")]
            first_code: self.first_code(&new, client)?,
            new,
            signup,
            retry,
            client,
        })
    }

    /// Creates the event of a sign-up, if events are stored.
    pub(super) fn created(
        &self,
        new: &NewAccount,
        is_verified: bool,
    ) -> Result<Option<NewEvent>, SignupError> {
        let data = json!({"plan": new.plan().as_str(), "verified": is_verified});
        self.event(EventKind::AccountCreated, new.id(), new.created_at(), &data)
    }

    /// Returns whether events are stored.
    pub(super) fn tells(&self) -> bool {
        self.inner.events.is_some()
    }

    /// Creates an event, if events are stored.
    pub(super) fn event(
        &self,
        kind: EventKind,
        account: &AccountId,
        now: Timestamp,
        data: &Value,
    ) -> Result<Option<NewEvent>, SignupError> {
        if !self.tells() {
            return Ok(None);
        }
        let mut draw = Entropy::draw(&*self.inner.random).map_err(SignupError::internal)?;
        let event = NewEvent::mint(kind, account.clone(), now, data, &mut draw);
        event.map(Some).map_err(SignupError::internal)
    }

    pub(super) fn now(&self) -> Result<Timestamp, SignupError> {
        let now = Timestamp::read(&self.inner.clock, self.inner.not_after);
        now.map_err(SignupError::internal)
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
        let inner = &*self.inner;
        let id = AccountId::mint(&mut draw).map_err(SignupError::internal)?;
        let api_key =
            ApiKey::mint(&inner.api_key_prefix, &mut draw).map_err(SignupError::internal)?;
        let options = TokenOptions::new();
        let token = inner.tokens.mint(&Subject::new(&id), now, &mut draw, &options);
        let token = token.map_err(SignupError::internal)?;
        let key = NewApiKey::of(&api_key, id.clone(), now, None);
        let account = Arc::new(Account::new(id, email, name, inner.initial_plan.clone()));
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

    pub(super) async fn store(&self, mut prepared: Prepared) -> Result<Signup, SignupError> {
        let _timed = self.time(Stage::Store);
        if let Some(retry) = &mut prepared.retry {
            retry.may_be_stored();
        }
        for _ in 0..MINT_ATTEMPTS {
            let new = prepared.new.clone();
            match self.inner.store.create(new).await? {
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
    fn mint_again(&self, prepared: Prepared) -> Result<Prepared, SignupError> {
        let Prepared {
            new: NewAccount { password_hash, context, .. }, signup, retry, client, ..
        } = prepared;
        let (_, draw) = self.draw()?;
        let (email, name) = signup.account().fields();
        self.mint(Hashed { email, name, context, client, password_hash, draw, retry })
    }
}

/// A sign-up within its rate limits.
pub(super) struct Limited(pub(super) Box<ValidSignup>);

/// A sign-up that is no retry of one that is stored.
pub(super) struct Fresh {
    pub(super) signup: Box<ValidSignup>,
    /// With an idempotency key: what a retry is recognized and proven by.
    pub(super) retry: Option<Box<Retry>>,
}

/// A sign-up that passed every policy.
pub(super) struct Screened(Fresh);

impl Screened {
    #[cfg(feature = "verification")]
    pub(super) fn email(&self) -> &EmailKey {
        self.0.signup.email.key()
    }
}

/// A sign-up whose email was not taken when checked.
pub(super) struct Free(pub(super) Fresh);

/// A sign-up with its hash permit.
pub(super) struct Admitted {
    fresh: Fresh,
    permit: HashPermit,
}

/// A sign-up with a hashed password and its remaining random bytes.
pub(super) struct Hashed {
    pub(super) email: Email,
    pub(super) name: Option<Name>,
    pub(super) context: Arc<SignupContext>,
    client: Option<ClientIp>,
    pub(super) password_hash: Arc<PasswordHash>,
    pub(super) draw: Entropy,
    retry: Option<Box<Retry>>,
}
