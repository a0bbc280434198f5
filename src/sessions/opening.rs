use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::watch;

use crate::{error::Error, sessions::source::Opened};

/// A session whose login is being loaded. All callers that ask for its key wait for this.
pub(super) struct Opening<C> {
    /// `None` while the load runs.
    outcome: watch::Sender<Option<Result<Opened<C>, Error>>>,
    /// Whether the key was logged out meanwhile. Written under the lock of the key's shard.
    logged_out: AtomicBool,
}

// === impl Opening ===

impl<C> Opening<C> {
    pub(super) fn new() -> Self {
        Self { outcome: watch::Sender::new(None), logged_out: AtomicBool::new(false) }
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

    /// Waits for the outcome.
    pub(super) async fn wait(self: Arc<Self>) -> Result<Opened<C>, Error> {
        let mut outcome = self.outcome.subscribe();
        let settled = outcome.wait_for(Option::is_some).await;
        let settled = settled.expect("the sender is in `self`");
        settled.clone().expect("the outcome is there")
    }

    pub(super) fn settle(&self, outcome: Result<Opened<C>, Error>) {
        self.outcome.send_replace(Some(outcome));
    }
}
