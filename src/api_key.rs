//! API keys: a prefix for secret scanners, random digits, and a checksum.

use sha2::{Digest, Sha256};

use crate::issue::InvalidValue;
use crate::random::{Entropy, RandomError};
use crate::secret::{Secret, with_wiped_stack};

mod digest;
#[cfg(feature = "foreign-credentials")]
mod foreign;
mod prefix;

pub use digest::{ApiKeyDigest, ApiKeyId};
#[cfg(feature = "foreign-credentials")]
pub use foreign::ForeignApiKeys;
pub use prefix::ApiKeyPrefix;

/// Random digits: 30 of 62, which is 178 bits.
const RANDOM_DIGITS: usize = 30;
/// Digits of the checksum: 62⁶ exceeds 2³², so it always fits.
const CHECKSUM_DIGITS: usize = 6;
/// Random digits in the display prefix. 26 stay secret, 154 bits; the last four digits
/// belong to the checksum and reveal up to 24 of these.
const SHOWN_DIGITS: usize = 4;
/// Digits of the end that a list shows: they belong to the checksum.
const LAST_DIGITS: usize = 4;
const MALFORMED: InvalidValue = InvalidValue::new("malformed API key");
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An API key, shown once, in the answer to the request that minted it.
///
/// It consists of a prefix, 30 random base62 digits, and the CRC-32 (ISO-HDLC) of both in
/// six base62 digits, so that a typo is detected without a query. It is wiped when dropped,
/// and can't be cloned or printed.
#[derive(Debug)]
pub struct ApiKey(Secret<String>);

impl ApiKey {
    pub(crate) fn mint(prefix: &ApiKeyPrefix, draw: &mut Entropy) -> Result<Self, RandomError> {
        let length = prefix.as_str().len() + RANDOM_DIGITS + CHECKSUM_DIGITS;
        let mut key = Secret::new(String::with_capacity(length));
        key.push_str(prefix.as_str());
        draw.digits(ALPHABET, RANDOM_DIGITS, &mut key)?;
        let checksum = checksum(&key);
        key.extend(checksum.map(char::from));
        Ok(Self(key))
    }

    /// Parses a presented key. Checks prefix, length, alphabet and checksum, so that typos
    /// are rejected without a query. A key that parses may still not exist.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] for a malformed key.
    ///
    /// ```
    /// use signup::api_key::{ApiKey, ApiKeyPrefix};
    ///
    /// let prefix = ApiKeyPrefix::default();
    /// assert!(ApiKey::parse("rag_live_000000000000000000000000000000000000", &prefix).is_err());
    /// ```
    pub fn parse(presented: &str, prefix: &ApiKeyPrefix) -> Result<Self, InvalidValue> {
        let digits = presented.strip_prefix(prefix.as_str()).ok_or(MALFORMED)?;
        let in_alphabet = digits.bytes().all(|digit| digit.is_ascii_alphanumeric());
        if digits.len() != RANDOM_DIGITS + CHECKSUM_DIGITS || !in_alphabet {
            return Err(MALFORMED);
        }
        // All of it is ASCII, so any index is a character boundary.
        let (body, digits) = presented.split_at(presented.len() - CHECKSUM_DIGITS);
        if digits.as_bytes() != checksum(body) {
            return Err(MALFORMED);
        }
        Ok(Self(Secret::new(presented.to_owned())))
    }

    /// Returns the key itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the digest, which is what a store keeps.
    pub fn digest(&self) -> ApiKeyDigest {
        with_wiped_stack(|| ApiKeyDigest::from_octets(Sha256::digest(self.0.as_bytes()).into()))
    }

    /// Returns the last four digits, which belong to the checksum, for a list of keys.
    pub fn last_four(&self) -> &str {
        let shown = self.0.len().saturating_sub(LAST_DIGITS);
        self.0.get(shown..).unwrap_or_default()
    }

    /// Returns the prefix and four random digits, for a list of keys.
    pub fn display_prefix(&self) -> &str {
        let hidden = RANDOM_DIGITS - SHOWN_DIGITS + CHECKSUM_DIGITS;
        let shown = self.0.len().saturating_sub(hidden);
        self.0.get(..shown).unwrap_or_default()
    }
}

