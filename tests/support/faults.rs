//! A store that does as it is told, and a source of randomness that does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use signup::fields::EmailKey;
use signup::random::{RandomError, SecureRandom, SystemRandom};
use signup::store::{AccountStore, CreateOutcome, NewAccount, StoreError};
use tokio::sync::Barrier;

/// The behaviour of a [`Faulty`] store at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Unavailable,
    OutcomeUnknown,
    Failed,
    Panic,
    /// Never answers.
    Hang,
    /// Works, and then loses its answer.
    LoseAnswer,
}

impl Fault {
    async fn strike<T>(self, call: impl Future<Output = T>) -> Result<T, StoreError> {
        Err(match self {
            Self::Unavailable => StoreError::Unavailable("told to".into()),
            Self::OutcomeUnknown => StoreError::OutcomeUnknown("told to".into()),
            Self::Failed => StoreError::Failed("told to".into()),
            Self::Panic => panic!("the store was told to panic"),
            Self::Hang => std::future::pending().await,
            Self::LoseAnswer => {
                call.await;
                StoreError::OutcomeUnknown("told to".into())
            }
        })
    }
}

/// A store in front of another.
pub struct Faulty<S> {
    pub store: S,
    /// Struck at the look before the insert.
    pub at_look: Option<Fault>,
    /// Struck instead of the insert.
    pub at_create: Option<Fault>,
    /// The barrier of that many inserts, all after their look-up.
    pub gate: Option<Arc<Barrier>>,
    pub looks: AtomicUsize,
}

impl<S> Faulty<S> {
    pub fn new(store: S) -> Self {
        Self { store, at_look: None, at_create: None, gate: None, looks: AtomicUsize::new(0) }
    }
}

#[async_trait]
impl<S: AccountStore> AccountStore for Faulty<S> {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        let call = self.store.is_email_taken(key);
        match self.at_look {
            Some(fault) => fault.strike(call).await?,
            None => call.await,
        }
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        if let Some(gate) = &self.gate {
            gate.wait().await;
        }
        let call = self.store.create(new);
        match self.at_create {
            Some(fault) => fault.strike(call).await?,
            None => call.await,
        }
    }
}

/// Randomness that can fail, and that can repeat its first draw.
#[derive(Default)]
pub struct FaultyRandom {
    pub fails: AtomicBool,
    pub panics: AtomicBool,
    pub draws: AtomicUsize,
    /// From here on every draw is the same.
    pub repeats: AtomicBool,
}

impl SecureRandom for FaultyRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        self.draws.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics.load(Ordering::SeqCst), "the randomness was told to panic");
        if self.fails.load(Ordering::SeqCst) {
            return Err(RandomError::Failed);
        }
        if self.repeats.load(Ordering::SeqCst) {
            bytes.iter_mut().zip(0..).for_each(|(byte, count)| *byte = count);
            return Ok(());
        }
        SystemRandom.fill(bytes)
    }
}
