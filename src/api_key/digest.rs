//! The digest of an API key, and its public id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::issue::InvalidValue;

use super::MALFORMED;

const ID_PREFIX: &str = "key_";
/// Bytes of an id: 80 bits distinguish the keys of one account.
const ID_BYTES: usize = 10;

const INVALID_ID: InvalidValue =
    InvalidValue::new("invalid API key id: needs `key_` and 20 lower-case hexadecimal digits");

/// The SHA-256 of an API key. A plain digest is enough, because 178 random bits can't be
/// guessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiKeyDigest([u8; 32]);

impl ApiKeyDigest {
    pub(super) const fn from_octets(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// Creates a digest from what a store has kept.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] if it is not 32 bytes long.
    pub fn from_store(octets: &[u8]) -> Result<Self, InvalidValue> {
        octets.try_into().map(Self).map_err(|_| MALFORMED)
    }

    /// Returns the bytes, for the store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the id under which the key is listed, rotated and revoked.
    #[expect(clippy::indexing_slicing, reason = "an id is shorter than a digest")]
    pub fn key_id(&self) -> ApiKeyId {
        ApiKeyId(std::array::from_fn(|at| self.0[at]))
    }
}

impl fmt::Debug for ApiKeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyDigest(_)")
    }
}

/// The public id of an API key: `key_` and the first ten bytes of its digest in lower-case
/// hexadecimal. It grants nothing.
///
/// ```
/// use signup::api_key::ApiKeyId;
///
/// let id: ApiKeyId = "key_00112233445566778899".parse().unwrap();
/// assert_eq!(id.to_string(), "key_00112233445566778899");
/// assert!("key_0011".parse::<ApiKeyId>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiKeyId([u8; ID_BYTES]);

impl ApiKeyId {
    /// Returns the first bytes of the digest, for the store.
    pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }
}

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ID_PREFIX)?;
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl Serialize for ApiKeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Parsed like [`FromStr`], for the path of a route.
impl<'de> Deserialize<'de> for ApiKeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for ApiKeyId {
    type Err = InvalidValue;

    fn from_str(id: &str) -> Result<Self, InvalidValue> {
        let digits = id.strip_prefix(ID_PREFIX).ok_or(INVALID_ID)?;
        // `from_str_radix` would also accept a sign and capitals.
        let in_alphabet = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if digits.len() != 2 * ID_BYTES || !in_alphabet {
            return Err(INVALID_ID);
        }
        let number = u128::from_str_radix(digits, 16).map_err(|_| INVALID_ID)?;
        let octets = number.to_be_bytes().last_chunk().copied();
        octets.map(Self).ok_or(INVALID_ID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_and_nothing_else_is_one() {
        let digest = ApiKeyDigest(std::array::from_fn(|at| u8::try_from(at * 7).unwrap()));
        let id = digest.key_id();
        assert_eq!(id.as_bytes()[..], digest.as_bytes()[..10]);
        assert_eq!(id.to_string().parse(), Ok(id));
        let right = id.to_string();
        for wrong in ["", "key_", &right[1..], &right[..23], &right.to_uppercase(), "key_+1"] {
            assert_eq!(wrong.parse::<ApiKeyId>(), Err(INVALID_ID), "{wrong}");
        }
        assert!(format!("{right}0").parse::<ApiKeyId>().is_err());
        assert!("key_+0000000000000000001".parse::<ApiKeyId>().is_err());
        assert_eq!(
            "key_0000000000000000000a".parse(),
            Ok(ApiKeyId([0, 0, 0, 0, 0, 0, 0, 0, 0, 10]))
        );
    }
}
