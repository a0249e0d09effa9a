//! The fields of a sign-up, as types that can't be made from invalid input.

pub mod email;
mod error;
pub mod name;
pub mod password;

pub use email::{Email, EmailKey, EmailProfile};
pub use error::FieldError;
pub use name::Name;
pub use password::Password;
pub(crate) use password::nfc;
