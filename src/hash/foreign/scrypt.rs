//! scrypt (RFC 7914), in the forms of Django, Werkzeug, better-auth and Firebase, and as a PHC
//! string.

use ::scrypt::Params;
use aes::Aes256;
use base64ct::{Base64Unpadded, Encoding as _};
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use icu_normalizer::ComposingNormalizerBorrowed;

use crate::fields::Password;
use crate::hash::phc::PhcError;
use crate::secret::Secret;

use super::{
    ForeignHashes, Tag, checked_salt, excessive, from_base16, from_base64, is_equal, number,
    whole_tag,
};

const NFKC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfkc();

pub(super) struct Scrypt {
    params: Params,
    salt: Vec<u8>,
    tag: Tag,
    /// Whether the password is normalized to NFKC, as of better-auth's.
    normalizes: bool,
    /// The key of a project of Firebase's, which is encrypted by what scrypt derives.
    signer_key: Option<Secret<Vec<u8>>>,
}

impl Scrypt {
    /// Parses what follows `scrypt$`: `N$salt$r$p$tag`.
    pub(super) fn parse_django(text: &str, limits: &ForeignHashes) -> Result<Self, PhcError> {
        let parts: Vec<_> = text.split('$').collect();
        let [n, salt, r, p, tag] = parts[..] else {
            return Err(PhcError::Malformed);
        };
        let params = params(log(n)?, number(r)?, number(p)?, limits)?;
        Self::new(params, salt.as_bytes().to_vec(), whole_tag(from_base64(tag)?, 64)?)
    }

    /// Parses what follows `scrypt:`: `N:r:p$salt$tag`, of which the tag is hexadecimal.
    pub(super) fn parse_werkzeug(text: &str, limits: &ForeignHashes) -> Result<Self, PhcError> {
        let parts: Vec<_> = text.split(['$', ':']).collect();
        let [n, r, p, salt, tag] = parts[..] else {
            return Err(PhcError::Malformed);
        };
        let params = params(log(n)?, number(r)?, number(p)?, limits)?;
        Self::new(params, salt.as_bytes().to_vec(), whole_tag(from_base16(tag)?, 64)?)
    }

    /// Parses what follows `$scrypt$`: `ln=…,r=…,p=…$salt$tag`.
    pub(super) fn parse_phc(text: &str, limits: &ForeignHashes) -> Result<Self, PhcError> {
        let parts: Vec<_> = text.split('$').collect();
        let [costs, salt, tag] = parts[..] else {
            return Err(PhcError::Malformed);
        };
        let [ln, r, p] = named(costs, ["ln", "r", "p"])?;
        let params = params(number(ln)?, number(r)?, number(p)?, limits)?;
        let decode = |text| Base64Unpadded::decode_vec(text).map_err(|_| PhcError::Malformed);
        Self::new(params, decode(salt)?, whole_tag(decode(tag)?, 32)?)
    }

    /// Parses `salt:key` in hexadecimal digits. The salt is what the digits are, not what they
    /// stand for.
    pub(super) fn parse_better_auth(
        salt: &str,
        key: &str,
        limits: &ForeignHashes,
    ) -> Result<Self, PhcError> {
        let is_hex = salt.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hex || salt.len() != 32 || key.len() != 128 {
            return Err(PhcError::Malformed);
        }
        let tag = from_base16(key)?;
        let hash = Self::new(params(14, 16, 1, limits)?, salt.as_bytes().to_vec(), tag)?;
        Ok(Self { normalizes: true, ..hash })
    }

    /// Parses what follows `$fbscrypt$`, the form in which Supabase takes them over:
    /// `v=1,n=…,r=…,p=…,ss=…,sk=…$salt$hash`, with the parameters of the project.
    pub(super) fn parse_firebase(text: &str, limits: &ForeignHashes) -> Result<Self, PhcError> {
        let parts: Vec<_> = text.split('$').collect();
        let [costs, salt, hash] = parts[..] else {
            return Err(PhcError::Malformed);
        };
        let [v, n, r, p, ss, sk] = named(costs, ["v", "n", "r", "p", "ss", "sk"])?;
        if v != "1" {
            return Err(PhcError::Version);
        }
        let params = params(number(n)?, number(r)?, number(p)?, limits)?;
        let signer_key = Secret::new(from_base64(sk)?);
        // An empty one would make any password right.
        if signer_key.len() < MIN_SIGNER_KEY {
            return Err(PhcError::Malformed);
        }
        let salt = [from_base64(salt)?, from_base64(ss)?].concat();
        let tag = whole_tag(from_base64(hash)?, signer_key.len())?;
        let hash = Self::new(params, salt, tag)?;
        Ok(Self { signer_key: Some(signer_key), ..hash })
    }

