//! Log-ins: verifying a password, and what comes with it.

use crate::account::AccountId;
use crate::fields::{Email, Password};
use crate::hash::{PasswordHash, Verification};
use crate::limit::ClientIp;
use crate::store::{FindBy, LifecycleStoreExt as _, StoredAccount, StoredLogin};
use crate::throttle::{Attempt, Caller, TrustedDevice};

use super::{CredentialError, Credentials};

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
        let is_throttled = self.core().throttle.is_on();
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
        let core = self.core();
        let email = Email::parse_known(email).map_err(|_| CredentialError::Rejected)?;
        let given = Password::parse_for_login(password).map_err(|_| CredentialError::Rejected)?;
        drop(core.pool.reserve()?);
        let stranger = Caller::without_mark(is_throttled, email.key(), client);
        let (attempt, found, device) = self.begin(&email, &stranger, trusted_device).await?;
        // An account that is disabled or has no password takes as long as any other.
        let found = found.filter(|found| !found.password_hash.is_empty());
        let (owner, stored) = found.map_or_else(
            || (None, core.pool.decoy()),
            |StoredLogin { account, password_hash, .. }| (Some(account), password_hash),
        );
        let owner = owner.filter(|account| account.state.admits_owner());
        let verified = core.verify(given, &stored, &attempt).await?;
        let (Verification::Right { needs_rehash }, Some(owner)) = (verified, owner) else {
            return Err(CredentialError::Rejected);
        };
        attempt.succeeded().await;
        if needs_rehash {
            // The password is right, whether or not this succeeds.
            let _ = self.renew(owner.account.id(), &stored, password).await;
        }
        self.logged_in(&owner, device)
    }

    /// Finds the account, and charges an attempt to the trusted device of the caller, or else to
    /// a stranger.
    async fn begin(
        &self,
        email: &Email,
        stranger: &Caller<'_>,
        trusted_device: Option<&str>,
    ) -> Result<(Attempt, Option<StoredLogin>, Option<TrustedDevice>), CredentialError> {
        let throttle = &self.core().throttle;
        // A caller without a mark who has to wait costs no query.
        let charged = match trusted_device {
            None => Some(throttle.begin(stranger).await?),
            Some(_) => None,
        };
        let found = self.stored.look_up_login(FindBy::Email(email.key())).await?;
        let account = found.as_ref().map(|found| (found.account.account.id(), &found.account));
        let device = account.and_then(|(id, account)| {
            throttle.device(trusted_device, id, account.token_generation)
        });
        let attempt = match (charged, account, &device) {
            (Some(attempt), ..) => attempt,
            (None, Some((id, _)), Some(device)) => {
                throttle.begin(&Caller::Device(id, device)).await?
            }
            (None, ..) => throttle.begin(stranger).await?,
        };
        Ok((attempt, found, device))
    }

    /// Returns the log-in of an owner who was verified, with a new mark of the device.
    fn logged_in(
        &self,
        owner: &StoredAccount,
        device: Option<TrustedDevice>,
    ) -> Result<Login, CredentialError> {
        let (core, account, generation) = (self.core(), owner.account.id(), owner.token_generation);
        let (now, mut draw) = (core.now()?, core.draw()?);
        let trusted_device = core.throttle.mark(account, generation, device, now, &mut draw)?;
        Ok(Login { account_id: account.clone(), generation, trusted_device })
    }

    async fn renew(
        &self,
        account: &AccountId,
        old: &PasswordHash,
        password: &str,
    ) -> Result<(), CredentialError> {
        let password =
            Password::parse_for_login(password).map_err(|_| CredentialError::Rejected)?;
        let new = self.core().hash(password).await?;
        self.store().renew_password_hash(account, old, &new).await?;
        Ok(())
    }
}
