//! Another password for an account.

use serde_json::json;

use crate::account::AccountId;
use crate::credentials::{CredentialError, Login};
use crate::error::{Issue, SignupError};
use crate::event::{EventKind, KeyCounts, NoticeKind};
use crate::fields::Password;
use crate::hash::{PasswordHash, Verification};
use crate::store::{
    AccountChange, ChangeOutcome, Condition, Effect, FindBy, StoredAccount, StoredLogin,
};
use crate::throttle::{Attempt, Caller};

use super::{ATTEMPTS, Accounts, IN_USE, change_of, invalid_field};

impl Accounts {
    /// Changes the password of an account, whose owner gives the old one (OWASP ASVS 5,
    /// 6.2.3). Ends all tokens, marks of other devices, and retries of the sign-up; API keys
    /// stay, unless [they are revoked](Self::revoking_api_keys). Returns the owner's log-in, for
    /// a [new token](crate::credentials::Credentials::issue_token) and the mark of the device.
    ///
    /// The caller has verified the account's token. The policies for passwords check the
    /// new one, and the owner gets a mail if the service sends mails.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with an issue of `password` if the new password is
    /// invalid or a policy refuses it, and then with one of `current_password` if the old one
    /// is wrong; [`SignupError::Busy`] after too many wrong ones, if log-ins are
    /// [throttled](crate::SignupServiceBuilder::login_throttle), or if the queue of notices is
    /// full; [`CredentialError::Rejected`] if the account is not in use, and
    /// [`CredentialError::NotFound`] if it does not exist.
    pub async fn change_password(
        &self,
        id: &AccountId,
        old: &str,
        new: &str,
    ) -> Result<Login, CredentialError> {
        let checked = self.checked_password(&self.found(id).await?, new).await?;
        let (mut verified, mut hashed) = (None, None);
        // The hash or the generation may change under way: by a log-in that renews it, say.
        for _ in 0..ATTEMPTS {
            let StoredLogin { account: record, password_hash, .. } = self.login_of(id).await?;
            if verified.as_deref() != Some(password_hash.as_phc()) {
                let attempt = self.core().throttle.begin(&Caller::Token(id)).await?;
                if !self.verify(&password_hash, old, &attempt).await? {
                    return Err(wrong_password());
                }
                attempt.succeeded().await;
                verified = Some(password_hash.as_phc().to_owned());
            }
            if !record.state.admits_owner() {
                return Err(CredentialError::Rejected);
            }
            let hash = match hashed.take() {
                Some(hash) => hash,
                None => self.core().hash(checked.copy()).await?,
            };
            let keys = self.valid_api_keys(id).await?;
            let (change, counts) = self.new_password(&record, password_hash, hash.clone(), keys)?;
            hashed = Some(hash);
            let (kind, to) = (NoticeKind::PasswordChanged, record.account.email());
            let notice = self.service.reserve_notice(kind, to, Some(counts))?;
            let changed = self.service.change_with(&self.stored, change, notice);
            if changed.await? == ChangeOutcome::Changed {
                return self.logged_in(id, record.token_generation);
            }
        }
        Err(wrong_password())
    }

    /// Returns the change from a password that was verified to another one, and how many API keys
    /// end with it.
    fn new_password(
        &self,
        record: &StoredAccount,
        old: PasswordHash,
        new: PasswordHash,
        keys: usize,
    ) -> Result<(AccountChange, KeyCounts), SignupError> {
        let change = change_of(record.account.id(), IN_USE)
            .provided(Condition::Password(old))
            .provided(Condition::Generation(record.token_generation))
            .with(Effect::SetPassword(new))
            .with(Effect::ForgetRetries)
            .with(Effect::RevokeTokens)
            .with(Effect::SetTicketNonce(self.core().draw_nonce()?))
            .with_all(self.revokes_api_keys.then_some(Effect::ReplaceApiKeys(None)));
        let (ended, kept) = if self.revokes_api_keys { (keys, 0) } else { (0, keys) };
        let data = json!({"reset": false, "api_keys_ended": ended, "api_keys_kept": kept});
        let change = self.with_event(change, EventKind::AccountPasswordChanged, &data)?;
        Ok((change, KeyCounts::new(ended, kept)))
    }

    /// Returns an account with the hash of its password.
    async fn login_of(&self, id: &AccountId) -> Result<StoredLogin, CredentialError> {
        self.store().find_login(FindBy::Id(id)).await?.ok_or(CredentialError::NotFound)
    }

    /// Returns whether this is the stored password.
    pub(in crate::service) async fn verify(
        &self,
        stored: &PasswordHash,
        given: &str,
        attempt: &Attempt,
    ) -> Result<bool, CredentialError> {
        let Ok(given) = Password::parse_for_login(given) else { return Ok(false) };
        let verified = self.core().verify(given, stored, attempt).await?;
        Ok(matches!(verified, Verification::Right { .. }))
    }

    /// Checks another password by its length and by the policies.
    pub(in crate::service) async fn checked_password(
        &self,
        record: &StoredAccount,
        password: &str,
    ) -> Result<Password, SignupError> {
        let password =
            Password::parse(password).map_err(|error| invalid_field("password", &error))?;
        let email = record.account.email().clone();
        self.service.check_new_password(email, password).await
    }
}

fn wrong_password() -> CredentialError {
    let issue = Issue::field("current_password", "Wrong password");
    CredentialError::Failed(SignupError::Invalid(vec![issue]))
}
