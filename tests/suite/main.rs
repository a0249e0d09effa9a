//! All tests that need no harness of their own, in one binary: it is linked once.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod actix_host;
mod architecture;
mod axum_host;
mod breached;
mod conformance;
mod credentials;
#[cfg(feature = "simd")]
mod engines;
mod galera;
mod hazards;
mod invitations;
mod killed;
mod language;
#[cfg(target_os = "linux")]
mod memory;
mod model;
mod moving_in;
mod mysql;
mod notices;
mod observe;
mod openapi;
mod operating;
mod outcomes;
mod overload;
mod postgres;
mod proofs;
mod readme;
mod redis;
mod relay;
mod repository;
mod resets;
mod server;
mod settings;
mod shown;
mod simulation;
mod smtp;
mod sqlite;
mod table;
mod throttle;
mod trees;
mod webhooks;
mod wiping;
