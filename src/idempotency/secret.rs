//! The secrets that retries are derived from, and their rotation.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::random::{Entropy, RandomError};
use crate::secret::{Secret, without_line_end};

use super::derive::{DerivedKeys, Scope};
use super::key::IdempotencyKey;
use super::receipt::{Nonce, Receipt};

/// The minimum length of a secret in bytes.
const MIN_BYTES: usize = 32;

/// A secret that the answers to retries are derived from, of 32 bytes or more: one for all
/// instances of a service, and for nothing else.
///
/// Only the keys derived from it are kept. They are wiped when dropped.
///
/// ```
/// use signup::idempotency::ReplaySecret;
///
/// let secret = ReplaySecret::new(b"0123456789abcdef0123456789abcdef").unwrap();
/// assert!(ReplaySecret::new(b"too short").is_err());
/// ```
pub struct ReplaySecret(Arc<DerivedKeys>);

impl ReplaySecret {
    /// Creates a secret. Its version is derived from it by a one-way function, so that
    /// another secret has another version.
    ///
    /// # Errors
    /// Fails if it has fewer than 32 bytes.
    pub fn new(secret: &[u8]) -> Result<Self, ReplaySecretError> {
        let octets = without_line_end(secret);
        if octets < MIN_BYTES {
            return Err(ReplaySecretError::Short { octets });
        }
        let keys = DerivedKeys::extract(secret).ok_or(ReplaySecretError::Unusable)?;
        Ok(Self(Arc::new(keys)))
    }

    /// Returns the version, which a store keeps beside what was derived from the secret.
    pub fn version(&self) -> u32 {
        self.0.version
    }
}

impl fmt::Debug for ReplaySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReplaySecret").field(&self.version()).finish()
    }
}

/// The replay secrets of a service: one derives for new requests, all recognize retries.
/// Clones share them, so that a rotation takes effect at once everywhere.
///
/// A rotation over several instances has three steps: [`accept`](Self::accept) the new
/// secret everywhere, then [`promote`](Self::promote) it, and [`retire`](Self::retire) the
/// old one 24 hours later, when no retry of it is answered any more.
///
/// ```
/// use signup::idempotency::{ReplaySecret, ReplaySecrets};
///
/// let old = ReplaySecret::new(&[1; 32])?;
/// let new = ReplaySecret::new(&[2; 32])?;
/// let (old_version, new_version) = (old.version(), new.version());
///
/// let secrets = ReplaySecrets::from(old);
/// secrets.accept(new)?;
/// secrets.promote(new_version)?;
/// secrets.retire(old_version)?;
/// # Ok::<(), signup::idempotency::ReplaySecretError>(())
/// ```
#[derive(Clone)]
pub struct ReplaySecrets(Arc<RwLock<Ring>>);

struct Ring {
    current: Arc<DerivedKeys>,
    accepted: BTreeMap<u32, Arc<DerivedKeys>>,
    /// Whether the secrets tag banned addresses.
    holds_bans: bool,
}

impl ReplaySecrets {
    /// Creates a set with one secret.
    pub fn new(ReplaySecret(current): ReplaySecret) -> Self {
        let accepted = BTreeMap::from([(current.version, Arc::clone(&current))]);
        Self(Arc::new(RwLock::new(Ring { current, accepted, holds_bans: false })))
    }

    /// Accepts retries of another secret, which can be [promoted](Self::promote).
    ///
    /// # Errors
    /// Fails if the set has a secret of this version.
    pub fn accept(&self, ReplaySecret(secret): ReplaySecret) -> Result<(), ReplaySecretError> {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if ring.accepted.contains_key(&secret.version) {
            return Err(ReplaySecretError::Duplicate);
        }
        ring.accepted.insert(secret.version, secret);
        Ok(())
    }

    /// Derives new requests from the secret of this version from now on. Retries of the
    /// previous one are still answered.
    ///
    /// # Errors
    /// Fails if no secret has this version.
    pub fn promote(&self, version: u32) -> Result<(), ReplaySecretError> {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let promoted = ring.accepted.get(&version).ok_or(ReplaySecretError::Unknown)?;
        ring.current = Arc::clone(promoted);
        Ok(())
    }

