//! Email addresses, and the key that makes them unique.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use email_address::{EmailAddress, Options};
use icu_properties::props::DefaultIgnorableCodePoint;
use icu_properties::{CodePointSetData, CodePointSetDataBorrowed};
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

mod local_part;

use super::FieldError;
use local_part::{canonical_quoted, is_dot_atom, is_quoted_string};

/// The maximum length of an address, in Unicode code points as received.
pub const MAX_CHARS: usize = 256;
/// The maximum length of a local part, in octets (RFC 5321, section 4.5.3.1.1).
const MAX_LOCAL_OCTETS: usize = 64;

const IGNORABLE: CodePointSetDataBorrowed<'static> =
    CodePointSetData::new::<DefaultIgnorableCodePoint>();

/// The set of accepted addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum EmailProfile {
    /// A dot-atom local part and a host name of two labels or more: the addresses that
    /// people type into forms.
    #[default]
    Strict,
    /// Every `Mailbox` of RFC 5321, section 4.1.2, including quoted local parts, address
    /// literals and hosts of one label.
    Rfc5321,
}

/// An email address exactly as given, with its [`EmailKey`].
///
/// ```
/// use signup::fields::{Email, EmailProfile};
///
/// let email = Email::parse("Dev@Example.com", EmailProfile::Strict).unwrap();
/// assert_eq!(email.as_str(), "Dev@Example.com");
/// assert_eq!(email.key().as_str(), "dev@example.com");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    given: String,
    key: EmailKey,
}

impl Email {
    /// Parses an address.
    ///
    /// # Errors
    /// Returns [`FieldError`] for more than 256 code points, or for an address outside of
    /// `profile`.
    pub fn parse(given: impl Into<String>, profile: EmailProfile) -> Result<Self, FieldError> {
        let given = given.into();
        if given.chars().count() > MAX_CHARS {
            return Err(FieldError::TooLong(MAX_CHARS));
        }
        let key = EmailKey::parse(&given, profile)?;
        Ok(Self { given, key })
    }

    /// Parses an address that may have an account. One that was accepted once is not refused by
    /// stricter rules, so the profile is the widest.
    pub(crate) fn parse_known(given: impl Into<String>) -> Result<Self, FieldError> {
        Self::parse(given, EmailProfile::Rfc5321)
    }

    /// Creates an address from what a store has kept, without checking it: rules that have
    /// changed since must not lock anyone out.
    pub fn from_store(given: impl Into<String>, key: impl Into<String>) -> Self {
        Self { given: given.into(), key: EmailKey(key.into()) }
    }

    /// Returns the address as a mail server takes it: the local part as it was given, and the
    /// domain in A-labels. A server that maps the domain in its own way, for example as IDNA
    /// 2003 does, might send the mail to someone else.
    ///
    /// ```
    /// use signup::fields::{Email, EmailProfile};
    ///
    /// let email = Email::parse("Kim@fa\u{df}.de", EmailProfile::Strict).unwrap();
    /// assert_eq!(email.to_ascii(), "Kim@xn--fa-hia.de");
    /// ```
    pub fn to_ascii(&self) -> String {
        let local = self.given.rsplit_once('@').map_or("", |(local, _)| local);
        let domain = self.key.0.rsplit_once('@').map_or("", |(_, domain)| domain);
        format!("{local}@{domain}")
    }

    /// Creates the placeholder for the address of an erased account: an address that can't
    /// exist (RFC 2606, section 2), because a host's table may check its form. Its key is not the
    /// key of an address, so that no one can sign up or log in with it.
    pub(crate) fn erased(id: impl fmt::Display, banned: Option<&EmailKey>) -> Self {
        let key = banned.map_or_else(|| format!("erased:{id}"), |key| key.as_str().to_owned());
        Self::from_store(format!("{id}@erased.invalid"), key)
    }

    /// Returns the address as it was given.
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// Returns the key by which the address is unique.
    pub fn key(&self) -> &EmailKey {
        &self.key
    }
}

/// The unique form of an address: the local part in ASCII lower case and the domain as
/// lower-case A-labels. Two addresses with the same key are one account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EmailKey(String);

