//! The checks of a builder's settings.

#[cfg(feature = "redis")]
use std::time::Duration;

use crate::account::Plan;
use crate::idempotency::ReplaySecrets;
use crate::throttle::LoginThrottle;

use super::SignupServiceBuilder;
use super::config::ConfigError;

impl<S> SignupServiceBuilder<S> {
    /// Refuses settings that could not work.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.check_secrets()?;
        if !self.plans.contains(&self.initial_plan) {
            return Err(ConfigError::InitialPlan(self.initial_plan.clone()));
        }
        for plan in &self.plans {
            let checked = plan.as_str().parse::<Plan>();
            checked.map_err(|source| ConfigError::Plan { plan: plan.clone(), source })?;
        }
        if let Some(field) = self.policies.unreadable_field() {
            return Err(ConfigError::PolicyField(field));
        }
        if let Some(problem) = self.policies.problem() {
            return Err(ConfigError::Policy(problem));
        }
        if self.policies.deadlines().any(|deadline| deadline.is_zero()) {
            return Err(ConfigError::ZeroDeadline("a policy"));
        }
        #[cfg(feature = "redis")]
        if self.redis_deadlines().into_iter().flatten().any(|deadline| deadline.is_zero()) {
            return Err(ConfigError::ZeroDeadline("Redis"));
        }
        if self.requires_idempotency_key && self.replay.is_none() {
            return Err(ConfigError::NoReplaySecret);
        }
        #[cfg(feature = "verification")]
        if let Some(mailing) = &self.mailing {
            mailing.check(self.requires_idempotency_key)?;
        }
        Ok(())
    }

    #[cfg(feature = "redis")]
    fn redis_deadlines(&self) -> [Option<Duration>; 3] {
        #[cfg(feature = "verification")]
        let codes = self.mailing.as_ref().and_then(|it| it.codes.redis_deadline);
        #[cfg(not(feature = "verification"))]
        let codes = None;
        [
            self.rate_limits.as_ref().and_then(|it| it.redis_deadline),
            self.throttle.as_ref().and_then(|it| it.redis_deadline),
            codes,
        ]
    }

    /// Refuses settings that exclude each other, and secrets that must not be shared.
    fn check_secrets(&self) -> Result<(), ConfigError> {
        if let Some(both) = self.exclusive {
            return Err(ConfigError::Exclusive(both));
        }
        let retries = self.replay.as_ref().map(|(secrets, _)| secrets);
        #[cfg(feature = "verification")]
        let tickets = self.mailing.as_ref().map(|it| &it.codes.secrets);
        #[cfg(not(feature = "verification"))]
        let tickets = None;
        let others = [retries, tickets, self.throttle.as_ref().map(LoginThrottle::secrets)];
        for other in others.into_iter().flatten() {
            // Its rotation would end every ban.
            if self.bans.as_ref().is_some_and(|bans| bans.is_same(other)) {
                return Err(ConfigError::SharedSecret("bans and another purpose"));
            }
        }
        // A leak of what signs tokens must not be one of what derives API keys.
        let mut versions = others.into_iter().flatten().chain(&self.bans);
        let signing = self.tokens.secret_versions();
        let is_jwt = |secrets: &ReplaySecrets| {
            secrets.versions().iter().any(|version| signing.contains(version))
        };
        if versions.any(is_jwt) {
            return Err(ConfigError::SharedSecret("tokens and another purpose"));
        }
        Ok(())
    }
}
