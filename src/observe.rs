//! What is told to whoever watches: spans and events by `tracing`, figures by
//! `metrics`, each behind its feature. Without them there is nothing of this.
//!
//! Neither email nor password, token or key is in any of it. The names and labels
//! are told in `docs/observing.md`.
#![cfg_attr(
    not(all(feature = "metrics", feature = "tracing")),
    expect(unused_variables, reason = "nobody watches all of it")
)]

use std::error::Error;
use std::net::IpAddr;

use crate::clock::Clock;

/// The stages that take time.
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

/// Tells the time of a stage when it is dropped.
#[must_use]
#[cfg_attr(
    not(any(feature = "metrics", feature = "tracing")),
    expect(dead_code, reason = "nobody watches")
)]
pub(crate) struct Timed<'a> {
    stage: Stage,
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    since: std::time::Duration,
    clock: &'a dyn Clock,
}

/// Begins a stage.
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

/// A sign-up from start to end, in a span of its own. It is no `async fn`, whose
/// future would hold the other one twice.
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

/// Carries the span of the caller into a task of its own.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn in_current_span<F: Future>(task: F) -> impl Future<Output = F::Output> {
    #[cfg(feature = "tracing")]
    let task = tracing::Instrument::in_current_span(task);
    task
}

/// The span of the sign-up, if it is not switched off: else it is one of the host's.
#[cfg(feature = "tracing")]
fn span() -> Option<tracing::Span> {
    let span = tracing::Span::current();
    let is_ours = span.metadata().is_some_and(|of| of.target() == module_path!());
    is_ours.then_some(span)
}

/// What came of a sign-up, in its span.
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

/// What came to nothing and was not the client's doing.
pub(crate) fn failed(what: &'static str, error: &dyn Error) {
    #[cfg(feature = "tracing")]
    tracing::error!(error = %Chain(error), "{what}");
}

/// Jobs of a hash pool, queued and running; asked only if somebody wants to know.
pub(crate) fn hash_jobs(jobs: impl FnOnce() -> [usize; 2]) {
    #[cfg(feature = "metrics")]
    for (state, jobs) in ["queued", "running"].into_iter().zip(jobs()) {
        let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
        metrics::gauge!("signup_hash_jobs", "state" => state).set(f64::from(jobs));
    }
}

/// An answer of the endpoint's, whoever decided it.
pub(crate) fn answered(status: u16) {
    #[cfg(feature = "metrics")]
    metrics::counter!("signup_http_responses_total", "status" => status.to_string()).increment(1);
}

/// Warns that a limit by client has met a request without an address.
pub(crate) fn client_without_address() {
    #[cfg(feature = "tracing")]
    tracing::warn!("no client address for a per-client rate limit: such requests share one bucket");
}

/// The limits in Redis are lost, and those in memory decide.
#[cfg(feature = "redis")]
pub(crate) fn limits_lost(error: &dyn Error) {
    #[cfg(feature = "metrics")]
    metrics::counter!("signup_limiter_fallbacks_total").increment(1);
    #[cfg(feature = "metrics")]
    metrics::gauge!("signup_limiter_redis_up").set(0.0);
    #[cfg(feature = "tracing")]
    tracing::warn!(error = %Chain(error), "Redis rate limits unavailable: limiting in memory");
}

/// The limits in Redis decide again.
#[cfg(feature = "redis")]
pub(crate) fn limits_back() {
    #[cfg(feature = "metrics")]
    metrics::gauge!("signup_limiter_redis_up").set(1.0);
    #[cfg(feature = "tracing")]
    tracing::info!("Redis rate limits available again");
}

/// An error with what is behind it.
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
