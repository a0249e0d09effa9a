//! Media types and content codings (RFC 9110, sections 8.3 and 8.4).

/// Returns whether a `Content-Type` is `application/json`, with no charset or UTF-8. Other
/// parameters mean nothing for JSON (RFC 8259, section 11).
pub(super) fn is_json(content_type: &[u8]) -> bool {
    let Ok(content_type) = std::str::from_utf8(content_type) else {
        return false;
    };
    // As nearly every client writes it.
    if content_type == "application/json" {
        return true;
    }
    let mut parts = split_unquoted(content_type);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case("application/json") && parts.all(is_harmless)
}

/// Returns whether a `Content-Encoding` leaves the body unchanged.
pub(super) fn is_identity(coding: &[u8]) -> bool {
    coding.trim_ascii().eq_ignore_ascii_case(b"identity")
}

fn is_harmless(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return true;
    };
    let value = value.trim();
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    !name.trim().eq_ignore_ascii_case("charset")
        || unquoted.unwrap_or(value).eq_ignore_ascii_case("utf-8")
}

/// Splits at semicolons outside of quotes.
fn split_unquoted(value: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = value.split(move |c| {
        let separates = c == ';' && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && quoted && !escaped;
        separates
    });
    parts.map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_all_its_spellings() {
        for taken in [
            "application/json",
            "Application/JSON",
            " application/json ",
            "application/json;",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json; profile=\"a;charset=utf-16\"; q=1",
            "application/json; profile=\"\\\";charset=utf-16\"",
            "application/json; flag",
        ] {
            assert!(is_json(taken.as_bytes()), "{taken}");
        }
    }

    #[test]
    fn nothing_else() {
        for refused in [
            "",
            "text/json",
            "image/json",
            "application/merge-patch+json",
            "application/json, text/plain",
            "application/jsonx",
            "application/json; charset=utf-16",
            "application/json; charset=\"utf-16\"",
            "application/json; CHARSET=latin1",
            "application/json; charset=utf-8; charset=utf-7",
            "application/json; charset=",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!is_json(refused.as_bytes()), "{refused}");
        }
        assert!(!is_json(b"application/json\xff"));
    }

    #[test]
    fn a_semicolon_in_quotes_separates_nothing() {
        let is_json =
            |parameters: &str| is_json(format!("application/json; {parameters}").as_bytes());
        assert!(is_json(r#"note="a;charset=latin1""#));
        assert!(is_json(r#"note="a\";charset=latin1;b""#));
        assert!(!is_json(r#"note="a";charset=latin1"#));
        assert!(!is_json(r#"note="a\\";charset=latin1"#));
    }

    #[test]
    fn identity_is_the_only_coding() {
        assert!(is_identity(b"identity") && is_identity(b" Identity "));
        for refused in ["gzip", "", "identity, gzip", "br"] {
            assert!(!is_identity(refused.as_bytes()), "{refused}");
        }
    }
}
