//! The key that a client chooses for a request and all its retries.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use crate::issue::InvalidValue;
use crate::secret::Secret;

/// The shortest and the longest key, in characters.
const CHARS: std::ops::RangeInclusive<usize> = 16..=255;

/// The message about a key of another form.
pub(crate) const MALFORMED: &str = "Must be 16 to 255 visible ASCII characters";
/// The message about a key that is missing where the host requires one.
pub(crate) const REQUIRED: &str = "Required";

/// The key that a client chooses for a request and sends with each retry of it: 16 to 255
/// visible ASCII characters, a UUIDv4 for example.
///
/// It is the client's secret: with the password it opens the answer again. It is wiped
/// when dropped, and shown by `Debug` as `_`.
///
/// ```
/// use signup::idempotency::IdempotencyKey;
///
/// let key = IdempotencyKey::new("8e03978e-40d5-43dd-bc93-6894a57f9324").unwrap();
/// let sent = IdempotencyKey::from_header(br#""8e03978e-40d5-43dd-bc93-6894a57f9324""#);
/// assert_eq!(sent, Ok(key));
/// assert!(IdempotencyKey::new("too short").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(Secret<String>);

impl IdempotencyKey {
    /// Creates a key.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] for fewer than 16 or more than 255 characters, or for one
    /// that is not visible ASCII.
    pub fn new(key: impl Into<String>) -> Result<Self, InvalidValue> {
        let key = Secret::new(key.into());
        if CHARS.contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(key))
        } else {
            Err(InvalidValue::new(MALFORMED))
        }
    }

    /// Parses the value of the header `Idempotency-Key`: a string of structured fields (RFC
    /// 9651, section 3.3.3), as draft-ietf-httpapi-idempotency-key-header-07 asks, or the
    /// bare key that most clients send.
    ///
    /// A bare key has neither a quote nor a comma: that would be two lines of the header
    /// which a proxy has joined.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] for anything else.
    pub fn from_header(value: &[u8]) -> Result<Self, InvalidValue> {
        const INVALID: InvalidValue = InvalidValue::new(MALFORMED);
        let text = std::str::from_utf8(value).map_err(|_| INVALID)?;
        let text = text.trim_matches([' ', '\t']);
        match text.strip_prefix('"') {
            Some(rest) => {
                let quoted = rest.strip_suffix('"').ok_or(INVALID)?;
                Self::new(unescape(quoted).ok_or(INVALID)?)
            }
            None if text.contains(['"', ',']) => Err(INVALID),
            None => Self::new(text),
        }
    }

    /// Returns the key itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Like equality, of the text.
impl Hash for IdempotencyKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Removes the backslashes of a quoted string; `None` if it ends within, or if one stands
/// before another character than a quote or a backslash.
fn unescape(quoted: &str) -> Option<Cow<'_, str>> {
    if !quoted.contains(['"', '\\']) {
        return Some(Cow::Borrowed(quoted));
    }
    let mut plain = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '"' => return None,
            '\\' => characters.next().filter(|escaped| matches!(escaped, '"' | '\\'))?,
            other => other,
        });
    }
    Some(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";

    fn header(value: &str) -> Option<String> {
        let key = IdempotencyKey::from_header(value.as_bytes()).ok()?;
        Some(key.reveal().to_owned())
    }

    #[test]
    fn a_key_is_a_structured_field_string_or_bare() {
        for (sent, key) in [
            (UUID.to_owned(), UUID.to_owned()),
            (format!(r#""{UUID}""#), UUID.to_owned()),
            (format!(" \t{UUID} "), UUID.to_owned()),
            (format!("  \"{UUID}\"  "), UUID.to_owned()),
            (r#""a\"b\\c,d;e=f,g-h:i""#.to_owned(), r#"a"b\c,d;e=f,g-h:i"#.to_owned()),
            (r"C:\temp\0123456789".to_owned(), r"C:\temp\0123456789".to_owned()),
            (
                "!#$%&'*+-.^_`|~/:;<=>?@[](){}".to_owned(),
                "!#$%&'*+-.^_`|~/:;<=>?@[](){}".to_owned(),
            ),
            ("x".repeat(16), "x".repeat(16)),
            ("x".repeat(255), "x".repeat(255)),
            (format!("\"{}\"", "\\\"".repeat(255)), "\"".repeat(255)),
        ] {
            assert_eq!(header(&sent).as_deref(), Some(&*key), "{sent}");
        }
    }

    #[test]
    fn nothing_else_is_a_key() {
        for refused in [
            String::new(),
            "\"\"".to_owned(),
            "x".repeat(15),
            "x".repeat(256),
            format!("\"{}\"", "x".repeat(15)),
            format!("\"{}\"", "x".repeat(256)),
            format!("\"{UUID}"),
            format!("{UUID}\""),
            "\"".to_owned(),
            format!("\"{UUID}\"; a=1"),
            format!("\"{UUID}\", \"{UUID}\""),
            format!("\"{UUID}\",\"{UUID}\""),
            format!("{UUID}, {UUID}"),
            format!("{UUID},{UUID}"),
            format!("{UUID} {UUID}"),
            format!("\"{UUID} {UUID}\""),
            format!("\"{UUID}\\\""),
            format!("\"{UUID}\\n\""),
            format!("{UUID}\n"),
            format!("{UUID}\0"),
            format!("{UUID}\u{7f}"),
            format!("{UUID}\u{e9}"),
            format!("\u{feff}{UUID}"),
        ] {
            assert_eq!(header(&refused), None, "{refused:?}");
        }
        assert!(IdempotencyKey::from_header(b"0123456789abcdef\xff").is_err());
        let error = IdempotencyKey::new("short").unwrap_err();
        assert_eq!(error.to_string(), MALFORMED);
    }

    #[test]
    fn a_key_is_not_printed() {
        let key = IdempotencyKey::new(UUID).unwrap();
        assert_eq!(format!("{key:?}"), "IdempotencyKey(_)");
    }
}
