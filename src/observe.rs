//! Observability: `tracing` spans and events, `metrics` counters. Compiled out without
//! those features.
//!
//! No email, password, token or key is ever recorded. `docs/observing.md` documents all
//! names and labels.
#![cfg_attr(
    not(all(feature = "metrics", feature = "tracing")),
    expect(unused_variables, reason = "unused without the `metrics` or `tracing` feature")
)]

use std::error::Error;
use std::net::IpAddr;

use crate::clock::Clock;

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
#[cfg_attr(
    not(any(feature = "metrics", feature = "tracing")),
    expect(dead_code, reason = "unused without the `metrics` or `tracing` feature")
)]
pub(crate) struct Timed<'a> {
    stage: Stage,
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    since: std::time::Duration,
    clock: &'a dyn Clock,
}

/// Starts timing a stage.
pub(crate) fn time(stage: Stage, clock: &dyn Clock) -> Timed<'_> {
    Timed {
        stage,
        #[cfg(any(feature = "metrics", feature = "tracing"))]
        since: clock.monotonic(),
        clock,
    }
}

#[cfg(any(feature = "metrics", feature = "tracing"))]
impl Drop for Timed<'_> {
    fn drop(&mut self) {
        let took = self.clock.monotonic().saturating_sub(self.since);
        let (label, field) = match self.stage {
            Stage::Validate => ("validate", "validate_us"),
            Stage::Limit => ("limit", "limit_us"),
            Stage::Policy => ("policy", "policy_us"),
            Stage::Lookup => ("lookup", "lookup_us"),
            Stage::Hash => ("hash", "hash_us"),
            Stage::Mint => ("mint", "mint_us"),
            Stage::Store => ("store", "store_us"),
        };
        #[cfg(feature = "metrics")]
        metrics::histogram!("signup_stage_duration_seconds", "stage" => label).record(took);
        #[cfg(feature = "tracing")]
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        #[cfg(feature = "tracing")]
        if let Some(span) = span() {
            span.record(field, micros);
        }
    }
}

/// Runs a sign-up in its own span. Not an `async fn`, whose future would hold the other one
/// twice.
#[cfg(feature = "tracing")]
pub(crate) fn within<F: Future>(
    address: Option<IpAddr>,
    signup: F,
) -> impl Future<Output = F::Output> {
    use tracing::field::Empty;
    let span = tracing::info_span!(
        "signup",
        outcome = Empty,
        account_id = Empty,
        client_address = address.map(display),
        validate_us = Empty,
        limit_us = Empty,
        policy_us = Empty,
        lookup_us = Empty,
        hash_us = Empty,
        mint_us = Empty,
        store_us = Empty,
    );
    tracing::Instrument::instrument(signup, span)
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn within<F: Future>(_: Option<IpAddr>, signup: F) -> F {
    signup
}

/// Carries the caller's span into another task.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn in_current_span<F: Future>(task: F) -> impl Future<Output = F::Output> {
    #[cfg(feature = "tracing")]
    let task = tracing::Instrument::in_current_span(task);
    task
}

/// Returns the span of the sign-up, unless it is disabled and the current one belongs to
/// the host.
#[cfg(feature = "tracing")]
fn span() -> Option<tracing::Span> {
    let span = tracing::Span::current();
    let is_ours = span.metadata().is_some_and(|of| of.target() == module_path!());
    is_ours.then_some(span)
}

/// Records the outcome.
pub(crate) fn outcome(outcome: &'static str, account_id: Option<&str>) {
    #[cfg(feature = "metrics")]
    metrics::counter!("signup_outcomes_total", "outcome" => outcome).increment(1);
    #[cfg(feature = "tracing")]
    if let Some(span) = span() {
        span.record("outcome", outcome);
        if let Some(account_id) = account_id {
            span.record("account_id", account_id);
        }
    }
}

/// Logs a failure that the client did not cause.
pub(crate) fn failed(what: &'static str, error: &dyn Error) {
    #[cfg(feature = "tracing")]
    tracing::error!(error = %Chain(error), "{what}");
}

/// Records the jobs of a hash pool, queued and running, if a recorder is installed.
pub(crate) fn hash_jobs(jobs: impl FnOnce() -> [usize; 2]) {
    #[cfg(feature = "metrics")]
    for (state, jobs) in ["queued", "running"].into_iter().zip(jobs()) {
        let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
        metrics::gauge!("signup_hash_jobs", "state" => state).set(f64::from(jobs));
    }
}

/// Counts an answer of the endpoint.
pub(crate) fn answered(status: u16) {
    #[cfg(feature = "metrics")]
    metrics::counter!("signup_http_responses_total", "status" => status.to_string()).increment(1);
}

/// Warns about a per-client limit without a client address.
pub(crate) fn client_without_address() {
    #[cfg(feature = "tracing")]
    tracing::warn!("no client address for a per-client rate limit: such requests share one bucket");
}

/// Records that the limits in Redis are unavailable, and those in memory apply.
#[cfg(feature = "redis")]
pub(crate) fn limits_lost(error: &dyn Error) {
    #[cfg(feature = "metrics")]
    metrics::counter!("signup_limiter_fallbacks_total").increment(1);
    #[cfg(feature = "metrics")]
    metrics::gauge!("signup_limiter_redis_up").set(0.0);
    #[cfg(feature = "tracing")]
    tracing::warn!(error = %Chain(error), "Redis rate limits unavailable: limiting in memory");
}

/// Records that the limits in Redis are available again.
#[cfg(feature = "redis")]
pub(crate) fn limits_back() {
    #[cfg(feature = "metrics")]
    metrics::gauge!("signup_limiter_redis_up").set(1.0);
    #[cfg(feature = "tracing")]
    tracing::info!("Redis rate limits available again");
}

/// An error with its chain of sources.
#[cfg(feature = "tracing")]
struct Chain<'a>(&'a dyn Error);

#[cfg(feature = "tracing")]
impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut error = self.0;
        write!(f, "{error}")?;
        while let Some(source) = error.source() {
            write!(f, ": {source}")?;
            error = source;
        }
        Ok(())
    }
}
