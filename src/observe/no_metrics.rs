//! No metrics.

use std::time::Duration;

use super::Stage;

pub(super) fn stage(_: Stage, _: Duration) {}

pub(super) fn outcome(_: &'static str) {}

pub(crate) fn hash_jobs(_: impl FnOnce() -> [usize; 2]) {}

pub(crate) fn answered(_: u16) {}

pub(super) fn unknown_secret(_: &'static str) {}

#[cfg(feature = "redis")]
pub(super) fn limits_lost() {}

#[cfg(feature = "redis")]
pub(super) fn limits_back() {}

pub(super) fn event(_: &'static str) {}

#[cfg(feature = "verification")]
pub(super) fn mail(_: &'static str) {}
