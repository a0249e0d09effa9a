//! The code that verifies the address of an account. It is derived, so nothing is stored.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::fields::EmailKey;
use crate::idempotency::ReplaySecrets;
use crate::issue::BoxError;
use crate::mail::Code;

const CODE: &[u8] = b"signup 1: code of an account";
/// The parts of a code's life. In each there is another one, and the last sixty are good:
/// ten tries find one of them with a probability of 2⁻³⁰.
const WINDOWS: i64 = 60;

/// The account whose address is to be verified. Another address or generation has other
/// codes.
pub(crate) struct CodeOwner<'a> {
    pub(crate) account: &'a AccountId,
    pub(crate) email: &'a EmailKey,
    pub(crate) generation: i64,
}

impl CodeOwner<'_> {
    /// Derives the code of this moment, with the time when it expires: `lifetime` later, or
    /// up to a sixtieth of that earlier.
    ///
    /// # Errors
    /// Fails if the secret can't derive a key, or at the end of time.
    pub(crate) fn mint(
        &self,
        now: Timestamp,
        lifetime: Duration,
        secrets: &ReplaySecrets,
    ) -> Result<(Code, Timestamp), BoxError> {
        let part = part(lifetime);
        let index = now.as_millis() / part;
        let (version, _) = secrets.purpose(None, CODE).ok_or("no secret is current")?;
        let code = self.derive(version, index, secrets)?.ok_or("the secret was retired")?;
        let expires_at = Timestamp::from_millis((index + WINDOWS).saturating_mul(part))?;
        Ok((code, expires_at))
    }

    /// Returns whether this is one of the codes that are good at this moment, in a time
    /// that does not depend on which.
    ///
    /// # Errors
    /// Fails if a secret can't derive a key.
    pub(crate) fn is_code(
        &self,
        code: &Code,
        now: Timestamp,
        lifetime: Duration,
        secrets: &ReplaySecrets,
    ) -> Result<bool, BoxError> {
        let index = now.as_millis() / part(lifetime);
        let mut is_code = false;
        for version in secrets.versions() {
            for index in (index - (WINDOWS - 1))..=index {
                let derived = self.derive(version, index, secrets)?;
                is_code |= derived.is_some_and(|derived| derived.is_same(code));
            }
        }
        Ok(is_code)
    }

    fn derive(
        &self,
        version: u32,
        index: i64,
        secrets: &ReplaySecrets,
    ) -> Result<Option<Code>, BoxError> {
        let Some((_, key)) = secrets.purpose(Some(version), CODE) else { return Ok(None) };
        let mut mac = Hmac::<Sha256>::new_from_slice(&*key)?;
        for part in [self.account.as_str(), self.email.as_str()] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(&self.generation.to_be_bytes());
        mac.update(&index.to_be_bytes());
        Ok(Some(Code::of_bytes(&mac.finalize().into_bytes().into())?))
    }
}

/// Returns the length of a part in milliseconds.
fn part(lifetime: Duration) -> i64 {
    i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX) / WINDOWS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::EmailProfile;
    use crate::idempotency::ReplaySecret;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_code_is_good_for_its_life_and_for_its_owner_alone() {
        let secrets = ReplaySecrets::new(ReplaySecret::new(&[1; 32]).unwrap());
        let id = AccountId::from_store("acc_1");
        let email = EmailKey::parse("a@x.co", EmailProfile::Strict).unwrap();
        let owner = CodeOwner { account: &id, email: &email, generation: 0 };
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        for begun in [1_750_000_000_000, 1_750_000_020_001, 1_750_000_039_999] {
            let (code, expires_at) = owner.mint(at(begun), HOUR, &secrets).unwrap();
            let life = expires_at.as_millis() - begun;
            assert!((59 * 60_000 + 1..=60 * 60_000).contains(&life), "{life}");
            let is_code = |owner: &CodeOwner<'_>, millis| {
                owner.is_code(&code, at(millis), HOUR, &secrets).unwrap()
            };
            assert!(is_code(&owner, begun) && is_code(&owner, expires_at.as_millis() - 1));
            assert!(!is_code(&owner, expires_at.as_millis()));
            let other = AccountId::from_store("acc_2");
            assert!(!is_code(&CodeOwner { account: &other, ..owner }, begun));
            assert!(!is_code(&CodeOwner { generation: 1, ..owner }, begun));
            let other = EmailKey::parse("a@x.org", EmailProfile::Strict).unwrap();
            assert!(!is_code(&CodeOwner { email: &other, ..owner }, begun));
        }
    }

    #[test]
    fn a_code_outlives_a_rotation_until_its_secret_is_retired() {
        let old = ReplaySecret::new(&[1; 32]).unwrap();
        let (new, retired) = (ReplaySecret::new(&[2; 32]).unwrap(), old.version());
        let (secrets, promoted) = (ReplaySecrets::new(old), new.version());
        let id = AccountId::from_store("acc_1");
        let email = EmailKey::parse("a@x.co", EmailProfile::Strict).unwrap();
        let owner = CodeOwner { account: &id, email: &email, generation: 0 };
        let (code, _) = owner.mint(Timestamp::EPOCH, HOUR, &secrets).unwrap();
        let is_code = || owner.is_code(&code, Timestamp::EPOCH, HOUR, &secrets).unwrap();
        secrets.accept(new).unwrap();
        secrets.promote(promoted).unwrap();
        assert!(is_code());
        secrets.retire(retired).unwrap();
        assert!(!is_code());
    }
}
