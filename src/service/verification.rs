//! Sign-ups whose address is proven first: the code, the proof, and another code.

use std::sync::Arc;
use std::time::Duration;

use crate::account::{AccountId, AccountState};
use crate::api_key::ApiKey;
use crate::clock::Timestamp;
use crate::error::{Issue, SignupError};
use crate::fields::EmailKey;
use crate::idempotency::Scope;
use crate::limit::ClientIp;
use crate::mail::{Code, Mail, MailKind, MailPermit};
use crate::observe::{self, Stage};
use crate::random::Entropy;
use crate::request::SignupRequest;
use crate::response::Signup;
use crate::store::{AccountStore, CreateOutcome, FindBy, LifecycleStore, NewAccount, UsedTicket};
use crate::verification::{NewTicket, PendingProof, Ticket, Verification, Verifier};

use super::modes::{Mode, ModeOn};
use super::pipeline::{Free, Fresh, Hashed};
use super::recording::Recording;
use super::{SignupService, SignupServiceBuilder};

const INVALID: &str = "Invalid or expired code";

/// The part of a service that proves addresses first.
pub(super) struct First {
    pub(super) verifier: Arc<Verifier>,
    pub(super) store: Arc<dyn LifecycleStore>,
}

impl<S: LifecycleStore> SignupServiceBuilder<S> {
    /// Proves each address before its account is stored:
    /// [`begin`](SignupService::begin) answers with a ticket and mails a code, and
    /// [`complete`](SignupService::complete) registers the account. The endpoint then
    /// answers 202, and has two more paths.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use signup::idempotency::ReplaySecret;
    /// use signup::mail::{MailQueue, MemoryMailer};
    /// use signup::store::MemoryStore;
    /// use signup::verification::Verification;
    /// use signup::{SignupRequest, SignupService};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let mailer = Arc::new(MemoryMailer::default());
    /// let mails = MailQueue::new(Arc::clone(&mailer));
    /// let verification = Verification::new(ReplaySecret::new(&[8; 32])?, mails.clone());
    /// let service = SignupService::builder(MemoryStore::default())
    ///     .jwt_secret(&[7; 32])
    ///     .verify_first(verification)
    ///     .build()?;
    ///
    /// let pending = service.begin(SignupRequest::new("dev@example.com", "correct horse")).await?;
    /// mails.drained().await;
    /// let code = mailer.last_code("dev@example.com").unwrap();
    /// let signup = service.complete(pending.reveal_ticket(), &code).await?;
    /// assert_eq!(signup.account().email().as_str(), "dev@example.com");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn verify_first(self, verification: Verification) -> Self {
        self.verifying(verification, ModeOn::First(|store| store))
    }
}

impl<S: AccountStore> SignupService<S> {
    /// Begins a sign-up: checks it as [`signup`](Self::signup) does, hashes the password,
    /// seals all of it into a ticket, and mails a code. Nothing is stored, and the answer is
    /// the same whether or not the address has an account.
    ///
    /// # Errors
    /// Fails like [`signup`](Self::signup), but never with
    /// [`EmailTaken`](SignupError::EmailTaken). Fails with
    /// [`Internal`](SignupError::Internal) for a service that does not
    /// [verify first](SignupServiceBuilder::verify_first).
    pub async fn begin(&self, request: SignupRequest) -> Result<PendingProof, SignupError> {
        let address = self.traced_address(&request);
        observe::within(address, async {
            let recording = Recording::new(&self.inner.pool);
            let result = self.run_first(request).await;
            recording.finish(result.as_ref().map(|_| ("pending", None)));
            result
        })
        .await
    }

    /// Completes a sign-up by its ticket and the code of the mail: registers the account.
    /// The same ticket and code, sent again, get the same answer while the account is as it
    /// was.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `code` for a wrong code, and for a
    /// ticket that is not, or no longer, good; [`SignupError::Busy`] if no try is left;
    /// [`SignupError::EmailTaken`] if somebody else has proven the address meanwhile.
    pub async fn complete(&self, ticket: &str, code: &str) -> Result<Signup, SignupError> {
        observe::within(None, async {
            let recording = Recording::new(&self.inner.pool);
            let result = self.run_complete(ticket, code).await;
            recording.finish(result.as_ref().map(|signup| {
                let outcome = if signup.is_replayed() { "replayed" } else { "created" };
                (outcome, Some(signup.account().id()))
            }));
            result
        })
        .await
    }

    /// Mails another code for a sign-up that was begun, and returns another ticket for it.
    /// Both expire with the first ones.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `ticket` if it is not, or no
    /// longer, good; [`SignupError::Busy`] if the queue of mails is full.
    pub async fn resend(
        &self,
        ticket: &str,
        client: Option<ClientIp>,
    ) -> Result<PendingProof, SignupError> {
        let sent = self.run_resend(ticket, client).await;
        sent.inspect_err(|error| report("resend failed", error))
    }

