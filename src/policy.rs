//! Rules of the host for sign-ups, see [the guide](crate::guide::policies).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::context::{Attached, ContextValue};
use crate::error::{BoxError, ErrorCode, InvalidValue, Issue};
use crate::fields::Email;
use crate::hash::HashPool;
use crate::limit::ClientIp;
use crate::validate::ValidSignup;

mod domains;
mod evaluate;
mod invitation;
mod password;

pub use domains::EmailDomains;
pub(crate) use evaluate::Policies;
pub use invitation::{InvitationOnly, InviteCode};
#[cfg(feature = "common-passwords")]
pub use password::CommonPasswords;
#[cfg(feature = "zxcvbn")]
pub use password::PasswordStrength;
#[cfg(feature = "breached-passwords")]
pub use password::{BreachedPasswords, BreachedPasswordsError};
pub use password::{MinimumLength, NotTheEmail};

/// A rule of the host for sign-ups whose fields are valid. It runs before anything is
/// hashed.
///
/// # Contract
/// - It runs for every sign-up, many at a time, and may be dropped at any await.
/// - Its messages to the client never quote the password.
///
/// ```
/// use async_trait::async_trait;
/// use signup::error::BoxError;
/// use signup::policy::{Attempt, SignupPolicy, Verdict};
///
/// /// Asks for the consent that the form's checkbox sends as `"terms": "2026-11"`.
/// struct Terms;
///
/// #[async_trait]
/// impl SignupPolicy for Terms {
///     async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
///         Ok(match attempt.field("terms") {
///             Some("2026-11") => Verdict::Allow,
///             Some(_) => Verdict::invalid("terms", "These are not the current terms"),
///             None => Verdict::invalid("terms", "Required"),
///         })
///     }
///
///     fn fields(&self) -> &[&'static str] {
///         &["terms"]
///     }
/// }
/// ```
#[async_trait]
pub trait SignupPolicy: Send + Sync + 'static {
    /// Allows the sign-up, or returns what is wrong with it.
    ///
    /// # Errors
    /// Fails if it can't decide. [`on_failure`](Self::on_failure) determines what happens
    /// then.
    async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError>;

    /// Returns the fields of the body that it reads, besides the documented ones. Each is
    /// an optional string; another type is an issue of that field.
    ///
    /// `email`, `password`, `name` and an empty name are refused by
    /// [`build`](crate::SignupServiceBuilder::build). Several policies may declare the same
    /// field.
    fn fields(&self) -> &[&'static str] {
        &[]
    }

    /// Returns why the policy would refuse every request, if it would: then
    /// [`build`](crate::SignupServiceBuilder::build) fails. Default: it would not.
    fn problem(&self) -> Option<InvalidValue> {
        None
    }

    /// Returns the occasions on which it is evaluated. Default: [`Occasion::Signup`] alone.
    fn occasions(&self) -> &[Occasion] {
        &[Occasion::Signup]
    }

    /// Returns the deadline of a policy that calls out. It then runs after those that do
    /// not, and only if they found no issue. It needs tokio's timer. Default: `None`, it
    /// does not call out.
    fn deadline(&self) -> Option<Duration> {
        None
    }

    /// Returns what happens if it can't decide or is late. Default: [`OnFailure::Refuse`].
    fn on_failure(&self) -> OnFailure {
        OnFailure::Refuse
    }
}

macro_rules! forward {
    ($($wrapper:ident),+) => {$(
        #[async_trait]
        impl<P: SignupPolicy + ?Sized> SignupPolicy for $wrapper<P> {
            async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
                (**self).evaluate(attempt).await
            }

            fn fields(&self) -> &[&'static str] {
                (**self).fields()
            }

            fn occasions(&self) -> &[Occasion] {
                (**self).occasions()
            }

            fn deadline(&self) -> Option<Duration> {
                (**self).deadline()
            }

            fn problem(&self) -> Option<InvalidValue> {
                (**self).problem()
            }

            fn on_failure(&self) -> OnFailure {
                (**self).on_failure()
            }
        }
    )+};
}
forward!(Arc, Box);

