//! Mails without a code: one of a kind for an address within an hour, and the next one reports
//! how many were joined into it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::counters::CAPACITY;
use crate::fields::EmailKey;
use crate::mail::{Mail, MailKind};

const HOUR: Duration = Duration::from_hours(1);

/// The last mails without a code, by address and kind.
pub(super) struct Joined {
    clock: Arc<dyn Clock>,
    last: Mutex<HashMap<(EmailKey, MailKind), Last>>,
}

struct Last {
    /// The monotonic time from which on the next one may go.
    until: Duration,
    /// The mails that are joined into the next one.
    joined: u32,
}

impl Joined {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: Mutex::default() }
    }

    /// Returns the mail if it may go, with the number of those that it stands for.
    pub(super) fn join(&self, mail: Mail) -> Option<Mail> {
        if mail.reveal_code().is_some() {
            return Some(mail);
        }
        let now = self.clock.monotonic();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (mail.to().key().clone(), mail.kind());
        match last.get_mut(&key) {
            Some(last) if last.until > now => {
                last.joined = last.joined.saturating_add(1);
                return None;
            }
            _ => {}
        }
        let joined = last.remove(&key).map_or(0, |last| last.joined);
        if last.len() >= CAPACITY {
            last.retain(|_, last| last.until > now);
        }
        // A table that is full joins no more.
        if last.len() < CAPACITY {
            last.insert(key, Last { until: now + HOUR, joined: 0 });
        }
        Some(mail.standing_for(joined.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::fields::{Email, EmailProfile};

    #[test]
    fn mails_of_an_hour_are_joined_into_the_next_one() {
        let clock = ManualClock::at_unix(0);
        let joined = Joined::new(Arc::new(clock.clone()));
        let join = |address: &str, kind| {
            let to = Email::parse(address, EmailProfile::Strict).unwrap();
            joined.join(Mail::without_code(kind, to)).map(|mail| mail.occurrences())
        };
        let (exists, verified) = (MailKind::AccountExists, MailKind::AlreadyVerified);
        assert_eq!(join("kim@x.co", exists), Some(1));
        assert_eq!(join("kim@x.co", exists), None);
        assert_eq!(join("KIM@x.co", exists), None);
        // Another kind, and another address.
        assert_eq!(join("kim@x.co", verified), Some(1));
        assert_eq!(join("jim@x.co", exists), Some(1));
        clock.advance(HOUR);
        assert_eq!(join("kim@x.co", exists), Some(3));
        assert_eq!(join("kim@x.co", exists), None);
        clock.advance(HOUR);
        assert_eq!(join("kim@x.co", exists), Some(2));
    }
}
