//! Lifetime and additional claims of a token.

use std::time::Duration;

use serde::Serialize;

use super::{EMAIL_VERIFIED, GENERATION, TokenError};

/// The claims that only this crate sets.
const RESERVED: [&str; 8] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", GENERATION];

/// The lifetime and the additional claims of a token.
///
/// ```
/// use std::time::Duration;
/// use serde::{Deserialize, Serialize};
/// use signup::store::MemoryStore;
/// use signup::token::TokenOptions;
/// use signup::{SignupRequest, SignupService};
///
/// #[derive(Serialize, Deserialize)]
/// struct Role {
///     role: String,
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = MemoryStore::default();
/// let service = SignupService::builder(store).jwt_secret(&[7; 32]).build()?;
/// let signup = service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
///
/// let admin = Role { role: "admin".to_owned() };
/// let options = TokenOptions::new().lifetime(Duration::from_mins(15)).claims(&admin)?;
/// let token = service.credentials().issue_token_with(signup.account().id(), &options).await?;
///
/// let verified = service.token_verifier().verify(token.reveal())?;
/// assert_eq!(verified.claims::<Role>()?.role, "admin");
/// assert_eq!(verified.expires_at() - verified.issued_at(), 900);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct TokenOptions {
    pub(super) lifetime: Option<Duration>,
    /// The additional claims, as JSON members with a comma before each.
    pub(super) claims: String,
    /// Whether `email_verified` is among them, which some services set themselves.
    pub(super) sets_email_verified: bool,
}

impl TokenOptions {
    /// Creates options without additional claims, for the service's lifetime of tokens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the lifetime, in whole seconds, at least one.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime.max(Duration::from_secs(1)));
        self
    }

    /// Sets the additional claims: the members of `claims`, a struct or a map. They are
    /// signed, not encrypted: everybody who has the token can read them.
    ///
    /// # Errors
    /// Returns [`TokenError::Claims`] if it is no object in JSON, or has a registered claim
    /// (RFC 7519, section 4.1) or `signup_generation`, which the service sets itself. In a
    /// service that [verifies after](crate::SignupServiceBuilder::verify_after),
    /// `email_verified` is such a claim, too, and no token is issued with it.
    pub fn claims<T: Serialize>(mut self, claims: &T) -> Result<Self, TokenError> {
        let serde_json::Value::Object(members) =
            serde_json::to_value(claims).map_err(|_| TokenError::Claims)?
        else {
            return Err(TokenError::Claims);
        };
        self.claims.clear();
        self.sets_email_verified = members.contains_key(EMAIL_VERIFIED);
        for (name, value) in members {
            if RESERVED.contains(&name.as_str()) {
                return Err(TokenError::Claims);
            }
            // Writing a name as JSON escapes it.
            self.claims.push_str(&format!(",{}:{value}", serde_json::Value::from(name)));
        }
        Ok(self)
    }
}