/// An occasion on which policies are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Occasion {
    /// A sign-up.
    Signup,
    /// The email verification before its account is stored, up to a day after the sign-up:
    /// for what may have changed meanwhile, such as a ban. Neither password nor fields nor
    /// headers are known any more.
    EmailVerification,
    /// Another password for an account, for rules about passwords. Neither name nor fields
    /// nor headers are known.
    NewPassword,
    /// Another address for an account, for rules about addresses: when its owner asks for it,
    /// and again with the code. Neither name, password, fields nor headers are known.
    NewEmail,
}

/// The verdict of a policy on a sign-up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Allows the sign-up.
    Allow,
    /// Allows the sign-up and attaches values for the host's rows; see
    /// [`allow_with`](Self::allow_with).
    AllowWith(Vec<Attached>),
    /// Reports wrong fields: 400. An empty list allows the sign-up.
    Invalid(Vec<Issue>),
    /// Refuses the sign-up, with the status of this code.
    Refuse {
        /// The code.
        code: ErrorCode,
        /// The message for a person.
        message: Cow<'static, str>,
    },
    /// Refuses the sign-up for now, because what the policy works with is busy: 429.
    Busy {
        /// Time to wait.
        retry_after: Duration,
    },
}

impl Verdict {
    /// Allows the sign-up and attaches a value that the host's rows read in the account's
    /// transaction, with [`NewAccount::context`](crate::store::NewAccount::context).
    ///
    /// ```
    /// use signup::policy::{InviteCode, Verdict};
    ///
    /// let verdict = Verdict::allow_with(&InviteCode("friends".to_owned())).unwrap();
    /// assert!(matches!(verdict, Verdict::AllowWith(_)));
    /// ```
    ///
    /// # Errors
    /// Fails if the value can't be serialized as JSON.
    pub fn allow_with<T: ContextValue>(value: &T) -> Result<Self, BoxError> {
        Ok(Self::AllowWith(vec![Attached::new(value)?]))
    }

    /// Reports one wrong field.
    ///
    /// ```
    /// use signup::policy::Verdict;
    ///
    /// let verdict = Verdict::invalid("password", "Password is too common");
    /// assert!(matches!(verdict, Verdict::Invalid(issues) if issues.len() == 1));
    /// ```
    pub fn invalid(
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Invalid(vec![Issue::field(field, message)])
    }
}

/// The behaviour of a policy that can't decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFailure {
    /// Fails open: the sign-up continues.
    Allow,
    /// Fails closed: 503 `EXTERNAL_SERVICE_ERROR`.
    Refuse,
}

/// A sign-up as a policy sees it.
pub struct Attempt<'a> {
    signup: &'a ValidSignup,
    occasion: Occasion,
    pool: &'a HashPool,
}

impl Attempt<'_> {
    /// Returns the occasion.
    pub fn occasion(&self) -> Occasion {
        self.occasion
    }

    /// Returns the address.
    pub fn email(&self) -> &Email {
        &self.signup.email
    }

    /// Returns the display name.
    pub fn name(&self) -> Option<&str> {
        self.signup.name.as_ref().map(crate::fields::Name::as_str)
    }

    /// Returns the password, in NFC; empty if it is [not known](Occasion::EmailVerification).
    pub fn reveal_password(&self) -> &str {
        self.signup.password.reveal()
    }

    /// Returns the number of characters of the password as received.
    pub fn password_chars(&self) -> usize {
        self.signup.password.chars()
    }

    /// Returns the client, as far as it is known.
    pub fn client(&self) -> Option<ClientIp> {
        self.signup.origin.client
    }

    /// Returns the values of a header; its name is case-insensitive.
    pub fn header(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let headers = self.signup.origin.headers.iter();
        let named = headers.filter(move |(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_slice())
    }

    /// Returns a field of the body that the policy has declared in
    /// [`fields`](SignupPolicy::fields).
    pub fn field(&self, name: &str) -> Option<&str> {
        self.signup.context.field(name)
    }

    /// Returns the pool that will hash the password, for other work of that size.
    pub fn hash_pool(&self) -> &HashPool {
        self.pool
    }
}

impl fmt::Debug for Attempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attempt(_)")
    }
}

#[cfg(test)]
mod tests;
