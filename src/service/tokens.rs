//! The settings of tokens.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::token::{
    AUDIENCE, ISSUER, KeyError, MAX_LEEWAY, SigningKey, TokenKeys, TokenMint, TokenVerifier,
};

use super::config::ConfigError;

/// The default lifetime, a day: long enough for a first visit to the dashboard, short enough for a
/// bearer token.
const LIFETIME: Duration = Duration::from_hours(24);
const MAX_LIFETIME: Duration = Duration::from_hours(100 * 365 * 24);
/// The longest issuer or audience, in bytes.
const MAX_NAME_BYTES: usize = 255;

pub(super) struct TokenSettings {
    keys: Option<Result<TokenKeys, KeyError>>,
    /// The method that has set the keys.
    keys_by: Option<&'static str>,
    is_ambiguous: bool,
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) lifetime: Duration,
    pub(super) leeway: Duration,
}

impl Default for TokenSettings {
    fn default() -> Self {
        Self {
            keys: None,
            keys_by: None,
            is_ambiguous: false,
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            lifetime: LIFETIME,
            leeway: Duration::ZERO,
        }
    }
}

impl TokenSettings {
    pub(super) fn set_secret(&mut self, secret: &[u8]) {
        self.set_keys("jwt_secret", SigningKey::hs256(secret).map(TokenKeys::new));
    }

    pub(super) fn set_token_keys(&mut self, keys: TokenKeys) {
        self.set_keys("token_keys", Ok(keys));
    }

    fn set_keys(&mut self, by: &'static str, keys: Result<TokenKeys, KeyError>) {
        self.is_ambiguous |= self.keys_by.is_some_and(|other| other != by);
        self.keys_by = Some(by);
        self.keys = Some(keys);
    }

    /// Returns the versions of the secrets that sign tokens.
    pub(super) fn secret_versions(&self) -> Vec<u32> {
        let keys = self.keys.as_ref().and_then(|keys| keys.as_ref().ok());
        keys.map(TokenKeys::secret_versions).unwrap_or_default()
    }

    /// Builds what mints tokens and what verifies them.
    pub(super) fn build(
        self,
        clock: Arc<dyn Clock>,
    ) -> Result<(TokenMint, TokenVerifier), ConfigError> {
        if self.is_ambiguous {
            return Err(ConfigError::Exclusive("jwt_secret and token_keys"));
        }
        if self.issuer.is_empty() || self.audience.is_empty() {
            return Err(ConfigError::NoIssuerOrAudience);
        }
        if self.issuer.len().max(self.audience.len()) > MAX_NAME_BYTES {
            return Err(ConfigError::LongIssuerOrAudience);
        }
        if self.leeway > MAX_LEEWAY {
            return Err(ConfigError::TokenLeeway(self.leeway));
        }
        if self.lifetime < Duration::from_secs(1) || self.lifetime > MAX_LIFETIME {
            return Err(ConfigError::TokenLifetime);
        }
        let keys = self.keys.ok_or(ConfigError::NoSigningKey)??;
        if !keys.can_sign() {
            return Err(ConfigError::NoSigningKey);
        }
        let mint = TokenMint::new(keys, self.issuer, self.audience, self.lifetime);
        let mint = mint.map_err(|_| ConfigError::Key(KeyError::Unusable))?;
        let verifier = mint.verifier().clock(clock).leeway(self.leeway);
        Ok((mint, verifier))
    }
}
