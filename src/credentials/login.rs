//! Log-ins: passwords, and their throttle.

use std::sync::Arc;

use crate::account::AccountId;
use crate::error::SignupError;
use crate::fields::{Email, EmailProfile, Password};
use crate::hash::{PasswordHash, Verification};
use crate::limit::ClientIp;

use super::error::internal;
use super::throttle::{Counts, KnownClient, LoginThrottle};
use super::{CredentialContext, CredentialError, Credentials, verify_stored};

/// A log-in that has succeeded. Only [`Credentials`] creates one.
#[derive(Debug)]
pub struct Login {
    account_id: AccountId,
    known_client: Option<KnownClient>,
}

impl Login {
    /// Returns the account.
    pub fn account_id(&self) -> &AccountId {
        &self.account_id
    }

    /// Returns the mark to give to the client, for its next log-in; `None` without a
    /// [throttle](Credentials::with_throttle).
    pub fn known_client(&self) -> Option<&KnownClient> {
        self.known_client.as_ref()
    }
}

impl Credentials {
    /// Throttles log-ins: whoever fails too often waits, before anything is hashed.
    ///
    /// The counts belong to this value and its clones: call this once, and clone the result.
    #[must_use]
    pub fn with_throttle(self, throttle: LoginThrottle) -> Self {
        let throttle = throttle.start(Arc::clone(&self.context.clock));
        Self { throttle: Some(Arc::new(throttle)), ..self }
    }

    /// Verifies a password on the hash pool. An unknown email costs a hash as well and gets
    /// the same answer.
    ///
    /// A stored hash with another work factor or pepper than the pool's is renewed while
    /// the password is at hand; if that fails, the next time. Until then a wrong password
    /// takes as long as that factor, not as an unknown email. Roll a new pepper out as a
    /// verifying one first: an instance without it can't verify what another has renewed.
    ///
    /// # Errors
    /// Returns [`CredentialError::Rejected`] if email or password is wrong or the account is
    /// disabled, and another error if hashing capacity is full or the store does not answer.
    pub async fn verify_password(
        &self,
        email: &str,
        password: &str,
    ) -> Result<AccountId, CredentialError> {
        Ok(self.log_in(email, password, None, None).await?.account_id)
    }

    /// Verifies a password like [`verify_password`](Self::verify_password), by this client,
    /// with the mark that it was given at its last log-in.
    ///
    /// # Errors
    /// Fails like [`verify_password`](Self::verify_password). With a
    /// [throttle](Self::with_throttle), returns [`SignupError::Busy`] with the time to wait
    /// after too many failures, whether or not there is such an account.
    pub async fn log_in(
        &self,
        email: &str,
        password: &str,
        client: Option<ClientIp>,
        known_client: Option<&str>,
    ) -> Result<Login, CredentialError> {
        let CredentialContext { store, pool, lookups, .. } = &*self.context;
        // An address that was accepted once must not be refused by stricter rules.
        let email = Email::parse(email, EmailProfile::Rfc5321);
        let email = email.map_err(|_| CredentialError::Rejected)?;
        let given = Password::parse_for_login(password).map_err(|_| CredentialError::Rejected)?;
        drop(pool.reserve()?);
        let lookup = lookups.enter()?;
        let found = store.find_password(email.key()).await?;
        lookup.answered();
        let mut known = None;
        let mut tried = None;
        if let Some(throttle) = &self.throttle {
            known = found.as_ref().zip(known_client).and_then(|(found, text)| {
                let (account, generation) = (&found.account_id, found.token_generation);
                KnownClient::parse(text, account, generation, &throttle.secrets)
            });
            let counts = match (&found, &known) {
                (Some(found), Some(known)) => Counts::of_known(&found.account_id, known),
                _ => Counts::of_stranger(email.key(), client),
            };
            let busy = |retry_after| SignupError::Busy { retry_after };
            throttle.try_now(&counts).await.map_err(busy)?;
            tried = Some((throttle, counts));
        }
        // An account that is disabled is verified all the same, which takes as long.
        let (owner, stored) = match found {
            Some(found) if found.state.admits_owner() => {
                (Some((found.account_id, found.token_generation)), found.hash)
            }
            Some(found) => (None, found.hash),
            None => (None, pool.decoy()),
        };
        let verified = match verify_stored::<CredentialError>(pool, given, &stored).await {
            Ok(verified) => verified,
            Err(failed) => {
                // The password was not judged.
                if let Some((throttle, counts)) = &tried {
                    throttle.take_back(counts).await;
                }
                return Err(failed);
            }
        };
        let (Verification::Right { needs_rehash }, Some((account_id, generation))) =
            (verified, owner)
        else {
            return Err(CredentialError::Rejected);
        };
        if needs_rehash {
            // The password is right, whether or not this succeeds.
            let _ = self.renew(&account_id, &stored, password).await;
        }
        let mut known_client = None;
        if let Some((throttle, counts)) = tried {
            throttle.succeeded(&counts).await;
            let (mut draw, secrets) = (self.draw()?, &throttle.secrets);
            let mark = KnownClient::new(&account_id, generation, known, &mut draw, secrets);
            known_client = Some(mark.map_err(internal)?);
        }
        Ok(Login { account_id, known_client })
    }

    async fn renew(
        &self,
        account: &AccountId,
        old: &PasswordHash,
        password: &str,
    ) -> Result<(), CredentialError> {
        let password =
            Password::parse_for_login(password).map_err(|_| CredentialError::Rejected)?;
        let place = self.context.pool.reserve()?;
        let salt = self.draw()?.take().map_err(internal)?;
        let new = place.hash_with_salt(password, salt).await?;
        self.context.store.renew_password_hash(account, old, &new).await?;
        Ok(())
    }
}
