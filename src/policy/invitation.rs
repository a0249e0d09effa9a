//! Sign-up by invitation only.

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

/// Sign-up with an invitation only: the body's `invite_code`, which the host judges.
///
/// The code is judged before anything is hashed. A code that works only once is used up
/// in the account's own transaction, by [`HostRows`](crate::store::HostRows), which get
/// it as [`InviteCode`]: of two sign-ups with one code at the same time, one is stored.
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
    /// `is_good` says whether a code is. Where it fails, or takes longer than five
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

/// The invitation of a sign-up that [`InvitationOnly`] let through.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteCode(pub String);

impl ContextValue for InviteCode {
    const NAME: &'static str = FIELD;
}

/// Without the code, which may be worth something.
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
