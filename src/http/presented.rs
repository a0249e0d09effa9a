//! The credentials in a request's headers.

use crate::credentials::CredentialError;
use crate::secret::Secret;

/// The credentials that the headers of a request present: `Authorization: Bearer …`
/// (RFC 6750, section 2.1) and `X-API-Key: …`. Nothing is verified yet.
///
/// ```
/// use signup::http::PresentedCredentials;
///
/// let headers = [("authorization", b"bearer eyJ.e30.c2ln".as_slice())];
/// let presented = PresentedCredentials::new(headers);
/// assert_eq!(presented.token().unwrap(), Some("eyJ.e30.c2ln"));
///
/// let twice = PresentedCredentials::new([headers[0], headers[0]]);
/// assert!(twice.token().is_err());
/// assert_eq!(PresentedCredentials::new([]).api_key().unwrap(), None);
/// ```
#[derive(Debug)]
pub struct PresentedCredentials {
    bearer: Found,
    api_key: Found,
}

/// A credential that is present at most once, in the right form.
#[derive(Debug)]
enum Found {
    Nothing,
    One(Secret<String>),
    /// Another scheme or form, or several credentials.
    Unusable,
}

impl PresentedCredentials {
    /// Parses headers: names, in any case, and values; a repeated header is passed
    /// repeatedly.
    pub fn new<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut presented = Self { bearer: Found::Nothing, api_key: Found::Nothing };
        for (name, value) in headers {
            if name.eq_ignore_ascii_case("authorization") {
                presented.bearer.add(bearer(value), is_token68);
            } else if name.eq_ignore_ascii_case("x-api-key") {
                presented.api_key.add(Some(value), is_visible);
            }
        }
        presented
    }

    /// Returns the presented token: a bearer credential, unless it has the form of an API
    /// key.
    ///
    /// # Errors
    /// Fails if there is an `Authorization` of another scheme or form, or several.
    pub fn token(&self) -> Result<Option<&str>, CredentialError> {
        Ok(self.bearer.get()?.filter(|bearer| !is_api_key(bearer)))
    }

    /// Returns the presented API key, in either header: a bearer credential, unless it has
    /// the form of a token.
    ///
    /// # Errors
    /// Fails like [`token`](Self::token), or if both headers hold a key.
    pub fn api_key(&self) -> Result<Option<&str>, CredentialError> {
        let bearer = self.bearer.get()?.filter(|bearer| !is_token(bearer));
        match (bearer, self.api_key.get()?) {
            (Some(_), Some(_)) => Err(CredentialError::Rejected),
            (bearer, api_key) => Ok(bearer.or(api_key)),
        }
    }
}

impl Found {
    fn add(&mut self, value: Option<&[u8]>, is_usable: fn(&str) -> bool) {
        let text = value.and_then(|value| std::str::from_utf8(value).ok());
        *self = match (&self, text) {
            (Self::Nothing, Some(text)) if is_usable(text) => {
                Self::One(Secret::new(text.to_owned()))
            }
            _ => Self::Unusable,
        };
    }

    fn get(&self) -> Result<Option<&str>, CredentialError> {
        match self {
            Self::Nothing => Ok(None),
            Self::One(text) => Ok(Some(text)),
            Self::Unusable => Err(CredentialError::Rejected),
        }
    }
}

/// Returns the credential after the scheme, whose case is ignored (RFC 9110, section 11.1),
/// and one space or more.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("bearer".len())?;
    let credential = rest.trim_ascii_start();
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && credential.len() < rest.len();
    is_bearer.then_some(credential)
}

/// Returns whether a credential has the dots of a compact JWS, which no API key has.
fn is_token(credential: &str) -> bool {
    credential.contains('.')
}

/// Returns whether a credential has the underscores of an API key, or the hyphens of a foreign
/// one, and no dot.
fn is_api_key(credential: &str) -> bool {
    credential.contains(['_', '-']) && !is_token(credential)
}

/// Returns whether the text is of visible ASCII, as keys of other systems may be.
fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns whether the text is a `token68` (RFC 9110, section 11.2).
fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(in_alphabet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &str)]) -> (Result<Option<String>, ()>, Result<Option<String>, ()>) {
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        let presented = PresentedCredentials::new(headers);
        let owned = |found: Result<Option<&str>, CredentialError>| {
            found.map(|found| found.map(str::to_owned)).map_err(drop)
        };
        (owned(presented.token()), owned(presented.api_key()))
    }

    #[test]
    fn a_bearer_is_a_token_or_an_api_key() {
        let found = Ok(Some("abc".to_owned()));
        for value in ["Bearer abc", "bearer abc", "BEARER   abc"] {
            assert_eq!(read(&[("Authorization", value)]), (found.clone(), found.clone()));
        }
        assert_eq!(read(&[("X-Api-Key", "abc")]), (Ok(None), found));
        assert_eq!(read(&[("x-other", "abc")]), (Ok(None), Ok(None)));
    }

    #[test]
    fn one_kind_of_bearer_is_absent_to_the_other() {
        let (token, key) = (Some("eyJ_.e30.c2ln".to_owned()), Some("rag_live_0".to_owned()));
        assert_eq!(read(&[("authorization", "Bearer eyJ_.e30.c2ln")]), (Ok(token), Ok(None)));
        assert_eq!(read(&[("authorization", "Bearer rag_live_0")]), (Ok(None), Ok(key.clone())));
        // A key of another system.
        let sk = Ok(Some("sk-0123".to_owned()));
        assert_eq!(read(&[("authorization", "Bearer sk-0123")]), (Ok(None), sk));
        assert_eq!(read(&[("x-api-key", "a|b:c")]), (Ok(None), Ok(Some("a|b:c".to_owned()))));
        let both = [("authorization", "Bearer a.b.c"), ("x-api-key", "rag_live_0")];
        assert_eq!(read(&both), (Ok(Some("a.b.c".to_owned())), Ok(key)));
    }

    #[test]
    fn what_has_another_form_is_refused_and_not_absent() {
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearerabc",
            "Basic abc",
            "abc",
            "Bearer a b",
            "Bearer a,b",
            "Bearer \u{e9}",
            "Bearer a\"",
            "Bearer =",
            "\u{1f600}\u{1f600}",
        ] {
            assert_eq!(read(&[("authorization", value)]), (Err(()), Err(())), "{value}");
        }
        for value in ["", "a b", "a\u{430}", "Bearer abc"] {
            assert_eq!(read(&[("x-api-key", value)]), (Ok(None), Err(())), "{value}");
        }
    }

    #[test]
    fn two_of_a_kind_are_refused_and_so_are_both_kinds_for_a_key() {
        let (bearer, key) = (("authorization", "Bearer abc"), ("x-api-key", "abc"));
        assert_eq!(read(&[bearer, bearer]), (Err(()), Err(())));
        assert_eq!(read(&[key, key]), (Ok(None), Err(())));
        assert_eq!(read(&[bearer, key]), (Ok(Some("abc".to_owned())), Err(())));
    }
}
