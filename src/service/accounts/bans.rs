//! Addresses that stay out after their accounts were erased.

use crate::account::{AccountId, AccountState};
use crate::credentials::CredentialError;
use crate::error::SignupError;
use crate::fields::{Email, EmailKey, EmailProfile};
use crate::service::pipeline::BAN;
use crate::store::{AccountStore, Condition, Effect, FindBy, LifecycleStore};

use super::{Accounts, THERE, change_of, invalid_field};

impl<S: AccountStore + LifecycleStore> Accounts<S> {
    /// Erases an account like [`erase`](Self::erase), and keeps its address out: for a
    /// service that [remembers bans](crate::SignupServiceBuilder::remember_bans), it stays
    /// taken, though only a tag of it is stored.
    ///
    /// # Errors
    /// Fails like [`erase`](Self::erase), and for a service that does not remember bans. One
    /// that is erased already can't be banned: its address is gone.
    pub async fn erase_and_ban(&self, id: &AccountId) -> Result<(), CredentialError> {
        let record = self.found(id).await?;
        if record.state == AccountState::Erased {
            return Err(CredentialError::NotFound);
        }
        let email = record.account.email().key();
        let banned = self.banned(email)?.into_iter().next();
        let banned = banned.ok_or_else(|| SignupError::internal("no secret is current"))?;
        let unchanged = || change_of(id, THERE).provided(Condition::Email(email.clone()));
        match self.change(self.erased(unchanged(), Some(banned))?).await {
            // It was banned before.
            Err(CredentialError::Failed(SignupError::EmailTaken)) => {
                self.change(self.erased(unchanged(), None)?).await
            }
            other => other,
        }
    }

    /// Lets an address in again that was [banned](Self::erase_and_ban). Returns whether it
    /// was.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `email` if it is no address. Fails
    /// for a service that does not remember bans.
    pub async fn lift_ban(&self, email: &str) -> Result<bool, CredentialError> {
        let email = Email::parse(email, EmailProfile::Rfc5321);
        let email = email.map_err(|error| invalid_field("email", &error))?;
        let mut was_banned = false;
        for banned in self.banned(email.key())? {
            let found = self.store().find_account(FindBy::Email(&banned)).await?;
            if let Some(record) = found {
                let lift = change_of(record.account.id(), &[AccountState::Erased]);
                self.change(lift.with(Effect::Erase(None))).await?;
                was_banned = true;
            }
        }
        Ok(was_banned)
    }

    /// Returns the keys that an address has when it is banned, the present one first.
    fn banned(&self, email: &EmailKey) -> Result<Vec<EmailKey>, SignupError> {
        let secrets = self.service.inner.bans.as_ref();
        let missing = || SignupError::internal("bans are not remembered: call `remember_bans`");
        let tags = secrets.ok_or_else(missing)?.tags_of(BAN, email.as_str().as_bytes());
        Ok(tags.iter().map(EmailKey::banned).collect())
    }
}
