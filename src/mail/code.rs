//! The code that a mail carries.

use subtle::ConstantTimeEq as _;

use crate::issue::InvalidValue;
use crate::random::{Entropy, RandomError};
use crate::secret::Secret;

/// The digits of Crockford's base32: no `I`, `L`, `O` and `U`.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// The number of digits, of five bits each.
const DIGITS: usize = 8;

/// A code of eight digits of Crockford's base32, 40 random bits. It is wiped when dropped,
/// and shown by `Debug` as `_`.
///
/// ```
/// use signup::mail::Code;
///
/// let code = Code::parse("7hxw 3k9p").unwrap();
/// assert_eq!(code.reveal(), "7HXW3K9P");
/// assert_eq!(Code::parse("O1L0-OOIl"), Code::parse("0110-0011"));
/// assert!(Code::parse("7HXW-3K9").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code(Secret<String>);

impl Code {
    /// Reads a code as people type or paste it: without regard to case and to anything but
    /// letters and digits, in full width, too; `O` is `0`, and `I` and `L` are `1`.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] for anything but eight digits.
    pub fn parse(typed: &str) -> Result<Self, InvalidValue> {
        let mut code = Secret::new(String::with_capacity(DIGITS));
        for character in typed.chars().map(halfwidth).filter(|it| it.is_alphanumeric()) {
            let digit = match character.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            let is_digit = u8::try_from(digit).is_ok_and(|digit| ALPHABET.contains(&digit));
            if !is_digit || code.len() == DIGITS {
                return Err(InvalidValue::new("malformed code"));
            }
            code.push(digit);
        }
        if code.len() == DIGITS { Ok(Self(code)) } else { Err(InvalidValue::new("malformed code")) }
    }

    pub(crate) fn mint(draw: &mut Entropy) -> Result<Self, RandomError> {
        let mut code = Secret::new(String::with_capacity(DIGITS));
        draw.digits(ALPHABET, DIGITS, &mut code)?;
        Ok(Self(code))
    }

    /// Creates a code of the first 40 bits.
    pub(crate) fn of_bytes(bytes: &[u8; 32]) -> Result<Self, RandomError> {
        let mut code = Secret::new(String::with_capacity(DIGITS));
        let bits = bytes.iter().take(5).fold(0, |bits, byte| (bits << 8) | u64::from(*byte));
        for digit in (0..DIGITS).rev() {
            let at = usize::try_from((bits >> (5 * digit)) & 31).ok();
            let digit = at.and_then(|at| ALPHABET.get(at)).ok_or(RandomError::Failed)?;
            code.push(char::from(*digit));
        }
        Ok(Self(code))
    }

    /// Compares two codes in constant time.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }

    /// Returns the eight digits.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the digits in two groups: `7HXW-3K9P`.
    pub fn reveal_grouped(&self) -> String {
        let (first, second) = self.0.split_at(DIGITS / 2);
        format!("{first}-{second}")
    }
}

/// Returns the ASCII character of a full-width form (U+FF01 to U+FF5E).
fn halfwidth(character: char) -> char {
    match character {
        '\u{ff01}'..='\u{ff5e}' => {
            char::from_u32(u32::from(character) - 0xfee0).unwrap_or(character)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{SeededRandom, SystemRandom};

    #[test]
    fn a_code_is_read_as_people_type_it() {
        for typed in [
            "7HXW3K9P",
            "7hxw3k9p",
            " 7HXW-3K9P\r\n",
            "7 H X W 3 K 9 P",
            "7HXW\u{2011}3K9P",
            "7HXW\u{a0}3K9P",
            "\u{200e}7HXW\u{2060}\u{ad}3K9P\u{feff}",
            "7HXW\u{2212}3K9P.",
            "\u{201e}7HXW_3K9P\u{201c}",
            "\u{ff17}\u{ff28}XW\u{ff0d}3K9P",
        ] {
            assert_eq!(Code::parse(typed).unwrap().reveal(), "7HXW3K9P", "{typed:?}");
        }
        let words = "Your code: 7HXW3K9P";
        for refused in ["", "7HXW3K9", "7HXW3K9PP", "7HXW3K9U", "7HXW3K9\u{e9}", words] {
            assert!(Code::parse(refused).is_err(), "{refused:?}");
        }
        assert_eq!(Code::parse("oOiIlL00").unwrap().reveal(), "00111100");
    }

    #[test]
    fn a_minted_code_is_read_back_and_every_digit_occurs() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let code = Code::mint(&mut Entropy::draw(&SystemRandom).unwrap()).unwrap();
            assert_eq!(Code::parse(&code.reveal_grouped()).unwrap(), code);
            seen.extend(code.reveal().bytes());
        }
        assert_eq!(seen.len(), ALPHABET.len());
        let seeded = || Code::mint(&mut Entropy::draw(&SeededRandom::new(7)).unwrap()).unwrap();
        assert_eq!(seeded(), seeded());
        assert_eq!(format!("{:?}", seeded()), "Code(_)");
    }
}
