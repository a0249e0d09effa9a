//! Policies on other occasions than a sign-up.

use crate::context::SignupContext;
use crate::error::SignupError;
use crate::fields::{Email, Name, Password};
use crate::policy::Occasion;
use crate::request::Origin;
use crate::validate::ValidSignup;

use super::inner::Inner;

impl Inner {
    /// Asks the policies about another password for the account of this address, and
    /// returns it.
    pub(super) async fn check_new_password(
        &self,
        email: Email,
        password: Password,
    ) -> Result<Password, SignupError> {
        let signup = self.ask(Occasion::NewPassword, email, None, password).await?;
        Ok(signup.password)
    }

    /// Asks the policies about another address for an account.
    #[cfg(feature = "verification")]
    pub(super) async fn check_new_email(&self, email: Email) -> Result<(), SignupError> {
        let unknown = Password::parse_for_login("").map_err(SignupError::internal)?;
        self.ask(Occasion::NewEmail, email, None, unknown).await.map(drop)
    }

    /// Asks the policies about a sign-up whose address is verified now.
    #[cfg(feature = "verification")]
    pub(super) async fn check_proof(
        &self,
        email: Email,
        name: Option<Name>,
    ) -> Result<(), SignupError> {
        let unknown = Password::parse_for_login("").map_err(SignupError::internal)?;
        self.ask(Occasion::EmailVerification, email, name, unknown).await.map(drop)
    }

    async fn ask(
        &self,
        occasion: Occasion,
        email: Email,
        name: Option<Name>,
        password: Password,
    ) -> Result<ValidSignup, SignupError> {
        let (context, origin) = (SignupContext::default(), Origin::default());
        let mut signup =
            ValidSignup { email, password, name, context, origin, idempotency_key: None };
        self.policies.evaluate_all(&mut signup, occasion, &self.core.pool).await?;
        Ok(signup)
    }
}
