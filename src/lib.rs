//! A finished, hardened `POST /auth/signup` for any Rust backend.
//!
//! A host adds the crate and gets an endpoint that registers an account by email
//! and password, and answers with a JWT for the dashboard and an API key that is
//! shown once. It runs inside the host's process, in its framework, on its
//! database.
//!
//! - [`SignupService`] is the pipeline, without a framework: validated, hashed
//!   with Argon2id on a bounded pool, minted, stored atomically.
//! - [`http`] is the endpoint as documented, bytes in and bytes out; `adapters`
//!   translate it into a framework (features `axum` and
//!   `actix`).
//! - [`store`] has the trait [`AccountStore`](store::AccountStore), a store in
//!   memory, one in SQLite (feature `sqlite`) and one in PostgreSQL (feature
//!   `postgres`), and the suite that any other has to pass (`conformance`).
//! - [`clock`] and [`random`] are parameters, with fakes for the host's tests.
//!
//! ```
//! use signup::store::MemoryStore;
//! use signup::{SignupError, SignupRequest, SignupService};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let service = SignupService::builder(MemoryStore::default())
//!     .jwt_secret(b"0123456789abcdef0123456789abcdef")
//!     .build()?;
//!
//! let request = SignupRequest::new("dev@example.com", "correct horse").name("Jane");
//! let signup = service.signup(request).await?;
//! assert_eq!(signup.account().plan().as_str(), "trial");
//!
//! let again = SignupRequest::new("DEV@example.com", "correct horse");
//! assert!(matches!(service.signup(again).await, Err(SignupError::EmailTaken)));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! What is promised, and what is not, stands in the README and in `SECURITY.md`;
//! how it is built, in `ARCHITECTURE.md`.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(unreachable_pub)]

pub mod account;
#[cfg(any(feature = "actix", feature = "axum"))]
pub mod adapters;
pub mod api_key;
pub mod clock;
pub mod context;
pub mod credentials;
pub mod error;
pub mod fields;
pub mod hash;
pub mod http;
pub mod limit;
mod lookup;
mod observe;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod policy;
pub mod random;
mod request;
mod response;
mod service;
pub mod store;
pub mod token;
mod validate;

pub use error::SignupError;
#[cfg(feature = "openapi")]
pub use openapi::openapi;
pub use request::SignupRequest;
pub use response::Signup;
pub use service::{ConfigError, Prepared, ProofMismatch, SignupService, SignupServiceBuilder};

/// The README's Rust, compiled.
#[cfg(all(doctest, feature = "axum", feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;
