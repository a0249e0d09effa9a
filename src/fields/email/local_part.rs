//! The local part of an address: `Dot-string` and `Quoted-string` of RFC 5321, section
//! 4.1.2.

/// Returns whether `local` is a *dot-atom* in ASCII: atoms with single dots between them.
pub(super) fn is_dot_atom(local: &str) -> bool {
    local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

/// Returns whether a byte is `atext` of RFC 5322, section 3.2.3.
fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

/// Returns whether `local` is a quoted string: `qtextSMTP` is any printable ASCII except
/// `"` and `\`, and a backslash quotes any printable one.
pub(super) fn is_quoted_string(local: &str) -> bool {
    let Some(quoted) = unquote(local) else {
        return false;
    };
    let mut bytes = quoted.bytes();
    while let Some(byte) = bytes.next() {
        let plain = match byte {
            b'\\' => bytes.next(),
            b'"' => None,
            other => Some(other),
        };
        if !plain.is_some_and(|byte| matches!(byte, b' '..=b'~')) {
            return false;
        }
    }
    true
}

/// Returns one form for all spellings of a quoted string: without quotes if it needs none,
/// otherwise with backslashes only where they are required.
pub(super) fn canonical_quoted(local: &str) -> String {
    let mut content = String::with_capacity(local.len());
    let mut chars = unquote(local).unwrap_or(local).chars();
    while let Some(c) = chars.next() {
        content.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    if is_dot_atom(&content) {
        return content;
    }
    format!("\"{}\"", content.replace('\\', r"\\").replace('"', "\\\""))
}

fn unquote(local: &str) -> Option<&str> {
    local.strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atoms_are_held_apart_by_single_dots() {
        assert!(is_dot_atom("a.b.c") && is_dot_atom("!#$%&'*+-/=?^_`{|}~"));
        for refused in ["", ".a", "a.", "a..b", "a b", "a\"b", "\u{e9}", "a@b", "a\\b"] {
            assert!(!is_dot_atom(refused), "{refused:?}");
        }
    }

    #[test]
    fn a_quoted_string_is_closed_and_printable() {
        for accepted in [r#""""#, r#""a b""#, r#""a\"b""#, r#""a\\""#, r#""@""#] {
            assert!(is_quoted_string(accepted), "{accepted}");
        }
        for refused in [r#"""#, r#""a"#, r#"a""#, r#""a"b""#, r#""a\""#, "\"\t\"", "\"\u{e9}\""] {
            assert!(!is_quoted_string(refused), "{refused}");
        }
    }

    #[test]
    fn quotes_that_are_not_needed_are_taken_off() {
        assert_eq!(canonical_quoted(r#""a.b""#), "a.b");
        assert_eq!(canonical_quoted(r#""a\.b""#), "a.b");
        assert_eq!(canonical_quoted(r#""a\ b""#), r#""a b""#);
        assert_eq!(canonical_quoted(r#""a\"\\b""#), r#""a\"\\b""#);
        assert_eq!(canonical_quoted(r#""""#), r#""""#);
    }
}
