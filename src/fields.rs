//! The fields of a sign-up, as types that can't be made from invalid input.

pub mod email;
pub mod name;
pub mod password;

pub use email::{Email, EmailError, EmailKey, EmailProfile};
pub use name::{Name, NameError};
pub(crate) use password::nfc;
pub use password::{Password, PasswordError};