    async fn run_resend(
        &self,
        ticket: &str,
        client: Option<ClientIp>,
    ) -> Result<PendingProof, SignupError> {
        let First { verifier, .. } = self.first()?;
        let now = self.now()?;
        let invalid = || {
            let message = "Invalid or expired ticket";
            SignupError::Invalid(vec![Issue::field("ticket", message)])
        };
        let ticket = Ticket::open(ticket, &verifier.secrets).ok_or_else(invalid)?;
        if ticket.expires_at <= now {
            return Err(invalid());
        }
        let place = Self::reserve_mail(verifier)?;
        if verifier.charge_mail(ticket.email.key(), client).await.map_err(busy)? {
            return self.send_code(verifier, ticket.into_new(), Some(place), now);
        }
        // No mail goes, so that the code of the last one stays valid.
        let sealed = ticket.seal(&verifier.secrets, &*self.inner.random);
        Ok(PendingProof::new(sealed.map_err(SignupError::internal)?, ticket.expires_at))
    }

    /// Returns whether sign-ups prove their address first.
    pub(crate) fn verifies_first(&self) -> bool {
        matches!(self.inner.verification, Some(Mode::First(_)))
    }

    fn first(&self) -> Result<&First, SignupError> {
        match &self.inner.verification {
            Some(Mode::First(first)) => Ok(first),
            _ => Err(SignupError::internal("the service does not verify first")),
        }
    }

    /// Returns what proves addresses, first or after.
    pub(super) fn verifier(&self) -> Result<&Arc<Verifier>, SignupError> {
        match &self.inner.verification {
            Some(Mode::First(First { verifier, .. }) | Mode::Mails(verifier)) => Ok(verifier),
            Some(Mode::After(after)) => Ok(after.verifier()),
            None => Err(SignupError::internal("the service sends no mails")),
        }
    }

    pub(super) fn reserve_mail(verifier: &Verifier) -> Result<MailPermit, SignupError> {
        let retry_after = crate::error::DEFAULT_RETRY_AFTER;
        verifier.mails.reserve().ok_or(SignupError::Busy { retry_after })
    }

    async fn run_first(&self, request: SignupRequest) -> Result<PendingProof, SignupError> {
        let First { verifier, .. } = self.first()?;
        let client = request.origin.client;
        let limited = self.limit(self.validate(request)?).await?;
        let fresh = Fresh { signup: limited.0, retry: None };
        let screened = self.apply_policies(fresh).await.map_err(|(refusal, _)| refusal)?;
        // Before it is known whether the address is taken: neither a full queue nor a mail
        // that is withheld reveals it.
        let place = Self::reserve_mail(verifier)?;
        // A sign-up that can't be hashed costs its address no mail.
        self.inner.pool.check_room()?;
        let may_mail = verifier.charge_mail(screened.email(), client).await.map_err(busy)?;
        let place = may_mail.then_some(place);
        let (fresh, is_taken) = self.look_up_email(screened).await?;
        let hashed = self.hash(self.admit(Free(fresh))?).await?;
        let now = self.now()?;
        let Hashed { email, name, context, password_hash, mut draw, .. } = hashed;
        let new = NewTicket {
            number: draw.take().map_err(SignupError::internal)?,
            email,
            name,
            password_hash: Arc::unwrap_or_clone(password_hash),
            context: Arc::unwrap_or_clone(context),
            expires_at: now.plus(verifier.lifetime).map_err(SignupError::internal)?,
            is_taken,
        };
        let _timed = self.time(Stage::Mint);
        self.send_code(verifier, new, place, now)
    }

    /// Seals a ticket for a new code, and mails it if there is a place for it.
    fn send_code(
        &self,
        verifier: &Verifier,
        new: NewTicket,
        place: Option<MailPermit>,
        now: Timestamp,
    ) -> Result<PendingProof, SignupError> {
        let random = &*self.inner.random;
        let mut draw = Entropy::draw(random).map_err(SignupError::internal)?;
        let code = Code::mint(&mut draw).map_err(SignupError::internal)?;
        let kind = if new.is_taken { MailKind::AccountExists } else { MailKind::SignupCode };
        let ticket = Ticket::new(new, &code, &verifier.secrets).map_err(SignupError::internal)?;
        let sealed = ticket.seal(&verifier.secrets, random).map_err(SignupError::internal)?;
        let pending = PendingProof::new(sealed, ticket.expires_at);
        let expires_in = ticket.expires_at.since(now);
        if let Some(place) = place {
            verifier.send(place, Mail::new(kind, ticket.email, code, expires_in));
        }
        Ok(pending)
    }

