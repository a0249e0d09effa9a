//! PBKDF2 (RFC 8018, section 5.2), in the forms of Django, Werkzeug, passlib and ASP.NET Identity,
//! and as a PHC string.

use ::pbkdf2::pbkdf2_hmac;
use base64ct::{Base64Unpadded, Encoding as _};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use crate::hash::phc::PhcError;

use super::{Tag, checked_salt, excessive, from_base16, from_base64, is_equal, number, whole_tag};

/// The iterations of ASP.NET's version 2, and what both versions derive.
const OF_VERSION_2: u32 = 1000;
const ASPNET_BYTES: usize = 32;

pub(super) struct Pbkdf2 {
    digest: Digest,
    iterations: u32,
    salt: Vec<u8>,
    tag: Tag,
}

#[derive(Clone, Copy)]
enum Digest {
    Sha1,
    Sha256,
    Sha512,
}

impl Digest {
    /// Parses a function, and returns the length of its output in bytes.
    fn parse(name: &str) -> Result<(Self, usize), PhcError> {
        match name {
            "sha1" => Ok((Self::Sha1, 20)),
            "sha256" => Ok((Self::Sha256, 32)),
            "sha512" => Ok((Self::Sha512, 64)),
            _ => Err(PhcError::Algorithm),
        }
    }
}

impl Pbkdf2 {
    /// Parses what follows `pbkdf2_`: `sha256$iterations$salt$tag`.
    pub(super) fn parse_django(text: &str, max: u32) -> Result<Self, PhcError> {
        let parts: Vec<_> = text.split('$').collect();
        let [digest, iterations, salt, tag] = parts[..] else {
            return Err(PhcError::Malformed);
        };
        let (digest, bytes) = Digest::parse(digest)?;
        let (salt, tag) = (salt.as_bytes().to_vec(), whole_tag(from_base64(tag)?, bytes)?);
        Self::new(digest, number(iterations)?, salt, tag, max)
    }

    /// Parses what follows `pbkdf2:`: `sha256:iterations$salt$tag`, of which the tag is
    /// hexadecimal.
    pub(super) fn parse_werkzeug(text: &str, max: u32) -> Result<Self, PhcError> {
        let parts: Vec<_> = text.split(['$', ':']).collect();
        let [digest, iterations, salt, tag] = parts[..] else {
            return Err(PhcError::Malformed);
        };
        let (digest, bytes) = Digest::parse(digest)?;
        let (salt, tag) = (salt.as_bytes().to_vec(), whole_tag(from_base16(tag)?, bytes)?);
        Self::new(digest, number(iterations)?, salt, tag, max)
    }

    /// Parses what follows `$pbkdf2`: `-sha256$i=iterations,l=length$salt$tag` of a PHC string, or
    /// with the iterations alone, as of passlib's, whose base64 has a dot instead of the plus.
    /// Without a function it is SHA-1.
    pub(super) fn parse_phc(text: &str, max: u32) -> Result<Self, PhcError> {
        let parts: Vec<_> = text.split('$').collect();
        let [digest, costs, salt, tag] = parts[..] else {
            return Err(PhcError::Malformed);
        };
        let (digest, bytes) = Digest::parse(digest.strip_prefix('-').unwrap_or("sha1"))?;
        let iterations = costs.split(',').next().unwrap_or(costs);
        let iterations = number(iterations.strip_prefix("i=").unwrap_or(iterations))?;
        let decode = |text: &str| {
            let text = Tag::new(text.trim_end_matches('=').replace('.', "+").into_bytes());
            let text = std::str::from_utf8(&text).map_err(|_| PhcError::Malformed)?;
            Base64Unpadded::decode_vec(text).map_err(|_| PhcError::Malformed)
        };
        let (salt, tag) = (decode(salt)?, decode(tag)?);
        // Keycloak derives two blocks of SHA-256.
        let bytes = if tag.len() == 2 * bytes && bytes == 32 { 64 } else { bytes };
        let tag = whole_tag(tag, bytes)?;
        Self::new(digest, iterations, salt, tag, max)
    }

    /// Parses base64: a mark, and in version 3 the function, the iterations and the length of
    /// the salt, as big-endian numbers; then salt and tag.
    pub(super) fn parse_aspnet(text: &str, max: u32) -> Result<Self, PhcError> {
        let bytes = from_base64(text)?;
        let (mark, rest) = bytes.split_first().ok_or(PhcError::Malformed)?;
        match mark {
            0 => {
                let (salt, tag) = rest.split_at_checked(16).ok_or(PhcError::Malformed)?;
                let tag = whole_tag(tag.to_vec(), ASPNET_BYTES)?;
                Self::new(Digest::Sha1, OF_VERSION_2, salt.to_vec(), tag, max)
            }
            1 => {
                let mut rest = rest;
                let (function, iterations) = (word(&mut rest)?, word(&mut rest)?);
                let length = word(&mut rest)?.try_into().map_err(|_| PhcError::Malformed)?;
                let (salt, tag) = rest.split_at_checked(length).ok_or(PhcError::Malformed)?;
                let digest = match function {
                    0 => Digest::Sha1,
                    1 => Digest::Sha256,
                    2 => Digest::Sha512,
                    _ => return Err(PhcError::Malformed),
                };
                let tag = whole_tag(tag.to_vec(), ASPNET_BYTES)?;
                Self::new(digest, iterations, salt.to_vec(), tag, max)
            }
            _ => Err(PhcError::Algorithm),
        }
    }

    fn new(
        digest: Digest,
        iterations: u32,
        salt: Vec<u8>,
        tag: Vec<u8>,
        max: u32,
    ) -> Result<Self, PhcError> {
        if iterations > max {
            return Err(excessive("iterations of PBKDF2", iterations, max));
        }
        if iterations == 0 {
            return Err(PhcError::Malformed);
        }
        Ok(Self { digest, iterations, salt: checked_salt(salt)?, tag: Tag::new(tag) })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let mut tag = Tag::new(vec![0; self.tag.len()]);
        let derive = match self.digest {
            Digest::Sha1 => pbkdf2_hmac::<Sha1>,
            Digest::Sha256 => pbkdf2_hmac::<Sha256>,
            Digest::Sha512 => pbkdf2_hmac::<Sha512>,
        };
        derive(password, &self.salt, self.iterations, &mut tag);
        is_equal(&tag, &self.tag)
    }
}

/// Takes a big-endian number.
fn word(bytes: &mut &[u8]) -> Result<u32, PhcError> {
    let (word, rest) = bytes.split_first_chunk().ok_or(PhcError::Malformed)?;
    *bytes = rest;
    Ok(u32::from_be_bytes(*word))
}
