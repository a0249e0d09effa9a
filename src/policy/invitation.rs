//! Sign-up by invitation.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::context::ContextValue;
use crate::error::BoxError;

use super::{Attempt, SignupPolicy, Verdict};

const FIELD: &str = "invite_code";

type Answer = Pin<Box<dyn Future<Output = Result<bool, BoxError>> + Send>>;

/// Requires an invitation: the body's `invite_code`, which the host checks.
///
/// The code is checked before anything is hashed. A single-use code is used up in the
/// account's own transaction, by [`HostRows`](crate::store::HostRows), which read it as
/// [`InviteCode`]: of two simultaneous sign-ups with one code, one is stored.
///
/// ```
/// use signup::SignupService;
/// use signup::policy::InvitationOnly;
/// use signup::store::MemoryStore;
///
/// let invited = InvitationOnly::new(async |code| Ok(code == "friends"));
/// let service =
///     SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]).policy(invited);
/// ```
pub struct InvitationOnly {
    judge: Box<dyn Fn(String) -> Answer + Send + Sync>,
    deadline: Duration,
}

impl InvitationOnly {
    /// Creates the policy. `is_good` checks a code; if it fails or takes longer than five
    /// seconds, the answer is 503.
    pub fn new<F>(is_good: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<bool, BoxError>> + Send + 'static,
    {
        let judge = move |code| Box::pin(is_good(code)) as Answer;
        Self { judge: Box::new(judge), deadline: Duration::from_secs(5) }
    }
}

#[async_trait]
impl SignupPolicy for InvitationOnly {
    fn fields(&self) -> &[&'static str] {
        &[FIELD]
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.deadline)
    }

    async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
        let Some(code) = attempt.field(FIELD) else {
            return Ok(Verdict::invalid(FIELD, "Required"));
        };
        if (self.judge)(code.to_owned()).await? {
            Verdict::allow_with(&InviteCode(code.to_owned()))
        } else {
            Ok(Verdict::invalid(FIELD, "Invitation code is not valid"))
        }
    }
}

/// The invitation code that [`InvitationOnly`] accepted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteCode(pub String);

impl ContextValue for InviteCode {
    const NAME: &'static str = FIELD;
}

/// Without the code, which may be valuable.
impl fmt::Debug for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteCode(_)")
    }
}

impl fmt::Debug for InvitationOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InvitationOnly")
    }
}
