//! The paths of the endpoint.

/// The path of the endpoint.
pub const PATH: &str = "/auth/signup";

/// The path that completes a sign-up whose address is proven first.
#[cfg(feature = "verification")]
pub const VERIFY_PATH: &str = "/auth/signup/verify";

/// The path that mails another code.
#[cfg(feature = "verification")]
pub const RESEND_PATH: &str = "/auth/signup/resend";

/// The path that proves the address of an account that is there already.
#[cfg(feature = "verification")]
pub const VERIFY_EMAIL_PATH: &str = "/auth/email/verify";

/// The path that mails its code again.
#[cfg(feature = "verification")]
pub const RESEND_EMAIL_CODE_PATH: &str = "/auth/email/resend";

/// The path that begins to take over an account whose address was never proven.
#[cfg(feature = "verification")]
pub const RECLAIM_PATH: &str = "/auth/email/reclaim";

/// The path that takes it over.
#[cfg(feature = "verification")]
pub const CONFIRM_RECLAIM_PATH: &str = "/auth/email/reclaim/confirm";

/// A path that the endpoint answers on, for an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route {
    /// [`PATH`]
    Signup,
    /// [`VERIFY_PATH`]
    #[cfg(feature = "verification")]
    Verify,
    /// [`RESEND_PATH`]
    #[cfg(feature = "verification")]
    Resend,
    /// [`VERIFY_EMAIL_PATH`]
    #[cfg(feature = "verification")]
    VerifyEmail,
    /// [`RESEND_EMAIL_CODE_PATH`]
    #[cfg(feature = "verification")]
    ResendEmailCode,
    /// [`RECLAIM_PATH`]
    #[cfg(feature = "verification")]
    Reclaim,
    /// [`CONFIRM_RECLAIM_PATH`]
    #[cfg(feature = "verification")]
    ConfirmReclaim,
}

impl Route {
    /// Returns whether the account of the request is proven by a token, if there is one.
    #[cfg(feature = "verification")]
    pub(super) const fn takes_token(self) -> bool {
        matches!(self, Self::VerifyEmail | Self::ResendEmailCode)
    }

    /// Returns the path.
    ///
    /// ```
    /// use signup::http::{PATH, Route};
    ///
    /// assert_eq!(Route::Signup.path(), PATH);
    /// ```
    pub const fn path(self) -> &'static str {
        match self {
            Self::Signup => PATH,
            #[cfg(feature = "verification")]
            Self::Verify => VERIFY_PATH,
            #[cfg(feature = "verification")]
            Self::Resend => RESEND_PATH,
            #[cfg(feature = "verification")]
            Self::VerifyEmail => VERIFY_EMAIL_PATH,
            #[cfg(feature = "verification")]
            Self::ResendEmailCode => RESEND_EMAIL_CODE_PATH,
            #[cfg(feature = "verification")]
            Self::Reclaim => RECLAIM_PATH,
            #[cfg(feature = "verification")]
            Self::ConfirmReclaim => CONFIRM_RECLAIM_PATH,
        }
    }
}
