//! Derivation of what a sign-up mints, and of the tag that recognizes its retry.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::account::AccountId;
use crate::api_key::ApiKeyId;
use crate::fields::EmailKey;
use crate::random::{DRAW, Entropy, RandomError};
use crate::secret::{self, Secret};

use super::key::IdempotencyKey;
use super::receipt::{Nonce, Receipt};

/// The scope of an idempotency key: the same key in another one is another request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope<'a> {
    /// The sign-up of this address.
    Signup(&'a EmailKey),
    /// The sign-up of this address by a ticket, whose number is the nonce.
    #[cfg(feature = "verification")]
    Ticket(&'a EmailKey),
    /// The account of this address, taken over by a ticket, whose number is the nonce.
    #[cfg(feature = "verification")]
    Reclaim(&'a EmailKey),
    /// Another API key of this account.
    IssueKey(&'a AccountId),
    /// The API key of this account that replaces this one.
    RotateKey(&'a AccountId, &'a ApiKeyId),
}

impl<'a> Scope<'a> {
    /// Returns the label, which has the version of this derivation, and the parts.
    fn parts(self) -> (&'static str, [&'a [u8]; 2]) {
        match self {
            Self::Signup(email) => ("signup 1: account", [email.as_str().as_bytes(), &[]]),
            #[cfg(feature = "verification")]
            Self::Ticket(email) => ("signup 1: ticket", [email.as_str().as_bytes(), &[]]),
            #[cfg(feature = "verification")]
            Self::Reclaim(email) => ("signup 1: reclaim", [email.as_str().as_bytes(), &[]]),
            Self::IssueKey(account) => ("signup 1: API key", [account.as_str().as_bytes(), &[]]),
            Self::RotateKey(account, old) => {
                ("signup 1: rotation", [account.as_str().as_bytes(), old.as_bytes()])
            }
        }
    }
}

/// The two keys that come from a secret: one derives, the other one tags.
#[derive(Clone)]
pub(super) struct DerivedKeys {
    expand: Hkdf<Sha256>,
    tag: Hmac<Sha256>,
    pub(super) version: u32,
}

impl DerivedKeys {
    /// Extracts the keys, without a salt: none would be one that no client chooses (RFC
    /// 5869, section 3.4).
    pub(super) fn extract(secret: &[u8]) -> Option<Self> {
        let expand = Hkdf::<Sha256>::new(None, secret);
        let mut tag_key = Secret::new([0; 32]);
        expand.expand(b"signup 1: tag", tag_key.as_mut_slice()).ok()?;
        let tag = Hmac::new_from_slice(tag_key.as_slice()).ok()?;
        let version = secret::version(&expand)?;
        Some(Self { expand, tag, version })
    }

    /// Derives a key for another purpose, which its label names.
    pub(super) fn purpose(&self, label: &[u8]) -> Option<Secret<[u8; 32]>> {
        let mut key = Secret::new([0; 32]);
        self.expand.expand(label, key.as_mut_slice()).ok()?;
        Some(key)
    }

    /// Computes a tag of a text, by a key for the purpose that the label names.
    pub(super) fn tag_for(&self, label: &[u8], text: &[u8]) -> Option<[u8; 32]> {
        let key = self.purpose(label)?;
        let mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).ok()?;
        Some(mac.chain_update(text).finalize().into_bytes().into())
    }

    /// Derives all that is minted for a ticket, which has no idempotency key.
    #[cfg(feature = "verification")]
    pub(super) fn derive_ticket(&self, scope: Scope<'_>, number: &Nonce) -> Option<Entropy> {
        self.expand(&Message::of(scope, number, &[])).ok()
    }

    /// Derives all that is minted for a request, as if it had been drawn at random.
    pub(super) fn derive(
        &self,
        scope: Scope<'_>,
        nonce: &Nonce,
        key: &IdempotencyKey,
    ) -> Result<Entropy, RandomError> {
        self.expand(&Message::new(scope, nonce, key))
    }

    /// Derives the same for a new request, with its receipt.
    pub(super) fn derive_new(
        &self,
        scope: Scope<'_>,
        nonce: &Nonce,
        key: &IdempotencyKey,
    ) -> Result<(Entropy, Receipt), RandomError> {
        let message = Message::new(scope, nonce, key);
        let derived = self.expand(&message)?;
        let tag = match scope {
            Scope::Signup(_) => self.tag_of(&message),
            _ => self.tag(scope, nonce, key),
        };
        Ok((derived, Receipt::new(*nonce, self.version, tag)))
    }

    fn expand(&self, Message(info): &Message) -> Result<Entropy, RandomError> {
        let mut bytes = Secret::new([0; DRAW]);
        let expanded = self.expand.expand(info, bytes.as_mut_slice());
        expanded.map_err(|_| RandomError::Failed)?;
        Ok(Entropy::derived(bytes))
    }

    /// Returns whether a receipt is of this request.
    pub(super) fn recognizes(
        &self,
        receipt: &Receipt,
        scope: Scope<'_>,
        key: &IdempotencyKey,
    ) -> bool {
        let tag = self.tag(scope, receipt.nonce(), key);
        tag.ct_eq(receipt.tag()).into()
    }

    /// Computes a tag. With the nonce of an account in it, equal keys of two rows do not
    /// show. Among the API keys of one account it is unique instead, so it has none.
    pub(super) fn tag(&self, scope: Scope<'_>, nonce: &Nonce, key: &IdempotencyKey) -> [u8; 32] {
        let nonce: &[u8] = if matches!(scope, Scope::Signup(_)) { nonce } else { &[] };
        self.tag_of(&Message::new(scope, nonce, key))
    }

    fn tag_of(&self, Message(text): &Message) -> [u8; 32] {
        self.tag.clone().chain_update(&**text).finalize().into_bytes().into()
    }
}

/// The parts of a request, each after its length, so that no two requests have one text.
struct Message(Secret<Vec<u8>>);

impl Message {
    fn new(scope: Scope<'_>, nonce: &[u8], key: &IdempotencyKey) -> Self {
        Self::of(scope, nonce, key.reveal().as_bytes())
    }

    fn of(scope: Scope<'_>, nonce: &[u8], key: &[u8]) -> Self {
        let (label, parts) = scope.parts();
        let all = [label.as_bytes(), nonce, key, parts[0], parts[1]];
        let length = all.iter().map(|part| 2 + part.len()).sum();
        let mut text = Secret::new(Vec::with_capacity(length));
        for part in all {
            // The largest length of two bytes announces one of eight.
            match u16::try_from(part.len()) {
                Ok(length) if length < u16::MAX => text.extend_from_slice(&length.to_be_bytes()),
                _ => {
                    text.extend_from_slice(&u16::MAX.to_be_bytes());
                    text.extend_from_slice(&(part.len() as u64).to_be_bytes());
                }
            }
            text.extend_from_slice(part);
        }
        Self(text)
    }
}
