//! Permits of a store's calls: as many tasks as connections, and in SQLite one writer.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::observe;
use crate::store::contract::StoreError;

use super::fault::late;

/// The permits of a store, shared with its clones.
#[derive(Clone)]
pub(in crate::store) struct Gate {
    tasks: Arc<Semaphore>,
    writers: Option<Arc<Semaphore>>,
}

/// A permit of one call, returned when dropped.
pub(in crate::store) struct Turn {
    /// Acquired first: a writer that waits for others needs no connection.
    _writer: Option<OwnedSemaphorePermit>,
    _task: OwnedSemaphorePermit,
}

impl Gate {
    pub(in crate::store) fn new(tasks: u32, writers: Option<usize>) -> Self {
        let tasks = usize::try_from(tasks).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            tasks: Arc::new(Semaphore::new(tasks.clamp(1, Semaphore::MAX_PERMITS))),
            writers: writers.map(|writers| Arc::new(Semaphore::new(writers))),
        }
    }

    /// Waits for the permit of a read.
    pub(in crate::store) async fn reader(&self, until: Instant) -> Result<Turn, StoreError> {
        Ok(Turn { _writer: None, _task: acquire(&self.tasks, until).await? })
    }

    /// Waits for the permit of a write.
    pub(in crate::store) async fn writer(&self, until: Instant) -> Result<Turn, StoreError> {
        let writer = self.writer_alone(until).await?;
        Ok(Turn { _writer: writer, _task: acquire(&self.tasks, until).await? })
    }

    /// Waits for the permit of a writer that does not run in a task of the store.
    pub(in crate::store) async fn writer_alone(
        &self,
        until: Instant,
    ) -> Result<Option<OwnedSemaphorePermit>, StoreError> {
        match &self.writers {
            Some(writers) => acquire(writers, until).await.map(Some),
            None => Ok(None),
        }
    }
}

async fn acquire(
    turns: &Arc<Semaphore>,
    until: Instant,
) -> Result<OwnedSemaphorePermit, StoreError> {
    match timeout_at(until, Arc::clone(turns).acquire_owned()).await {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(closed)) => Err(StoreError::Failed(closed.into())),
        Err(_) => Err(StoreError::Unavailable(late("no turn before the deadline"))),
    }
}

/// Checks that there is a runtime: without one, tokio panics.
pub(in crate::store) fn check_runtime() -> Result<(), StoreError> {
    match Handle::try_current() {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(StoreError::Failed("an SQL store has to be called in a tokio runtime".into()))
        }
    }
}

/// Runs work in a task of the store. It continues when its caller leaves, and keeps its
/// permit until it ends.
pub(in crate::store) async fn run_task<T: Send + 'static>(
    turn: Turn,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let task = async move {
        let result = work.await;
        drop(turn);
        result
    };
    join_task(tokio::spawn(observe::in_current_span(task)).await)
}

/// Waits until the deadline for work in a task of the store, which continues after that.
pub(in crate::store) async fn run_past<T: Send + 'static>(
    until: Instant,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let task = tokio::spawn(observe::in_current_span(work));
    let late = |_| Err(StoreError::Unavailable(late("no answer before the deadline")));
    timeout_at(until, task).await.map_or_else(late, join_task)
}

/// Joins the store's task. A panic (in the host's rows, for example) rolls the transaction
/// back; its message goes to the panic hook only.
fn join_task<T>(
    ended: Result<Result<T, StoreError>, tokio::task::JoinError>,
) -> Result<T, StoreError> {
    ended.unwrap_or_else(|lost| {
        if lost.is_panic() {
            Err(StoreError::Failed("the task of the store panicked".into()))
        } else {
            Err(StoreError::OutcomeUnknown("the runtime ended before the store answered".into()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_host_s_writer_takes_the_turn_of_all_others() {
        let gate = Gate::new(4, Some(1));
        let now = Instant::now();
        let turn = gate.writer_alone(now).await.unwrap();
        assert!(turn.is_some());
        assert!(matches!(gate.writer_alone(now).await, Err(StoreError::Unavailable(_))));
        assert!(matches!(gate.writer(now).await, Err(StoreError::Unavailable(_))));
        assert!(gate.reader(now).await.is_ok());
        drop(turn);
        assert!(gate.writer(now).await.is_ok());
        assert!(Gate::new(4, None).writer_alone(now).await.unwrap().is_none());
    }
}
