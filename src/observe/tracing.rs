//! Spans and events.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use tracing::field::Empty;
use tracing::{Instrument, Span, error, info_span, warn};

use crate::issue::Chain;

use super::Stage;

/// The target of all spans and events.
const TARGET: &str = "signup::observe";

/// Runs a sign-up in its own span. Not an `async fn`, whose future would hold the other one
/// twice.
pub(crate) fn within<F: Future>(
    address: Option<IpAddr>,
    signup: F,
) -> impl Future<Output = F::Output> {
    let span = info_span!(
        target: TARGET,
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
    signup.instrument(span)
}

/// Carries the caller's span into another task.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) fn in_current_span<F: Future>(task: F) -> impl Future<Output = F::Output> {
    Instrument::in_current_span(task)
}

/// Returns the span of the sign-up, unless it is disabled and the current one belongs to
/// the host.
fn span() -> Option<Span> {
    let span = Span::current();
    let is_ours = span.metadata().is_some_and(|of| of.target() == TARGET);
    is_ours.then_some(span)
}

pub(super) fn stage(stage: Stage, took: Duration) {
    let field = match stage {
        Stage::Validate => "validate_us",
        Stage::Limit => "limit_us",
        Stage::Policy => "policy_us",
        Stage::Lookup => "lookup_us",
        Stage::Hash => "hash_us",
        Stage::Mint => "mint_us",
        Stage::Store => "store_us",
    };
    if let Some(span) = span() {
        span.record(field, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

pub(super) fn outcome(outcome: &'static str, account_id: Option<&str>) {
    if let Some(span) = span() {
        span.record("outcome", outcome);
        if let Some(account_id) = account_id {
            span.record("account_id", account_id);
        }
    }
}

/// Logs a failure that the client did not cause.
pub(crate) fn failed(what: &'static str, error: &dyn Error) {
    error!(target: TARGET, error = %Chain(error), "{what}");
}

/// Warns that a part does not work for now.
pub(crate) fn lost(what: &'static str, error: &dyn Error) {
    warn!(target: TARGET, error = %Chain(error), "{what}");
}

/// Warns that a part works again.
pub(crate) fn back(what: &'static str) {
    warn!(target: TARGET, "{what}");
}

/// Warns that neither issuer nor audience distinguishes this deployment from others.
#[cfg(feature = "verification")]
pub(crate) fn default_deployment() {
    warn!(
        target: TARGET,
        "issuer and audience are the defaults: tickets and tokens of another deployment with the \
         same secrets are accepted; set issuer or audience"
    );
}

/// Warns about a per-client limit without a client address.
pub(crate) fn client_without_address() {
    warn!(
        target: TARGET,
        "no client address for a per-client rate limit: such requests share one bucket"
    );
}

#[cfg(feature = "redis")]
pub(super) fn limits_lost(error: &dyn Error) {
    warn!(target: TARGET, error = %Chain(error), "Redis rate limits unavailable: limiting in memory");
}

#[cfg(feature = "redis")]
pub(super) fn limits_back() {
    tracing::info!(target: TARGET, "Redis rate limits available again");
}
