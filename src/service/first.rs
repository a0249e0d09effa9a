//! Sign-ups whose address is verified before the account is stored.

use std::fmt;
use std::sync::Arc;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::core::Recovered;
use crate::error::{Issue, SignupError};
use crate::fields::EmailKey;
use crate::idempotency::Scope;
use crate::limit::ClientIp;
use crate::mail::{Code, Mail, MailKind, MailPermit};
use crate::observe::{self, Stage};
use crate::random::Entropy;
use crate::request::SignupRequest;
use crate::response::Signup;
use crate::store::{CreateOutcome, LifecycleStore, NewAccount, UsedTicket};
use crate::verification::{EmailCodes, NewTicket, PendingVerification, Ticket};

use super::SignupServiceBuilder;
use super::codes::{Codes, busy, invalid_code, report};
use super::inner::Inner;
use super::modes::Mode;
use super::recording::Recording;
use super::replay::is_as_signed_up;
use super::stages::{EmailFree, Hashed, NewSignup};

impl<S: LifecycleStore> SignupServiceBuilder<S> {
    /// Verifies each address before its account is stored: [`VerifyFirst::begin`] answers with a
    /// ticket and mails a code, and [`VerifyFirst::complete`] registers the account. The endpoint
    /// then answers 202, and has two more paths.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use signup::idempotency::ReplaySecret;
    /// use signup::mail::{MailQueue, MemoryMailer};
    /// use signup::store::MemoryStore;
    /// use signup::verification::EmailCodes;
    /// use signup::{SignupRequest, SignupService};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let mailer = Arc::new(MemoryMailer::default());
    /// let mails = MailQueue::new(Arc::clone(&mailer));
    /// let codes = EmailCodes::new(ReplaySecret::new(&[8; 32])?, mails.clone());
    /// let service = SignupService::builder(MemoryStore::default())
    ///     .jwt_secret(&[7; 32])
    ///     .verify_first(codes)
    ///     .build()?;
    ///
    /// let first = service.verification().first().unwrap();
    /// let pending = first.begin(SignupRequest::new("dev@example.com", "correct horse")).await?;
    /// mails.drained().await;
    /// let code = mailer.last_code("dev@example.com").unwrap();
    /// let signup = first.complete(pending.reveal_ticket(), &code).await?;
    /// assert_eq!(signup.account().email().as_str(), "dev@example.com");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn verify_first(self, codes: EmailCodes) -> Self {
        self.mailing(codes, Mode::First)
    }
}

/// The sign-ups of a service that verifies addresses before it stores accounts.
///
/// [`SignupService::verification`](crate::SignupService::verification) returns it. Clones are
/// cheap and share everything.
#[derive(Clone)]
pub struct VerifyFirst {
    pub(super) service: Arc<Inner>,
    pub(super) codes: Codes,
}

