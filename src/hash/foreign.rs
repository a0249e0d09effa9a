//! Password hashes of other systems, which are verified until they are renewed.

use std::fmt;

use subtle::ConstantTimeEq as _;

use crate::fields::Password;
use crate::issue::InvalidValue;
use crate::secret::Secret;

use super::phc::PhcError;

mod bcrypt;
mod pbkdf2;
mod phpass;
mod scrypt;

use bcrypt::Digest;

/// The maximum length of a hash: one of Firebase's has its project's key in it.
const MAX_BYTES: usize = 1024;
const MAX_SALT_BYTES: usize = 128;

/// Limits of the password hashes of other systems, which a pool verifies if it is
/// [configured to](super::HashPoolBuilder::foreign_hashes). The next log-in renews them to Argon2id.
///
/// - bcrypt: `$2a$`, `$2b$` and `$2y$`, as of Laravel, Supabase, Devise and Phoenix, Spring's
///   `{bcrypt}`, both forms of Django's, and WordPress' `$wp$2y$`.
/// - PBKDF2: Django's `pbkdf2_sha256$` and `pbkdf2_sha1$`, Werkzeug's `pbkdf2:sha256:`, passlib's
///   `$pbkdf2-sha256$29000$…`, PHC strings (`$pbkdf2-sha512$i=…`), as Keycloak's can be written,
///   and ASP.NET Identity's versions 2 and 3.
/// - scrypt: Django's `scrypt$`, Werkzeug's `scrypt:`, PHC strings (`$scrypt$ln=…`), better-auth's
///   `salt:key`, and Firebase's, as `$fbscrypt$v=1,n=14,r=8,p=1,ss=…,sk=…$salt$hash`.
/// - phpass: `$P$`, of WordPress before 6.8.
/// - Argon2id with Django's `argon2` before it, under the pool's own [limits](super::Limits).
///
/// bcrypt uses 72 bytes of a password, so that any longer one with the same beginning is right
/// too. A hash that was verified by such a password is not renewed: Argon2id would hold its
/// owner to unchecked bytes.
///
/// ```
/// use signup::fields::Password;
/// use signup::hash::{ForeignHashes, HashPool, PasswordHash, Verification};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let pool = HashPool::builder().foreign_hashes(ForeignHashes::default()).workers(1).build()?;
/// let of_django = "pbkdf2_sha256$1000$salt$Z1nTqRoeKl5Ku2ZcwHOJ8f0t3Ey6l9GxUcjGCxUqTcc=";
/// let stored = PasswordHash::from_store(of_django, None);
/// let given = Password::parse_for_login("correct horse")?;
/// assert_eq!(pool.reserve()?.verify(given, &stored).await?, Verification::Wrong);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct ForeignHashes {
    /// Maximum cost of bcrypt, as the power of two of its rounds. Default: 14, about a second.
    pub bcrypt_cost: u32,
    /// Maximum iterations of PBKDF2 and of phpass. Default: 2,000,000.
    pub pbkdf2_iterations: u32,
    /// Maximum memory of scrypt, in KiB. Default: 65,536. Each worker may need it beside its
    /// own.
    pub scrypt_memory_kib: u32,
    /// Maximum parallelism of scrypt, which is computed one after the other. Default: 8.
    pub scrypt_parallelism: u32,
    devise_pepper: Option<Secret<String>>,
}

impl Default for ForeignHashes {
    fn default() -> Self {
        Self {
            bcrypt_cost: 14,
            pbkdf2_iterations: 2_000_000,
            scrypt_memory_kib: 65_536,
            scrypt_parallelism: 8,
            devise_pepper: None,
        }
    }
}

impl ForeignHashes {
    /// Sets the pepper that Devise has put behind each password before bcrypt.
    #[must_use]
    pub fn devise_pepper(self, pepper: &str) -> Self {
        Self { devise_pepper: Some(Secret::new(pepper.to_owned())), ..self }
    }

