//! Sealed tickets: content that a client carries, and can neither read nor change.

use std::ops::Deref;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use serde::Serialize;
use sha2::Sha256;

use crate::idempotency::ReplaySecrets;
use crate::issue::BoxError;
use crate::mail::Code;
use crate::observe;
use crate::random::SecureRandom;
use crate::secret::Secret;

const SEAL: &[u8] = b"signup 1: seal of tickets";
const VERSION_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;

/// The secrets that seal the tickets of a deployment. Another deployment, with another issuer
/// or audience, opens none of them.
pub(crate) struct TicketSecrets {
    secrets: ReplaySecrets,
    /// Issuer and audience, each with its length.
    deployment: Vec<u8>,
}

impl TicketSecrets {
    pub(crate) fn new(secrets: ReplaySecrets, issuer: &str, audience: &str) -> Self {
        let mut deployment = Vec::new();
        for name in [issuer, audience] {
            deployment.extend_from_slice(&name.len().to_be_bytes());
            deployment.extend_from_slice(name.as_bytes());
        }
        Self { secrets, deployment }
    }
}

impl Deref for TicketSecrets {
    type Target = ReplaySecrets;

    fn deref(&self) -> &ReplaySecrets {
        &self.secrets
    }
}

/// A kind of tickets.
pub(super) struct Purpose {
    /// The beginning of each.
    pub(super) prefix: &'static str,
    /// Authenticated with each: one that was sealed for anything else does not open.
    pub(super) name: &'static [u8],
    /// The length of every content, in bytes.
    pub(super) padded: usize,
}

impl Purpose {
    /// Seals a content. All tickets have one length.
    ///
    /// # Errors
    /// Fails if the content is too long, if the secret was retired, or without randomness.
    pub(super) fn seal(
        &self,
        content: &impl Serialize,
        version: u32,
        secrets: &TicketSecrets,
        random: &dyn SecureRandom,
    ) -> Result<Secret<String>, BoxError> {
        let padded = self.pad(content)?;
        let key = secrets.purpose(Some(version), SEAL);
        let (_, key) = key.ok_or("the secret was retired")?;
        let mut sealed = Secret::new(version.to_be_bytes().to_vec());
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce)?;
        sealed.extend_from_slice(&nonce);
        let payload = Payload { msg: &padded, aad: &self.associated(version, secrets) };
        let cipher = XChaCha20Poly1305::new((&*key).into());
        let text = cipher.encrypt(&XNonce::from(nonce), payload);
        sealed.extend_from_slice(&text.map_err(|_| "the ticket can't be sealed")?);
        let length = self.prefix.len() + Base64UrlUnpadded::encoded_len(&sealed);
        let mut ticket = Secret::new(String::with_capacity(length));
        ticket.push_str(self.prefix);
        ticket.push_str(&Base64UrlUnpadded::encode_string(&sealed));
        Ok(ticket)
    }

    /// Opens a ticket and returns the version of its secret and its content, as JSON;
    /// `None` for anything that was not sealed here, for this purpose, by a secret that is
    /// still accepted.
    pub(super) fn open(
        &self,
        ticket: &str,
        secrets: &TicketSecrets,
    ) -> Option<(u32, Secret<Vec<u8>>)> {
        let sealed = Base64UrlUnpadded::decode_vec(ticket.strip_prefix(self.prefix)?).ok()?;
        let (version, rest) = sealed.split_first_chunk::<VERSION_BYTES>()?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let version = u32::from_be_bytes(*version);
        let Some((_, key)) = secrets.purpose(Some(version), SEAL) else {
            observe::unknown_secret("ticket");
            return None;
        };
        let payload = Payload { msg: text, aad: &self.associated(version, secrets) };
        let cipher = XChaCha20Poly1305::new((&*key).into());
        let padded = cipher.decrypt(&XNonce::from(*nonce), payload).ok()?;
        Some((version, Secret::new(padded)))
    }

    fn pad(&self, content: &impl Serialize) -> Result<Secret<Vec<u8>>, BoxError> {
        let mut padded = Secret::new(Vec::with_capacity(self.padded));
        serde_json::to_writer(&mut *padded, content)?;
        if padded.len() > self.padded {
            return Err("the content does not fit into a ticket".into());
        }
        // White space at the end of JSON means nothing.
        padded.resize(self.padded, b' ');
        Ok(padded)
    }

    fn associated(&self, version: u32, secrets: &TicketSecrets) -> Vec<u8> {
        [self.name, &version.to_be_bytes(), &secrets.deployment].concat()
    }
}

/// Computes the tag of a code, which a ticket has instead of it.
pub(super) fn code_tag(
    key: &[u8; 32],
    number: &[u8; 16],
    code: &Code,
) -> Result<[u8; 32], BoxError> {
    let mac = Hmac::<Sha256>::new_from_slice(key)?;
    let tag = mac.chain_update(number).chain_update(code.reveal().as_bytes());
    Ok(tag.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_may_have_the_length_of_the_ticket_and_no_more() {
        let purpose = Purpose { prefix: "t_", name: b"test", padded: 4 };
        assert_eq!(**purpose.pad(&"a").unwrap(), *b"\"a\" ");
        assert_eq!(**purpose.pad(&"ab").unwrap(), *b"\"ab\"");
        assert!(purpose.pad(&"abc").is_err());
    }
}
