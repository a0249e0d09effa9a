//! Writes: attempts on a connection until one succeeds or the deadline passes.

use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::pool::PoolConnection;
use tokio::time::{Instant, timeout_at};

use crate::account::AccountId;
use crate::random::jittered;
use crate::store::contract::{NewAccount, StoreError, WipeReason};

use crate::store::dialect::statement::Statement;
use crate::store::dialect::syntax::ViolatedConstraint;

use super::backend::{Backend, Connection, Interrupt, Limit};
use super::fault::{Fault, late, without_rows};
use super::gate::{check_runtime, run_past, run_task};
use super::queries::Find;
use super::transaction::HostTransaction;
use super::{SESSION_LIMIT, SqlStore};

/// The maximum number of attempts of a transaction that conflicts with others, and of a read
/// whose connection was dead.
pub(super) const ATTEMPTS: u32 = 20;
/// The longest wait between two attempts of a transaction.
const LONGEST_WAIT: Duration = Duration::from_millis(64);

/// Statements of which all take effect or none.
pub(super) struct Change {
    /// The statements; each must affect a row, unless it is optional.
    pub(super) steps: Vec<Statement>,
    /// The host's part of the transaction.
    pub(super) host: Option<HostWork>,
}

/// The work of [`HostRows`](super::HostRows) in a change.
pub(super) enum HostWork {
    /// The rows of an account that is inserted.
    Insert(Box<NewAccount>),
    /// The rows of an account that is taken over or erased.
    WipeReason(AccountId, WipeReason),
}

/// The outcome of a [`Change`]. All but the first leave everything as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// With the number of rows that were affected.
    All(u64),
    /// A step found nothing to change.
    NotFound,
    /// A constraint refused it.
    ViolatedConstraint(ViolatedConstraint),
}

/// The stage of an attempt, which may be dropped at any await.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// The transaction is open, or has not begun, or was rolled back.
    Open,
    /// A statement was sent that commits by itself.
    Alone,
    /// The end of the transaction was sent: its rollback.
    RollingBack,
    /// The end of the transaction was sent: its commit.
    Committing,
}

/// An attempt to apply a change.
pub(super) struct Attempt(AtomicU8);

impl Attempt {
    pub(super) const fn new() -> Self {
        Self(AtomicU8::new(Stage::Open as u8))
    }

    fn enters(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    fn is_at(&self, stage: Stage) -> bool {
        self.0.load(Ordering::Relaxed) == stage as u8
    }

    /// Returns whether the change may have been made.
    fn may_have_committed(&self) -> bool {
        self.is_at(Stage::Alone) || self.is_at(Stage::Committing)
    }

    /// Returns whether the connection is in the middle of the transaction's end.
    fn is_ending(&self) -> bool {
        self.is_at(Stage::RollingBack) || self.is_at(Stage::Committing)
    }
}

impl<B: Backend> SqlStore<B> {
    /// Applies a change in a task of the store. If the answer to its commit is lost,
    /// `confirm` finds a row if the commit happened.
    pub(super) async fn apply(
        &self,
        change: Change,
        confirm: Option<Find>,
    ) -> Result<Applied, StoreError> {
        check_runtime()?;
        let until = Instant::now() + self.deadline;
        let turn = self.gate.writer(until).await?;
        let store = self.clone();
        run_task(turn, async move { store.apply_until(&change, confirm.as_ref(), until).await })
            .await
    }

    async fn apply_until(
        &self,
        change: &Change,
        confirm: Option<&Find>,
        until: Instant,
    ) -> Result<Applied, StoreError> {
        let mut attempt = 1;
        let mut undecided = None;
        loop {
            let made = Attempt::new();
            let outcome = self.try_apply(change, &made, until).await;
            let may_be_made = made.may_have_committed() && !self.backend.conflicts_are_certain();
            match outcome {
                Err(Fault::Conflict(conflict)) if attempt < ATTEMPTS => {
                    if may_be_made {
                        undecided = Some(conflict);
                    }
                    wait(attempt, until).await;
                    attempt += 1;
                }
                Ok(refused @ (Applied::NotFound | Applied::ViolatedConstraint(_))) => {
                    return match (undecided, confirm) {
                        (Some(conflict), Some(confirm)) => {
                            self.unless_stored(refused, confirm, conflict, until).await
                        }
                        // Another one was faster: so it is in a race on a healthy cluster.
                        _ => Ok(refused),
                    };
                }
                Err(fault @ (Fault::Lost(_) | Fault::Late(_))) if made.may_have_committed() => {
                    return self.settle(change, confirm, fault).await;
                }
                Err(fault) => {
                    if may_be_made && matches!(fault, Fault::Conflict(_)) {
                        undecided = Some("the last of many conflicts".into());
                    }
                    let error = fault.before_commit().into_store_error();
                    return match undecided {
                        Some(conflict) => self.unless_failed(error, confirm, conflict).await,
                        None => Err(error),
                    };
                }
                Ok(Applied::All(rows)) => return Ok(Applied::All(rows)),
            }
        }
    }