    async fn run_complete(&self, ticket: &str, code: &str) -> Result<Signup, SignupError> {
        let First { verifier, store } = self.first()?;
        let now = self.now()?;
        let ticket = Ticket::open(ticket, &verifier.secrets).ok_or_else(invalid)?;
        if ticket.expires_at <= now {
            return Err(invalid());
        }
        let code = Code::parse(code).map_err(|_| invalid())?;
        verifier.charge_try(&ticket.number).await.map_err(busy)?;
        let is_code = ticket.is_code(&code, &verifier.secrets).map_err(SignupError::internal)?;
        if !is_code || ticket.is_taken {
            return Err(invalid());
        }
        verifier.refund_try(&ticket.number).await;
        let checked = self.check_proof(ticket.email.clone(), ticket.name.clone());
        checked.await.map_err(of_the_body)?;
        let email = ticket.email.key().clone();
        self.refuse_banned(&email).await?;
        let hash = ticket.hash();
        let (number, version) = (ticket.number, ticket.version);
        let (new, signup) = self.mint_proven(ticket, verifier, now)?;
        let created = {
            let _timed = self.time(Stage::Store);
            store.create(new).await.map_err(|error| of_the_body(error.into()))?
        };
        if created == CreateOutcome::Stored {
            return Ok(signup);
        }
        let draw = || verifier.secrets.derive_ticket(version, Scope::Ticket(&email), &number);
        if let Some(signup) = self.replay_proven(&**store, draw, &email, now).await? {
            return Ok(signup);
        }
        if store.is_ticket_used(&hash).await? {
            Err(invalid())
        } else {
            Err(SignupError::EmailTaken)
        }
    }

    /// Mints the account of a ticket, always the same one.
    fn mint_proven(
        &self,
        ticket: Ticket,
        verifier: &Verifier,
        now: Timestamp,
    ) -> Result<(NewAccount, Signup), SignupError> {
        let _timed = self.time(Stage::Mint);
        let used = UsedTicket::new(ticket.hash(), ticket.expires_at);
        let Ticket { number, email, name, password_hash, context, version, .. } = ticket;
        let draw = verifier.secrets.derive_ticket(version, Scope::Ticket(email.key()), &number);
        let (hash, context) = (Arc::new(password_hash), Arc::new(context));
        let draw = draw.ok_or_else(invalid)?;
        let (new, signup) = self.mint_account(now, draw, email, name, hash, context)?;
        let new = NewAccount {
            email_verified_at: Some(now),
            ticket_nonce: Some(self.draw_nonce()?),
            ticket: Some(used),
            event: self.created(&new, true)?,
            ..new
        };
        Ok((new, signup))
    }

    /// Derives the answer of a ticket that was used before, if its account is as it was.
    async fn replay_proven(
        &self,
        store: &dyn LifecycleStore,
        draw: impl Fn() -> Option<Entropy>,
        email: &EmailKey,
        now: Timestamp,
    ) -> Result<Option<Signup>, SignupError> {
        // The present prefix is the last one.
        for prefix in self.inner.accepted_prefixes.iter().rev() {
            let Some(mut derived) = draw() else { return Ok(None) };
            let id = AccountId::mint(&mut derived).map_err(SignupError::internal)?;
            let api_key = ApiKey::mint(prefix, &mut derived).map_err(SignupError::internal)?;
            let found = store.find_account(FindBy::ApiKey(&api_key.digest())).await?;
            let Some(record) = found else { continue };
            let is_first = *record.account.id() == id
                && record.account.email().key() == email
                && record.token_generation == 0
                && record.state == AccountState::Active
                && record.found_by.as_ref().is_some_and(|key| key.is_valid_at(now));
            if !is_first {
                return Ok(None);
            }
            return self.answer_again(record, api_key, &mut derived).map(Some);
        }
        Ok(None)
    }
}

/// Logs a failure that the client did not cause.
pub(super) fn report(what: &'static str, error: &SignupError) {
    if matches!(error, SignupError::Internal(_) | SignupError::Unavailable { .. }) {
        observe::failed(what, error);
    }
}

/// Refuses what has been tried too often.
pub(super) const fn busy(retry_after: Duration) -> SignupError {
    SignupError::Busy { retry_after }
}

pub(super) fn invalid() -> SignupError {
    SignupError::Invalid(vec![Issue::field("code", INVALID)])
}

/// Names the body instead of a field: a host's row refuses what was in an earlier body.
fn of_the_body(error: SignupError) -> SignupError {
    match error {
        SignupError::Invalid(issues) => {
            let issues = issues.into_iter().map(|issue| Issue::body(issue.message));
            SignupError::Invalid(issues.collect())
        }
        other => other,
    }
}
