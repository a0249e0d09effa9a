//! Passwords, on their way to the hasher only.

use std::fmt;

use icu_normalizer::ComposingNormalizerBorrowed;

use crate::secret::Secret;

use super::FieldError;

/// The minimum length of a password, in code points as received.
pub const MIN_CHARS: usize = 8;
/// The maximum length of a password, in code points as received.
pub const MAX_CHARS: usize = 128;

/// The factor by which NFC may lengthen UTF-8 (Unicode Standard Annex #15, section 12.1,
/// "maximum expansion factor").
const NFC_EXPANSION: usize = 3;

/// An upper bound on the bytes of any accepted password in NFC: 128 code points of four
/// bytes each, expanded.
const MAX_NFC_BYTES: usize = MAX_CHARS * NFC_EXPANSION * 4;

const NFC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfc();

/// A password of 8 to 128 Unicode code points, held in NFC.
///
/// Length is counted before normalization, on the string as received. Nothing else is
/// changed: no trimming, no case folding, no truncation. It is wiped when dropped, can't be
/// cloned or printed, and is revealed only by a named method.
///
/// ```
/// use signup::fields::Password;
///
/// let password = Password::parse("Pa\u{308}sswo\u{308}rd").unwrap();
/// assert_eq!(password.reveal(), "P\u{e4}ssw\u{f6}rd");
/// assert_eq!(format!("{password:?}"), "Password(_)");
/// ```
pub struct Password {
    nfc: Secret<String>,
    chars: usize,
    /// The text of a log-in, if it is another one.
    #[cfg(feature = "foreign-credentials")]
    typed: Option<Secret<String>>,
}

impl Password {
    /// Parses a password. The caller wipes `password`; the kept copy is wiped when dropped.
    ///
    /// # Errors
    /// Returns [`FieldError`] for fewer than 8 or more than 128 code points.
    pub fn parse(password: &str) -> Result<Self, FieldError> {
        // Counted only as far as needed: a megabyte is refused at once.
        match password.chars().take(MAX_CHARS + 1).count() {
            ..MIN_CHARS => Err(FieldError::TooShort(MIN_CHARS)),
            chars @ MIN_CHARS..=MAX_CHARS => Ok(Self::new(nfc(password), chars)),
            _ => Err(FieldError::TooLong(MAX_CHARS)),
        }
    }

    /// Parses the password of a log-in. Only an upper bound applies: the same password may
    /// be typed with fewer or more code points than at sign-up, and a minimum that is
    /// raised later must not lock users out.
    ///
    /// ```
    /// use signup::fields::Password;
    ///
    /// let short = Password::parse_for_login("\u{e9}\u{e9}\u{e9}\u{e9}").unwrap();
    /// let decomposed = Password::parse(&"e\u{301}".repeat(4)).unwrap();
    /// assert_eq!(short.reveal(), decomposed.reveal());
    /// ```
    ///
    /// # Errors
    /// Returns [`FieldError`] for more bytes than any accepted password has.
    pub fn parse_for_login(password: &str) -> Result<Self, FieldError> {
        // A decomposed form is longer than the composed one by at most the same factor.
        if password.len() > MAX_NFC_BYTES * NFC_EXPANSION {
            return Err(FieldError::TooLong(MAX_CHARS));
        }
        let nfc = nfc(password);
        if nfc.len() > MAX_NFC_BYTES {
            return Err(FieldError::TooLong(MAX_CHARS));
        }
        let parsed = Self::new(nfc, password.chars().count());
        #[cfg(feature = "foreign-credentials")]
        if *parsed.nfc != password {
            let typed = Some(Secret::new(password.to_owned()));
            return Ok(Self { typed, ..parsed });
        }
        Ok(parsed)
    }

    fn new(nfc: Secret<String>, chars: usize) -> Self {
        Self {
            nfc,
            chars,
            #[cfg(feature = "foreign-credentials")]
            typed: None,
        }
    }

    /// Copies the password, to verify it after it was hashed.
    pub(crate) fn copy(&self) -> Self {
        Self::new(self.nfc.clone(), self.chars)
    }

    /// Returns the password in NFC, whose UTF-8 bytes are hashed.
    pub fn reveal(&self) -> &str {
        &self.nfc
    }

    /// Returns the text of a log-in as it was typed, for hashes of systems that don't
    /// normalize it.
    #[cfg(feature = "foreign-credentials")]
    pub(crate) fn as_typed(&self) -> &str {
        self.typed.as_ref().map_or(&self.nfc, |typed| typed)
    }

