use std::{mem, sync::Arc, time::Duration};

use redis::Client;
use tokio::time;

use crate::store::{
    redis::{
        subscription,
        switchboard::{Line, Switchboard},
    },
    version::Version,
};

/// The hints of one store: one subscription for all of its listeners.
///
/// The subscription is a task that starts with the first listener and ends when none is left.
pub(super) struct Hints(Arc<Switchboard>);

/// Receives the hints of one channel.
pub(super) struct Listener {
    switchboard: Arc<Switchboard>,
    line: Line,
    /// The next answer has to come from the store.
    must_look: bool,
}

/// How often a listener looks while its channel is subscribed to. A cluster may lose a message
/// between its nodes.
const POLL: Duration = Duration::from_secs(30);
/// How often a listener looks while there is no subscription.
const POLL_UNSUBSCRIBED: Duration = Duration::from_secs(2);

// === impl Hints ===

impl Hints {
    pub(super) fn new(nodes: Vec<Client>) -> Self {
        Self(Arc::new(Switchboard::new(nodes)))
    }

    /// Listens to a channel.
    pub(super) fn listen(&self, channel: String) -> Listener {
        Listener { line: self.0.listen(channel), switchboard: self.0.clone(), must_look: false }
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        self.0.abort_task();
    }
}

// === impl Listener ===

impl Listener {
    /// The version of the record as far as messages tell. `None` where the caller has to look, and
    /// to tell what it [`saw`](Self::saw).
    ///
    /// A version below the one that the caller has may be an echo of the past, so the caller looks.
    pub(super) fn latest(&mut self, seen: Option<Version>) -> Option<Option<Version>> {
        let latest = self.line.read().latest.filter(|latest| *latest >= seen);
        if mem::take(&mut self.must_look) { None } else { latest }
    }

    pub(super) fn saw(&self, version: Option<Version>) {
        self.line.saw(version);
    }

    /// Waits for news since the last call of [`latest`](Self::latest), or until it is time to look
    /// without any.
    pub(super) async fn changed(&mut self) {
        self.switchboard.ensure_task(|| {
            tokio::spawn(subscription::run(self.switchboard.clone())).abort_handle()
        });
        let limit = if self.line.is_subscribed() { POLL } else { POLL_UNSUBSCRIBED };
        self.must_look = time::timeout(limit, self.line.changed()).await.is_err();
    }
}
