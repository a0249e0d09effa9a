//! Prefixes of API keys, and rules for secret scanners.

use crate::issue::InvalidValue;

use super::{CHECKSUM_DIGITS, RANDOM_DIGITS};

const INVALID_PREFIX: InvalidValue = InvalidValue::new(
    "invalid API key prefix: needs two words of 1 to 16 lower-case letters and digits",
);

/// The prefix of API keys: product and environment, `rag_live_` by default.
///
/// ```
/// use signup::api_key::ApiKeyPrefix;
///
/// assert_eq!(ApiKeyPrefix::new("acme", "test").unwrap().as_str(), "acme_test_");
/// assert!(ApiKeyPrefix::new("ac me", "test").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyPrefix(String);

impl ApiKeyPrefix {
    /// Creates a prefix of two words of 1 to 16 lower-case letters and digits.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] for any other word.
    pub fn new(product: &str, environment: &str) -> Result<Self, InvalidValue> {
        let is_word = |word: &str| {
            let in_alphabet = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            (1..=16).contains(&word.len()) && word.bytes().all(in_alphabet)
        };
        if is_word(product) && is_word(environment) {
            Ok(Self(format!("{product}_{environment}_")))
        } else {
            Err(INVALID_PREFIX)
        }
    }

    /// Returns the prefix with both underscores.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a regular expression that finds keys with this prefix, for secret scanners.
    /// RE2, PCRE and Rust's `regex` accept it.
    ///
    /// ```
    /// use signup::api_key::ApiKeyPrefix;
    ///
    /// assert_eq!(ApiKeyPrefix::default().pattern(), r"\brag_live_[0-9A-Za-z]{36}\b");
    /// ```
    pub fn pattern(&self) -> String {
        format!(r"\b{}[0-9A-Za-z]{{{}}}\b", self.0, RANDOM_DIGITS + CHECKSUM_DIGITS)
    }

    /// Returns the pattern as a rule of [gitleaks](https://github.com/gitleaks/gitleaks),
    /// in TOML, to be added to its configuration.
    ///
    /// ```
    /// use signup::api_key::ApiKeyPrefix;
    ///
    /// let rule = ApiKeyPrefix::new("acme", "test").unwrap().gitleaks_rule();
    /// assert!(rule.starts_with("[[rules]]\nid = \"acme-test-api-key\"\n"));
    /// ```
    pub fn gitleaks_rule(&self) -> String {
        let (prefix, pattern) = (&self.0, self.pattern());
        let name = prefix.replace('_', "-");
        format!(
            "[[rules]]\nid = \"{name}api-key\"\ndescription = \"API key that begins with {prefix}\"\n\
             regex = '''{pattern}'''\nkeywords = [\"{prefix}\"]\n"
        )
    }
}

impl Default for ApiKeyPrefix {
    fn default() -> Self {
        Self("rag_live_".to_owned())
    }
}
