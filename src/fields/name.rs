//! The display name.

use super::FieldError;

/// The maximum length of a name, in Unicode code points as received.
pub const MAX_CHARS: usize = 256;

/// A display name: at most 256 code points, no control characters, otherwise exactly as
/// given. It may be empty.
///
/// ```
/// use signup::fields::{FieldError, Name};
///
/// assert_eq!(Name::parse("Jane Developer").unwrap().as_str(), "Jane Developer");
/// assert_eq!(Name::parse("Jane\u{1b}[31m"), Err(FieldError::ControlCharacter));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Parses a name.
    ///
    /// # Errors
    /// Returns [`FieldError`] for more than 256 code points, or for a control character
    /// (general category Cc: C0, DEL and C1).
    pub fn parse(name: impl Into<String>) -> Result<Self, FieldError> {
        let name = name.into();
        if name.chars().count() > MAX_CHARS {
            return Err(FieldError::TooLong(MAX_CHARS));
        }
        if name.chars().any(char::is_control) {
            return Err(FieldError::ControlCharacter);
        }
        Ok(Self(name))
    }

    /// Creates a name from what a store has kept, without checking it.
    pub fn from_store(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Returns the name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_comes_before_the_form() {
        assert_eq!(Name::parse("\0".repeat(257)), Err(FieldError::TooLong(MAX_CHARS)));
        assert_eq!(Name::parse("\0".repeat(256)), Err(FieldError::ControlCharacter));
    }

    #[test]
    fn n05_every_control_character_is_refused() {
        let controls = ('\0'..='\u{1f}').chain('\u{7f}'..='\u{9f}');
        for control in controls {
            let name = format!("a{control}b");
            assert_eq!(Name::parse(name), Err(FieldError::ControlCharacter));
        }
        assert!(Name::parse("\u{20}\u{7e}\u{a0}\u{2028}").is_ok());
    }
}
