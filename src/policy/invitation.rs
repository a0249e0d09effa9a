//! Sign-up by invitation only.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::BoxError;

use super::{Attempt, SignupPolicy, Verdict};

const FIELD: &str = "invite_code";

type Answer = Pin<Box<dyn Future<Output = Result<bool, BoxError>> + Send>>;

/// Only whoever has an invitation: the body's `invite_code`, which the host judges.
///
/// The code is judged before the account is stored. A code that is good only once is
/// used up with the account, by [`HostRows`](crate::store::HostRows) say.
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

    async fn judge(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
        let Some(code) = attempt.field(FIELD) else {
            return Ok(Verdict::invalid(FIELD, "Required"));
        };
        if (self.judge)(code.to_owned()).await? {
            Ok(Verdict::Allow)
        } else {
            Ok(Verdict::invalid(FIELD, "Invitation code is not valid"))
        }
    }
}

impl fmt::Debug for InvitationOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InvitationOnly")
    }
}
