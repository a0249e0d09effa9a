//! A store that does as it is told, and a source of randomness that does.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use signup::account::AccountId;
use signup::api_key::ApiKeyDigest;
use signup::clock::Timestamp;
use signup::event::Notice;
use signup::fields::EmailKey;
use signup::random::{RandomError, SecureRandom, SystemRandom};
use signup::store::{
    AccountChange, AccountFilter, AccountPage, AccountStore, ChangeOutcome, CreateOutcome,
    DeliveryOutcome, EventBacklog, EventLease, EventQuery, EventStore, Expired, FindBy, KeyOwner,
    KeyQuery, LifecycleStore, NewAccount, OldEvents, Purged, StoreError, StoredAccount,
    StoredApiKey, StoredEvent, StoredLogin,
};
use tokio::runtime::Handle;
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
    async fn strike<T>(
        self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        Err(match self {
            Self::Unavailable => StoreError::Unavailable("told to".into()),
            Self::OutcomeUnknown => StoreError::OutcomeUnknown("told to".into()),
            Self::Failed => StoreError::Failed("told to".into()),
            Self::Panic => panic!("the store was told to panic"),
            Self::Hang => std::future::pending().await,
            Self::LoseAnswer => {
                call.await?;
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
    /// While it is set, another transaction is open that takes every email.
    pub contended: Arc<AtomicBool>,
    /// The faults of the next calls, whichever they are.
    pub next: Arc<Mutex<VecDeque<Option<Fault>>>>,
    /// Whether each call waits for its turn twice: before it, and with its answer.
    pub yields: bool,
    /// Struck instead of a change that it chooses.
    pub at_change: Option<ChangeFault>,
    /// The runtime that carries the calls out, each while this thread waits: for a store with
    /// threads or timers, in a runtime whose time stands still.
    pub elsewhere: Option<Handle>,
}

/// Chooses the fault of a change.
pub type ChangeFault = Box<dyn Fn(&AccountChange) -> Option<Fault> + Send + Sync>;

impl<S> Faulty<S> {
    pub fn new(store: S) -> Self {
        Self {
            store,
            at_look: None,
            at_create: None,
            gate: None,
            looks: AtomicUsize::new(0),
            contended: Arc::default(),
            next: Arc::default(),
            yields: false,
            at_change: None,
            elsewhere: None,
        }
    }

    /// Makes a call, with a fault that was planned for it, or else for its kind.
    async fn call<T: Send>(
        &self,
        of_kind: Option<Fault>,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let call = async {
            let Some(elsewhere) = &self.elsewhere else { return call.await };
            std::thread::scope(|scope| {
                scope.spawn(|| elsewhere.block_on(call)).join().expect("a call has panicked")
            })
        };
        let planned = self.next.lock().unwrap().pop_front().flatten();
        if self.yields {
            tokio::task::yield_now().await;
        }
        let answer = match planned.or(of_kind) {
            Some(fault) => fault.strike(call).await,
            None => call.await,
        };
        if self.yields {
            tokio::task::yield_now().await;
        }
        answer
    }
}

#[async_trait]
impl<S: AccountStore> AccountStore for Faulty<S> {
    async fn is_email_taken(&self, key: &EmailKey) -> Result<bool, StoreError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.call(self.at_look, self.store.is_email_taken(key)).await
    }

    async fn create(&self, new: NewAccount) -> Result<CreateOutcome, StoreError> {
        if let Some(gate) = &self.gate {
            gate.wait().await;
        }
        if self.contended.load(Ordering::SeqCst) {
            return Ok(CreateOutcome::EmailTaken);
        }
        self.call(self.at_create, self.store.create(new)).await
    }
}

#[async_trait]
impl<S: LifecycleStore> LifecycleStore for Faulty<S> {
    async fn find_key_owner(&self, digest: &ApiKeyDigest) -> Result<Option<KeyOwner>, StoreError> {
        self.call(None, self.store.find_key_owner(digest)).await
    }

    async fn find_account(&self, by: FindBy<'_>) -> Result<Option<StoredAccount>, StoreError> {
        self.call(None, self.store.find_account(by)).await
    }

    async fn find_login(&self, by: FindBy<'_>) -> Result<Option<StoredLogin>, StoreError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.call(self.at_look, self.store.find_login(by)).await
    }

    async fn list_accounts(&self, filter: &AccountFilter) -> Result<AccountPage, StoreError> {
        self.call(None, self.store.list_accounts(filter)).await
    }

    async fn list_api_keys(&self, query: KeyQuery<'_>) -> Result<Vec<StoredApiKey>, StoreError> {
        self.call(None, self.store.list_api_keys(query)).await
    }

    async fn is_ticket_used(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        self.call(None, self.store.is_ticket_used(hash)).await
    }

    async fn change(&self, change: AccountChange) -> Result<ChangeOutcome, StoreError> {
        let fault = self.at_change.as_ref().and_then(|choose| choose(&change));
        self.call(fault, self.store.change(change)).await
    }

    async fn purge(
        &self,
        expired: Expired,
        until: Timestamp,
        limit: u32,
    ) -> Result<Purged, StoreError> {
        self.call(None, self.store.purge(expired, until, limit)).await
    }
}

#[async_trait]
impl<S: EventStore> EventStore for Faulty<S> {
    async fn list_events(
        &self,
        query: EventQuery<'_>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.call(None, self.store.list_events(query, limit)).await
    }

    async fn due_partitions(&self, now: Timestamp) -> Result<Vec<EventLease>, StoreError> {
        self.call(None, self.store.due_partitions(now)).await
    }

    async fn lease_partition(
        &self,
        last: EventLease,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<EventLease>, StoreError> {
        self.call(None, self.store.lease_partition(last, now, until)).await
    }

    async fn due_events(
        &self,
        partition: u8,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.call(None, self.store.due_events(partition, now, limit)).await
    }

    async fn settle_events(
        &self,
        lease: EventLease,
        until: Timestamp,
        settled: Vec<DeliveryOutcome>,
    ) -> Result<bool, StoreError> {
        self.call(None, self.store.settle_events(lease, until, settled)).await
    }

    async fn event_backlog(&self, limit: u32) -> Result<EventBacklog, StoreError> {
        self.call(None, self.store.event_backlog(limit)).await
    }

    async fn settle_dead_letter(
        &self,
        account: &AccountId,
        number: i64,
        due_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        self.call(None, self.store.settle_dead_letter(account, number, due_at)).await
    }

    async fn purge_events(
        &self,
        which: OldEvents,
        until: Timestamp,
        limit: u32,
    ) -> Result<Purged, StoreError> {
        self.call(None, self.store.purge_events(which, until, limit)).await
    }

    async fn due_notices(&self, now: Timestamp, limit: u32) -> Result<Vec<Notice>, StoreError> {
        self.call(None, self.store.due_notices(now, limit)).await
    }

    async fn settle_notice(
        &self,
        notice: &Notice,
        next: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        self.call(None, self.store.settle_notice(notice, next)).await
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
