//! Rules for passwords.

use async_trait::async_trait;

use crate::error::{BoxError, InvalidValue};
use crate::fields::nfc;
use crate::fields::password::MAX_CHARS;

use super::{Attempt, Occasion, SignupPolicy, Verdict};

#[cfg(feature = "breached-passwords")]
mod breached;
#[cfg(feature = "zxcvbn")]
mod strength;

#[cfg(feature = "breached-passwords")]
pub use breached::{BreachedPasswords, BreachedPasswordsError};

#[cfg(feature = "zxcvbn")]
pub use strength::PasswordStrength;

const FIELD: &str = "password";
/// The occasions on which a password is chosen.
const CHOICES: &[Occasion] = &[Occasion::Signup, Occasion::NewPassword];

/// Requires at least this many characters, as received. The endpoint's minimum of 8 still
/// applies.
#[derive(Debug, Clone, Copy)]
pub struct MinimumLength(pub usize);

#[async_trait]
impl SignupPolicy for MinimumLength {
    async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
        let Self(least) = self;
        if attempt.password_chars() < *least {
            let message = format!("String must contain at least {least} character(s)");
            return Ok(Verdict::invalid(FIELD, message));
        }
        Ok(Verdict::Allow)
    }

    fn problem(&self) -> Option<InvalidValue> {
        let Self(least) = self;
        let problem = InvalidValue::new("no password has more than 128 characters");
        (*least > MAX_CHARS).then_some(problem)
    }

    fn occasions(&self) -> &[Occasion] {
        CHOICES
    }
}

/// Rejects a password that equals the email or its local part, ignoring case.
#[derive(Debug, Clone, Copy)]
pub struct NotTheEmail;

#[async_trait]
impl SignupPolicy for NotTheEmail {
    async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
        // The password is in NFC.
        let email = nfc(attempt.email().as_str());
        let local_part = email.rsplit_once('@').map_or(&**email, |(local_part, _)| local_part);
        let is_it = |text: &str| same_in_any_case(text, attempt.reveal_password());
        if is_it(&email) || is_it(local_part) || is_it(attempt.email().key().as_str()) {
            return Ok(Verdict::invalid(FIELD, "Password must not be the email address"));
        }
        Ok(Verdict::Allow)
    }

    fn occasions(&self) -> &[Occasion] {
        CHOICES
    }
}

/// Compares ignoring case, without a copy of the password.
fn same_in_any_case(one: &str, other: &str) -> bool {
    one.chars().flat_map(char::to_lowercase).eq(other.chars().flat_map(char::to_lowercase))
}

/// Rejects the 8,354 most used passwords of eight characters or more, ignoring case. The
/// whole password is compared.
#[cfg(feature = "common-passwords")]
#[derive(Debug, Clone, Copy)]
pub struct CommonPasswords;

/// In lower case and NFC, sorted by bytes.
#[cfg(feature = "common-passwords")]
const COMMON: &str = include_str!("common_passwords.txt");

#[cfg(feature = "common-passwords")]
#[async_trait]
impl SignupPolicy for CommonPasswords {
    async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
        let lower = zeroize::Zeroizing::new(attempt.reveal_password().to_lowercase());
        if is_common(&lower) {
            return Ok(Verdict::invalid(FIELD, "Password is too common"));
        }
        Ok(Verdict::Allow)
    }

    fn occasions(&self) -> &[Occasion] {
        CHOICES
    }
}

/// Searches the text itself, by bisection.
#[cfg(feature = "common-passwords")]
fn is_common(password: &str) -> bool {
    let mut rest = COMMON;
    loop {
        let middle = rest.floor_char_boundary(rest.len() / 2);
        let (before, _) = rest.split_at(middle);
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let (before, from) = rest.split_at(start);
        let Some((entry, after)) = from.split_once('\n') else {
            return false;
        };
        rest = match password.cmp(entry) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => before,
            std::cmp::Ordering::Greater => after,
        };
    }
}

#[cfg(all(test, feature = "common-passwords"))]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_found_and_nothing_else() {
        let lines: std::collections::BTreeSet<_> = COMMON.lines().collect();
        assert!(COMMON.lines().is_sorted_by(|one, other| one < other));
        for line in &lines {
            assert!(is_common(line), "{line}");
            for other in [format!("{line}!"), format!("!{line}"), line.chars().skip(1).collect()] {
                assert_eq!(is_common(&other), lines.contains(&*other), "{other}");
            }
        }
        assert!(!is_common("") && !is_common("\n"));
    }
}
