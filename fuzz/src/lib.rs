//! Parts that several targets share.

use std::sync::{Arc, LazyLock};

use signup::hash::{FakeEngine, HashPool};
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
}

/// The pool of all services: it hashes for nothing.
pub static POOL: LazyLock<Arc<HashPool>> = LazyLock::new(|| {
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default());
    Arc::new(pool.build().unwrap())
});

/// Runs a future to its end.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(future))
}
