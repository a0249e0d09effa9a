//! The mark of a client that an account's owner has used before.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use subtle::ConstantTimeEq as _;

use crate::account::AccountId;
use crate::idempotency::ReplaySecrets;
use crate::random::{Entropy, RandomError};
use crate::secret::Secret;

use super::tag;

const PREFIX: &str = "kc_";
const PURPOSE: &[u8] = b"signup 1: known client";
const VERSION_BYTES: usize = 4;
const NUMBER_BYTES: usize = 16;

/// The mark of a client that has logged in with an account: the host gives it to the client,
/// as a cookie for example, and gets it back with the next log-in. It spares the client the
/// waits that strangers have caused. It proves nothing else, and ends with the generation
/// of the account's tokens.
pub struct KnownClient {
    number: [u8; NUMBER_BYTES],
    text: Secret<String>,
}

impl KnownClient {
    /// Returns the mark, for this client and nobody else.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    pub(super) fn number(&self) -> &[u8] {
        &self.number
    }

    /// Creates the mark of a client: with a number of its own, or with that of its mark
    /// before.
    ///
    /// # Errors
    /// Fails without randomness.
    pub(in crate::credentials) fn new(
        account: &AccountId,
        generation: i64,
        before: Option<Self>,
        draw: &mut Entropy,
        secrets: &ReplaySecrets,
    ) -> Result<Self, RandomError> {
        let number = match before {
            Some(before) => before.number,
            None => draw.take()?,
        };
        let signed = sign(account, generation, None, &number, secrets);
        let (version, tag) = signed.ok_or(RandomError::Failed)?;
        let all = [version.to_be_bytes().as_slice(), &number, &tag].concat();
        let mut text = Secret::new(PREFIX.to_owned());
        text.push_str(&Base64UrlUnpadded::encode_string(&all));
        Ok(Self { number, text })
    }

    /// Parses the mark of a client of this account and generation; `None` for any other
    /// text.
    pub(in crate::credentials) fn parse(
        text: &str,
        account: &AccountId,
        generation: i64,
        secrets: &ReplaySecrets,
    ) -> Option<Self> {
        let all = Base64UrlUnpadded::decode_vec(text.strip_prefix(PREFIX)?).ok()?;
        let (version, rest) = all.split_first_chunk::<VERSION_BYTES>()?;
        let (number, given) = rest.split_first_chunk::<NUMBER_BYTES>()?;
        let version = Some(u32::from_be_bytes(*version));
        let (_, tag) = sign(account, generation, version, number, secrets)?;
        let is_ours: bool = tag.ct_eq(given).into();
        is_ours.then(|| Self { number: *number, text: Secret::new(text.to_owned()) })
    }
}

fn sign(
    account: &AccountId,
    generation: i64,
    version: Option<u32>,
    number: &[u8; NUMBER_BYTES],
    secrets: &ReplaySecrets,
) -> Option<(u32, [u8; 32])> {
    let (version, key) = secrets.purpose(version, PURPOSE)?;
    let parts = [account.as_str().as_bytes(), &generation.to_be_bytes(), number];
    Some((version, tag(&key, &parts)?))
}

/// Without the text.
impl std::fmt::Debug for KnownClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KnownClient(_)")
    }
}