impl EmailKey {
    /// Parses an address and returns its key. A key is an address too, and its own key.
    ///
    /// The limit of 256 characters does not apply here: the A-labels of an address within
    /// it may be longer.
    ///
    /// # Errors
    /// Returns [`FieldError`] for an address outside of `profile`.
    pub fn parse(address: &str, profile: EmailProfile) -> Result<Self, FieldError> {
        // UTS-46 maps each ASCII capital to its lower case, too, and before anything else.
        let address = address.to_ascii_lowercase();
        let (local, domain) = address.rsplit_once('@').ok_or(FieldError::InvalidEmail)?;
        let key = [&local_key(local, profile)?, "@", &domain_key(domain, profile)?].concat();
        if EmailAddress::parse_with_options(&key, grammar(profile)).is_err() {
            return Err(FieldError::InvalidEmail);
        }
        Ok(Self(key))
    }

    /// Creates the key that remains of a banned address: a tag, from which the address can't be
    /// recovered without the secret.
    pub(crate) fn banned(tag: &[u8; 32]) -> Self {
        let digits = tag.iter().fold(String::new(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        });
        Self(format!("banned:{digits}"))
    }

    /// Returns the key as text, in ASCII.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EmailKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the options of `email_address` that come closest to `profile`.
fn grammar(profile: EmailProfile) -> Options {
    let options = Options::default().without_display_text();
    match profile {
        EmailProfile::Strict => options.with_required_tld().without_domain_literal(),
        EmailProfile::Rfc5321 => options.with_no_minimum_sub_domains().with_domain_literal(),
    }
}

fn local_key(local: &str, profile: EmailProfile) -> Result<Cow<'_, str>, FieldError> {
    if local.len() > MAX_LOCAL_OCTETS || looks_encoded(local) {
        return Err(FieldError::InvalidEmail);
    }
    if is_dot_atom(local) {
        Ok(local.into())
    } else if profile == EmailProfile::Rfc5321 && is_quoted_string(local) {
        Ok(canonical_quoted(local).into())
    } else {
        Err(FieldError::InvalidEmail)
    }
}

/// Returns whether it contains an *encoded word* (RFC 2047, section 2), which a mail system
/// may decode into another address.
fn looks_encoded(local: &str) -> bool {
    // A search for one character is cheaper, and most addresses do not have it.
    local.contains('?') && local.split_once("=?").is_some_and(|(_, rest)| rest.contains("?="))
}

fn domain_key(domain: &str, profile: EmailProfile) -> Result<Cow<'_, str>, FieldError> {
    if profile == EmailProfile::Rfc5321
        && let Some(literal) = bracketed(domain)
    {
        return address_literal(literal).map(Cow::from).ok_or(FieldError::InvalidEmail);
    }
    if !domain.is_ascii() && domain.chars().any(is_invisible) {
        return Err(FieldError::InvalidEmail);
    }
    let hyphens = match profile {
        EmailProfile::Strict => Hyphens::Check,
        EmailProfile::Rfc5321 => Hyphens::CheckFirstLast,
    };
    // `to_ascii` of UTS-46 (section 4.2), non-transitional, with STD3 rules;
    // `Verify` is 1 to 63 octets a label, 253 in all, no root dot.
    let mapped =
        Uts46::new().to_ascii(domain.as_bytes(), AsciiDenyList::STD3, hyphens, DnsLength::Verify);
    let mapped = mapped.map_err(|_| FieldError::InvalidEmail)?;
    if profile == EmailProfile::Strict && !is_public_host(&mapped) {
        return Err(FieldError::InvalidEmail);
    }
    Ok(mapped)
}

/// Returns whether a host has two labels or more, the last not all digits: neither
/// `localhost` nor an IPv4 address, in full or in short.
fn is_public_host(host: &str) -> bool {
    let last = host.rsplit_once('.').map(|(_, last)| last);
    last.is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns whether a character is invisible. UTS-46 drops most of these from a domain, and
/// then two different addresses would look the same. Only the joiners have a use in words,
/// and UTS-46 checks it (`CheckJoiners`).
fn is_invisible(c: char) -> bool {
    !matches!(c, '\u{200c}' | '\u{200d}') && IGNORABLE.contains(c)
}

fn bracketed(domain: &str) -> Option<&str> {
    domain.strip_prefix('[')?.strip_suffix(']')
}

/// Parses an IPv4 or IPv6 literal in lower case into its canonical form. `IPv6` is the only
/// registered tag of RFC 5321, section 4.1.3.
fn address_literal(literal: &str) -> Option<String> {
    let tag = literal.get(..5);
    if tag == Some("ipv6:") {
        let address: Ipv6Addr = literal.get(5..)?.parse().ok()?;
        Some(format!("[ipv6:{address}]"))
    } else {
        let address: Ipv4Addr = literal.parse().ok()?;
        Some(format!("[{address}]"))
    }
}

#[cfg(test)]
mod tests;
