//! The strength of a password, as zxcvbn estimates it.

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::error::BoxError;
use crate::hash::{HashError, PoolFull};
use crate::policy::{Attempt, Occasion, SignupPolicy, Verdict};

use super::{CHOICES, FIELD};

/// The number of characters that zxcvbn is given at a time. With more it takes seconds, and
/// its numbers overflow: the factorial of more than 20 parts exceeds 64 bits.
const WINDOW: usize = 20;
/// The shortest period of a repetition that is removed. Shorter ones also repeat by a
/// multiple of it, and words such as *letter* have them by nature.
const PERIOD: usize = 4;

/// Requires this score of zxcvbn, 0 to 4. The email and the name count as known to an
/// attacker.
///
/// zxcvbn scores 20 characters at a time, which bounds the cost of a sign-up for any
/// password. The first 20 characters of a longer password are scored; if they are too easy,
/// so is every other part of 20, after the email, the name and repetitions were removed.
/// The best score counts. All of it runs on the threads of the hash pool, where a hostile
/// password takes as long as a few hashes.
///
/// zxcvbn works on copies of the password that are never wiped.
#[derive(Debug, Clone, Copy)]
pub struct PasswordStrength(pub u8);

#[async_trait]
impl SignupPolicy for PasswordStrength {
    async fn evaluate(&self, attempt: &Attempt<'_>) -> Result<Verdict, BoxError> {
        let Self(least) = *self;
        let password = Zeroizing::new(attempt.reveal_password().to_owned());
        let email = attempt.email().as_str().to_owned();
        let name = attempt.name().unwrap_or_default().to_owned();
        let permit = match attempt.hash_pool().reserve() {
            Ok(permit) => permit,
            Err(full) => return busy(full),
        };
        let score = permit.run(move || {
            let local_part = email.split('@').next().unwrap_or_default();
            score(&password, &[&email, local_part, &name], least)
        });
        match score.await {
            Ok(score) if score < least => {
                Ok(Verdict::invalid(FIELD, "Password is too easy to guess"))
            }
            Ok(_) => Ok(Verdict::Allow),
            Err(HashError::Late(full)) => busy(full),
            Err(error) => Err(error.into()),
        }
    }

    fn occasions(&self) -> &[Occasion] {
        CHOICES
    }
}

/// Returns the verdict without a permit. A pool that is shut down will not have one later.
fn busy(full: PoolFull) -> Result<Verdict, BoxError> {
    if full.closed {
        return Err(full.into());
    }
    Ok(Verdict::Busy { retry_after: full.retry_after })
}

/// Returns the score of the first part that reaches `least`, or else the best score.
fn score(password: &str, known: &[&str], least: u8) -> u8 {
    let chars: Zeroizing<Vec<char>> = Zeroizing::new(password.chars().collect());
    let estimate = |part: &[char]| {
        let part: Zeroizing<String> = Zeroizing::new(part.iter().collect());
        u8::from(zxcvbn::zxcvbn(&part, known).score())
    };
    let mut best = estimate(chars.get(..WINDOW).unwrap_or(&chars));
    if chars.len() > WINDOW && best < least {
        let rest = known.iter().fold(chars, |rest, known| without(&rest, known));
        let rest = without_repetitions(&rest);
        for part in windows(&rest) {
            best = best.max(estimate(part));
            if best >= least {
                break;
            }
        }
    }
    best
}

/// Returns consecutive parts of [`WINDOW`] characters; the last one ends with the password.
fn windows(chars: &[char]) -> impl Iterator<Item = &[char]> {
    let last = chars.get(chars.len().saturating_sub(WINDOW)..);
    chars.chunks_exact(WINDOW).chain(last)
}

/// Removes what an attacker knows, ignoring case: a window that splits it would not
/// recognize it.
fn without(chars: &[char], known: &str) -> Zeroizing<Vec<char>> {
    let known: Vec<char> = known.chars().collect();
    let mut kept = Zeroizing::new(Vec::with_capacity(chars.len()));
    let mut rest = chars;
    while let Some((first, after)) = rest.split_first() {
        rest = match rest.split_at_checked(known.len()) {
            Some((head, tail)) if !known.is_empty() && same_in_any_case(head, &known) => tail,
            _ => {
                kept.push(*first);
                after
            }
        };
    }
    kept
}

fn same_in_any_case(one: &[char], other: &[char]) -> bool {
    let lower =
        |chars: &[char]| chars.iter().flat_map(|char| char.to_lowercase()).collect::<Vec<_>>();
    lower(one) == lower(other)
}

/// Keeps one of each run of repetitions: a window may begin inside of one, where it is no
/// word.
fn without_repetitions(chars: &[char]) -> Zeroizing<Vec<char>> {
    let mut kept = Zeroizing::new(Vec::with_capacity(chars.len()));
    for char in chars {
        kept.push(*char);
        let length = kept.len();
        let is_repeated = |period: &usize| {
            let (before, last) = kept.split_at(length - period);
            before.ends_with(last)
        };
        if let Some(period) = (PERIOD..=length / 2).find(is_repeated) {
            kept.truncate(length - period);
        }
    }
    kept
}