    /// Makes one attempt, on a connection that is closed if its state is unknown.
    pub(super) async fn try_apply(
        &self,
        change: &Change,
        attempt: &Attempt,
        until: Instant,
    ) -> Result<Applied, Fault> {
        let mut connection = self.acquire(until).await?;
        let limit = self.limit(until);
        let work = async {
            // It costs SQLite as much as a statement.
            let may_take_long = change.steps.iter().any(Statement::is_deletion)
                || (self.host.is_some() && change.host.is_some());
            let interrupt = if may_take_long {
                self.backend.interrupt_at(&mut connection, until).await.map_err(B::fault)?
            } else {
                Interrupt::default()
            };
            let outcome = self.transact(&mut connection, change, attempt, limit).await;
            interrupt.cancel();
            outcome
        };
        let late = |_| Err(Fault::Late(late("no answer before the deadline")));
        let outcome = timeout_at(until, work).await.unwrap_or_else(late);
        let is_usable = match (&outcome, limit.is_late) {
            (Err(_), _) => B::REUSES_DROPPED && !attempt.is_ending(),
            // The next call relies on the session's limit.
            (Ok(_), true) => self.backend.restore(&mut connection, self.deadline).await.is_ok(),
            (Ok(_), false) => true,
        };
        if !is_usable {
            drop(connection.detach());
        }
        outcome
    }

    /// Returns the time limit of a write on the server.
    fn limit(&self, until: Instant) -> Limit {
        let left = until.saturating_duration_since(Instant::now());
        Limit { left, is_late: left < self.deadline.mul_f64(SESSION_LIMIT) }
    }

    async fn transact(
        &self,
        connection: &mut Connection<B>,
        change: &Change,
        attempt: &Attempt,
        limit: Limit,
    ) -> Result<Applied, Fault> {
        let host_writes = self.host.is_some() && change.host.is_some();
        let is_alone = !host_writes && !limit.is_late && self.backend.commits_alone();
        if let ([step], true) = (change.steps.as_slice(), is_alone) {
            attempt.enters(Stage::Alone);
            return self.apply_step(connection, step).await;
        }
        let begin = self.backend.begin(Some(limit));
        let mut transaction = connection.begin_with(begin).await.map_err(B::fault)?;
        let applied = match self.apply_steps(&mut transaction, change).await {
            Ok(Applied::All(rows)) => {
                let written = self.write_host_rows(&mut transaction, change).await;
                written.map(|()| Applied::All(rows))
            }
            other => other,
        };
        let Ok(Applied::All(rows)) = applied else {
            attempt.enters(Stage::RollingBack);
            match (transaction.rollback().await, &applied) {
                (Ok(()), _) => {}
                // SQLite itself ends a transaction when the disk is full.
                (Err(_), Err(_)) => return applied,
                (Err(error), Ok(_)) => return Err(B::fault(error).before_commit()),
            }
            attempt.enters(Stage::Open);
            return applied;
        };
        attempt.enters(Stage::Committing);
        match transaction.commit().await {
            Ok(()) => Ok(Applied::All(rows)),
            // A deferred constraint, which a host may have made of one of ours, is checked
            // only now.
            Err(error) => match B::clash(&error, &self.names) {
                // The host's own foreign key keeps a row.
                Some(ViolatedConstraint::Orphan)
                    if !change.steps.iter().any(Statement::is_insert) =>
                {
                    Err(B::fault(error).before_commit())
                }
                Some(clash) => Ok(Applied::ViolatedConstraint(clash)),
                None if B::LOOK_SETTLES_COMMIT => Err(Fault::Lost(without_rows(error))),
                None => Err(B::fault(error).at_commit()),
            },
        }
    }

    async fn write_host_rows(
        &self,
        connection: &mut Connection<B>,
        change: &Change,
    ) -> Result<(), Fault> {
        if let (Some(host), Some(work)) = (&self.host, &change.host) {
            let written = match work {
                HostWork::Insert(new) => host.insert(connection, new).await,
                HostWork::WipeReason(account, because) => {
                    host.wipe(connection, account, *because).await
                }
            };
            written.map_err(|error| Fault::from_host(error, B::fault))?;
        }
        Ok(())
    }

