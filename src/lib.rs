//! wip
pub mod account;
#[cfg(feature = "axum")]
pub mod adapters;
mod admission;
pub mod api_key;
pub mod clock;
pub mod error;
pub mod fields;
pub mod hash;
pub mod http;
pub mod random;
mod request;
mod response;
mod service;
pub mod store;
pub mod token;
mod validate;
pub use error::SignupError;
pub use request::SignupRequest;
pub use response::Signup;
pub use service::{ConfigError, SignupService, SignupServiceBuilder};
