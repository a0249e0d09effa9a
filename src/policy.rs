//! Rules of the host for sign-ups, see [the guide](crate::guide::policies).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::context::{Attached, ContextValue};
use crate::error::{BoxError, DEFAULT_RETRY_AFTER, ErrorCode, Issue, SignupError};
use crate::fields::Email;
use crate::hash::HashPool;
use crate::limit::ClientIp;
use crate::validate::ValidSignup;

mod domains;
mod invitation;
mod password;

pub use domains::EmailDomains;
pub use invitation::{InvitationOnly, InviteCode};
#[cfg(feature = "common-passwords")]
pub use password::CommonPasswords;
#[cfg(feature = "zxcvbn")]
pub use password::PasswordStrength;
pub use password::{MinimumLength, NotTheEmail};

/// A rule of the host for sign-ups whose fields are valid. It runs before anything is
/// hashed.
///
/// # Contract
/// - It runs for every sign-up, many at a time, and may be dropped at any await.
/// - Its messages to the client never quote the password.
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

            fn deadline(&self) -> Option<Duration> {
                (**self).deadline()
            }

            fn on_failure(&self) -> OnFailure {
                (**self).on_failure()
            }
        }
    )+};
}
forward!(Arc, Box);

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
    pool: &'a HashPool,
}

impl Attempt<'_> {
    /// Returns the address.
    pub fn email(&self) -> &Email {
        &self.signup.email
    }

    /// Returns the display name.
    pub fn name(&self) -> Option<&str> {
        self.signup.name.as_ref().map(crate::fields::Name::as_str)
    }

    /// Returns the password, in NFC.
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

/// The policies of a service; those that call out run last.
#[derive(Default)]
pub(crate) struct Policies {
    local: Vec<Arc<dyn SignupPolicy>>,
    remote: Vec<(Duration, Arc<dyn SignupPolicy>)>,
    fields: Vec<&'static str>,
}

impl Policies {
    pub(crate) fn add(&mut self, policy: Arc<dyn SignupPolicy>) {
        for field in policy.fields() {
            if !self.fields.contains(field) {
                self.fields.push(field);
            }
        }
        match policy.deadline() {
            Some(deadline) => self.remote.push((deadline, policy)),
            None => self.local.push(policy),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.local.is_empty() && self.remote.is_empty()
    }

    /// Returns the fields that the policies declare.
    pub(crate) fn fields(&self) -> &[&'static str] {
        &self.fields
    }

    /// Returns a declared field that no policy could ever read, because the endpoint reads
    /// it itself.
    pub(crate) fn unreadable_field(&self) -> Option<&'static str> {
        let unreadable = |field: &&str| matches!(*field, "" | "email" | "password" | "name");
        self.fields.iter().copied().find(unreadable)
    }

    /// Runs all policies and attaches their values. All issues of those that do not call
    /// out are reported together, one per field.
    pub(crate) async fn evaluate_all(
        &self,
        signup: &mut ValidSignup,
        pool: &HashPool,
    ) -> Result<(), SignupError> {
        let mut found = Findings::default();
        for policy in &self.local {
            let judged = policy.evaluate(&Attempt { signup, pool }).await;
            found.add(&**policy, judged)?;
        }
        if !self.remote.is_empty() && found.issues.is_empty() {
            check_runtime()?;
        }
        for (deadline, policy) in &self.remote {
            if !found.issues.is_empty() {
                break;
            }
            let attempt = Attempt { signup, pool };
            let judged = tokio::time::timeout(*deadline, policy.evaluate(&attempt)).await;
            let late = |_| Err("a policy did not answer before its deadline".into());
            found.add(&**policy, judged.unwrap_or_else(late))?;
        }
        if !found.issues.is_empty() {
            return Err(SignupError::Invalid(in_order(found.issues)));
        }
        for attached in found.attached {
            signup.context.attach(attached);
        }
        Ok(())
    }
}

/// Checks that there is a runtime: a policy with a deadline needs its timer.
fn check_runtime() -> Result<(), SignupError> {
    let runtime = tokio::runtime::Handle::try_current();
    let needed = |_| "a policy with a deadline has to be asked in a tokio runtime";
    runtime.map(drop).map_err(needed).map_err(SignupError::internal)
}

/// The verdicts so far, as long as none refused.
#[derive(Default)]
struct Findings {
    issues: Vec<Issue>,
    attached: Vec<Attached>,
}

impl Findings {
    /// Adds a verdict.
    ///
    /// # Errors
    /// Returns the policy's refusal or failure.
    fn add(
        &mut self,
        policy: &dyn SignupPolicy,
        judged: Result<Verdict, BoxError>,
    ) -> Result<(), SignupError> {
        match judged {
            Ok(Verdict::Allow) => {}
            Ok(Verdict::AllowWith(attached)) => self.attached.extend(attached),
            Ok(Verdict::Invalid(issues)) => self.issues.extend(issues),
            Ok(Verdict::Refuse { code, message }) => {
                return Err(SignupError::Refused { code, message });
            }
            Ok(Verdict::Busy { retry_after }) => return Err(SignupError::Busy { retry_after }),
            Err(source) => match policy.on_failure() {
                OnFailure::Allow => {}
                OnFailure::Refuse => {
                    return Err(SignupError::Unavailable {
                        retry_after: DEFAULT_RETRY_AFTER,
                        source,
                    });
                }
            },
        }
        Ok(())
    }
}

/// Sorts issues in the order email, password, name, the rest, and keeps the first of each
/// field.
fn in_order(mut issues: Vec<Issue>) -> Vec<Issue> {
    let mut seen = std::collections::BTreeSet::new();
    issues.retain(|issue| seen.insert(issue.path.clone()));
    issues.sort_by_key(|issue| {
        let field = issue.path.first().map_or("", |field| &**field);
        ["email", "password", "name"].iter().position(|known| *known == field).unwrap_or(3)
    });
    issues
}

#[cfg(test)]
mod tests;
