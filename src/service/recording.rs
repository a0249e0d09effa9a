//! The outcome of a sign-up, for the span and the metrics.

use crate::account::AccountId;
use crate::error::SignupError;
use crate::hash::HashPool;
use crate::observe;
use crate::response::Signup;

/// A sign-up whose outcome is recorded in the span and the metrics when it ends.
pub(super) struct Recording<'a> {
    pool: &'a HashPool,
    is_done: bool,
}

impl<'a> Recording<'a> {
    pub(super) fn new(pool: &'a HashPool) -> Self {
        Self { pool, is_done: false }
    }

    /// Records the outcome of a sign-up that was answered.
    pub(super) fn finish_signup(self, result: &Result<Signup, SignupError>) {
        self.finish(result.as_ref().map(|signup| {
            let outcome = if signup.is_replayed() { "replayed" } else { "created" };
            (outcome, Some(signup.account().id()))
        }));
    }

    pub(super) fn finish(
        mut self,
        result: Result<(&'static str, Option<&AccountId>), &SignupError>,
    ) {
        self.is_done = true;
        observe::hash_jobs(|| {
            let stats = self.pool.stats();
            [stats.queued, stats.running]
        });
        match result {
            Ok((outcome, id)) => observe::outcome(outcome, id.map(AccountId::as_str)),
            Err(error) => observe::outcome(error.outcome(), None),
        }
        if let Err(error @ (SignupError::Internal(_) | SignupError::Unavailable { .. })) = result {
            observe::failed("sign-up failed", error);
        }
    }
}

/// Records a sign-up whose caller went away, or that panicked.
impl Drop for Recording<'_> {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let outcome = if std::thread::panicking() { "internal" } else { "abandoned" };
        observe::outcome(outcome, None);
    }
}