    /// Removes a secret. A retry of a request that was derived from it is answered as
    /// another client's.
    ///
    /// # Errors
    /// Fails if the set has no secret of this version, if it is the current one, or if the set
    /// [tags bans](crate::SignupServiceBuilder::remember_bans), which can't be tagged again.
    pub fn retire(&self, version: u32) -> Result<(), ReplaySecretError> {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if ring.holds_bans {
            return Err(ReplaySecretError::HoldsBans);
        }
        if ring.current.version == version {
            return Err(ReplaySecretError::Current);
        }
        ring.accepted.remove(&version).map(drop).ok_or(ReplaySecretError::Unknown)
    }

    /// Derives all that is minted for a new request, with its receipt.
    pub(crate) fn derive(
        &self,
        scope: Scope<'_>,
        nonce: &Nonce,
        key: &IdempotencyKey,
    ) -> Result<(Entropy, Receipt), RandomError> {
        let current = self.read(|ring| Arc::clone(&ring.current));
        current.derive_new(scope, nonce, key)
    }

    /// Derives what was minted for a request again, as often as asked, if this is a retry
    /// of it and its secret is still here.
    pub(crate) fn derive_again(
        &self,
        receipt: &Receipt,
        scope: Scope<'_>,
        key: &IdempotencyKey,
    ) -> Option<impl Fn() -> Result<Entropy, RandomError>> {
        let version = receipt.secret_version();
        let keys = self.read(|ring| ring.accepted.get(&version).map(Arc::clone))?;
        let (nonce, is_retry) = (*receipt.nonce(), keys.recognizes(receipt, scope, key));
        is_retry.then_some(move || keys.derive(scope, &nonce, key))
    }

    /// Returns the tags by which an earlier request for an API key is found, of the
    /// current secret first.
    pub(crate) fn tags(&self, scope: Scope<'_>, key: &IdempotencyKey) -> Vec<[u8; 32]> {
        const NONE: Nonce = [0; 16];
        self.read(|ring| {
            let current = ring.current.version;
            let others = ring.accepted.values().filter(|secret| secret.version != current);
            let secrets = std::iter::once(&ring.current).chain(others);
            secrets.map(|secret| secret.tag(scope, &NONE, key)).collect()
        })
    }

    /// Derives a key for the purpose that a label names, of the secret of this version, or
    /// of the current one; with that version. `None` if no secret has this version.
    pub(crate) fn purpose(
        &self,
        version: Option<u32>,
        label: &[u8],
    ) -> Option<(u32, Secret<[u8; 32]>)> {
        let keys = self.read(|ring| match version {
            None => Some(Arc::clone(&ring.current)),
            Some(version) => ring.accepted.get(&version).map(Arc::clone),
        })?;
        Some((keys.version, keys.purpose(label)?))
    }

    /// Computes the tags of a text for a purpose, of the current secret first.
    pub(crate) fn tags_of(&self, label: &[u8], text: &[u8]) -> Vec<[u8; 32]> {
        self.read(|ring| {
            let current = ring.current.version;
            let others = ring.accepted.values().filter(|secret| secret.version != current);
            let secrets = std::iter::once(&ring.current).chain(others);
            secrets.filter_map(|secret| secret.tag_for(label, text)).collect()
        })
    }

    /// Marks the set as one that tags bans, so that no secret can be retired.
    pub(crate) fn hold_bans(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).holds_bans = true;
    }

    /// Returns whether both are one set, which is rotated together.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the versions of all secrets.
    pub(crate) fn versions(&self) -> Vec<u32> {
        self.read(|ring| ring.accepted.keys().copied().collect())
    }

    /// Derives what is minted for a ticket that was sealed by the secret of this version.
    /// `None` if no secret has this version.
    #[cfg(feature = "verification")]
    pub(crate) fn derive_ticket(
        &self,
        version: u32,
        scope: Scope<'_>,
        number: &Nonce,
    ) -> Option<Entropy> {
        let keys = self.read(|ring| ring.accepted.get(&version).map(Arc::clone))?;
        keys.derive_ticket(scope, number)
    }

    /// Reads the ring. No code under this lock can leave it half changed.
    fn read<T>(&self, read: impl FnOnce(&Ring) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl From<ReplaySecret> for ReplaySecrets {
    fn from(secret: ReplaySecret) -> Self {
        Self::new(secret)
    }
}

impl fmt::Debug for ReplaySecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(|ring| {
            f.debug_struct("ReplaySecrets")
                .field("current", &ring.current.version)
                .field("accepted", &ring.accepted.keys())
                .finish()
        })
    }
}

