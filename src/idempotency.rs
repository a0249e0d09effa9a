//! Retries by `Idempotency-Key`: a client that lost an answer sends its request again and
//! gets the same one, see [the guide](crate::guide::retries).
//!
//! The answer is not kept anywhere. What was minted is derived again from a
//! [`ReplaySecret`], the client's [`IdempotencyKey`] and a random nonce in the row, so that
//! a copy of the database holds neither an API key nor a token.

use std::time::Duration;

use crate::clock::Timestamp;

mod derive;
mod key;
mod receipt;
mod secret;

pub(crate) use derive::Scope;
pub use key::IdempotencyKey;
pub(crate) use key::{MALFORMED, REQUIRED};
pub use receipt::Receipt;
pub use secret::{ReplaySecret, ReplaySecretError, ReplaySecrets};

/// The name of the request's header, as an issue names it.
pub const HEADER: &str = "Idempotency-Key";

/// The name of the header of an answer that was given before.
pub const REPLAYED_HEADER: &str = "idempotency-replayed";

/// The time in which a retry gets the first answer, in milliseconds.
pub(crate) const WINDOW_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// The time by which the clock of the instance that stored the account may be ahead.
const SKEW: Duration = Duration::from_mins(5);

/// Returns whether a row is less than a day old. One from a clock that is a little
/// ahead is new.
pub(crate) fn is_recent(created_at: Timestamp, now: Timestamp) -> bool {
    let age = i128::from(now.as_millis()) - i128::from(created_at.as_millis());
    (-SKEW.as_millis().cast_signed()..i128::from(WINDOW_MILLIS)).contains(&age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_answered_for_a_day() {
        let at = |minutes: i64| Timestamp::from_millis(minutes * 60_000).unwrap();
        let created_at = at(10_000);
        for (minutes, expected) in
            [(0, true), (1439, true), (1440, false), (-5, true), (-6, false), (100_000, false)]
        {
            assert_eq!(is_recent(created_at, at(10_000 + minutes)), expected, "{minutes}");
        }
    }
}
