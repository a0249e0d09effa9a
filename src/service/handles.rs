//! The handles of email verification, by the mode of the service.

use super::after::VerifyAfter;
use super::first::VerifyFirst;

/// The email verification of a service, from
/// [`SignupService::verification`](crate::SignupService::verification).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EmailVerification {
    /// Addresses are not verified.
    Off,
    /// Addresses are verified [first](crate::SignupServiceBuilder::verify_first).
    First(VerifyFirst),
    /// Addresses are verified [after](crate::SignupServiceBuilder::verify_after) the sign-up.
    After(VerifyAfter),
}

impl EmailVerification {
    /// Returns the handle of a service that verifies addresses first.
    pub fn first(self) -> Option<VerifyFirst> {
        match self {
            Self::First(first) => Some(first),
            _ => None,
        }
    }

    /// Returns the handle of a service that verifies addresses after the sign-up.
    pub fn after(self) -> Option<VerifyAfter> {
        match self {
            Self::After(after) => Some(after),
            _ => None,
        }
    }
}