    /// Returns the text of a log-in without normalization, if that changes it.
    #[cfg(feature = "foreign-credentials")]
    pub(crate) fn verbatim(&self) -> Option<Self> {
        self.typed.clone().map(|typed| Self::new(typed, self.chars))
    }

    /// Returns the number of code points as received.
    pub fn chars(&self) -> usize {
        self.chars
    }
}

/// Normalizes to NFC, in memory that never has to grow, because growing would leave a copy
/// that are never wiped.
pub(crate) fn nfc(text: &str) -> Secret<String> {
    let mut normalised = Secret::new(String::with_capacity(text.len() * NFC_EXPANSION));
    match NFC.normalize_to(text, &mut *normalised) {
        Ok(()) => normalised,
        Err(fmt::Error) => unreachable!("a String takes all that is written to it"),
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(_)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_in_code_points() {
        let emoji = |count| Password::parse(&"\u{1f600}".repeat(count));
        assert_eq!(emoji(7).err(), Some(FieldError::TooShort(MIN_CHARS)));
        assert!(emoji(8).is_ok() && emoji(128).is_ok());
        assert_eq!(emoji(129).err(), Some(FieldError::TooLong(MAX_CHARS)));
    }

    #[test]
    fn the_longest_password_logs_in_however_it_is_typed() {
        // Two bytes composed and five decomposed; four in any form; eight in NFC of four.
        for (composed, typed) in
            [("\u{1d6}", "u\u{308}\u{304}"), ("\u{1f600}", "\u{1f600}"), ("\u{1d15f}", "\u{1d15f}")]
        {
            let signed_up = Password::parse(&composed.repeat(MAX_CHARS)).unwrap();
            let typed = Password::parse_for_login(&typed.repeat(MAX_CHARS)).unwrap();
            assert_eq!(signed_up.reveal(), typed.reveal());
        }
        let longest = "x".repeat(MAX_NFC_BYTES);
        assert!(Password::parse_for_login(&longest).is_ok());
        assert!(Password::parse_for_login(&format!("{longest}x")).is_err());
    }

    #[test]
    fn the_longest_text_of_a_log_in_is_three_times_its_nfc() {
        let longest = "\u{3b9}\u{308}\u{301}".repeat(MAX_NFC_BYTES / 2);
        assert_eq!(longest.len(), MAX_NFC_BYTES * NFC_EXPANSION);
        assert!(Password::parse_for_login(&longest).is_ok());
    }

    #[cfg(feature = "foreign-credentials")]
    #[test]
    fn a_log_in_keeps_what_was_typed_if_nfc_is_another_text() {
        let typed = Password::parse_for_login("e\u{301}").unwrap();
        assert_eq!(typed.as_typed(), "e\u{301}");
        assert_eq!(typed.verbatim().unwrap().reveal(), "e\u{301}");
        let composed = Password::parse_for_login("\u{e9}").unwrap();
        assert_eq!(composed.as_typed(), "\u{e9}");
        assert!(composed.verbatim().is_none());
    }

    #[test]
    fn p11_the_nfc_form_never_outgrows_its_memory() {
        for expanding in ['\u{958}', '\u{fb1d}', '\u{1d15f}', '\u{fb2c}', '\u{390}'] {
            let given = expanding.to_string().repeat(128);
            let room = given.len() * NFC_EXPANSION;
            let password = Password::parse(&given).unwrap();
            assert!(password.reveal().len() <= room);
            assert_eq!(password.nfc.capacity(), room, "{expanding:?} grew");
        }
    }

    #[test]
    fn a_log_in_takes_every_spelling_of_what_a_sign_up_took() {
        for (signed_up, typed) in [
            ("e\u{301}".repeat(4), "\u{e9}".repeat(4)),
            ("\u{e9}".repeat(100), "e\u{301}".repeat(100)),
            ("\u{1f600}".repeat(128), "\u{1f600}".repeat(128)),
            ("\u{fb2c}".repeat(128), "\u{5e9}\u{5bc}\u{5c1}".repeat(128)),
        ] {
            let signed_up = Password::parse(&signed_up).unwrap();
            let typed = Password::parse_for_login(&typed).unwrap();
            assert_eq!(signed_up.reveal(), typed.reveal());
        }
        for long in ["x".repeat(MAX_NFC_BYTES + 1), "x".repeat(1 << 20)] {
            assert_eq!(
                Password::parse_for_login(&long).err(),
                Some(FieldError::TooLong(MAX_CHARS))
            );
        }
    }

    #[test]
    fn p16_compatibility_forms_stay_apart() {
        let ligature = Password::parse("o\u{fb03}cepassword").unwrap();
        assert_eq!(ligature.reveal(), "o\u{fb03}cepassword");
    }
}
