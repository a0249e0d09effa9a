//! Counters, histograms and gauges.

#[cfg(feature = "redis")]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::Stage;

pub(super) fn stage(stage: Stage, took: Duration) {
    let label = match stage {
        Stage::Validate => "validate",
        Stage::Limit => "limit",
        Stage::Policy => "policy",
        Stage::Lookup => "lookup",
        Stage::Hash => "hash",
        Stage::Mint => "mint",
        Stage::Store => "store",
    };
    histogram!("signup_stage_duration_seconds", "stage" => label).record(took);
}

pub(super) fn outcome(outcome: &'static str) {
    counter!("signup_outcomes_total", "outcome" => outcome).increment(1);
}

/// Records the jobs of a hash pool, queued and running.
pub(crate) fn hash_jobs(jobs: impl FnOnce() -> [usize; 2]) {
    for (state, jobs) in ["queued", "running"].into_iter().zip(jobs()) {
        let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
        gauge!("signup_hash_jobs", "state" => state).set(f64::from(jobs));
    }
}

/// Counts an answer of the endpoint.
pub(crate) fn answered(status: u16) {
    counter!("signup_http_responses_total", "status" => status.to_string()).increment(1);
}

/// The links to Redis that are lost: limits and counters have their own.
#[cfg(feature = "redis")]
static LOST: AtomicUsize = AtomicUsize::new(0);

#[cfg(feature = "redis")]
pub(super) fn limits_lost() {
    counter!("signup_limiter_fallbacks_total").increment(1);
    LOST.fetch_add(1, Ordering::Relaxed);
    gauge!("signup_limiter_redis_up").set(0.0);
}

#[cfg(feature = "redis")]
pub(super) fn limits_back() {
    if LOST.fetch_sub(1, Ordering::Relaxed) == 1 {
        gauge!("signup_limiter_redis_up").set(1.0);
    }
}

pub(super) fn unknown_secret(of: &'static str) {
    counter!("signup_unknown_secrets_total", "of" => of).increment(1);
}

pub(super) fn event(outcome: &'static str) {
    counter!("signup_events_total", "outcome" => outcome).increment(1);
}

#[cfg(feature = "verification")]
pub(super) fn mail(outcome: &'static str) {
    counter!("signup_mails_total", "outcome" => outcome).increment(1);
}
