//! A strict reader of JSON text (RFC 8259).
//!
//! Not `serde_json`, for three reasons. serde's derive accepts an array for a struct, and
//! never checks the strings and numbers that it skips. What `serde_json` makes of a number
//! depends on features that another crate of the host's tree may turn on. And a string with
//! an escape passes through a buffer that is never wiped, while here the password is written
//! once, into memory that is wiped.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::secret::Secret;

use super::JsonType;

/// The maximum nesting of a field.
const MAX_DEPTH: usize = 127;

/// The error of malformed JSON. Position and cause are not kept, because the answer does
/// not show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

type Result<T> = std::result::Result<T, Malformed>;

/// A position in the text. Each method reads what its name says and moves past it.
pub(super) struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// Returns the type of the next value without moving.
    pub(super) fn kind(&mut self) -> Result<JsonType> {
        self.space();
        match self.peek() {
            Some(b'{') => Ok(JsonType::Object),
            Some(b'[') => Ok(JsonType::Array),
            Some(b'"') => Ok(JsonType::String),
            Some(b't' | b'f') => Ok(JsonType::Boolean),
            Some(b'n') => Ok(JsonType::Null),
            Some(b'-' | b'0'..=b'9') => Ok(JsonType::Number),
            _ => Err(Malformed),
        }
    }

    /// Checks that only white space is left.
    pub(super) fn end(&mut self) -> Result<()> {
        self.space();
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    /// Reads an object with unique keys. `field` reads each value.
    pub(super) fn object(
        &mut self,
        mut field: impl FnMut(&str, &mut Self) -> Result<()>,
    ) -> Result<()> {
        let mut seen = BTreeSet::new();
        self.expect(b'{')?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            field(&key, self)?;
            if !seen.insert(key) {
                return Err(Malformed);
            }
            if !self.comma_or(b'}')? {
                return Ok(());
            }
        }
    }

    /// Skips any value, but checks it. Open brackets are kept in a list, so that no nesting
    /// overflows the stack.
    pub(super) fn value(&mut self) -> Result<()> {
        let mut closers: Vec<u8> = Vec::new();
        loop {
            let opened = match self.kind()? {
                JsonType::Object => Some(b'}'),
                JsonType::Array => Some(b']'),
                scalar => {
                    self.scalar(scalar)?;
                    None
                }
            };
            if let Some(closer) = opened {
                self.rest = self.rest.get(1..).unwrap_or_default();
                if !self.take(closer) {
                    closers.push(closer);
                    if closers.len() > MAX_DEPTH {
                        return Err(Malformed);
                    }
                    self.key_in(closer)?;
                    continue;
                }
                if closers.len() == MAX_DEPTH {
                    return Err(Malformed);
                }
            }
            // A value is complete, and with it perhaps the brackets around it.
            loop {
                let Some(&closer) = closers.last() else {
                    return Ok(());
                };
                if self.comma_or(closer)? {
                    self.key_in(closer)?;
                    break;
                }
                closers.pop();
            }
        }
    }

    /// Reads a string, unescaped into memory that is wiped and does not grow: an escape is
    /// never shorter than its character.
    pub(super) fn string(&mut self) -> Result<Secret<String>> {
        self.raw_string().and_then(unescaped)
    }

    /// Reads the text between the quotes, with its escapes unchecked.
    fn raw_string(&mut self) -> Result<&'a str> {
        self.expect(b'"')?;
        let mut bytes = self.rest.bytes().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    let (raw, rest) = self.rest.split_at_checked(at).ok_or(Malformed)?;
                    self.rest = rest.get(1..).ok_or(Malformed)?;
                    return Ok(raw);
                }
                b'\\' => drop(bytes.next()),
                0..0x20 => return Err(Malformed),
                _ => {}
            }
        }
        Err(Malformed)
    }

    fn scalar(&mut self, kind: JsonType) -> Result<()> {
        match kind {
            JsonType::String => self.string().map(drop),
            JsonType::Number => self.number(),
            JsonType::Null => self.literal("null"),
            _ => self.literal("true").or_else(|Malformed| self.literal("false")),
        }
    }

    fn literal(&mut self, literal: &str) -> Result<()> {
        self.rest = self.rest.strip_prefix(literal).ok_or(Malformed)?;
        Ok(())
    }

    /// Reads a number that fits a double, unlike `1e999`. The grammar is RFC 8259, section
    /// 6.
    fn number(&mut self) -> Result<()> {
        let start = self.rest;
        self.skip(b'-');
        if !self.skip(b'0') {
            self.digits()?;
        }
        if self.skip(b'.') {
            self.digits()?;
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _ = self.skip(b'+') || self.skip(b'-');
            self.digits()?;
        }
        let length = start.len() - self.rest.len();
        let number = start.get(..length).and_then(|number| number.parse::<f64>().ok());
        if number.is_some_and(f64::is_finite) { Ok(()) } else { Err(Malformed) }
    }

    fn digits(&mut self) -> Result<()> {
        let after = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        if after.len() == self.rest.len() {
            return Err(Malformed);
        }
        self.rest = after;
        Ok(())
    }

    fn key(&mut self) -> Result<Cow<'a, str>> {
        self.space();
        let raw = self.raw_string()?;
        self.expect(b':')?;
        if raw.contains('\\') {
            unescaped(raw).map(|key| Cow::Owned(key.to_string()))
        } else {
            Ok(Cow::Borrowed(raw))
        }
    }

    /// Reads a key if `closer` closes an object.
    fn key_in(&mut self, closer: u8) -> Result<()> {
        if closer == b'}' { self.key().map(drop) } else { Ok(()) }
    }

    /// Reads a comma, or `closer`; returns whether another element follows.
    fn comma_or(&mut self, closer: u8) -> Result<bool> {
        if self.take(b',') {
            Ok(true)
        } else if self.take(closer) {
            Ok(false)
        } else {
            Err(Malformed)
        }
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.take(byte) { Ok(()) } else { Err(Malformed) }
    }

    /// Reads an ASCII byte and the white space before it, if it is next.
    fn take(&mut self, byte: u8) -> bool {
        self.space();
        self.skip(byte)
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        found
    }

    fn peek(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    fn space(&mut self) {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let length = self.rest.as_bytes().iter().take_while(|byte| is_space(byte)).count();
        self.rest = self.rest.get(length..).unwrap_or_default();
    }
}

