//! Trusted devices: the marks of devices that an account's owner has used before.

#[cfg(feature = "verification")]
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use subtle::ConstantTimeEq as _;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::idempotency::ReplaySecrets;
use crate::random::{Entropy, RandomError};
use crate::secret::Secret;

use super::tag;

const PREFIX: &str = "kc_";
const PURPOSE: &[u8] = b"signup 1: trusted device";
const VERSION_BYTES: usize = 4;
const NUMBER_BYTES: usize = 16;

/// The time for which a mark counts for mails with codes.
#[cfg(feature = "verification")]
const FOR_MAILS: Duration = Duration::from_hours(365 * 24);

/// The mark of a device whose user has logged in, or has changed or reset the password or the
/// address. The host gives it to the device, for example as a cookie, and passes it to the
/// next log-in: then failures of strangers do not delay it. It ends with the generation of the
/// account's tokens.
///
/// For mails with codes it counts for a year, also after its generation has ended: passed to a
/// [password reset](crate::AccountCodes::begin_password_reset_from), it lets the owner
/// have a code when strangers have used up the mails of the address. It grants nothing else.
pub struct TrustedDevice {
    number: [u8; NUMBER_BYTES],
    generation: i64,
    #[cfg_attr(not(feature = "verification"), expect(dead_code, reason = "only mails ask for it"))]
    issued_at: i64,
    text: Secret<String>,
}

impl TrustedDevice {
    /// Returns the mark, for this device alone.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    pub(crate) fn number(&self) -> &[u8] {
        &self.number
    }

    /// Returns whether it is a mark of this generation.
    pub(super) fn is_of(&self, generation: i64) -> bool {
        self.generation == generation
    }

    /// Returns whether it counts for mails with codes: it is not of a later generation, and not
    /// a year old.
    #[cfg(feature = "verification")]
    pub(super) fn counts_for_mails(&self, generation: i64, now: Timestamp) -> bool {
        let age = now.as_millis().saturating_sub(self.issued_at);
        let oldest = i64::try_from(FOR_MAILS.as_millis()).unwrap_or(i64::MAX);
        self.generation <= generation && age < oldest
    }

    /// Creates the mark of a device, with a new number or the number of its earlier mark.
    ///
    /// # Errors
    /// Fails without randomness.
    pub(crate) fn new(
        account: &AccountId,
        generation: i64,
        before: Option<Self>,
        now: Timestamp,
        draw: &mut Entropy,
        secrets: &ReplaySecrets,
    ) -> Result<Self, RandomError> {
        let number = match before {
            Some(before) => before.number,
            None => draw.take()?,
        };
        let issued_at = now.as_millis();
        let signed = sign(account, generation, issued_at, None, &number, secrets);
        let (version, tag) = signed.ok_or(RandomError::Failed)?;
        let (version, times) =
            (version.to_be_bytes(), [generation, issued_at].map(i64::to_be_bytes));
        let all = [version.as_slice(), &number, times.as_flattened(), &tag].concat();
        let mut text = Secret::new(PREFIX.to_owned());
        text.push_str(&Base64UrlUnpadded::encode_string(&all));
        Ok(Self { number, generation, issued_at, text })
    }

    /// Parses a mark for this account, of any generation; `None` for any other text.
    pub(crate) fn parse(text: &str, account: &AccountId, secrets: &ReplaySecrets) -> Option<Self> {
        let all = Base64UrlUnpadded::decode_vec(text.strip_prefix(PREFIX)?).ok()?;
        let (version, rest) = all.split_first_chunk::<VERSION_BYTES>()?;
        let (number, rest) = rest.split_first_chunk::<NUMBER_BYTES>()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (issued_at, given) = rest.split_first_chunk()?;
        let [generation, issued_at] = [generation, issued_at].map(|it| i64::from_be_bytes(*it));
        let version = Some(u32::from_be_bytes(*version));
        let (_, tag) = sign(account, generation, issued_at, version, number, secrets)?;
        let is_ours: bool = tag.ct_eq(given).into();
        let text = Secret::new(text.to_owned());
        is_ours.then(|| Self { number: *number, generation, issued_at, text })
    }
}

fn sign(
    account: &AccountId,
    generation: i64,
    issued_at: i64,
    version: Option<u32>,
    number: &[u8; NUMBER_BYTES],
    secrets: &ReplaySecrets,
) -> Option<(u32, [u8; 32])> {
    let (version, key) = secrets.purpose(version, PURPOSE)?;
    let times = [generation, issued_at].map(i64::to_be_bytes);
    let parts = [account.as_str().as_bytes(), times.as_flattened(), number];
    Some((version, tag(&key, &parts)?))
}

/// Omits the text.
impl std::fmt::Debug for TrustedDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TrustedDevice(_)")
    }
}