    async fn apply_steps(
        &self,
        connection: &mut Connection<B>,
        change: &Change,
    ) -> Result<Applied, Fault> {
        let mut all = 0;
        for step in &change.steps {
            match self.apply_step(connection, step).await? {
                Applied::All(rows) => all += rows,
                stopped => return Ok(stopped),
            }
        }
        Ok(Applied::All(all))
    }

    async fn apply_step(
        &self,
        connection: &mut Connection<B>,
        step: &Statement,
    ) -> Result<Applied, Fault> {
        match B::execute(connection, step, self.backend.persistent()).await {
            Ok(0) if !step.is_optional => Ok(Applied::NotFound),
            Ok(rows) => Ok(Applied::All(rows)),
            Err(error) => match B::clash(&error, &self.names) {
                // The host's own foreign key keeps the row.
                Some(ViolatedConstraint::Orphan) if !step.is_insert() => Err(B::fault(error)),
                Some(clash) => Ok(Applied::ViolatedConstraint(clash)),
                None => Err(B::fault(error)),
            },
        }
    }

    /// Applies a change within a transaction of the host, whose other work it never
    /// touches, within the deadline.
    pub(super) async fn apply_in_savepoint(
        &self,
        transaction: &mut sqlx::Transaction<'_, B::Database>,
        change: &Change,
    ) -> Result<Applied, StoreError> {
        let until = Instant::now() + self.deadline;
        let watched = self.checks_connections.until_done();
        let applied = timeout_at(until, self.apply_limited(transaction, change)).await;
        if applied.is_ok() {
            watched.done();
        }
        let late = |_| Err(Fault::Unavailable(late("no answer before the deadline")));
        applied.unwrap_or_else(late).map_err(|fault| fault.before_commit().into_store_error())
    }

    async fn apply_limited(
        &self,
        connection: &mut Connection<B>,
        change: &Change,
    ) -> Result<Applied, Fault> {
        let mut savepoint = connection.begin().await.map_err(B::fault)?;
        let limited = self.backend.limit(&mut savepoint, self.deadline).await;
        let before = limited.map_err(B::fault)?;
        let applied = self.apply_steps(&mut savepoint, change).await;
        let Ok(Applied::All(rows)) = applied else {
            savepoint.rollback().await.map_err(B::fault)?;
            if let (Some(before), true) = (before, B::LIMITS_OUTLIVE_SAVEPOINTS) {
                B::run(connection, before).await.map_err(B::fault)?;
            }
            return applied;
        };
        if let Some(before) = before {
            B::run(&mut savepoint, before).await.map_err(B::fault)?;
        }
        savepoint.commit().await.map_err(B::fault)?;
        Ok(Applied::All(rows))
    }

    /// Begins a transaction that the host will end.
    pub(super) async fn begin_for_host(&self) -> Result<HostTransaction<B>, StoreError> {
        check_runtime()?;
        let until = Instant::now() + self.deadline;
        let turn = self.gate.writer_alone(until).await?;
        let store = self.clone();
        // Dropping a `BEGIN` before its answer would leave a transaction open in the pool.
        let begun = run_past(until, async move {
            // The host limits its own statements.
            let mut begin = pin!(store.pool.begin_with(store.backend.begin(None)));
            match timeout_at(until, begin.as_mut()).await {
                Ok(outcome) => {
                    outcome.map_err(|error| B::fault(error).before_commit().into_store_error())
                }
                // The server does not answer. Its connection is dropped, and checked.
                Err(passed) => {
                    store.checks_connections.begin();
                    Err(StoreError::Unavailable(passed.into()))
                }
            }
        });
        Ok(HostTransaction::new(begun.await?, turn))
    }

    /// Acquires a connection of the pool, before the deadline.
    pub(super) async fn acquire(
        &self,
        until: Instant,
    ) -> Result<PoolConnection<B::Database>, Fault> {
        match timeout_at(until, self.pool.acquire()).await {
            Ok(acquired) => acquired.map_err(|error| Fault::Unavailable(without_rows(error))),
            Err(_) => Err(Fault::Unavailable(late("no connection before the deadline"))),
        }
    }
}

/// Waits before the attempt after this one, at random so that transactions which conflicted
/// do not meet again, and not past the deadline.
pub(super) async fn wait(attempt: u32, until: Instant) {
    let doubled = Duration::from_millis(1).saturating_mul(2_u32.saturating_pow(attempt));
    let next = Instant::now() + jittered(doubled.min(LONGEST_WAIT));
    tokio::time::sleep_until(next.min(until)).await;
}
