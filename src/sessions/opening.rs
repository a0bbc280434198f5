use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::watch;

use crate::{error::Error, sessions::source::Opened};

/// A session whose login is being loaded. All callers that ask for its key wait for this.
pub(super) struct Opening<C> {
    outcome: OnceLock<Result<Opened<C>, Error>>,
    /// Whether the key was logged out meanwhile. Written under the lock of the key's shard.
    logged_out: AtomicBool,
    done: watch::Sender<()>,
}

// === impl Opening ===

impl<C> Opening<C> {
    pub(super) fn new() -> Self {
        Self {
            outcome: OnceLock::new(),
            logged_out: AtomicBool::new(false),
            done: watch::Sender::new(()),
        }
    }

    /// Ends the login that the load finds, before any caller gets its session. The caller holds the
    /// lock of the key's shard.
    pub(super) fn log_out(&self) {
        self.logged_out.store(true, Ordering::Relaxed);
    }

    /// The caller holds the lock of the key's shard.
    pub(super) fn is_logged_out(&self) -> bool {
        self.logged_out.load(Ordering::Relaxed)
    }

    /// Waits for the outcome. The call itself subscribes.
    pub(super) fn wait(
        self: &Arc<Self>,
    ) -> impl Future<Output = Result<Opened<C>, Error>> + use<C> {
        let mut done = self.done.subscribe();
        let opening = self.clone();
        async move {
            loop {
                // Looked at after the subscription: an outcome that is written later wakes this.
                if let Some(outcome) = opening.outcome.get() {
                    return outcome.clone();
                }
                // The sender is in `opening`.
                drop(done.changed().await);
            }
        }
    }

    pub(super) fn settle(&self, outcome: Result<Opened<C>, Error>) {
        drop(self.outcome.set(outcome));
        self.done.send_replace(());
    }
}
