//! API keys of another system, which their users go on with.

use sha2::{Digest as _, Sha256};

use crate::issue::InvalidValue;

use super::{ApiKeyDigest, MALFORMED};

/// The limits of a prefix and of a key, in bytes.
const PREFIX_BYTES: std::ops::RangeInclusive<usize> = 3..=32;
const MAX_KEY_BYTES: usize = 256;
/// The bytes after the prefix: fewer could be guessed.
const MIN_SECRET_BYTES: usize = 20;

const INVALID_PREFIX: InvalidValue = InvalidValue::new(
    "invalid prefix of foreign API keys: needs 3 to 32 letters, digits, hyphens and underscores",
);

/// API keys of another system, of which a SHA-256 was kept: those that begin with a prefix.
///
/// They have no checksum, so that each presented one that begins so is looked up: use a
/// [cache](crate::credentials::Credentials::with_cache), and an end. New keys have the
/// [prefix of the service](crate::SignupServiceBuilder::api_key_prefix).
///
/// ```
/// use signup::account::AccountId;
/// use signup::api_key::ForeignApiKeys;
/// use signup::clock::Timestamp;
/// use signup::store::{LifecycleStoreExt as _, MemoryStore, NewApiKey};
/// use signup::{SignupRequest, SignupService};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let foreign = ForeignApiKeys::new("sk_live_")?;
/// let service = SignupService::builder(MemoryStore::default())
///     .jwt_secret(&[7; 32])
///     .accept_foreign_api_keys(foreign.clone())
///     .build()?;
/// let signup = service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
///
/// // From the other system's table: the digest, when the key was made, and to whom it belongs.
/// let key = "sk_live_4eC39HqLyjWDarjtT1zdp7dc";
/// let digest = foreign.digest(key)?;
/// let (owner, since) = (signup.account().id().clone(), Timestamp::EPOCH);
/// let moved = NewApiKey::foreign(owner, digest, "sk_live_4eC3", since, None);
/// service.account_store().add_api_key(moved).await?;
///
/// let auth = service.credentials().verify_api_key(key).await?;
/// assert_eq!(auth.account_id(), signup.account().id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignApiKeys(String);

impl ForeignApiKeys {
    /// Creates the description of keys that begin with `prefix`.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] unless it has 3 to 32 letters, digits, hyphens and underscores.
    pub fn new(prefix: impl Into<String>) -> Result<Self, InvalidValue> {
        let prefix = prefix.into();
        let in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !PREFIX_BYTES.contains(&prefix.len()) || !prefix.bytes().all(in_alphabet) {
            return Err(INVALID_PREFIX);
        }
        Ok(Self(prefix))
    }

    /// Returns the SHA-256 of a presented key.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] if it does not begin with the prefix, has fewer than 20 bytes
    /// after it, or is longer than 256 bytes or not of visible ASCII.
    pub fn digest(&self, presented: &str) -> Result<ApiKeyDigest, InvalidValue> {
        let secret = presented.strip_prefix(&self.0).ok_or(MALFORMED)?;
        let is_visible = presented.bytes().all(|byte| byte.is_ascii_graphic());
        if secret.len() < MIN_SECRET_BYTES || presented.len() > MAX_KEY_BYTES || !is_visible {
            return Err(MALFORMED);
        }
        Ok(ApiKeyDigest::from_octets(Sha256::digest(presented.as_bytes()).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_whole_key() {
        let keys = ForeignApiKeys::new("sk_live_").unwrap();
        let key = "sk_live_4eC39HqLyjWDarjtT1zdp7dc";
        let digest = keys.digest(key).unwrap();
        assert_eq!(*digest.as_bytes(), <[u8; 32]>::from(Sha256::digest(key)));
    }

    #[test]
    fn nothing_else_is_looked_up() {
        let keys = ForeignApiKeys::new("sk_live_").unwrap();
        let long = format!("sk_live_{}", "x".repeat(249));
        for key in [
            "",
            "sk_live_",
            "sk_live_4eC39HqLyjWDarjtT1z",
            "SK_live_4eC39HqLyjWDarjtT1zdp7dc",
            " sk_live_4eC39HqLyjWDarjtT1zdp7dc",
            "sk_live_4eC39HqLyjWDarjtT1zdp7dc ",
            "sk_live_4eC39HqLyjWDarjtT1zdp7d\u{430}",
            &long,
        ] {
            assert_eq!(keys.digest(key), Err(MALFORMED), "{key}");
        }
        assert!(keys.digest(&long[..256]).is_ok());
        assert!(keys.digest("sk_live_4eC39HqLyjWDarjtT1zd").is_ok(), "20 bytes of it");
    }

    #[test]
    fn a_prefix_is_a_word() {
        for prefix in ["", "sk", "sk live", "sk\n_", "s\u{e9}c_", &"x".repeat(33)] {
            assert_eq!(ForeignApiKeys::new(prefix), Err(INVALID_PREFIX), "{prefix}");
        }
    }
}
