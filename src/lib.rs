//! A finished, hardened `POST /auth/signup` for any Rust backend.
//!
//! It registers an account by email and password, and answers with a JWT for the
//! dashboard and an API key that is shown once. It runs in the host's process, in its
//! framework, on its database.
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
//! # I want to …
//!
//! | … | where |
//! | --- | --- |
//! | mount the endpoint | [getting started](guide::getting_started), `adapters::axum`, `adapters::actix` |
//! | mount it without an adapter | [`http::SignupEndpoint`] |
//! | register accounts without HTTP | [`SignupService::signup`] |
//! | let clients retry a sign-up | [`SignupServiceBuilder::retry_safe`] |
//! | protect a route | `DashboardAuth` and `ApiKeyAuth` in [`credentials`] |
//! | write a log-in | [`Credentials::verify_password`](credentials::Credentials::verify_password), then [`issue_token`](credentials::Credentials::issue_token) |
//! | read, change, disable or erase accounts | [`Accounts`], [accounts](guide::accounts) |
//! | verify email addresses | [verification](guide::verification) |
//! | reset passwords, or change addresses | `AccountCodes`, [accounts](guide::accounts) |
//! | send the mails | `mail::Mailer`, [verification](guide::verification) |
//! | store my own rows with the account | [stores](guide::stores) |
//! | use my own table | `store::TableMap`, or a store of mine: [`store::AccountStore`], `store::conformance` |
//! | replace the sign-up of a tutorial | [from the tutorial](guide::from_a_tutorial) |
//! | bring users of another system along | [moving in](guide::moving_in) |
//! | take my users to another system | [leaving](guide::leaving) |
//! | serve several tenants | [tenants](guide::tenants) |
//! | use my own driver | `store::Dialect` |
//! | limit requests, or name my proxies | [limits](guide::limits) |
//! | refuse weak passwords or domains, ask for an invitation or a captcha | [policies](guide::policies) |
//! | choose the cost of hashing | [hashing](guide::hashing) |
//! | see logs and metrics | [observing](guide::observing) |
//! | rotate signing keys, or verify tokens elsewhere | [`token::TokenKeys`], [`token::TokenVerifier`] |
//! | notify other systems of changes to accounts | [events](guide::events) |
//! | test my handlers | [testing](guide::testing) |
//! | go to production | [the checklist](guide::production), [security](guide::security), [upgrading](guide::upgrading) |
//!
//! # Modules
//!
//! - [`guide`]: one page for each question that a host asks.
//! - [`http`]: the endpoint as documented, bytes in and bytes out.
//! - `adapters`: its translation into axum and actix-web (features `axum`, `actix`).
//! - [`store`]: the traits of a store, and the stores: in memory, in SQLite, in
//!   PostgreSQL, and in MySQL or MariaDB.
//! - [`credentials`]: verification, rotation and revocation of what was handed out.
//! - [`token`]: signing keys, their rotation, and a verifier that needs no store.
//! - [`api_key`]: API keys, their prefixes and digests.
//! - [`hash`]: Argon2id, its work factors, engines and peppers, and the pool.
//! - [`idempotency`]: retries by `Idempotency-Key`.
//! - [`limit`]: rate limits by client and by email, in memory or in Redis.
//! - [`policy`]: rules of the host for sign-ups.
//! - [`context`]: values that policies hand to the host's rows.
//! - [`event`] and [`relay`]: changes of accounts as events, and their delivery.
//! - `verification` and `mail`: mailed codes, and the mails themselves (feature `verification`).
//! - [`account`]: [`Account`](account::Account), its id and its [`Plan`](account::Plan).
//! - [`fields`]: parsed emails, passwords and names.
//! - [`error`]: [`SignupError`], its codes and issues.
//! - [`clock`] and [`random`]: time and randomness as parameters, with fakes for tests.
//! - `openapi`: the endpoint as an OpenAPI 3.1 document (feature `openapi`).
//!
//! # Features
//!
//! All are off by default and independent of each other.
//!
//! | feature | adds |
//! | --- | --- |
//! | `axum`, `actix` | router, handler and extractors |
//! | `sqlite`, `postgres`, `mysql` | stores that create their own tables |
//! | `foreign-credentials` | password hashes and API keys of other systems |
//! | `statements` | the SQL of a sign-up, for any driver |
//! | `openapi` | the endpoint as an OpenAPI 3.1 document |
//! | `redis` | rate limits that instances share |
//! | `verification`, `smtp` | email verification with mailed codes; sending by SMTP |
//! | `webhooks` | events of accounts, posted to a URL and signed |
//! | `tls-rustls`, `tls-native` | TLS to PostgreSQL, MySQL and Redis |
//! | `breached-passwords`, `common-passwords`, `zxcvbn` | password policies |
//! | `tracing`, `metrics` | spans and events; counters and histograms |
//! | `es256`, `rs256`, `pem` | more token algorithms; keys from PEM |
//! | `simd` | a faster Argon2id engine, for the host to choose |
//! | `conformance` | the test suite for a store of the host |
//! | `full` | all but `tls-*`, `rs256` and `simd` |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(unreachable_pub)]

pub mod account;
#[cfg(any(feature = "actix", feature = "axum"))]
pub mod adapters;
pub mod api_key;
pub mod clock;
pub mod context;
mod core;
mod counters;
pub mod credentials;
pub mod error;
pub mod event;
pub mod fields;
#[cfg_attr(docsrs, doc(auto_cfg = false))] // its pages need no feature to be read
pub mod guide;
pub mod hash;
pub mod http;
pub mod idempotency;
mod issue;
pub mod limit;
mod lookup;
#[cfg(feature = "verification")]
pub mod mail;
mod observe;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod policy;
pub mod random;
pub mod relay;
mod request;
mod response;
mod secret;
mod service;
pub mod store;
mod throttle;
pub mod token;
mod validate;
#[cfg(feature = "verification")]
pub mod verification;

pub use error::SignupError;
#[cfg(feature = "openapi")]
pub use openapi::openapi;
pub use request::SignupRequest;
pub use response::Signup;
#[cfg(feature = "verification")]
pub use service::{AccountCodes, EmailVerification, PasswordReset, VerifyAfter, VerifyFirst};
pub use service::{
    Accounts, Bans, ConfigError, Erased, Housekeeping, Housekept, Preparation, Prepared,
    SignupService, SignupServiceBuilder,
};

/// The README's Rust, compiled.
#[cfg(all(doctest, feature = "axum", feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;
