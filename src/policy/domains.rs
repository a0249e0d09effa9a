//! Allowed and blocked domains of emails.

use std::collections::HashSet;

use async_trait::async_trait;

use crate::error::{BoxError, InvalidValue};
use crate::fields::{EmailKey, EmailProfile};

use super::{Attempt, Occasion, SignupPolicy, Verdict};

/// A list of domains that are allowed or blocked, with their subdomains.
///
/// ```
/// use signup::policy::EmailDomains;
///
/// assert!(EmailDomains::allow(["example.com", "m\u{fc}nchen.de"]).is_ok());
/// assert!(EmailDomains::block(["not a domain"]).is_err());
/// ```
#[derive(Debug, Clone)]
pub struct EmailDomains {
    /// As written in a key, in lower-case A-labels: public lists have 100,000 and more.
    domains: HashSet<String>,
    allows: bool,
}

impl EmailDomains {
    /// Allows these domains and no others.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] for an invalid domain, and for an empty list, which would refuse
    /// every address.
    pub fn allow<'a>(domains: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidValue> {
        let domains = read(domains)?;
        if domains.is_empty() {
            return Err(InvalidValue::new("no domain is allowed: name one"));
        }
        Ok(Self { domains, allows: true })
    }

    /// Blocks these domains and no others.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] for an invalid domain.
    pub fn block<'a>(domains: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidValue> {
        Ok(Self { domains: read(domains)?, allows: false })
    }

    /// Returns whether the domain is on the list, or below one that is.
    fn has(&self, domain: &str) -> bool {
        let mut with_parents = std::iter::successors(Some(domain), |domain| {
            domain.split_once('.').map(|(_, parent)| parent)
        });
        with_parents.any(|domain| self.domains.contains(domain))
    }
}

fn read<'a>(domains: impl IntoIterator<Item = &'a str>) -> Result<HashSet<String>, InvalidValue> {
    let read = |domain: &str| {
        // Mapped like the domain of an address. A top-level domain is valid, too.
        let key = EmailKey::parse(&format!("x@{domain}"), EmailProfile::Rfc5321);
        let key =
            key.map_err(|_| InvalidValue::with_value(format!("invalid email domain `{domain}`")))?;
        Ok(domain_of(&key).to_owned())
    };
    domains.into_iter().map(read).collect()
}

fn domain_of(key: &EmailKey) -> &str {
    key.as_str().rsplit_once('@').map_or(key.as_str(), |(_, domain)| domain)
}

#[async_trait]
impl SignupPolicy for EmailDomains {
    async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
        if self.has(domain_of(attempt.email().key())) == self.allows {
            return Ok(Verdict::Allow);
        }
        Ok(Verdict::invalid("email", "Email domain is not allowed"))
    }

    fn occasions(&self) -> &[Occasion] {
        &[Occasion::Signup, Occasion::NewEmail]
    }
}
