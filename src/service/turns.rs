//! Turns: of equal requests in one process, one at a time registers its account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use crate::error::SignupError;
use crate::fields::EmailKey;
use crate::idempotency::IdempotencyKey;

/// The parts by which two requests are equal.
type Request = (EmailKey, IdempotencyKey);

/// The state that equal requests share, locked by the one that has the turn.
type Shared = Arc<tokio::sync::Mutex<Judged>>;

/// The findings of earlier turns.
#[derive(Default)]
pub(super) struct Judged {
    /// Whether one of them may have stored the account: then the next looks for it again.
    pub(super) may_be_stored: bool,
    /// The last password, and the stored hash that it matched or not.
    pub(super) password: Option<JudgedPassword>,
}

/// The verdict on a password, for equal requests that wait for it.
pub(super) struct JudgedPassword {
    pub(super) fingerprint: [u8; 32],
    pub(super) is_right: bool,
}

/// The requests with an idempotency key that are under way.
///
/// Without turns two equal requests at once would both be judged: a captcha that can be
/// solved once would refuse the second one while the first is not stored yet.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<Request, Shared>>>);

/// The turn of a request. It is over when dropped, and is handed to one that waits for it.
pub(super) struct Turn {
    judged: Option<OwnedMutexGuard<Judged>>,
    turns: Turns,
    request: Request,
}

impl Turns {
    /// Waits for the turn of a request, in the order of arrival.
    ///
    /// # Errors
    /// Returns [`SignupError::Busy`] after a deadline. Without a runtime it has no deadline: then
    /// the host's executor has no timer either.
    pub(super) async fn take(
        &self,
        request: Request,
        deadline: Duration,
    ) -> Result<Turn, SignupError> {
        let shared = Arc::clone(self.lock().entry(request.clone()).or_default());
        // Dropped at once if the caller leaves.
        let mut turn = Turn { judged: None, turns: self.clone(), request };
        if let Ok(judged) = Arc::clone(&shared).try_lock_owned() {
            turn.judged = Some(judged);
        } else if tokio::runtime::Handle::try_current().is_ok() {
            let waited = tokio::time::timeout(deadline, shared.lock_owned()).await;
            let late = |_| SignupError::Busy { retry_after: deadline };
            turn.judged = Some(waited.map_err(late)?);
        } else {
            turn.judged = Some(shared.lock_owned().await);
        }
        Ok(turn)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Request, Shared>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Returns the findings of earlier turns.
    pub(super) fn judged(&mut self) -> Option<&mut Judged> {
        self.judged.as_deref_mut()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.judged = None;
        let mut all = self.turns.lock();
        // The map has one, and each that waits or has the turn another.
        if all.get(&self.request).is_some_and(|shared| Arc::strong_count(shared) == 1) {
            all.remove(&self.request);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::fields::EmailProfile;

    const DEADLINE: Duration = Duration::from_secs(5);

    fn request(email: &str, key: &str) -> Request {
        let email = EmailKey::parse(email, EmailProfile::Strict).unwrap();
        (email, IdempotencyKey::new(key).unwrap())
    }

    fn poll<T>(future: &mut Pin<Box<impl Future<Output = T>>>) -> Option<T> {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_turn_is_handed_to_one_equal_request_after_the_other() {
        let (one, other) = ("0123456789abcdef", "fedcba9876543210");
        let turns = Turns::default();
        let take = |email, key| Box::pin(turns.take(request(email, key), DEADLINE));
        let mut turn = poll(&mut take("a@x.co", one)).unwrap().unwrap();
        for (email, key) in [("a@x.co", other), ("b@x.co", one)] {
            assert!(poll(&mut take(email, key)).unwrap().is_ok());
        }
        let [mut second, mut third] = [take("A@x.co", one), take("a@x.co", one)];
        assert!(poll(&mut second).is_none() && poll(&mut third).is_none());
        turn.judged().unwrap().may_be_stored = true;
        drop(turn);
        assert!(poll(&mut third).is_none(), "the second came first");
        let mut turn = poll(&mut second).unwrap().unwrap();
        assert!(turn.judged().unwrap().may_be_stored);
        drop((turn, third));
        assert!(turns.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_for_a_turn_ends_at_the_deadline() {
        let turns = Turns::default();
        let key = || request("a@x.co", "0123456789abcdef");
        let _turn = turns.take(key(), DEADLINE).await.unwrap();
        let waited = turns.take(key(), DEADLINE).await;
        assert!(matches!(waited, Err(SignupError::Busy { .. })));
    }
}
