//! Keys as PEM (RFC 7468): private ones in PKCS #8 (RFC 5958), public ones as
//! SubjectPublicKeyInfo (RFC 5280, section 4.1), as `openssl genpkey` and
//! `openssl pkey -pubout` write them.

use pkcs8::spki::SubjectPublicKeyInfoRef;
use pkcs8::{Document, ObjectIdentifier, PrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

use super::alg::{self, DerFormats};
use super::key::{KeyError, SigningKey, VerifyingKey};

impl SigningKey {
    /// Parses a private key, `-----BEGIN PRIVATE KEY-----`: Ed25519, and with their
    /// features P-256 and RSA.
    ///
    /// # Errors
    /// Returns a [`KeyError`] for another kind of PEM or key.
    ///
    /// ```
    /// use signup::token::SigningKey;
    ///
    /// // By `openssl genpkey -algorithm ed25519`.
    /// let pem = "-----BEGIN PRIVATE KEY-----
    /// MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
    /// -----END PRIVATE KEY-----
    /// ";
    /// # let pem = &pem.replace("\n    ", "\n");
    /// assert!(SigningKey::from_pem(pem).is_ok());
    /// ```
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let pem = plain(pem, "PRIVATE KEY")?;
        let (_, document) = SecretDocument::from_pem(&pem).map_err(|_| KeyError::Unusable)?;
        let key = PrivateKeyInfoRef::try_from(document.as_bytes());
        let form = form(key.map_err(|_| KeyError::Unusable)?.algorithm.oid)?;
        (form.private)(document.as_bytes())
    }
}

impl VerifyingKey {
    /// Parses a public key, `-----BEGIN PUBLIC KEY-----`, of the same kinds as
    /// [`SigningKey::from_pem`].
    ///
    /// # Errors
    /// Returns a [`KeyError`] for another kind of PEM or key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let pem = plain(pem, "PUBLIC KEY")?;
        let (_, document) = Document::from_pem(&pem).map_err(|_| KeyError::Unusable)?;
        let key = SubjectPublicKeyInfoRef::try_from(document.as_bytes());
        let form = form(key.map_err(|_| KeyError::Unusable)?.algorithm.oid)?;
        (form.public)(document.as_bytes())
    }
}

/// Returns the form of this algorithm's keys.
fn form(oid: ObjectIdentifier) -> Result<&'static DerFormats, KeyError> {
    let mut forms = alg::ALL.iter().filter_map(|forms| forms.der.as_ref());
    forms.find(|der| der.oid == oid).ok_or(KeyError::Unusable)
}

/// Normalizes a PEM: one line end after each line and no blank line. Editors, clipboards
/// and environment variables add others, and `openssl` accepts them too. A literal `\n` of
/// a variable is a line end.
fn plain(pem: &str, label: &str) -> Result<Zeroizing<String>, KeyError> {
    let pem = Zeroizing::new(pem.replace("\\n", "\n"));
    let mut plain = Zeroizing::new(String::with_capacity(pem.len() + 1));
    for line in pem.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(found) =
            line.strip_prefix("-----BEGIN ").and_then(|line| line.strip_suffix("-----"))
            && found != label
        {
            return Err(KeyError::PemLabel(found.to_owned()));
        }
        plain.push_str(line);
        plain.push('\n');
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
";

    #[test]
    fn a_pem_is_read_however_its_lines_end() {
        let spellings = [
            KEY.to_owned(),
            format!("{KEY}\n"),
            format!("\n\n{KEY} \n"),
            KEY.replace('\n', "\r\n"),
            KEY.replace("\n-----END", " \n-----END"),
            KEY.replace('\n', "\\n"),
            KEY.trim_end().to_owned(),
        ];
        for pem in spellings {
            assert!(SigningKey::from_pem(&pem).is_ok(), "{pem:?}");
        }
    }

    #[test]
    fn a_pem_of_another_form_says_what_is_expected() {
        for label in ["EC PRIVATE KEY", "RSA PRIVATE KEY", "CERTIFICATE", "PUBLIC KEY"] {
            let refused = SigningKey::from_pem(&KEY.replace("PRIVATE KEY", label)).err();
            let said = refused.map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(label) && said.contains("PKCS #8 expected"), "{said}");
        }
        assert_eq!(VerifyingKey::from_pem("no PEM").err(), Some(KeyError::Unusable));
    }
}