impl VerifyFirst {
    /// Begins a sign-up: checks it as [`signup`](crate::SignupService::signup) does, hashes the password,
    /// seals all of it into a ticket, and mails a code. Nothing is stored, and the answer is
    /// the same whether or not the address has an account.
    ///
    /// # Errors
    /// Fails like [`signup`](crate::SignupService::signup), but never with
    /// [`EmailTaken`](SignupError::EmailTaken).
    pub async fn begin(&self, request: SignupRequest) -> Result<PendingVerification, SignupError> {
        let address = self.service.traced_address(&request);
        observe::within(address, async {
            let recording = Recording::new(&self.service.core.pool);
            let result = self.run_begin(request).await;
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
    /// [`SignupError::EmailTaken`] if someone else has verified the address meanwhile.
    pub async fn complete(&self, ticket: &str, code: &str) -> Result<Signup, SignupError> {
        observe::within(None, async {
            let recording = Recording::new(&self.service.core.pool);
            let result = self.run_complete(ticket, code).await;
            recording.finish_signup(&result);
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
    pub async fn resend_code(
        &self,
        ticket: &str,
        client: Option<ClientIp>,
    ) -> Result<PendingVerification, SignupError> {
        let sent = self.run_resend(ticket, client).await;
        sent.inspect_err(|error| report("resend failed", error))
    }

    async fn run_resend(
        &self,
        ticket: &str,
        client: Option<ClientIp>,
    ) -> Result<PendingVerification, SignupError> {
        let (core, verifier) = (&self.service.core, &self.codes.verifier);
        let now = core.now()?;
        let invalid = || {
            let message = "Invalid or expired ticket";
            SignupError::Invalid(vec![Issue::field("ticket", message)])
        };
        let ticket = Ticket::open(ticket, &verifier.secrets).ok_or_else(invalid)?;
        if ticket.expires_at <= now {
            return Err(invalid());
        }
        let permit = self.codes.reserve_mail()?;
        if verifier.charge_mail(ticket.email.key(), client).await.map_err(busy)? {
            return self.send_code(ticket.into_new(), Some(permit), now);
        }
        // No mail is sent, so that the code of the last one stays valid.
        let sealed = ticket.seal(&verifier.secrets, &*core.random)?;
        Ok(PendingVerification::new(sealed, ticket.expires_at))
    }

    async fn run_begin(&self, request: SignupRequest) -> Result<PendingVerification, SignupError> {
        let (service, verifier) = (&*self.service, &self.codes.verifier);
        let client = request.origin.client;
        let limited = service.limit(service.validate(request)?).await?;
        let new = NewSignup { signup: limited.0, retry: None };
        let screened = service.apply_policies(new).await.map_err(|(refusal, _)| refusal)?;
        // Before it is known whether the address is taken: neither a full queue nor a mail
        // that is withheld reveals it.
        let permit = self.codes.reserve_mail()?;
        // A sign-up that can't be hashed costs its address no mail.
        service.core.pool.check_room()?;
        let may_mail = verifier.charge_mail(screened.email(), client).await.map_err(busy)?;
        let permit = may_mail.then_some(permit);
        let (new, is_taken) = service.look_up_email(screened).await?;
        let hashed = service.hash(service.admit(EmailFree(new))?).await?;
        let now = service.core.now()?;
        let Hashed { email, name, context, password_hash, mut draw, .. } = hashed;
        let new = NewTicket {
            number: draw.take()?,
            email,
            name,
            password_hash: Arc::unwrap_or_clone(password_hash),
            context: Arc::unwrap_or_clone(context),
            expires_at: now.plus(verifier.lifetime)?,
            is_taken,
        };
        let _timed = service.time(Stage::Mint);
        self.send_code(new, permit, now)
    }

    /// Seals a ticket for a new code, and mails it if there is a permit for it.
    fn send_code(
        &self,
        new: NewTicket,
        permit: Option<MailPermit>,
        now: Timestamp,
    ) -> Result<PendingVerification, SignupError> {
        let (service, verifier) = (&self.service, &self.codes.verifier);
        let code = Code::mint(&mut service.core.draw()?)?;
        let kind = if new.is_taken { MailKind::AccountExists } else { MailKind::SignupCode };
        let ticket = Ticket::new(new, &code, &verifier.secrets)?;
        let sealed = ticket.seal(&verifier.secrets, &*service.core.random)?;
        let pending = PendingVerification::new(sealed, ticket.expires_at);
        let expires_in = ticket.expires_at.since(now);
        if let Some(permit) = permit {
            verifier.send(permit, Mail::new(kind, ticket.email, code, expires_in));
        }
        Ok(pending)
    }

    async fn run_complete(&self, ticket: &str, code: &str) -> Result<Signup, SignupError> {
        let (service, Codes { stored, verifier }) = (&*self.service, &self.codes);
        let now = service.core.now()?;
        let ticket = self.open(ticket, code, now).await?;
        let checked = service.check_proof(ticket.email.clone(), ticket.name.clone());
        checked.await.map_err(as_body_issues)?;
        let email = ticket.email.key().clone();
        service.refuse_banned(&email).await?;
        let (hash, number, version) = (ticket.hash(), ticket.number, ticket.version);
        let derive = || verifier.secrets.derive_ticket(version, Scope::Ticket(&email), &number);
        let (new, signup) = self.mint_verified(ticket, derive().ok_or_else(invalid_code)?, now)?;
        let created = {
            let _timed = service.time(Stage::Store);
            stored.store.create(new).await.map_err(|error| as_body_issues(error.into()))?
        };
        if created == CreateOutcome::Stored {
            return Ok(signup);
        }
        if let Some(signup) = self.replay_verified(derive, &email, now).await? {
            return Ok(signup);
        }
        if stored.store.is_ticket_used(&hash).await? {
            Err(invalid_code())
        } else {
            Err(SignupError::EmailTaken)
        }
    }

    /// Opens a ticket with its code. A wrong code costs a try.
    async fn open(&self, ticket: &str, code: &str, now: Timestamp) -> Result<Ticket, SignupError> {
        let verifier = &self.codes.verifier;
        let ticket = Ticket::open(ticket, &verifier.secrets).ok_or_else(invalid_code)?;
        if ticket.expires_at <= now {
            return Err(invalid_code());
        }
        let code = Code::parse(code).map_err(|_| invalid_code())?;
        verifier.charge_try(&ticket.number).await.map_err(busy)?;
        if !ticket.is_code(&code, &verifier.secrets)? || ticket.is_taken {
            return Err(invalid_code());
        }
        verifier.refund_try(&ticket.number).await;
        Ok(ticket)
    }

    /// Mints the account of a ticket from what is derived for it: always the same one.
    fn mint_verified(
        &self,
        ticket: Ticket,
        derived: Entropy,
        now: Timestamp,
    ) -> Result<(NewAccount, Signup), SignupError> {
        let _timed = self.service.time(Stage::Mint);
        let used = UsedTicket::new(ticket.hash(), ticket.expires_at);
        let Ticket { email, name, password_hash, context, .. } = ticket;
        let (hash, context) = (Arc::new(password_hash), Arc::new(context));
        let minted = self.service.mint_account(now, derived, email, name, hash, context);
        let (new, signup) = minted?;
        let new = NewAccount {
            email_verified_at: Some(now),
            ticket_nonce: Some(self.service.core.draw_nonce()?),
            ticket: Some(used),
            event: self.service.created_event(&new, true)?,
            ..new
        };
        Ok((new, signup))
    }

    /// Derives the answer of a ticket that was used before, if its account is as it was.
    async fn replay_verified(
        &self,
        derive: impl Fn() -> Option<Entropy>,
        email: &EmailKey,
        now: Timestamp,
    ) -> Result<Option<Signup>, SignupError> {
        let (core, stored) = (&self.service.core, &self.codes.stored);
        let derive = || {
            let mut derived = derive().ok_or_else(invalid_code)?;
            Ok((AccountId::mint(&mut derived)?, derived))
        };
        let recovered = core.recover(derive, |key| stored.owner_of(key)).await?;
        let Some(Recovered { before_key: id, api_key, mut rest, found }) = recovered else {
            return Ok(None);
        };
        if *found.account.id() != id || !is_as_signed_up(&found, email, now) {
            return Ok(None);
        }
        self.service.answer_again(found, api_key, &mut rest).map(Some)
    }
}

impl fmt::Debug for VerifyFirst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyFirst").finish_non_exhaustive()
    }
}

/// Moves the issues from fields to the body: the fields were in an earlier request.
fn as_body_issues(error: SignupError) -> SignupError {
    match error {
        SignupError::Invalid(issues) => {
            let issues = issues.into_iter().map(|issue| Issue::body(issue.message));
            SignupError::Invalid(issues.collect())
        }
        other => other,
    }
}
