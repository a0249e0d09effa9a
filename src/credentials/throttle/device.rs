//! Trusted devices: the marks of devices that an account's owner has used before.

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

/// The mark of a device whose user has logged in, or has changed or reset the password or the
/// address. The host gives it to the device, for example as a cookie, and passes it to the
/// next log-in: then failures of strangers do not delay it. It grants nothing else, and ends
/// with the generation of the account's tokens.
pub struct TrustedDevice {
    number: [u8; NUMBER_BYTES],
    text: Secret<String>,
}

impl TrustedDevice {
    /// Returns the mark, for this device alone.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    pub(super) fn number(&self) -> &[u8] {
        &self.number
    }

    /// Creates the mark of a device, with a new number or the number of its earlier mark.
    ///
    /// # Errors
    /// Fails without randomness.
    pub(crate) fn new(
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

    /// Parses a mark for this account and generation; `None` for any other text.
    pub(crate) fn parse(
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

/// Omits the text.
impl std::fmt::Debug for TrustedDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TrustedDevice(_)")
    }
}