/// The reason why a replay secret can't be used, promoted or retired.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaySecretError {
    /// The secret is too short.
    #[error("short replay secret: {octets} bytes, needs at least 32")]
    Short {
        /// Its length in bytes.
        octets: usize,
    },
    /// No keys can be derived from it.
    #[error("unusable replay secret")]
    Unusable,
    /// The set has this secret already.
    #[error("duplicate replay secret")]
    Duplicate,
    /// The set has no secret of this version.
    #[error("unknown version of a replay secret")]
    Unknown,
    /// The secret is the current one: promote another one first.
    #[error("the current replay secret can't be retired")]
    Current,
    /// The secrets tag banned addresses: without one of them, its bans would end.
    #[error("a secret of bans can't be retired")]
    HoldsBans,
}

crate::issue::debug_by_text!(ReplaySecretError);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::AccountId;
    use crate::api_key::{ApiKey, ApiKeyPrefix};
    use crate::fields::{EmailKey, EmailProfile};

    fn secrets(byte: u8) -> ReplaySecrets {
        ReplaySecret::new(&[byte; 32]).unwrap().into()
    }

    fn email(text: &str) -> EmailKey {
        EmailKey::parse(text, EmailProfile::Strict).unwrap()
    }

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey::new(text).unwrap()
    }

    fn hex(bytes: impl AsRef<[u8]>) -> String {
        bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn take(mut entropy: Entropy) -> [u8; 16] {
        entropy.take().unwrap()
    }

    /// Computed from RFC 5869 by another implementation (Python's `hmac`): a change of these
    /// would make every answer of a running service irreproducible.
    #[test]
    fn what_is_derived_never_changes() {
        let secrets = secrets(7);
        let (email, key) = (email("dev@example.com"), key("0123456789abcdef"));
        let (derived, receipt) = secrets.derive(Scope::Signup(&email), &[3; 16], &key).unwrap();
        assert_eq!(hex(take(derived)), DERIVED);
        assert_eq!((receipt.secret_version(), &*hex(receipt.tag())), (VERSION, TAG));
        let mut derived = secrets.derive(Scope::Signup(&email), &[3; 16], &key).unwrap().0;
        let id = AccountId::mint(&mut derived).unwrap();
        let api_key = ApiKey::mint(&ApiKeyPrefix::default(), &mut derived).unwrap();
        assert_eq!((id.as_str(), api_key.reveal()), (ID, API_KEY));
    }
    const DERIVED: &str = "397e4c590cce02148ef45d3e4b998c1c";
    const VERSION: u32 = 1_663_779_104;
    const TAG: &str = "676ed8f160e9bf606c2087e41e2ad1f364acbd1c9d056863d7aafc21d3f7fd72";
    const ID: &str = "acc_li4hcq2kyslq39wsb3zs";
    const API_KEY: &str = "rag_live_swkoPsKOXvJa5oLsrLipFZ5Pmx18sk0Bun5z";

    #[test]
    fn every_part_of_a_request_is_derived_from() {
        let account: AccountId = "acc_1".parse().unwrap();
        let other_account: AccountId = "acc_2".parse().unwrap();
        let old = "key_00112233445566778899".parse().unwrap();
        let (one, other) = (key("0123456789abcdef"), key("0123456789abcdeg"));
        let (here, there) = (email("a@x.co"), email("b@x.co"));
        let requests = [
            (secrets(1), Scope::Signup(&here), [0; 16], &one),
            (secrets(2), Scope::Signup(&here), [0; 16], &one),
            (secrets(1), Scope::Signup(&there), [0; 16], &one),
            (secrets(1), Scope::Signup(&here), [1; 16], &one),
            (secrets(1), Scope::Signup(&here), [0; 16], &other),
            (secrets(1), Scope::IssueKey(&account), [0; 16], &one),
            (secrets(1), Scope::IssueKey(&other_account), [0; 16], &one),
            (secrets(1), Scope::RotateKey(&account, &old), [0; 16], &one),
        ];
        let derived: std::collections::HashSet<_> = requests
            .iter()
            .flat_map(|(secrets, scope, nonce, key)| {
                let (entropy, receipt) = secrets.derive(*scope, nonce, key).unwrap();
                [take(entropy).to_vec(), receipt.tag().to_vec()]
            })
            .collect();
        assert_eq!(derived.len(), 2 * requests.len());
    }

    #[test]
    fn the_tag_of_an_api_key_is_found_without_its_nonce() {
        let (secrets, account) = (secrets(1), "acc_1".parse().unwrap());
        let (scope, key) = (Scope::IssueKey(&account), key("0123456789abcdef"));
        let (one, first) = secrets.derive(scope, &[1; 16], &key).unwrap();
        let (other, second) = secrets.derive(scope, &[2; 16], &key).unwrap();
        assert_eq!(secrets.tags(scope, &key), [*first.tag()]);
        assert_eq!(first.tag(), second.tag());
        assert_ne!(take(one), take(other), "it is another key all the same");
    }

    #[test]
    fn a_rotation_keeps_the_answers_of_the_old_secret_until_it_is_retired() {
        let new = ReplaySecret::new(&[2; 32]).unwrap();
        let new_version = new.version();
        let secrets = secrets(1);
        let (email, key) = (email("a@x.co"), key("0123456789abcdef"));
        let scope = Scope::Signup(&email);
        let (before, receipt) = secrets.derive(scope, &[0; 16], &key).unwrap();
        let old_version = receipt.secret_version();
        secrets.accept(new).unwrap();
        secrets.promote(new_version).unwrap();
        assert_eq!(secrets.derive(scope, &[0; 16], &key).unwrap().1.secret_version(), new_version);
        let again = secrets.derive_again(&receipt, scope, &key).unwrap();
        let before = take(before);
        assert_eq!((take(again().unwrap()), take(again().unwrap())), (before, before));
        drop(again);
        assert_eq!(secrets.retire(new_version), Err(ReplaySecretError::Current));
        secrets.retire(old_version).unwrap();
        assert!(secrets.derive_again(&receipt, scope, &key).is_none());
        assert_eq!(secrets.retire(old_version), Err(ReplaySecretError::Unknown));
        assert_eq!(secrets.promote(old_version), Err(ReplaySecretError::Unknown));
        let twice = ReplaySecret::new(&[2; 32]).unwrap();
        assert_eq!(secrets.accept(twice), Err(ReplaySecretError::Duplicate));
    }

    #[test]
    fn a_text_has_a_tag_of_each_secret_and_the_current_one_comes_first() {
        let new = ReplaySecret::new(&[2; 32]).unwrap();
        let new_version = new.version();
        let (set, alone) = (secrets(1), secrets(2));
        let [old] = set.tags_of(b"label", b"text")[..] else { panic!("one secret, one tag") };
        let [newer] = alone.tags_of(b"label", b"text")[..] else { panic!("one secret, one tag") };
        set.accept(new).unwrap();
        assert_eq!(set.tags_of(b"label", b"text"), [old, newer]);
        set.promote(new_version).unwrap();
        assert_eq!(set.tags_of(b"label", b"text"), [newer, old]);
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_printed() {
        let short = ReplaySecret::new(&[7; 31]).unwrap_err();
        assert_eq!(short.to_string(), "short replay secret: 31 bytes, needs at least 32");
        let secret = ReplaySecret::new(b"hunter2hunter2hunter2hunter2hunter2").unwrap();
        let shown = format!("{secret:?}");
        let shown = format!("{shown} {:?}", ReplaySecrets::from(secret));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_set_of_secrets_is_wiped_when_dropped() {
        assert!(std::mem::needs_drop::<DerivedKeys>());
    }
}
