//! No spans and no events.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use super::Stage;

pub(crate) fn within<F: Future>(_: Option<IpAddr>, signup: F) -> F {
    signup
}

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) fn in_current_span<F: Future>(task: F) -> F {
    task
}

pub(super) fn stage(_: Stage, _: Duration) {}

pub(super) fn outcome(_: &'static str, _: Option<&str>) {}

pub(crate) fn failed(_: &'static str, _: &dyn Error) {}

pub(crate) fn lost(_: &'static str, _: &dyn Error) {}

pub(crate) fn back(_: &'static str) {}

#[cfg(feature = "verification")]
pub(crate) fn default_deployment() {}

pub(crate) fn client_without_address() {}

#[cfg(feature = "redis")]
pub(super) fn limits_lost(_: &dyn Error) {}

#[cfg(feature = "redis")]
pub(super) fn limits_back() {}
