//! Checks of connections that return to the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether connections are checked when they return to the pool, shared by a store's clones.
/// The store itself closes a connection after any error, so that it saves the round trip while
/// no one else uses the pool.
#[derive(Clone, Default)]
pub(in crate::store) struct Checks(Arc<AtomicBool>);

impl Checks {
    pub(in crate::store) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(in crate::store) fn have_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns a guard of a call on the caller's connection, which the store can't close: if
    /// the call is dropped before it is [done](Unfinished::done), the checks begin.
    pub(in crate::store) fn until_done(&self) -> Unfinished<'_> {
        Unfinished(Some(self))
    }
}

/// A call that its caller may drop.
pub(in crate::store) struct Unfinished<'a>(Option<&'a Checks>);

impl Unfinished<'_> {
    pub(in crate::store) fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(checks) = self.0 {
            checks.begin();
        }
    }
}