/// Returns the CRC-32 of `text` in base62, the most significant digit first.
#[expect(clippy::indexing_slicing, reason = "a remainder is less than its divisor")]
fn checksum(text: &str) -> [u8; CHECKSUM_DIGITS] {
    let mut rest = crc32fast::hash(text.as_bytes()) as usize;
    let mut digits = [b'0'; CHECKSUM_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[rest % ALPHABET.len()];
        rest /= ALPHABET.len();
    }
    digits
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::random::{SeededRandom, SystemRandom};

    #[test]
    fn a_longer_key_is_none_though_its_checksum_is_right() {
        let prefix = ApiKeyPrefix::default();
        for digits in [RANDOM_DIGITS - 1, RANDOM_DIGITS, RANDOM_DIGITS + 1] {
            let mut key = format!("{}{}", prefix.as_str(), "0".repeat(digits));
            key.extend(checksum(&key).map(char::from));
            assert_eq!(ApiKey::parse(&key, &prefix).is_ok(), digits == RANDOM_DIGITS, "{key}");
        }
    }

    proptest! {
        /// Any change of one character, any swap of two, any cut or addition.
        #[test]
        fn k02_nothing_but_a_minted_key_has_its_form(
            seed: u64, at in 0usize..45, to in 0usize..45, with in "[0-9A-Za-z_]", how in 0..4,
        ) {
            let minted = mint(seed);
            let mut key: Vec<char> = minted.reveal().chars().collect();
            let with = with.chars().next().unwrap();
            match how {
                0 => key[at] = with,
                1 => key.swap(at, to),
                2 => drop(key.remove(at)),
                _ => key.insert(at, with),
            }
            let key: String = key.into_iter().collect();
            prop_assert_eq!(parse(&key).is_ok(), key == minted.reveal());
        }
    }

    fn mint(seed: u64) -> ApiKey {
        let mut draw = Entropy::draw(&SeededRandom::new(seed)).unwrap();
        ApiKey::mint(&ApiKeyPrefix::default(), &mut draw).unwrap()
    }

    #[test]
    fn k01_a_key_has_the_documented_form() {
        let key = mint(1);
        let digits = key.reveal().strip_prefix("rag_live_").unwrap();
        assert_eq!(digits.len(), 36);
        assert!(digits.bytes().all(|digit| digit.is_ascii_alphanumeric()));
        assert_eq!(key.display_prefix(), &key.reveal()[.."rag_live_".len() + 4]);
    }

    #[test]
    fn the_checksum_is_over_all_before_it() {
        // CRC-32/ISO-HDLC of "123456789" is 0xCBF43926, its check value in the
        // catalogue of CRC algorithms; 3421780262 is 3jZRME in base62.
        assert_eq!(&checksum("123456789"), b"3jZRME");
        assert_eq!(&checksum(""), b"000000");
        let key = mint(2);
        let (body, digits) = key.reveal().split_at(9 + RANDOM_DIGITS);
        assert_eq!(checksum(body), digits.as_bytes());
    }

    fn parse(text: &str) -> Result<ApiKeyDigest, InvalidValue> {
        ApiKey::parse(text, &ApiKeyPrefix::default()).map(|key| key.digest())
    }

    #[test]
    fn k02_what_is_mistyped_is_refused_without_a_look() {
        for seed in 0..20 {
            let key = mint(seed);
            let right = key.reveal();
            assert_eq!(parse(right), Ok(key.digest()));
            for at in 0..right.len() {
                for other in ALPHABET.iter().chain(b"_-").map(|digit| char::from(*digit)) {
                    let changed = format!("{}{other}{}", &right[..at], &right[at + 1..]);
                    assert_eq!(parse(&changed).is_ok(), changed == right, "{changed}");
                }
                let mut swapped = right.as_bytes().to_vec();
                swapped.swap(at, (at + 1) % right.len());
                let swapped = String::from_utf8(swapped).unwrap();
                assert_eq!(parse(&swapped).is_ok(), swapped == right, "{swapped}");
            }
        }
    }

    #[test]
    fn k03_k04_k05_k07_other_forms_are_refused() {
        let key = mint(5);
        let right = key.reveal();
        for length in 0..right.len() {
            assert!(parse(&right[..length]).is_err());
            assert!(parse(&right[length + 1..]).is_err());
        }
        let digits = &right["rag_live_".len()..];
        for prefix in ["rag_test_", "RAG_LIVE_", "Rag_live_", "rag-live-", "", "rag_live__"] {
            assert!(parse(&format!("{prefix}{digits}")).is_err(), "{prefix}");
        }
        for extra in [" ", "\n", "\0", "x", "%", "\u{200b}"] {
            assert!(parse(&format!("{right}{extra}")).is_err());
            assert!(parse(&format!("{extra}{right}")).is_err());
        }
        for lookalike in ["\u{430}", "\u{ff10}", "%", "_"] {
            assert!(parse(&format!("rag_live_{lookalike}{}", &digits[lookalike.len()..])).is_err());
        }
    }

    #[test]
    fn k13_a_million_keys_are_a_million_and_each_has_160_bits() {
        let keys = (0..1_000_000).map(|_| {
            let mut draw = Entropy::draw(&SystemRandom).unwrap();
            ApiKey::mint(&ApiKeyPrefix::default(), &mut draw).unwrap().digest()
        });
        let digests: HashSet<[u8; 32]> = keys.map(|digest| *digest.as_bytes()).collect();
        assert_eq!(digests.len(), 1_000_000);
        let digits = f64::from(u32::try_from(RANDOM_DIGITS).unwrap());
        let bits = digits * f64::from(u32::try_from(ALPHABET.len()).unwrap()).log2();
        assert!(bits >= 160.0, "{bits}");
    }

    #[test]
    fn k06_a_stored_digest_is_no_key() {
        let hex: String = mint(6).digest().as_bytes().iter().map(|b| format!("{b:02x}")).collect();
        for stored in [&*hex, &format!("rag_live_{hex}"), &format!("rag_live_{}", &hex[..36])] {
            assert!(parse(stored).is_err());
        }
    }

    #[test]
    fn what_a_scanner_looks_for_is_what_is_minted() {
        let other = ApiKeyPrefix::new("acme", "test").unwrap();
        for prefix in [ApiKeyPrefix::default(), other] {
            let pattern = regex::Regex::new(&prefix.pattern()).unwrap();
            let mut rules: toml::Table = prefix.gitleaks_rule().parse().unwrap();
            let rule = rules.remove("rules").unwrap()[0].clone();
            assert_eq!(rule["regex"].as_str(), Some(pattern.as_str()));
            assert_eq!(rule["keywords"][0].as_str(), Some(prefix.as_str()));
            for seed in 0..100 {
                let mut draw = Entropy::draw(&SeededRandom::new(seed)).unwrap();
                let key = ApiKey::mint(&prefix, &mut draw).unwrap();
                for around in ["{}", "key={}", "\"{}\",", "https://x.co/?k={}&a=b", "({})\n"] {
                    let text = around.replace("{}", key.reveal());
                    let found: Vec<_> = pattern.find_iter(&text).map(|hit| hit.as_str()).collect();
                    assert_eq!(found, [key.reveal()]);
                }
                assert!(!pattern.is_match(&key.reveal()[1..]));
                assert!(!pattern.is_match(&key.reveal()[..key.reveal().len() - 1]));
                assert_eq!(key.last_four(), &key.reveal()[key.reveal().len() - 4..]);
            }
        }
    }

    #[test]
    fn the_memory_of_a_key_never_grows() {
        let key = mint(3);
        assert_eq!(key.0.capacity(), key.0.len());
    }

    #[test]
    fn only_the_digest_is_kept() {
        let key = mint(4);
        assert_eq!(*key.digest().as_bytes(), <[u8; 32]>::from(Sha256::digest(key.reveal())));
        assert_eq!(format!("{key:?} {:?}", key.digest()), "ApiKey(_) ApiKeyDigest(_)");
    }
}