    /// Parses a hash, within the limits.
    pub(super) fn parse(&self, text: &str) -> Result<ForeignHash, PhcError> {
        if text.len() > MAX_BYTES || !text.is_ascii() {
            return Err(PhcError::Malformed);
        }
        let bcrypt = |hash, digest| {
            let pepper = self.devise_pepper.clone();
            bcrypt::Bcrypt::parse(hash, digest, pepper, self.bcrypt_cost).map(Form::Bcrypt)
        };
        let iterations = self.pbkdf2_iterations;
        let form = if let Some(hash) = text.strip_prefix("bcrypt_sha256$") {
            bcrypt(hash, Some(Digest::Django))?
        } else if let Some(hash) = text.strip_prefix("$wp") {
            bcrypt(hash, Some(Digest::WordPress))?
        } else if text.starts_with("$2") {
            bcrypt(text, None)?
        } else if let Some(hash) =
            text.strip_prefix("bcrypt$").or_else(|| text.strip_prefix("{bcrypt}"))
        {
            bcrypt(hash, None)?
        } else if let Some(rest) = text.strip_prefix("pbkdf2_") {
            Form::Pbkdf2(pbkdf2::Pbkdf2::parse_django(rest, iterations)?)
        } else if let Some(rest) = text.strip_prefix("pbkdf2:") {
            Form::Pbkdf2(pbkdf2::Pbkdf2::parse_werkzeug(rest, iterations)?)
        } else if let Some(rest) = text.strip_prefix("$pbkdf2") {
            Form::Pbkdf2(pbkdf2::Pbkdf2::parse_phc(rest, iterations)?)
        } else if let Some(rest) = text.strip_prefix("$P$") {
            Form::Phpass(phpass::Phpass::parse(rest, iterations)?)
        } else if let Some(rest) = text.strip_prefix("scrypt:") {
            Form::Scrypt(scrypt::Scrypt::parse_werkzeug(rest, self)?)
        } else if let Some(rest) = text.strip_prefix("scrypt$") {
            Form::Scrypt(scrypt::Scrypt::parse_django(rest, self)?)
        } else if let Some(rest) = text.strip_prefix("$scrypt$") {
            Form::Scrypt(scrypt::Scrypt::parse_phc(rest, self)?)
        } else if let Some(rest) = text.strip_prefix("$fbscrypt$") {
            Form::Scrypt(scrypt::Scrypt::parse_firebase(rest, self)?)
        } else if let Some((salt, key)) = text.split_once(':') {
            Form::Scrypt(scrypt::Scrypt::parse_better_auth(salt, key, self)?)
        } else if text.starts_with('A') {
            Form::Pbkdf2(pbkdf2::Pbkdf2::parse_aspnet(text, self.pbkdf2_iterations)?)
        } else {
            return Err(PhcError::Algorithm);
        };
        Ok(ForeignHash(form))
    }
}

impl fmt::Debug for ForeignHashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignHashes")
            .field("bcrypt_cost", &self.bcrypt_cost)
            .field("pbkdf2_iterations", &self.pbkdf2_iterations)
            .field("scrypt_memory_kib", &self.scrypt_memory_kib)
            .field("scrypt_parallelism", &self.scrypt_parallelism)
            .finish_non_exhaustive()
    }
}

/// A parsed hash of another system.
pub(super) struct ForeignHash(Form);

enum Form {
    Bcrypt(bcrypt::Bcrypt),
    Pbkdf2(pbkdf2::Pbkdf2),
    Phpass(phpass::Phpass),
    Scrypt(scrypt::Scrypt),
}

impl ForeignHash {
    /// Returns whether the password is right. The bytes are those that were typed: other
    /// systems don't normalize them.
    pub(super) fn verify(&self, password: &Password) -> bool {
        match &self.0 {
            Form::Bcrypt(hash) => hash.verify(password.as_typed().as_bytes()),
            Form::Pbkdf2(hash) => hash.verify(password.as_typed().as_bytes()),
            Form::Phpass(hash) => hash.verify(password.as_typed().as_bytes()),
            Form::Scrypt(hash) => hash.verify(password),
        }
    }

    /// Returns whether every byte of the password is decided by the hash.
    pub(super) fn covers(&self, password: &Password) -> bool {
        match &self.0 {
            Form::Bcrypt(hash) => hash.covers(password.as_typed().as_bytes()),
            Form::Pbkdf2(_) | Form::Phpass(_) | Form::Scrypt(_) => true,
        }
    }
}

/// The output of a function, which is wiped.
type Tag = Secret<Vec<u8>>;

fn is_equal(derived: &[u8], stored: &[u8]) -> bool {
    derived.ct_eq(stored).into()
}

/// Decodes base64 with padding, in either alphabet.
fn from_base64(text: &str) -> Result<Vec<u8>, PhcError> {
    use base64ct::{Base64, Encoding as _};

    let mut standard = Secret::new(String::with_capacity(text.len()));
    standard.extend(text.chars().map(|digit| match digit {
        '-' => '+',
        '_' => '/',
        other => other,
    }));
    Base64::decode_vec(&standard).map_err(|_| PhcError::Malformed)
}

/// Decodes hexadecimal digits.
fn from_base16(digits: &str) -> Result<Vec<u8>, PhcError> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
        _ => None,
    };
    pairs.map(byte).collect::<Option<_>>().ok_or(PhcError::Malformed)
}

/// Checks that a tag is complete: its beginning could belong to a longer one.
fn whole_tag(tag: Vec<u8>, bytes: usize) -> Result<Vec<u8>, PhcError> {
    if tag.len() == bytes { Ok(tag) } else { Err(PhcError::Malformed) }
}

fn checked_salt(salt: Vec<u8>) -> Result<Vec<u8>, PhcError> {
    let is_salt = (1..=MAX_SALT_BYTES).contains(&salt.len());
    if is_salt { Ok(salt) } else { Err(PhcError::Malformed) }
}

/// Parses a number as it is written: without a sign, and without zeros before it.
fn number(text: &str) -> Result<u32, PhcError> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if is_decimal {
        text.parse().map_err(|_| PhcError::Malformed)
    } else {
        Err(PhcError::Malformed)
    }
}

fn excessive(what: &str, cost: impl fmt::Display, limit: impl fmt::Display) -> PhcError {
    PhcError::WorkFactor(InvalidValue::with_value(format!(
        "excessive cost of a stored hash: {cost} {what}, and the limit is {limit}"
    )))
}

#[cfg(test)]
mod tests;
