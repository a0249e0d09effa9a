//! The documented paths.

/// The path of the endpoint.
pub const PATH: &str = "/auth/signup";

/// The path that completes a sign-up whose address is verified first.
#[cfg(feature = "verification")]
pub const VERIFY_PATH: &str = "/auth/signup/verify";

/// The path for requesting another code for the sign-up.
#[cfg(feature = "verification")]
pub const RESEND_PATH: &str = "/auth/signup/resend";

/// The path that verifies the address of a stored account.
#[cfg(feature = "verification")]
pub const VERIFY_EMAIL_PATH: &str = "/auth/email/verify";

/// The path for requesting another code for the account.
#[cfg(feature = "verification")]
pub const RESEND_EMAIL_CODE_PATH: &str = "/auth/email/resend";

/// The path that begins the reclaim of an account with an unverified address.
#[cfg(feature = "verification")]
pub const RECLAIM_PATH: &str = "/auth/email/reclaim";

/// The path that completes the reclaim.
#[cfg(feature = "verification")]
pub const CONFIRM_RECLAIM_PATH: &str = "/auth/email/reclaim/confirm";
