//! The error of a field.

/// The error of an invalid field. Its text is the issue's message.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// Fewer code points than this.
    #[error("String must contain at least {0} character(s)")]
    TooShort(usize),
    /// More code points than this.
    #[error("String must contain at most {0} character(s)")]
    TooLong(usize),
    /// A control character in a name.
    #[error("String must not contain control characters")]
    ControlCharacter,
    /// Not an address of the profile.
    #[error("Invalid email")]
    InvalidEmail,
}

crate::issue::debug_by_text!(FieldError);