    fn new(params: Params, salt: Vec<u8>, tag: Vec<u8>) -> Result<Self, PhcError> {
        Ok(Self {
            params,
            salt: checked_salt(salt)?,
            tag: Tag::new(tag),
            normalizes: false,
            signer_key: None,
        })
    }

    pub(super) fn verify(&self, password: &Password) -> bool {
        let normalized = self.normalizes.then(|| nfkc(password.as_typed()));
        let bytes = normalized.as_ref().map_or(password.as_typed(), |text| text.as_str());
        let derived = self.signer_key.as_ref().map_or(self.tag.len(), |_| 32);
        let mut tag = Tag::new(vec![0; derived]);
        let params = &self.params;
        if ::scrypt::scrypt(bytes.as_bytes(), &self.salt, params, &mut tag).is_err() {
            return false;
        }
        match &self.signer_key {
            None => is_equal(&tag, &self.tag),
            Some(signer_key) => {
                encrypted(signer_key, &tag).is_some_and(|encrypted| is_equal(&encrypted, &self.tag))
            }
        }
    }
}

/// The shortest signer key of a project, in bytes. Firebase's have 64.
const MIN_SIGNER_KEY: usize = 32;

/// Encrypts Firebase's key by AES-256 in counter mode, from zero.
fn encrypted(signer_key: &[u8], key: &[u8]) -> Option<Tag> {
    let mut text = Tag::new(signer_key.to_vec());
    let mut cipher = ctr::Ctr128BE::<Aes256>::new_from_slices(key, &[0; 16]).ok()?;
    cipher.apply_keystream(&mut text);
    Some(text)
}

/// Parses a power of two, and returns its logarithm.
fn log(n: &str) -> Result<u32, PhcError> {
    let n = number(n)?;
    if n.is_power_of_two() { Ok(n.ilog2()) } else { Err(PhcError::Malformed) }
}

/// Checks the memory, 128 × N × r bytes, and the parallelism.
fn params(log_n: u32, r: u32, p: u32, limits: &ForeignHashes) -> Result<Params, PhcError> {
    let kib = 1_u128.checked_shl(log_n).map(|n| n.saturating_mul(u128::from(r)) / 8);
    let kib = kib.filter(|_| log_n < 64).unwrap_or(u128::MAX);
    if kib > limits.scrypt_memory_kib.into() {
        return Err(excessive("KiB of scrypt", kib, limits.scrypt_memory_kib));
    }
    if p > limits.scrypt_parallelism {
        return Err(excessive("lanes of scrypt", p, limits.scrypt_parallelism));
    }
    let log_n = u8::try_from(log_n).map_err(|_| PhcError::Malformed)?;
    Params::new(log_n, r, p).map_err(|_| PhcError::Malformed)
}

/// Parses values with these names, in this order.
fn named<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Result<[&'a str; N], PhcError> {
    let mut given = text.split(',');
    let values = names
        .map(|name| given.next().and_then(|value| value.strip_prefix(name)?.strip_prefix('=')));
    if given.next().is_some() || values.contains(&None) {
        return Err(PhcError::Malformed);
    }
    Ok(values.map(Option::unwrap_or_default))
}

/// Normalizes to NFKC, in memory that is wiped.
fn nfkc(text: &str) -> Secret<String> {
    // An expansion of eighteen characters is the longest that Unicode has.
    let mut normalized = Secret::new(String::with_capacity(text.len() * 18));
    // A String takes all that is written to it.
    let _ = NFKC.normalize_to(text, &mut *normalized);
    normalized
}
