//! Log-ins: verifying a password, and what comes with it.

use crate::account::AccountId;
use crate::fields::{Email, EmailProfile, Password};
use crate::hash::{PasswordHash, Verification};
use crate::limit::ClientIp;
use crate::store::{FindBy, LifecycleStoreExt as _, StoredLogin};

use super::error::internal;
use super::throttle::{Caller, TrustedDevice};
use super::{CredentialContext, CredentialError, Credentials, verify_stored};

/// A log-in that has succeeded. Only [`Credentials`] creates one.
///
/// It belongs to the generation of the account's tokens in which the password was verified:
/// [`issue_token`](Credentials::issue_token) refuses it once the password has changed.
#[derive(Debug)]
pub struct Login {
    pub(crate) account_id: AccountId,
    pub(crate) generation: i64,
    pub(crate) trusted_device: Option<TrustedDevice>,
}

impl Login {
    /// Returns the account.
    pub fn account_id(&self) -> &AccountId {
        &self.account_id
    }

    /// Returns the mark to give to the device for its next log-in; `None` without a
    /// [throttle](crate::SignupServiceBuilder::login_throttle).
    pub fn trusted_device(&self) -> Option<&TrustedDevice> {
        self.trusted_device.as_ref()
    }
}

impl Credentials {
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

    /// Verifies a password like [`verify_password`](Self::verify_password), for this client
    /// and with the mark of its device from its last log-in.
    ///
    /// # Errors
    /// Fails like [`verify_password`](Self::verify_password). With a
    /// [throttle](crate::SignupServiceBuilder::login_throttle), returns
    /// [`SignupError::Busy`](crate::SignupError::Busy) with the time to wait after too many
    /// failures, whether or not the account exists.
    pub async fn log_in(
        &self,
        email: &str,
        password: &str,
        client: Option<ClientIp>,
        trusted_device: Option<&str>,
    ) -> Result<Login, CredentialError> {
        let is_throttled = self.context.throttle.is_on();
        self.log_in_throttled(email, password, client, trusted_device, is_throttled).await
    }

    /// Verifies a password like [`log_in`](Self::log_in), throttled or not.
    pub(crate) async fn log_in_throttled(
        &self,
        email: &str,
        password: &str,
        client: Option<ClientIp>,
        trusted_device: Option<&str>,
        is_throttled: bool,
    ) -> Result<Login, CredentialError> {
        let CredentialContext { store, pool, lookups, throttle, .. } = &*self.context;
        // An address that was accepted once must not be refused by stricter rules.
        let email = Email::parse(email, EmailProfile::Rfc5321);
        let email = email.map_err(|_| CredentialError::Rejected)?;
        let given = Password::parse_for_login(password).map_err(|_| CredentialError::Rejected)?;
        drop(pool.reserve()?);
        let without_mark = || Caller::without_mark(is_throttled, email.key(), client);
        // A caller without a mark who has to wait costs no query.
        let charged = match trusted_device {
            None => Some(throttle.begin(without_mark()).await?),
            Some(_) => None,
        };
        let lookup = lookups.enter()?;
        let found = store.find_login(FindBy::Email(email.key())).await?;
        lookup.answered();
        let device = found.as_ref().and_then(|StoredLogin { account, .. }| {
            throttle.device(trusted_device, account.account.id(), account.token_generation)
        });
        let attempt = match (charged, &found, &device) {
            (Some(attempt), ..) => attempt,
            (None, Some(found), Some(device)) => {
                throttle.begin(Caller::Device(found.account.account.id(), device)).await?
            }
            (None, ..) => throttle.begin(without_mark()).await?,
        };
        // An account that is disabled or has no password takes as long as any other.
        let (owner, stored) = match found.filter(|found| !found.password_hash.is_empty()) {
            Some(StoredLogin { account, password_hash, .. }) => {
                let id = account.account.id().clone();
                let is_admitted = account.state.admits_owner();
                (is_admitted.then_some((id, account.token_generation)), password_hash)
            }
            None => (None, pool.decoy()),
        };
        let verified = verify_stored::<CredentialError>(pool, given, &stored, &attempt).await?;
        let (Verification::Right { needs_rehash }, Some((account_id, generation))) =
            (verified, owner)
        else {
            return Err(CredentialError::Rejected);
        };
        attempt.succeeded().await;
        if needs_rehash {
            // The password is right, whether or not this succeeds.
            let _ = self.renew(&account_id, &stored, password).await;
        }
        let mark = throttle.mark(&account_id, generation, device, self.now()?, &mut self.draw()?);
        Ok(Login { account_id, generation, trusted_device: mark.map_err(internal)? })
    }

    async fn renew(
        &self,
        account: &AccountId,
        old: &PasswordHash,
        password: &str,
    ) -> Result<(), CredentialError> {
        let password =
            Password::parse_for_login(password).map_err(|_| CredentialError::Rejected)?;
        let permit = self.context.pool.reserve()?;
        let salt = self.draw()?.take().map_err(internal)?;
        let new = permit.hash_with_salt(password, salt).await?;
        self.context.store.renew_password_hash(account, old, &new).await?;
        Ok(())
    }
}
