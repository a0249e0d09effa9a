//! The paths of the endpoint.

/// The path of the endpoint.
pub const PATH: &str = "/auth/signup";

/// The path that completes a sign-up whose address is proven first.
#[cfg(feature = "verification")]
pub const VERIFY_PATH: &str = "/auth/signup/verify";

/// The path that mails another code.
#[cfg(feature = "verification")]
pub const RESEND_PATH: &str = "/auth/signup/resend";

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
}

impl Route {
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
        }
    }
}
