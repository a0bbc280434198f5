use std::{
    pin::pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::runtime::Handle;

/// The Tokio runtimes that the sessions of a template have seen, for calls from threads without
/// one.
///
/// A session may outlive a runtime: a test or a plain thread ends, and its runtime with it. So two
/// are remembered, and one that is gone is not preferred.
#[derive(Default)]
pub(super) struct Runtimes(Mutex<Known>);

/// Handles do not keep a runtime running, and cannot be compared.
#[derive(Clone, Default)]
struct Known {
    /// The first runtime, replaced when it turns out to be gone. Short-lived runtimes come and go,
    /// and must not displace it.
    first: Option<Handle>,
    /// The latest one.
    latest: Option<Handle>,
}

/// Whether the runtime still runs tasks.
fn is_alive(runtime: &Handle) -> bool {
    // A runtime that is shutting down cancels a task when it is spawned, and there is no other way
    // to find out.
    let mut probe = pin!(runtime.spawn(async {}));
    let mut context = Context::from_waker(Waker::noop());
    !matches!(probe.as_mut().poll(&mut context), Poll::Ready(Err(error)) if error.is_cancelled())
}

// === impl Runtimes ===

impl Runtimes {
    /// Remembers the runtime of the caller, and returns it.
    pub(super) fn remember(&self) -> Option<Handle> {
        let current = Handle::try_current().ok()?;
        // Clones of a client come here too, from many threads. None of them waits: while one holds
        // the lock, that one remembers a runtime.
        let displaced = self.0.try_lock().ok().and_then(|mut known| {
            known.first.get_or_insert_with(|| current.clone());
            known.latest.replace(current.clone())
        });
        // Outside of the lock: this may be the last handle of a runtime.
        drop(displaced);
        Some(current)
    }

    /// The runtime of the caller, or else one that was seen. `search` says whether to search for
    /// one that is alive.
    pub(super) fn for_flight(&self, search: bool) -> Option<Handle> {
        self.remember()
            .or_else(|| search.then(|| self.alive()).flatten())
            .or_else(|| self.known().first)
    }

    /// A runtime that is alive: the one of the caller, or else one that was seen.
    pub(super) fn for_hook(&self) -> Option<Handle> {
        self.remember().filter(is_alive).or_else(|| self.alive())
    }

    fn alive(&self) -> Option<Handle> {
        let known = self.known();
        if let Some(first) = known.first.filter(is_alive) {
            return Some(first);
        }
        let latest = known.latest.filter(is_alive)?;
        let displaced = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.first.replace(latest.clone())
        };
        drop(displaced);
        Some(latest)
    }

    fn known(&self) -> Known {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
