//! The keys of a service: one signs, any number verify.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::JwkSet;

use super::key::{KeyError, SigningKey, VerifyingKey};

/// The keys of a service by key id: one signs, any number verify. Clones share them, so
/// that a rotation takes effect at once everywhere.
///
/// A rotation has three steps, with time in between for other services to fetch the new
/// key: [`add`](Self::add) it, so that it verifies; [`promote`](Self::promote) it, so that
/// it signs; and [`remove`](Self::remove) the old one when its last token has expired.
///
/// ```
/// use signup::token::{SigningKey, TokenKeys};
///
/// let old = SigningKey::ed25519(&[1; 32]).with_key_id("2025").unwrap();
/// let new = SigningKey::ed25519(&[2; 32]).with_key_id("2026").unwrap();
///
/// let keys = TokenKeys::new(old);
/// keys.add(new)?;
/// keys.promote("2026")?;
/// assert_eq!(keys.jwks().keys.len(), 2);
/// keys.remove("2025")?;
/// # Ok::<(), signup::token::KeyError>(())
/// ```
#[derive(Clone)]
pub struct TokenKeys(Arc<RwLock<Ring>>);

#[derive(Default)]
struct Ring {
    signing: Option<Arc<SigningKey>>,
    keys: BTreeMap<String, Entry>,
}

/// A key that verifies, with its private half if it can be promoted.
struct Entry {
    verifying: Arc<VerifyingKey>,
    signing: Option<Arc<SigningKey>>,
}

impl TokenKeys {
    /// Creates a key set with `signing` as its signing key.
    pub fn new(signing: SigningKey) -> Self {
        let signing = Arc::new(signing);
        let entry = Entry::signing(&signing);
        let keys = BTreeMap::from([(signing.key_id().to_owned(), entry)]);
        Self(Arc::new(RwLock::new(Ring { signing: Some(signing), keys })))
    }

    /// Creates a key set that only verifies, for a service that receives tokens of another.
    ///
    /// # Errors
    /// Returns [`KeyError::DuplicateKeyId`] if two keys have the same key id.
    pub fn verifying_only(keys: impl IntoIterator<Item = VerifyingKey>) -> Result<Self, KeyError> {
        let ring = Self(Arc::default());
        keys.into_iter().try_for_each(|key| ring.add_verifying(key))?;
        Ok(ring)
    }

    /// Creates a key set that only verifies from a JWK set (RFC 7517, section 5), as
    /// [`jwks`](Self::jwks) returns it. Keys of unknown kinds are skipped, as the RFC asks,
    /// and so are symmetric keys: a fetched set contains no secrets.
    ///
    /// # Errors
    /// Fails if two keys have the same key id, or if no key can be used.
    ///
    /// ```
    /// use signup::token::{SigningKey, TokenKeys, TokenVerifier};
    ///
    /// let issuer = TokenKeys::new(SigningKey::ed25519(&[7; 32]));
    /// let fetched = serde_json::to_string(&issuer.jwks()).unwrap();
    ///
    /// let keys = TokenKeys::from_jwks(&serde_json::from_str(&fetched).unwrap())?;
    /// let verifier = TokenVerifier::new(keys);
    /// # Ok::<(), signup::token::KeyError>(())
    /// ```
    pub fn from_jwks(set: &JwkSet) -> Result<Self, KeyError> {
        let keys = set.keys.iter().filter_map(|jwk| VerifyingKey::from_jwk(jwk).ok());
        let keys: Vec<_> = keys.filter(|key| key.algorithm() != Algorithm::HS256).collect();
        if keys.is_empty() {
            return Err(KeyError::Unusable);
        }
        Self::verifying_only(keys)
    }

    /// Adds a key that verifies and can be [promoted](Self::promote).
    ///
    /// # Errors
    /// Fails if the key id is taken by another key.
    pub fn add(&self, key: SigningKey) -> Result<(), KeyError> {
        self.insert(Entry::signing(&Arc::new(key)))
    }

    /// Adds a key that only verifies.
    ///
    /// # Errors
    /// Fails if the key id is taken by another key.
    pub fn add_verifying(&self, key: VerifyingKey) -> Result<(), KeyError> {
        self.insert(Entry { verifying: Arc::new(key), signing: None })
    }

    fn insert(&self, entry: Entry) -> Result<(), KeyError> {
        self.change(|ring| {
            let key_id = entry.verifying.key_id().to_owned();
            if ring.keys.contains_key(&key_id) {
                return Err(KeyError::DuplicateKeyId);
            }
            ring.keys.insert(key_id, entry);
            Ok(())
        })
    }

    /// Makes this key sign from now on. The previous one still verifies.
    ///
    /// # Errors
    /// Fails if the key id is unknown or the key has no private half.
    pub fn promote(&self, key_id: &str) -> Result<(), KeyError> {
        self.change(|ring| {
            let entry = ring.keys.get(key_id).ok_or(KeyError::UnknownKeyId)?;
            let signing = entry.signing.as_ref().ok_or(KeyError::VerifiesOnly)?;
            ring.signing = Some(Arc::clone(signing));
            Ok(())
        })
    }

    /// Removes a key: tokens that it has signed are no longer valid.
    ///
    /// # Errors
    /// Fails if the key id is unknown or the key is the signing key.
    pub fn remove(&self, key_id: &str) -> Result<(), KeyError> {
        self.change(|ring| {
            if ring.signing.as_ref().is_some_and(|signing| signing.key_id() == key_id) {
                return Err(KeyError::Signing);
            }
            ring.keys.remove(key_id).map(drop).ok_or(KeyError::UnknownKeyId)
        })
    }

    /// Returns the public keys, which excludes HS256, for `/.well-known/jwks.json`.
    pub fn jwks(&self) -> JwkSet {
        self.read(|ring| {
            let keys = ring.keys.values().filter_map(|entry| entry.verifying.to_jwk());
            JwkSet { keys: keys.collect() }
        })
    }

    /// Returns the signing key.
    /// Returns the versions that the secrets of its keys would have for other purposes.
    pub(crate) fn secret_versions(&self) -> Vec<u32> {
        self.read(|ring| {
            let signing = ring.keys.values().filter_map(|entry| entry.signing.as_ref());
            signing.filter_map(|key| key.secret_version()).collect()
        })
    }

    pub(super) fn signing(&self) -> Option<Arc<SigningKey>> {
        self.read(|ring| ring.signing.clone())
    }

    /// Returns whether there is a signing key.
    pub(crate) fn can_sign(&self) -> bool {
        self.signing().is_some()
    }

    /// Returns the key with this key id.
    pub(super) fn verifying(&self, key_id: &str) -> Option<Arc<VerifyingKey>> {
        self.read(|ring| ring.keys.get(key_id).map(|entry| Arc::clone(&entry.verifying)))
    }

    /// Reads the ring. No code under this lock can leave it half changed.
    fn read<T>(&self, read: impl FnOnce(&Ring) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Ring) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Entry {
    fn signing(key: &Arc<SigningKey>) -> Self {
        let verifying = Arc::new(key.verifying_key().clone());
        Self { verifying, signing: Some(Arc::clone(key)) }
    }
}

impl From<SigningKey> for TokenKeys {
    fn from(key: SigningKey) -> Self {
        Self::new(key)
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(|ring| {
            f.debug_struct("TokenKeys")
                .field("signing", &ring.signing)
                .field("verifying", &ring.keys.keys())
                .finish()
        })
    }
}
