//! Turns: of equal requests in one process, one at a time registers its account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::fields::EmailKey;
use crate::idempotency::IdempotencyKey;

/// The parts by which two requests are equal.
type Request = (EmailKey, IdempotencyKey);

/// The requests with an idempotency key that are registering an account.
///
/// Without turns two equal requests at once would both be judged: a captcha that is good
/// once would refuse the second one while the first is not stored yet.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<Request, watch::Receiver<()>>>>);

/// The turn of a request, over when dropped.
pub(super) struct Turn {
    turns: Turns,
    request: Request,
    /// Dropped after the request has left the map: whoever waits looks again then.
    _ends: watch::Sender<()>,
}

/// A wait for the end of another request's turn.
pub(super) struct Wait(watch::Receiver<()>);

impl Turns {
    /// Takes the turn for a request, unless an equal one has it.
    pub(super) fn take(&self, request: Request) -> Result<Turn, Wait> {
        let mut taken = self.lock();
        if let Some(turn) = taken.get(&request) {
            return Err(Wait(turn.clone()));
        }
        let (ends, end) = watch::channel(());
        taken.insert(request.clone(), end);
        Ok(Turn { turns: self.clone(), request, _ends: ends })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Request, watch::Receiver<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.request);
    }
}

impl Wait {
    /// Waits until the turn is over, however it ends.
    pub(super) async fn over(mut self) {
        // Nothing is ever sent: the sender's end ends this.
        let _ = self.0.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::fields::EmailProfile;

    fn request(email: &str, key: &str) -> Request {
        let email = EmailKey::parse(email, EmailProfile::Strict).unwrap();
        (email, IdempotencyKey::new(key).unwrap())
    }

    #[test]
    fn an_equal_request_waits_for_the_end_of_the_turn_and_no_other_does() {
        let (one, other) = ("0123456789abcdef", "fedcba9876543210");
        let turns = Turns::default();
        let turn = turns.take(request("a@x.co", one)).unwrap_or_else(|_| panic!());
        let others = [("a@x.co", other), ("b@x.co", one)].map(|(email, key)| request(email, key));
        for other in others {
            assert!(turns.take(other).is_ok());
        }
        let Err(wait) = turns.take(request("A@x.co", one)) else { panic!("two turns at once") };
        let mut over = pin!(wait.over());
        let mut context = Context::from_waker(Waker::noop());
        assert!(over.as_mut().poll(&mut context).is_pending());
        drop(turn);
        assert!(over.as_mut().poll(&mut context).is_ready());
        assert!(turns.take(request("a@x.co", one)).is_ok());
        assert!(turns.lock().is_empty());
    }
}