fn unescaped(raw: &str) -> Result<Secret<String>> {
    let mut text = Secret::new(String::with_capacity(raw.len()));
    let mut rest = raw;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        text.push_str(plain);
        let (c, after) = unescape(escaped)?;
        text.push(c);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// Decodes an escape after its backslash; returns the character and the rest.
fn unescape(escaped: &str) -> Result<(char, &str)> {
    let (letter, rest) = escaped.split_at_checked(1).ok_or(Malformed)?;
    let c = match letter {
        "\"" | "\\" | "/" => letter.chars().next().ok_or(Malformed)?,
        "b" => '\u{8}',
        "f" => '\u{c}',
        "n" => '\n',
        "r" => '\r',
        "t" => '\t',
        "u" => return unescape_unicode(rest),
        _ => return Err(Malformed),
    };
    Ok((c, rest))
}

/// Decodes `\u` and four hexadecimal digits, or a pair of them beyond the basic plane. A
/// lone surrogate is an error.
fn unescape_unicode(escaped: &str) -> Result<(char, &str)> {
    let (first, rest) = code_unit(escaped)?;
    if let Some(c) = char::from_u32(first.into()) {
        return Ok((c, rest));
    }
    let low = rest.strip_prefix("\\u").ok_or(Malformed)?;
    let (second, rest) = code_unit(low)?;
    match char::decode_utf16([first, second]).next() {
        Some(Ok(c)) => Ok((c, rest)),
        _ => Err(Malformed),
    }
}

fn code_unit(escaped: &str) -> Result<(u16, &str)> {
    let (digits, rest) = escaped.split_at_checked(4).ok_or(Malformed)?;
    // `from_str_radix` would also accept a sign.
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Malformed);
    }
    let unit = u16::from_str_radix(digits, 16).map_err(|_| Malformed)?;
    Ok((unit, rest))
}
