//! Observability: `tracing` spans and events, `metrics` counters. Without its feature, each
//! is replaced by a twin that does nothing.
//!
//! No email, password, token or key is ever recorded. `docs/observing.md` documents all
//! names and labels.

use std::time::Duration;

use crate::clock::Clock;

#[cfg_attr(not(feature = "metrics"), path = "observe/no_metrics.rs")]
mod metrics;
#[cfg_attr(not(feature = "tracing"), path = "observe/no_tracing.rs")]
mod tracing;

pub(crate) use self::metrics::{answered, hash_jobs};
#[cfg(feature = "verification")]
pub(crate) use self::tracing::default_deployment;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) use self::tracing::in_current_span;
pub(crate) use self::tracing::{back, client_without_address, failed, lost, within};

/// Whether anything is recorded at all.
const IS_ON: bool = cfg!(any(feature = "metrics", feature = "tracing"));

/// The stages of a sign-up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stage {
    Validate,
    Limit,
    Policy,
    Lookup,
    Hash,
    Mint,
    Store,
}

/// Records the duration of a stage when dropped.
#[must_use]
pub(crate) struct Timed<'a> {
    stage: Stage,
    since: Duration,
    clock: &'a dyn Clock,
}

/// Starts timing a stage.
pub(crate) fn time(stage: Stage, clock: &dyn Clock) -> Timed<'_> {
    let since = if IS_ON { clock.monotonic() } else { Duration::ZERO };
    Timed { stage, since, clock }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        if IS_ON {
            let took = self.clock.monotonic().saturating_sub(self.since);
            metrics::stage(self.stage, took);
            tracing::stage(self.stage, took);
        }
    }
}

/// Records the outcome of a sign-up.
pub(crate) fn outcome(outcome: &'static str, account_id: Option<&str>) {
    metrics::outcome(outcome);
    tracing::outcome(outcome, account_id);
}

/// Records that the limits in Redis are unavailable, and those in memory apply.
#[cfg(feature = "redis")]
pub(crate) fn limits_lost(error: &dyn std::error::Error) {
    metrics::limits_lost();
    tracing::limits_lost(error);
}

/// Records that the limits in Redis are available again.
#[cfg(feature = "redis")]
pub(crate) fn limits_back() {
    metrics::limits_back();
    tracing::limits_back();
}

/// Counts a token or a ticket by a key or a secret that this instance does not have: another
/// instance may have other ones.
pub(crate) fn unknown_secret(of: &'static str) {
    metrics::unknown_secret(of);
}

/// Counts an attempt to deliver an event, by its outcome.
pub(crate) fn event(outcome: &'static str) {
    metrics::event(outcome);
}

/// Counts a mail that was sent, is tried again, or was given up.
#[cfg(feature = "verification")]
pub(crate) fn mail(outcome: &'static str) {
    metrics::mail(outcome);
}
