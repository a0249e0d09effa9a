//! Which domains an email may have.

use async_trait::async_trait;

use crate::error::BoxError;
use crate::fields::{EmailKey, EmailProfile};

use super::{Attempt, SignupPolicy, Verdict};

/// Emails of some domains, their sub-domains included, and of no others; or of all
/// others.
///
/// ```
/// use signup::policy::EmailDomains;
///
/// assert!(EmailDomains::allow(["example.com", "m\u{fc}nchen.de"]).is_ok());
/// assert!(EmailDomains::block(["not a domain"]).is_err());
/// ```
#[derive(Debug, Clone)]
pub struct EmailDomains {
    /// As they stand in a key: lower-case A-labels.
    domains: Vec<String>,
    allows: bool,
}

impl EmailDomains {
    /// Allows these domains, and no others.
    ///
    /// # Errors
    /// One of them is no domain of an email.
    pub fn allow<'a>(domains: impl IntoIterator<Item = &'a str>) -> Result<Self, EmailDomainError> {
        Ok(Self { domains: read(domains)?, allows: true })
    }

    /// Refuses these domains, and no others.
    ///
    /// # Errors
    /// One of them is no domain of an email.
    pub fn block<'a>(domains: impl IntoIterator<Item = &'a str>) -> Result<Self, EmailDomainError> {
        Ok(Self { domains: read(domains)?, allows: false })
    }

    fn has(&self, domain: &str) -> bool {
        self.domains.iter().any(|known| {
            let above = domain.strip_suffix(known.as_str());
            above.is_some_and(|labels| labels.is_empty() || labels.ends_with('.'))
        })
    }
}

fn read<'a>(domains: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>, EmailDomainError> {
    let read = |domain: &str| {
        // Mapped as the domain of an address is. A top-level domain is one, too.
        let key = EmailKey::of(&format!("x@{domain}"), EmailProfile::Rfc5321);
        let key = key.map_err(|_| EmailDomainError(domain.to_owned()))?;
        let domain = key.as_str().trim_start_matches("x@");
        Ok(domain.to_owned())
    };
    domains.into_iter().map(read).collect()
}

#[async_trait]
impl SignupPolicy for EmailDomains {
    async fn judge(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
        let key = attempt.email().key().as_str();
        let domain = key.rsplit_once('@').map_or(key, |(_, domain)| domain);
        if self.has(domain) == self.allows {
            return Ok(Verdict::Allow);
        }
        Ok(Verdict::invalid("email", "Email domain is not allowed"))
    }
}

/// The text is no domain of an email.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no domain of an email address")]
pub struct EmailDomainError(String);
