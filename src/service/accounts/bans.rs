//! Addresses that stay out after their accounts were erased.

use crate::account::{AccountId, AccountState};
use crate::credentials::CredentialError;
use crate::error::SignupError;
use crate::fields::{Email, EmailKey};
use crate::idempotency::ReplaySecrets;
use crate::service::inner::BAN;
use crate::store::{Condition, Effect, FindBy};

use super::{Accounts, THERE, change_of, invalid_field};

/// The banned addresses of a service that
/// [remembers bans](crate::SignupServiceBuilder::remember_bans), from [`Accounts::bans`].
///
/// ```
/// use signup::idempotency::ReplaySecret;
/// use signup::store::MemoryStore;
/// use signup::{SignupError, SignupRequest, SignupService};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let service = SignupService::builder(MemoryStore::default())
///     .jwt_secret(&[7; 32])
///     .remember_bans(ReplaySecret::new(&[8; 32])?)
///     .build()?;
/// let request = || SignupRequest::new("dev@example.com", "correct horse");
/// let signup = service.signup(request()).await?;
///
/// let bans = service.accounts().bans().unwrap();
/// bans.erase_and_ban(signup.account().id()).await?;
/// assert!(matches!(service.signup(request()).await, Err(SignupError::EmailTaken)));
/// assert!(bans.unban("dev@example.com").await?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Bans {
    accounts: Accounts,
    secrets: ReplaySecrets,
}

impl Accounts {
    /// Returns the banned addresses; `None` if the service does not
    /// [remember bans](crate::SignupServiceBuilder::remember_bans).
    pub fn bans(&self) -> Option<Bans> {
        let secrets = self.service.bans.clone()?;
        Some(Bans { accounts: self.clone(), secrets })
    }
}

impl Bans {
    /// Erases an account like [`Accounts::erase`], and bans its address: to a sign-up it stays
    /// taken, though only a tag of it is stored.
    ///
    /// # Errors
    /// Fails like [`Accounts::erase`]. An account that is already erased can't be banned: its
    /// address is gone.
    pub async fn erase_and_ban(&self, id: &AccountId) -> Result<(), CredentialError> {
        let record = self.accounts.found(id).await?;
        if record.state == AccountState::Erased {
            return Err(CredentialError::NotFound);
        }
        let email = record.account.email().key();
        let banned = self.keys_of(email).into_iter().next();
        let banned = banned.ok_or_else(|| SignupError::internal("no secret is current"))?;
        let unchanged = || change_of(id, THERE).provided(Condition::Email(email.clone()));
        match self.accounts.change(self.accounts.erased(unchanged(), Some(banned))?).await {
            // It was banned before.
            Err(CredentialError::Failed(SignupError::EmailTaken)) => {
                self.accounts.change(self.accounts.erased(unchanged(), None)?).await
            }
            other => other,
        }
    }

    /// Lifts the ban of an address. Returns whether it was banned.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `email` if it is not an address.
    pub async fn unban(&self, email: &str) -> Result<bool, CredentialError> {
        let email = Email::parse_known(email).map_err(|error| invalid_field("email", &error))?;
        let mut was_banned = false;
        for banned in self.keys_of(email.key()) {
            let found = self.accounts.store().find_account(FindBy::Email(&banned)).await?;
            if let Some(record) = found {
                let lift = change_of(record.account.id(), &[AccountState::Erased]);
                self.accounts.change(lift.with(Effect::Erase(None))).await?;
                was_banned = true;
            }
        }
        Ok(was_banned)
    }

    /// Returns the keys that an address has when it is banned, the one of the current secret
    /// first.
    fn keys_of(&self, email: &EmailKey) -> Vec<EmailKey> {
        let tags = self.secrets.tags_of(BAN, email.as_str().as_bytes());
        tags.iter().map(EmailKey::banned).collect()
    }
}
