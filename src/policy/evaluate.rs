//! Running the policies of a service.

use std::sync::Arc;
use std::time::Duration;

use crate::context::Attached;
use crate::error::{BoxError, DEFAULT_RETRY_AFTER, InvalidValue, Issue, SignupError};
use crate::hash::HashPool;
use crate::validate::ValidSignup;

use super::{Attempt, Occasion, OnFailure, SignupPolicy, Verdict};

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

    /// Returns the deadlines of the policies that call out.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = Duration> {
        self.remote.iter().map(|(deadline, _)| *deadline)
    }

    /// Returns why one of the policies would refuse every request.
    pub(crate) fn problem(&self) -> Option<InvalidValue> {
        let remote = self.remote.iter().map(|(_, policy)| policy);
        self.local.iter().chain(remote).find_map(SignupPolicy::problem)
    }

    /// Runs all policies of this occasion and attaches their values. All issues of those
    /// that do not call out are reported together, one per field.
    pub(crate) async fn evaluate_all(
        &self,
        signup: &mut ValidSignup,
        occasion: Occasion,
        pool: &HashPool,
    ) -> Result<(), SignupError> {
        let is_asked = |policy: &dyn SignupPolicy| policy.occasions().contains(&occasion);
        let mut found = Findings::default();
        for policy in self.local.iter().filter(|policy| is_asked(&***policy)) {
            let judged = policy.evaluate(&Attempt { signup, occasion, pool }).await;
            found.add(&**policy, judged)?;
        }
        for (deadline, policy) in self.remote.iter().filter(|(_, policy)| is_asked(&**policy)) {
            if !found.issues.is_empty() {
                break;
            }
            check_runtime()?;
            let attempt = Attempt { signup, occasion, pool };
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
